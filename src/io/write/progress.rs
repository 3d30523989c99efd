//! How far a content is on its way to B2: what its parts say, and the connections that send it now.
//!
//! A part that B2 has acknowledged counts as sent although its bytes stay in memory until the whole is stored; so do those
//! that a connection has taken and B2 has not acknowledged. A try that fails takes its own back. The lock of
//! [`Flights`] is a leaf.

use parking_lot::Mutex;

use crate::b2::{Payload, Taken};
use crate::io::parts::Streaming;
use crate::io::write::content::Content;

/// How far a content is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes to be sent in all, for the version that is being made. What B2 copies by itself does not count.
    pub total: u64,
    /// Of these, the bytes that have left.
    pub sent: u64,
    /// Something of it is being sent now, or has been as part of a large file.
    pub begun: bool,
}

impl Progress {
    /// Bytes still to be sent.
    pub fn left(&self) -> u64 {
        self.total - self.sent
    }

    /// What has left, in hundredths; less than 100 before everything has.
    pub fn percent(&self) -> u64 {
        if self.total == 0 {
            return 0;
        }
        (u128::from(self.sent) * 100 / u128::from(self.total)) as u64
    }
}

/// The payloads of a content that are being sent.
#[derive(Debug, Default)]
pub(in crate::io) struct Flights(Mutex<Vec<(u64, Taken)>>);

impl Flights {
    /// A payload is about to be sent; it counts until the last copy of it is dropped.
    pub(in crate::io) fn note(&self, payload: &Payload) {
        let mut all = self.0.lock();
        all.retain(|(_, taken)| taken.is_held());
        all.push((payload.len(), payload.taken().clone()));
    }

    /// Bytes of all of them, and how many have left.
    fn sums(&self) -> (u64, u64) {
        let all = self.0.lock();
        let held = all.iter().filter(|(_, taken)| taken.is_held());
        held.fold((0, 0), |(bytes, sent), (len, taken)| {
            (bytes + len, sent + taken.bytes().min(*len))
        })
    }
}

impl Content {
    /// How far it is on its way to B2; all zero for a clean one.
    pub fn progress(&self) -> Progress {
        let state = self.lock();
        if !state.is_dirty() {
            return Progress::default();
        }
        let (flying, taken) = self.flights.sums();
        let unsent = state.overlay.unsent();
        let (total, done, begun) = match &state.stream {
            Streaming::Running(stream) => {
                let (all, done) = stream.large.sent_bytes();
                let total = if stream.large.is_growing() {
                    // Parts that are not there are still among the unsent bytes.
                    done + unsent
                } else {
                    all
                };
                (total, done, done > 0)
            }
            // What is sent whole has unchanged bytes in it, too.
            _ => (unsent.max(flying), 0, false),
        };
        Progress {
            total,
            sent: (done + taken).min(total),
            begun: begun || flying > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn hundredths_are_rounded_down() {
        let percent = |sent, total| {
            let begun = true;
            Progress { total, sent, begun }.percent()
        };
        assert_eq!((percent(0, 0), percent(0, 5)), (0, 0));
        assert_eq!((percent(999, 1000), percent(7, 7)), (99, 100));
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }

    #[test]
    fn a_payload_counts_as_long_as_somebody_holds_it() {
        let flights = Flights::default();
        let (one, other) = (
            Payload::from(Bytes::from_static(b"three")),
            Payload::default(),
        );
        flights.note(&one);
        flights.note(&other);
        let copy = one.clone();
        assert_eq!(flights.sums(), (5, 0));
        drop(one);
        assert_eq!(flights.sums(), (5, 0));
        drop(copy);
        assert_eq!(flights.sums(), (0, 0));
        flights.note(&other);
        assert!(flights.0.lock().len() <= 2);
    }
}
