//! What a listing speaks of: the directory and the moment it began, and the names that its rows cover.

use std::time::Instant;

use crate::vfs::Ino;
use crate::vfs::names::tree::Tick;

/// A listing under way: what of the tree it may overrule.
pub(in crate::vfs) struct Flight {
    pub(in crate::vfs) dir: Ino,
    /// Full name of the directory, empty or ending with `/`.
    pub(in crate::vfs) prefix: String,
    pub(in crate::vfs) began: Tick,
    pub(in crate::vfs) at: Instant,
}

/// Which names a set of rows speaks for: those it does not hold do not exist.
pub(in crate::vfs) enum Covers {
    /// Names whose rows would stand after one full name and up to another; without them, from the
    /// directory's first name, and to its last. A name may have been in an earlier part of the same
    /// listing, which began at `since`.
    Range {
        after: Option<String>,
        upto: Option<String>,
        since: Instant,
    },
    /// One name.
    Name(String),
    /// No other names than those of the rows.
    Rows,
}

impl Covers {
    /// Everything in the directory, by a listing that began at `since`.
    pub(in crate::vfs) fn all(since: Instant) -> Self {
        Self::Range {
            after: None,
            upto: None,
            since,
        }
    }

    /// Whether a row of this full name would be among the rows, or have been in an earlier part.
    pub(in crate::vfs) fn reach(&self, row: &str) -> bool {
        match self {
            Self::Range { upto, .. } => upto.as_deref().is_none_or(|upto| row <= upto),
            Self::Name(_) => true,
            Self::Rows => false,
        }
    }
}
