//! What all contents share: client, budget, cache, records, and the ways between them.
//!
//! Memory is asked for here: what does not fit pushes out cached blocks, then waits in line.
//! Everything that talks to B2 runs in tasks of the one runtime, so that a caller who is dropped
//! leaves nothing half done.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashlink::LruCache;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::b2::{Client, FileId};
use crate::io::memory::budget::{Budget, Reservation, Want};
use crate::io::read::cache::{self, BLOCK, Cache, Found};
use crate::io::read::check::Compared;
use crate::io::read::fetch::{self, Fetch};
use crate::io::read::line::Meter;
use crate::io::read::records::{Record, Records, StoredRange};
use crate::io::write::content::Content;
use crate::io::{ALL_DOWNLOADS, Error, Settings};

/// How often a waiter looks again whether something can be done.
pub(in crate::io) const TICK: Duration = Duration::from_millis(100);
/// What is fetched for commits is counted in units of so many bytes.
const FILL_UNIT: u64 = 64 << 10;
/// Ids of own versions remembered, to tell them from other clients' in conflict checks.
const OWN_VERSIONS: usize = 4096;
/// Bytes of a version that are read at once by whoever reads all of it.
pub(in crate::io) const STRIDE: u64 = 1 << 20;

pub(in crate::io) struct Engine {
    pub(in crate::io) client: Client,
    pub(in crate::io) settings: Settings,
    pub(in crate::io) rt: Handle,
    pub(in crate::io) budget: Arc<Budget>,
    pub(in crate::io) cache: Cache,
    pub(in crate::io) records: Records,
    /// Readers with an open read-ahead window.
    pub(in crate::io) readers: Arc<AtomicUsize>,
    /// Commits fill parts from the reserve in turns, so that reads find room beside them: one large one, or many small
    /// ones, by `FILL_UNIT`.
    filling: Arc<Semaphore>,
    fill_units: u32,
    /// Places for what is fetched ahead, of all versions together. Who waits for bytes needs none.
    pub(in crate::io) ahead: Semaphore,
    /// What the line is like.
    pub(in crate::io) meter: Meter,
    /// Downloads into the cache under way.
    pub(in crate::io) downloading: AtomicUsize,
    /// Versions of which is fetched what lies around random reads.
    pub(in crate::io) surrounding: AtomicUsize,
    pub(in crate::io) contents: Mutex<Vec<Weak<Content>>>,
    /// When enough was last seen leaving for those who wait for memory (`now_ms`), and whether any of
    /// it was on its way.
    pub(in crate::io) enough: Mutex<Option<(u64, bool)>>,
    /// Bytes given to programs, compared with stored hashes and not.
    pub(in crate::io) reads: Arc<Compared>,
    /// Bytes of stored versions that were sent again as part of new content without a hash to compare them with.
    pub(in crate::io) unchecked: AtomicU64,
    /// Uploads that failed; waiting writers see by it that waiting may not help.
    pub(in crate::io) failures: AtomicU64,
    /// Large files under way here: never taken for abandoned ones.
    pub(in crate::io) large: Mutex<HashSet<FileId>>,
    pub(in crate::io) own: Mutex<LruCache<FileId, ()>>,
    /// Deletions of versions that were copied to their places.
    pub(in crate::io) deletions: Mutex<Vec<JoinHandle<()>>>,
    pub(in crate::io) started: Instant,
}

impl Engine {
    pub(in crate::io) fn new(client: Client, settings: Settings) -> Arc<Self> {
        let budget = Budget::new(settings.memory);
        let fill_units = (budget.reserve() / 2).div_ceil(FILL_UNIT) as u32;
        Arc::new(Self {
            ahead: Semaphore::new(all_downloads(&settings)),
            meter: Meter::default(),
            downloading: AtomicUsize::new(0),
            surrounding: AtomicUsize::new(0),
            records: Records::new(settings.downloads),
            client,
            settings,
            rt: Handle::current(),
            cache: Cache::new(Arc::clone(&budget.unread)),
            readers: Arc::clone(&budget.readers),
            budget,
            filling: Arc::new(Semaphore::new(fill_units as usize)),
            fill_units,
            contents: Mutex::default(),
            enough: Mutex::default(),
            reads: Arc::default(),
            unchecked: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            large: Mutex::default(),
            own: Mutex::new(LruCache::new(OWN_VERSIONS)),
            deletions: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Takes memory if it is there, or is held by cached blocks only.
    pub(in crate::io) fn reserve_now(&self, want: Want, bytes: u64) -> Option<Reservation> {
        // Blocks in use give their memory back later than they are evicted: try a few times.
        for _ in 0..3 {
            match self.budget.try_reserve(want, bytes) {
                Ok(room) => return Some(room),
                Err(0) => return None,
                Err(over) => {
                    if self.cache.evict(over, self.budget.kept_ahead(want)) == 0 {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Takes memory for a read that somebody waits for.
    pub(in crate::io) async fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        if let Some(room) = self.reserve_now(Want::Demand, bytes) {
            return Ok(room);
        }
        let mut granted = self.budget.queue(Want::Demand, bytes, 0);
        let mut moves = self.budget.moves();
        let mut since = Instant::now();
        loop {
            self.relieve_waiters();
            tokio::select! {
                room = &mut granted => return room.map_err(|_| Error::NoMemory),
                () = tokio::time::sleep(TICK) => {}
            }
            let now = self.budget.moves();
            if now != moves {
                moves = now;
                since = Instant::now();
            } else if since.elapsed() > self.settings.timeout {
                return Err(Error::NoMemory);
            }
        }
    }

    /// Evicts what stands in the way of whoever is first in line.
    pub(in crate::io) fn relieve_waiters(&self) {
        let [readers, writers] = self.budget.shortage();
        let mut dropped = 0;
        for (short, want) in [(readers, Want::Demand), (writers, Want::Write)] {
            if short > dropped {
                let kept = self.budget.kept_ahead(want);
                dropped += self.cache.evict(short - dropped, kept);
            }
        }
        self.budget.serve();
    }

    /// The bytes of a range (not empty, within the version) if all are cached.
    pub(in crate::io) fn cached(&self, record: &Record, range: Range<u64>) -> Option<Vec<Bytes>> {
        let blocks = cache::blocks_of(&range);
        let found = self.cache.get_all(record, blocks.clone())?;
        Some(trim(found, blocks.start * BLOCK, range))
    }

    /// The bytes of a range (not empty, within the version), as soon as they are all there.
    pub(in crate::io) async fn read(
        self: &Arc<Self>,
        record: &Arc<Record>,
        range: Range<u64>,
    ) -> Result<Vec<Bytes>, Error> {
        self.begin_read(record, range.clone(), &range)
            .finish()
            .await
    }

    /// Sets the fetches of a read going; it waits nowhere. What is missing of it is fetched together with what is missing
    /// right beside it in `around`.
    pub(in crate::io) fn begin_read(
        self: &Arc<Self>,
        record: &Arc<Record>,
        range: Range<u64>,
        around: &Range<u64>,
    ) -> Reading {
        let blocks = cache::blocks_of(&range);
        let around = cache::blocks_of(around);
        let (found, new) = self.cache.look(record, blocks.clone(), &around);
        if !new.is_empty() {
            let engine = Arc::clone(self);
            self.rt.spawn(async move { engine.fetch(new).await });
        }
        Reading {
            found,
            start: blocks.start * BLOCK,
            range,
        }
    }

    /// Memory for all of a read is taken in one step: two readers that each hold half of what
    /// they need would wait for each other.
    async fn fetch(self: Arc<Self>, fetches: Vec<Arc<Fetch>>) {
        let cost = |fetch: &Arc<Fetch>| cache::cost_of(fetch.record(), &fetch.blocks());
        let mut room = match self.reserve(fetches.iter().map(cost).sum()).await {
            Ok(room) => room,
            Err(error) => {
                for fetch in &fetches {
                    self.cache.gone(fetch, 0);
                    fetch.fail(error.clone());
                }
                return;
            }
        };
        let mut fetches = fetches.into_iter().peekable();
        while let Some(fetch) = fetches.next() {
            let share = room.split(cost(&fetch));
            if fetches.peek().is_none() {
                fetch::run(&self, &fetch, share).await;
            } else {
                let engine = Arc::clone(&self);
                self.rt
                    .spawn(async move { fetch::run(&engine, &fetch, share).await });
            }
        }
    }

    /// Starts to fetch what nobody waits for yet; `None` when there is no memory for it.
    pub(in crate::io) fn read_ahead(
        self: &Arc<Self>,
        record: &Arc<Record>,
        range: Range<u64>,
    ) -> Option<Vec<Arc<Fetch>>> {
        let blocks = cache::blocks_of(&range);
        let missing = self.cache.missing(record, blocks.clone());
        let cost: u64 = missing.iter().map(|g| cache::cost_of(record, g)).sum();
        if cost == 0 {
            return Some(Vec::new());
        }
        let mut room = self.reserve_now(Want::Ahead, cost)?;
        let fetches = self.cache.look_ahead(record, blocks);
        for fetch in &fetches {
            let share = room.split(cache::cost_of(record, &fetch.blocks()));
            let (engine, fetch) = (Arc::clone(self), Arc::clone(fetch));
            self.rt
                .spawn(async move { fetch::run(&engine, &fetch, share).await });
        }
        Some(fetches)
    }

    /// Downloads that one reader needs at once: many readers use the line with one each.
    pub(in crate::io) fn streams(&self) -> u64 {
        let readers = self.readers.load(Ordering::Relaxed).max(1);
        let each = (all_downloads(&self.settings) / readers).max(1);
        let most = each.min(self.settings.downloads.max(1)) as u64;
        self.meter.line().streams(4 << 20, most)
    }

    /// Parts of one file under way at once. Where B2 answers at once, one connection carries as much as several, and more of
    /// them only cost.
    pub(in crate::io) fn parts_at_once(&self) -> usize {
        const NEAR: Duration = Duration::from_millis(5);
        const FEW: usize = 4;
        let most = self.settings.uploads.max(1);
        if self.meter.line().round_trip < NEAR {
            most.min(FEW)
        } else {
            most
        }
    }

    /// The largest window of one reader now.
    pub(in crate::io) fn window(&self) -> u64 {
        const CHUNK: u64 = 16 << 20;
        let readers = self.readers.load(Ordering::Relaxed).max(1) as u64;
        let streams = self.streams();
        // Where each stream has several times on its way what the line carries in a round trip, more would not come sooner.
        let enough = 8 * self.meter.line().in_flight().max(1 << 20);
        let share = self.budget.windows() / readers;
        share.min(streams * enough.min(2 * CHUNK))
    }

    /// Ranges of versions (ordered by version) as whole buffers beside the cache, all in one reservation: what a
    /// commit needs to fill parts, checked as `proof` says.
    pub(in crate::io) async fn read_for_commit(
        self: &Arc<Self>,
        ranges: &[StoredRange],
    ) -> Result<Vec<Bytes>, Error> {
        let total = ranges.iter().map(StoredRange::len).sum();
        let mut turn = None;
        let mut room = if let Some(room) = self.reserve_now(Want::Ahead, total) {
            room
        } else {
            // Kept as long as the bytes are: else the next one stood in line before every reader.
            turn = Some(Arc::new(self.filling(total).await?));
            self.reserve(total).await?
        };
        let mut parts = Vec::with_capacity(ranges.len());
        for of_one in ranges.chunk_by(|one, next| one.record == next.record) {
            let wanted: Vec<_> = of_one.iter().map(|stored| stored.range.clone()).collect();
            for data in self.read_checked(&of_one[0].record, &wanted).await? {
                let share = room.split(data.len() as u64);
                parts.push(share.hold(Filled {
                    data,
                    _turn: turn.clone(),
                }));
            }
        }
        Ok(parts)
    }

    async fn filling(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
        let units = bytes
            .div_ceil(FILL_UNIT)
            .clamp(1, u64::from(self.fill_units)) as u32;
        let turn = Arc::clone(&self.filling).acquire_many_owned(units).await;
        turn.map_err(|_| Error::NoMemory)
    }

    pub(in crate::io) fn note_own(&self, id: &FileId) {
        self.own.lock().insert(id.clone(), ());
    }

    pub(in crate::io) fn is_own(&self, id: &FileId) -> bool {
        self.own.lock().contains_key(id)
    }

    /// Milliseconds since this engine was made.
    pub(in crate::io) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// A timer that may be made on a thread outside the runtime.
    pub(in crate::io) fn sleep(&self, time: Duration) -> tokio::time::Sleep {
        let _inside = self.rt.enter();
        tokio::time::sleep(time)
    }
}

/// Ranges that are fetched ahead at once, of all versions: each of them needs memory.
fn all_downloads(settings: &Settings) -> usize {
    const EACH: u64 = 4 << 20;
    let of_one = settings.downloads.max(1);
    let room = usize::try_from(settings.memory / EACH).unwrap_or(usize::MAX);
    (ALL_DOWNLOADS * of_one).min(room).max(of_one)
}

/// Bytes that were fetched for a commit, and the turn in which it was done.
struct Filled {
    data: Vec<u8>,
    _turn: Option<Arc<tokio::sync::OwnedSemaphorePermit>>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// A read whose bytes are there or on their way.
pub(in crate::io) struct Reading {
    found: Vec<Found>,
    /// Where the first block starts.
    start: u64,
    range: Range<u64>,
}

impl Reading {
    pub(in crate::io) async fn finish(self) -> Result<Vec<Bytes>, Error> {
        let mut data = Vec::with_capacity(self.found.len());
        for block in self.found {
            data.push(match block {
                Found::Ready(block) => block,
                Found::Coming(joined, index) => joined.block(index).await?,
            });
        }
        Ok(trim(data, self.start, self.range))
    }
}

/// Cuts whole blocks, the first of which starts at `start`, down to a range.
pub(in crate::io) fn trim(mut blocks: Vec<Bytes>, start: u64, range: Range<u64>) -> Vec<Bytes> {
    let mut at = start;
    for block in &mut blocks {
        let end = at + block.len() as u64;
        let from = range.start.max(at) - at;
        let to = range.end.min(end) - at;
        if from > 0 || to < block.len() as u64 {
            *block = block.slice(from as usize..to as usize);
        }
        at = end;
    }
    blocks
}
