//! Who must give memory back when a writer waits for it.
//!
//! A writer that must wait first sees to it that something leaves: parts that are full enough, then the contents with
//! the most unsent bytes; its own turn among them means `NeedsCommit`. It waits as long as uploads go on, and at most
//! `timeout` once they fail or none is under way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::io::Error;
use crate::io::engine::{Engine, TICK};
use crate::io::memory::budget::{Reservation, Want};
use crate::io::parts::Streaming;
use crate::io::parts::plan::MIN_PART;
use crate::io::write::content::Content;

/// How long an owner that was asked to commit is believed to begin soon.
const SOON_MS: u64 = 1_000;
/// Of what is wanted to leave, one part in so many is enough before files that are being written are asked.
const WRITTEN_SHARE: u64 = 8;
/// One that did not is asked again after this time, behind those who were not asked yet.
const ASK_AGAIN_MS: u64 = 5_000;

/// A writer waits for memory for a content.
struct Waits<'a>(&'a Content);

impl<'a> Waits<'a> {
    fn begin(content: &'a Content) -> Self {
        content.waiters.fetch_add(1, Ordering::Relaxed);
        Self(content)
    }

    /// How far a small file has come, which makes it worth while to let it finish. What can leave in parts need not be
    /// finished for that.
    fn holds(&self) -> u64 {
        let size = self.0.size();
        if size < 2 * MIN_PART { size } else { 0 }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Content {
    /// Waits for memory for a write.
    pub(in crate::io) async fn make_room(
        self: &Arc<Self>,
        bytes: u64,
    ) -> Result<Reservation, Error> {
        let engine = &self.engine;
        let waits = Waits::begin(self);
        let mut granted = engine.budget.queue(Want::Write, bytes, waits.holds());
        let mut moves = engine.budget.unsent_moves();
        let failures = engine.failures.load(Ordering::Relaxed);
        let mut stuck: Option<Instant> = None;
        loop {
            let leaving = engine.make_leave(self, bytes)?;
            tokio::select! {
                room = &mut granted => return room.map_err(|_| Error::NoMemory),
                () = engine.sleep(TICK) => {}
            }
            let now = engine.budget.unsent_moves();
            if now != moves {
                moves = now;
                stuck = None;
            } else if !leaving || engine.failures.load(Ordering::Relaxed) != failures {
                let since = *stuck.get_or_insert_with(Instant::now);
                if since.elapsed() > engine.settings.timeout {
                    return Err(Error::NoMemory);
                }
            }
        }
    }
}

impl Engine {
    pub(in crate::io) fn list(&self, content: &Arc<Content>) {
        let mut contents = self.contents.lock();
        // Now and then, so that the cost stays constant per content.
        if contents.len().is_power_of_two() {
            contents.retain(|content| content.strong_count() > 0);
        }
        contents.push(Arc::downgrade(content));
    }

    fn listed(&self) -> Vec<Arc<Content>> {
        let contents = self.contents.lock();
        contents
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .collect()
    }

    fn enough(&self) -> parking_lot::MutexGuard<'_, Option<(u64, bool)>> {
        self.enough.lock()
    }

    /// Makes unsent bytes leave because `me` waits for `bytes`. Tells whether any are on their way.
    fn make_leave(&self, me: &Arc<Content>, bytes: u64) -> Result<bool, Error> {
        self.relieve_waiters();
        let now = self.now_ms();
        // Thousands of small contents are not looked through for each write that waits.
        if let Some((at, on_the_way)) = *self.enough()
            && now.saturating_sub(at) < TICK.as_millis() as u64
        {
            return Ok(on_the_way);
        }
        let contents = self.listed();
        let goal = bytes.max(self.budget.write_limit() / 4);
        let (mut leaving, mut on_the_way) = (0, false);
        // Closed contents that were asked for and stand in their owner's queue.
        let mut queued = Vec::new();
        // Asked before, still open, unsent bytes, content.
        let mut idle: Vec<(bool, bool, u64, &Arc<Content>)> = Vec::new();
        for content in &contents {
            let unsent = content.unsent.load(Ordering::Relaxed);
            let open = !content.closed.load(Ordering::Relaxed);
            if unsent >= MIN_PART && open {
                content.pump(true);
            }
            let flying = content.flying.load(Ordering::Relaxed);
            let asked = content.asked.load(Ordering::Relaxed);
            let waited = (asked > 0).then(|| now.saturating_sub(asked));
            if unsent == 0 {
                continue;
            }
            // A stream that is about to begin takes all of it: no commit is as short.
            let begins = matches!(content.lock().stream, Streaming::Starting(_));
            let committing = begins || content.committing.load(Ordering::Acquire);
            on_the_way |= committing || flying > 0;
            if committing || waited.is_some_and(|ms| ms < SOON_MS) {
                leaving += unsent;
            } else if flying > 0 {
                leaving += flying;
            } else if waited.is_some() && !open && !Arc::ptr_eq(content, me) {
                queued.push((waited >= Some(ASK_AGAIN_MS), unsent, content));
            } else if waited.is_none_or(|ms| ms >= ASK_AGAIN_MS) || Arc::ptr_eq(content, me) {
                idle.push((waited.is_some(), open, unsent, content));
            }
        }
        for (late, unsent, content) in queued {
            // As long as those before them leave, so will they, however long that takes.
            if late && !on_the_way {
                idle.push((true, false, unsent, content));
            } else {
                leaving += unsent;
            }
        }
        // Of what is closed the oldest first, as it is due next; then the largest, and at last what is being written,
        // beginning with what has not come far.
        idle.sort_by_cached_key(|(asked, open, unsent, content)| {
            let written = content.waiters.load(Ordering::Relaxed) > 0;
            let rank = match (open, written) {
                (false, _) => 0,
                (true, false) => u64::MAX - unsent,
                (true, true) => content.size(),
            };
            (*asked, *open, written, rank)
        });
        for (_, open, unsent, content) in idle {
            // What is being written is stored once more when it is closed: best left to come to that.
            let written = open && content.waiters.load(Ordering::Relaxed) > 0;
            if leaving >= if written { goal / WRITTEN_SHARE } else { goal } {
                break;
            }
            if Arc::ptr_eq(content, me) {
                return Err(Error::NeedsCommit);
            }
            let Some(owner) = content.lock().owner.clone() else {
                continue;
            };
            content.asked.store(now.max(1), Ordering::Relaxed);
            leaving += unsent;
            owner.please_commit();
        }
        if leaving >= goal / WRITTEN_SHARE {
            *self.enough() = Some((now, on_the_way));
        }
        Ok(on_the_way)
    }
}
