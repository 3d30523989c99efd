//! What can be done to a filesystem, and random sequences of it.
//!
//! An operation is a value that stands alone, so that a failing sequence can be shortened. The
//! generator runs the reference along, only to aim better: most operations shall succeed.

use std::time::{Duration, SystemTime};

use crate::reference::{Kind, Reference};

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

/// A sequence of `len` operations.
pub(crate) fn generate(seed: u64, len: usize, scale: Scale) -> Vec<Operation> {
    let mut maker = Maker {
        rng: fastrand::Rng::with_seed(seed),
        reference: Reference::new(),
        scale,
    };
    (0..len)
        .map(|_| {
            let operation = maker.operation();
            let _ = maker.reference.apply(&operation); // failing is part of it
            operation
        })
        .collect()
}

struct Maker {
    rng: fastrand::Rng,
    reference: Reference,
    scale: Scale,
}

impl Maker {
    fn operation(&mut self) -> Operation {
        let slot = self.slot();
        match self.rng.u32(..130) {
            0..10 => {
                let create = self.rng.u32(..3) > 0;
                Operation::Open {
                    slot,
                    name: if create {
                        self.any()
                    } else {
                        self.of(Kind::File)
                    },
                    create,
                    exclusive: create && self.rng.u32(..5) == 0,
                    truncate: self.rng.u32(..4) == 0,
                    append: self.rng.u32(..5) == 0,
                }
            }
            10..14 => Operation::Close { slot },
            14..20 => {
                let (offset, len) = (self.offset(), self.len());
                Operation::ReadAt { slot, offset, len }
            }
            20..28 => {
                let (offset, data) = (self.offset(), self.data());
                Operation::WriteAt { slot, offset, data }
            }
            28..32 => {
                let from = if self.rng.u32(..4) == 0 {
                    slot
                } else {
                    self.slot()
                };
                Operation::CopyRange {
                    from,
                    from_offset: self.offset(),
                    to: slot,
                    to_offset: self.offset(),
                    len: self.len(),
                }
            }
            32..35 => {
                let len = self.offset();
                Operation::SetLen { slot, len }
            }
            35..39 => Operation::Sync { slot },
            39..46 => {
                let (name, data) = (self.any(), self.data());
                Operation::Put { name, data }
            }
            46..50 => Operation::Copy {
                from: self.of(Kind::File),
                to: self.any(),
            },
            50..54 => {
                let (name, data) = (self.of(Kind::File), self.data());
                Operation::Append { name, data }
            }
            54..57 => {
                let (name, len) = (self.of(Kind::File), self.offset());
                Operation::Truncate { name, len }
            }
            57..60 => Operation::Read {
                name: self.of(Kind::File),
            },
            60..72 => {
                let (from, to) = (self.below_root(), self.any());
                let no_replace = self.rng.u32(..5) == 0;
                Operation::Rename {
                    from,
                    to,
                    no_replace,
                }
            }
            72..77 => Operation::Unlink {
                name: match self.rng.u32(..3) {
                    0 => self.below_root(),
                    _ => self.of(Kind::File),
                },
            },
            77..83 => {
                let mode = *self.rng.choice(&[0o755, 0o755, 0o700, 0o750]).unwrap();
                Operation::Mkdir {
                    name: self.any(),
                    mode,
                }
            }
            83..86 => Operation::Rmdir {
                name: self.directory_below_root(),
            },
            86..88 => Operation::List {
                name: self.of(Kind::Directory),
            },
            88..90 => Operation::Stat { name: self.any() },
            90..94 => {
                let modes: &[u32] = &[
                    0o644, 0o600, 0o755, 0o444, 0o000, 0o4711, 0o2711, 0o2640, 0o2775, 0o1777,
                ];
                let mode = *self.rng.choice(modes).unwrap();
                match self.rng.u32(..4) {
                    0 => Operation::ChmodSlot { slot, mode },
                    1 => Operation::Chmod {
                        name: self.anything(),
                        mode,
                    },
                    2 => Operation::Chmod {
                        name: self.of(Kind::Directory),
                        mode: 0o2775,
                    },
                    _ => Operation::Chmod {
                        name: self.of(Kind::File),
                        mode,
                    },
                }
            }
            94..99 => {
                let since =
                    Duration::new(self.rng.u64(..4_000_000_000), self.rng.u32(..1_000_000_000));
                let at = SystemTime::UNIX_EPOCH + since;
                if self.rng.u32(..4) == 0 {
                    Operation::SetTimeSlot { slot, at }
                } else {
                    let name = self.anything();
                    Operation::SetTime { name, at }
                }
            }
            99..103 => Operation::Chown {
                name: self.anything(),
                uid: self.rng.u32(..3) * 1000,
                gid: self.rng.u32(..3) * 100,
            },
            103..105 => Operation::Symlink {
                name: self.any(),
                target: format!("no such/{}", "ü".repeat(self.rng.usize(1..60))),
            },
            105..107 => Operation::Fifo {
                name: self.any(),
                mode: 0o640,
            },
            107..108 => Operation::Readlink {
                name: self.of(Kind::Symlink),
            },
            108..113 => Operation::Allocate {
                slot,
                range: *self
                    .rng
                    .choice(&[
                        Range::Extend,
                        Range::Keep,
                        Range::Punch,
                        Range::Zero,
                        Range::ZeroKeep,
                    ])
                    .unwrap(),
                offset: self.offset(),
                len: self.len(),
            },
            113..120 => {
                let name = self.below_root();
                let key = (*self.rng.choice(KEYS).unwrap()).to_owned();
                match self.rng.u32(..6) {
                    0 => Operation::RemoveXattr { name, key },
                    1 => Operation::GetXattr { name, key },
                    2 => Operation::Xattrs { name },
                    _ => Operation::SetXattr {
                        name,
                        key,
                        value: crate::support::tree::noise(self.rng.u64(..), self.rng.usize(..40)),
                        flags: *self
                            .rng
                            .choice(&[0, 0, libc::XATTR_CREATE, libc::XATTR_REPLACE])
                            .unwrap(),
                    },
                }
            }
            120..123 => Operation::StatSlot { slot },
            123..127 => Operation::Compare,
            _ => Operation::Remount,
        }
    }

    /// Mostly one that is open.
    fn slot(&mut self) -> usize {
        let open = self.reference.open_slots();
        if !open.is_empty() && self.rng.u32(..6) > 0 {
            return *self.rng.choice(&open).unwrap();
        }
        self.rng.usize(..SLOTS)
    }

    /// Mostly something of that kind which exists.
    fn of(&mut self, kind: Kind) -> Name {
        let there = self.reference.paths(kind);
        if !there.is_empty() && self.rng.u32(..12) > 0 {
            return self.rng.choice(&there).unwrap().clone();
        }
        self.any()
    }

    /// Mostly something that exists, of whatever kind.
    fn anything(&mut self) -> Name {
        let kind = match self.rng.u32(..8) {
            0..3 => Kind::File,
            3..6 => Kind::Directory,
            6 => Kind::Symlink,
            _ => Kind::Fifo,
        };
        self.of(kind)
    }

    /// The same without the root, which has no name to remove or rename.
    fn below_root(&mut self) -> Name {
        let name = self.anything();
        if name.is_empty() { self.any() } else { name }
    }

    fn directory_below_root(&mut self) -> Name {
        let name = self.of(Kind::Directory);
        if name.is_empty() { self.any() } else { name }
    }

    /// A name of the small pool in a directory that mostly exists.
    fn any(&mut self) -> Name {
        let directories = self.reference.paths(Kind::Directory);
        let mut parent = self.rng.choice(&directories).unwrap().clone();
        if self.rng.u32(..15) == 0 {
            let files = self.reference.paths(Kind::File);
            parent = self
                .rng
                .choice(&files)
                .cloned()
                .unwrap_or_else(|| "absent".to_owned());
        }
        while parent.split('/').count() > 3 {
            parent = parent.rsplit_once('/').unwrap().0.to_owned();
        }
        let name = self.rng.choice(NAMES).unwrap();
        if parent.is_empty() {
            (*name).to_owned()
        } else {
            format!("{parent}/{name}")
        }
    }

    fn most(&self) -> u64 {
        match self.scale {
            Scale::Small => 200_000,
            Scale::Large => 24_000_000,
        }
    }

    fn offset(&mut self) -> u64 {
        let most = self.most();
        match self.rng.u32(..4) {
            0 => 0,
            1 => self.rng.u64(..most.min(5_000)),
            _ => self.rng.u64(..most),
        }
    }

    fn len(&mut self) -> usize {
        let most = self.most() as usize;
        match self.rng.u32(..4) {
            0 => self.rng.usize(1..10),
            1 => 4096,
            _ => self.rng.usize(1..most / 2),
        }
    }

    fn data(&mut self) -> Data {
        Data {
            seed: self.rng.u64(..),
            len: self.len(),
        }
    }
}
