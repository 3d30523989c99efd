//! Names: inode table, directories, freshness, attributes, handles; free of fuser, testable without a mount.
//!
//! INTERFACE STUB.
#![allow(missing_docs, unused_variables, clippy::unused_async, clippy::todo)]

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::b2::Client;
use crate::io::Io;

/// An inode number; 1 is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    pub const ROOT: Self = Self(1);
}

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fh(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    pub ino: Ino,
    pub kind: FileKind,
    /// Permission bits only (07777).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub nlink: u32,
    pub rdev: u32,
    pub atime: SystemTime,
    pub mtime: SystemTime,
    pub ctime: SystemTime,
}

/// Answer to lookup, create, mkdir...: the kernel now holds one more reference to `attr.ino`.
#[derive(Debug, Clone)]
pub struct Entry {
    pub attr: Attr,
    /// How long the kernel may believe name and attributes.
    pub ttl: Duration,
}

#[derive(Debug, Clone, Default)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    /// `None` inside `Some` means now.
    pub atime: Option<Option<SystemTime>>,
    pub mtime: Option<Option<SystemTime>>,
}

/// Who makes a new file, and with which permission bits (umask already applied by the kernel).
#[derive(Debug, Clone, Copy)]
pub struct NewNode {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Opened {
    pub fh: Fh,
    /// The kernel may keep the pages it has of this inode.
    pub keep_cache: bool,
}

#[derive(Debug, Clone)]
pub struct DirEntry {
    pub ino: Ino,
    /// The offset that continues after this entry.
    pub next: u64,
    pub kind: FileKind,
    pub name: Arc<str>,
}

/// Something the kernel should forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// Content and attributes of an inode.
    Inode(Ino),
    /// A name in a directory.
    Entry { parent: Ino, name: Arc<str> },
}

#[derive(Debug, Clone, Copy)]
pub struct StatFs {
    pub block_size: u32,
    pub blocks: u64,
    pub free: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u32,
}

/// What removal does (DESIGN §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// Hide: older versions stay recoverable.
    Hide,
    /// Remove every version.
    Purge,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Empty, or ends with `/`: what the root stands for.
    pub prefix: String,
    pub metadata_ttl: Duration,
    pub delete: Delete,
    pub read_only: bool,
    /// Owner and permission bits of what has none stored.
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
    pub enable_hashfiles: bool,
    pub list_hashfiles: bool,
}

/// One thing that is not in B2 (yet).
#[derive(Debug, Clone)]
pub struct Unstored {
    pub path: String,
    /// Bytes not stored; 0 when only attributes are missing.
    pub bytes: u64,
    pub error: String,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pending {
    pub files: usize,
    pub bytes: u64,
}

/// An error with the meaning of an errno; `fs/errno.rs` has the table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("file exists")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("directory not empty")]
    NotEmpty,
    #[error("invalid argument")]
    Invalid,
    #[error("name not valid UTF-8")]
    IllegalName,
    #[error("name too long")]
    NameTooLong,
    #[error("permission denied")]
    Access,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("read-only file system")]
    ReadOnly,
    #[error("not supported")]
    NotSupported,
    #[error("bad file handle")]
    BadHandle,
    #[error("stale file handle")]
    Stale,
    #[error("cross-device link")]
    CrossDevice,
    #[error("no data")]
    NoData,
    #[error("file too large")]
    TooLarge,
    #[error("no space left: {0}")]
    NoSpace(String),
    #[error(transparent)]
    B2(crate::b2::Error),
    #[error("{0}")]
    Io(String),
}

/// The filesystem; clones share everything. All methods may run at once from any thread.
/// A method that memory can answer is ready at its first poll.
#[derive(Clone)]
pub struct Vfs;

impl Vfs {
    /// Must be called inside a tokio runtime. One list call, so that a key without rights fails here.
    pub async fn new(client: Client, io: Io, settings: Settings) -> Result<Self, Error> {
        todo!()
    }
    /// Waits for what the kernel should forget next; for one task of `mount`.
    pub async fn next_invalidation(&self) -> Invalidation {
        todo!()
    }
    pub async fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Entry, Error> {
        todo!()
    }
    pub fn forget(&self, ino: Ino, count: u64) {
        todo!()
    }
    pub async fn getattr(&self, ino: Ino) -> Result<(Attr, Duration), Error> {
        todo!()
    }
    pub async fn setattr(&self, ino: Ino, set: SetAttr) -> Result<(Attr, Duration), Error> {
        todo!()
    }
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes, Error> {
        todo!()
    }
    /// Regular files and, in time, the other kinds but directories and symlinks.
    pub async fn mknod(&self, parent: Ino, name: &OsStr, new: NewNode) -> Result<Entry, Error> {
        todo!()
    }
    pub async fn symlink(
        &self,
        parent: Ino,
        name: &OsStr,
        target: &[u8],
        new: NewNode,
    ) -> Result<Entry, Error> {
        todo!()
    }
    pub async fn mkdir(&self, parent: Ino, name: &OsStr, new: NewNode) -> Result<Entry, Error> {
        todo!()
    }
    pub async fn unlink(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        todo!()
    }
    pub async fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        todo!()
    }
    /// `flags` as of renameat2(2).
    pub async fn rename(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<(), Error> {
        todo!()
    }
    /// `flags` as of open(2): access mode, O_TRUNC, O_APPEND.
    pub async fn open(&self, ino: Ino, flags: i32) -> Result<Opened, Error> {
        todo!()
    }
    /// create + open in one; the kernel has looked before, but another may have been faster: O_EXCL in `flags`.
    pub async fn create(
        &self,
        parent: Ino,
        name: &OsStr,
        new: NewNode,
        flags: i32,
    ) -> Result<(Entry, Opened), Error> {
        todo!()
    }
    pub async fn read(&self, fh: Fh, offset: u64, len: u32) -> Result<Vec<Bytes>, Error> {
        todo!()
    }
    pub async fn write(&self, fh: Fh, offset: u64, data: Bytes) -> Result<u32, Error> {
        todo!()
    }
    /// close(2) of one descriptor: with write-through, 0 means B2 has the bytes.
    pub async fn flush(&self, fh: Fh) -> Result<(), Error> {
        todo!()
    }
    pub async fn fsync(&self, fh: Fh, datasync: bool) -> Result<(), Error> {
        todo!()
    }
    /// Last close; never fails, never waits for B2.
    pub fn release(&self, fh: Fh) {
        todo!()
    }
    pub async fn opendir(&self, ino: Ino) -> Result<Fh, Error> {
        todo!()
    }
    /// Makes sure that entries from `offset` on are at hand (or the end is known). Offset 0 starts
    /// a new snapshot (rewinddir).
    pub async fn readdir_fill(&self, fh: Fh, offset: u64) -> Result<(), Error> {
        todo!()
    }
    /// Gives entries from `offset` until `emit` breaks. With `plus`, `emit` gets attributes and the
    /// kernel's reference count rises for each entry for which `emit` continues, except `.` and `..`.
    pub fn readdir_emit(
        &self,
        fh: Fh,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry, Option<Entry>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        todo!()
    }
    pub fn releasedir(&self, fh: Fh) {
        todo!()
    }
    pub async fn fsyncdir(&self, fh: Fh) -> Result<(), Error> {
        todo!()
    }
    pub fn statfs(&self) -> StatFs {
        todo!()
    }
    /// What is not in B2 yet.
    pub fn pending(&self) -> Pending {
        todo!()
    }
    /// Stores everything that is pending, several at once; what could not be stored comes back.
    /// May be called again; cancelled by dropping.
    pub async fn drain(&self) -> Vec<Unstored> {
        todo!()
    }
    /// What would be lost if the process ended now.
    pub fn unstored(&self) -> Vec<Unstored> {
        todo!()
    }
}
