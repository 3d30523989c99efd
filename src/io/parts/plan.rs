//! How changed content becomes a version: one upload, or parts of a large file.
//!
//! Pure functions from a layout (runs of stored versions, changed bytes and zeros) to steps. Stored
//! ranges of at least one minimal part are copied on the server; stored bytes are downloaded only
//! to fill a part up to the minimum (API §6: every part but the last has as many bytes as the account
//! tells, at most 10,000 parts, at least two).

use std::collections::VecDeque;
use std::ops::Range;

/// The smallest part that is not the last, as accounts tell it (API §6). Streams make none shorter even where an
/// account allows it: they would use up the numbers.
pub(in crate::io) const MIN_PART: u64 = 5_000_000;
/// The largest part, and the largest single upload (API §5.2, §6).
pub(in crate::io) const MAX_PART: u64 = 5_000_000_000;
/// Parts in one large file.
pub(in crate::io) const MAX_PARTS: u64 = 10_000;
/// The largest file (API §6): 10 TB.
pub(in crate::io) const MAX_FILE: u64 = 10_000_000_000_000;
/// A copied range is at most this long as long as the number of parts allows, so that many run
/// side by side and no single call takes minutes.
pub(in crate::io) const COPY_PART: u64 = 500_000_000;
/// What the additional calls of a large file are worth in bytes of transfer.
const PARTS_COST: u64 = 1 << 20;

/// What a run of bytes is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Source {
    /// Bytes of the version with this key, from this offset in it on: the base, at the same offset,
    /// or what was copied from anywhere.
    Stored { version: u64, at: u64 },
    /// Changed bytes in memory.
    Data,
    /// Zeros that nobody wrote.
    Zero,
}

impl Source {
    pub(in crate::io) fn is_stored(self) -> bool {
        matches!(self, Self::Stored { .. })
    }
}

/// A run of the new content; runs follow one another without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct Run {
    pub(in crate::io) source: Source,
    pub(in crate::io) len: u64,
}

impl Run {
    /// Whether `next` continues it, so that both can be copied, or sent, in one.
    fn goes_on_in(&self, next: &Self) -> bool {
        match (self.source, next.source) {
            (
                Source::Stored { version, at },
                Source::Stored {
                    version: v,
                    at: next,
                },
            ) => version == v && at + self.len == next,
            (this, next) => this == next,
        }
    }
}

/// Runs without those that only continue the one before.
pub(in crate::io) fn joined(runs: impl Iterator<Item = Run>) -> impl Iterator<Item = Run> {
    let mut runs = runs.filter(|run| run.len > 0).peekable();
    std::iter::from_fn(move || {
        let mut run = runs.next()?;
        while let Some(next) = runs.next_if(|next| run.goes_on_in(next)) {
            run.len += next.len;
        }
        Some(run)
    })
}

/// Sizes of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct Sizes {
    /// What all but the last must have.
    least: u64,
    /// Wanted size of a sent part; not below that.
    part: u64,
}

impl Sizes {
    /// `least` as the account tells it; `part` is wanted.
    pub(in crate::io) fn new(least: u64, part: u64) -> Self {
        let least = least.clamp(1, MAX_PART);
        Self {
            least,
            part: part.clamp(least, MAX_PART),
        }
    }

    pub(in crate::io) fn least(self) -> u64 {
        self.least
    }

    /// The size of parts, at most that which is wanted, that `streams` uploads at once finish `len` bytes with at
    /// the same time.
    pub(in crate::io) fn even(self, len: u64, streams: usize) -> Self {
        let streams = streams.max(1) as u64;
        let rounds = len.div_ceil(self.part * streams).max(1);
        let part = len.div_ceil(rounds * streams);
        Self {
            part: part.clamp(self.least, self.part),
            ..self
        }
    }
}

/// Most parts that a stream makes before the end of the file is known.
const STREAMED: u64 = MAX_PARTS - 100;
/// Parts of a stream after which the next are twice as long, at least and at most.
const SAME: (u64, u64) = (16, 1000);
/// Most parts that copy what lies before a stream: 10 TB are 2,000 of the longest.
pub(in crate::io) const MAX_HEAD: u64 = 2_500;

/// How many parts a stream may make that has come to an offset: the rest copies all that may lie behind it.
pub(in crate::io) fn most_streamed(issued: u64) -> u64 {
    STREAMED - MAX_FILE.saturating_sub(issued).div_ceil(MAX_PART)
}

/// Size of part number `n` (from 0) of a stream through `memory` bytes, `uploads` parts of which may be under way.
///
/// They double as long as all uploads can be under way and another part be gathered, and stay so as long as possible. The
/// last ones take half of the memory: while one is under way, the next is gathered, which is slower. With 2 GiB of
/// memory or more, 10 TB fit into `STREAMED` parts. With less a stream comes half as far as with the longest parts only: to
/// 970 GB with 512 MiB, to 108 GB with 64 MiB. Then it is stored, and goes on with a copy of that on the server.
pub(in crate::io) fn streamed(n: u64, sizes: Sizes, memory: u64, uploads: usize) -> u64 {
    let many = memory / (uploads.max(1) as u64 + 1);
    let first = sizes.part.min(many).max(sizes.least);
    let many = many.clamp(first, MAX_PART);
    let last = (memory / 2).clamp(many, MAX_PART);
    // The end of the file takes a number as soon as less than a part is left.
    let (numbers, goal) = match (STREAMED - 1) * last {
        all if all >= MAX_FILE => (STREAMED - 1, MAX_FILE),
        _ => (most_streamed(0), most_streamed(0) * last / 2),
    };
    let spare = numbers * last - goal;
    let doublings = u64::from(many.div_ceil(first).next_power_of_two().trailing_zeros());
    // What is spared by one part of each size below `many`.
    let short = doublings * last - first * ((1 << doublings) - 1);
    let same = (spare / 2 / short.max(1)).clamp(SAME.0, SAME.1);
    if n < same * doublings {
        return first << (n / same);
    }
    let left = spare.saturating_sub(same * short);
    if n < same * doublings + left / (last - many).max(1) {
        many
    } else {
        last
    }
}

/// Sizes that the plan must keep to.
#[derive(Debug, Clone, Copy)]
pub(in crate::io) struct Limits {
    /// Content up to this size goes up in one call if nothing must be downloaded for it.
    pub(in crate::io) large_file: u64,
    pub(in crate::io) sizes: Sizes,
}

/// One part of a large file; ranges are offsets in the new content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) enum Step {
    /// A range that lies in one piece in a stored version, copied on the server.
    Copy(Range<u64>),
    /// Sent from here; stored bytes within are downloaded first.
    Send(Range<u64>),
}

impl Step {
    pub(in crate::io) fn range(&self) -> &Range<u64> {
        match self {
            Self::Copy(range) | Self::Send(range) => range,
        }
    }

    fn len(&self) -> u64 {
        self.range().end - self.range().start
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io) enum Plan {
    /// Everything in one call.
    Upload,
    Parts(Vec<Step>),
}

/// The cheapest way to store the content that `runs` describe from offset 0 on. They are gone through more than once, but
/// never put down: there may be a million.
pub(in crate::io) fn plan(runs: impl Iterator<Item = Run> + Clone, limits: Limits) -> Plan {
    let size = len(runs.clone());
    let stored = len(runs.clone().filter(|run| run.source.is_stored()));
    let least = limits.sizes.least;
    if size <= least || (size <= limits.large_file && stored == 0) {
        return Plan::Upload;
    }
    let parts = parts(0, runs, limits.sizes, MAX_PARTS, 2);
    if size <= limits.large_file && stored <= least {
        let sent: u64 = parts.iter().map(sent_bytes).sum();
        let filled = sent.saturating_sub(size - stored);
        if size + stored <= sent + filled + PARTS_COST {
            return Plan::Upload;
        }
    }
    Plan::Parts(parts)
}

/// Parts for the content from `start` on, at most `max` and at least `min` of them (for which it must be long enough:
/// all but the last have the smallest size at least, and that has a byte).
pub(in crate::io) fn parts(
    start: u64,
    runs: impl Iterator<Item = Run> + Clone,
    sizes: Sizes,
    max: u64,
    min: u64,
) -> Vec<Step> {
    let Sizes { least, mut part } = sizes;
    let mut copy = COPY_PART;
    // What must be downloaded is held in memory: short pieces, as far as the number of parts allows.
    let mut shorter = 16;
    let mut worth = least.max(PARTS_COST);
    loop {
        let spans = spans(start, runs.clone(), least, worth);
        let pieces = |span: &Stretch| span.pieces(part, copy, least.max(part / shorter));
        // Counted before they are made: of a terabyte there may be millions.
        let steps: u64 = spans.iter().map(pieces).sum();
        if steps <= max || worth >= MAX_PART {
            let steps = spans
                .iter()
                .flat_map(|span| span.split(pieces(span)))
                .collect();
            let size = len(runs);
            return at_least(min, steps, start..start + size, least);
        }
        // Too many: larger pieces, and short copies are not worth a part any more.
        copy = (copy * 2).min(MAX_PART);
        if part == MAX_PART {
            shorter = (shorter / 2).max(1);
        }
        part = (part * 2).min(MAX_PART);
        if spans.len() as u64 > max / 2 {
            worth *= 2;
        }
    }
}

fn len(runs: impl Iterator<Item = Run>) -> u64 {
    runs.map(|run| run.len).sum()
}

fn sent_bytes(step: &Step) -> u64 {
    match step {
        Step::Copy(_) => 0,
        Step::Send(range) => range.end - range.start,
    }
}

/// A stretch that is copied, or sent, as a whole.
#[derive(Debug, Clone)]
struct Stretch {
    copy: bool,
    /// Sent, and holds stored bytes that must be downloaded.
    fill: bool,
    range: Range<u64>,
}

impl Stretch {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Into how many parts it is split, each as long as that of its kind if it is.
    fn pieces(&self, part: u64, copy: u64, fill: u64) -> u64 {
        let len = self.len();
        if self.copy {
            len.div_ceil(copy)
        } else if self.fill {
            (len / fill).max(1).max(len.div_ceil(MAX_PART))
        } else {
            (len / part).max(1).max(len.div_ceil(MAX_PART))
        }
    }

    /// Even pieces: each has at least the wanted size if the span has, so none falls short.
    fn split(&self, pieces: u64) -> impl Iterator<Item = Step> {
        let (start, len, copy) = (self.range.start, self.len(), self.copy);
        let at =
            move |i: u64| start + (u128::from(len) * u128::from(i) / u128::from(pieces)) as u64;
        (0..pieces).map(move |i| {
            let range = at(i)..at(i + 1);
            if copy {
                Step::Copy(range)
            } else {
                Step::Send(range)
            }
        })
    }
}

/// Stretches; all but the last have at least `least` bytes, copies in the middle at least
/// `worth`. No two that are sent follow one another; copies do where their sources differ.
fn spans(start: u64, runs: impl Iterator<Item = Run>, least: u64, worth: u64) -> Vec<Stretch> {
    let mut merged = joined(runs).peekable();
    let mut spans: Vec<Stretch> = Vec::new();
    let mut at = start;
    while let Some(run) = merged.next() {
        let range = at..at + run.len;
        at = range.end;
        let stored = run.source.is_stored();
        // The last part may be of any length.
        let copy = stored && (run.len >= worth || merged.peek().is_none());
        let fill = stored && !copy;
        push(&mut spans, Stretch { copy, fill, range });
    }
    fill_short(spans, least, worth)
}

fn push(spans: &mut Vec<Stretch>, span: Stretch) {
    match spans.last_mut() {
        Some(last) if !last.copy && !span.copy => {
            last.range.end = span.range.end;
            last.fill |= span.fill;
        }
        _ => spans.push(span),
    }
}

/// Gives every short sent span that is not the last what it lacks, from a neighbour that can
/// spare it, or swallows the shorter neighbour. Each step takes one span away or goes on by one.
fn fill_short(spans: Vec<Stretch>, least: u64, worth: u64) -> Vec<Stretch> {
    let mut rest = VecDeque::from(spans);
    let mut done: Vec<Stretch> = Vec::new();
    while let Some(mut span) = rest.pop_front() {
        let alone = rest.len() == 1;
        let Some(right) = rest
            .front_mut()
            .filter(|_| !span.copy && span.len() < least)
        else {
            push(&mut done, span);
            continue;
        };
        let lack = least - span.len();
        // The last span may be of any length, so it can spare all but one byte.
        let keep = if alone { 1 } else { worth };
        span.fill = true;
        match done.last_mut() {
            _ if right.len() >= lack + keep => {
                span.range.end += lack;
                right.range.start += lack;
                push(&mut done, span);
            }
            Some(left) if left.len() >= lack + worth => {
                span.range.start -= lack;
                left.range.end -= lack;
                push(&mut done, span);
            }
            Some(left) if left.len() < right.len() => {
                span.range.start = left.range.start;
                done.pop();
                // What comes before is sent, too, and is one with it.
                if let Some(before) = done.pop_if(|before| !before.copy) {
                    span.range.start = before.range.start;
                }
                rest.push_front(span);
            }
            _ => {
                span.range.end = right.range.end;
                rest.pop_front();
                if rest.front().is_some_and(|next| !next.copy)
                    && let Some(next) = rest.pop_front()
                {
                    span.range.end = next.range.end;
                }
                rest.push_front(span);
            }
        }
    }
    done
}

/// B2 wants two parts, and as many as it has already: splits the longest until there are enough, or all anew.
fn at_least(min: u64, mut steps: Vec<Step>, range: Range<u64>, least: u64) -> Vec<Step> {
    while (steps.len() as u64) < min {
        let longest = (0..steps.len()).max_by_key(|i| steps[*i].len());
        let Some(longest) = longest.filter(|i| {
            let spare = u64::from(*i + 1 < steps.len()) * (least - 1);
            steps[*i].len() > least + spare
        }) else {
            return evenly(min, range, least);
        };
        let step = steps.remove(longest);
        let Range { start, end } = step.range().clone();
        let middle = start + ((end - start) / 2).max(least);
        let halves = match step {
            Step::Copy(_) => [Step::Copy(start..middle), Step::Copy(middle..end)],
            Step::Send(_) => [Step::Send(start..middle), Step::Send(middle..end)],
        };
        steps.splice(longest..longest, halves);
    }
    steps
}

/// Parts of the same size as far as that is allowed, all of them sent.
fn evenly(count: u64, range: Range<u64>, least: u64) -> Vec<Step> {
    let len = range.end - range.start;
    let size = (len / count.max(1)).max(least);
    let mut steps = Vec::new();
    let mut at = range.start;
    for _ in 1..count {
        let end = (at + size).min(range.end);
        if end == range.end {
            break;
        }
        steps.push(Step::Send(at..end));
        at = end;
    }
    steps.push(Step::Send(at..range.end));
    steps
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
