//! The one answer to "what do we know of this name, and since when".
//!
//! Everybody who has to decide whether B2 must be asked, or whether a row of a listing may be believed, asks
//! here; the marks that the answer is made of are kept by `node` and `tree`. Names that leave are not among
//! them: they are ignored row by row (`leaving`), for a file `a` may leave beside a directory `a/` that stays.

use std::time::{Duration, Instant};

use crate::vfs::Ino;
use crate::vfs::names::dir::Dir;
use crate::vfs::names::moment::Moment;
use crate::vfs::names::node::Node;
use crate::vfs::names::tree::{Tick, Tree};
use crate::vfs::state::Stored;

/// What is known of a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Known {
    /// Something has it, which this mount last changed at a tick.
    Here {
        ino: Ino,
        changed: Tick,
        since: Since,
    },
    /// Nothing has it.
    Absent { since: Since },
    /// Nothing has it, because this mount has removed it at a tick; listings that began before are under way.
    Removed { at: Tick, since: Since },
    /// Nobody has asked.
    Unknown,
}

/// Since when something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Since {
    /// This mount knows better than any listing.
    Always,
    /// B2 was asked at that moment.
    At(Instant),
    /// It was heard of, but B2 has to be asked.
    Never,
}

impl Since {
    fn of(at: Option<Instant>) -> Self {
        at.map_or(Self::Never, Self::At)
    }

    /// How much longer B2 need not be asked.
    pub(in crate::vfs) fn left(self, ttl: Duration, now: Instant) -> Duration {
        match self {
            Self::Always => ttl,
            Self::At(at) => ttl.saturating_sub(now.saturating_duration_since(at)),
            Self::Never => Duration::ZERO,
        }
    }

    /// Whether it need not be asked now.
    pub(in crate::vfs) fn fresh(self, ttl: Duration, now: Instant) -> bool {
        self == Self::Always || !self.left(ttl, now).is_zero()
    }
}

impl Known {
    /// Which inode has the name.
    pub(in crate::vfs) fn ino(self) -> Option<Ino> {
        match self {
            Self::Here { ino, .. } => Some(ino),
            _ => None,
        }
    }

    /// Since when that is known.
    pub(in crate::vfs) fn since(self) -> Since {
        match self {
            Self::Here { since, .. } | Self::Absent { since } | Self::Removed { since, .. } => {
                since
            }
            Self::Unknown => Since::Never,
        }
    }

    /// Whether this mount did something to the name after a listing began: its row must be ignored.
    pub(in crate::vfs) fn overrules(self, began: Tick) -> bool {
        match self {
            Self::Here { changed, .. } => changed > began,
            Self::Removed { at, .. } => at > began,
            Self::Absent { .. } | Self::Unknown => false,
        }
    }
}

impl Tree {
    /// What is known of a name.
    pub(in crate::vfs) fn known(&self, dir: Ino, name: &str) -> Known {
        let known = self.known_listed(dir, name);
        if self.reachable(dir) {
            return known;
        }
        // Removed: what it holds is what memory says.
        let since = Since::Always;
        match known {
            Known::Here { ino, changed, .. } => Known::Here {
                ino,
                changed,
                since,
            },
            _ => Known::Absent { since },
        }
    }

    /// What is known of a name in a directory that is known to be in the tree.
    pub(in crate::vfs) fn known_listed(&self, dir: Ino, name: &str) -> Known {
        let Ok(here) = self.dir(dir) else {
            return Known::Unknown;
        };
        if let Some(ino) = here.children.get(name).copied()
            && let Ok(node) = self.get(ino)
        {
            return Known::Here {
                ino,
                changed: node.changed,
                since: self.since(node, here),
            };
        }
        let since = self.believed(here.listed().max(here.absent(name)));
        match self.removed(dir, name) {
            Some(at) => Known::Removed { at, since },
            None if since == Since::Never => Known::Unknown,
            None => Known::Absent { since },
        }
    }

    /// B2 has to be asked what a node stands for.
    pub(in crate::vfs) fn distrust(&mut self, ino: Ino) {
        let Ok(node) = self.get_mut(ino) else { return };
        node.unsettled = true;
        let parent = node.parent;
        if let Ok(dir) = self.dir_mut(parent) {
            dir.forget_listing();
        }
    }

    /// Since when all names of a directory are known.
    pub(in crate::vfs) fn known_all(&self, dir: Ino) -> Since {
        if !self.reachable(dir) {
            return Since::Always;
        }
        self.believed(self.dir(dir).ok().and_then(Dir::listed))
    }

    /// How much longer B2 need not be asked about a node.
    pub(in crate::vfs) fn fresh_for(&self, ino: Ino, ttl: Duration, now: Instant) -> Duration {
        let Ok(node) = self.get(ino) else {
            return Duration::ZERO;
        };
        if ino == Ino::ROOT {
            return ttl;
        }
        let since = self
            .dir(node.parent)
            .map_or(Since::Never, |parent| self.since(node, parent));
        since.left(ttl, now)
    }

    /// Since when it is known what a name in a directory stands for.
    fn since(&self, node: &Node, parent: &Dir) -> Since {
        if node.local() {
            return Since::Always;
        }
        let checked = node.checked.filter(|_| !node.unsettled);
        self.believed(parent.listed().max(checked.map(Moment::instant)))
    }

    /// What B2 said at that moment, unless all of that time is doubted.
    fn believed(&self, at: Option<Instant>) -> Since {
        Since::of(at.filter(|at| self.doubted.is_none_or(|until| *at > until)))
    }

    /// B2 is asked anew for whatever it has said up to now.
    pub(in crate::vfs) fn doubt_all(&mut self) {
        self.doubted = Some(Instant::now());
    }
}

/// Whether a row shows what was before a version that this mount has stored `lately`: B2's listings are
/// consistent, but not all that answer for it are. The name is asked for again then. That a name is missing is
/// believed at once, because it cannot be told from a removal by somebody else.
pub(in crate::vfs) fn lags(row_ms: u64, own: &Stored, lately: bool) -> bool {
    own.ours() && lately && row_ms < own.uploaded_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_since(base: Instant) -> impl Strategy<Value = Since> {
        prop_oneof![
            Just(Since::Always),
            Just(Since::Never),
            (0u64..100).prop_map(move |s| Since::At(base + Duration::from_secs(s))),
        ]
    }

    proptest! {
        /// What is known longer ago is never fresher, and a longer time to live never makes anything stale.
        #[test]
        fn freshness_only_falls(
            (since, ttl, now, later) in {
                let base = Instant::now();
                let seconds = |s: u64| Duration::from_secs(s);
                (any_since(base), 0u64..60, 0u64..200, 0u64..60).prop_map(
                    move |(since, ttl, now, later)| (since, seconds(ttl), base + seconds(now), seconds(later)),
                )
            },
        ) {
            prop_assert!(since.left(ttl, now + later) <= since.left(ttl, now));
            prop_assert!(since.left(ttl, now) <= ttl);
            prop_assert!(!since.fresh(ttl, now) || since.fresh(ttl + later, now));
            prop_assert_eq!(since == Since::Always, since.fresh(Duration::ZERO, now));
        }
    }

    #[test]
    fn rows_of_older_versions_are_not_believed_for_a_while() {
        use crate::b2::FileId;
        use crate::vfs::state::{Came, Hash, Maker, Standing};
        let own = |ours| Stored {
            id: FileId::new("4_z1"),
            size: 1,
            hash: Hash::Unknown,
            maker: if ours {
                Maker::Us(Standing::Closed)
            } else {
                Maker::Other
            },
            uploaded_ms: 1000,
            older_s: 0,
            came: Came::at(1000),
            customer_key: false,
        };
        assert!(lags(999, &own(true), true));
        assert!(!lags(1000, &own(true), true), "as new");
        assert!(!lags(1001, &own(true), true), "newer");
        assert!(!lags(999, &own(true), false), "it has had time to be seen");
        assert!(!lags(999, &own(false), true), "somebody else's went before");
    }
}
