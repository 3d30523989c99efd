//! The content of one file: a base version, an overlay of unsent changes, a size.
//!
//! `stored` tells up to which change B2 has everything; the content is dirty while a later one
//! exists. Bytes that are neither in the overlay nor before `base_len` are zeros. Reads answer
//! from here and from the versions it refers to; `write.rs` and `lend.rs` change it, `stream.rs` sends
//! parts while it is being written, `commit.rs` stores it. The lock is short and never held while the owner is called.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::b2::{FileId, FileVersion, Hasher, Sha1};
use crate::io::engine::{Engine, STRIDE};
use crate::io::memory::budget::Reservation;
use crate::io::parts::{Sending, Streaming};
use crate::io::read::around::SMALL;
use crate::io::read::cursor::{Cursor, hash_version};
use crate::io::read::records::{Record, StoredRange};
use crate::io::write::extents::{Overlay, Piece};
use crate::io::write::gather::zeros;
use crate::io::write::progress::Flights;
use crate::io::write::snapshot::{Snapshot, Span, versions};
use crate::io::{Committed, Error, Owner, Version};

/// The content of one file: a base version, an overlay of unsent changes, a size.
///
/// Reads and writes may run while a commit runs; what is written meanwhile stays dirty on top of
/// the version that the commit makes.
pub struct Content {
    pub(in crate::io) engine: Arc<Engine>,
    pub(in crate::io) state: Mutex<State>,
    /// One commit at a time.
    pub(in crate::io) turn: tokio::sync::Mutex<()>,
    pub(in crate::io) committing: AtomicBool,
    /// Memory that a commit gives back, and bytes of it in parts under way; readable without the lock.
    pub(in crate::io) unsent: AtomicU64,
    pub(in crate::io) flying: AtomicU64,
    /// Writers that wait for memory.
    pub(in crate::io) waiters: AtomicUsize,
    /// When the owner was asked to commit (`Engine::now_ms`), 0 for never.
    pub(in crate::io) asked: AtomicU64,
    /// The owner will commit it anyway, and nothing was changed since it said so.
    pub(in crate::io) closed: AtomicBool,
    /// Changes when a part of the stream has landed.
    pub(in crate::io) landed: watch::Sender<u64>,
    pub(in crate::io) sending: watch::Sender<Sending>,
    pub(in crate::io) flights: Flights,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size())
            .field("dirty", &self.is_dirty())
            .finish_non_exhaustive()
    }
}

pub(in crate::io) struct State {
    pub(in crate::io) base: Option<Arc<Record>>,
    /// Bytes of the base that still count; what lies behind was cut off.
    pub(in crate::io) base_len: u64,
    pub(in crate::io) overlay: Overlay,
    /// Pays for `CONTENT_COST` while something is unsent.
    pub(in crate::io) overhead: Option<Reservation>,
    pub(in crate::io) size: u64,
    /// The last change.
    pub(in crate::io) seq: u64,
    /// The last change that B2 has.
    pub(in crate::io) stored: u64,
    /// While a commit runs: the smallest size since its snapshot.
    pub(in crate::io) low: u64,
    pub(in crate::io) owner: Option<Arc<dyn Owner>>,
    pub(in crate::io) stream: Streaming,
    /// Bytes that had left were needed again: do not send parts early without need.
    pub(in crate::io) shy: bool,
    pub(in crate::io) discarded: bool,
    /// No stream begins: the name is going, or gone.
    pub(in crate::io) held: bool,
    /// The base is stored, but not where it should be.
    pub(in crate::io) misplaced: Option<Misplaced>,
    /// What a commit did, until the owner has recorded it; told again to the next caller.
    pub(in crate::io) unrecorded: Option<Committed>,
    /// Whether the engine knows this content as one that may hold unsent bytes.
    pub(in crate::io) listed: bool,
    /// Unsent bytes at which the start of a stream is considered again.
    pub(in crate::io) consider: u64,
}

/// A finished large file under a name that is not the target's, or older than another client's.
#[derive(Debug, Clone)]
pub(in crate::io) struct Misplaced {
    pub(in crate::io) version: FileVersion,
    /// The version that it was based on.
    pub(in crate::io) superseded: Option<FileId>,
}

impl State {
    /// What a range (within the size) is made of.
    pub(in crate::io) fn spans(&self, range: Range<u64>) -> Result<Vec<Span>, Error> {
        // One of them may be of the base and of zeros.
        let mut spans = Vec::with_capacity(self.overlay.count(range.clone()) + 1);
        let mut at = range.start;
        for piece in self.overlay.pieces(range) {
            let end = at + piece.len();
            match piece {
                Piece::Data(bytes) => spans.push(Span::Bytes(bytes)),
                Piece::Sent(_) => return Err(Error::HasLeft),
                Piece::Stored(stored) => spans.push(Span::Stored(stored)),
                Piece::Zero(len) => spans.push(Span::Zero(len)),
                Piece::Gap(_) => {
                    let mut base_end = at;
                    if let Some(base) = &self.base {
                        base_end = self.base_len.clamp(at, end);
                        if at < base_end {
                            spans.push(Span::Stored(StoredRange::new(base, at..base_end)));
                        }
                    }
                    if base_end < end {
                        spans.push(Span::Zero(end - base_end));
                    }
                }
            }
            at = end;
        }
        Ok(spans)
    }

    /// What is to be stored from an offset on.
    pub(in crate::io) fn snapshot(&mut self, range: Range<u64>) -> Result<Snapshot, Error> {
        self.overlay.freeze();
        let spans = self.spans(range.clone())?;
        Ok(Snapshot::new(range, self.seq, self.base.clone(), spans))
    }

    /// The base as a whole, when there is nothing else.
    fn pristine(&self) -> Option<&Arc<Record>> {
        self.base.as_ref().filter(|base| {
            base.size == self.size && self.base_len == self.size && self.overlay.is_empty()
        })
    }

    pub(in crate::io) fn is_dirty(&self) -> bool {
        self.seq > self.stored
    }
}

impl Content {
    pub(in crate::io) fn new(engine: &Arc<Engine>, base: Option<Arc<Record>>) -> Arc<Self> {
        let size = base.as_ref().map_or(0, |base| base.size);
        Arc::new(Self {
            engine: Arc::clone(engine),
            state: Mutex::new(State {
                base_len: size,
                size,
                // A file just made is dirty although it is empty.
                seq: u64::from(base.is_none()),
                stored: 0,
                base,
                overlay: Overlay::default(),
                overhead: None,
                low: size,
                owner: None,
                stream: Streaming::Off,
                shy: false,
                discarded: false,
                held: false,
                misplaced: None,
                unrecorded: None,
                listed: false,
                consider: 0,
            }),
            turn: tokio::sync::Mutex::new(()),
            committing: AtomicBool::new(false),
            unsent: AtomicU64::new(0),
            flying: AtomicU64::new(0),
            waiters: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            landed: watch::Sender::new(0),
            sending: watch::Sender::new(Sending::On),
            flights: Flights::default(),
        })
    }

    /// Bytes in the file now.
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// True while B2 has not acknowledged some change of content, or the owner has not recorded
    /// yet that it has.
    pub fn is_dirty(&self) -> bool {
        let state = self.lock();
        state.is_dirty() || state.unrecorded.is_some()
    }

    /// Its owner was asked to commit it, for somebody waits for memory.
    pub fn is_awaited(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Memory that a commit gives back: changed bytes, and what it costs to know of changes.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Changed bytes that are in memory only; without the cost of knowing of them.
    pub fn unsent_bytes(&self) -> u64 {
        self.lock().overlay.unsent()
    }

    /// The version that unchanged bytes come from.
    pub fn base(&self) -> Option<Version> {
        self.lock().base.as_ref().map(|base| base.version())
    }

    /// Needed before the first change; replaces an earlier owner.
    pub fn set_owner(&self, owner: Arc<dyn Owner>) {
        let old = self.lock().owner.replace(owner);
        drop(old);
    }

    /// The base's bytes are now also stored as `version`: they are read from there from now on,
    /// for the old version is about to go. Does nothing when the base is not `old`.
    pub fn same_content(&self, old: &FileId, version: &Version) {
        let record = self.engine.records.intern(version.clone());
        let mut state = self.lock();
        if state
            .base
            .as_ref()
            .is_some_and(|base| base.id == *old && base.size == record.size)
        {
            state.base = Some(record);
        }
    }

    /// `version` has all bytes of the base, and more: it takes the base's place for whoever has it open. False where something
    /// was changed here, or the base is not `old`.
    pub fn has_grown(&self, old: &FileId, version: &Version) -> bool {
        let record = self.engine.records.intern(version.clone());
        let mut state = self.lock();
        let pristine = state.pristine().is_some_and(|base| base.id == *old);
        if !pristine || state.is_dirty() || record.size < state.size {
            return false;
        }
        (state.size, state.base_len) = (record.size, record.size);
        state.base = Some(record);
        true
    }

    /// At most `len` bytes from `offset`; short only at the end of the file.
    pub async fn read(
        self: &Arc<Self>,
        cursor: &Cursor,
        offset: u64,
        len: u32,
    ) -> Result<Vec<Bytes>, Error> {
        let mut gone = None;
        loop {
            let (spans, pristine) = {
                let mut state = self.lock();
                if state.discarded {
                    return Err(Error::Stale);
                }
                let end = state.size.min(offset.saturating_add(u64::from(len)));
                if offset >= end {
                    return Ok(Vec::new());
                }
                let spans = state.spans(offset..end);
                // It would be needed again and again.
                state.shy |= spans.is_err();
                (spans?, state.pristine().cloned())
            };
            let from = versions(&spans);
            if gone.as_ref() == Some(&from) {
                return Err(Error::Stale);
            }
            match self.read_spans(cursor, spans, offset, pristine).await {
                // A commit may have replaced the base meanwhile, and the old version is gone.
                Err(Error::Stale) => gone = Some(from),
                answer => return answer,
            }
        }
    }

    async fn read_spans(
        &self,
        cursor: &Cursor,
        spans: Vec<Span>,
        offset: u64,
        pristine: Option<Arc<Record>>,
    ) -> Result<Vec<Bytes>, Error> {
        let engine = &self.engine;
        let mut ticket = None;
        if let Some(base) = pristine.as_ref().filter(|_| engine.settings.verify_reads) {
            let len: u64 = spans.iter().map(Span::len).sum();
            ticket = cursor.comes(engine, base, &(offset..offset + len))?;
        }
        let mut data = Vec::new();
        let mut stored_bytes = 0;
        for span in spans {
            match span {
                Span::Bytes(bytes) => data.push(bytes),
                Span::Zero(len) => data.extend(zeros(len)),
                Span::Stored(stored) => {
                    let (record, range) = (&stored.record, &stored.range);
                    stored_bytes += stored.len();
                    if let Some(cached) = engine.cached(record, range.clone()) {
                        cursor.on_read(engine, record, range, false, |_| ());
                        data.extend(cached);
                        continue;
                    }
                    // What a reader may hold while it waits for more is kept small.
                    let first = range.start..range.end.min(range.start + 4 * STRIDE);
                    let mut at = first.end;
                    let (reading, forward) =
                        cursor.on_read(engine, record, range, true, |forward| {
                            let around = if forward && record.size > SMALL {
                                first.clone()
                            } else {
                                engine.around(record, &first)
                            };
                            (engine.begin_read(record, first, &around), forward)
                        });
                    let began = Instant::now();
                    data.extend(reading.finish().await?);
                    if !forward {
                        engine.has_waited(record, began.elapsed());
                    }
                    while at < range.end {
                        let end = range.end.min(at + 4 * STRIDE);
                        data.extend(engine.read(record, at..end).await?);
                        at = end;
                    }
                }
            }
        }
        match pristine {
            Some(base) if engine.settings.verify_reads => {
                cursor.gives(engine, &base, ticket, offset, data).await
            }
            _ => {
                engine
                    .reads
                    .unverified
                    .fetch_add(stored_bytes, Ordering::Relaxed);
                Ok(data)
            }
        }
    }

    /// SHA-1 of the content as it is now, streamed; remembered for a clean content.
    pub async fn sha1(self: &Arc<Self>) -> Result<Sha1, Error> {
        let snapshot = {
            let mut state = self.lock();
            if let Some(base) = state.pristine() {
                Err(Arc::clone(base))
            } else {
                let all = 0..state.size;
                Ok(state.snapshot(all)?)
            }
        };
        match snapshot {
            Ok(snapshot) => self.hash_snapshot(snapshot).await,
            Err(base) => {
                if let Some(known) = base.sha1() {
                    return Ok(known);
                }
                let sha1 = hash_version(&self.engine, &base, |_, _| 0, |_, _| ()).await?;
                self.engine.records.learn(&base, sha1);
                Ok(sha1)
            }
        }
    }

    async fn hash_snapshot(&self, snapshot: Snapshot) -> Result<Sha1, Error> {
        let mut hash = Hasher::new();
        for span in &snapshot.spans {
            match span {
                Span::Stored(StoredRange { record, range, .. }) => {
                    let mut at = range.start;
                    while at < range.end {
                        let part = at..range.end.min(at + STRIDE);
                        at = part.end;
                        let part = StoredRange::new(record, part);
                        for piece in self.engine.read_for_commit(&[part]).await? {
                            hash.update(&piece);
                        }
                    }
                }
                Span::Bytes(bytes) => {
                    for slice in bytes.chunks(STRIDE as usize) {
                        hash.update(slice);
                        tokio::task::yield_now().await;
                    }
                }
                Span::Zero(len) => {
                    for (i, piece) in zeros(*len).enumerate() {
                        hash.update(&piece);
                        if i % 16 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        }
        Ok(hash.finish())
    }

    /// Nobody will ask for these bytes again: drops them, cancels a started large file.
    pub fn discard(&self) {
        let (old, stream) = {
            let mut state = self.lock();
            state.discarded = true;
            state.stored = state.seq;
            state.unrecorded = None;
            let overlay = (std::mem::take(&mut state.overlay), state.overhead.take());
            // A commit under way ends its stream itself.
            let stream = if self.committing.load(Ordering::Acquire) {
                Streaming::Off
            } else {
                std::mem::take(&mut state.stream)
            };
            self.count(&state);
            (overlay, stream)
        };
        drop(old);
        self.give_up(stream);
    }

    /// A version of this content that was finished under a name, and is still to be copied to its place.
    pub fn misplaced(&self) -> Option<FileVersion> {
        let state = self.lock();
        let misplaced = state.misplaced.as_ref();
        misplaced.map(|misplaced| misplaced.version.clone())
    }

    /// Publishes the counts that others read without the lock.
    pub(in crate::io) fn count(&self, state: &State) {
        let overhead = match &state.stream {
            // What is left of a stream whose parts are on their way is not worth a commit.
            Streaming::Starting(_) | Streaming::Running(_) => 0,
            _ => state.overhead.as_ref().map_or(0, Reservation::bytes),
        };
        let unsent = state.overlay.weight() + overhead;
        self.unsent.store(unsent, Ordering::Relaxed);
        let flying = match &state.stream {
            Streaming::Running(stream) => stream.large.flying_bytes(),
            _ => 0,
        };
        self.flying.store(flying, Ordering::Relaxed);
    }

    pub(in crate::io) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let stream = std::mem::take(&mut self.lock().stream);
        self.give_up(stream);
    }
}
