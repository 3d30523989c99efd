//! The overlay of a file being written: which bytes changed, where they are, when they changed.
//!
//! Extents never overlap. Each carries the sequence number of its change, so that a commit takes
//! a snapshot (reference counts, no copies) and afterwards drops exactly what was not rewritten
//! since. Small writes that follow one another fill one open buffer in place; large ones are
//! kept as they came. What was copied out of a stored version is kept as a reference to it. Pure
//! data: the reservations that pay for bytes travel inside them.
//!
//! There may be hundreds of thousands of extents. What is asked at each write (runs of unsent bytes, whether there
//! is one run only) is kept up to date beside the extents; only what ends them anyway, a commit say, walks them all.

mod buffer;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::io::memory::budget::Reservation;
use crate::io::read::records::StoredRange;
use runs::Runs;

pub(in crate::io) use buffer::OpenBuffer;

/// What a content with unsent changes costs beside its bytes and extents: itself, its first map node, the
/// inode and the places in lists that it keeps alive. Thousands of small files are counted for what they
/// take.
pub(in crate::io) const CONTENT_COST: u64 = 3072;

/// What one extent costs beside its bytes, so that a million one-byte writes are counted for what they take
/// (`tests/extents/main.rs` measures it): 240 bytes for its place among the others and for who owns its bytes, 90 more where it
/// has cut another one in two, and while a commit runs 110 for its snapshot.
pub(in crate::io) const EXTENT_COST: u64 = 448;

/// Kept small, for the map has room for more of them than there are.
#[derive(Debug)]
enum Kind {
    Data(Bytes),
    /// In the open buffer.
    Open,
    /// Acknowledged as part of an unfinished large file; not in memory any more.
    Sent,
    /// Copied from another version, or from elsewhere in the base.
    Stored(Box<Reference>),
    /// Zeros that nobody wrote: copied, or made by a hole.
    Zero(Arc<Reservation>),
}

#[derive(Debug, Clone)]
struct Reference {
    stored: StoredRange,
    room: Arc<Reservation>,
}

impl Kind {
    /// Bytes in memory that B2 does not have.
    fn is_unsent(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Open)
    }
}

#[derive(Debug)]
struct Extent {
    len: u64,
    seq: u64,
    kind: Kind,
}

impl Extent {
    /// What it has from one offset to another; it starts at `start` and is frozen.
    fn part(&self, start: u64, from: u64, to: u64) -> Kind {
        match &self.kind {
            Kind::Data(bytes) => {
                Kind::Data(bytes.slice((from - start) as usize..(to - start) as usize))
            }
            Kind::Stored(reference) => Kind::Stored(Box::new(Reference {
                stored: reference.stored.slice(from - start, to - start),
                room: Arc::clone(&reference.room),
            })),
            Kind::Zero(room) => Kind::Zero(Arc::clone(room)),
            Kind::Open | Kind::Sent => Kind::Sent,
        }
    }
}

/// What a range is made of, in order and without holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) enum Piece {
    /// Changed bytes.
    Data(Bytes),
    /// Changed bytes that have left memory.
    Sent(u64),
    /// Changed to what a stored version holds.
    Stored(StoredRange),
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
    /// Where the open buffer starts, and the buffer.
    open: Option<(u64, OpenBuffer)>,
    /// Where the reference starts that the next one may be joined to.
    joinable: Option<u64>,
    unsent: u64,
    /// Where changed bytes lie in memory without a hole.
    runs: Runs,
    /// Where extents start that have left memory.
    sent: BTreeSet<u64>,
    /// How many extents begin where another one ends.
    joints: usize,
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
        let held = self.map.len() - self.sent.len();
        self.unsent + held as u64 * EXTENT_COST
    }

    /// Where the first changed bytes in memory start.
    pub(in crate::io) fn first_unsent(&self) -> Option<u64> {
        self.runs.start()
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
        stored: StoredRange,
        seq: u64,
        room: Reservation,
    ) {
        let len = stored.len();
        self.cut(offset..offset + len);
        if let Some((start, before)) = self.joinable(offset)
            && let Kind::Stored(joined) = &mut before.kind
            && joined.stored.join(&stored)
        {
            self.grow(start, len, seq);
            return;
        }
        let room = Arc::new(room);
        let reference = Box::new(Reference { stored, room });
        self.insert(offset, len, seq, Kind::Stored(reference));
        self.joinable = Some(offset);
    }

    /// Puts zeros in place; such as follow one another become one.
    pub(in crate::io) fn put_zeros(&mut self, offset: u64, len: u64, seq: u64, room: Reservation) {
        self.cut(offset..offset + len);
        if let Some((start, before)) = self.joinable(offset)
            && let Kind::Zero(_) = &before.kind
        {
            self.grow(start, len, seq);
            return;
        }
        self.insert(offset, len, seq, Kind::Zero(Arc::new(room)));
        self.joinable = Some(offset);
    }

    /// The reference that ends at `offset`, and may be joined with another one.
    fn joinable(&mut self, offset: u64) -> Option<(u64, &mut Extent)> {
        let start = self.joinable?;
        let before = self.map.get_mut(&start)?;
        (start + before.len == offset).then_some((start, before))
    }

    /// Writes into the open buffer, over its bytes or right behind them. `false` when it does not fit there.
    pub(in crate::io) fn put_open(&mut self, offset: u64, data: &[u8], seq: u64) -> bool {
        let added = data.len() as u64;
        let Some((start, buffer)) = &mut self.open else {
            return false;
        };
        let (start, end) = (*start, *start + buffer.data.len() as u64);
        if offset >= start && offset + added <= end {
            let at = (offset - start) as usize;
            buffer.data[at..at + data.len()].copy_from_slice(data);
            if let Some(extent) = self.map.get_mut(&start) {
                extent.seq = seq;
            }
            return true;
        }
        if offset != end || buffer.spare() < data.len() {
            return false;
        }
        buffer.data.extend_from_slice(data);
        // What lay behind the buffer is overwritten; the buffer itself ends where the cut begins.
        self.cut(end..end + added);
        self.grow(start, added, seq);
        true
    }

    /// Capacity of the open buffer if a write at `offset` would follow it.
    pub(in crate::io) fn open_before(&self, offset: u64) -> Option<usize> {
        let (start, buffer) = self.open.as_ref()?;
        let end = start + buffer.data.len() as u64;
        (end == offset).then(|| buffer.data.capacity())
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
        self.insert(offset, len, seq, Kind::Open);
        self.open = Some((offset, buffer));
    }

    /// Closes the open buffer: what is in it will not change in place any more.
    pub(in crate::io) fn freeze(&mut self) {
        self.joinable = None;
        if let Some((start, buffer)) = self.open.take()
            && let Some(extent) = self.map.get_mut(&start)
        {
            extent.kind = Kind::Data(buffer.freeze());
        }
    }

    /// Forgets everything from `size` on.
    pub(in crate::io) fn truncate(&mut self, size: u64) {
        self.cut(size..u64::MAX);
    }

    /// What a range is made of.
    pub(in crate::io) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        self.stretches(range).map(|(stretch, extent)| {
            let len = stretch.end - stretch.start;
            let Some((start, extent)) = extent else {
                return Piece::Gap(len);
            };
            let within = stretch.start - start..stretch.end - start;
            let slice = within.start as usize..within.end as usize;
            match &extent.kind {
                Kind::Data(bytes) => Piece::Data(bytes.slice(slice)),
                Kind::Open => {
                    let open = self.open.as_ref();
                    let bytes = open.and_then(|(_, buffer)| buffer.data.get(slice));
                    Piece::Data(Bytes::copy_from_slice(bytes.unwrap_or_default()))
                }
                Kind::Sent => Piece::Sent(len),
                Kind::Stored(reference) => {
                    Piece::Stored(reference.stored.slice(within.start, within.end))
                }
                Kind::Zero(_) => Piece::Zero(len),
            }
        })
    }

    /// How many pieces a range is made of.
    pub(in crate::io) fn count(&self, range: Range<u64>) -> usize {
        self.stretches(range).count()
    }

    /// A range without holes: what of it lies in an extent (and where that starts), and what between them.
    fn stretches(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, Option<(u64, &Extent)>)> {
        let mut at = range.start;
        let from = self.start_at_or_before(range.start);
        let extents = self.map.range(from..range.end.max(from));
        let mut extents = extents
            .map(|(&start, extent)| (start, extent))
            .filter(move |(start, extent)| start + extent.len > range.start)
            .peekable();
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let next = extents.next_if(|(start, _)| *start <= at);
            let end = match (&next, extents.peek()) {
                (Some((start, extent)), _) => start + extent.len,
                (None, Some((start, _))) => *start,
                (None, None) => range.end,
            };
            let stretch = at..end.min(range.end);
            at = stretch.end;
            Some((stretch, next))
        })
    }

    /// End of the changed bytes in memory that lie without a hole from `offset` on.
    pub(in crate::io) fn run_end(&self, offset: u64) -> u64 {
        self.runs.end(offset)
    }

    /// True when all changes lie in one run without a hole.
    pub(in crate::io) fn is_one_run(&self) -> bool {
        self.map.len() == self.joints + 1
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
        self.sent.range(..size).next().is_some()
    }

    /// Drops every change before `size` that is not newer than `seq`: a commit has stored them.
    pub(in crate::io) fn drop_stored(&mut self, size: u64, seq: u64) {
        self.split(size);
        let open = self.open.take();
        let left = std::mem::take(self).map;
        for (start, extent) in left {
            if extent.seq > seq || start >= size {
                self.insert(start, extent.len, extent.seq, extent.kind);
            }
        }
        self.open = open.filter(|(start, _)| self.map.contains_key(start));
    }

    /// Puts an extent where nothing is.
    fn insert(&mut self, offset: u64, len: u64, seq: u64, kind: Kind) {
        if len == 0 {
            return;
        }
        if kind.is_unsent() {
            self.unsent += len;
            self.runs.add(offset..offset + len);
        } else if matches!(kind, Kind::Sent) {
            self.sent.insert(offset);
        }
        self.joints += self.neighbours(offset, len);
        self.map.insert(offset, Extent { len, seq, kind });
    }

    /// Takes an extent out.
    fn remove(&mut self, start: u64) -> Option<Extent> {
        let extent = self.map.remove(&start)?;
        if extent.kind.is_unsent() {
            self.unsent -= extent.len;
            self.runs.take(start..start + extent.len);
        } else if matches!(extent.kind, Kind::Sent) {
            self.sent.remove(&start);
        }
        self.joints -= self.neighbours(start, extent.len);
        Some(extent)
    }

    /// An extent takes in what was put right behind it.
    fn grow(&mut self, start: u64, added: u64, seq: u64) {
        let Some(extent) = self.map.get_mut(&start) else {
            return;
        };
        let end = start + extent.len;
        extent.len += added;
        extent.seq = seq;
        if extent.kind.is_unsent() {
            self.unsent += added;
            self.runs.add(end..end + added);
        }
        self.joints += usize::from(self.map.contains_key(&(end + added)));
    }

    /// How many extents a range without any touches.
    fn neighbours(&self, offset: u64, len: u64) -> usize {
        let before = self.map.range(..offset).next_back();
        let before = before.is_some_and(|(start, extent)| start + extent.len == offset);
        usize::from(before) + usize::from(self.map.contains_key(&(offset + len)))
    }

    fn start_at_or_before(&self, offset: u64) -> u64 {
        self.map
            .range(..=offset)
            .next_back()
            .map_or(offset, |(&start, _)| start)
    }

    /// No extent lies on both sides of an offset.
    fn split(&mut self, at: u64) {
        let start = self.start_at_or_before(at);
        let astride = |extent: &Extent| start < at && start + extent.len > at;
        if !self.map.get(&start).is_some_and(astride) {
            return;
        }
        if self.open.as_ref().is_some_and(|(open, _)| *open == start) {
            self.freeze();
        }
        if let Some(extent) = self.remove(start) {
            for (from, to) in [(start, at), (at, start + extent.len)] {
                let kind = extent.part(start, from, to);
                self.insert(from, to - from, extent.seq, kind);
            }
        }
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
            if self.open.as_ref().is_some_and(|(open, _)| *open == start) {
                self.freeze();
            }
            let Some(extent) = self.remove(start) else {
                continue;
            };
            let end = start + extent.len;
            if self.joinable == Some(start) {
                self.joinable = None;
            }
            if start < range.start {
                let kind = extent.part(start, start, range.start);
                self.insert(start, range.start - start, extent.seq, kind);
            }
            if end > range.end {
                let kind = extent.part(start, range.end, end);
                self.insert(range.end, end - range.end, extent.seq, kind);
            }
        }
    }
}

#[cfg(test)]
#[path = "extents/tests.rs"]
mod tests;
