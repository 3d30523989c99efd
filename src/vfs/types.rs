//! The words of the filesystem: inodes, handles, attributes, entries, settings.
//!
//! Everything here is a value that crosses the border to `fs` or `mount`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// An inode number; 1 is the root. Odd ones are real; the even one before is that of the virtual
/// hash file. So a hash file comes first also for programs that remove by inode number (`rm -r`
/// does with many entries), which would else miss it once its file is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The mount's root.
    pub const ROOT: Self = Self(1);

    /// The virtual `.sha1` file that belongs to this file.
    pub(super) fn hash_file(self) -> Self {
        Self(self.0 & !1)
    }

    /// Whether it is that of a virtual hash file.
    pub fn is_virtual(self) -> bool {
        self.hashed().is_some()
    }

    /// The file a virtual hash file belongs to; `None` for every other inode.
    pub(super) fn hashed(self) -> Option<Self> {
        (self.0 & 1 == 0).then_some(Self(self.0 | 1))
    }
}

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fh(pub u64);

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// What stat(2) shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// File type.
    pub kind: FileKind,
    /// Permission bits only (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// 0 once unlinked.
    pub nlink: u32,
    /// Device number of device nodes.
    pub rdev: u32,
    /// As it was last set, while the inode is known; else as another tool has stored it, else the mtime.
    pub atime: SystemTime,
    /// Last change of content, to the nanosecond.
    pub mtime: SystemTime,
    /// Last change of attributes or content.
    pub ctime: SystemTime,
}

impl Attr {
    /// What a file's virtual hash file shows.
    pub(in crate::vfs) fn hash_file(&self) -> Self {
        /// 40 hex digits and a newline.
        const SIZE: u64 = 41;
        Self {
            ino: self.ino.hash_file(),
            kind: FileKind::File,
            mode: 0o444,
            size: SIZE,
            ..self.clone()
        }
    }
}

/// Answer to lookup, create, mkdir...: the kernel now holds one more reference to `attr.ino`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The inode's attributes.
    pub attr: Attr,
    /// How long the kernel may believe name and attributes.
    pub ttl: Duration,
}

/// The changes of one setattr request.
#[derive(Debug, Clone, Default)]
pub struct SetAttr {
    /// New permission bits.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size in bytes.
    pub size: Option<u64>,
    /// New access time; `None` inside `Some` means now.
    pub atime: Option<Option<SystemTime>>,
    /// New modification time; `None` inside `Some` means now.
    pub mtime: Option<Option<SystemTime>>,
}

/// Who makes a new file, and with which permission bits (umask already applied by the kernel).
#[derive(Debug, Clone, Copy)]
pub struct NewNode {
    /// File type.
    pub kind: FileKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of device nodes.
    pub rdev: u32,
}

/// Answer to open and create.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// The new handle.
    pub fh: Fh,
    /// The kernel may keep the pages it has of this inode.
    pub keep_cache: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// Inode number.
    pub ino: Ino,
    /// The offset that continues after this entry.
    pub next: u64,
    /// File type.
    pub kind: FileKind,
    /// The entry's name, as Linux has it.
    pub name: Arc<[u8]>,
}

/// What df(1) shows. B2 has no quota to ask for (API §17.27).
#[derive(Debug, Clone, Copy)]
pub struct StatFs {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
    /// Longest component in bytes.
    pub name_max: u32,
}

/// What removal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// Hide: older versions stay recoverable.
    Hide,
    /// Remove every version.
    Purge,
}

/// What becomes of a version that this mount replaces by another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays under the new one.
    Keep,
    /// It is deleted, unless another client came between.
    Replace,
}

/// What modes, owners and groups of single files are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permissions {
    /// Shown, changed and stored.
    Keep,
    /// Everything shows the defaults; changes are accepted and forgotten, what is stored stays.
    Ignore,
}

/// What link(2) does: B2 has no object with two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardLinks {
    /// It fails.
    Refuse,
    /// It makes a file of its own with the same content and attributes.
    Copy,
}

/// Names that B2 refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// They cannot be made; names are the same here and in B2.
    Refuse,
    /// They are written to B2 as rclone does it, and what is so written is shown as what it stands for.
    Encode,
}

/// Virtual `.sha1` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFiles {
    /// There are none.
    Off,
    /// They can be opened by their names, but stand in no listing.
    Unlisted,
    /// They are listed, too.
    Listed,
}

/// How the filesystem behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Empty, or ends with `/`: what the root stands for.
    pub prefix: String,
    /// How old a listing may be before B2 is asked again; zero asks every time.
    pub metadata_ttl: Duration,
    /// What removal does.
    pub delete: Delete,
    /// What becomes of versions that are replaced.
    pub overwrite: Overwrite,
    /// Versions that this mount has made and replaces within that time are deleted in any case; zero: none.
    pub drop_versions_within: Duration,
    /// Bytes that the filesystem is said to have; it refuses nothing.
    pub quota: Option<u64>,
    /// Refuse every change.
    pub read_only: bool,
    /// Owner of what has none stored.
    pub uid: u32,
    /// Group of what has none stored.
    pub gid: u32,
    /// Permission bits that are missing from what has no mode stored.
    pub umask: u32,
    /// Whether files have permissions and owners of their own.
    pub permissions: Permissions,
    /// What link(2) does.
    pub hard_links: HardLinks,
    /// What becomes of names that B2 refuses.
    pub names: Names,
    /// Whether there are virtual `.sha1` files.
    pub hash_files: HashFiles,
    /// How many names may be known before those not used are dropped.
    pub names_max: usize,
    /// Most transfers of one bulk operation at once (directory renames, drains).
    pub parallel: usize,
    /// How long after its close a file is uploaded; `None`: before close returns.
    pub write_back: Option<Duration>,
    /// After what time what was appended to a file that stays open is stored; `None`: at its close or fsync only.
    pub store_open: Option<Duration>,
    /// How long an operation waits for a directory that is being renamed or removed.
    pub timeout: Duration,
}

/// One thing that is not in B2 (yet).
#[derive(Debug, Clone)]
pub struct Unstored {
    /// Path within the mount.
    pub path: String,
    /// What B2 lacks of it.
    pub what: Undone,
    /// Why the last try failed; empty when there was none.
    pub error: String,
}

/// What B2 lacks of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// Its content; the size of the file in bytes.
    Content(u64),
    /// Attributes, or the marker of a directory.
    Attributes,
    /// It was to be removed, and is still there.
    Removal,
    /// It was renamed to this path, and B2 has it under its old one.
    Rename(String),
    /// It was to be renamed to this path, which B2 has refused.
    Refused(String),
}

impl Undone {
    /// Whether it is something that can be kept for later.
    pub fn can_be_kept(&self) -> bool {
        !matches!(self, Self::Removal | Self::Refused(_))
    }
}

/// Why something could not be stored.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What failed, what B2 said, what to do.
    pub text: String,
    /// What another try may come to.
    pub prospect: Prospect,
    /// When the first of the tries failed that have failed since.
    pub since: Instant,
    /// When it failed last.
    pub at: Instant,
}

/// What trying again may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// It may work although nobody changes anything.
    Passes,
    /// It may work when somebody has changed something: a name, a right, a cap.
    Depends,
    /// What it was made from is gone from the bucket, and does not come back.
    Never,
}

/// How far a drain is.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    /// Files, markers and attribute changes not in B2 yet.
    pub files: usize,
    /// Bytes in those files.
    pub bytes: u64,
    /// Bytes still to be sent: what has left for B2 does not count, acknowledged or not.
    pub unsent: u64,
    /// Names that B2 is being asked to remove.
    pub removals: usize,
    /// How many of the files failed for a reason that does not pass by itself.
    pub hopeless: usize,
    /// The last failure of any of them.
    pub last: Option<Failure>,
}
