//! Inode numbers, from names: a mount that comes later gives the same ones, so that backups and synchronisers, which know
//! files by their numbers, find that nothing has changed.
//!
//! The number of an inode that was removed is not given out again for long: a call that is under way may still be for that.
//! What has another number than that of its name says so in the version that is stored.

use crate::b2::Hasher;
use crate::vfs::Ino;

/// Numbers are below this. So they are exact in the floating-point numbers that some languages hold them in, and of ten
/// million names two would have the same one in one of two hundred buckets.
const BITS: u32 = 53;

/// Gives numbers to the names of a bucket.
pub(in crate::vfs) struct Numbers {
    bucket: Hasher,
    /// With what all names of the mount begin with.
    prefix: Hasher,
}

impl Numbers {
    /// Those of a bucket, of which what begins with `prefix` is mounted. Another mount has the same ones; those of another
    /// bucket tell nothing of its names.
    pub(in crate::vfs) fn new(bucket: &str, prefix: &str) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"inode\0");
        hasher.update(bucket);
        hasher.update(b"\0");
        Self {
            bucket: hasher.clone(),
            prefix: {
                hasher.update(prefix);
                hasher
            },
        }
    }

    /// The number of a path in pieces, which of a directory ends with `/`; odd, and not that of the root.
    pub(in crate::vfs) fn of(&self, pieces: [&str; 3]) -> Ino {
        let mut hasher = self.prefix.clone();
        for piece in pieces {
            hasher.update(piece);
        }
        number(hasher)
    }

    /// The number of a name in the bucket.
    pub(in crate::vfs) fn of_full(&self, full: &str) -> Ino {
        let mut hasher = self.bucket.clone();
        hasher.update(full);
        number(hasher)
    }
}

fn number(hasher: Hasher) -> Ino {
    let digest = hasher.finish();
    let first = digest.0.first_chunk();
    let first = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ino(first & ((1 << BITS) - 1) | 1).unless_root()
}

impl Ino {
    /// Another number for the same name, where this one cannot be had.
    pub(in crate::vfs::names) fn other(self, salt: u64) -> Self {
        let number = self.0.wrapping_add(salt << 1);
        Self(number & ((1 << BITS) - 1) | 1).unless_root()
    }

    fn unless_root(self) -> Self {
        if self == Self::ROOT {
            Self(self.0 + 2)
        } else {
            self
        }
    }

    /// Whether a number may be that of a file, as far as can be told from itself.
    pub(in crate::vfs) fn is_possible(self) -> bool {
        self.0 & 1 == 1 && self != Self::ROOT && self.0 >> BITS == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_bucket_and_name() {
        let bucket = "4a48fe8875c6214145260818";
        let (all, below) = (Numbers::new(bucket, ""), Numbers::new(bucket, "dir/"));
        // Backups remember them: with others, all of it would be read again.
        assert_eq!(all.of_full("dir/file"), Ino(3_617_789_188_963_573));
        assert_eq!(all.of(["dir/", "file", ""]), all.of_full("dir/file"));
        assert_eq!(below.of(["", "file", ""]), all.of_full("dir/file"));
        assert_eq!(below.of_full("dir/file"), all.of_full("dir/file"));
        assert_ne!(all.of_full("dir/file/"), all.of_full("dir/file"));
        let other = Numbers::new("other", "");
        assert_ne!(other.of_full("dir/file"), all.of_full("dir/file"));
        for n in 0..1000 {
            assert!(all.of_full(&n.to_string()).is_possible());
        }
    }

    #[test]
    fn a_number_in_use_gives_way_within_its_bounds() {
        let last = Ino((1 << BITS) - 1);
        for salt in [1, 2, u64::MAX, 1 << 60] {
            for number in [Ino(3), last] {
                assert!(number.other(salt).is_possible(), "{number:?} {salt}");
            }
        }
        assert_ne!(Ino(3).other(1), Ino(3).other(2));
        assert_eq!(last.other(1), Ino(3), "not the root's");
        for number in [0, 1, 2, 1 << BITS | 1] {
            assert!(!Ino(number).is_possible());
        }
    }
}
