//! Moments that take eight bytes, of which there is one for each name.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An `Instant` in eight bytes, also when it may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vfs) struct Moment(NonZeroU64);

impl Moment {
    /// All moments are counted from the first that was noted, in nanoseconds, beginning with 1.
    fn zero(first: impl FnOnce() -> Instant) -> Instant {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        *ZERO.get_or_init(first)
    }

    pub(in crate::vfs) fn instant(self) -> Instant {
        Self::zero(Instant::now) + Duration::from_nanos(self.0.get() - 1)
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let since = at.saturating_duration_since(Self::zero(|| at)).as_nanos();
        let count = u64::try_from(since).unwrap_or(u64::MAX - 1);
        Self(NonZeroU64::MIN.saturating_add(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_instants() {
        let early = Instant::now();
        let first = Moment::from(early);
        let later = Moment::from(early + Duration::from_secs(5));
        assert_eq!(later.instant() - first.instant(), Duration::from_secs(5));
        assert!(later > first);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
