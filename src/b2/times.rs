//! How long the tries of calls took, and how those ended that failed.
//!
//! Counting is a few relaxed additions; [`CallTimes`] is a snapshot of one call's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::call::Call;
use super::retry::FailedTry;

/// Upper bounds of the classes of times, in milliseconds; beyond the last one lies another class.
pub const BOUNDS_MS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000,
];

/// Why tries fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Network,
    TooMany,
    Busy,
    Server,
    Account,
    Refused,
    Answer,
}

impl Why {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Network, "network"),
        (Self::TooMany, "429"),
        (Self::Busy, "503"),
        (Self::Server, "5xx"),
        (Self::Account, "401"),
        (Self::Refused, "4xx"),
        (Self::Answer, "answer"),
    ];

    fn of(failure: &FailedTry) -> Self {
        match failure {
            FailedTry::Network { .. } => Self::Network,
            FailedTry::Refused(refusal) => match refusal.status {
                401 => Self::Account,
                408 => Self::Network,
                429 => Self::TooMany,
                503 => Self::Busy,
                500.. => Self::Server,
                _ => Self::Refused,
            },
            FailedTry::Garbled(_) | FailedTry::Mismatch(_) | FailedTry::Nonsense(_) => Self::Answer,
        }
    }
}

/// The running counts of one call.
#[derive(Debug, Default)]
struct Series {
    classes: [AtomicU64; BOUNDS_MS.len() + 1],
    micros: AtomicU64,
    failed: [AtomicU64; Why::ALL.len()],
}

/// The running counts of all calls.
#[derive(Debug)]
pub(super) struct Timing([Series; Call::ALL.len()]);

impl Default for Timing {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Series::default()))
    }
}

/// The tries of one call so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTimes {
    /// The call, `b2_upload_file` say.
    pub call: &'static str,
    /// Tries that took at most as long as each of [`BOUNDS_MS`], and at last all of them.
    pub within: [u64; BOUNDS_MS.len() + 1],
    /// What all of them took.
    pub sum: Duration,
    /// How many failed, by why: `network`, `429`, `503`, `5xx`, `401`, `4xx`, `answer` (it makes no sense, or bytes were damaged).
    pub failed: Vec<(&'static str, u64)>,
}

impl Timing {
    /// A try has ended after so long.
    pub(super) fn ended(&self, call: Call, took: Duration, failure: Option<&FailedTry>) {
        let series = &self.0[call as usize];
        let class = BOUNDS_MS.partition_point(|bound| u128::from(*bound) * 1000 < took.as_micros());
        series.classes[class].fetch_add(1, Relaxed);
        series.micros.fetch_add(took.as_micros() as u64, Relaxed);
        if let Some(why) = failure.map(Why::of) {
            series.failed[why as usize].fetch_add(1, Relaxed);
        }
    }

    /// Of all calls that were made.
    pub(super) fn snapshot(&self) -> Vec<CallTimes> {
        let all = Call::ALL.iter().map(|call| {
            let series = &self.0[*call as usize];
            let mut sum = 0;
            let within = std::array::from_fn(|class| {
                sum += series.classes[class].load(Relaxed);
                sum
            });
            let failed = Why::ALL
                .iter()
                .zip(&series.failed)
                .map(|((_, name), count)| (*name, count.load(Relaxed)))
                .filter(|(_, count)| *count > 0);
            CallTimes {
                call: call.facts().name,
                within,
                sum: Duration::from_micros(series.micros.load(Relaxed)),
                failed: failed.collect(),
            }
        });
        all.filter(|times| times.within.last() > Some(&0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_count_what_is_within_their_bound() {
        let timing = Timing::default();
        for millis in [0, 5, 6, 130_000] {
            timing.ended(Call::HideFile, Duration::from_millis(millis), None);
        }
        let lost = FailedTry::Network {
            sent: true,
            detail: String::new(),
        };
        timing.ended(Call::HideFile, Duration::from_millis(70), Some(&lost));
        let all = timing.snapshot();
        let [times] = all.as_slice() else {
            panic!("one call was made: {all:?}");
        };
        assert_eq!(times.call, "b2_hide_file");
        assert_eq!(times.within[..5], [2, 3, 3, 3, 4]);
        assert_eq!((times.within[13], times.within[14]), (4, 5));
        assert_eq!(times.sum, Duration::from_millis(130_081));
        assert_eq!(times.failed, [("network", 1)]);
    }

    #[test]
    fn every_reason_has_its_own_place() {
        for (place, (why, _)) in Why::ALL.iter().enumerate() {
            assert_eq!(*why as usize, place);
        }
    }
}
