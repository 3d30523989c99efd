//! Copies between contents that move no bytes.
//!
//! What the source holds in memory is shared: its reservation travels with the bytes and is given
//! back when the last content drops them, so they are paid for once. What it has stored is referred
//! to, and held: this mount does not delete the version before the copy is stored, or dropped.

use std::sync::Arc;

use crate::io::Error;
use crate::io::memory::budget::{Reservation, Want};
use crate::io::parts::plan::MAX_FILE;
use crate::io::write::content::Content;
use crate::io::write::extents::EXTENT_COST;
use crate::io::write::snapshot::Span;

/// Which side of a copy could not go on.
#[derive(Debug)]
pub enum CopyError {
    /// The content that is copied from.
    Source(Error),
    /// The content that is copied to.
    Target(Error),
}

impl Content {
    /// Puts `len` bytes of `source` (which may be this very content) from `from` on to `offset`, as
    /// they are now; tells how many, fewer only at the source's end. Waits while the budget is full.
    pub async fn copy_from(
        self: &Arc<Self>,
        source: &Arc<Self>,
        from: u64,
        offset: u64,
        len: u64,
    ) -> Result<u64, CopyError> {
        let mut room: Option<Reservation> = None;
        loop {
            let spans = source.lend(from, len).map_err(CopyError::Source)?;
            let len: u64 = spans.iter().map(Span::len).sum();
            let end = offset.checked_add(len).filter(|end| *end <= MAX_FILE);
            let end = end.ok_or(CopyError::Target(Error::TooLarge))?;
            if len == 0 {
                return Ok(0);
            }
            let need = spans.len() as u64 * EXTENT_COST;
            if need > self.engine.budget.write_limit() / 4 {
                // In a thousand pieces; once stored it is one.
                return Err(CopyError::Source(Error::NeedsCommit));
            }
            {
                let mut state = self.lock();
                state.may_change(offset).map_err(CopyError::Target)?;
                let paid = room.take().filter(|room| room.bytes() >= need);
                if let Some(mut paid) = paid.or_else(|| self.engine.reserve_now(Want::Write, need))
                {
                    let seq = state.seq + 1;
                    let mut at = offset;
                    for span in spans {
                        let share = paid.split(EXTENT_COST);
                        let len = span.len();
                        match span {
                            Span::Bytes(bytes) => state.overlay.put(at, share.hold(bytes), seq),
                            Span::Stored(stored) => {
                                state.overlay.put_stored(at, stored, seq, share);
                            }
                            Span::Zero(len) => state.overlay.put_zeros(at, len, seq, share),
                        }
                        at += len;
                    }
                    state.seq = seq;
                    state.size = state.size.max(end);
                    self.changed(&mut state);
                    drop(state);
                    self.pump(false);
                    return Ok(len);
                }
            }
            // Not while bytes are held here that others must give back.
            drop(spans);
            room = Some(self.make_room(need).await.map_err(CopyError::Target)?);
        }
    }

    /// What a range, as far as there is one, is made of; its versions are held from here on.
    fn lend(&self, from: u64, len: u64) -> Result<Vec<Span>, Error> {
        let mut state = self.lock();
        let end = state.size.min(from.saturating_add(len));
        if from >= end {
            return Ok(Vec::new());
        }
        if state.misplaced.is_some() {
            // The base is about to go: what it holds will lie in another version.
            return Err(Error::NeedsCommit);
        }
        state.overlay.freeze();
        let mut spans = state.spans(from..end)?;
        for span in &mut spans {
            if let Span::Stored(stored) = span {
                *stored = stored.clone().held();
            }
        }
        Ok(spans)
    }
}
