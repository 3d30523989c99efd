//! Names that this mount has removed a moment ago: a listing that lags behind may show them still, or again.
//!
//! Rows of before the removal are not believed until it has been looked what lies under the name (`settle`); rows of
//! versions that are newer than the one removed are. It lives in the tree, under its lock.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::b2::{FileId, FileVersion};
use crate::vfs::names::lately::Lately;

/// Full names that were removed lately; a directory's ends with `/`.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Gone {
    names: HashMap<Box<str>, Removed>,
    /// The oldest first; those removed again stand here more than once.
    order: VecDeque<Noted>,
    /// The last number given.
    last: u64,
}

/// When a removal was noted, and its number.
#[derive(Debug)]
struct Noted {
    at: Instant,
    number: u64,
    full: Box<str>,
}

#[derive(Debug)]
struct Removed {
    at: Instant,
    number: u64,
    /// The hide marker above it, if there is one.
    marker: Option<FileId>,
    /// When the newest version that was removed was made, in milliseconds by B2's clock; `None`: that is not known.
    upto_ms: Option<u64>,
}

impl Gone {
    /// Most names that are kept: more removed in half a minute are believed to any listing.
    const MOST: usize = 10_000;

    /// A removal was acknowledged; or, before that, its hide marker.
    pub(in crate::vfs) fn note(
        &mut self,
        full: &str,
        marker: Option<FileId>,
        upto_ms: Option<u64>,
        now: Instant,
    ) {
        let before = self.names.remove(full).and_then(|before| before.marker);
        self.last += 1;
        let number = self.last;
        let removed = Removed {
            at: now,
            number,
            marker: marker.or(before),
            upto_ms,
        };
        self.names.insert(full.into(), removed);
        self.order.push_back(Noted {
            at: now,
            number,
            full: full.into(),
        });
        while self.order.len() > Self::MOST
            || self.order.front().is_some_and(|one| !lately(one.at, now))
        {
            let Some(Noted { number, full, .. }) = self.order.pop_front() else {
                break;
            };
            if self
                .names
                .get(&full)
                .is_some_and(|one| one.number == number)
            {
                self.names.remove(&full);
            }
        }
    }

    /// It is there again.
    pub(in crate::vfs) fn forget(&mut self, full: &str) {
        self.names.remove(full);
    }

    /// Whether there is anything that a row could be doubted for.
    pub(in crate::vfs) fn any(&self, now: Instant) -> bool {
        self.order.back().is_some_and(|one| lately(one.at, now))
    }

    /// Whether a row may be one of before the removal of its name.
    pub(in crate::vfs) fn doubts(&self, row: &FileVersion, now: Instant) -> bool {
        let before = |upto: u64| row.uploaded_ms <= upto;
        self.get(row.name.as_str(), now)
            .is_some_and(|one| one.upto_ms.is_none_or(before))
    }

    /// Whether a directory was removed, and what a listing shows of it may be of before that.
    pub(in crate::vfs) fn doubts_directory(&self, full: &str, now: Instant) -> bool {
        self.get(full, now).is_some()
    }

    /// The hide marker that was put above a name.
    pub(in crate::vfs) fn marker(&self, full: &str) -> Option<FileId> {
        self.names.get(full)?.marker.clone()
    }

    fn get(&self, full: &str, now: Instant) -> Option<&Removed> {
        self.names.get(full).filter(|one| lately(one.at, now))
    }
}

fn lately(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < Lately::SPAN
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::b2::{Action, ContentSha1, FileInfo, FileName};

    fn row(name: &str, uploaded_ms: u64) -> FileVersion {
        FileVersion {
            action: Action::Upload,
            id: Some(FileId::new("4_z1")),
            name: FileName::listed(name),
            size: 3,
            sha1: ContentSha1::None,
            content_type: None,
            info: FileInfo::new(),
            uploaded_ms,
            customer_key: false,
            twins: false,
        }
    }

    #[test]
    fn rows_of_before_a_removal_are_doubted_for_half_a_minute() {
        let mut gone = Gone::default();
        let now = Instant::now();
        gone.note("f", Some(FileId::new("4_z2")), Some(1000), now);
        assert!(gone.doubts(&row("f", 1000), now) && gone.doubts(&row("f", 1), now));
        assert!(!gone.doubts(&row("f", 1001), now), "made after it");
        assert!(!gone.doubts(&row("g", 1), now));
        assert!(!gone.doubts(&row("f", 1), now + Lately::SPAN));
        gone.note("f", None, None, now);
        assert!(
            gone.doubts(&row("f", 1001), now),
            "nobody knows what was removed"
        );
        assert!(gone.marker("f").is_some(), "the marker was not removed");
        gone.forget("f");
        assert!(!gone.doubts(&row("f", 1), now));
        assert!(gone.any(now) && !gone.any(now + Lately::SPAN));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut gone = Gone::default();
        let mut now = Instant::now();
        for number in 0..Gone::MOST + 10 {
            gone.note(&number.to_string(), None, None, now);
            gone.note("again", None, None, now);
        }
        assert!(gone.names.len() <= Gone::MOST && gone.order.len() <= Gone::MOST);
        assert!(gone.doubts_directory("again", now));
        now += Lately::SPAN + Duration::from_secs(1);
        gone.note("last", None, None, now);
        assert_eq!((gone.names.len(), gone.order.len()), (1, 1));
    }
}
