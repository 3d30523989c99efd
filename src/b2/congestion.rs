//! How many calls may run at once: congestion control for the requests of an account, without clock or socket.
//!
//! B2 grants an account so many requests a second and refuses the others (API §13). [`Congestion`] starts with as many
//! calls at once as the client has places, halves that when B2 refuses, and grows it slowly while B2 answers (additive
//! increase, multiplicative decrease, as TCP does). Calls that were under way together when the first of them was refused
//! count as one refusal. A call counts among those at once for a [`LEASE`] at most, so that whoever waits gets on, whatever
//! becomes of the others; at least one may always begin. A cap on calls begun a second holds besides.
//!
//! Callers: `limiter` drives it with the real clock. Times are since the client's start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::call::Call;
use super::retry::FailedTry;

/// What B2 counts are requests a second; a call that lasts longer than that, as the upload of a part does, is less than
/// one. It also frees what somebody holds who is not being polled.
const LEASE: Duration = Duration::from_secs(1);
/// Fewer calls at once than this are hardly why B2 refuses one: a chance refusal among them cuts no deeper.
const FEW: usize = 16;
/// Added to the limit in the time that as many calls succeed as it allows at once.
const GROWTH: f64 = 0.25;
/// From this try on, the 503 of an upload tells of the service, no longer of a pod that is full.
const FULL_PODS: u32 = 3;

/// What an ended call says of the load on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It worked.
    Fine,
    /// There are too many calls; B2 may have said how long to hold back.
    Refused(Option<Duration>),
    /// Something else failed, or nobody waits for the call any more.
    Other,
}

impl Outcome {
    /// What a try says, the call's `tries`th. A 503 of an upload says that this pod is full and that another one has
    /// room: B2's normal operation (API §12), and nothing to other calls. Where fresh URLs, each given for a pod with room,
    /// refuse it again, there is no room.
    pub(super) fn of<T>(call: Call, tries: u32, outcome: &Result<T, FailedTry>) -> Self {
        match outcome {
            Ok(_) => Self::Fine,
            Err(FailedTry::Refused(refusal)) => match refusal.status {
                429 => Self::Refused(refusal.retry_after),
                503 if !call.is_upload() || tries >= FULL_PODS => {
                    Self::Refused(refusal.retry_after)
                }
                _ => Self::Other,
            },
            Err(_) => Self::Other,
        }
    }
}

/// A call that has begun; later ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The calls under way and how many there may be.
#[derive(Debug)]
pub(super) struct Congestion {
    most: usize,
    limit: f64,
    /// When each of those that count began.
    running: BTreeMap<Ticket, Duration>,
    next: u64,
    /// Calls before this one began before the limit was cut last.
    cut: Ticket,
    peak: Peak,
    /// Until then nothing begins: B2 has asked for it.
    hold: Duration,
    /// Since when B2 has refused calls and none has worked.
    refusing: Option<Duration>,
    cap: Option<Cap>,
}

impl Congestion {
    /// Begins with `most` calls at once, which it never exceeds; at most `cap` begin in a second.
    pub(super) fn new(most: usize, cap: Option<usize>) -> Self {
        Self {
            most,
            limit: most as f64,
            running: BTreeMap::new(),
            next: 0,
            cut: Ticket(0),
            peak: Peak::default(),
            hold: Duration::ZERO,
            refusing: None,
            cap: cap.map(Cap::new),
        }
    }

    /// Begins a call at `now`, or tells when to ask again, unless one ends before.
    pub(super) fn begin(&mut self, now: Duration) -> Result<Ticket, Duration> {
        if now < self.hold {
            return Err(self.hold);
        }
        while let Some(oldest) = self.running.first_entry() {
            let end = *oldest.get() + LEASE;
            if now >= end {
                oldest.remove();
            } else if self.running.len() >= self.limit as usize {
                return Err(end);
            } else {
                break;
            }
        }
        if let Some(cap) = &mut self.cap {
            cap.begin(now)?;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.running.insert(ticket, now);
        self.peak.saw(self.running.len(), now);
        Ok(ticket)
    }

    /// A call has ended at `now`.
    pub(super) fn end(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) {
        self.running.remove(&ticket);
        match outcome {
            Outcome::Fine => {
                self.refusing = None;
                if ticket >= self.cut {
                    self.limit = (self.limit + GROWTH / self.limit).min(self.most as f64);
                }
            }
            Outcome::Refused(hold) => {
                self.refusing.get_or_insert(now);
                self.hold = self.hold.max(now + hold.unwrap_or_default());
                if ticket >= self.cut {
                    let so_many = self.peak.recent(now).max(FEW) as f64;
                    self.limit = (self.limit.min(so_many) / 2.0).max(1.0);
                    self.cut = Ticket(self.next);
                }
            }
            Outcome::Other => {}
        }
    }

    /// For how long B2 has answered nothing but refusals.
    pub(super) fn refusing(&self, now: Duration) -> Duration {
        self.refusing
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

/// The most calls at once of the last second or two: a refusal tells of them, some of which may have ended since.
#[derive(Debug, Default)]
struct Peak {
    since: Duration,
    now: usize,
    before: usize,
}

impl Peak {
    const WINDOW: Duration = Duration::from_secs(1);

    fn saw(&mut self, calls: usize, now: Duration) {
        self.turn(now);
        self.now = self.now.max(calls);
    }

    fn recent(&mut self, now: Duration) -> usize {
        self.turn(now);
        self.now.max(self.before)
    }

    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.since);
        if age < Self::WINDOW {
            return;
        }
        self.before = if age < 2 * Self::WINDOW { self.now } else { 0 };
        self.now = 0;
        self.since = now;
    }
}

/// Calls begun in the last second, where their number is limited.
#[derive(Debug)]
struct Cap {
    most: usize,
    begun: VecDeque<Duration>,
}

impl Cap {
    const SECOND: Duration = Duration::from_secs(1);

    fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            begun: VecDeque::new(),
        }
    }

    fn begin(&mut self, now: Duration) -> Result<(), Duration> {
        if self.begun.len() == self.most {
            let free = self.begun[0] + Self::SECOND;
            if now < free {
                return Err(free);
            }
            self.begun.pop_front();
        }
        self.begun.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
