//! What was asked of the server: calls by name and by price class, bytes each way (API §14).

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::call::{Call, Class};

/// A snapshot; `GET /emulator/counters` answers it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Requests by call name, such as `b2_list_file_names`, whatever their outcome; HEAD counts as the download it is.
    pub calls: BTreeMap<String, u64>,
    /// Answers by status; `0` where the connection was cut instead.
    pub answers: BTreeMap<u16, u64>,
    /// Transactions of class A.
    pub class_a: u64,
    /// Transactions of class B.
    pub class_b: u64,
    /// Transactions of class C; a page of more than 1,000 names counts once per 1,000.
    pub class_c: u64,
    /// Content that arrived with uploads.
    pub bytes_in: u64,
    /// Content that was sent with downloads.
    pub bytes_out: u64,
    /// Faults that struck.
    pub faults: u64,
    /// The most requests that were in work at once.
    pub peak_requests: u64,
    /// Connections that were accepted.
    pub connections: u64,
}

/// The living counters.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Meter {
    counts: Mutex<Counters>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    running: AtomicU64,
}

/// One request in work.
pub(in crate::emulator) struct Running<'a>(&'a Meter);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    fn counts(&self) -> parking_lot::MutexGuard<'_, Counters> {
        self.counts.lock()
    }

    pub(in crate::emulator) fn begin(&self, call: Call) -> Running<'_> {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        let mut counts = self.counts();
        match counts.calls.get_mut(call.name()) {
            Some(count) => *count += 1,
            None => {
                counts.calls.insert(call.name().to_owned(), 1);
            }
        }
        counts.peak_requests = counts.peak_requests.max(running);
        charge(&mut counts, call.class(), 1);
        Running(self)
    }

    /// More transactions of a call that has begun.
    pub(in crate::emulator) fn charge(&self, call: Call, transactions: u64) {
        charge(&mut self.counts(), call.class(), transactions);
    }

    pub(in crate::emulator) fn answered(&self, status: u16) {
        *self.counts().answers.entry(status).or_default() += 1;
    }

    pub(in crate::emulator) fn fault(&self) {
        self.counts().faults += 1;
    }

    pub(in crate::emulator) fn connection(&self) {
        self.counts().connections += 1;
    }

    pub(in crate::emulator) fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::emulator) fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::emulator) fn snapshot(&self) -> Counters {
        Counters {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            ..self.counts().clone()
        }
    }

    pub(in crate::emulator) fn reset(&self) {
        *self.counts() = Counters::default();
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
    }
}

fn charge(counts: &mut Counters, class: Class, transactions: u64) {
    *match class {
        Class::A => &mut counts.class_a,
        Class::B => &mut counts.class_b,
        Class::C => &mut counts.class_c,
    } += transactions;
}
