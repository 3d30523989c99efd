//! Where bytes lie without a hole: kept up to date, so that no extent is looked at to tell.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that do not touch: ends by their starts.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Where the first one starts.
    pub(super) fn start(&self) -> Option<u64> {
        self.0.first_key_value().map(|(&start, _)| start)
    }

    /// The end of the one that an offset lies in, or begins; else the offset.
    pub(super) fn end(&self, offset: u64) -> u64 {
        let before = self.0.range(..=offset).next_back();
        before.map_or(offset, |(_, &end)| end.max(offset))
    }

    /// Takes in a range that none of them has anything of.
    pub(super) fn add(&mut self, mut range: Range<u64>) {
        if let Some(end) = self.0.remove(&range.end) {
            range.end = end;
        }
        match self.0.range_mut(..range.start).next_back() {
            Some((_, end)) if *end == range.start => *end = range.end,
            _ => drop(self.0.insert(range.start, range.end)),
        }
    }

    /// Takes a range out of the one that has all of it.
    pub(super) fn take(&mut self, range: Range<u64>) {
        let Some((&start, end)) = self.0.range_mut(..=range.start).next_back() else {
            return;
        };
        let rest = range.end..*end;
        *end = range.start;
        if start == range.start {
            self.0.remove(&start);
        }
        if !rest.is_empty() {
            self.0.insert(rest.start, rest.end);
        }
    }
}
