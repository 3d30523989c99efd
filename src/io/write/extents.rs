//! The overlay of a file being written: which bytes changed, where they are, when they changed.
//!
//! Extents never overlap. Each carries the sequence number of its change, so that a commit takes
//! a snapshot (reference counts, no copies) and afterwards drops exactly what was not rewritten
//! since. Small writes that follow one another fill one open buffer in place; large ones are
//! kept as they came. What was copied out of a stored version is kept as a reference to it. Pure
//! data: the reservations that pay for bytes travel inside them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::io::memory::budget::Reservation;
use crate::io::read::records::Stored;

/// What a content with unsent changes costs beside its bytes and extents: itself, its first map node, the
/// inode and the places in lists that it keeps alive. Thousands of small files are counted for what
/// they take.
pub(in crate::io) const CONTENT_COST: u64 = 3072;

/// What one extent costs beside its bytes (map node, headers), so that a million one-byte writes
/// are counted for what they take.
pub(in crate::io) const EXTENT_COST: u64 = 160;

/// A buffer that small writes fill; its capacity is reserved and never grows.
#[derive(Debug)]
pub(in crate::io) struct OpenBuffer {
    data: Vec<u8>,
    room: Reservation,
}

impl OpenBuffer {
    /// An empty buffer of `capacity` bytes, paid by `room`.
    pub(in crate::io) fn new(capacity: usize, room: Reservation) -> Self {
        Self {
            data: Vec::with_capacity(capacity),
            room,
        }
    }

    fn spare(&self) -> usize {
        self.data.capacity() - self.data.len()
    }

    fn freeze(mut self) -> Bytes {
        if self.spare() > self.data.len() {
            self.data.shrink_to_fit();
            let keep = self.data.capacity() as u64 + EXTENT_COST;
            let excess = self.room.bytes().saturating_sub(keep);
            drop(self.room.split(excess));
        }
        self.room.hold(self.data)
    }
}

#[derive(Debug)]
enum Kind {
    Data(Bytes),
    Open(OpenBuffer),
    /// Acknowledged as part of an unfinished large file; not in memory any more.
    Sent,
    /// Copied from another version, or from elsewhere in the base.
    Stored(Stored, Arc<Reservation>),
    /// Zeros that nobody wrote: copied, or made by a hole.
    Zero(Arc<Reservation>),
}

impl Kind {
    /// Bytes in memory that B2 does not have.
    fn is_unsent(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Open(_))
    }

    /// Known by what it is made of; costs `EXTENT_COST` only.
    fn is_reference(&self) -> bool {
        matches!(self, Self::Stored(..) | Self::Zero(_))
    }
}

#[derive(Debug)]
struct Extent {
    len: u64,
    seq: u64,
    kind: Kind,
}

/// What a range is made of, in order and without holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) enum Piece {
    /// Changed bytes.
    Data(Bytes),
    /// Changed bytes that have left memory.
    Sent(u64),
    /// Changed to what a stored version holds.
    Stored(Stored),
    /// Changed to zeros.
    Zero(u64),
    /// Unchanged: base or zeros, as the owner of the overlay knows.
    Gap(u64),
}

impl Piece {
    pub(in crate::io) fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Stored(stored) => stored.len(),
            Self::Sent(len) | Self::Zero(len) | Self::Gap(len) => *len,
        }
    }
}

#[derive(Debug, Default)]
pub(in crate::io) struct Overlay {
    map: BTreeMap<u64, Extent>,
    /// Where the open buffer starts.
    open: Option<u64>,
    /// Where the reference starts that the next one may be joined to.
    joinable: Option<u64>,
    unsent: u64,
    references: u64,
}

impl Overlay {
    pub(in crate::io) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Changed bytes still in memory.
    pub(in crate::io) fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Memory that is given back when all changes are stored.
    pub(in crate::io) fn weight(&self) -> u64 {
        self.unsent + self.references * EXTENT_COST
    }

    /// Where the first changed bytes in memory start.
    pub(in crate::io) fn first_unsent(&self) -> Option<u64> {
        let mut unsent = self
            .map
            .iter()
            .filter(|(_, extent)| extent.kind.is_unsent());
        unsent.next().map(|(&start, _)| start)
    }

    /// Takes bytes as they are.
    pub(in crate::io) fn put(&mut self, offset: u64, data: Bytes, seq: u64) {
        let len = data.len() as u64;
        self.cut(offset..offset + len);
        self.insert(offset, len, seq, Kind::Data(data));
    }

    /// Puts bytes of a stored version in place; copies that follow one another become one.
    pub(in crate::io) fn put_stored(
        &mut self,
        offset: u64,
        stored: Stored,
        seq: u64,
        room: Reservation,
    ) {
        let len = stored.len();
        self.cut(offset..offset + len);
        if let Some(start) = self.joinable
            && let Some(before) = self.map.get_mut(&start)
            && start + before.len == offset
            && let Kind::Stored(joined, _) = &mut before.kind
            && joined.join(&stored)
        {
            before.len += len;
            before.seq = seq;
            return;
        }
        self.insert(offset, len, seq, Kind::Stored(stored, Arc::new(room)));
        self.joinable = Some(offset);
    }

    /// Puts zeros in place; such as follow one another become one.
    pub(in crate::io) fn put_zeros(&mut self, offset: u64, len: u64, seq: u64, room: Reservation) {
        self.cut(offset..offset + len);
        if let Some(start) = self.joinable
            && let Some(before) = self.map.get_mut(&start)
            && start + before.len == offset
            && let Kind::Zero(_) = &before.kind
        {
            before.len += len;
            before.seq = seq;
            return;
        }
        self.insert(offset, len, seq, Kind::Zero(Arc::new(room)));
        self.joinable = Some(offset);
    }

    /// Writes into the open buffer, over its bytes or right behind them. `false` when it does not fit there.
    pub(in crate::io) fn put_open(&mut self, offset: u64, data: &[u8], seq: u64) -> bool {
        let added = data.len() as u64;
        let Some(start) = self.open else { return false };
        let Some(Extent {
            len,
            seq: last,
            kind: Kind::Open(buffer),
        }) = self.map.get_mut(&start)
        else {
            return false;
        };
        let end = start + *len;
        if offset >= start && offset + added <= end {
            let at = (offset - start) as usize;
            buffer.data[at..at + data.len()].copy_from_slice(data);
            *last = seq;
            return true;
        }
        if offset != end || buffer.spare() < data.len() {
            return false;
        }
        buffer.data.extend_from_slice(data);
        // What lay behind the buffer is overwritten; the buffer itself ends where the cut begins.
        self.cut(end..end + added);
        if let Some(extent) = self.map.get_mut(&start) {
            extent.len += added;
            extent.seq = seq;
            self.unsent += added;
        }
        true
    }

    /// Capacity of the open buffer if a write at `offset` would follow it.
    pub(in crate::io) fn open_before(&self, offset: u64) -> Option<usize> {
        let start = self.open?;
        let extent = self.map.get(&start)?;
        match &extent.kind {
            Kind::Open(buffer) if start + extent.len == offset => Some(buffer.data.capacity()),
            _ => None,
        }
    }

    /// Starts a new open buffer with `data` in it.
    pub(in crate::io) fn open(
        &mut self,
        offset: u64,
        data: &[u8],
        mut buffer: OpenBuffer,
        seq: u64,
    ) {
        let len = data.len() as u64;
        self.freeze();
        self.cut(offset..offset + len);
        buffer.data.extend_from_slice(data);
        self.insert(offset, len, seq, Kind::Open(buffer));
        self.open = Some(offset);
    }

    /// Closes the open buffer: what is in it will not change in place any more.
    pub(in crate::io) fn freeze(&mut self) {
        self.joinable = None;
        let Some(start) = self.open.take() else {
            return;
        };
        if let Some(extent) = self.map.remove(&start) {
            let kind = match extent.kind {
                Kind::Open(buffer) => Kind::Data(buffer.freeze()),
                other => other,
            };
            self.map.insert(start, Extent { kind, ..extent });
        }
    }

    /// Forgets everything from `size` on.
    pub(in crate::io) fn truncate(&mut self, size: u64) {
        self.cut(size..u64::MAX);
    }

    /// What a range is made of.
    pub(in crate::io) fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let from = self.start_at_or_before(range.start);
        for (&start, extent) in self.map.range(from..range.end.max(from)) {
            let end = start + extent.len;
            if end <= at {
                continue;
            }
            if start > at {
                pieces.push(Piece::Gap(start - at));
                at = start;
            }
            let stop = end.min(range.end);
            let slice = (at - start) as usize..(stop - start) as usize;
            pieces.push(match &extent.kind {
                Kind::Data(bytes) => Piece::Data(bytes.slice(slice)),
                Kind::Open(buffer) => Piece::Data(Bytes::copy_from_slice(&buffer.data[slice])),
                Kind::Sent => Piece::Sent(stop - at),
                Kind::Stored(stored, _) => Piece::Stored(stored.slice(at - start, stop - start)),
                Kind::Zero(_) => Piece::Zero(stop - at),
            });
            at = stop;
        }
        if at < range.end {
            pieces.push(Piece::Gap(range.end - at));
        }
        pieces
    }

    /// End of the changed bytes in memory that lie without a hole from `offset` on.
    pub(in crate::io) fn run_end(&self, offset: u64) -> u64 {
        let mut at = offset;
        for (&start, extent) in self.map.range(self.start_at_or_before(offset)..) {
            if start > at {
                break;
            }
            if start + extent.len <= at {
                continue;
            }
            if !extent.kind.is_unsent() {
                break;
            }
            at = start + extent.len;
        }
        at
    }

    /// True when all changes lie in one run without a hole.
    pub(in crate::io) fn is_one_run(&self) -> bool {
        let mut at = None;
        for (&start, extent) in &self.map {
            if at.is_some_and(|at| at != start) {
                return false;
            }
            at = Some(start + extent.len);
        }
        at.is_some()
    }

    /// The range was acknowledged as a part: memory that it takes is given back, the changes stay known, and no
    /// newer than they were. What is not in memory can be read from where it is.
    pub(in crate::io) fn mark_sent(&mut self, range: Range<u64>) {
        let from = self.start_at_or_before(range.start);
        let changes = self.map.range(from..range.end.max(from));
        let held: Vec<(Range<u64>, u64)> = changes
            .filter(|(start, extent)| extent.kind.is_unsent() && **start + extent.len > range.start)
            .map(|(start, extent)| {
                let end = (start + extent.len).min(range.end);
                ((*start).max(range.start)..end, extent.seq)
            })
            .collect();
        let mut sent: Option<(Range<u64>, u64)> = None;
        for (next, seq) in held {
            self.cut(next.clone());
            match &mut sent {
                Some((run, last)) if run.end == next.start => {
                    run.end = next.end;
                    *last = (*last).max(seq);
                }
                _ => {
                    if let Some((run, seq)) = sent.replace((next, seq)) {
                        self.insert(run.start, run.end - run.start, seq, Kind::Sent);
                    }
                }
            }
        }
        if let Some((run, seq)) = sent {
            self.insert(run.start, run.end - run.start, seq, Kind::Sent);
        }
    }

    /// Whether something in a range was changed after `seq`.
    pub(in crate::io) fn changed_since(&self, range: &Range<u64>, seq: u64) -> bool {
        let from = self.start_at_or_before(range.start);
        let mut changes = self.map.range(from..range.end.max(from));
        changes.any(|(start, extent)| extent.seq > seq && start + extent.len > range.start)
    }

    /// Whether bytes before `size` have left memory.
    pub(in crate::io) fn has_sent_before(&self, size: u64) -> bool {
        let mut before = self.map.range(..size);
        before.any(|(_, extent)| matches!(extent.kind, Kind::Sent))
    }

    /// Drops every change that is not newer than `seq`: a commit has stored them.
    pub(in crate::io) fn drop_stored(&mut self, seq: u64) {
        self.map.retain(|_, extent| extent.seq > seq);
        if self
            .open
            .is_some_and(|start| !self.map.contains_key(&start))
        {
            self.open = None;
        }
        self.joinable = None;
        let unsent = self.map.values().filter(|extent| extent.kind.is_unsent());
        self.unsent = unsent.map(|extent| extent.len).sum();
        let references = self.map.values().filter(|e| e.kind.is_reference());
        self.references = references.count() as u64;
    }

    fn insert(&mut self, offset: u64, len: u64, seq: u64, kind: Kind) {
        if len == 0 {
            return;
        }
        if kind.is_unsent() {
            self.unsent += len;
        }
        self.references += u64::from(kind.is_reference());
        self.map.insert(offset, Extent { len, seq, kind });
    }

    fn start_at_or_before(&self, offset: u64) -> u64 {
        self.map
            .range(..=offset)
            .next_back()
            .map_or(offset, |(&start, _)| start)
    }

    /// Removes a range, shortening or splitting what reaches over its ends.
    fn cut(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.start_at_or_before(range.start);
        let hit: Vec<u64> = self
            .map
            .range(from..range.end)
            .filter(|(start, extent)| *start + extent.len > range.start)
            .map(|(&start, _)| start)
            .collect();
        for start in hit {
            if self.open == Some(start) {
                self.freeze();
            }
            let Some(extent) = self.map.remove(&start) else {
                continue;
            };
            let end = start + extent.len;
            if self.joinable == Some(start) {
                self.joinable = None;
            }
            if extent.kind.is_unsent() {
                self.unsent -= extent.len;
            }
            self.references -= u64::from(extent.kind.is_reference());
            let part = |from: u64, to: u64| match &extent.kind {
                Kind::Data(bytes) => {
                    Kind::Data(bytes.slice((from - start) as usize..(to - start) as usize))
                }
                Kind::Stored(stored, room) => {
                    Kind::Stored(stored.slice(from - start, to - start), Arc::clone(room))
                }
                Kind::Zero(room) => Kind::Zero(Arc::clone(room)),
                Kind::Open(_) | Kind::Sent => Kind::Sent,
            };
            if start < range.start {
                let kind = part(start, range.start);
                self.insert(start, range.start - start, extent.seq, kind);
            }
            if end > range.end {
                let kind = part(range.end, end);
                self.insert(range.end, end - range.end, extent.seq, kind);
            }
        }
    }
}

#[cfg(test)]
#[path = "extents/tests.rs"]
mod tests;
