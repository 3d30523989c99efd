//! What was just stored and will soon be read back is kept among the cached blocks.
//!
//! Programs read small files again that they have just written: git its objects and its index, compilers
//! what they made, databases the pages around those that they change. The kernel keeps whole pages of what was
//! written, but not the last one of a file unless it is full; it would ask for that, and B2 would be asked. So
//! small files are kept as a whole, and of others the last block and those that a change has made of cached ones, beside what was cached of the version before
//! and has not changed: what is cached is looked through, not what there is. Room for what is kept is taken as
//! for read-ahead: it gives way to everything.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::b2::FileVersion;
use crate::io::Version;
use crate::io::engine::Engine;
use crate::io::memory::budget::{Use, Want};
use crate::io::read::cache::{self, BLOCK};
use crate::io::read::records::Record;
use crate::io::write::snapshot::{Snapshot, Span};

/// Changed blocks that are kept of one commit.
const CHANGED_MOST: usize = (16 << 20) / BLOCK as usize;

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
        let changed = self.changed_blocks(snapshot, &record);
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
        for (block, bytes) in changed {
            self.cache.put(&record, block, bytes);
        }
    }

    /// Blocks that changes have made of cached ones: whoever changes a page of a database reads those around it soon, and the
    /// next change of the same file sends them again.
    fn changed_blocks(&self, snapshot: &Snapshot, record: &Record) -> Vec<(u64, Bytes)> {
        let Some(base) = &snapshot.base else {
            return Vec::new();
        };
        let all = snapshot.start..snapshot.size;
        if !snapshot.cut(&all).any(|span| span.is_stored()) {
            return Vec::new(); // written anew as a whole
        }
        let mut changed = Vec::new();
        let (mut at, mut next) = (snapshot.start, 0);
        for span in snapshot.cut(&all) {
            let range = at..at + span.len();
            at = range.end;
            // A hole may be terabytes, and costs nothing to send again.
            if !matches!(span, Span::Bytes(_)) {
                continue;
            }
            let blocks = cache::blocks_of(&range);
            for block in blocks.start.max(next)..blocks.end {
                next = block + 1;
                if changed.len() == CHANGED_MOST {
                    return changed;
                }
                let range = cache::bytes_of(record, &(block..block + 1));
                let before = cache::bytes_of(base, &(block..block + 1));
                let Some(bytes) = self.changed_block(snapshot, base, &before, &range) else {
                    continue;
                };
                let cost = cache::cost_of(record, &(block..block + 1));
                let Some(mut room) = self.reserve_now(Want::Ahead, cost) else {
                    return changed;
                };
                room.turn(Use::Cached);
                changed.push((block, room.hold(bytes)));
            }
        }
        changed
    }

    /// The bytes of a block, if what of it is stored is in the cached block of the base (`before`) in the same place.
    fn changed_block(
        &self,
        snapshot: &Snapshot,
        base: &Arc<Record>,
        before: &Range<u64>,
        range: &Range<u64>,
    ) -> Option<Vec<u8>> {
        if range.start < snapshot.start {
            return None;
        }
        let mut base_bytes = None;
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for span in snapshot.cut(range) {
            let at = range.start + bytes.len() as u64;
            match span {
                Span::Bytes(piece) => bytes.extend_from_slice(&piece),
                Span::Zero(len) => bytes.resize(bytes.len() + len as usize, 0),
                Span::Stored(stored) if stored.record == *base && stored.range.start == at => {
                    if base_bytes.is_none() {
                        base_bytes = Some(self.cached(base, before.clone())?.concat());
                    }
                    let (from, to) = (at - before.start, stored.range.end - before.start);
                    bytes.extend_from_slice(base_bytes.as_ref()?.get(from as usize..to as usize)?);
                }
                Span::Stored(_) => return None,
            }
        }
        Some(bytes)
    }
}
