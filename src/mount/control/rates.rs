//! How fast files leave: bytes at moments before, for the rate of each; without a clock, time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::vfs::Ino;

/// A rate is that of so much time: parts and pieces come in lumps.
const OVER: Duration = Duration::from_secs(10);
/// Moments closer to each other tell nothing more.
const APART: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Moment {
    at: Duration,
    /// Bytes sent since the mount began.
    up: u64,
    files: HashMap<Ino, u64>,
}

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<Moment>);

impl Rates {
    /// Whether a moment ago something was seen that a rate can be told from.
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        let first = self.0.front();
        first.is_some_and(|first| {
            let age = now.saturating_sub(first.at);
            (APART..2 * OVER).contains(&age)
        })
    }

    /// What holds at `now`: bytes sent in all, and of each file.
    pub(super) fn note(&mut self, now: Duration, up: u64, files: HashMap<Ino, u64>) {
        // One that is older is kept, so that the rate is that of all the time.
        while self
            .0
            .get(1)
            .is_some_and(|next| now.saturating_sub(next.at) >= OVER)
        {
            self.0.pop_front();
        }
        if self
            .0
            .front()
            .is_some_and(|first| now.saturating_sub(first.at) >= 2 * OVER)
        {
            self.0.clear();
        }
        let last = self.0.back().map(|last| last.at);
        // Whoever asks often must not fill the memory.
        if last.is_none_or(|last| now.saturating_sub(last) >= APART) {
            self.0.push_back(Moment { at: now, up, files });
        }
    }

    /// Bytes a second of all transfers together, which have sent `up` by now.
    pub(super) fn overall(&self, now: Duration, up: u64) -> u64 {
        let first = self.0.front();
        first.map_or(0, |first| per_second(first.at, now, first.up, up))
    }

    /// Bytes a second of a file of which `sent` have left by now.
    pub(super) fn of(&self, ino: Ino, now: Duration, sent: u64) -> u64 {
        let mut seen = self.0.iter();
        let first = seen.find_map(|moment| Some((moment.at, *moment.files.get(&ino)?)));
        first.map_or(0, |(at, before)| per_second(at, now, before, sent))
    }
}

fn per_second(from: Duration, to: Duration, before: u64, now: u64) -> u64 {
    let millis = to.saturating_sub(from).as_millis().max(1) as u64;
    now.saturating_sub(before).saturating_mul(1000) / millis
}

/// Seconds until so much has left; `None` where nothing leaves.
pub(super) fn seconds_left(bytes: u64, rate: u64) -> Option<u64> {
    (rate > 0 && bytes > 0).then(|| bytes.div_ceil(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn files(all: &[(u64, u64)]) -> HashMap<Ino, u64> {
        all.iter().map(|(ino, sent)| (Ino(*ino), *sent)).collect()
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut rates = Rates::default();
        assert!(!rates.is_ready(s(0)));
        rates.note(s(0), 0, files(&[(1, 0)]));
        assert!(!rates.is_ready(s(0)));
        assert!(rates.is_ready(s(1)));
        rates.note(s(1), 1000, files(&[(1, 1000), (2, 0)]));
        assert_eq!(rates.overall(s(2), 3000), 1500);
        assert_eq!(rates.of(Ino(1), s(2), 2000), 1000);
        assert_eq!(rates.of(Ino(2), s(2), 500), 500);
        assert_eq!(rates.of(Ino(3), s(2), 500), 0, "never seen before");
        // A try that failed has taken its bytes back.
        assert_eq!(rates.of(Ino(2), s(2), 0), 0);
        for second in 2..30 {
            rates.note(s(second), second * 10, files(&[]));
        }
        assert_eq!(rates.overall(s(30), 300), 10);
        assert!(rates.0.len() <= 12);
    }

    #[test]
    fn what_was_seen_long_ago_tells_no_rate() {
        let mut rates = Rates::default();
        rates.note(s(0), 0, files(&[]));
        assert!(!rates.is_ready(s(100)));
        rates.note(s(100), 1_000_000, files(&[]));
        assert_eq!(rates.overall(s(101), 1_000_500), 500);
    }

    #[test]
    fn who_asks_often_fills_no_memory() {
        let mut rates = Rates::default();
        for millis in 0..5000 {
            rates.note(Duration::from_millis(millis), 0, files(&[(1, 0)]));
        }
        assert!(rates.0.len() <= 20);
    }

    #[test]
    fn the_rest_takes_as_long_as_the_rate_says() {
        assert_eq!(seconds_left(1001, 100), Some(11));
        assert_eq!(seconds_left(0, 100), None);
        assert_eq!(seconds_left(100, 0), None);
    }
}
