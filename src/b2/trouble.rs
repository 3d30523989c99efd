//! What is said of calls that do not get through: one warning for all of them, not a line each.
//!
//! [`Troubles`] knows the calls that are failing now, without clock or log; [`Troubled`] is the one
//! of a client, behind a lock held for map work only. A call that has failed for [`PATIENCE`] is
//! worth a warning; from then on there is one a [`PERIOD`] for all that fail, and one line when
//! calls succeed again. Single retries are told at debug.
//!
//! Callers: `calls`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Retries are B2's normal operation (API §12); so long they are not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two warnings.
const PERIOD: Duration = Duration::from_secs(60);

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    /// So many calls fail, one of them for so long.
    Failing { calls: usize, time: Duration },
    /// Calls succeed again, after so long.
    Over { time: Duration },
}

/// The calls that fail, by number, with the time of their first failure.
#[derive(Debug, Default)]
struct Troubles {
    failing: HashMap<u64, Duration>,
    /// Since when, as far as a warning was given.
    warned: Option<Warned>,
}

#[derive(Debug)]
struct Warned {
    since: Duration,
    last: Duration,
}

impl Troubles {
    /// A try of a call has failed at `now`, and there will be another one after `wait`.
    fn failed(&mut self, call: u64, now: Duration, wait: Duration) -> Option<Say> {
        let since = *self.failing.entry(call).or_insert(now);
        // While it waits nothing can be said.
        if now < since + PATIENCE && wait < PATIENCE {
            return None;
        }
        match &mut self.warned {
            Some(warned) if now < warned.last + PERIOD => return None,
            Some(warned) => warned.last = now,
            None => self.warned = Some(Warned { since, last: now }),
        }
        let first = self.warned.as_ref().map_or(since, |warned| warned.since);
        Some(Say::Failing {
            calls: self.failing.len(),
            time: now.saturating_sub(first),
        })
    }

    /// A call has ended with a failure, or nobody waits for it any more.
    fn ended(&mut self, call: u64) {
        self.failing.remove(&call);
    }

    /// A call has succeeded.
    fn succeeded(&mut self, call: u64, now: Duration) -> Option<Say> {
        self.failing.remove(&call);
        if !self.failing.is_empty() {
            return None;
        }
        let warned = self.warned.take()?;
        Some(Say::Over {
            time: now.saturating_sub(warned.since),
        })
    }
}

/// The troubles of a client.
#[derive(Debug)]
pub(super) struct Troubled {
    origin: Instant,
    state: Mutex<Troubles>,
    calls: AtomicU64,
    /// Whether anything fails or was warned of: saves the lock for all calls of good times.
    any: AtomicBool,
}

impl Default for Troubled {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            state: Mutex::default(),
            calls: AtomicU64::new(0),
            any: AtomicBool::new(false),
        }
    }
}

impl Troubled {
    /// A call begins.
    pub(super) fn call(self: &Arc<Self>) -> Watched {
        Watched {
            all: Arc::clone(self),
            number: self.calls.fetch_add(1, Relaxed),
        }
    }
}

/// One call, as the troubles know it; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Watched {
    all: Arc<Troubled>,
    number: u64,
}

impl Watched {
    /// A try has failed, another one follows after `wait`; `what` tells of it.
    pub(super) fn failed(&self, wait: Duration, what: impl FnOnce() -> String) {
        self.all.any.store(true, Relaxed);
        let now = self.all.origin.elapsed();
        let say = self.all.state.lock().failed(self.number, now, wait);
        if let Some(Say::Failing { calls, time }) = say {
            let time = Duration::from_secs(time.as_secs());
            let others = match calls {
                0 | 1 => String::new(),
                n => format!(" ({n} calls are failing)"),
            };
            log::warn!("{}; failing for {time:.0?}, trying on{others}", what());
        }
    }

    /// A try has succeeded.
    pub(super) fn succeeded(&self) {
        if !self.all.any.load(Relaxed) {
            return;
        }
        let now = self.all.origin.elapsed();
        let mut state = self.all.state.lock();
        let say = state.succeeded(self.number, now);
        if state.failing.is_empty() && state.warned.is_none() {
            self.all.any.store(false, Relaxed);
        }
        drop(state);
        if let Some(Say::Over { time }) = say {
            let time = Duration::from_secs(time.as_secs());
            log::warn!("calls to B2 succeed again, after {time:.0?}");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.all.any.load(Relaxed) {
            self.all.state.lock().ended(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{PERIOD, Say, Troubles};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_passes_within_ten_seconds_is_not_spoken_of() {
        let mut troubles = Troubles::default();
        for at in 0..9 {
            assert_eq!(troubles.failed(1, s(at), s(1)), None);
        }
        assert_eq!(troubles.succeeded(1, s(9)), None);
    }

    #[test]
    fn a_long_failure_is_told_once_a_minute_with_the_number_of_calls_and_at_its_end() {
        let mut troubles = Troubles::default();
        let mut said = Vec::new();
        for at in 0..200 {
            for call in 0..20 {
                said.extend(troubles.failed(call, s(at), s(1)));
            }
        }
        let failing = |calls, time| Say::Failing {
            calls,
            time: s(time),
        };
        assert_eq!(
            said,
            [
                failing(20, 10),
                failing(20, 70),
                failing(20, 130),
                failing(20, 190)
            ]
        );
        for call in 0..19 {
            assert_eq!(troubles.succeeded(call, s(200)), None);
        }
        assert_eq!(
            troubles.succeeded(19, s(201)),
            Some(Say::Over { time: s(201) })
        );
        assert_eq!(troubles.succeeded(20, s(202)), None);
    }

    #[test]
    fn a_long_wait_is_told_as_it_begins() {
        let mut troubles = Troubles::default();
        assert!(troubles.failed(1, s(0), s(120)).is_some());
    }

    #[test]
    fn calls_that_gave_up_do_not_count_and_the_end_is_a_success() {
        let mut troubles = Troubles::default();
        for at in 0..20 {
            troubles.failed(1, s(at), s(1));
        }
        troubles.ended(1);
        assert!(troubles.failing.is_empty());
        assert!(matches!(
            troubles.succeeded(2, s(50)),
            Some(Say::Over { .. })
        ));
    }

    proptest! {
        #[test]
        fn never_more_than_a_warning_a_minute(
            events in proptest::collection::vec((0..5_u64, 0..3_u8, 0..20_u64), 1..300)
        ) {
            let mut troubles = Troubles::default();
            let mut now = Duration::ZERO;
            let mut last = None;
            for (call, what, later) in events {
                now += s(later);
                let say = match what {
                    0 => troubles.succeeded(call, now),
                    1 => { troubles.ended(call); None }
                    _ => troubles.failed(call, now, s(1)),
                };
                match say {
                    Some(Say::Failing { .. }) => {
                        prop_assert!(last.is_none_or(|last| now >= last + PERIOD));
                        last = Some(now);
                    }
                    Some(Say::Over { .. }) => {
                        prop_assert!(last.is_some());
                        last = None;
                    }
                    None => {}
                }
            }
        }
    }
}
