//! One ceiling over everything that holds bytes: unsent writes, fetches under way, cached blocks.
//!
//! A [`Reservation`] travels with the bytes it pays for and pays back when the last user drops
//! them, so the sum is exact whoever still holds a slice. Unsent writes and fetches together
//! stay a `reserve` below the ceiling; only demand reads may take the reserve, so a budget full
//! of unsent bytes never stops a read (or the fetch that a commit needs). Readers are served before writers, and in
//! order; read-ahead never waits, and passes writers who wait only within the part that is kept for it. What has come
//! ahead and is not read yet belongs to that part, and writers do not push it out: it would only be fetched again. Of the writers, those come first whose files have come
//! farthest: some files that are soon closed and stored give back more than many that have begun. Every fourth turn is
//! that of whoever has waited longest.
//!
//! The bytes of a write that waits are in memory, too: the kernel has handed them over. They count against what is
//! given to others, except for a part that lets the first in line go on.
//!
//! The lock is a leaf: nothing else is locked, and no reservation dropped, while it is held.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

/// What reserved bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Use {
    /// Writes that B2 has not acknowledged.
    Unsent,
    /// Blocks whose bytes are on their way.
    Fetch,
    /// Blocks that may be evicted at any time.
    Cached,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Want {
    /// A program's write.
    Write,
    /// A read that a program (or a commit) waits for.
    Demand,
    /// Read-ahead: gives way to everybody.
    Ahead,
}

/// Smallest reserve: the fill of one part (below 10 MB) and some reads beside it.
const MIN_RESERVE: u64 = 12 << 20;
const MAX_RESERVE: u64 = 64 << 20;
/// The part that writes leave to read-ahead is one in this many.
const AHEAD_SHARE: u64 = 4;
/// Of what writes may take, one part in so many is theirs however many wait.
const GO_ON_SHARE: u64 = 4;
/// A file that has so many bytes has come far.
const FAR: u64 = 1 << 20;
/// One writer in so many is served because it has waited longest.
const IN_ORDER: u64 = 4;
/// Below this nothing works: the reserve and two parts' worth of writes.
pub(in crate::io) const MIN_CEILING: u64 = 24 << 20;

#[derive(Debug)]
pub(in crate::io) struct Budget {
    ceiling: u64,
    reserve: u64,
    /// Sequential readers: while there are any, writes leave them a part.
    pub(in crate::io) readers: Arc<AtomicUsize>,
    /// Cached bytes that were read ahead and have not been read yet.
    pub(in crate::io) unread: Arc<AtomicU64>,
    state: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    unsent: u64,
    fetch: u64,
    cached: u64,
    /// Of writes that stand in line.
    waiting: u64,
    peak: u64,
    /// Count releases of any bytes, and of unsent ones; waiters see by them whether anything moves.
    moves: u64,
    unsent_moves: u64,
    readers: VecDeque<Waiter>,
    writers: VecDeque<Waiter>,
    /// Writers served from the line.
    turns: u64,
}

#[derive(Debug)]
struct Waiter {
    bytes: u64,
    /// How many bytes its file has already.
    holds: u64,
    grant: oneshot::Sender<Reservation>,
}

impl Ledger {
    fn used(&self) -> u64 {
        self.unsent + self.fetch + self.cached
    }

    fn line(&mut self, want: Want) -> &mut VecDeque<Waiter> {
        match want {
            Want::Demand | Want::Ahead => &mut self.readers,
            Want::Write => &mut self.writers,
        }
    }

    /// Whose turn it is: in order of these, the first that fits.
    fn next(&self, want: Want) -> [Option<usize>; 2] {
        let line = match want {
            Want::Demand | Want::Ahead => return [(!self.readers.is_empty()).then_some(0), None],
            Want::Write => &self.writers,
        };
        // Of those that hold the same, the first.
        let all = line.iter().enumerate().rev();
        let farthest = all.max_by_key(|(_, waiter)| waiter.holds).map(|(at, _)| at);
        let first = self.turns.is_multiple_of(IN_ORDER);
        [first.then_some(0).and(farthest.map(|_| 0)), farthest]
    }

    fn of(&mut self, kind: Use) -> &mut u64 {
        match kind {
            Use::Unsent => &mut self.unsent,
            Use::Fetch => &mut self.fetch,
            Use::Cached => &mut self.cached,
        }
    }
}

impl Budget {
    pub(in crate::io) fn new(ceiling: u64) -> Arc<Self> {
        let ceiling = ceiling.max(MIN_CEILING);
        Arc::new(Self {
            ceiling,
            reserve: (ceiling / 8).clamp(MIN_RESERVE, MAX_RESERVE),
            readers: Arc::default(),
            unread: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// What only reads that somebody waits for may take.
    pub(in crate::io) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// The most that unsent writes may take.
    pub(in crate::io) fn write_limit(&self) -> u64 {
        self.ceiling - self.reserve
    }

    pub(in crate::io) fn used(&self) -> u64 {
        self.lock().used()
    }

    /// What unsent writes hold.
    pub(in crate::io) fn unsent(&self) -> u64 {
        self.lock().unsent
    }

    /// The most that was ever in use.
    pub(in crate::io) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Changes whenever something was given back.
    pub(in crate::io) fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// Changes whenever unsent bytes were given back.
    pub(in crate::io) fn unsent_moves(&self) -> u64 {
        self.lock().unsent_moves
    }

    /// Cached bytes to evict so that the next in line may go on: of readers, then of writers; 0 when nobody waits for that.
    pub(in crate::io) fn shortage(&self) -> [u64; 2] {
        let state = self.lock();
        let lack = |waiter: &Waiter, want| {
            if self.fits_in_line(&state, want, waiter) {
                (state.used() + waiter.bytes).saturating_sub(self.ceiling)
            } else {
                0
            }
        };
        let readers = state.readers.front().map_or(0, |w| lack(w, Want::Demand));
        let next = state.next(Want::Write).into_iter().flatten();
        let next = next.filter_map(|at| state.writers.get(at));
        let writers = next.map(|w| lack(w, Want::Write)).max().unwrap_or(0);
        // Blocks make room for what waits, as well as they can.
        let over = (state.used() + state.waiting).saturating_sub(self.ceiling);
        [readers, writers.max(over.min(state.cached))]
    }

    /// Bytes that were read ahead and not read yet, which stay although somebody waits for memory.
    pub(in crate::io) fn kept_ahead(&self, want: Want) -> u64 {
        match want {
            Want::Demand => 0,
            Want::Write => self
                .left(self.write_limit())
                .saturating_sub(self.lock().fetch),
            Want::Ahead => u64::MAX,
        }
    }

    /// What writers leave of `limit` to those who read ahead.
    fn left(&self, limit: u64) -> u64 {
        if self.readers.load(Ordering::Relaxed) > 0 {
            limit / AHEAD_SHARE
        } else {
            0
        }
    }

    /// What all windows of read-ahead together may hold: what unsent bytes leave, but at least the part that is kept.
    pub(in crate::io) fn windows(&self) -> u64 {
        let limit = self.write_limit();
        let unsent = self.lock().unsent;
        (limit * 3 / 4)
            .min(limit.saturating_sub(unsent))
            .max(limit / AHEAD_SHARE)
    }

    /// Takes the bytes at once, or tells how many cached bytes must go first (0: evicting does
    /// not help now).
    pub(in crate::io) fn try_reserve(
        self: &Arc<Self>,
        want: Want,
        bytes: u64,
    ) -> Result<Reservation, u64> {
        let mut state = self.lock();
        let overtakes = match want {
            Want::Demand => !state.readers.is_empty(),
            Want::Write => !state.writers.is_empty(),
            // A part is kept for it, which writers who wait cannot have.
            Want::Ahead => {
                let most = if state.writers.is_empty() {
                    u64::MAX
                } else {
                    self.write_limit() / AHEAD_SHARE
                };
                let holds = state.fetch + self.unread.load(Ordering::Relaxed);
                !state.readers.is_empty() || holds + bytes > most
            }
        };
        if overtakes || !self.fixed_fits(&state, want, bytes) {
            return Err(0);
        }
        let over = (state.used() + bytes).saturating_sub(self.ceiling);
        if over > 0 {
            return Err(over);
        }
        Ok(self.take(&mut state, want, bytes))
    }

    /// Gets in line; `holds`: how many bytes the file of a writer has already. Dropping the receiver leaves the line, and gives
    /// back what was granted.
    pub(in crate::io) fn queue(
        self: &Arc<Self>,
        want: Want,
        bytes: u64,
        holds: u64,
    ) -> oneshot::Receiver<Reservation> {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.lock();
            state.waiting += of_write(want, bytes);
            state.line(want).push_back(Waiter {
                bytes,
                holds,
                grant,
            });
        }
        self.serve();
        granted
    }

    /// Serves whoever can be served: after something was given back, or a waiter has left.
    pub(in crate::io) fn serve(self: &Arc<Self>) {
        // Granted outside the lock: a grant that nobody takes comes back through `release`.
        loop {
            let granted = {
                let mut state = self.lock();
                self.next_grant(&mut state)
            };
            match granted {
                Some((waiter, reservation)) => drop(waiter.send(reservation)),
                None => return,
            }
        }
    }

    fn next_grant(
        self: &Arc<Self>,
        state: &mut Ledger,
    ) -> Option<(oneshot::Sender<Reservation>, Reservation)> {
        for want in [Want::Demand, Want::Write] {
            loop {
                if let Some(left) = state.line(want).iter().position(|w| w.grant.is_closed()) {
                    let left = state.line(want).remove(left);
                    state.waiting -= left.map_or(0, |left| of_write(want, left.bytes));
                    continue;
                }
                let fits = |at: &usize| {
                    let line = match want {
                        Want::Demand | Want::Ahead => &state.readers,
                        Want::Write => &state.writers,
                    };
                    let waiter = &line[*at];
                    self.fits_in_line(state, want, waiter)
                        && state.used() + waiter.bytes <= self.ceiling
                };
                let Some(at) = state.next(want).into_iter().flatten().find(fits) else {
                    break;
                };
                let bytes = state.line(want)[at].bytes;
                let waiter = state.line(want).remove(at)?;
                state.waiting -= of_write(want, bytes);
                state.turns += u64::from(want == Want::Write);
                let reservation = self.take(state, want, bytes);
                return Some((waiter.grant, reservation));
            }
        }
        None
    }

    /// Whether the request fits if every cached block were gone.
    fn fixed_fits(&self, state: &Ledger, want: Want, bytes: u64) -> bool {
        let limit = match want {
            Want::Demand => self.ceiling,
            Want::Write | Want::Ahead => self.ceiling - self.reserve,
        };
        // Else writers, who wait in line, would take all of it again and again.
        let left = match want {
            Want::Write => self.left(limit),
            Want::Demand | Want::Ahead => 0,
        };
        state.unsent + state.fetch.max(left) + bytes <= limit
    }

    /// Whether the request of one that stands in line fits. Files that have come far may take all that writes may, others leave a part to
    /// them: else each would get as much as the next one, and none would come to its end.
    fn fits_in_line(&self, state: &Ledger, want: Want, waiter: &Waiter) -> bool {
        if !self.fixed_fits(state, want, waiter.bytes) {
            return false;
        }
        if want != Want::Write || waiter.holds >= FAR {
            return true;
        }
        let limit = self.write_limit();
        let share = limit / 2 + limit / 2 * waiter.holds / FAR;
        let others = state.waiting.saturating_sub(waiter.bytes);
        let room = self.ceiling.saturating_sub(others + state.fetch);
        let most = share.min(room).max(limit / GO_ON_SHARE);
        // What is alone has nobody to leave anything to.
        others == 0 || state.unsent + waiter.bytes <= most
    }

    fn take(self: &Arc<Self>, state: &mut Ledger, want: Want, bytes: u64) -> Reservation {
        let kind = match want {
            Want::Write => Use::Unsent,
            Want::Demand | Want::Ahead => Use::Fetch,
        };
        *state.of(kind) += bytes;
        state.peak = state.peak.max(state.used());
        Reservation {
            budget: Arc::clone(self),
            bytes,
            kind,
        }
    }

    fn release(self: &Arc<Self>, kind: Use, bytes: u64) {
        if bytes == 0 {
            return;
        }
        {
            let mut state = self.lock();
            *state.of(kind) -= bytes;
            state.moves += 1;
            state.unsent_moves += u64::from(kind == Use::Unsent);
            if state.readers.is_empty() && state.writers.is_empty() {
                return;
            }
        }
        self.serve();
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.state.lock()
    }
}

/// What is in memory already while its writer waits.
fn of_write(want: Want, bytes: u64) -> u64 {
    match want {
        Want::Write => bytes,
        Want::Demand | Want::Ahead => 0,
    }
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(in crate::io) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
    kind: Use,
}

impl Reservation {
    pub(in crate::io) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Splits off a share of its own; at most all of it.
    pub(in crate::io) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: Arc::clone(&self.budget),
            bytes,
            kind: self.kind,
        }
    }

    /// The bytes that are reserved now hold something else.
    pub(in crate::io) fn turn(&mut self, kind: Use) {
        {
            let mut state = self.budget.lock();
            *state.of(self.kind) -= self.bytes;
            *state.of(kind) += self.bytes;
        }
        self.kind = kind;
        self.budget.serve();
    }

    /// Bytes that carry their reservation with them.
    pub(in crate::io) fn hold(self, data: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held {
            data,
            _reservation: self,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.kind, self.bytes);
    }
}

struct Held<T> {
    data: T,
    _reservation: Reservation,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.data.as_ref()
    }
}

#[cfg(test)]
#[path = "budget/tests.rs"]
mod tests;
