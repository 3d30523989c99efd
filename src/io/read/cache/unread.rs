//! Blocks that were read ahead and not read yet, and how many bytes they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashlink::LinkedHashMap;

use super::{BLOCK_COST, BlockKey, CachedBlock};

#[derive(Default)]
pub(super) struct Unread {
    blocks: LinkedHashMap<BlockKey, CachedBlock>,
    /// What they cost, for those who look without the cache's lock.
    bytes: Arc<AtomicU64>,
}

impl Unread {
    pub(super) fn new(bytes: Arc<AtomicU64>) -> Self {
        Self {
            blocks: LinkedHashMap::default(),
            bytes,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn contains(&self, key: &BlockKey) -> bool {
        self.blocks.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: BlockKey, block: CachedBlock) -> Option<CachedBlock> {
        let old = self.remove(&key);
        self.bytes.fetch_add(cost(&block), Ordering::Relaxed);
        self.blocks.insert(key, block);
        old
    }

    pub(super) fn remove(&mut self, key: &BlockKey) -> Option<CachedBlock> {
        let block = self.blocks.remove(key)?;
        self.bytes.fetch_sub(cost(&block), Ordering::Relaxed);
        Some(block)
    }

    /// Takes out what is needed last: what has come last, since readers go forward.
    pub(super) fn pop(&mut self) -> Option<(BlockKey, CachedBlock)> {
        let (key, block) = self.blocks.pop_back()?;
        self.bytes.fetch_sub(cost(&block), Ordering::Relaxed);
        Some((key, block))
    }
}

#[cfg(test)]
impl Unread {
    pub(super) fn keys(&self) -> impl Iterator<Item = &BlockKey> {
        self.blocks.keys()
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &CachedBlock> {
        self.blocks.values()
    }
}

fn cost(block: &CachedBlock) -> u64 {
    block.data.len() as u64 + BLOCK_COST
}
