//! Each try of a call waits here for its turn, whatever kind of call it is: the [`Congestion`] of the account, with a clock.
//!
//! A [`Turn`] is asked for after the place among the calls of its kind and given back with the answer's head; who has one
//! waits for nothing else of this client. Turns are given in the order in which they were asked for, by whoever gives one
//! back, and where only time has to pass by a task that lives as long as somebody waits: nobody waits for a future that is
//! not polled. Whoever stops waiting leaves nothing behind. The lock is held for map work only.
//!
//! Callers: `calls`, `upload`, `download`, `auth`.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::Error;
use super::calls::Tries;
use super::congestion::{Congestion, Outcome, Ticket};
use super::retry::FailedTry;

/// Gives turns to calls; clones are one limiter.
#[derive(Debug, Clone)]
pub(super) struct Limiter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// A longer `Retry-After` is for the call alone that got it: who has waited so long still has time for a try.
    longest_hold: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    congestion: Congestion,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// Whether somebody watches the clock for those who wait.
    clocked: bool,
}

/// One try's turn.
#[derive(Debug)]
pub(super) struct Turn {
    inner: Arc<Inner>,
    ticket: Ticket,
    outcome: Outcome,
}

/// Who gives turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    /// A call that has ended.
    Call,
    /// The task that watches the clock.
    Clock,
}

impl Limiter {
    /// For so many places of calls; a call lasts up to `call`.
    pub(super) fn new(places: usize, cap: Option<NonZeroU32>, call: Duration) -> Self {
        let cap = cap.map(|cap| cap.get() as usize);
        Self {
            inner: Arc::new(Inner {
                origin: Instant::now(),
                longest_hold: call / 2,
                state: Mutex::new(State {
                    congestion: Congestion::new(places, cap),
                    waiting: VecDeque::new(),
                    clocked: false,
                }),
            }),
        }
    }

    /// Waits for the turn of a call's next try. The wait is not taken from the call's time, but for that in which B2
    /// has only refused.
    pub(super) async fn turn(&self, tries: &mut Tries) -> Result<Turn, Error> {
        let waiting = match self.ask() {
            Ok(turn) => return Ok(turn),
            Err(waiting) => waiting,
        };
        let began = Instant::now();
        // A moment at least, or this would spin.
        let limit = tries.remaining().max(Duration::from_millis(100));
        let mut waiting = pin!(waiting);
        loop {
            match timeout(limit, &mut waiting).await {
                Ok(turn) => {
                    let refusing = self.inner.refusing();
                    tries.queued(began.elapsed().saturating_sub(refusing));
                    return Ok(turn.expect("who waits is told"));
                }
                Err(_) if self.inner.refusing() < limit => {}
                Err(_) => {
                    return Err(tries.error(&FailedTry::Network {
                        sent: false,
                        detail: format!("B2 has refused all calls for {limit:.0?}"),
                    }));
                }
            }
        }
    }

    fn ask(&self) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut state = self.inner.state.lock();
        if state.waiting.is_empty()
            && let Ok(ticket) = state.congestion.begin(self.inner.now())
        {
            return Ok(Turn::new(&self.inner, ticket));
        }
        let (tell, told) = oneshot::channel();
        state.waiting.push_back(tell);
        if !std::mem::replace(&mut state.clocked, true) {
            tokio::spawn(Arc::clone(&self.inner).watch_the_clock());
        }
        Err(told)
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn refusing(&self) -> Duration {
        let now = self.now();
        self.state.lock().congestion.refusing(now)
    }

    /// Gives turns as time passes, until nobody waits.
    async fn watch_the_clock(self: Arc<Self>) {
        while let Some(next) = self.give(Giver::Clock) {
            sleep_until(self.origin + next).await;
        }
    }

    /// Gives turns to those who wait, as far as there are any; tells when to look again.
    fn give(self: &Arc<Self>, giver: Giver) -> Option<Duration> {
        let mut given = Vec::new();
        let next = {
            let mut state = self.state.lock();
            loop {
                // Whoever went away must not take a turn.
                while state
                    .waiting
                    .front()
                    .is_some_and(oneshot::Sender::is_closed)
                {
                    state.waiting.pop_front();
                }
                if state.waiting.is_empty() {
                    // Under the lock, or somebody who comes now would be left without a clock.
                    if giver == Giver::Clock {
                        state.clocked = false;
                    }
                    break None;
                }
                match state.congestion.begin(self.now()) {
                    Ok(ticket) => given.extend(state.waiting.pop_front().zip(Some(ticket))),
                    Err(next) => break Some(next),
                }
            }
        };
        for (tell, ticket) in given {
            // Where somebody has gone away meanwhile, it comes back here and is dropped, which takes the lock.
            let _ = tell.send(Turn::new(self, ticket));
        }
        next
    }
}

impl Turn {
    fn new(inner: &Arc<Inner>, ticket: Ticket) -> Self {
        Self {
            inner: Arc::clone(inner),
            ticket,
            outcome: Outcome::Other,
        }
    }

    /// The try has ended so; ends the turn.
    pub(super) fn end<T>(mut self, tries: &Tries, outcome: &Result<T, FailedTry>) {
        self.outcome = match tries.outcome(outcome) {
            Outcome::Refused(Some(hold)) => {
                Outcome::Refused(Some(hold.min(self.inner.longest_hold)))
            }
            other => other,
        };
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.inner.now();
        let waiting = {
            let mut state = self.inner.state.lock();
            state.congestion.end(self.ticket, self.outcome, now);
            !state.waiting.is_empty()
        };
        if waiting {
            self.inner.give(Giver::Call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::poll;
    use tokio::time::{Instant, timeout};

    use super::{Limiter, Turn};
    use crate::b2::call::Call;
    use crate::b2::calls::Tries;
    use crate::b2::retry::{FailedTry, Refusal};
    use crate::b2::{Error, ErrorKind};

    const MINUTE: Duration = Duration::from_secs(60);

    fn tries() -> Tries {
        Tries::new(Call::ListFileNames, "", MINUTE)
    }

    async fn turn(limiter: &Limiter) -> Result<Turn, Error> {
        limiter.turn(&mut tries()).await
    }

    fn refused(retry_after: Option<Duration>) -> Result<(), FailedTry> {
        Err(FailedTry::Refused(Refusal {
            status: 429,
            retry_after,
            ..Refusal::default()
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_order_as_others_end() {
        let limiter = Limiter::new(1, None, MINUTE);
        let first = turn(&limiter).await.expect("free");
        let (mut second, mut third) = (pin!(turn(&limiter)), pin!(turn(&limiter)));
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        drop(first);
        assert!(poll!(&mut third).is_pending());
        let second = second.await.expect("given");
        assert!(poll!(&mut third).is_pending());
        drop(second);
        third.await.expect("given");
    }

    #[tokio::test(start_paused = true)]
    async fn who_went_away_is_passed_over() {
        let limiter = Limiter::new(1, None, MINUTE);
        let first = turn(&limiter).await.expect("free");
        for _ in 0..10 {
            let gone = timeout(Duration::from_millis(1), turn(&limiter)).await;
            assert!(gone.is_err());
        }
        let mut given = Box::pin(turn(&limiter));
        let mut last = pin!(turn(&limiter));
        assert!(poll!(&mut given).is_pending());
        assert!(poll!(&mut last).is_pending());
        drop(first);
        // It has been given a turn, and has not looked.
        drop(given);
        timeout(Duration::from_millis(1), last)
            .await
            .expect("at once")
            .expect("given");
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_nobody_polls_holds_up_no_other() {
        let limiter = Limiter::new(1, None, MINUTE);
        let _held = turn(&limiter).await.expect("free");
        let mut forgotten = pin!(turn(&limiter));
        assert!(poll!(&mut forgotten).is_pending());
        timeout(Duration::from_secs(3), turn(&limiter))
            .await
            .expect("two others have had a second each")
            .expect("given");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_not_taken_from_the_time_of_the_call() {
        let limiter = Limiter::new(8, std::num::NonZeroU32::new(1), MINUTE);
        for n in 0..200 {
            let mut tries = tries();
            let turn = limiter.turn(&mut tries).await.expect("given");
            assert_eq!(tries.remaining(), MINUTE, "{n}");
            turn.end(&tries, &Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_hold_back_after_a_refusal_but_not_longer_than_half_of_a_call() {
        let limiter = Limiter::new(8, None, MINUTE);
        for (asked, held) in [(7, 7), (3600, 30)] {
            let asked = Some(Duration::from_secs(asked));
            let refusal = turn(&limiter).await.expect("free");
            refusal.end(&tries(), &refused(asked));
            let began = Instant::now();
            turn(&limiter).await.expect("given");
            assert_eq!(began.elapsed().as_secs(), held);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_where_b2_refuses_all_for_as_long_as_it_may_last() {
        let limiter = Limiter::new(8, None, MINUTE);
        for _ in 0..3 {
            let refusal = turn(&limiter).await.expect("given");
            refusal.end(&tries(), &refused(Some(MINUTE)));
        }
        let mut late = Tries::new(Call::ListFileNames, "", Duration::from_secs(20));
        let error = limiter.turn(&mut late).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.attempts, 0);
    }
}
