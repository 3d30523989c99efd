//! Changing a content: write, truncate, zero.
//!
//! A write takes memory before it takes effect, so a dropped or refused one leaves no trace; how it waits for memory is
//! told in `pressure`.

pub(in crate::io) mod content;
pub(in crate::io) mod extents;
pub(in crate::io) mod gather;
pub(in crate::io) mod inherit;
pub(in crate::io) mod lend;
pub(in crate::io) mod pressure;
pub(in crate::io) mod progress;
pub(in crate::io) mod remains;
pub(in crate::io) mod snapshot;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::b2::FileId;
use crate::io::Error;
use crate::io::memory::budget::{Reservation, Want};
use crate::io::parts::Streaming;
use crate::io::parts::plan::MAX_FILE;
use crate::io::write::content::{Content, State};
use crate::io::write::extents::{CONTENT_COST, EXTENT_COST, OpenBuffer};

/// A write of this size is kept as it came; smaller ones are gathered.
const LARGE_WRITE: usize = 64 << 10;
/// The largest buffer that gathers small writes, and the largest piece taken at once.
const BUFFER: usize = 1 << 20;
/// So much is not sent when it is cut off meanwhile; less is sooner sent than begun anew.
const IN_VAIN: u64 = 32 << 20;
/// The smallest such buffer.
const SMALL_BUFFER: usize = 512;

impl Content {
    /// Takes the bytes; waits while the budget is full.
    pub async fn write(self: &Arc<Self>, offset: u64, data: Bytes) -> Result<(), Error> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > MAX_FILE) {
            return Err(Error::TooLarge);
        }
        let mut at = 0;
        while at < data.len() {
            let piece = data.slice(at..data.len().min(at + BUFFER));
            let len = piece.len();
            self.write_piece(Some(offset + at as u64), piece).await?;
            at += len;
        }
        Ok(())
    }

    /// Takes the bytes to where the end is by then, in one piece: at most what the kernel gives at once.
    pub async fn append(self: &Arc<Self>, data: Bytes) -> Result<(), Error> {
        self.write_piece(None, data).await
    }

    /// At an offset, or at the end.
    async fn write_piece(self: &Arc<Self>, offset: Option<u64>, data: Bytes) -> Result<(), Error> {
        let mut room = None;
        loop {
            let need = {
                let mut state = self.lock();
                let offset = offset.unwrap_or(state.size);
                if offset + data.len() as u64 > MAX_FILE {
                    return Err(Error::TooLarge);
                }
                state.may_change(offset)?;
                let seq = state.seq + 1;
                let placed = self
                    .pay_overhead(&mut state, &mut room)
                    .map_err(|overhead| {
                        overhead + data.len().max(SMALL_BUFFER) as u64 + EXTENT_COST
                    })
                    .and_then(|()| self.place(&mut state, offset, &data, seq, &mut room));
                match placed {
                    Ok(()) => {
                        state.seq = seq;
                        state.size = state.size.max(offset + data.len() as u64);
                        self.changed(&mut state);
                        break;
                    }
                    Err(need) => need,
                }
            };
            // What is too little is given back first: two that each hold a part would wait for each other.
            drop(room.take());
            room = Some(self.make_room(need).await?);
        }
        self.pump(false);
        Ok(())
    }

    /// A close that does not wait for the commit: sees to it that what is unsent, however little, is paid
    /// for; waits while the budget is full. From now on a commit is due anyway, so that memory that is
    /// needed is taken from here first.
    pub async fn pay(self: &Arc<Self>) -> Result<(), Error> {
        let mut room = None;
        loop {
            {
                let mut state = self.lock();
                if !state.is_dirty() || state.discarded {
                    return Ok(());
                }
                let paid = self.pay_overhead(&mut state, &mut room).is_ok();
                self.changed(&mut state);
                self.closed.store(true, Ordering::Relaxed);
                if paid {
                    return Ok(());
                }
            }
            drop(room.take());
            room = Some(self.make_room(CONTENT_COST).await?);
        }
    }

    /// Takes memory for what a changed content costs at least, or tells how much that is.
    fn pay_overhead(&self, state: &mut State, room: &mut Option<Reservation>) -> Result<(), u64> {
        if state.overhead.is_none() {
            let paid = match room {
                Some(room) if room.bytes() >= CONTENT_COST => Some(room.split(CONTENT_COST)),
                _ => self.engine.reserve_now(Want::Write, CONTENT_COST),
            };
            state.overhead = Some(paid.ok_or(CONTENT_COST)?);
        }
        Ok(())
    }

    /// Puts the bytes in their place, or tells how much memory that takes.
    fn place(
        &self,
        state: &mut State,
        offset: u64,
        data: &Bytes,
        seq: u64,
        room: &mut Option<Reservation>,
    ) -> Result<(), u64> {
        let mut take = |bytes: u64| {
            if room.as_ref().is_some_and(|room| room.bytes() >= bytes) {
                room.take()
            } else {
                self.engine.reserve_now(Want::Write, bytes)
            }
        };
        if data.len() >= LARGE_WRITE {
            let need = data.len() as u64 + EXTENT_COST;
            let held = take(need).ok_or(need)?.hold(data.clone());
            state.overlay.put(offset, held, seq);
            return Ok(());
        }
        if state.overlay.put_open(offset, data, seq) {
            return Ok(());
        }
        // Writes in a row get ever larger buffers; what comes alone gets a small one.
        let least = data.len().max(SMALL_BUFFER);
        let wish = match state.overlay.open_before(offset) {
            Some(before) => (before * 2).clamp(least, BUFFER),
            None => least,
        };
        for capacity in [wish, least] {
            if let Some(paid) = take(capacity as u64 + EXTENT_COST) {
                let buffer = OpenBuffer::new(capacity, paid);
                state.overlay.open(offset, data, buffer, seq);
                return Ok(());
            }
        }
        Err(least as u64 + EXTENT_COST)
    }

    /// Cuts or grows (zeros, nothing allocated). A commit that is sending much of what is cut off begins anew.
    pub async fn truncate(self: &Arc<Self>, size: u64) -> Result<(), Error> {
        if size > MAX_FILE {
            return Err(Error::TooLarge);
        }
        let _turn = if self.is_sent_in_vain(size) {
            Some(self.interrupt().await)
        } else {
            None
        };
        let mut cancelled = None;
        {
            let mut state = self.lock();
            if size == state.size {
                return Ok(());
            }
            if size < state.size {
                cancelled = state.end_stream_before(size);
                // The last part of a stream must keep a byte behind what has left.
                state.may_cut(size)?;
                state.overlay.truncate(size);
                state.base_len = state.base_len.min(size);
                state.low = state.low.min(size);
            }
            state.size = size;
            state.seq += 1;
            self.changed(&mut state);
        }
        if let Some(large) = cancelled {
            self.engine.cancel_large(large);
        }
        Ok(())
    }

    /// Whether a commit under way is to send much of what a cut takes away.
    fn is_sent_in_vain(&self, size: u64) -> bool {
        let state = self.lock();
        let behind = state.size.saturating_sub(size);
        self.committing.load(Ordering::Acquire)
            && behind >= IN_VAIN
            && match &state.stream {
                Streaming::Running(stream) => stream.large.missing_behind(size) >= IN_VAIN,
                _ => true,
            }
    }

    /// Makes the range read as zeros, as far as the file goes, or with `grow` as far as the range goes.
    /// The zeros take no memory, only the knowledge of them does; what is stored there is not downloaded.
    /// Tells whether anything was changed. Waits while the budget is full.
    pub async fn zero(self: &Arc<Self>, range: Range<u64>, grow: bool) -> Result<bool, Error> {
        if grow && range.end > MAX_FILE {
            return Err(Error::TooLarge);
        }
        let need = CONTENT_COST + EXTENT_COST;
        let mut room = None;
        loop {
            {
                let mut state = self.lock();
                let end = range.end.min(state.size);
                let size = if grow {
                    state.size.max(range.end)
                } else {
                    state.size
                };
                if range.start >= end && size == state.size {
                    return Ok(false);
                }
                let mut paid = Ok(None);
                if range.start < end {
                    state.may_change(range.start)?;
                    paid = self
                        .pay_overhead(&mut state, &mut room)
                        .and_then(|()| self.pay_extent(&mut room).map(Some));
                }
                if let Ok(paid) = paid {
                    let seq = state.seq + 1;
                    if let Some(paid) = paid {
                        let len = end - range.start;
                        state.overlay.put_zeros(range.start, len, seq, paid);
                    }
                    state.seq = seq;
                    state.size = size;
                    self.changed(&mut state);
                    return Ok(true);
                }
            }
            drop(room.take());
            room = Some(self.make_room(need).await?);
        }
    }

    fn pay_extent(&self, room: &mut Option<Reservation>) -> Result<Reservation, u64> {
        match room {
            Some(room) if room.bytes() >= EXTENT_COST => Some(room.split(EXTENT_COST)),
            _ => self.engine.reserve_now(Want::Write, EXTENT_COST),
        }
        .ok_or(EXTENT_COST)
    }

    pub(in crate::io) fn changed(self: &Arc<Self>, state: &mut State) {
        self.closed.store(false, Ordering::Relaxed);
        if !state.listed {
            state.listed = true;
            self.engine.list(self);
        }
        self.count(state);
    }
}

impl State {
    /// Whether bytes from `offset` on may be written: none of them has left as a part.
    pub(in crate::io) fn may_change(&mut self, offset: u64) -> Result<(), Error> {
        match &self.stream {
            Streaming::Running(stream) if offset < stream.large.issued() => {
                self.shy = true;
                Err(Error::HasLeft)
            }
            _ => Ok(()),
        }
    }

    /// A stream of which nothing is left once the file is cut to `size` is given up: what stays is in memory, or stored.
    fn end_stream_before(&mut self, size: u64) -> Option<FileId> {
        let idle = match &self.stream {
            Streaming::Running(stream) => {
                stream.large.is_growing()
                    && size <= stream.large.least_size()
                    && !self.overlay.has_sent_before(size)
            }
            // It goes on with what is there by then, if that is still long enough.
            Streaming::Starting(_) | Streaming::Resting(_) | Streaming::Off => false,
        };
        match idle.then(|| std::mem::take(&mut self.stream)) {
            Some(Streaming::Running(stream)) => Some(stream.large.id().clone()),
            _ => None,
        }
    }

    fn may_cut(&mut self, size: u64) -> Result<(), Error> {
        match &self.stream {
            Streaming::Running(stream) if !stream.fixed && size <= stream.large.least_size() => {
                self.shy = true;
                Err(Error::HasLeft)
            }
            _ => Ok(()),
        }
    }
}
