//! What has moved in the last minutes: pure, from numbers that only grow.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::b2::Counters;

/// What passes between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Looks that are kept: ten minutes.
const MOST: usize = 300;

/// Numbers that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    up: u64,
    down: u64,
    calls: u64,
    failed: u64,
}

impl Totals {
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            up: counters.bytes_up,
            down: counters.bytes_down,
            calls: counters.calls.values().sum(),
            failed: counters.failures.values().sum(),
        }
    }
}

/// What was added between two looks, each list the oldest first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Recent {
    /// Seconds between two looks.
    every: f64,
    up: VecDeque<u64>,
    down: VecDeque<u64>,
    calls: VecDeque<u64>,
    failed: VecDeque<u64>,
    #[serde(skip)]
    last: Totals,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            every: EVERY.as_secs_f64(),
            ..Self::default()
        }
    }

    /// Takes down the totals of a look.
    pub(super) fn note(&mut self, now: Totals) {
        let before = std::mem::replace(&mut self.last, now);
        for (list, before, now) in [
            (&mut self.up, before.up, now.up),
            (&mut self.down, before.down, now.down),
            (&mut self.calls, before.calls, now.calls),
            (&mut self.failed, before.failed, now.failed),
        ] {
            if list.len() == MOST {
                list.pop_front();
            }
            list.push_back(now.saturating_sub(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_told_look_by_look_for_ten_minutes() {
        let mut recent = Recent::new();
        for up in [5, 5, 25] {
            recent.note(Totals {
                up,
                calls: up / 5,
                ..Totals::default()
            });
        }
        let json = serde_json::to_value(&recent).expect("JSON");
        assert_eq!(json["up"], serde_json::json!([5, 0, 20]));
        assert_eq!(json["calls"], serde_json::json!([1, 0, 4]));
        assert_eq!(json["every"], 2.0);
        for _ in 0..2 * MOST {
            recent.note(Totals::default());
        }
        assert_eq!(recent.up.len(), MOST);
    }
}
