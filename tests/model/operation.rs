//! What can be done to a filesystem, and random sequences of it.
//!
//! An operation is a value that stands alone, so that a failing sequence can be shortened. The
//! generator runs the reference along, only to aim better: most operations shall succeed.

mod generate;

use std::time::{Duration, SystemTime};

use crate::reference::{Kind, Reference};

pub(crate) use generate::generate;

/// Slots for files that stay open across operations.
pub(crate) const SLOTS: usize = 4;

/// Names that collide often; one of each kind that matters.
const NAMES: &[&str] = &["a", "b", "c.txt", "ü x", "a+b%"];

/// Extended attributes.
const KEYS: &[&str] = &["user.a", "user.B c", "user.ü%"];

/// How large files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Up to some hundred kilobytes.
    Small,
    /// Up to some tens of megabytes: several parts, more than the memory.
    Large,
}

/// A relative path; empty is the root.
pub(crate) type Name = String;

/// What fallocate(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    Extend,
    Keep,
    Punch,
    Zero,
    ZeroKeep,
}

impl Range {
    pub(crate) fn mode(self) -> i32 {
        match self {
            Self::Extend => 0,
            Self::Keep => libc::FALLOC_FL_KEEP_SIZE,
            Self::Punch => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            Self::Zero => libc::FALLOC_FL_ZERO_RANGE,
            Self::ZeroKeep => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
        }
    }
}

/// Bytes to write, kept short in print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) seed: u64,
    pub(crate) len: usize,
}

impl Data {
    pub(crate) fn bytes(self) -> Vec<u8> {
        crate::support::tree::noise(self.seed, self.len)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// Opens (or makes) a file into a slot, read and write.
    Open {
        slot: usize,
        name: Name,
        create: bool,
        exclusive: bool,
        truncate: bool,
        append: bool,
    },
    Close {
        slot: usize,
    },
    ReadAt {
        slot: usize,
        offset: u64,
        len: usize,
    },
    WriteAt {
        slot: usize,
        offset: u64,
        data: Data,
    },
    /// Through a descriptor opened with O_APPEND; else at the current end.
    SetLen {
        slot: usize,
        len: u64,
    },
    /// copy_file_range(2) between two slots, or within one, until all is copied.
    CopyRange {
        from: usize,
        from_offset: u64,
        to: usize,
        to_offset: u64,
        len: usize,
    },
    /// As `cp --reflink=auto`: both opened, everything copied by copy_file_range(2), both closed.
    Copy {
        from: Name,
        to: Name,
    },
    Sync {
        slot: usize,
    },
    /// What fstat(2) says.
    StatSlot {
        slot: usize,
    },
    ChmodSlot {
        slot: usize,
        mode: u32,
    },
    SetTimeSlot {
        slot: usize,
        at: SystemTime,
    },
    /// fallocate(2).
    Allocate {
        slot: usize,
        range: Range,
        offset: u64,
        len: usize,
    },
    /// Open, write all, close.
    Put {
        name: Name,
        data: Data,
    },
    /// Open for appending, write, close.
    Append {
        name: Name,
        data: Data,
    },
    Truncate {
        name: Name,
        len: u64,
    },
    Read {
        name: Name,
    },
    Rename {
        from: Name,
        to: Name,
        no_replace: bool,
    },
    Unlink {
        name: Name,
    },
    Mkdir {
        name: Name,
        mode: u32,
    },
    Rmdir {
        name: Name,
    },
    /// A link that leads nowhere.
    Symlink {
        name: Name,
        target: String,
    },
    Readlink {
        name: Name,
    },
    Fifo {
        name: Name,
        mode: u32,
    },
    List {
        name: Name,
    },
    Stat {
        name: Name,
    },
    Chmod {
        name: Name,
        mode: u32,
    },
    /// Of links themselves.
    SetTime {
        name: Name,
        at: SystemTime,
    },
    /// The same.
    Chown {
        name: Name,
        uid: u32,
        gid: u32,
    },
    SetXattr {
        name: Name,
        key: String,
        value: Vec<u8>,
        flags: i32,
    },
    GetXattr {
        name: Name,
        key: String,
    },
    RemoveXattr {
        name: Name,
        key: String,
    },
    /// All of them: listxattr(2) and getxattr(2).
    Xattrs {
        name: Name,
    },
    /// Compares the whole tree.
    Compare,
    /// Closes everything, ends the filesystem and starts it again, then compares the whole tree.
    Remount,
}

impl Operation {
    /// Whether it writes to an open file, whatever has become of its name.
    pub(crate) fn writes_by_descriptor(&self) -> bool {
        matches!(
            self,
            Self::WriteAt { .. } | Self::CopyRange { .. } | Self::Allocate { .. }
        )
    }
}
