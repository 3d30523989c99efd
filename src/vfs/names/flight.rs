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
        /// Where the listing goes on: nothing stands before it any more.
        next: Option<String>,
        since: Instant,
    },
    /// One name.
    Name(String),
    /// No other names than those of the rows, of a recursive listing that goes on at a full name, or has come
    /// to its end.
    Part { next: Option<String> },
}

impl Covers {
    /// Everything in the directory, by a listing that began at `since`.
    pub(in crate::vfs) fn all(since: Instant) -> Self {
        Self::Range {
            after: None,
            upto: None,
            next: None,
            since,
        }
    }

    /// Whether every row there is would be among the rows, or have been in an earlier part.
    pub(in crate::vfs) fn reach_all(&self) -> bool {
        match self {
            Self::Range { upto, .. } => upto.is_none(),
            Self::Part { next } => next.is_none(),
            Self::Name(_) => true,
        }
    }

    /// Whether this is a directory's first page, and a row of this full name would be on it.
    pub(in crate::vfs) fn begin_with(&self, row: &str) -> bool {
        matches!(self, Self::Range { after: None, .. }) && self.reach(row)
    }

    /// Whether a row of this full name would be among the rows, or have been in an earlier part.
    pub(in crate::vfs) fn reach(&self, row: &str) -> bool {
        let before = |next: &str| row < next && !next.starts_with(row);
        match self {
            Self::Range { upto, next, .. } => {
                upto.as_deref().is_none_or(|upto| row <= upto)
                    || next.as_deref().is_some_and(before)
            }
            Self::Part { next } => next.as_deref().is_none_or(before),
            Self::Name(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: Option<&str>, upto: Option<&str>) -> Covers {
        Covers::Range {
            after: after.map(str::to_owned),
            upto: upto.map(str::to_owned),
            next: None,
            since: Instant::now(),
        }
    }

    #[test]
    fn a_page_reaches_to_its_last_row() {
        assert!(range(None, None).reach("d/z/"));
        assert!(range(None, Some("d/b/")).reach("d/b/") && range(None, Some("d/b/")).reach("d/a/"));
        assert!(
            !range(None, Some("d/a-0")).reach("d/a/"),
            "the directory may follow"
        );
        let next = |next: &str| Covers::Range {
            after: None,
            upto: Some("d/a".to_owned()),
            next: Some(next.to_owned()),
            since: Instant::now(),
        };
        assert!(next("d/b").reach("d/a/") && next("d/a0").reach("d/a/"));
        assert!(!next("d/a/").reach("d/a/") && !next("d/a/x").reach("d/a/"));
        assert!(!next("d/a ").reach("d/a/"));
        assert!(range(None, Some("d/b")).begin_with("d/.bzEmpty"));
        assert!(!range(None, Some("d/!")).begin_with("d/.bzEmpty"));
        assert!(
            !range(Some("d/!"), None).begin_with("d/.bzEmpty"),
            "no first page"
        );
    }

    #[test]
    fn a_recursive_page_has_a_directory_whose_names_have_begun() {
        let reach = |next: Option<&str>| {
            Covers::Part {
                next: next.map(str::to_owned),
            }
            .reach("d/a/")
        };
        assert!(reach(None) && reach(Some("d/b")) && reach(Some("d/a0")));
        assert!(!reach(Some("d/a-0")) && !reach(Some("d/a/x")) && !reach(Some("d/a/")));
    }
}
