//! A rescue directory on the disk: bytes first, then the list that names them; removed the other way round.
//!
//! Directories have mode 0700 and files 0600, for nobody else could read what was in memory. Names of objects choose
//! names below `files/` only where they cannot lead out of it; reading takes nothing from the list on trust either.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use super::List;

/// Why a rescue directory could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, or who may use it.
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
    /// The list is not one.
    #[error("list.json: {0}")]
    List(String),
    /// The list names a file that is not in the directory, or not as it was written.
    #[error("{0}: {1}")]
    File(String, &'static str),
}

/// What was asked to stop has stopped; what it wrote is gone again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

const LIST: &str = "list.json";
const FILES: &str = "files";
/// Bytes written or read between two looks whether to go on.
const STRIDE: usize = 1 << 20;

/// An open rescue directory.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// What stands in it; on the disk after `save`.
    pub list: List,
    /// Names of files that were given, so that none is given twice.
    given: HashSet<String>,
    /// Files that are to go once the list does not name them any more.
    leaving: Vec<String>,
}

impl Place {
    /// Makes a directory; one that is there must be empty.
    pub fn create(dir: &Path, list: List) -> Result<Self, Error> {
        let fault = |fault| Error::Disk(dir.to_owned(), fault);
        make_private(dir).map_err(fault)?;
        let mut entries = fs::read_dir(dir).map_err(fault)?;
        if entries.next().is_some() {
            return Err(fault(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        Ok(Self {
            dir: dir.canonicalize().map_err(fault)?,
            list,
            given: HashSet::new(),
            leaving: Vec::new(),
        })
    }

    /// Opens one that was written before.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        /// A million entries with long names; more is no list.
        const MOST: u64 = 4 << 30;
        let dir = dir
            .canonicalize()
            .map_err(|fault| Error::Disk(dir.to_owned(), fault))?;
        let path = dir.join(LIST);
        let mut text = String::new();
        open_plain(&path)
            .and_then(|file| file.take(MOST).read_to_string(&mut text))
            .map_err(|fault| Error::Disk(path, fault))?;
        Ok(Self {
            list: List::from_json(&text)?,
            dir,
            given: HashSet::new(),
            leaving: Vec::new(),
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes bytes, each at its offset, into a new file named after `path` where that is safe. Gives the file's name for
    /// the list, and the SHA-1 of the bytes in their order. `go_on` is asked now and then.
    pub fn write(
        &mut self,
        path: &str,
        size: u64,
        bytes: &[(u64, Bytes)],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Result<(String, String), Stopped>, Error> {
        let mut name = self.name_for(path);
        let mut target = self.dir.join(&name);
        let mut written = Self::write_to(&target, size, bytes, go_on);
        // What is a directory now may have been a file before.
        if let Err(fault) = &written
            && matches!(
                fault.kind(),
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
            )
        {
            name = self.name_for("");
            target = self.dir.join(&name);
            written = Self::write_to(&target, size, bytes, go_on);
        }
        match written {
            Ok(Some(sha1)) => Ok(Ok((name, sha1))),
            Ok(None) => {
                let _ = fs::remove_file(&target);
                Ok(Err(Stopped))
            }
            Err(fault) => {
                // A full disk has room for smaller ones again.
                let _ = fs::remove_file(&target);
                Err(self.disk(&target, fault))
            }
        }
    }

    fn write_to(
        target: &Path,
        size: u64,
        bytes: &[(u64, Bytes)],
        go_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<String>> {
        if let Some(parent) = target.parent() {
            make_private(parent)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(target)?;
        file.set_len(size)?;
        let mut hash = Sha1::new();
        for (offset, piece) in bytes {
            let mut at = *offset;
            for part in piece.chunks(STRIDE) {
                if !go_on() {
                    return Ok(None);
                }
                file.write_all_at(part, at)?;
                hash.update(part);
                at += part.len() as u64;
            }
        }
        Ok(Some(hex(&hash.finalize())))
    }

    /// A name below `files/` that was not given before. Odd ones are replaced by a number.
    fn name_for(&mut self, path: &str) -> String {
        let plain = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.len() <= 255
                && !part.contains('\0')
        };
        let safe = path.len() <= 2048 && path.split('/').all(plain);
        let first = if safe {
            format!("{FILES}/{path}")
        } else {
            format!("{FILES}/odd name")
        };
        let mut name = first.clone();
        let mut number = 1;
        // Also where a directory has taken the name meanwhile, or the name is too long with what is added.
        while self.given.contains(&name) || fs::symlink_metadata(self.dir.join(&name)).is_ok() {
            number += 1;
            name = if first.len() < 200 {
                format!("{first}~{number}")
            } else {
                format!("{FILES}/long name~{number}")
            };
        }
        self.given.insert(name.clone());
        name
    }

    /// The file goes with the next `save`; no entry names it any more.
    pub fn give_up(&mut self, file: String) {
        self.leaving.push(file);
    }

    /// Brings what was written, then the list, to the disk; then removes what was given up.
    pub fn save(&mut self) -> Result<(), Error> {
        let disk = |path: &Path, fault| Error::Disk(path.to_owned(), fault);
        let dir = File::open(&self.dir).map_err(|fault| disk(&self.dir, fault))?;
        nix::unistd::syncfs(&dir).map_err(|fault| disk(&self.dir, fault.into()))?;
        let path = self.dir.join(LIST);
        let next = self.dir.join("list.json.next");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&next)
            .and_then(|mut file| {
                file.write_all(self.list.to_json().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&next, &path))
            .and_then(|()| dir.sync_all());
        written.map_err(|fault| disk(&path, fault))?;
        for file in std::mem::take(&mut self.leaving) {
            let Some(path) = self.within(&file) else {
                continue;
            };
            let _ = fs::remove_file(&path);
            // Directories go with their last file.
            let mut above = path.parent();
            while let Some(dir) = above.filter(|dir| **dir != self.dir) {
                if fs::remove_dir(dir).is_err() {
                    break;
                }
                above = dir.parent();
            }
        }
        Ok(())
    }

    /// Removes the directory, of which nothing is needed any more; what others have put there stays.
    pub fn remove(mut self) -> Result<(), Error> {
        self.list.entries.clear();
        self.save()?;
        let _ = fs::remove_file(self.dir.join(LIST));
        let _ = fs::remove_dir(self.dir.join(FILES));
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    /// Opens a file that the list names: a plain file in this directory, reached through no link.
    pub fn file(&self, name: &str) -> Result<File, Error> {
        let path = self.within(name).ok_or(Error::File(
            name.to_owned(),
            "the list names a file outside of its directory",
        ))?;
        let real = path
            .canonicalize()
            .map_err(|fault| self.disk(&path, fault))?;
        if real != path {
            return Err(Error::File(name.to_owned(), "is reached through a link"));
        }
        let file = open_plain(&path).map_err(|fault| self.disk(&path, fault))?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            _ => Err(Error::File(name.to_owned(), "is not a file")),
        }
    }

    /// The path of a name of the list; `None` where it would lead out of `files/`.
    fn within(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        let mut parts = path.components();
        let first = parts.next()? == Component::Normal(FILES.as_ref());
        let rest: Vec<Component<'_>> = parts.collect();
        let plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
        let safe = first && !rest.is_empty() && rest.iter().all(plain) && !name.contains('\0');
        safe.then(|| self.dir.join(path))
    }

    fn disk(&self, path: &Path, fault: io::Error) -> Error {
        let shown = path.strip_prefix(&self.dir).unwrap_or(path);
        let shown = if shown.as_os_str().is_empty() {
            path
        } else {
            shown
        };
        Error::Disk(shown.to_owned(), fault)
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn open_plain(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        // A fifo would wait for ever.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "place/tests.rs"]
mod tests;
