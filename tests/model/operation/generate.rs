//! Random sequences that mostly make sense.

use super::*;

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
