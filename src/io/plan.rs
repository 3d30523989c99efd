//! How changed content becomes a version: one upload, or parts of a large file.
//!
//! Pure functions from a layout (runs of base, changed bytes and zeros) to steps. Unchanged base
//! ranges of at least one minimal part are copied on the server; base bytes are downloaded only
//! to fill a part up to the minimum (API §6: every part but the last has 5,000,000 bytes or
//! more, at most 10,000 parts, at least two).

use std::ops::Range;

/// The smallest part that is not the last (API §6).
pub(super) const MIN_PART: u64 = 5_000_000;
/// The largest part, and the largest single upload (API §5.2, §6).
pub(super) const MAX_PART: u64 = 5_000_000_000;
/// Parts in one large file.
pub(super) const MAX_PARTS: u64 = 10_000;
/// The largest file (API §6): 10 TB.
pub(super) const MAX_FILE: u64 = 10_000_000_000_000;
/// A copied range is at most this long as long as the number of parts allows, so that many run
/// side by side and no single call takes minutes.
const COPY_PART: u64 = 500_000_000;
/// What the additional calls of a large file are worth in bytes of transfer.
const PARTS_COST: u64 = 1 << 20;

/// What a run of bytes is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Unchanged bytes of the base version, at the same offset.
    Base,
    /// Changed bytes in memory.
    Data,
    /// Zeros that nobody wrote.
    Zero,
}

/// A run of the new content; runs follow one another without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) source: Source,
    pub(super) len: u64,
}

/// Sizes that the plan must keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Content up to this size goes up in one call if nothing must be downloaded for it.
    pub(super) large_file: u64,
    /// Wanted size of a sent part.
    pub(super) part_size: u64,
}

/// One part of a large file; ranges are offsets in the new content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The range of the base, copied on the server.
    Copy(Range<u64>),
    /// Sent from here; base bytes within are downloaded first.
    Send(Range<u64>),
}

impl Step {
    pub(super) fn range(&self) -> &Range<u64> {
        match self {
            Self::Copy(range) | Self::Send(range) => range,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything in one call.
    Upload,
    Parts(Vec<Step>),
}

/// The cheapest way to store the content that `runs` describe from offset 0 on.
pub(super) fn plan(runs: &[Run], limits: Limits) -> Plan {
    let size: u64 = runs.iter().map(|run| run.len).sum();
    let base: u64 = total(runs, Source::Base);
    if size <= MIN_PART || (size <= limits.large_file && base == 0) {
        return Plan::Upload;
    }
    let parts = parts(0, runs, limits.part_size, MAX_PARTS, 2);
    if size <= limits.large_file && base <= MIN_PART {
        let sent: u64 = parts.iter().map(sent_bytes).sum();
        let filled = sent.saturating_sub(size - base);
        if size + base <= sent + filled + PARTS_COST {
            return Plan::Upload;
        }
    }
    Plan::Parts(parts)
}

/// Parts for the content from `start` on, at most `max` and at least `min` (1 or 2) of them.
pub(super) fn parts(start: u64, runs: &[Run], part_size: u64, max: u64, min: u64) -> Vec<Step> {
    let mut part = part_size.clamp(MIN_PART, MAX_PART);
    let mut copy = COPY_PART;
    let mut worth = MIN_PART;
    loop {
        let spans = spans(start, runs, worth);
        let mut steps: Vec<Step> = spans
            .iter()
            .flat_map(|span| span.split(part, copy))
            .collect();
        if steps.len() as u64 <= max || worth >= MAX_PART {
            if (steps.len() as u64) < min {
                halve(&mut steps);
            }
            return steps;
        }
        // Too many: larger pieces, and short copies are not worth a part any more.
        copy = MAX_PART;
        part = (part * 2).min(MAX_PART);
        if spans.len() as u64 > max / 2 {
            worth *= 2;
        }
    }
}

fn total(runs: &[Run], source: Source) -> u64 {
    runs.iter()
        .filter(|run| run.source == source)
        .map(|run| run.len)
        .sum()
}

fn sent_bytes(step: &Step) -> u64 {
    match step {
        Step::Copy(_) => 0,
        Step::Send(range) => range.end - range.start,
    }
}

/// A stretch that is copied, or sent, as a whole.
#[derive(Debug, Clone)]
struct Span {
    copy: bool,
    /// Sent, and holds base bytes that must be downloaded.
    fill: bool,
    range: Range<u64>,
}

impl Span {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Even pieces: each has at least the wanted size if the span has, so none falls short.
    fn split(&self, part: u64, copy: u64) -> Vec<Step> {
        let len = self.len();
        let pieces = if self.copy {
            len.div_ceil(copy)
        } else if self.fill {
            // What must be downloaded is held in memory: short pieces, as far as the number of
            // parts allows.
            (len / MIN_PART.max(part / 16)).max(1)
        } else {
            (len / part).max(1).max(len.div_ceil(MAX_PART))
        };
        let at = |i: u64| {
            self.range.start + (u128::from(len) * u128::from(i) / u128::from(pieces)) as u64
        };
        (0..pieces)
            .map(|i| {
                let range = at(i)..at(i + 1);
                if self.copy {
                    Step::Copy(range)
                } else {
                    Step::Send(range)
                }
            })
            .collect()
    }
}

/// Alternating stretches; all but the last have at least `MIN_PART` bytes, copies in the middle
/// at least `worth`.
fn spans(start: u64, runs: &[Run], worth: u64) -> Vec<Span> {
    let mut merged: Vec<Run> = Vec::new();
    for run in runs.iter().filter(|run| run.len > 0) {
        match merged.last_mut() {
            Some(last) if last.source == run.source => last.len += run.len,
            _ => merged.push(*run),
        }
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut at = start;
    for (i, run) in merged.iter().enumerate() {
        let range = at..at + run.len;
        at = range.end;
        let base = run.source == Source::Base;
        // The last part may be of any length.
        let copy = base && (run.len >= worth || i + 1 == merged.len());
        let fill = base && !copy;
        push(&mut spans, Span { copy, fill, range });
    }
    fill_short(&mut spans, worth);
    spans
}

fn push(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.copy == span.copy => {
            last.range.end = span.range.end;
            last.fill |= span.fill;
        }
        _ => spans.push(span),
    }
}

/// Gives every short sent span that is not the last what it lacks, from a neighbour that can
/// spare it, or swallows the shorter neighbour.
fn fill_short(spans: &mut Vec<Span>, worth: u64) {
    let mut i = 0;
    while i < spans.len() {
        let last = i + 1 == spans.len();
        if spans[i].copy || last || spans[i].len() >= MIN_PART {
            i += 1;
            continue;
        }
        let lack = MIN_PART - spans[i].len();
        // The last span may be of any length, so it can spare all but one byte.
        let keep = if i + 2 == spans.len() { 1 } else { worth };
        let left = i.checked_sub(1).map(|left| spans[left].len());
        let right = spans[i + 1].len();
        if right >= lack + keep {
            spans[i].fill = true;
            spans[i].range.end += lack;
            spans[i + 1].range.start += lack;
            i += 1;
        } else if left.is_some_and(|left| left >= lack + worth) {
            spans[i].fill = true;
            spans[i].range.start -= lack;
            spans[i - 1].range.end -= lack;
            i += 1;
        } else if left.is_some_and(|left| left < right) {
            swallow(spans, i - 1);
            i = i.saturating_sub(2);
        } else {
            swallow(spans, i + 1);
        }
    }
}

/// Turns a copied span into sent bytes and joins it with its neighbours.
fn swallow(spans: &mut Vec<Span>, at: usize) {
    let old = std::mem::take(spans);
    for (i, mut span) in old.into_iter().enumerate() {
        if i == at {
            span.copy = false;
            span.fill = true;
        }
        push(spans, span);
    }
}

/// B2 wants two parts: splits the only one so that the first keeps the minimum.
fn halve(steps: &mut Vec<Step>) {
    let Some(step) = steps.pop() else { return };
    let Range { start, end } = step.range().clone();
    let middle = start + ((end - start) / 2).max(MIN_PART);
    if middle >= end {
        steps.push(step);
        return;
    }
    match step {
        Step::Copy(_) => steps.extend([Step::Copy(start..middle), Step::Copy(middle..end)]),
        Step::Send(_) => steps.extend([Step::Send(start..middle), Step::Send(middle..end)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        large_file: 100_000_000,
        part_size: 16_000_000,
    };
    const MB: u64 = 1_000_000;

    fn run(source: Source, len: u64) -> Run {
        Run { source, len }
    }

    fn steps(plan: Plan) -> Vec<Step> {
        match plan {
            Plan::Parts(steps) => steps,
            Plan::Upload => panic!("one upload"),
        }
    }

    #[test]
    fn appending_to_a_large_file_sends_only_what_was_appended() {
        let base = 10 << 30;
        let steps = steps(plan(
            &[run(Source::Base, base), run(Source::Data, 1 << 20)],
            LIMITS,
        ));
        assert_eq!(
            steps.last(),
            Some(&Step::Send(base..base + (1 << 20))),
            "{steps:?}"
        );
        assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), 1 << 20);
        assert_eq!(steps.len(), 23);
    }

    #[test]
    fn patching_a_byte_in_the_middle_sends_one_minimal_part() {
        let steps = steps(plan(
            &[
                run(Source::Base, 3 << 30),
                run(Source::Data, 1),
                run(Source::Base, 3 << 30),
            ],
            LIMITS,
        ));
        assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), MIN_PART);
    }

    #[test]
    fn small_content_goes_up_in_one_call() {
        assert_eq!(plan(&[], LIMITS), Plan::Upload);
        assert_eq!(plan(&[run(Source::Data, 100 * MB)], LIMITS), Plan::Upload);
        assert_eq!(
            plan(&[run(Source::Base, 4 * MB), run(Source::Data, 1)], LIMITS),
            Plan::Upload
        );
    }

    #[test]
    fn a_patch_of_a_middling_file_does_not_download_it() {
        let steps = steps(plan(
            &[
                run(Source::Base, 45 * MB),
                run(Source::Data, 4096),
                run(Source::Base, 45 * MB),
            ],
            LIMITS,
        ));
        assert_eq!(steps.iter().map(sent_bytes).sum::<u64>(), MIN_PART);
    }

    #[test]
    fn a_cut_file_is_copied_in_two_parts() {
        assert_eq!(
            plan(&[run(Source::Base, 7 * MB)], LIMITS),
            Plan::Parts(vec![Step::Copy(0..5 * MB), Step::Copy(5 * MB..7 * MB)])
        );
    }

    #[test]
    fn ten_terabytes_fit_in_ten_thousand_parts() {
        for source in [Source::Base, Source::Data, Source::Zero] {
            let steps = steps(plan(&[run(source, MAX_FILE)], LIMITS));
            assert!(steps.len() <= 10_000, "{source:?}: {}", steps.len());
        }
        let mut spotted = Vec::new();
        for _ in 0..30_000 {
            spotted.push(run(Source::Base, 100 * MB));
            spotted.push(run(Source::Data, 1));
        }
        let steps = steps(plan(&spotted, LIMITS));
        assert!(steps.len() <= 10_000, "{}", steps.len());
    }

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        let source = prop_oneof![Just(Source::Base), Just(Source::Data), Just(Source::Zero)];
        let len = prop_oneof![1u64..10_000, 1u64..12_000_000, 1u64..3_000_000_000];
        proptest::collection::vec((source, len).prop_map(|(s, l)| run(s, l)), 1..30)
    }

    proptest! {
        #[test]
        fn a_plan_covers_everything_once_within_the_limits(runs in runs(), part_size in MIN_PART..64_000_000) {
            let limits = Limits { part_size, ..LIMITS };
            let size: u64 = runs.iter().map(|r| r.len).sum();
            let Plan::Parts(steps) = plan(&runs, limits) else {
                prop_assert!(size <= MIN_PART || size <= limits.large_file);
                return Ok(());
            };
            prop_assert!((2..=10_000).contains(&steps.len()));
            let mut at = 0;
            for (i, step) in steps.iter().enumerate() {
                let range = step.range();
                prop_assert_eq!(range.start, at);
                let len = range.end - range.start;
                prop_assert!((1..=MAX_PART).contains(&len));
                prop_assert!(len >= MIN_PART || i + 1 == steps.len(), "part {} has {}", i, len);
                at = range.end;
                if let Step::Copy(range) = step {
                    // Only unchanged bytes may be copied.
                    let mut from = 0;
                    for run in &runs {
                        let to = from + run.len;
                        if from < range.end && to > range.start {
                            prop_assert_eq!(run.source, Source::Base);
                        }
                        from = to;
                    }
                }
            }
            prop_assert_eq!(at, size);
            // Each changed stretch costs at most what fills it up on either side.
            let changed: u64 = runs.iter().filter(|r| r.source != Source::Base).map(|r| r.len).sum();
            let stretches = runs.iter().filter(|r| r.source != Source::Base).count() as u64;
            let short: u64 = runs.iter().filter(|r| r.source == Source::Base).map(|r| if r.len < MIN_PART { r.len } else { 0 }).sum();
            let sent: u64 = steps.iter().map(sent_bytes).sum();
            prop_assert!(sent <= changed + short + (stretches + 1) * 2 * MIN_PART, "sent {} of {}", sent, changed);
        }
    }
}
