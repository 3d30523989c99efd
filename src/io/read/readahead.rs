//! When to read ahead, and how far: the decision only, without clock, socket or cache.
//!
//! A run is a stretch that is read forward almost without gaps. The kernel sends the requests of
//! one run out of order, so a read counts as part of the run while it lies near its frontier.
//! A run that starts at the head of the file with a large read opens a window at once, any other with the read that
//! follows the first one. The window grows whenever a reader has had to wait although it was open, so that it is as
//! large as the line needs and no larger; and what is asked for stays a small multiple of what a program has
//! certainly read, since most files are opened for their first bytes. Of a small file all the rest is asked for.
//! Random, backward and strided reads never open a window. One descriptor may have several runs.

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
const FIRST_WINDOW: u64 = 512 << 10;
/// Below it, a window that is too small quadruples: each round trip counts.
const STEADY: u64 = 8 << 20;
/// A file up to this size is wanted as a whole by whoever goes on with a second read.
const WHOLE: u64 = 4 << 20;
/// What a run whose reads come out of order must read before its window opens.
const PROOF: u64 = 512 << 10;
/// A first read of this size at the head of a file is a program that copies.
const BOLD_READ: u64 = 64 << 10;
/// What may be asked for beyond [`TIMES`] what was read.
const GIVEN: u64 = 256 << 10;
/// What is asked for of a run is at most so many times what a program has read of it.
const TIMES: u64 = 4;
const MIN_CHUNK: u64 = 512 << 10;
const MAX_CHUNK: u64 = 16 << 20;
/// The density of a run is judged by about this much of its last bytes.
const MEMORY: u64 = 32 << 20;
/// Positions that one descriptor reads on at, in turns.
const RUNS: usize = 3;
/// A run is over when so many reads in a row were elsewhere.
const ELSEWHERE: u32 = 8;

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
    /// What was asked for ahead is not wanted any more: the parts of it that are still unread.
    pub(in crate::io) abandon: Vec<Range<u64>>,
    /// Fetch these, in this order.
    pub(in crate::io) fetch: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Default)]
pub(in crate::io) struct ReadAhead {
    /// The one that was read of last comes first.
    runs: Vec<Run>,
}

#[derive(Debug, Clone)]
struct Run {
    /// Where the judged stretch starts.
    start: u64,
    /// End of the furthest read.
    frontier: u64,
    /// Bytes read in the judged stretch.
    read: u64,
    /// All that the run has advanced.
    advanced: u64,
    /// Length of the first read, and of the last two: the kernel may have asked for these before the program did.
    first: u64,
    last: [u64; 2],
    window: u64,
    /// The frontier when the window grew last.
    grown: u64,
    /// Up to where bytes were asked for ahead.
    issued: u64,
    /// Reads of others since one of this.
    elsewhere: u32,
}

impl Run {
    fn new(offset: u64, len: u64) -> Self {
        let bold = offset == 0 && len >= BOLD_READ;
        Self {
            start: offset,
            frontier: offset + len,
            read: len,
            advanced: len,
            first: len,
            last: [0, len],
            window: if bold { FIRST_WINDOW } else { 0 },
            grown: offset + len,
            issued: 0,
            elsewhere: 0,
        }
    }

    fn holds(&self, offset: u64) -> bool {
        offset + LATE >= self.frontier
            && (offset <= self.frontier + SLACK
                || offset < self.issued && offset <= self.frontier + EARLY)
    }

    /// `waits`: its reader waits for bytes of it.
    fn add(&mut self, offset: u64, len: u64, size: u64, waits: bool) {
        let follows = offset == self.frontier;
        let frontier = self.frontier.max(offset + len);
        self.advanced += frontier - self.frontier;
        self.frontier = frontier;
        self.last = [self.last[1], len];
        self.elsewhere = 0;
        self.read += len;
        let advance = self.frontier - self.start;
        // Reads of the same bytes again do not make a run longer.
        self.read = self.read.min(advance);
        let dense = self.read * 4 >= advance * 3;
        if !dense {
            self.window = 0;
        } else if self.window == 0 {
            if follows || self.read >= PROOF {
                self.window = FIRST_WINDOW;
                self.grown = self.frontier;
            }
        } else if waits && self.frontier >= self.grown + self.window / 2 {
            self.window *= if self.window < STEADY { 4 } else { 2 };
            self.grown = self.frontier;
        }
        if self.window > 0 && size <= WHOLE {
            self.window = WHOLE;
        }
        if advance > MEMORY {
            self.start += advance / 2;
            self.read /= 2;
        }
    }

    /// How far beyond the frontier the program's reads warrant it: what the kernel asked for last it may have asked
    /// for by itself.
    fn warranted(&self) -> u64 {
        let certain = self.advanced.saturating_sub(self.last[0] + self.last[1]);
        let certain = certain.max(self.first / 4);
        (TIMES * certain + GIVEN).saturating_sub(self.advanced)
    }

    fn unread(&self) -> Option<Range<u64>> {
        (self.issued > self.frontier).then_some(self.frontier..self.issued)
    }

    /// Nothing more is wanted of it.
    fn end(&mut self) -> Option<Range<u64>> {
        let unread = self.unread();
        self.window = 0;
        self.issued = 0;
        unread
    }
}

impl ReadAhead {
    /// Tells of a read (not empty) of a file of `size` bytes. `waits`: not all of its bytes are there.
    pub(in crate::io) fn on_read(
        &mut self,
        offset: u64,
        len: u64,
        size: u64,
        limits: Limits,
        waits: bool,
    ) -> Advice {
        let mut advice = Advice::default();
        let follows = self.runs.iter().position(|run| run.frontier == offset);
        let near = || self.runs.iter().position(|run| run.holds(offset));
        if let Some(at) = follows.or_else(near) {
            self.runs[..=at].rotate_right(1);
            let run = &mut self.runs[0];
            run.add(offset, len, size, waits);
            if run.window == 0 {
                advice.abandon.extend(run.end());
            }
        } else {
            if self.runs.len() == RUNS {
                advice
                    .abandon
                    .extend(self.runs.pop().and_then(|mut run| run.end()));
            }
            self.runs.insert(0, Run::new(offset, len));
        }
        for other in self.runs.iter_mut().skip(1) {
            other.elsewhere += 1;
            if other.elsewhere == ELSEWHERE {
                advice.abandon.extend(other.end());
            }
        }
        if let Some(run) = self.runs.first_mut() {
            run.window = run.window.min(limits.window);
            advice.fetch = issue(run, size, limits);
        }
        advice
    }

    /// The chunk that starts here, and all after it, could not be fetched now.
    pub(in crate::io) fn refused(&mut self, at: u64) {
        if let Some(run) = self.runs.first_mut() {
            run.issued = run.issued.min(at);
        }
    }

    /// What was asked for and not read yet.
    pub(in crate::io) fn unread(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().filter_map(Run::unread)
    }

    /// Up to where a sequential reader is done with the file.
    pub(in crate::io) fn behind(&self) -> Option<u64> {
        let open = self.runs.iter().filter(|run| run.window > 0);
        let behind = open.map(|run| run.frontier.saturating_sub(2 * LATE));
        behind.min()
    }

    /// Whether the run that was read of last has a window.
    pub(in crate::io) fn is_open(&self) -> bool {
        self.runs.first().is_some_and(|run| run.window > 0)
    }
}

fn issue(run: &mut Run, size: u64, limits: Limits) -> Vec<Range<u64>> {
    let mut chunks = Vec::new();
    if run.window == 0 {
        return chunks;
    }
    let block = limits.block;
    let window = if size <= WHOLE {
        run.window
    } else {
        run.window.min(run.warranted())
    };
    let target = (run.frontier + window).min(size);
    // Twice as many chunks as streams: one that is done finds the next already waiting.
    let chunk = (window / (2 * limits.streams.max(1)))
        .clamp(MIN_CHUNK, MAX_CHUNK)
        .min(run.window / 2)
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
#[path = "readahead/tests.rs"]
mod tests;
