//! What the line to B2 carries, as measured on downloads: how long an answer takes, and how fast its bytes come then.
//!
//! The lock is a leaf.

use parking_lot::Mutex;
use std::time::Duration;

/// Before anything was measured: a home line.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(50);
const FIRST_RATE: u64 = 20 << 20;
/// What the first guess counts for, in bytes.
const FIRST_WEIGHT: f64 = (1 << 20) as f64;
/// Bytes after which what was measured before counts half.
const MEMORY: f64 = (16 << 20) as f64;
/// What all connections together are made to carry where B2 and the line allow it, in bytes a second: about what one
/// processor can copy and hash.
const FAST: f64 = (1600 << 20) as f64;

/// What a line is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct Line {
    /// From a request to the first byte of its answer.
    pub(in crate::io) round_trip: Duration,
    /// Bytes a second of one connection.
    pub(in crate::io) rate: u64,
}

impl Line {
    /// Bytes that one connection carries while an answer takes its time.
    pub(in crate::io) fn in_flight(self) -> u64 {
        self.in_time(self.round_trip)
    }

    /// Bytes that one connection carries in so long.
    pub(in crate::io) fn in_time(self, time: Duration) -> u64 {
        (self.rate as f64 * time.as_secs_f64()) as u64
    }

    /// How many requests of so many bytes side by side bring what a machine can take, 1 to `most`. Where one connection
    /// is fast, more of them only cost.
    pub(in crate::io) fn streams(self, chunk: u64, most: u64) -> u64 {
        let each = chunk as f64 / self.rate.max(1) as f64 + self.round_trip.as_secs_f64();
        let wanted = FAST * each / chunk.max(1) as f64;
        (wanted.ceil() as u64).clamp(1, most.max(1))
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            round_trip: FIRST_ROUND_TRIP,
            rate: FIRST_RATE,
        }
    }
}

/// Measures a line.
#[derive(Debug)]
pub(in crate::io) struct Meter(Mutex<Sums>);

#[derive(Debug)]
struct Sums {
    round_trip: Option<Duration>,
    bytes: f64,
    seconds: f64,
}

impl Default for Meter {
    fn default() -> Self {
        let Line { rate, .. } = Line::default();
        Self(Mutex::new(Sums {
            round_trip: None,
            bytes: FIRST_WEIGHT,
            seconds: FIRST_WEIGHT / rate as f64,
        }))
    }
}

impl Meter {
    /// An answer's first byte took so long.
    pub(in crate::io) fn answered(&self, after: Duration) {
        let mut sums = self.0.lock();
        // The shortest of late: what takes longer has waited for something else, a busy machine say.
        let old = sums.round_trip.unwrap_or(after);
        let longer = after.saturating_sub(old).min(old) / 16;
        sums.round_trip = Some(after.min(old + longer));
    }

    /// All bytes of an answer came within so long of the first.
    pub(in crate::io) fn came(&self, bytes: u64, within: Duration) {
        let mut sums = self.0.lock();
        let bytes = bytes as f64;
        let old = MEMORY / (MEMORY + bytes);
        sums.bytes = sums.bytes * old + bytes;
        sums.seconds = sums.seconds * old + within.as_secs_f64();
    }

    pub(in crate::io) fn line(&self) -> Line {
        let sums = self.0.lock();
        let rate = sums.bytes / sums.seconds.max(1e-9);
        Line {
            round_trip: sums.round_trip.unwrap_or(FIRST_ROUND_TRIP),
            rate: (rate as u64).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn line(ms: u64, rate: u64) -> Line {
        Line {
            round_trip: Duration::from_millis(ms),
            rate,
        }
    }

    #[test]
    fn what_is_measured_takes_the_place_of_the_first_guess() {
        let meter = Meter::default();
        assert_eq!(meter.line(), Line::default());
        for _ in 0..32 {
            meter.answered(Duration::from_millis(200));
            meter.came(4 * MIB, Duration::from_secs(2));
        }
        let line = meter.line();
        assert_eq!(line.round_trip, Duration::from_millis(200));
        assert!((2 * MIB..9 * MIB / 4).contains(&line.rate), "{line:?}");
        for _ in 0..32 {
            meter.came(4 * MIB, Duration::from_millis(4));
        }
        assert!(meter.line().rate > 500 * MIB, "{:?}", meter.line());
    }

    #[test]
    fn answers_that_waited_for_a_busy_machine_make_no_line_longer() {
        let meter = Meter::default();
        for at in 0..100 {
            meter.answered(Duration::from_millis(if at % 4 == 0 { 1 } else { 40 }));
        }
        assert!(meter.line().round_trip < Duration::from_millis(2));
        // But a longer way is noticed.
        for _ in 0..100 {
            meter.answered(Duration::from_millis(50));
        }
        assert!(meter.line().round_trip > Duration::from_millis(40));
    }

    #[test]
    fn a_burst_of_small_answers_tells_little() {
        let meter = Meter::default();
        for _ in 0..10 {
            meter.came(128 << 10, Duration::ZERO);
        }
        assert!(meter.line().rate <= 50 * MIB, "{:?}", meter.line());
    }

    #[test]
    fn a_fast_connection_needs_no_others() {
        let loopback = Line {
            round_trip: Duration::from_micros(300),
            rate: 2000 * MIB,
        };
        assert_eq!(loopback.streams(4 * MIB, 8), 1);
        assert_eq!(line(50, 20 * MIB).streams(4 * MIB, 8), 8);
        // A long way takes many requests although each would be fast.
        assert_eq!(line(50, 2000 * MIB).streams(16 * MIB, 8), 6);
        assert_eq!(line(50, 2000 * MIB).streams(MIB, 8), 8);
    }
}
