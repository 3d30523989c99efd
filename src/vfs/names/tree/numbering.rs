//! Which number an inode gets, and which are given out no more.

use super::Tree;
use crate::vfs::Ino;

/// Numbers of removed inodes that are kept from being given out again: two megabytes of them.
const SPENT: usize = 65_536;

impl Tree {
    /// The number of an inode was removed with it.
    pub(super) fn spend(&mut self, ino: Ino) {
        self.spent.insert(ino);
        if self.spent.len() > SPENT {
            self.spent.pop_front();
        }
    }

    /// The wanted number, or that of the name, or else another one.
    pub(super) fn free_number(
        &self,
        parent: Ino,
        name: &str,
        directory: bool,
        wanted: Option<Ino>,
    ) -> Ino {
        let taken = |number| self.nodes.get(number).is_some() || self.spent.contains(&number);
        if let Some(wanted) = wanted.filter(|wanted| !taken(*wanted)) {
            return wanted;
        }
        let above = self.path(parent).unwrap_or_default();
        let end = if directory { "/" } else { "" };
        let own = self.numbers.of([above.as_str(), name, end]);
        let (mut number, mut salt) = (own, self.tick);
        while taken(number) {
            // As in Knuth's MMIX: names that are made and removed again and again find a number at the first try.
            salt = salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            number = own.other(salt);
        }
        number
    }

    /// What a version stored under a name in the bucket is to say of its inode's number: nothing where the name says it.
    pub(in crate::vfs) fn number_to_store(&self, ino: Ino, full: &str) -> Option<u64> {
        Some(ino.0).filter(|_| ino != self.numbers.of_full(full))
    }

    /// The same of a file that was stored under the name `from`, whether it is known here or not.
    pub(in crate::vfs) fn number_after_move(
        &self,
        stored: Option<u64>,
        from: &str,
        to: &str,
    ) -> Option<u64> {
        let number = stored.map_or_else(|| self.numbers.of_full(from), Ino);
        self.number_to_store(number, to)
    }
}
