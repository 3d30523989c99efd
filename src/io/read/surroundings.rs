//! Fetches in the background what `around` has bought for the readers of a version.
//!
//! One task a version while there is something to fetch. It goes on while somebody who reads here and there has the version
//! open; bytes that somebody waits for go first. The lock is a leaf.

use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use crate::io::engine::Engine;
use crate::io::read::around::Around;
use crate::io::read::cache::blocks_of;
use crate::io::read::records::Record;

/// What is known of the random reads of one version.
#[derive(Debug, Default)]
pub(in crate::io) struct Surroundings {
    state: Mutex<State>,
    /// There may be more to buy.
    more: Notify,
    /// Who reads here and there.
    readers: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    around: Around,
    /// A task is fetching.
    runs: bool,
}

/// A reader that reads here and there.
pub(in crate::io) struct Stay(Arc<AtomicUsize>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Surroundings {
    pub(in crate::io) fn stay(&self) -> Stay {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Stay(Arc::clone(&self.readers))
    }
}

impl Engine {
    /// What to fetch for a read that finds not all of its bytes.
    pub(in crate::io) fn around(&self, record: &Record, wanted: &Range<u64>) -> Range<u64> {
        if self.cache.missing(record, blocks_of(wanted)).is_empty() {
            return wanted.clone(); // it is on its way
        }
        let now = self.started.elapsed();
        let mut state = record.surroundings.state.lock();
        let range = state
            .around
            .miss(wanted, record.size, self.meter.line(), now);
        // What a reader waits for must find memory.
        if range.end - range.start > self.budget.reserve() / 2 {
            return wanted.clone();
        }
        range
    }

    /// A reader that reads here and there has waited so long.
    pub(in crate::io) fn has_waited(self: &Arc<Self>, record: &Arc<Record>, time: Duration) {
        let surroundings = &record.surroundings;
        let busy = self.downloading.load(Ordering::Relaxed) as u64;
        let busy = busy.min(self.settings.downloads as u64);
        let mut state = surroundings.state.lock();
        state.around.waited(time, self.meter.line(), busy);
        if state.runs {
            surroundings.more.notify_one();
            return;
        }
        if let Some(first) = self.buy(record, &mut state) {
            state.runs = true;
            let (engine, record) = (Arc::clone(self), Arc::clone(record));
            self.rt.spawn(async move {
                engine.surround(&record, first).await;
            });
        }
    }

    fn buy(&self, record: &Record, state: &mut State) -> Option<Range<u64>> {
        if record.surroundings.readers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let others = self.surrounding.load(Ordering::Relaxed).max(1) as u64;
        let share = self.budget.write_limit() * 3 / 4 / others;
        state.around.buy(record.size, share, self.meter.line())
    }

    async fn surround(self: &Arc<Self>, record: &Arc<Record>, first: Range<u64>) {
        let surroundings = &record.surroundings;
        let _running = Counted::new(&self.surrounding);
        // One that is done finds the next already waiting.
        let most = 2 * self.settings.downloads.max(1);
        let mut under_way = FuturesUnordered::new();
        let mut next = Some(first);
        loop {
            if let Some(range) = next.take() {
                if let Some(fetches) = self.read_ahead(record, range.clone()) {
                    under_way.extend(fetches.into_iter().map(|fetch| async move {
                        fetch.over().await;
                    }));
                } else {
                    surroundings.state.lock().around.give_back(&range);
                }
            }
            if under_way.len() < most {
                let mut state = surroundings.state.lock();
                next = self.buy(record, &mut state);
                if next.is_some() {
                    continue;
                }
                if under_way.is_empty() {
                    state.runs = false;
                    return;
                }
            }
            tokio::select! {
                _ = under_way.next() => {}
                () = surroundings.more.notified() => {}
            }
        }
    }
}

/// Counts something for as long as it lives.
pub(in crate::io) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(in crate::io) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
