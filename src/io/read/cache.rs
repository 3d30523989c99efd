//! Blocks of stored versions, shared by all readers: cached ones and those on their way.
//!
//! A block of 32 KiB is small enough that random reads of 128 KiB download less than 1.3 times
//! what they ask for. A block is in one of four maps: read once (`used`), read again later (`hot`), read ahead and not
//! read yet (`ahead`), or on its way (`pending`). Read-ahead may push out only what was read, so
//! that many readers never throw out each other's bytes before they were used; demand pushes
//! out everything, `used` first, and writes leave as much that was read ahead as the budget says. What was read once goes before what was read again, so that whoever goes through
//! many files once leaves others what they work with; but the latter keep at most three quarters. What is done to all blocks of a version, or to all before a
//! place, looks at those that are cached, never at each number: a version may have 300 million. Lock order:
//! cursor, cache, budget.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use hashlink::LinkedHashMap;

use crate::io::read::fetch::{Fetch, Joined};
use crate::io::read::records::Record;
use unread::Unread;

mod unread;

/// Bytes in a block, but for the last of a version.
pub(in crate::io) const BLOCK: u64 = 32 << 10;
/// What a cached block costs beside its bytes.
pub(in crate::io) const BLOCK_COST: u64 = 256;

/// A block is read again if it is read after so many others came: all reads that one program needs for a block come at once.
const LATER: u64 = 64;

/// Blocks that are looked at while others wait.
const TURN: usize = 1024;

/// Version key and block number.
type BlockKey = (u64, u64);

struct CachedBlock {
    data: Bytes,
    /// `Inner::came` when it was read last.
    read: u64,
    // Keeps the record, and with it the key, alive while blocks of it are cached.
    _record: Arc<Record>,
}

#[derive(Default)]
pub(in crate::io) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    used: LinkedHashMap<BlockKey, CachedBlock>,
    hot: LinkedHashMap<BlockKey, CachedBlock>,
    ahead: Unread,
    /// What is in one of the three.
    cached: BTreeSet<BlockKey>,
    /// Blocks that have come: the clock by which "later" is judged.
    came: u64,
    pending: HashMap<BlockKey, Arc<Fetch>>,
}

/// A block that somebody asked for.
pub(in crate::io) enum Found {
    Ready(Bytes),
    /// Number `.1` of a fetch that was under way or has just been made.
    Coming(Joined, usize),
}

/// The blocks that hold a range.
pub(in crate::io) fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// The bytes of a range of blocks.
pub(in crate::io) fn bytes_of(record: &Record, blocks: &Range<u64>) -> Range<u64> {
    blocks.start * BLOCK..(blocks.end * BLOCK).min(record.size)
}

/// What a range of blocks takes of the budget.
pub(in crate::io) fn cost_of(record: &Record, blocks: &Range<u64>) -> u64 {
    let bytes = bytes_of(record, blocks);
    bytes.end - bytes.start + (blocks.end - blocks.start) * BLOCK_COST
}

impl Inner {
    fn take(&mut self, key: BlockKey) -> Option<Bytes> {
        let came = self.came;
        if let Some(entry) = self.hot.to_back(&key) {
            entry.read = came;
            return Some(entry.data.clone());
        }
        if let Some(entry) = self.used.to_back(&key) {
            let again = came - entry.read >= LATER;
            entry.read = came;
            let data = entry.data.clone();
            if again && let Some(entry) = self.used.remove(&key) {
                self.hot.insert(key, entry);
            }
            return Some(data);
        }
        let mut entry = self.ahead.remove(&key)?;
        entry.read = came;
        let data = entry.data.clone();
        self.used.insert(key, entry);
        Some(data)
    }

    fn has(&self, key: BlockKey) -> bool {
        self.used.contains_key(&key) || self.ahead.contains(&key) || self.hot.contains_key(&key)
    }

    /// Takes out what should go first.
    fn pop(&mut self, kept_ahead: u64) -> Option<(BlockKey, CachedBlock)> {
        let all = self.hot.len() + self.used.len();
        let first = if self.hot.len() * 4 > all * 3 {
            self.hot.pop_front()
        } else {
            self.used.pop_front().or_else(|| self.hot.pop_front())
        };
        match first {
            None if self.ahead.bytes() > kept_ahead => self.ahead.pop(),
            first => first,
        }
    }

    /// Which of a range of blocks are cached, at most so many.
    fn cached(&self, record: &Record, blocks: &Range<u64>, most: usize) -> Vec<BlockKey> {
        if blocks.is_empty() {
            return Vec::new();
        }
        let all = (record.key, blocks.start)..(record.key, blocks.end);
        self.cached.range(all).take(most).copied().collect()
    }

    /// Takes a block out.
    fn remove(&mut self, key: BlockKey) -> Option<CachedBlock> {
        let read = self.used.remove(&key).or_else(|| self.hot.remove(&key));
        let entry = read.or_else(|| self.ahead.remove(&key));
        if entry.is_some() {
            self.cached.remove(&key);
        }
        entry
    }

    /// Puts a block that has been read, or is stored, in the place of an earlier one.
    fn put(&mut self, key: BlockKey, entry: CachedBlock) -> Option<CachedBlock> {
        self.cached.insert(key);
        self.came += 1;
        let ahead = self.ahead.remove(&key);
        let hot = self.hot.remove(&key);
        self.used.insert(key, entry).or(ahead).or(hot)
    }

    fn missing(&self, record: &Record, blocks: Range<u64>) -> Vec<Range<u64>> {
        let mut groups: Vec<Range<u64>> = Vec::new();
        for block in blocks {
            let key = (record.key, block);
            if self.has(key) || self.pending.contains_key(&key) {
                continue;
            }
            match groups.last_mut() {
                Some(group) if group.end == block => group.end += 1,
                _ => groups.push(block..block + 1),
            }
        }
        groups
    }

    fn start(&mut self, record: &Arc<Record>, group: Range<u64>, ahead: bool) -> Arc<Fetch> {
        let fetch = Fetch::new(Arc::clone(record), group.clone(), ahead);
        for block in group {
            self.pending.insert((record.key, block), Arc::clone(&fetch));
        }
        fetch
    }
}

impl Cache {
    /// `unread` always tells how many bytes are cached that were read ahead and not read yet.
    pub(in crate::io) fn new(unread: Arc<AtomicU64>) -> Self {
        let ahead = Unread::new(unread);
        Self {
            inner: Mutex::new(Inner {
                ahead,
                ..Inner::default()
            }),
        }
    }

    /// All blocks of a range if all are there.
    pub(in crate::io) fn get_all(&self, record: &Record, blocks: Range<u64>) -> Option<Vec<Bytes>> {
        let mut inner = self.lock();
        let mut found = Vec::with_capacity((blocks.end - blocks.start) as usize);
        for block in blocks {
            found.push(inner.take((record.key, block))?);
        }
        Some(found)
    }

    /// Every block of a range: there, joined, or newly on its way, together with what is missing right beside it in `around`;
    /// the new fetches must be run.
    pub(in crate::io) fn look(
        &self,
        record: &Arc<Record>,
        blocks: Range<u64>,
        around: &Range<u64>,
    ) -> (Vec<Found>, Vec<Arc<Fetch>>) {
        let mut inner = self.lock();
        let all = around.start.min(blocks.start)..around.end.max(blocks.end);
        let new: Vec<_> = inner
            .missing(record, all)
            .into_iter()
            .filter(|group| group.start < blocks.end && blocks.start < group.end)
            .map(|group| inner.start(record, group, false))
            .collect();
        let mut found = Vec::with_capacity((blocks.end - blocks.start) as usize);
        for block in blocks {
            let key = (record.key, block);
            if let Some(data) = inner.take(key) {
                found.push(Found::Ready(data));
            } else if let Some(fetch) = inner.pending.get(&key) {
                let index = (block - fetch.blocks().start) as usize;
                found.push(Found::Coming(Joined::new(fetch), index));
            }
        }
        (found, new)
    }

    /// What of a range is neither there nor on its way.
    pub(in crate::io) fn missing(&self, record: &Record, blocks: Range<u64>) -> Vec<Range<u64>> {
        self.lock().missing(record, blocks)
    }

    /// Starts read-ahead of what is still missing; the fetches must be run.
    pub(in crate::io) fn look_ahead(
        &self,
        record: &Arc<Record>,
        blocks: Range<u64>,
    ) -> Vec<Arc<Fetch>> {
        let mut inner = self.lock();
        inner
            .missing(record, blocks)
            .into_iter()
            .map(|group| inner.start(record, group, true))
            .collect()
    }

    /// Block `index` of a fetch has come; `Fetch::advance` then wakes who waits for it.
    pub(in crate::io) fn arrived(&self, fetch: &Arc<Fetch>, index: usize, data: Bytes) {
        let key = (fetch.record().key, fetch.blocks().start + index as u64);
        let mut entry = CachedBlock {
            data: data.clone(),
            read: 0,
            _record: Arc::clone(fetch.record()),
        };
        let old = {
            let mut inner = self.lock();
            entry.read = inner.came;
            if inner
                .pending
                .get(&key)
                .is_some_and(|pending| Arc::ptr_eq(pending, fetch))
            {
                inner.pending.remove(&key);
            }
            // Under this lock nobody joins: who joined before finds the block in the fetch.
            let wanted = fetch.keep(index, &data);
            if fetch.is_ahead() && !wanted && !inner.has(key) {
                inner.came += 1;
                inner.cached.insert(key);
                inner.ahead.insert(key, entry)
            } else {
                inner.put(key, entry)
            }
        };
        drop((old, data));
    }

    /// Blocks of a fetch from `index` on will not come.
    pub(in crate::io) fn gone(&self, fetch: &Arc<Fetch>, index: usize) {
        let mut inner = self.lock();
        Self::unlist(&mut inner, fetch, index);
    }

    /// Stops a fetch that nobody waits for; `false` when somebody does.
    pub(in crate::io) fn cancel(&self, fetch: &Arc<Fetch>, index: usize) -> bool {
        let mut inner = self.lock();
        if fetch.is_wanted() {
            return false;
        }
        Self::unlist(&mut inner, fetch, index);
        true
    }

    fn unlist(inner: &mut Inner, fetch: &Arc<Fetch>, index: usize) {
        let blocks = fetch.blocks();
        for block in blocks.start + index as u64..blocks.end {
            let key = (fetch.record().key, block);
            if inner
                .pending
                .get(&key)
                .is_some_and(|pending| Arc::ptr_eq(pending, fetch))
            {
                inner.pending.remove(&key);
            }
        }
    }

    /// Drops at least `bytes` of cached blocks if there are so many beside `kept_ahead` bytes that were read ahead; tells
    /// how many it dropped.
    pub(in crate::io) fn evict(&self, bytes: u64, kept_ahead: u64) -> u64 {
        let mut dropped = Vec::new();
        let mut sum = 0;
        {
            let mut inner = self.lock();
            while sum < bytes {
                let Some((key, entry)) = inner.pop(kept_ahead) else {
                    break;
                };
                inner.cached.remove(&key);
                sum += entry.data.len() as u64 + BLOCK_COST;
                dropped.push(entry);
            }
        }
        // Outside the lock: this gives bytes back to the budget, which wakes waiters.
        drop(dropped);
        sum
    }

    /// Blocks that were read ahead and will not be read: first to go.
    pub(in crate::io) fn demote(&self, record: &Record, blocks: Range<u64>) {
        let mut inner = self.lock();
        if inner.ahead.is_empty() {
            return;
        }
        for key in inner.cached(record, &blocks, usize::MAX) {
            if let Some(entry) = inner.ahead.remove(&key) {
                inner.used.insert_front(key, entry);
            }
        }
    }

    /// Drops blocks that were read and will not be read again.
    pub(in crate::io) fn drop_used(&self, record: &Record, blocks: Range<u64>) {
        self.in_turns(record, blocks, |inner, key| {
            let used = inner.used.contains_key(&key);
            used.then(|| inner.remove(key)).flatten()
        });
    }

    /// Takes a block that has not been downloaded.
    pub(in crate::io) fn put(&self, record: &Arc<Record>, block: u64, data: Bytes) {
        let mut inner = self.lock();
        let entry = CachedBlock {
            data,
            read: inner.came,
            _record: Arc::clone(record),
        };
        let old = inner.put((record.key, block), entry);
        drop(inner);
        drop(old);
    }

    /// What is cached of the blocks of one version that are `same` in another one is that one's.
    pub(in crate::io) fn rename(
        &self,
        from: &Record,
        to: &Arc<Record>,
        blocks: Range<u64>,
        same: impl Fn(u64) -> bool,
    ) {
        let is_same = |(_, block): BlockKey| same(block);
        let rename = |inner: &mut Inner, (from, block): BlockKey| {
            let entry = CachedBlock {
                _record: Arc::clone(to),
                ..inner.remove((from, block))?
            };
            inner.put((to.key, block), entry)
        };
        self.in_turns_if(from, blocks, is_same, rename);
    }

    /// Drops all cached blocks of a version.
    pub(in crate::io) fn forget(&self, record: &Record) {
        self.in_turns(record, 0..u64::MAX, Inner::remove);
    }

    /// Does something to each of the blocks that are cached; what comes of it is dropped.
    fn in_turns(
        &self,
        record: &Record,
        blocks: Range<u64>,
        each: impl Fn(&mut Inner, BlockKey) -> Option<CachedBlock>,
    ) {
        self.in_turns_if(record, blocks, |_| true, each);
    }

    /// Does something to each of the blocks that are wanted, which is asked without the lock. Others get it in between.
    fn in_turns_if(
        &self,
        record: &Record,
        mut blocks: Range<u64>,
        wanted: impl Fn(BlockKey) -> bool,
        each: impl Fn(&mut Inner, BlockKey) -> Option<CachedBlock>,
    ) {
        loop {
            let keys = self.lock().cached(record, &blocks, TURN);
            let Some((_, last)) = keys.last() else { return };
            blocks.start = last + 1;
            let done = keys.len() < TURN;
            let keys: Vec<BlockKey> = keys.into_iter().filter(|key| wanted(*key)).collect();
            let dropped: Vec<CachedBlock> = {
                let mut inner = self.lock();
                keys.into_iter()
                    .filter_map(|key| each(&mut inner, key))
                    .collect()
            };
            // Outside the lock, as in `evict`.
            drop(dropped);
            if done {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
