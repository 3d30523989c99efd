//! What is fetched around random reads, and when: the decision only, without clock, socket or cache.
//!
//! Whoever reads here and there waits a round trip for each place, and nobody knows how many more will come. So what the
//! readers of a version have waited for, times what the line carries, is spent on what lies around (as who hires skis buys
//! them once the hire has cost as much): never more bytes than the waiting was worth, and no version more than once.
//!
//! - A miss brings an eighth of what the line carries in a round trip, which makes it hardly longer.
//! - What was waited for is spent on all of the version if it fits into its share of memory, nearest to the last miss first;
//!   else on the region that is used, if that fits, or on the neighbourhood of a miss beside which there were others.
//! - Whoever goes through the version in steps gets nothing besides.
//! - The first misses after a rest count little, whatever the line: ten far apart bring at most 24 MiB.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::io::read::line::Line;

/// What is bought at least, and counted as bought.
pub(in crate::io) const UNIT: u64 = 256 << 10;
/// A version up to this size comes with its first read.
pub(in crate::io) const SMALL: u64 = 1 << 20;
/// The least that a miss brings.
const MIN_MISS: u64 = 32 << 10;
/// Whoever reads so much at once knows what is wanted: it gets that and no more.
const LARGE: u64 = 64 << 10;
/// Misses that are remembered.
const RECENT: usize = 32;
/// Misses by which a region is judged.
const REGION: usize = 8;
/// After so long without a miss, the next one is a first one.
const REST: Duration = Duration::from_secs(2);
/// What a miss and those around it must lie in to be a neighbourhood, and how many it takes.
const NEIGHBOURHOODS: [(u64, usize); 3] = [(16 << 20, 8), (4 << 20, 5), (1 << 20, 3)];
/// One request brings at least this much.
const MIN_PIECE: u64 = 512 << 10;
const MAX_PIECE: u64 = 4 << 20;

/// What the readers of one version have waited for, and what was bought for it.
#[derive(Debug, Default)]
pub(in crate::io) struct Around {
    bought: Units,
    /// Bytes that may be bought.
    budget: u64,
    /// Misses since the last rest.
    misses: u64,
    last: Duration,
    /// Where they were, the latest at the end.
    recent: VecDeque<u64>,
}

impl Around {
    /// What to fetch for a read that finds not all of its bytes, of a version of `size` bytes. `now`: since any moment.
    pub(in crate::io) fn miss(
        &mut self,
        wanted: &Range<u64>,
        size: u64,
        line: Line,
        now: Duration,
    ) -> Range<u64> {
        if now.saturating_sub(self.last) > REST {
            self.misses = 0;
            self.budget = 0;
            self.recent.clear();
        }
        self.last = now;
        self.misses += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(wanted.start);
        // It was bought, and is not there any more, or never came.
        self.bought.remove(wanted.start / UNIT);
        if size <= SMALL {
            return 0..size;
        }
        let least = (line.in_flight() / 8).clamp(MIN_MISS, UNIT);
        let least = 1 << least.ilog2();
        if wanted.end - wanted.start >= least.min(LARGE) {
            return wanted.clone();
        }
        let mut start = wanted.start / least * least;
        if wanted.end > start + least {
            start = wanted.start / MIN_MISS * MIN_MISS;
        }
        start..wanted.end.max(start + least).min(size)
    }

    /// A reader has waited so long for bytes; `connections` are busy.
    pub(in crate::io) fn waited(&mut self, time: Duration, line: Line, connections: u64) {
        let worth = line.in_time(time).saturating_mul(connections.max(1));
        // The first one may be the only one.
        let most = self.misses.saturating_sub(1) * (UNIT * 3 / 2);
        self.budget = self.budget.saturating_add(worth.min(most));
    }

    /// The next range to fetch of a version of `size` bytes, which may take `share` bytes of memory; `None` for now when
    /// there is nothing left or nothing left to pay it with.
    pub(in crate::io) fn buy(&mut self, size: u64, share: u64, line: Line) -> Option<Range<u64>> {
        let place = *self.recent.back()? / UNIT;
        if self.budget < UNIT.min(size) || !self.wanders() {
            return None;
        }
        let region = self.region(size, share)?;
        let units = region.start / UNIT..region.end.div_ceil(UNIT);
        let most = line
            .in_flight()
            .clamp(MIN_PIECE, MAX_PIECE)
            .min(self.budget)
            / UNIT;
        let piece = self.bought.nearest(&units, place, most.max(1))?;
        for unit in piece.clone() {
            self.bought.insert(unit);
        }
        let bytes = piece.start * UNIT..(piece.end * UNIT).min(size);
        self.budget = self.budget.saturating_sub(bytes.end - bytes.start);
        Some(bytes)
    }

    /// What was bought last could not be fetched.
    pub(in crate::io) fn give_back(&mut self, bytes: &Range<u64>) {
        for unit in bytes.start / UNIT..bytes.end.div_ceil(UNIT) {
            self.bought.remove(unit);
        }
        self.budget = 0;
    }

    /// Whether the misses go to and fro. Whoever goes through a file in steps, forward or backward, leaves out what lies
    /// between, and does not come back to it.
    fn wanders(&self) -> bool {
        let recent = || self.recent.iter();
        let steps = recent().zip(recent().skip(1)).map(|(one, next)| one < next);
        let turns = steps
            .clone()
            .zip(steps.skip(1))
            .filter(|(one, next)| one != next);
        turns.count() > self.recent.len() / 8
    }

    /// What is worth having.
    fn region(&self, size: u64, share: u64) -> Option<Range<u64>> {
        if size <= share {
            return Some(0..size);
        }
        let (first, last) = (self.recent.iter().min()?, self.recent.iter().max()?);
        let margin = (last - first) / 8 + UNIT;
        let used = first.saturating_sub(margin)..(last + margin).min(size);
        if self.recent.len() >= REGION && used.end - used.start <= share {
            return Some(used);
        }
        let place = self.recent.back()?;
        NEIGHBOURHOODS.iter().find_map(|&(wide, many)| {
            let around = place / wide * wide..(place / wide * wide + wide).min(size);
            let near = self.recent.iter().filter(|at| around.contains(at)).count();
            (near >= many && wide <= share).then_some(around)
        })
    }
}

/// A set of units: bits, 64 under one number.
#[derive(Debug, Default)]
struct Units(BTreeMap<u64, u64>);

impl Units {
    fn has(&self, unit: u64) -> bool {
        let word = self.0.get(&(unit / 64));
        word.is_some_and(|word| word & (1 << (unit % 64)) != 0)
    }

    fn insert(&mut self, unit: u64) {
        *self.0.entry(unit / 64).or_default() |= 1 << (unit % 64);
    }

    fn remove(&mut self, unit: u64) {
        if let Some(word) = self.0.get_mut(&(unit / 64)) {
            *word &= !(1 << (unit % 64));
        }
    }

    /// The units nearest to one that are not in the set, up to `most` in a row.
    fn nearest(&self, within: &Range<u64>, place: u64, most: u64) -> Option<Range<u64>> {
        let place = place.clamp(within.start, within.end.checked_sub(1)?);
        let farthest = (place - within.start).max(within.end - 1 - place);
        for distance in 0..=farthest {
            let after = place + distance;
            if after < within.end && !self.has(after) {
                let rest = after..within.end.min(after + most);
                let end = rest.clone().find(|unit| self.has(*unit));
                return Some(after..end.unwrap_or(rest.end));
            }
            let before = place.checked_sub(distance);
            let before = before.filter(|unit| within.contains(unit) && !self.has(*unit));
            if let Some(before) = before {
                let first = within.start.max((before + 1).saturating_sub(most));
                let start = (first..=before).rev().take_while(|unit| !self.has(*unit));
                return Some(start.last().unwrap_or(before)..before + 1);
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "around/tests.rs"]
mod tests;
