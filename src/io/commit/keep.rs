//! What was just stored and will soon be read back is kept among the cached blocks.
//!
//! Programs read small files again that they have just written: git its objects and its index, compilers
//! what they made, databases the pages around those that they change. The kernel keeps whole pages of what was
//! written, but not the last one of a file unless it is full; it would ask for that, and B2 would be asked. So
//! small files are kept as a whole, and of others the last block, beside what was cached of the version before
//! and has not changed: what is cached is looked through, not what there is. Room for what is kept is taken as
//! for read-ahead: it gives way to everything.

use std::ops::Range;

use crate::b2::FileVersion;
use crate::io::Version;
use crate::io::engine::Engine;
use crate::io::memory::budget::{Use, Want};
use crate::io::read::cache::{self, BLOCK};
use crate::io::write::snapshot::Snapshot;

/// Files up to this size are kept as a whole.
const WHOLE_MAX: u64 = 8 * BLOCK;

impl Engine {
    /// `copy` takes the place of `source`: what is cached of the one is the other's.
    pub(in crate::io) fn moved(&self, source: &Version, copy: &FileVersion) {
        let Some(id) = copy.id.clone() else { return };
        if copy.size != source.size {
            return;
        }
        let Some(from) = self.records.known(&source.id) else {
            return;
        };
        let to = self.records.intern(Version {
            id,
            size: copy.size,
            sha1: source.sha1,
        });
        let all = cache::blocks_of(&(0..copy.size));
        self.cache.rename(&from, &to, all, |_| true);
    }

    /// Keeps of a snapshot that is stored as `version` what is worth it: of what was sent, by `bytes`, what is
    /// in memory, and of its base what is cached and has not changed.
    pub(in crate::io) fn keep(
        &self,
        snapshot: &Snapshot,
        version: &FileVersion,
        bytes: impl Fn(&Range<u64>) -> Option<Vec<u8>>,
    ) {
        let Some(record) = version.id.as_ref().and_then(|id| self.records.known(id)) else {
            return;
        };
        let blocks = cache::blocks_of(&(0..record.size));
        if let Some(base) = &snapshot.base {
            let unchanged = |block| {
                let range = cache::bytes_of(&record, &(block..block + 1));
                cache::bytes_of(base, &(block..block + 1)) == range && snapshot.holds(base, &range)
            };
            self.cache.rename(base, &record, blocks.clone(), unchanged);
        }
        let first = if record.size <= WHOLE_MAX {
            0
        } else {
            blocks.end - 1
        };
        for block in first..blocks.end {
            let range = cache::bytes_of(&record, &(block..block + 1));
            let Some(bytes) = bytes(&range) else {
                continue;
            };
            let cost = cache::cost_of(&record, &(block..block + 1));
            let Some(mut room) = self.reserve_now(Want::Ahead, cost) else {
                return;
            };
            room.turn(Use::Cached);
            self.cache.put(&record, block, room.hold(bytes));
        }
    }
}
