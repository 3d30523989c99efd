//! What is said of calls that do not get through: one warning for all of them, not a line each.
//!
//! [`Troubles`] knows the calls that are failing now, and those that wait for an answer, without clock or log; [`Troubled`]
//! is the one of a client, behind a lock held for map work only. A call that has failed for [`PATIENCE`] is worth a warning,
//! and so is a B2 of which nothing has come for [`SILENCE`] while calls wait; from then on there is one a [`PERIOD`] for all of
//! that, and one line when calls succeed again. Single retries are told at debug.
//!
//! Callers: `calls`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::calls::Pulse;

/// Retries are B2's normal operation (API §12); so long they are not.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Programs that wait show nothing: their user looks here for the reason after a few seconds.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// Between two warnings.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// So many of the calls that wait are named.
const NAMED: usize = 3;

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Say {
    /// So many calls fail, one of them for so long.
    Failing { calls: usize, time: Duration },
    /// Nothing has come for so long, and so many calls wait, of which the first are these.
    Silent {
        calls: usize,
        time: Duration,
        first: Vec<String>,
    },
    /// Calls succeed again, after so long.
    Over { time: Duration },
}

/// A try that was sent, and has no answer.
#[derive(Debug)]
struct Waiting {
    /// Since when an answer might have come.
    since: Duration,
    what: String,
}

/// The calls that fail, by number, with the time of their first failure, and those that wait.
#[derive(Debug, Default)]
struct Troubles {
    failing: HashMap<u64, Duration>,
    waiting: HashMap<u64, Waiting>,
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
        if !self.may_warn(since, now) {
            return None;
        }
        let first = self.warned.as_ref().map_or(since, |warned| warned.since);
        Some(Say::Failing {
            calls: self.failing.len(),
            time: now.saturating_sub(first),
        })
    }

    /// Whether the next warning is due, of a trouble that has lasted since then; it counts as given.
    fn may_warn(&mut self, since: Duration, now: Duration) -> bool {
        match &mut self.warned {
            Some(warned) if now < warned.last + PERIOD => return false,
            Some(warned) => warned.last = now,
            None => self.warned = Some(Warned { since, last: now }),
        }
        true
    }

    /// A try is sent, whose answer may come from `since` on.
    fn waits(&mut self, call: u64, since: Duration, what: String) {
        self.waiting.insert(call, Waiting { since, what });
    }

    /// A try has ended.
    fn answered(&mut self, call: u64) {
        self.waiting.remove(&call);
    }

    /// Since when nothing has come although a call waits, where the last that came did so at `heard`.
    fn silent_since(&self, heard: Duration) -> Option<Duration> {
        let oldest = self.waiting.values().map(|waiting| waiting.since).min()?;
        Some(oldest.max(heard))
    }

    /// Looks whether that is too long at `now`.
    fn look(&mut self, now: Duration, heard: Duration) -> Option<Say> {
        let since = self.silent_since(heard)?;
        if now < since + SILENCE || !self.may_warn(since, now) {
            return None;
        }
        let mut all: Vec<(Duration, u64)> = self
            .waiting
            .iter()
            .map(|(call, waiting)| (waiting.since, *call))
            .collect();
        all.sort_unstable();
        let first = all.iter().take(NAMED);
        let first = first.map(|(_, call)| self.waiting[call].what.clone());
        Some(Say::Silent {
            calls: all.len(),
            time: now.saturating_sub(since),
            first: first.collect(),
        })
    }

    /// A call has ended with a failure, or nobody waits for it any more.
    fn ended(&mut self, call: u64) {
        self.failing.remove(&call);
        self.waiting.remove(&call);
    }

    /// A call has succeeded.
    fn succeeded(&mut self, call: u64, now: Duration) -> Option<Say> {
        self.ended(call);
        if !self.failing.is_empty() {
            return None;
        }
        let warned = self.warned.take()?;
        Some(Say::Over {
            time: now.saturating_sub(warned.since),
        })
    }
}

/// The words for it.
fn tell(say: Say, failure: impl FnOnce() -> String) {
    let seconds = |time: Duration| Duration::from_secs(time.as_secs());
    match say {
        Say::Failing { calls, time } => {
            let others = match calls {
                0 | 1 => String::new(),
                n => format!(" ({n} calls are failing)"),
            };
            let time = seconds(time);
            log::warn!("{}; failing for {time:.0?}, trying on{others}", failure());
        }
        Say::Silent { calls, time, first } => {
            let wait = if calls == 1 {
                "call waits"
            } else {
                "calls wait"
            };
            let more = if calls > first.len() { ", ..." } else { "" };
            log::warn!(
                "B2 has not answered for {} s: {calls} {wait} ({}{more})",
                time.as_secs(),
                first.join(", ")
            );
        }
        Say::Over { time } => {
            let time = seconds(time);
            log::warn!("calls to B2 succeed again, after {time:.0?}");
        }
    }
}

/// The troubles of a client.
#[derive(Debug)]
pub(super) struct Troubled {
    origin: Instant,
    state: Mutex<State>,
    calls: AtomicU64,
    /// When the last answer has come, whatever it was, in milliseconds.
    answered: AtomicU64,
    /// When bytes have moved last.
    pub(super) pulse: Pulse,
}

#[derive(Debug, Default)]
struct State {
    troubles: Troubles,
    /// Somebody looks once in a while, as long as calls wait.
    watched: bool,
}

impl Default for Troubled {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            state: Mutex::default(),
            calls: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            pulse: Pulse::new(),
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

    /// For how long calls have not got through, where that was worth a warning and is not over.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let state = self.state.lock();
        let warned = state.troubles.warned.as_ref()?;
        Some(self.origin.elapsed().saturating_sub(warned.since))
    }

    fn heard(&self) -> Duration {
        let moved = self.pulse.last().saturating_duration_since(self.origin);
        moved.max(Duration::from_millis(self.answered.load(Relaxed)))
    }

    /// Says what is to be said of silence; how long it need not look again, or `None` when nobody waits any more.
    fn look(&self) -> Option<Duration> {
        let (now, heard) = (self.origin.elapsed(), self.heard());
        let mut state = self.state.lock();
        let Some(since) = state.troubles.silent_since(heard) else {
            state.watched = false;
            return None;
        };
        let say = state.troubles.look(now, heard);
        drop(state);
        if let Some(say) = say {
            tell(say, String::new);
        }
        let left = (since + SILENCE).saturating_sub(now);
        Some(if left.is_zero() { SILENCE } else { left })
    }
}

/// One call, as the troubles know it; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Watched {
    all: Arc<Troubled>,
    number: u64,
}

impl Watched {
    /// A try is sent; `work` is what B2 needs before it can answer.
    pub(super) fn waits(&self, work: Duration, what: String) {
        let since = self.all.origin.elapsed() + work;
        let mut state = self.all.state.lock();
        state.troubles.waits(self.number, since, what);
        if std::mem::replace(&mut state.watched, true) {
            return;
        }
        drop(state);
        let all = Arc::downgrade(&self.all);
        tokio::spawn(async move {
            while let Some(wait) = all.upgrade().and_then(|all| all.look()) {
                sleep(wait).await;
            }
        });
    }

    /// A try has ended, with an answer of B2's or without.
    pub(super) fn ended(&self, answered: bool) {
        if answered {
            let now = self.all.origin.elapsed().as_millis() as u64;
            self.all.answered.fetch_max(now, Relaxed);
        }
        self.all.state.lock().troubles.answered(self.number);
    }

    /// A try has failed, another one follows after `wait`; `what` tells of it.
    pub(super) fn failed(&self, wait: Duration, what: impl FnOnce() -> String) {
        let now = self.all.origin.elapsed();
        let say = self
            .all
            .state
            .lock()
            .troubles
            .failed(self.number, now, wait);
        if let Some(say) = say {
            tell(say, what);
        }
    }

    /// A try has succeeded.
    pub(super) fn succeeded(&self) {
        let now = self.all.origin.elapsed();
        let say = self.all.state.lock().troubles.succeeded(self.number, now);
        if let Some(say) = say {
            tell(say, String::new);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.all.state.lock().troubles.ended(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{PERIOD, SILENCE, Say, Troubles};

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

    #[test]
    fn silence_is_told_after_five_seconds_once_a_minute_with_the_calls_that_wait() {
        let mut troubles = Troubles::default();
        for call in 0..5 {
            troubles.waits(call, s(call), format!("c{call}"));
        }
        let mut said = Vec::new();
        for at in 0..100 {
            said.extend(troubles.look(s(at), s(0)));
        }
        let silent = |time| Say::Silent {
            calls: 5,
            time: s(time),
            first: ["c0", "c1", "c2"].map(str::to_owned).to_vec(),
        };
        assert_eq!(said, [silent(5), silent(65)]);
        assert_eq!(
            troubles.succeeded(3, s(100)),
            Some(Say::Over { time: s(100) })
        );
        // The others wait on, but B2 was heard.
        assert_eq!(troubles.look(s(104), s(100)), None);
        assert!(troubles.look(s(105), s(100)).is_some());
    }

    #[test]
    fn nothing_is_said_while_something_comes_or_nobody_waits() {
        let mut troubles = Troubles::default();
        troubles.waits(1, s(0), String::new());
        for at in 0..100 {
            assert_eq!(troubles.look(s(at), s(at.saturating_sub(4))), None);
        }
        troubles.answered(1);
        assert_eq!(troubles.look(s(500), s(0)), None);
        troubles.waits(2, s(500), String::new());
        troubles.ended(2);
        assert_eq!(troubles.look(s(600), s(0)), None);
    }

    #[test]
    fn silence_and_failures_have_one_voice() {
        let mut troubles = Troubles::default();
        troubles.waits(1, s(0), String::new());
        assert!(troubles.look(SILENCE, s(0)).is_some());
        troubles.answered(1);
        assert_eq!(troubles.failed(1, s(30), s(1)), None);
        troubles.waits(1, s(31), String::new());
        assert_eq!(troubles.look(s(64), s(0)), None);
        assert!(troubles.failed(1, s(65), s(1)).is_some());
        assert_eq!(troubles.look(s(66), s(0)), None);
        let over = troubles.succeeded(1, s(72));
        assert_eq!(over, Some(Say::Over { time: s(72) }));
    }

    proptest! {
        #[test]
        fn never_more_than_a_warning_a_minute(
            events in proptest::collection::vec((0..5_u64, 0..5_u8, 0..20_u64), 1..300)
        ) {
            let mut troubles = Troubles::default();
            let mut now = Duration::ZERO;
            let mut last = None;
            for (call, what, later) in events {
                now += s(later);
                let say = match what {
                    0 => troubles.succeeded(call, now),
                    1 => { troubles.ended(call); None }
                    2 => { troubles.waits(call, now, String::new()); None }
                    3 => troubles.look(now, Duration::ZERO),
                    _ => troubles.failed(call, now, s(1)),
                };
                match say {
                    Some(Say::Failing { .. } | Say::Silent { .. }) => {
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
