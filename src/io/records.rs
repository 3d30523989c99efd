//! What is known of stored versions: one shared record per file id, for all who read it.
//!
//! A record lives while some content or cached block uses it. Hashes that cost a download are
//! kept longer, for the most recent versions. The lock is a leaf.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashlink::LruCache;

use super::Version;
use crate::b2::{FileId, Sha1};

/// Computed hashes kept, about 200 bytes each.
const HASHES: usize = 4096;

/// One immutable version.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: FileId,
    /// Stands for the id in the keys of cached blocks.
    pub(super) key: u64,
    pub(super) size: u64,
    sha1: Mutex<Option<Sha1>>,
}

impl Record {
    pub(super) fn sha1(&self) -> Option<Sha1> {
        *self.sha1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn version(&self) -> Version {
        Version {
            id: self.id.clone(),
            size: self.size,
            sha1: self.sha1(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Records {
    live: Mutex<HashMap<FileId, Weak<Record>>>,
    hashes: Mutex<LruCache<FileId, Sha1>>,
    next: AtomicU64,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            live: Mutex::default(),
            hashes: Mutex::new(LruCache::new(HASHES)),
            next: AtomicU64::new(1),
        }
    }

    /// The record of a version; the same one for the same id.
    pub(super) fn intern(&self, version: Version) -> Arc<Record> {
        let computed = self
            .hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&version.id)
            .copied();
        let known = version.sha1.or(computed);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = live.get(&version.id).and_then(Weak::upgrade) {
            let mut sha1 = record.sha1.lock().unwrap_or_else(PoisonError::into_inner);
            *sha1 = sha1.or(known);
            drop(sha1);
            return record;
        }
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        if key.is_multiple_of(1024) {
            live.retain(|_, record| record.strong_count() > 0);
        }
        let record = Arc::new(Record {
            id: version.id.clone(),
            key,
            size: version.size,
            sha1: Mutex::new(known),
        });
        live.insert(version.id, Arc::downgrade(&record));
        record
    }

    /// Remembers a hash that was computed from the version's bytes.
    pub(super) fn learn(&self, record: &Record, sha1: Sha1) {
        *record.sha1.lock().unwrap_or_else(PoisonError::into_inner) = Some(sha1);
        self.hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(record.id.clone(), sha1);
    }
}
