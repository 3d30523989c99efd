//! Access times that somebody set: B2 does not keep them, and reading changes none.
//!
//! They are visible as long as their inode is known. They stand apart from the inodes, most of which have
//! none: those without show the modification time.

use std::collections::BTreeMap;

use crate::vfs::Ino;
use crate::vfs::attr::Nanos;

/// By inode.
#[derive(Default)]
pub(in crate::vfs) struct AccessTimes(BTreeMap<Ino, Nanos>);

impl AccessTimes {
    /// Most that are remembered: about two megabytes.
    const MAX: usize = 65_536;

    pub(in crate::vfs) fn get(&self, ino: Ino) -> Option<Nanos> {
        self.0.get(&ino).copied()
    }

    /// Remembers one, and forgets any other when there are too many.
    pub(in crate::vfs) fn set(&mut self, ino: Ino, atime: Nanos) {
        self.0.insert(ino, atime);
        if self.0.len() > Self::MAX {
            self.0.pop_first();
        }
    }

    pub(in crate::vfs) fn forget(&mut self, ino: Ino) {
        self.0.remove(&ino);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_kept_than_memory_is_for() {
        let mut times = AccessTimes::default();
        let most = AccessTimes::MAX as u64;
        for number in 0..=most {
            times.set(Ino(number), 7);
        }
        assert_eq!(times.0.len() as u64, most);
        assert_eq!((times.get(Ino(0)), times.get(Ino(1))), (None, Some(7)));
        times.forget(Ino(1));
        assert_eq!(times.get(Ino(1)), None);
    }
}
