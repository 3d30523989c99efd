//! How long the tries of calls took, and how those ended that failed.
//!
//! Counting is a few relaxed additions; [`CallTimes`] is a snapshot of one call's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::call::Call;
use super::retry::FailedTry;

/// Upper bounds of the classes of times, in milliseconds; beyond the last one lies another class.
pub const BOUNDS_MS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000,
];

/// Why a try has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// An error answer of this HTTP status.
    Status(u16),
    /// No answer.
    Network,
    /// One that makes no sense.
    Answer,
    /// Bytes other than those meant.
    Content,
}

impl Why {
    fn of(failure: &FailedTry) -> Self {
        match failure {
            FailedTry::Network { .. } => Self::Network,
            // Others are no statuses of HTTP, and there must be no end of kinds.
            FailedTry::Refused(refusal) if (100..600).contains(&refusal.status) => {
                Self::Status(refusal.status)
            }
            FailedTry::Refused(_) | FailedTry::Garbled(_) | FailedTry::Nonsense(_) => Self::Answer,
            FailedTry::Mismatch(_) => Self::Content,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Network => f.write_str("network"),
            Self::Answer => f.write_str("answer"),
            Self::Content => f.write_str("content"),
        }
    }
}

/// The running counts of one call.
#[derive(Debug, Default)]
struct Series {
    classes: [AtomicU64; BOUNDS_MS.len() + 1],
    micros: AtomicU64,
    failed: Mutex<BTreeMap<Why, u64>>,
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
    /// How many failed, by HTTP status, or `network` (no answer), `answer` (it makes no sense), `content` (wrong bytes).
    pub failed: BTreeMap<String, u64>,
}

impl Timing {
    /// A try has ended after so long.
    pub(super) fn ended(&self, call: Call, took: Duration, failure: Option<&FailedTry>) {
        let series = &self.0[call as usize];
        let class = BOUNDS_MS.partition_point(|bound| u128::from(*bound) * 1000 < took.as_micros());
        series.classes[class].fetch_add(1, Relaxed);
        series.micros.fetch_add(took.as_micros() as u64, Relaxed);
        if let Some(why) = failure.map(Why::of) {
            *series.failed.lock().entry(why).or_default() += 1;
        }
    }

    /// Tries of all calls that failed, by why.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for series in &self.0 {
            for (why, count) in series.failed.lock().iter() {
                *all.entry(why.to_string()).or_default() += count;
            }
        }
        all
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
            let failed = series.failed.lock().clone();
            let failed = failed
                .into_iter()
                .map(|(why, count)| (why.to_string(), count));
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
    use super::super::retry::Refusal;
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
        assert_eq!(times.failed, BTreeMap::from([("network".to_owned(), 1)]));
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let timing = Timing::default();
        let refused = |status| {
            FailedTry::Refused(Refusal {
                status,
                ..Refusal::default()
            })
        };
        let failures = [
            (Call::HideFile, refused(503)),
            (Call::UploadFile, refused(503)),
            (Call::HideFile, refused(64_000)),
            (Call::HideFile, FailedTry::Mismatch(String::new())),
        ];
        for (call, failure) in &failures {
            timing.ended(*call, Duration::ZERO, Some(failure));
        }
        let told = serde_json::to_string(&timing.failures()).expect("JSON");
        assert_eq!(told, r#"{"503":2,"answer":1,"content":1}"#);
    }
}
