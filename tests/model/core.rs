//! The core without a kernel: this file does what the kernel's name lookup and open files do, and
//! no more, so that the core's own checks are what is tested.

mod account;
mod apply;

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::time::Duration;

use b2fuse::vfs::{self, Delete, Fh, FileKind, Ino, NewNode, Overwrite, SetAttr, Vfs};
use bytes::Bytes;

use crate::backend::Backend;
use crate::operation::{Operation, SLOTS};
use crate::reference::{Answer, Kind, Outcome, Stat, Xattrs};
use crate::settings::{Making, new_core};
use crate::support::bucket::Bucket;

pub(crate) use account::Account;

/// One filesystem, under a prefix of its own in the shared bucket.
pub(crate) struct Core<'a> {
    account: &'a Account,
    prefix: String,
    ttl: Duration,
    write_back: Option<Duration>,
    overwrite: Overwrite,
    vfs: Option<Vfs>,
    slots: [Option<Open>; SLOTS],
}

#[derive(Clone, Copy)]
struct Open {
    fh: Fh,
    ino: Ino,
    append: bool,
}

impl<'a> Core<'a> {
    pub(crate) fn new(account: &'a Account, beneath: &str) -> Self {
        let number = account
            .next
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut core = Self {
            account,
            prefix: format!("sequence {number}/{beneath}"),
            ttl: Duration::from_secs(30),
            write_back: None,
            overwrite: Overwrite::Keep,
            vfs: None,
            slots: [None; SLOTS],
        };
        core.mount();
        core
    }

    /// Every answer is asked from B2 again.
    pub(crate) fn without_memory_of_names(mut self) -> Self {
        self.unmount();
        self.ttl = Duration::ZERO;
        self.mount();
        self
    }

    /// Versions that are replaced go.
    pub(crate) fn replacing(mut self) -> Self {
        self.unmount();
        self.overwrite = Overwrite::Replace;
        self.mount();
        self
    }

    /// Close does not wait for B2.
    pub(crate) fn storing_later(mut self, delay: Duration) -> Self {
        self.unmount();
        self.write_back = Some(delay);
        self.mount();
        self
    }

    fn mount(&mut self) {
        let making = Making {
            prefix: self.prefix.clone(),
            ttl: self.ttl,
            delete: Delete::Hide,
            overwrite: self.overwrite,
            write_back: self.write_back,
            store_open: Some(Duration::from_millis(1)),
            memory: 32 << 20,
            patience: Duration::from_secs(120),
            at_once: 8,
        };
        let making = new_core(&self.account.emulator, making);
        let vfs = self.account.runtime.block_on(making);
        self.vfs = Some(vfs);
    }

    fn unmount(&mut self) {
        for slot in 0..SLOTS {
            self.close(slot).expect("closing succeeds");
        }
        let vfs = self.vfs.take().expect("mounted");
        let unstored = self.account.runtime.block_on(vfs.drain());
        assert!(unstored.is_empty(), "not stored: {unstored:?}");
    }

    fn vfs(&self) -> &Vfs {
        self.vfs.as_ref().expect("mounted")
    }

    fn on<T>(&self, work: impl Future<Output = Result<T, vfs::Error>>) -> Result<T, i32> {
        self.account
            .runtime
            .block_on(work)
            .map_err(|error| errno(&error))
    }

    /// As the kernel walks: one lookup a name, references given back except the last one's.
    fn find(&self, path: &str) -> Result<(Ino, FileKind), i32> {
        let mut here = (Ino::ROOT, FileKind::Directory);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if here.1 != FileKind::Directory {
                self.forget(here.0);
                return Err(no_directory(here.1));
            }
            let found = self.on(self.vfs().lookup(here.0, OsStr::new(name)));
            self.forget(here.0);
            let attr = found?.attr;
            here = (attr.ino, attr.kind);
        }
        Ok(here)
    }

    fn forget(&self, ino: Ino) {
        if ino != Ino::ROOT {
            self.vfs().forget(ino, 1);
        }
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(Ino, &'p OsStr), i32> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (ino, kind) = self.find(parent)?;
        if kind != FileKind::Directory {
            self.forget(ino);
            return Err(no_directory(kind));
        }
        Ok((ino, OsStr::new(name)))
    }

    /// Runs with the inode of a path, and gives its reference back.
    fn with<T>(
        &self,
        path: &str,
        work: impl FnOnce(Ino, FileKind) -> Result<T, i32>,
    ) -> Result<T, i32> {
        let (ino, kind) = self.find(path)?;
        let result = work(ino, kind);
        self.forget(ino);
        result
    }

    /// The same by calls that follow a link: all lead nowhere.
    fn follow<T>(
        &self,
        path: &str,
        work: impl FnOnce(Ino, FileKind) -> Result<T, i32>,
    ) -> Result<T, i32> {
        self.with(path, |ino, kind| {
            if kind == FileKind::Symlink {
                return Err(libc::ENOENT);
            }
            work(ino, kind)
        })
    }

    /// Extended attributes, which the kernel asks files and directories for.
    fn xattr<T>(
        &self,
        path: &str,
        otherwise: i32,
        work: impl FnOnce(Ino) -> Result<T, i32>,
    ) -> Result<T, i32> {
        self.follow(path, |ino, kind| {
            if kind == FileKind::Fifo {
                return Err(otherwise);
            }
            work(ino)
        })
    }

    /// Runs with the parent of a path and its last name, and gives the reference back.
    fn beside<T>(
        &self,
        path: &str,
        work: impl FnOnce(Ino, &OsStr) -> Result<T, i32>,
    ) -> Result<T, i32> {
        let (ino, name) = self.parent(path)?;
        let result = work(ino, name);
        self.forget(ino);
        result
    }

    /// The kernel looks the name up, then opens or creates; the caller keeps one reference.
    fn open(&self, path: &str, flags: i32) -> Result<(Ino, Fh), i32> {
        let exclusive = flags & libc::O_EXCL != 0;
        self.beside(path, |parent, name| {
            match self.on(self.vfs().lookup(parent, name)) {
                Ok(entry) => {
                    let opened = match entry.attr.kind {
                        _ if exclusive => Err(libc::EEXIST),
                        FileKind::Directory => Err(libc::EISDIR),
                        FileKind::Symlink => Err(libc::ENOENT),
                        FileKind::Fifo => Err(libc::ENXIO),
                        _ => self.on(self.vfs().open(entry.attr.ino, flags & !libc::O_CREAT)),
                    };
                    match opened {
                        Ok(opened) => Ok((entry.attr.ino, opened.fh)),
                        Err(errno) => {
                            self.forget(entry.attr.ino);
                            Err(errno)
                        }
                    }
                }
                Err(libc::ENOENT) if flags & libc::O_CREAT != 0 => {
                    let new = node(FileKind::File, 0o644);
                    let (entry, opened) = self.on(self.vfs().create(parent, name, new, flags))?;
                    Ok((entry.attr.ino, opened.fh))
                }
                Err(errno) => Err(errno),
            }
        })
    }

    fn shut(&self, ino: Ino, fh: Fh) -> Result<(), i32> {
        let flushed = self.on(self.vfs().flush(fh));
        self.vfs().release(fh);
        self.forget(ino);
        flushed
    }

    fn close(&mut self, slot: usize) -> Result<(), i32> {
        match self.slots[slot].take() {
            Some(open) => self.shut(open.ino, open.fh),
            None => Ok(()),
        }
    }

    fn slot(&self, slot: usize) -> Result<Open, i32> {
        self.slots[slot].ok_or(libc::EBADF)
    }

    fn size(&self, ino: Ino) -> Result<u64, i32> {
        Ok(self.on(self.vfs().getattr(ino))?.0.size)
    }

    /// The kernel asks for no more than 1 MiB at a time, and not beyond the end.
    fn read(&self, ino: Ino, fh: Fh, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let end = self.size(ino)?.min(offset + len as u64);
        let mut bytes = Vec::new();
        while offset + (bytes.len() as u64) < end {
            let at = offset + bytes.len() as u64;
            let piece = (end - at).min(1 << 20) as u32;
            let pieces = self.on(self.vfs().read(fh, at, piece))?;
            let before = bytes.len();
            for piece in &pieces {
                bytes.extend_from_slice(piece);
            }
            if bytes.len() == before {
                break;
            }
        }
        Ok(bytes)
    }

    /// At an offset, or at the end.
    fn write(&self, fh: Fh, offset: Option<u64>, bytes: &[u8]) -> Result<(), i32> {
        for (index, piece) in bytes.chunks(1 << 20).enumerate() {
            let data = Bytes::copy_from_slice(piece);
            let written = match offset {
                Some(offset) => {
                    let at = offset + ((index as u64) << 20);
                    self.on(self.vfs().write(fh, at, data))?
                }
                None => self.on(self.vfs().append(fh, data))?,
            };
            assert_eq!(written as usize, piece.len(), "a short write");
        }
        Ok(())
    }

    fn stat(&self, ino: Ino) -> Outcome {
        let (attr, _) = self.on(self.vfs().getattr(ino))?;
        let kind = match attr.kind {
            FileKind::Directory => Kind::Directory,
            FileKind::Symlink => Kind::Symlink,
            FileKind::Fifo => Kind::Fifo,
            _ => Kind::File,
        };
        let directory = kind == Kind::Directory;
        Ok(Answer::Stat(Stat {
            kind,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            nlink: if directory { 0 } else { attr.nlink },
            size: if directory { 0 } else { attr.size },
            mtime: Some(attr.mtime),
        }))
    }

    fn make(&self, path: &str, kind: FileKind, mode: u32, target: &str) -> Result<(), i32> {
        self.beside(path, |parent, last| {
            let (vfs, new) = (self.vfs(), node(kind, mode));
            let entry = match kind {
                FileKind::Directory => self.on(vfs.mkdir(parent, last, new)),
                FileKind::Symlink => self.on(vfs.symlink(parent, last, target.as_bytes(), new)),
                _ => self.on(vfs.mknod(parent, last, new)),
            }?;
            self.forget(entry.attr.ino);
            Ok(())
        })
    }

    fn xattrs(&self, ino: Ino) -> Result<Xattrs, i32> {
        let listed = self.on(self.vfs().listxattr(ino))?;
        let mut found = Xattrs::new();
        for key in listed
            .split(|byte| *byte == 0)
            .filter(|key| !key.is_empty())
        {
            let key = String::from_utf8_lossy(key).into_owned();
            let value = self.on(self.vfs().getxattr(ino, OsStr::new(&key)))?;
            found.insert(key, value);
        }
        Ok(found)
    }

    /// What the kernel looks at before it asks: O_APPEND, the source's end, and overlaps.
    fn copy_range(
        &self,
        from: Open,
        from_offset: u64,
        to: Open,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, i32> {
        if to.append {
            return Err(libc::EBADF);
        }
        let len = len.min(self.size(from.ino)?.saturating_sub(from_offset));
        if from.ino == to.ino && from_offset.abs_diff(to_offset) < len {
            return Err(libc::EINVAL);
        }
        self.copy(from.fh, from_offset, to.fh, to_offset, len)?;
        Ok(len)
    }

    fn copy_all(&self, from: Ino, reading: Fh, to: Ino, writing: Fh) -> Result<(), i32> {
        if from == to {
            return Ok(());
        }
        let size = Some(0);
        self.set(
            to,
            SetAttr {
                size,
                ..SetAttr::default()
            },
        )?;
        let len = self.size(from)?;
        self.copy(reading, 0, writing, 0, len)
    }

    fn copy(&self, from: Fh, at: u64, to: Fh, to_at: u64, len: u64) -> Result<(), i32> {
        if len == 0 {
            return Ok(());
        }
        let copied = self.on(self.vfs().copy_file_range(from, at, to, to_at, len))?;
        assert_eq!(u64::from(copied), len, "a short copy");
        Ok(())
    }

    fn list(&self, ino: Ino) -> Result<Vec<String>, i32> {
        let fh = self.on(self.vfs().opendir(ino))?;
        let listed = self.entries(fh);
        self.vfs().releasedir(fh);
        let mut names = listed?;
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }

    /// In small helpings, as a small buffer would force.
    fn entries(&self, fh: Fh) -> Result<Vec<String>, i32> {
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            self.on(self.vfs().readdir_fill(fh, offset))?;
            let mut helping = 0;
            let mut references = Vec::new();
            let more = self
                .vfs()
                .readdir_emit(fh, offset, true, &mut |entry, plus| {
                    if helping == 3 {
                        return ControlFlow::Break(());
                    }
                    helping += 1;
                    offset = entry.next;
                    names.push(String::from_utf8_lossy(&entry.name).into_owned());
                    if let Some(plus) =
                        plus.filter(|_| &*entry.name != b"." && &*entry.name != b"..")
                    {
                        references.push(plus.attr.ino);
                    }
                    ControlFlow::Continue(())
                })
                .map_err(|error| errno(&error))?;
            for ino in references {
                self.forget(ino);
            }
            match more {
                Some(more) => offset = more,
                None if helping == 0 => return Ok(names),
                None => {}
            }
        }
    }

    fn set(&self, ino: Ino, set: SetAttr) -> Result<(), i32> {
        self.on(self.vfs().setattr(ino, set)).map(|_| ())
    }

    fn rename(&self, from: &str, to: &str, no_replace: bool) -> Result<(), i32> {
        let (source, old) = self.parent(from)?;
        let target = self.parent(to);
        let result = target.and_then(|(target, new)| {
            let result = self.rename_in(from, to, (source, old), (target, new), no_replace);
            self.forget(target);
            result
        });
        self.forget(source);
        result
    }

    /// What the kernel decides before a filesystem is asked, and then the filesystem.
    fn rename_in(
        &self,
        from: &str,
        to: &str,
        old: (Ino, &OsStr),
        new: (Ino, &OsStr),
        no_replace: bool,
    ) -> Result<(), i32> {
        let below = |path: &str, top: &str| path.starts_with(&format!("{top}/"));
        if below(to, from) || below(from, to) || from == to {
            let source = self.on(self.vfs().lookup(old.0, old.1))?;
            self.forget(source.attr.ino);
            let target = self.on(self.vfs().lookup(new.0, new.1));
            if let Ok(target) = &target {
                self.forget(target.attr.ino);
            }
            return match (target, no_replace) {
                (Ok(_), true) => Err(libc::EEXIST),
                _ if below(to, from) => Err(libc::EINVAL),
                _ if below(from, to) => Err(libc::ENOTEMPTY),
                _ => Ok(()),
            };
        }
        let flags = if no_replace {
            libc::RENAME_NOREPLACE
        } else {
            0
        };
        self.on(self.vfs().rename(old.0, old.1, new.0, new.1, flags))
    }
}

/// What a path says that goes on after something that is no directory.
fn no_directory(kind: FileKind) -> i32 {
    if kind == FileKind::Symlink {
        libc::ENOENT
    } else {
        libc::ENOTDIR
    }
}

fn node(kind: FileKind, mode: u32) -> NewNode {
    NewNode {
        kind,
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
    }
}

/// What the errno of each error is, written down a second time.
fn errno(error: &vfs::Error) -> i32 {
    match error {
        vfs::Error::NotFound => libc::ENOENT,
        vfs::Error::Exists => libc::EEXIST,
        vfs::Error::NotDirectory => libc::ENOTDIR,
        vfs::Error::IsDirectory => libc::EISDIR,
        vfs::Error::NotEmpty => libc::ENOTEMPTY,
        vfs::Error::Invalid => libc::EINVAL,
        vfs::Error::NotPermitted => libc::EPERM,
        vfs::Error::Access => libc::EACCES,
        vfs::Error::NameTooLong => libc::ENAMETOOLONG,
        vfs::Error::BadHandle => libc::EBADF,
        vfs::Error::NoSpace(_) => libc::ENOSPC,
        vfs::Error::NoData => libc::ENODATA,
        other => panic!("no operation should end with: {other} ({other:?})"),
    }
}
