//! What the two writers do, and random sequences of it; values that stand alone, so that a sequence can be shortened.

use std::time::Duration;

use b2fuse::vfs::{Delete, Overwrite};

/// All names there ever are.
pub(super) const NAMES: [&str; 6] = ["a", "b", "d/a", "d/b", "e/a", "e/b"];
pub(super) const DIRECTORIES: [&str; 2] = ["d", "e"];

/// A name, as an index into `NAMES`.
pub(super) type Name = &'static str;

/// How A is mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) ttl: Duration,
    pub(super) delete: Delete,
    pub(super) overwrite: Overwrite,
    pub(super) write_back: Option<Duration>,
    pub(super) latency: Duration,
}

impl Manner {
    /// Whether A may delete what B has made and A has shown.
    pub(super) fn deletes(self) -> bool {
        self.delete == Delete::Purge || self.overwrite == Overwrite::Replace
    }
}

/// What A does. A token is what distinguishes the content from any other.
#[derive(Debug, Clone)]
pub(super) enum Ours {
    /// Replaces the content, and closes.
    Put {
        name: Name,
        token: u32,
    },
    /// Appends, and closes.
    Append {
        name: Name,
        token: u32,
    },
    /// Opens the one file that stays open across steps.
    Open {
        name: Name,
    },
    /// Appends to it.
    Write {
        token: u32,
    },
    Sync,
    Close,
    Remove {
        name: Name,
    },
    Rename {
        from: Name,
        to: Name,
        no_replace: bool,
    },
    RenameDirectory {
        from: Name,
        to: Name,
    },
    Mkdir {
        name: Name,
    },
    Rmdir {
        name: Name,
    },
    Chmod {
        name: Name,
        mode: u32,
    },
    Look {
        name: Name,
    },
    SyncDir {
        name: Name,
    },
    Drain,
    Pause,
}

impl Ours {
    fn name(&self) -> Option<Name> {
        match self {
            Self::Put { name, .. } | Self::Append { name, .. } | Self::Chmod { name, .. } => {
                Some(name)
            }
            Self::Rename { to, .. } => Some(to),
            _ => None,
        }
    }
}

/// What B does.
#[derive(Debug, Clone)]
pub(super) enum Theirs {
    Upload {
        name: Name,
        token: u32,
    },
    Hide {
        name: Name,
    },
    DeleteNewest {
        name: Name,
    },
    /// Changes attributes by a copy onto the name, and may delete what was copied.
    Copy {
        name: Name,
        mode: u32,
        delete: bool,
    },
}

/// One thing at a time, or two at once. Faults never stand beside what B does: its outcome must be known.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Ours { what: Ours, faults: Vec<String> },
    Theirs(Theirs),
    Both(Ours, Theirs),
}

pub(super) fn generate(seed: u64, len: usize) -> (Manner, Vec<Step>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let ttls = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(600),
    ];
    let manner = Manner {
        ttl: ttls[rng.usize(..3)],
        delete: if rng.u8(..4) == 0 {
            Delete::Purge
        } else {
            Delete::Hide
        },
        write_back: match rng.u8(..6) {
            0 => Some(Duration::from_millis(2)),
            1 => Some(Duration::from_secs(3600)),
            _ => None,
        },
        latency: Duration::from_millis(rng.u64(..2)),
        overwrite: if seed.is_multiple_of(3) {
            Overwrite::Replace
        } else {
            Overwrite::Keep
        },
    };
    // Few names a sequence, so that they collide.
    let first = rng.usize(..NAMES.len());
    let few = [NAMES[first], NAMES[(first + 1) % NAMES.len()], NAMES[first]];
    let mut writer = Writer {
        rng,
        few,
        token: 0,
        open: false,
        outages: 1,
        again: None,
    };
    // Most names shall be there when something is done to them.
    let beginnings = few.map(|name| writer.beginning(name));
    let others = (beginnings.len()..len).map(|_| writer.step());
    (
        manner,
        beginnings
            .into_iter()
            .chain(others.collect::<Vec<_>>())
            .collect(),
    )
}

struct Writer {
    rng: fastrand::Rng,
    few: [Name; 3],
    token: u32,
    open: bool,
    /// How many more there may be: each takes all of A's time limit.
    outages: u32,
    /// What a call of unknown outcome was about: the most telling name to go on with.
    again: Option<Name>,
}

impl Writer {
    fn name(&mut self) -> Name {
        if let Some(name) = self.again.take().filter(|_| self.rng.bool()) {
            return name;
        }
        if self.rng.u8(..10) == 0 {
            NAMES[self.rng.usize(..NAMES.len())]
        } else {
            self.few[self.rng.usize(..self.few.len())]
        }
    }

    fn token(&mut self) -> u32 {
        self.token += 1;
        self.token
    }

    fn beginning(&mut self, name: Name) -> Step {
        let token = self.token();
        if self.rng.bool() {
            return Step::Theirs(Theirs::Upload { name, token });
        }
        Step::Ours {
            what: Ours::Put { name, token },
            faults: Vec::new(),
        }
    }

    fn step(&mut self) -> Step {
        match self.rng.u8(..20) {
            0..=4 => Step::Theirs(self.theirs()),
            5..=7 => Step::Both(self.ours(), self.theirs()),
            8..=12 => {
                let what = self.ours();
                let faults = self.faults(&what);
                self.again = what.name();
                Step::Ours { what, faults }
            }
            _ => Step::Ours {
                what: self.ours(),
                faults: Vec::new(),
            },
        }
    }

    fn ours(&mut self) -> Ours {
        let name = self.name();
        if self.open && self.rng.u8(..3) == 0 {
            return match self.rng.u8(..5) {
                0..=1 => Ours::Write {
                    token: self.token(),
                },
                2..=3 => Ours::Sync,
                _ => {
                    self.open = false;
                    Ours::Close
                }
            };
        }
        let directory = DIRECTORIES[self.rng.usize(..2)];
        match self.rng.u8(..40) {
            0..=7 => Ours::Put {
                name,
                token: self.token(),
            },
            8..=10 => Ours::Append {
                name,
                token: self.token(),
            },
            11..=13 => {
                self.open = true;
                Ours::Open { name }
            }
            14..=19 => Ours::Remove { name },
            20..=24 => Ours::Rename {
                from: name,
                to: self.name(),
                no_replace: self.rng.u8(..4) == 0,
            },
            25..=26 => Ours::RenameDirectory {
                from: directory,
                to: if directory == "d" { "e" } else { "d" },
            },
            27 => Ours::Mkdir { name: directory },
            28 => Ours::Rmdir { name: directory },
            29..=33 => Ours::Chmod {
                name,
                mode: [0o600, 0o640, 0o755][self.rng.usize(..3)],
            },
            34..=35 => Ours::Look { name },
            36 => Ours::SyncDir {
                name: ["", "d", "e"][self.rng.usize(..3)],
            },
            37..=38 => Ours::Drain,
            _ => Ours::Pause,
        }
    }

    fn theirs(&mut self) -> Theirs {
        let name = self.name();
        match self.rng.u8(..8) {
            0..=3 => Theirs::Upload {
                name,
                token: self.token(),
            },
            4 => Theirs::Hide { name },
            5 => Theirs::DeleteNewest { name },
            _ => Theirs::Copy {
                name,
                mode: [0o600, 0o640, 0o755][self.rng.usize(..3)],
                delete: self.rng.bool(),
            },
        }
    }

    /// Beyond A's time limit is everything that takes a second.
    fn faults(&mut self, what: &Ours) -> Vec<String> {
        let calls: &[&str] = match what {
            Ours::Put { .. } | Ours::Append { .. } | Ours::Sync | Ours::Close => &["upload_file"],
            Ours::Remove { .. } | Ours::Rmdir { .. } => &["hide_file", "delete_file_version"],
            Ours::Rename { .. } | Ours::RenameDirectory { .. } => &["copy_file", "hide_file"],
            _ => &["upload_file", "copy_file", "hide_file"],
        };
        let call = calls[self.rng.usize(..calls.len())];
        let mut words = match self.rng.u8(..8) {
            0 => vec!["*:reset:2".to_owned()],
            1 => vec!["*:503:1".to_owned(), "*:lost-reply:1".to_owned()],
            2 => vec![
                format!("{call}:lost-reply:2"),
                "list:transaction-cap".to_owned(),
            ],
            3 => vec![format!("{call}:late=1:1")],
            4 => vec!["*:lost-reply/0.4".to_owned()],
            _ => vec![format!("{call}:lost-reply:1")],
        };
        if self.outages > 0 && self.rng.u8(..3) == 0 {
            self.outages -= 1;
            let effects = [
                "upload",
                "copy_file",
                "hide_file",
                "delete_file_version",
                "list",
            ];
            words.extend(effects.map(|call| format!("{call}:reset")));
        }
        words
    }
}
