//! What is known of stored versions: one shared record per file id, for all who read it.
//!
//! A record lives while some content or cached block uses it. Hashes that cost a download are
//! kept longer, for the most recent versions.
//!
//! Bytes that were copied out of a version before it was stored again belong to that version still:
//! whoever refers to them has a [`Hold`], and what would delete the version waits for the last one.
//! The locks are leaves; what waited is called outside of them.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hashlink::LruCache;
use tokio::sync::Semaphore;

use crate::b2::{FileId, Sha1};
use crate::io::Version;
use crate::io::read::proof::Proof;
use crate::io::read::surroundings::Surroundings;

/// Computed hashes kept, about 200 bytes each.
const HASHES: usize = 4096;

/// One immutable version.
pub(in crate::io) struct Record {
    pub(in crate::io) id: FileId,
    /// Stands for the id in the keys of cached blocks.
    pub(in crate::io) key: u64,
    pub(in crate::io) size: u64,
    sha1: Mutex<Option<Sha1>>,
    holds: Mutex<Holds>,
    /// Sequential readers with an open window.
    pub(in crate::io) readers: AtomicUsize,
    /// Places for what is fetched of it ahead.
    pub(in crate::io) ahead: Semaphore,
    pub(in crate::io) surroundings: Surroundings,
    /// What is known of its blocks since all of it was compared with its SHA-1.
    pub(in crate::io) proof: tokio::sync::Mutex<Option<Arc<Proof>>>,
}

#[derive(Default)]
struct Holds {
    count: usize,
    /// To be done when there are none.
    last: Vec<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Records are shared: one per id.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Record {}

/// Keeps this mount from deleting a version.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::io) struct Hold(Arc<Record>);

impl Hold {
    pub(in crate::io) fn new(record: &Arc<Record>) -> Self {
        record.holds().count += 1;
        Self(Arc::clone(record))
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let last = {
            let mut holds = self.0.holds();
            holds.count -= 1;
            if holds.count > 0 {
                return;
            }
            std::mem::take(&mut holds.last)
        };
        for done in last {
            done();
        }
    }
}

/// Bytes of a stored version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) struct StoredRange {
    pub(in crate::io) record: Arc<Record>,
    pub(in crate::io) range: Range<u64>,
    /// Where the version is not the own base of whoever refers to it.
    hold: Option<Hold>,
}

impl StoredRange {
    pub(in crate::io) fn new(record: &Arc<Record>, range: Range<u64>) -> Self {
        Self {
            record: Arc::clone(record),
            range,
            hold: None,
        }
    }

    pub(in crate::io) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes `from..to` of these.
    pub(in crate::io) fn slice(&self, from: u64, to: u64) -> Self {
        Self {
            range: self.range.start + from..self.range.start + to,
            ..self.clone()
        }
    }

    /// These bytes, and their version is kept from being deleted.
    pub(in crate::io) fn held(mut self) -> Self {
        if self.hold.is_none() {
            self.hold = Some(Hold::new(&self.record));
        }
        self
    }

    /// Takes in what comes next in the same version.
    pub(in crate::io) fn join(&mut self, next: &Self) -> bool {
        let follows = self.record == next.record && self.range.end == next.range.start;
        if follows {
            self.range.end = next.range.end;
        }
        follows
    }
}

impl Record {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock()
    }

    pub(in crate::io) fn sha1(&self) -> Option<Sha1> {
        *self.sha1.lock()
    }

    pub(in crate::io) fn version(&self) -> Version {
        Version {
            id: self.id.clone(),
            size: self.size,
            sha1: self.sha1(),
        }
    }
}

#[derive(Debug)]
pub(in crate::io) struct Records {
    live: Mutex<HashMap<FileId, Weak<Record>>>,
    hashes: Mutex<LruCache<FileId, Sha1>>,
    next: AtomicU64,
    /// Ranges of one version that are fetched ahead at once.
    downloads: usize,
}

impl Records {
    pub(in crate::io) fn new(downloads: usize) -> Self {
        Self {
            live: Mutex::default(),
            hashes: Mutex::new(LruCache::new(HASHES)),
            next: AtomicU64::new(1),
            downloads: downloads.max(1),
        }
    }

    /// The record of a version that some content or cached block uses.
    pub(in crate::io) fn known(&self, id: &FileId) -> Option<Arc<Record>> {
        let live = self.live.lock();
        live.get(id).and_then(Weak::upgrade)
    }

    /// The record of a version; the same one for the same id.
    pub(in crate::io) fn intern(&self, version: Version) -> Arc<Record> {
        let computed = self.hashes.lock().get(&version.id).copied();
        let known = version.sha1.or(computed);
        let mut live = self.live.lock();
        if let Some(record) = live.get(&version.id).and_then(Weak::upgrade) {
            let mut sha1 = record.sha1.lock();
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
            holds: Mutex::default(),
            readers: AtomicUsize::new(0),
            ahead: Semaphore::new(self.downloads),
            surroundings: Surroundings::default(),
            proof: tokio::sync::Mutex::default(),
        });
        live.insert(version.id, Arc::downgrade(&record));
        record
    }

    /// While somebody holds the version, keeps `last` for the moment when nobody does any more, and
    /// returns true. It is called wherever the last hold ends, so it must take no lock.
    pub(in crate::io) fn when_free(
        &self,
        id: &FileId,
        last: impl FnOnce() + Send + 'static,
    ) -> bool {
        let live = self.live.lock();
        let Some(record) = live.get(id).and_then(Weak::upgrade) else {
            return false;
        };
        drop(live);
        let mut holds = record.holds();
        if holds.count == 0 {
            return false;
        }
        holds.last.push(Box::new(last));
        true
    }

    /// Whether somebody holds the version.
    pub(in crate::io) fn is_held(&self, id: &FileId) -> bool {
        let live = self.live.lock();
        let record = live.get(id).and_then(Weak::upgrade);
        drop(live);
        record.is_some_and(|record| record.holds().count > 0)
    }

    /// Remembers a hash that was computed from the version's bytes.
    pub(in crate::io) fn learn(&self, record: &Record, sha1: Sha1) {
        *record.sha1.lock() = Some(sha1);
        self.hashes.lock().insert(record.id.clone(), sha1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_version_is_done_once_nobody_holds_it() {
        let records = Records::new(1);
        let version = Version {
            id: FileId::new("4_z"),
            size: 1,
            sha1: None,
        };
        let record = records.intern(version.clone());
        let done = Arc::new(AtomicUsize::new(0));
        let wait = || {
            let done = Arc::clone(&done);
            records.when_free(&version.id, move || {
                done.fetch_add(1, Ordering::Relaxed);
            })
        };
        assert!(!wait(), "nobody holds it");
        let first = Hold::new(&record);
        let second = first.clone();
        assert!(wait() && wait());
        drop(first);
        assert_eq!(done.load(Ordering::Relaxed), 0);
        drop(record);
        drop(second);
        assert_eq!(done.load(Ordering::Relaxed), 2);
        assert!(!wait(), "nobody holds it any more");
        assert_eq!(done.load(Ordering::Relaxed), 2);
    }
}
