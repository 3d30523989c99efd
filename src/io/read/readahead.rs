//! When to read ahead, and how far: the decision only, without clock, socket or cache.
//!
//! A run is a stretch that is read forward almost without gaps. The kernel sends the requests of
//! one run out of order, so a read counts as part of the run while it lies near its frontier.
//! The window is twice what the run has read (four times, once it is long), from 1 MiB up; a
//! run that starts at the head of the file with a large read opens at once, any other must first
//! prove itself. Random, backward and strided reads never open a window.

use std::ops::Range;

/// How far a read may lie from the frontier.
const SLACK: u64 = 1 << 20;
/// How far behind it: what the kernel's own read-ahead keeps in flight. A request whose thread was
/// put off for a moment comes that late.
const LATE: u64 = 8 << 20;
/// How far beyond it where bytes are on their way already: a request for each of the other
/// threads may have been put off.
const EARLY: u64 = 4 << 20;
/// The first window.
const MIN_WINDOW: u64 = 1 << 20;
/// What a run that does not start at the head of a file must read before its window opens.
const PROOF: u64 = 512 << 10;
/// Who has read this much in a row will most likely read on: long files pay for each round trip
/// that a window is too small.
const STEADY: u64 = 4 << 20;
/// A first read of this size at the head of a file is a program that copies.
const BOLD_READ: u64 = 64 << 10;
const MIN_CHUNK: u64 = 512 << 10;
const MAX_CHUNK: u64 = 16 << 20;
/// The density of a run is judged by about this much of its last bytes.
const MEMORY: u64 = 32 << 20;

/// What the surroundings allow.
#[derive(Debug, Clone, Copy)]
pub(in crate::io) struct Limits {
    /// Largest window.
    pub(in crate::io) window: u64,
    /// Parallel requests.
    pub(in crate::io) streams: u64,
    /// Chunks start and end at multiples of this.
    pub(in crate::io) block: u64,
}

/// What to do for a read besides answering it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::io) struct Advice {
    /// What was asked for ahead is not wanted any more: the part of it that is still unread.
    pub(in crate::io) abandon: Option<Range<u64>>,
    /// Fetch these, in this order.
    pub(in crate::io) fetch: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Default)]
pub(in crate::io) struct ReadAhead {
    run: Option<Run>,
}

#[derive(Debug, Clone)]
struct Run {
    /// Where the judged stretch starts.
    start: u64,
    /// End of the furthest read.
    frontier: u64,
    /// Bytes read in the judged stretch.
    read: u64,
    window: u64,
    /// Up to where bytes were asked for ahead.
    issued: u64,
}

impl Run {
    fn new(offset: u64, len: u64) -> Self {
        let bold = offset == 0 && len >= BOLD_READ;
        Self {
            start: offset,
            frontier: offset + len,
            read: len,
            window: if bold { MIN_WINDOW } else { 0 },
            issued: 0,
        }
    }

    fn holds(&self, offset: u64) -> bool {
        offset + LATE >= self.frontier
            && (offset <= self.frontier + SLACK
                || offset < self.issued && offset <= self.frontier + EARLY)
    }

    fn add(&mut self, offset: u64, len: u64, limit: u64) {
        self.read += len;
        self.frontier = self.frontier.max(offset + len);
        let advance = self.frontier - self.start;
        // Reads of the same bytes again do not make a run longer.
        self.read = self.read.min(advance);
        let dense = self.read * 4 >= advance * 3;
        if !dense {
            self.window = 0;
        } else if self.read >= PROOF || self.window > 0 {
            let factor = if self.read < STEADY { 2 } else { 4 };
            self.window = self.window.max(factor * self.read).max(MIN_WINDOW);
        }
        if advance > MEMORY {
            self.start += advance / 2;
            self.read /= 2;
            self.window *= 2;
        }
        self.window = self.window.min(limit);
    }

    fn unread(&self) -> Option<Range<u64>> {
        (self.issued > self.frontier).then_some(self.frontier..self.issued)
    }
}

impl ReadAhead {
    /// Tells of a read (not empty) of a file of `size` bytes.
    pub(in crate::io) fn on_read(
        &mut self,
        offset: u64,
        len: u64,
        size: u64,
        limits: Limits,
    ) -> Advice {
        let mut advice = Advice::default();
        match &mut self.run {
            Some(run) if run.holds(offset) => {
                let unread = run.unread();
                run.add(offset, len, limits.window);
                if run.window == 0 && unread.is_some() {
                    advice.abandon = run.unread();
                    run.issued = 0;
                }
            }
            other => {
                advice.abandon = other.as_ref().and_then(Run::unread);
                let mut run = Run::new(offset, len);
                run.window = run.window.min(limits.window);
                *other = Some(run);
            }
        }
        if let Some(run) = &mut self.run {
            advice.fetch = issue(run, size, limits);
        }
        advice
    }

    /// The chunk that starts here, and all after it, could not be fetched now.
    pub(in crate::io) fn refused(&mut self, at: u64) {
        if let Some(run) = &mut self.run {
            run.issued = run.issued.min(at);
        }
    }

    /// What was asked for and not read yet.
    pub(in crate::io) fn unread(&self) -> Option<Range<u64>> {
        self.run.as_ref().and_then(Run::unread)
    }

    /// Up to where a sequential reader is done with the file.
    pub(in crate::io) fn behind(&self) -> Option<u64> {
        let run = self.run.as_ref().filter(|run| run.window > 0)?;
        Some(run.frontier.saturating_sub(2 * LATE))
    }

    pub(in crate::io) fn is_open(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.window > 0)
    }
}

fn issue(run: &mut Run, size: u64, limits: Limits) -> Vec<Range<u64>> {
    let mut chunks = Vec::new();
    if run.window == 0 {
        return chunks;
    }
    let block = limits.block;
    let target = (run.frontier + run.window).min(size);
    // Twice as many chunks as streams: one that is done finds the next already waiting.
    let chunk = (run.window / (2 * limits.streams.max(1)))
        .clamp(MIN_CHUNK, MAX_CHUNK)
        .next_multiple_of(block);
    run.issued = run
        .issued
        .max(run.frontier.next_multiple_of(block).min(size));
    while run.issued < target && (target - run.issued >= chunk || target == size) {
        let end = (run.issued + chunk).min(target);
        let end = if end == size {
            end
        } else {
            end / block * block
        };
        if end <= run.issued {
            break;
        }
        chunks.push(run.issued..end);
        run.issued = end;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const LIMITS: Limits = Limits {
        window: 64 * MIB,
        streams: 4,
        block: 32 * KIB,
    };

    fn ahead(reads: impl IntoIterator<Item = (u64, u64)>, size: u64) -> Vec<Range<u64>> {
        let mut state = ReadAhead::default();
        reads
            .into_iter()
            .flat_map(|(offset, len)| state.on_read(offset, len, size, LIMITS).fetch)
            .collect()
    }

    #[test]
    fn a_copying_program_is_read_ahead_of_from_its_first_read() {
        let chunks = ahead([(0, 128 * KIB)], 1 << 30);
        assert_eq!(chunks.first().map(|c| c.start), Some(128 * KIB));
        assert!(chunks.iter().map(|c| c.end - c.start).sum::<u64>() <= MIB);
    }

    #[test]
    fn a_whole_sequential_read_is_fetched_once_in_order_to_the_end() {
        let size = 300 * MIB + 123;
        let mut state = ReadAhead::default();
        let mut expected = 128 * KIB;
        let mut widest = 0;
        for i in 0..=(size / (128 * KIB)) {
            let offset = i * 128 * KIB;
            let len = (size - offset).min(128 * KIB);
            for chunk in state.on_read(offset, len, size, LIMITS).fetch {
                assert_eq!(chunk.start, expected);
                expected = chunk.end;
                widest = widest.max(chunk.end - offset);
            }
        }
        assert_eq!(expected, size);
        assert!(widest > 60 * MIB && widest <= 65 * MIB, "{widest}");
    }

    #[test]
    fn reordered_requests_of_the_kernel_are_one_run() {
        let order = [0u64, 2, 1, 4, 3, 7, 6, 5, 8, 10, 9, 11, 13, 12, 14, 15];
        let chunks = ahead(
            order.map(|i| (MIB * 100 + i * 128 * KIB, 128 * KIB)),
            1 << 30,
        );
        assert!(!chunks.is_empty());
    }

    #[test]
    fn requests_that_were_put_off_for_long_do_not_end_a_run() {
        let mut state = ReadAhead::default();
        let mut read = |at: u64| state.on_read(at * MIB, MIB, 1 << 30, LIMITS);
        let order = (0..20).chain([21, 22, 23, 24, 25, 26, 27, 20, 28, 32, 29, 30, 31, 33]);
        let mut issued = 0;
        for at in order {
            let advice = read(at);
            assert_eq!(advice.abandon, None, "at {at}");
            issued += advice.fetch.iter().map(|c| c.end - c.start).sum::<u64>();
        }
        assert!(issued > 90 * MIB, "{issued}");
    }

    #[test]
    fn strided_reads_open_no_window() {
        let strides = [8 * KIB, 64 * KIB, 256 * KIB, 3 * MIB];
        for stride in strides {
            let chunks = ahead((1..2000).map(|i| (i * stride, 4 * KIB)), 1 << 40);
            assert_eq!(chunks, [], "{stride}");
        }
    }

    #[test]
    fn backward_reads_open_no_window() {
        let chunks = ahead((1..2000).rev().map(|i| (i * 128 * KIB, 128 * KIB)), 1 << 40);
        assert_eq!(chunks, []);
    }

    #[test]
    fn a_seek_gives_up_what_was_asked_for_ahead() {
        let mut state = ReadAhead::default();
        let advice = state.on_read(0, 128 * KIB, 1 << 30, LIMITS);
        let end = advice.fetch.last().expect("opened").end;
        let advice = state.on_read(500 * MIB, 4096, 1 << 30, LIMITS);
        assert_eq!(advice.abandon, Some(128 * KIB..end));
        assert_eq!(advice.fetch, []);
    }

    #[test]
    fn what_was_refused_is_asked_for_again() {
        let mut state = ReadAhead::default();
        let first = state.on_read(0, 128 * KIB, 1 << 30, LIMITS).fetch[0].clone();
        state.refused(first.start);
        let again = state.on_read(128 * KIB, 128 * KIB, 1 << 30, LIMITS).fetch[0].clone();
        assert_eq!(again.start, first.start.max(256 * KIB));
    }

    proptest! {
        #[test]
        fn random_reads_open_no_window(offsets in proptest::collection::vec(1u64..1 << 30, 1..200)) {
            // Far enough from each other not to be one run by accident.
            let spread = offsets.iter().map(|o| (o * 4 * MIB, 128 * KIB));
            prop_assert_eq!(ahead(spread, 1 << 60), []);
        }

        #[test]
        fn chunks_lie_within_the_file_and_the_window(reads in proptest::collection::vec((0u64..64, 1u64..300_000), 1..100), size in 1u64..40 * MIB) {
            let mut state = ReadAhead::default();
            for (at, len) in reads {
                let offset = (at * 128 * KIB).min(size - 1);
                let len = len.min(size - offset);
                for chunk in state.on_read(offset, len, size, LIMITS).fetch {
                    prop_assert!(chunk.start < chunk.end && chunk.end <= size);
                    prop_assert!(chunk.end == size || chunk.end % LIMITS.block == 0);
                }
            }
        }
    }
}
