//! Lines of the log that would repeat each other: a few of a kind in a minute, then their number.
//!
//! Without clock or log; the caller says when it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lines of one kind that are shown in one period.
const SHOWN: u32 = 5;
const PERIOD: Duration = Duration::from_secs(60);
/// Kinds that are told apart at once.
const KINDS: usize = 256;

#[derive(Debug)]
struct Kind {
    since: Instant,
    shown: u32,
    held_back: u64,
}

/// What was said lately, by kind.
#[derive(Debug)]
pub(super) struct Repeats<K> {
    kinds: BTreeMap<K, Kind>,
}

impl<K: Ord> Repeats<K> {
    pub(super) const fn new() -> Self {
        Self {
            kinds: BTreeMap::new(),
        }
    }

    /// Whether a line of this kind is to be shown now, and how many were not since the last one.
    pub(super) fn say(&mut self, kind: K, now: Instant) -> Option<u64> {
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            self.kinds
                .retain(|_, kind| now.saturating_duration_since(kind.since) < PERIOD);
            if self.kinds.len() >= KINDS {
                return None;
            }
        }
        let kind = self.kinds.entry(kind).or_insert(Kind {
            since: now,
            shown: 0,
            held_back: 0,
        });
        if now.saturating_duration_since(kind.since) >= PERIOD {
            kind.since = now;
            kind.shown = 0;
        }
        if kind.shown == SHOWN {
            kind.held_back += 1;
            return None;
        }
        kind.shown += 1;
        Some(std::mem::take(&mut kind.held_back))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{KINDS, Repeats, SHOWN};

    #[test]
    fn a_few_of_a_kind_are_shown_in_a_minute_and_the_rest_counted() {
        let mut said = Repeats::new();
        let begin = Instant::now();
        let mut shown = Vec::new();
        for n in 0..1000 {
            shown.extend(said.say("read", begin + Duration::from_millis(n * 100)));
        }
        assert_eq!(shown.len(), 2 * SHOWN as usize);
        assert_eq!(shown.iter().filter(|more| **more > 0).count(), 1);
        assert_eq!(said.say("write", begin), Some(0));
    }

    #[test]
    fn kinds_are_bounded() {
        let mut said = Repeats::new();
        let begin = Instant::now();
        for n in 0..10 * KINDS {
            said.say(n, begin);
        }
        assert_eq!(said.kinds.len(), KINDS);
        assert_eq!(
            said.say(usize::MAX, begin + Duration::from_secs(60)),
            Some(0)
        );
    }
}
