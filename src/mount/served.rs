//! Which process serves a mount, and whether it has stored everything: one small file for each, in a directory of its user's.
//! umount(8) returns when the kernel has let go; whoever must know that the last byte is stored (a machine that goes down)
//! waits here.
//!
//! The process holds its file locked (flock(2)) as long as it lives, so no number of a process is ever taken for another's:
//! a file that can be locked is of one that has ended. The last thing it writes is its verdict, into the file that whoever
//! waits has open, also when its name is gone.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Outcome;
use super::point::Mounted;

/// The first line of a file.
const HEAD: &str = "b2fuse 1";
/// Verdicts.
const STORED: &str = "stored";
const NOT_STORED: &str = "not stored";
/// A file has a few short lines and a path.
const LENGTH_MAX: u64 = 16 << 10;

/// This process's file.
#[derive(Debug)]
pub(super) struct Served {
    path: PathBuf,
    file: Flock<File>,
}

impl Served {
    /// Says that this process serves the mount.
    pub(super) fn by_this_process(mount: &Mounted) -> io::Result<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        let mut fault = io::Error::from(io::ErrorKind::NotFound);
        for dir in places(uid, &|name| std::env::var_os(name)) {
            match Self::begin(&dir, uid, mount) {
                Ok(served) => return Ok(served),
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }

    fn begin(dir: &Path, uid: u32, mount: &Mounted) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !belongs_to(dir, uid) {
            return Err(io::Error::other("belongs to another user"));
        }
        clear(dir, uid);
        let device = mount.device.replace(':', "-");
        let path = dir.join(format!("{device}-{}", std::process::id()));
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
            // Whoever clears the directory may have taken it for a dead one's before it was locked.
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            file.set_len(0)?;
            writeln!(
                file,
                "{HEAD}\npid {}\ndevice {}\nmountpoint {}",
                std::process::id(),
                mount.device,
                mount.point.display()
            )?;
            return Ok(Self { path, file });
        }
    }

    /// Where this process's control socket belongs: it goes with the file.
    pub(super) fn socket(&self) -> PathBuf {
        socket_of(&self.path)
    }

    /// Says how it ended. The lock is held until the process is gone, which is what others wait for.
    pub(super) fn ended(mut self, stored: bool) {
        let verdict = if stored { STORED } else { NOT_STORED };
        if let Err(error) = writeln!(self.file, "{verdict}") {
            log::debug!("{}: {error}", self.path.display());
        }
        let _ = fs::remove_file(&self.path);
        std::mem::forget(self.file);
    }
}

/// Another process, which serves a mount.
#[derive(Debug)]
pub(super) struct Server {
    file: File,
    /// Its number, for people to see.
    pub(super) pid: String,
}

impl Server {
    /// The one that serves this mount, which is still mounted.
    pub(super) fn of(mount: &Mounted) -> Option<Self> {
        let uid = mount.owner?;
        places(uid, &|name| std::env::var_os(name))
            .into_iter()
            .filter(|dir| belongs_to(dir, uid))
            .find_map(|dir| find(&dir, uid, &mount.device))
    }

    /// Waits until it has ended; whether it has stored everything.
    pub(super) fn wait(self) -> io::Result<Outcome> {
        let mut file = self.file;
        let mut lock = loop {
            match Flock::lock(file, FlockArg::LockShared) {
                Ok(lock) => break lock,
                Err((back, Errno::EINTR)) => file = back,
                Err((_, error)) => return Err(error.into()),
            }
        };
        let text = read(&mut lock)?;
        Ok(if text.lines().next_back() == Some(STORED) {
            Outcome::Stored
        } else {
            Outcome::NotStored
        })
    }
}

/// Where a user's files may be, the best place first.
fn places(uid: u32, environment: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if uid == 0 {
        places.push(PathBuf::from("/run/b2fuse"));
    } else {
        let own = nix::unistd::geteuid().as_raw() == uid;
        let named = environment("XDG_RUNTIME_DIR").map(PathBuf::from);
        places.extend(named.filter(|dir| own && dir.is_absolute()));
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        if !places.contains(&usual) {
            places.push(usual);
        }
        for place in &mut places {
            place.push("b2fuse");
        }
    }
    places.push(PathBuf::from(format!("/tmp/b2fuse-{uid}")));
    places
}

/// That nobody else can put files there, or links in its place.
fn belongs_to(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o022 == 0
    })
}

/// The files of processes in a directory.
fn files(dir: &Path, uid: u32) -> impl Iterator<Item = (PathBuf, File)> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(move |entry| {
            let path = entry.ok()?.path();
            let file = File::options()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
                .ok()?;
            let metadata = file.metadata().ok()?;
            (metadata.is_file() && metadata.uid() == uid).then_some((path, file))
        })
}

/// Removes what processes that were killed have left, their control sockets included.
fn clear(dir: &Path, uid: u32) {
    for (path, file) in files(dir, uid) {
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_file(socket_of(&path));
            let _ = fs::remove_file(&path);
        }
    }
    // Whoever lives has its file before its socket, and as long.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_socket = path.extension().is_some_and(|end| end == SOCKET);
        if is_socket && !path.with_extension("").exists() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// The end of a control socket's name; before it stands that of its file.
const SOCKET: &str = "sock";

fn socket_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SOCKET);
    PathBuf::from(name)
}

/// A process that lives and has not stored everything yet.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) pid: String,
    /// The number of its filesystem, which another may have had before or has now.
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) began: SystemTime,
    /// Where its control socket is, if it has one.
    pub(super) socket: PathBuf,
    file: File,
}

impl Living {
    fn read(path: &Path, file: File) -> Option<Self> {
        let Err((mut file, Errno::EWOULDBLOCK)) = Flock::lock(file, FlockArg::LockSharedNonblock)
        else {
            return None;
        };
        let text = read(&mut file).ok()?;
        let field = |name: &str| {
            let mut lines = text.lines();
            (lines.next() == Some(HEAD))
                .then(|| lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')))?
        };
        if matches!(text.lines().next_back(), Some(STORED | NOT_STORED)) {
            return None;
        }
        Some(Self {
            pid: field("pid")?.to_owned(),
            device: field("device")?.to_owned(),
            mountpoint: field("mountpoint").unwrap_or_default().to_owned(),
            began: file.metadata().ok()?.modified().ok()?,
            socket: socket_of(path),
            file,
        })
    }

    /// To be waited for.
    pub(super) fn into_server(self) -> Server {
        Server {
            file: self.file,
            pid: self.pid,
        }
    }
}

/// All of a user's.
pub(super) fn living(uid: u32) -> Vec<Living> {
    places(uid, &|name| std::env::var_os(name))
        .into_iter()
        .filter(|dir| belongs_to(dir, uid))
        .flat_map(|dir| living_in(&dir, uid))
        .collect()
}

fn living_in(dir: &Path, uid: u32) -> Vec<Living> {
    files(dir, uid)
        .filter_map(|(path, file)| Living::read(&path, file))
        .collect()
}

/// Users who may have such files, besides those who have something mounted.
pub(super) fn users() -> Vec<u32> {
    let names = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |name: OsString, before: &str| {
        let name = name.into_string().ok()?;
        name.strip_prefix(before)?.parse().ok()
    };
    let run = names("/run/user").filter_map(|entry| number(entry.file_name(), ""));
    let tmp = names("/tmp").filter_map(|entry| number(entry.file_name(), "b2fuse-"));
    run.chain(tmp).collect()
}

/// The process that lives and serves the filesystem with this number: the one that began last, for one whose filesystem had
/// the number before may still be storing what is pending.
fn find(dir: &Path, uid: u32, device: &str) -> Option<Server> {
    living_in(dir, uid)
        .into_iter()
        .filter(|living| living.device == device)
        .max_by_key(|living| living.began)
        .map(Living::into_server)
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
