//! One ranged GET that fills blocks as its bytes arrive, and those who wait for them.
//!
//! A fetch runs in a task of its own: a reader that gives up does not end it for the others. A
//! block that somebody waits for is handed over in the fetch itself, so that eviction cannot
//! come in between. Errors reach the waiters and are remembered nowhere.

use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, SemaphorePermit, watch};

use crate::b2::{Error as B2Error, ErrorKind};
use crate::io::Error;
use crate::io::engine::Engine;
use crate::io::memory::budget::{Reservation, Use};
use crate::io::read::cache::{self, BLOCK, BLOCK_COST};
use crate::io::read::records::Record;
use crate::io::read::surroundings::Counted;

pub(in crate::io) struct Fetch {
    record: Arc<Record>,
    blocks: Range<u64>,
    ahead: bool,
    waiters: AtomicUsize,
    abandoned: AtomicBool,
    leave: Notify,
    /// Somebody waits for it: it need not stand in line any more.
    wanted: Notify,
    kept: Mutex<Vec<Option<Bytes>>>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// Blocks that have come.
    done: usize,
    failed: Option<Error>,
}

impl Fetch {
    pub(in crate::io) fn new(record: Arc<Record>, blocks: Range<u64>, ahead: bool) -> Arc<Self> {
        let count = (blocks.end - blocks.start) as usize;
        Arc::new(Self {
            record,
            blocks,
            ahead,
            waiters: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            leave: Notify::new(),
            wanted: Notify::new(),
            kept: Mutex::new(vec![None; count]),
            progress: watch::Sender::new(Progress::default()),
        })
    }

    pub(in crate::io) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(in crate::io) fn blocks(&self) -> Range<u64> {
        self.blocks.clone()
    }

    pub(in crate::io) fn is_ahead(&self) -> bool {
        self.ahead
    }

    pub(in crate::io) fn is_wanted(&self) -> bool {
        self.waiters.load(Ordering::Acquire) > 0
    }

    /// Nobody will read what this fetch reads ahead; it ends unless somebody waits for it.
    pub(in crate::io) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.leave.notify_one();
    }

    pub(in crate::io) fn is_over(&self) -> bool {
        let progress = self.progress.borrow();
        progress.failed.is_some() || progress.done == self.count()
    }

    /// Waits until it has come or failed.
    pub(in crate::io) async fn over(&self) {
        let mut progress = self.progress.subscribe();
        let over = |now: &Progress| now.failed.is_some() || now.done == self.count();
        // Without a sender there is nothing to wait for.
        let _ = progress.wait_for(over).await;
    }

    /// Keeps a block for those who wait; called under the cache's lock. `false`: nobody does.
    pub(in crate::io) fn keep(&self, index: usize, data: &Bytes) -> bool {
        let wanted = self.is_wanted();
        if wanted && let Some(slot) = self.kept().get_mut(index) {
            *slot = Some(data.clone());
        }
        wanted
    }

    /// Wakes those who wait for blocks up to `index`.
    pub(in crate::io) fn advance(&self, index: usize) {
        self.progress
            .send_modify(|progress| progress.done = index + 1);
    }

    pub(in crate::io) fn fail(&self, error: Error) {
        self.progress
            .send_modify(|progress| progress.failed = Some(error));
    }

    fn count(&self) -> usize {
        (self.blocks.end - self.blocks.start) as usize
    }

    fn kept(&self) -> parking_lot::MutexGuard<'_, Vec<Option<Bytes>>> {
        self.kept.lock()
    }
}

/// A reader's interest in a fetch.
pub(in crate::io) struct Joined(Arc<Fetch>);

impl Joined {
    /// Must be called under the cache's lock, while the fetch's blocks are pending.
    pub(in crate::io) fn new(fetch: &Arc<Fetch>) -> Self {
        if fetch.waiters.fetch_add(1, Ordering::AcqRel) == 0 {
            fetch.wanted.notify_one();
        }
        Self(Arc::clone(fetch))
    }

    /// Waits for one block.
    pub(in crate::io) async fn block(&self, index: usize) -> Result<Bytes, Error> {
        let mut progress = self.0.progress.subscribe();
        loop {
            {
                let now = progress.borrow_and_update();
                if now.done > index {
                    if let Some(data) = self.0.kept().get(index).cloned().flatten() {
                        return Ok(data);
                    }
                    return Err(lost(&self.0.record));
                }
                if let Some(error) = &now.failed {
                    return Err(error.clone());
                }
            }
            if progress.changed().await.is_err() {
                return Err(lost(&self.0.record));
            }
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if self.0.waiters.fetch_sub(1, Ordering::AcqRel) == 1 {
            let kept = {
                let mut kept = self.0.kept();
                // Somebody may have joined since; then the blocks are his.
                if self.0.is_wanted() {
                    return;
                }
                let empty = vec![None; kept.len()];
                std::mem::replace(&mut *kept, empty)
            };
            drop(kept);
        }
    }
}

fn lost(record: &Record) -> Error {
    Error::B2(B2Error {
        kind: ErrorKind::Protocol,
        call: "b2_download_file_by_id",
        subject: record.id.to_string(),
        status: 0,
        code: String::new(),
        detail: "the download ended before its last byte".to_owned(),
        attempts: 1,
        elapsed: std::time::Duration::ZERO,
        lost: None,
    })
}

/// What a failed download means to a reader.
pub(in crate::io) fn read_error(error: B2Error) -> Error {
    if error.kind == ErrorKind::NotFound {
        Error::Stale
    } else {
        Error::B2(error)
    }
}

/// Ends the fetch as failed if its task is dropped before the end (a runtime shutting down).
struct Ending<'a> {
    engine: &'a Engine,
    fetch: &'a Arc<Fetch>,
    next: usize,
    error: Option<Error>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.next < self.fetch.count() {
            self.engine.cache.gone(self.fetch, self.next);
            let error = self.error.take();
            self.fetch
                .fail(error.unwrap_or_else(|| lost(&self.fetch.record)));
        }
    }
}

/// How fast a download goes. The next one takes a round trip before its first byte comes; begun
/// that much before this one ends, it leaves no gap on the line.
struct Pace {
    asked: Instant,
    /// When the answer began, and how long that took.
    first: (Instant, Duration),
    len: u64,
}

impl Pace {
    fn new(len: u64) -> Self {
        let asked = Instant::now();
        Self {
            asked,
            first: (asked, Duration::ZERO),
            len,
        }
    }

    fn answered(mut self) -> Self {
        self.first = (Instant::now(), self.asked.elapsed());
        self
    }

    /// Whether the last `left` bytes will be here within the time that an answer takes. The first
    /// bytes come in a burst and tell nothing of that.
    fn is_ending(&self, left: u64) -> bool {
        let (since, wait) = self.first;
        let came = self.len - left.min(self.len);
        if came < self.len / 4 {
            return false;
        }
        let came = came as f64;
        left as f64 * since.elapsed().as_secs_f64() <= came * wait.as_secs_f64()
    }
}

/// Downloads the blocks of a fetch, paid by `room`.
pub(in crate::io) async fn run(engine: &Arc<Engine>, fetch: &Arc<Fetch>, mut room: Reservation) {
    let mut ending = Ending {
        engine,
        fetch,
        next: 0,
        error: None,
    };
    if let Err(error) = fill(engine, fetch, &mut room, &mut ending.next).await {
        ending.error = Some(error);
    }
    drop(ending);
    drop(room);
    engine.relieve_waiters();
}

async fn fill(
    engine: &Arc<Engine>,
    fetch: &Arc<Fetch>,
    room: &mut Reservation,
    next: &mut usize,
) -> Result<(), Error> {
    let record = &fetch.record;
    let range = cache::bytes_of(record, &fetch.blocks);
    let len = range.end - range.start;
    let opening = async {
        let slot = if fetch.ahead {
            tokio::select! {
                biased;
                // It goes before what nobody waits for.
                () = fetch.wanted.notified() => None,
                slot = place(engine, record) => slot,
            }
        } else {
            None
        };
        // What stands in line fills no line.
        let counted = Counted::new(&engine.downloading);
        let pace = Pace::new(len);
        let download = engine.client.download(&record.id, range).await;
        download.map(|download| (download, slot, counted, pace.answered()))
    };
    tokio::pin!(opening);
    let (mut download, mut slot, _counted, pace) = loop {
        tokio::select! {
            opened = &mut opening => break opened.map_err(read_error)?,
            () = fetch.leave.notified() => {
                if engine.cache.cancel(fetch, *next) {
                    return Err(lost(record));
                }
            }
        }
    };
    let (since, wait) = pace.first;
    engine.meter.answered(wait);
    let mut left = len;
    let mut block = Vec::new();
    while let Some(chunk) = download.chunk().await.map_err(read_error)? {
        let mut chunk = &chunk[..];
        let before = *next;
        left = left.saturating_sub(chunk.len() as u64);
        if slot.is_some() && pace.is_ending(left) {
            slot = None;
        }
        while !chunk.is_empty() && *next < fetch.count() {
            let number = fetch.blocks.start + *next as u64;
            let size = (record.size - number * BLOCK).min(BLOCK) as usize;
            if block.capacity() == 0 {
                block = Vec::with_capacity(size);
            }
            let take = chunk.len().min(size - block.len());
            block.extend_from_slice(&chunk[..take]);
            chunk = &chunk[take..];
            if block.len() == size {
                let mut paid = room.split(size as u64 + BLOCK_COST);
                paid.turn(Use::Cached);
                let data = paid.hold(std::mem::take(&mut block));
                engine.cache.arrived(fetch, *next, data);
                *next += 1;
            }
        }
        // Once for all blocks of a chunk: waking costs more than most of them.
        if *next > before {
            fetch.advance(*next - 1);
            engine.relieve_waiters();
        }
        if left > 0 && fetch.abandoned.load(Ordering::Acquire) && engine.cache.cancel(fetch, *next)
        {
            return Err(lost(record));
        }
    }
    if *next < fetch.count() {
        return Err(lost(record));
    }
    engine.meter.came(len, since.elapsed());
    Ok(())
}

/// A place among what is fetched ahead: of one version, and of all.
async fn place<'a>(
    engine: &'a Engine,
    record: &'a Record,
) -> Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)> {
    let of_one = record.ahead.acquire().await.ok()?;
    let of_all = engine.ahead.acquire().await.ok()?;
    Some((of_one, of_all))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A download of `len` bytes whose answer took `wait` ms and began `since` ms ago.
    fn pace(len: u64, wait: u64, since: u64) -> Pace {
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms));
        let first = ago(since).expect("the machine runs for longer");
        Pace {
            asked: first,
            first: (first, Duration::from_millis(wait)),
            len,
        }
    }

    #[test]
    fn a_download_ends_when_the_rest_takes_no_longer_than_an_answer() {
        // 900 KB came in 900 ms; the answer took 50 ms, in which 50 KB come.
        let pace = pace(1_000_000, 50, 900);
        assert!(!pace.is_ending(100_000));
        assert!(pace.is_ending(40_000));
    }

    #[test]
    fn on_a_line_faster_than_its_answers_the_next_begins_soon() {
        assert!(pace(16 << 20, 50, 1).is_ending(12 << 20));
        assert!(!pace(16 << 20, 50, 1).is_ending(15 << 20), "a burst");
        assert!(!pace(16 << 20, 50, 1).is_ending(16 << 20), "nothing came");
    }
}
