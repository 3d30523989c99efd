//! A large file that a content is becoming: which parts were made, what B2 has of them, how far its end has come.
//!
//! ```text
//!            close              finish             (B2 answers: done)
//! Growing ----------> Closing ----------> Finishing ------------------> the content's new base
//!    ^                   |                    |
//!    |      reopen       |       reopen       |   (B2 answers: still unfinished)
//!    +-------------------+--------------------+
//! ```
//!
//! While it grows, parts are made of what is written in one run and leave at once; what they hold must not change any
//! more (`issued`). A commit closes it: the rest becomes parts, too. When every part is there, B2 is asked to finish it;
//! from then on it may be finished, whatever the answer was, and has to be asked for before anything else. A commit
//! that failed opens it again: parts of the tail that were not changed since stay, the last one and what was changed
//! are made anew.
//!
//! B2 may also finish it late, after it was opened again. What was asked for is kept in mind (`doubtful`), and where the
//! file then turns out to be finished, it is taken for the first of these that has its size.
//!
//! B2 refuses to finish with fewer parts than it has (API §6), so the numbers that were ever used count: a number is
//! in the list at the end, or its part is overwritten by another. Plain data, without a clock and without a socket.

use std::ops::Range;

use super::plan::Step;
use crate::b2::{FileId, Sha1};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) struct Large {
    id: FileId,
    /// Bytes that all parts but the last must have.
    least_part: u64,
    /// Part number `index + 1` each, in order of offset, without gaps.
    parts: Vec<Part>,
    /// Numbers from 1 to this one may be known to B2.
    used: usize,
    /// Parts before this one were all sent on their way once.
    launched: usize,
    /// Where the written run starts; what is before is copied from the base.
    run_start: u64,
    phase: Phase,
    /// Ends that B2 was asked for and had not made when it was asked again: it may still do so.
    doubtful: Vec<End>,
    flying: usize,
    flying_bytes: u64,
    failed: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    step: Step,
    state: PartState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum PartState {
    Waiting,
    Flying,
    Done(Sha1),
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Growing,
    Closing(End),
    Finishing(End),
}

/// What a commit closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct End {
    /// Bytes of the whole content.
    pub(in crate::io) size: u64,
    /// The last change that is in it.
    pub(in crate::io) seq: u64,
    /// It has everything up to that change; otherwise there was more behind its size.
    pub(in crate::io) complete: bool,
    /// Parts that were made before; the content holds their bytes no more.
    grown: usize,
}

impl Large {
    /// One that grows; what is stored already is copied into its first parts.
    pub(in crate::io) fn growing(
        id: FileId,
        least_part: u64,
        head: Vec<Step>,
        run_start: u64,
    ) -> Self {
        let parts = head.into_iter().map(Part::waiting).collect();
        Self {
            id,
            least_part,
            parts,
            used: 0,
            launched: 0,
            run_start,
            phase: Phase::Growing,
            doubtful: Vec::new(),
            flying: 0,
            flying_bytes: 0,
            failed: 0,
        }
    }

    pub(in crate::io) fn id(&self) -> &FileId {
        &self.id
    }

    /// Parts made by now.
    pub(in crate::io) fn len(&self) -> usize {
        self.parts.len()
    }

    /// B2 holds nothing of it.
    pub(in crate::io) fn is_unused(&self) -> bool {
        self.used == 0
    }

    pub(in crate::io) fn is_growing(&self) -> bool {
        self.phase == Phase::Growing
    }

    /// Closed but not asked to be finished.
    pub(in crate::io) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Whether B2 was asked to finish it and what came of it is not known.
    pub(in crate::io) fn finishing(&self) -> Option<End> {
        match self.phase {
            Phase::Finishing(end) => Some(end),
            Phase::Growing | Phase::Closing(_) => None,
        }
    }

    /// B2 has not finished it yet, but the call may still be on its way.
    pub(in crate::io) fn doubt(&mut self) {
        if let Some(end) = self.finishing()
            && self.earlier(end.size).is_none()
        {
            self.doubtful.push(end);
        }
    }

    /// Whether it may be a version already.
    pub(in crate::io) fn may_be_finished(&self) -> bool {
        self.finishing().is_some() || self.has_doubts()
    }

    pub(in crate::io) fn has_doubts(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// The first end of a size that B2 may have made meanwhile. What was changed after it is not known to be stored.
    pub(in crate::io) fn earlier(&self, size: u64) -> Option<End> {
        let mut ends = self.doubtful.iter();
        ends.find(|end| end.size == size).copied()
    }

    pub(in crate::io) fn run_start(&self) -> u64 {
        self.run_start
    }

    /// Size and SHA-1 of each part whose bytes will not change, and how many numbers were ever used.
    pub(in crate::io) fn fixed_parts(&self) -> (Vec<(u64, Option<Sha1>)>, usize) {
        let fixed = match self.phase {
            Phase::Growing => self.parts.len(),
            Phase::Closing(end) | Phase::Finishing(end) => end.grown,
        };
        let parts = self.parts.iter().take(fixed).map(|part| {
            let range = part.step.range();
            let sha1 = match part.state {
                PartState::Done(sha1) => Some(sha1),
                PartState::Waiting | PartState::Flying | PartState::Failed => None,
            };
            (range.end - range.start, sha1)
        });
        (parts.collect(), self.used)
    }

    /// What lies before this offset must not change: it has left.
    pub(in crate::io) fn issued(&self) -> u64 {
        let fixed = match self.phase {
            Phase::Growing => self.parts.len(),
            Phase::Closing(end) | Phase::Finishing(end) => end.grown,
        };
        let last = fixed.checked_sub(1).and_then(|last| self.parts.get(last));
        last.map_or(0, |part| part.step.range().end)
    }

    /// The content must stay larger than this: the last part has a byte at least, and every number that was used
    /// needs a part.
    pub(in crate::io) fn least_size(&self) -> u64 {
        match self.phase {
            Phase::Growing => {
                let more = self.used.saturating_sub(self.parts.len() + 1) as u64;
                self.issued() + more * self.least_part
            }
            Phase::Closing(end) | Phase::Finishing(end) => end.size,
        }
    }

    /// Parts that must still be made at least, the last one included.
    pub(in crate::io) fn lacking(&self) -> u64 {
        let least = self.used.max(2);
        least.saturating_sub(self.parts.len()).max(1) as u64
    }

    /// Whether another part may be made before the end is known.
    pub(in crate::io) fn may_grow(&self) -> bool {
        // Numbers that were used for shorter parts leave no choice of sizes; the commit sees to them.
        self.is_growing() && self.failed == 0 && self.used <= self.parts.len() + 1
    }

    /// Bytes on their way that give back memory when they land.
    pub(in crate::io) fn flying_bytes(&self) -> u64 {
        self.flying_bytes
    }

    pub(in crate::io) fn flying(&self) -> usize {
        self.flying
    }

    /// Bytes of all parts that are sent (not copied) as far as they are made, and of those that B2 has.
    pub(in crate::io) fn sent_bytes(&self) -> (u64, u64) {
        let sent = self.parts.iter().filter_map(|part| {
            let range = part.sent_range()?;
            let there = matches!(part.state, PartState::Done(_));
            Some((range.end - range.start, there))
        });
        sent.fold((0, 0), |(all, done), (bytes, there)| {
            (all + bytes, done + if there { bytes } else { 0 })
        })
    }

    pub(in crate::io) fn step(&self, index: usize) -> Option<&Step> {
        self.parts.get(index).map(|part| &part.step)
    }

    /// The next part that was never sent on its way.
    pub(in crate::io) fn waiting(&mut self) -> Option<usize> {
        while self.parts.get(self.launched)?.state != PartState::Waiting {
            self.launched += 1;
        }
        Some(self.launched)
    }

    /// Parts that are not there and not under way.
    pub(in crate::io) fn missing(&self) -> Vec<usize> {
        let all = self.parts.iter().enumerate();
        all.filter(|(_, part)| matches!(part.state, PartState::Waiting | PartState::Failed))
            .map(|(index, _)| index)
            .collect()
    }

    /// Bytes behind an offset that B2 does not have yet; none once it was asked to finish.
    pub(in crate::io) fn missing_behind(&self, offset: u64) -> u64 {
        if self.finishing().is_some() {
            return 0;
        }
        let behind = self.parts.iter().rev();
        behind
            .take_while(|part| part.step.range().end > offset)
            .filter(|part| !matches!(part.state, PartState::Done(_)))
            .filter_map(Part::sent_range)
            .map(|range| range.end - range.start.max(offset))
            .sum()
    }

    /// Makes the next part of what was written.
    pub(in crate::io) fn add(&mut self, range: Range<u64>) -> usize {
        assert!(self.is_growing() && range.start == self.issued());
        self.parts.push(Part::waiting(Step::Send(range)));
        self.parts.len() - 1
    }

    /// A part is on its way: from now on B2 may have its number.
    pub(in crate::io) fn launch(&mut self, index: usize) {
        self.set(index, PartState::Flying);
        self.used = self.used.max(index + 1);
    }

    /// A part has come, or has not. Tells which bytes need not be kept any more.
    pub(in crate::io) fn landed(&mut self, index: usize, sha1: Option<Sha1>) -> Option<Range<u64>> {
        self.set(index, sha1.map_or(PartState::Failed, PartState::Done));
        let fixed = match self.phase {
            Phase::Growing => self.parts.len(),
            Phase::Closing(end) | Phase::Finishing(end) => end.grown,
        };
        let part = self.parts.get(index).filter(|_| index < fixed)?;
        sha1.and(part.sent_range())
    }

    /// A commit makes parts of all that is left, or of what is left up to some size.
    pub(in crate::io) fn close(&mut self, tail: Vec<Step>, size: u64, seq: u64, complete: bool) {
        assert!(self.is_growing() && tail.len() as u64 >= self.lacking());
        let grown = self.parts.len();
        self.parts.extend(tail.into_iter().map(Part::waiting));
        self.phase = Phase::Closing(End {
            size,
            seq,
            complete,
            grown,
        });
    }

    /// Every part is there: what to tell B2, which may finish it from here on.
    pub(in crate::io) fn finish(&mut self) -> Option<Vec<Sha1>> {
        let Phase::Closing(end) = self.phase else {
            return None;
        };
        if self.used > self.parts.len() {
            return None;
        }
        let hash = |part: &Part| match part.state {
            PartState::Done(sha1) => Some(sha1),
            _ => None,
        };
        let hashes = self.parts.iter().map(hash).collect::<Option<Vec<_>>>()?;
        self.phase = Phase::Finishing(end);
        Some(hashes)
    }

    /// The commit has failed. Keeps those parts of the tail that come before what was `changed` since it closed; tells
    /// which bytes need not be kept any more.
    pub(in crate::io) fn reopen(
        &mut self,
        changed: impl Fn(&Range<u64>, u64) -> bool,
    ) -> Vec<Range<u64>> {
        let (Phase::Closing(end) | Phase::Finishing(end)) = self.phase else {
            return Vec::new();
        };
        self.phase = Phase::Growing;
        let last = self.parts.len().saturating_sub(1).max(end.grown);
        let tail = self.parts.get(end.grown..last).unwrap_or_default();
        let same = tail
            .iter()
            .take_while(|part| !changed(part.step.range(), end.seq));
        let keep = end.grown + same.count();
        for index in keep..self.parts.len() {
            self.set(index, PartState::Waiting);
        }
        self.parts.truncate(keep);
        self.launched = self.launched.min(keep);
        let kept = &self.parts[end.grown..];
        kept.iter()
            .filter(|part| matches!(part.state, PartState::Done(_)))
            .filter_map(Part::sent_range)
            .collect()
    }

    fn set(&mut self, index: usize, now: PartState) {
        let Some(part) = self.parts.get_mut(index) else {
            return;
        };
        let bytes = part.sent_range().map_or(0, |range| range.end - range.start);
        match std::mem::replace(&mut part.state, now) {
            PartState::Flying => {
                self.flying -= 1;
                self.flying_bytes -= bytes;
            }
            PartState::Failed => self.failed -= 1,
            PartState::Waiting | PartState::Done(_) => {}
        }
        match now {
            PartState::Flying => {
                self.flying += 1;
                self.flying_bytes += bytes;
            }
            PartState::Failed => self.failed += 1,
            PartState::Waiting | PartState::Done(_) => {}
        }
    }
}

impl Part {
    fn waiting(step: Step) -> Self {
        Self {
            step,
            state: PartState::Waiting,
        }
    }

    fn sent_range(&self) -> Option<Range<u64>> {
        match &self.step {
            Step::Send(range) => Some(range.clone()),
            Step::Copy(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "large/tests.rs"]
mod tests;
