//! A directory that is being read: the entries that its pages have brought so far.
//!
//! The order of entries is that in which they became known, so that offsets stay.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;

use crate::vfs::Ino;

/// One listing of a directory.
pub(in crate::vfs) struct Pages {
    pub(in crate::vfs) dir: Ino,
    /// One page at a time.
    pub(in crate::vfs) turn: tokio::sync::Mutex<()>,
    state: Mutex<PagesRead>,
}

#[derive(Default)]
pub(in crate::vfs) struct PagesRead {
    /// When the first page was asked for.
    pub(in crate::vfs) began: Option<Instant>,
    /// In the order of offsets, without hash files.
    pub(in crate::vfs) entries: Vec<Ino>,
    /// Name within the directory at which the next page starts.
    pub(in crate::vfs) next: Option<String>,
    /// Everything up to this row, as a name within the directory, is known.
    pub(in crate::vfs) upto: Option<String>,
    pub(in crate::vfs) fetched: usize,
    pub(in crate::vfs) done: bool,
    /// Files whose row was not believed because a directory is known by that name.
    pub(in crate::vfs) doubtful: Vec<Arc<str>>,
}

impl Pages {
    pub(in crate::vfs) fn new(dir: Ino) -> Self {
        Self {
            dir,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub(in crate::vfs) fn state(&self) -> MutexGuard<'_, PagesRead> {
        self.state.lock()
    }

    /// When its first page was asked for; `None` as long as it was not.
    pub(in crate::vfs) fn began(&self) -> Option<Instant> {
        self.state().began
    }

    /// Whether every entry is there.
    pub(in crate::vfs) fn done(&self) -> bool {
        self.state().done
    }

    /// How many entries are there.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Some entries from `first` on.
    pub(in crate::vfs) fn some(&self, first: usize) -> Vec<Ino> {
        const SOME: usize = 1024;
        let state = self.state();
        let from = state.entries.get(first..).unwrap_or_default();
        from.iter().take(SOME).copied().collect()
    }
}

/// A set of inodes.
pub(in crate::vfs) struct Shown(Vec<Ino>);

impl Shown {
    pub(in crate::vfs) fn new(all: &[Ino]) -> Self {
        let mut all = all.to_vec();
        all.sort_unstable();
        Self(all)
    }

    pub(in crate::vfs) fn contains(&self, ino: Ino) -> bool {
        self.0.binary_search(&ino).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shown_is_what_was_shown(all in prop::collection::hash_set(0u64..1000, 0..50), asked in 0u64..1000) {
            let inos: Vec<Ino> = all.iter().map(|number| Ino(number * 2 + 1)).collect();
            prop_assert_eq!(Shown::new(&inos).contains(Ino(asked * 2 + 1)), all.contains(&asked));
        }
    }
}
