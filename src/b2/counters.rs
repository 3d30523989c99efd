//! What was asked of B2: every call by name and transaction class, bytes, retries.
//!
//! Counting is one relaxed addition; [`Counters`] is a snapshot of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::call::{Call, Class, Facts};
use super::times::Timing;
use super::trouble::Troubled;

/// The running counts.
#[derive(Debug, Default)]
pub(super) struct Counting {
    calls: [AtomicU64; Call::ALL.len()],
    /// Listings of more than 1,000 rows are billed per 1,000 (API §4.1): those beyond the first.
    more_pages: AtomicU64,
    /// Added to by the bodies themselves.
    pub(super) sent: Arc<AtomicU64>,
    received: AtomicU64,
    retries: AtomicU64,
    reauthorizations: AtomicU64,
    /// How long tries took, and how those ended that failed.
    pub(super) times: Arc<Timing>,
    /// Which calls fail now.
    pub(super) troubled: Arc<Troubled>,
}

impl Counting {
    pub(super) fn call(&self, call: Call) {
        self.calls[call as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn rows(&self, rows: usize) {
        if rows > 1000 {
            self.more_pages.fetch_add((rows as u64 - 1) / 1000, Relaxed);
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn reauthorization(&self) {
        self.reauthorizations.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Counters {
        let mut out = Counters {
            class_c: self.more_pages.load(Relaxed),
            bytes_up: self.sent.load(Relaxed),
            bytes_down: self.received.load(Relaxed),
            retries: self.retries.load(Relaxed),
            reauthorizations: self.reauthorizations.load(Relaxed),
            failures: self.times.failures(),
            ..Counters::default()
        };
        for &call in Call::ALL {
            let count = self.calls[call as usize].load(Relaxed);
            let Facts { name, class, .. } = call.facts();
            match class {
                Class::A => out.class_a += count,
                Class::B => out.class_b += count,
                Class::C => out.class_c += count,
            }
            if count > 0 {
                out.calls.insert(*name, count);
            }
        }
        out
    }
}

/// What has been asked of B2 so far, retries included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Calls by name; absent ones were not made.
    pub calls: BTreeMap<&'static str, u64>,
    /// Class A transactions (API §14).
    pub class_a: u64,
    /// Class B transactions.
    pub class_b: u64,
    /// Class C transactions; a listing of 10,000 rows counts as ten.
    pub class_c: u64,
    /// Bytes of file content sent, repeated tries included.
    pub bytes_up: u64,
    /// Bytes of file content received.
    pub bytes_down: u64,
    /// Tries beyond the first of their calls.
    pub retries: u64,
    /// Times that the account token was renewed.
    pub reauthorizations: u64,
    /// Tries that failed, by HTTP status, or by `network` (no answer), `answer` (one that cannot be read or makes no
    /// sense), `content` (other bytes than those meant); absent ones never happened.
    pub failures: BTreeMap<String, u64>,
}

impl Counters {
    /// How often a call was made, `b2_upload_file` say.
    pub fn calls(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Counting;
    use crate::b2::call::Call;

    #[test]
    fn every_call_has_its_own_place() {
        for (place, &call) in Call::ALL.iter().enumerate() {
            assert_eq!(call as usize, place);
        }
    }

    #[test]
    fn long_listings_count_per_thousand() {
        for (rows, class_c) in [(0, 1), (1000, 1), (1001, 2), (10_000, 10)] {
            let counting = Counting::default();
            counting.call(Call::ListFileNames);
            counting.rows(rows);
            assert_eq!(counting.snapshot().class_c, class_c, "{rows} rows");
        }
    }
}
