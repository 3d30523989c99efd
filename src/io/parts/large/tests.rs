use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::io::parts::plan::{self, MIN_PART, Run, Source};

const MB: u64 = 1_000_000;

fn sha1(byte: u8) -> Sha1 {
    Sha1([byte; 20])
}

#[derive(Debug, Clone)]
enum Event {
    Write(u64),
    Rewrite(u64),
    Cut(u64),
    Grow,
    Land(usize, bool),
    Close,
    /// The commit goes on until it ends: every part lands, then the answer to finish.
    Finish(Answer),
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Done,
    DoneButLost,
    Refused,
    NeverCame,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let answer = prop_oneof![
        Just(Answer::Done),
        Just(Answer::DoneButLost),
        Just(Answer::Refused),
        Just(Answer::NeverCame),
    ];
    let event = prop_oneof![
        4 => (1..30 * MB).prop_map(Event::Write),
        2 => (0..100 * MB).prop_map(Event::Rewrite),
        1 => (0..100 * MB).prop_map(Event::Cut),
        4 => Just(Event::Grow),
        4 => (0usize..12, prop::bool::weighted(0.7)).prop_map(|(i, ok)| Event::Land(i, ok)),
        2 => Just(Event::Close),
        2 => answer.prop_map(Event::Finish),
        2 => Just(Event::Fail),
    ];
    prop::collection::vec(event, 1..60)
}

/// A content made of one run, and B2: both know at which change a byte range was written last.
struct World {
    large: Large,
    size: u64,
    seq: u64,
    /// Changes: where, and which.
    changes: Vec<(Range<u64>, u64)>,
    /// Bytes that are in memory no more.
    given_back: Vec<Range<u64>>,
    /// What B2 holds under a number: range, and the last change at the time of sending.
    held: BTreeMap<usize, (Range<u64>, u64)>,
    /// The last change in what is on its way.
    flying: BTreeMap<usize, u64>,
    finished: bool,
}

impl World {
    fn launch(&mut self, index: usize) {
        let range = self.large.step(index).expect("a part").range().clone();
        let lost = self
            .given_back
            .iter()
            .any(|gone| gone.start < range.end && gone.end > range.start);
        assert!(!lost, "part {index} cannot be sent any more: {range:?}");
        self.large.launch(index);
        self.flying.insert(index, self.seq);
    }

    fn land(&mut self, index: usize, sha1: Option<Sha1>) {
        let Some(seq) = self.flying.remove(&index) else {
            return;
        };
        let range = self.large.step(index).expect("a part").range().clone();
        // Also a part that is told as failed may be there.
        self.held.insert(index, (range, seq));
        self.given_back.extend(self.large.landed(index, sha1));
    }

    fn land_all(&mut self) {
        while let Some((&index, _)) = self.flying.first_key_value() {
            self.land(index, Some(sha1(index as u8)));
        }
    }

    fn close(&mut self) {
        let issued = self.large.issued();
        assert!(self.size > issued, "{} of {issued}", self.size);
        let run = Run {
            source: Source::Data,
            len: self.size - issued,
        };
        let steps = plan::parts(
            issued,
            [run].into_iter(),
            plan::Sizes::new(MIN_PART, 8 * MB),
            10_000,
            self.large.lacking(),
        );
        self.large.close(steps, self.size, self.seq, true);
    }

    fn reopen(&mut self) {
        let changes = self.changes.clone();
        let back = self.large.reopen(|range, seq| {
            changes
                .iter()
                .any(|(at, change)| *change > seq && at.start < range.end && at.end > range.start)
        });
        self.given_back.extend(back);
    }

    /// As B2 does: every number it has is in the list, and each is what the list says.
    fn finish(&mut self, hashes: &[Sha1]) {
        assert_eq!(
            self.held.keys().copied().collect::<Vec<_>>(),
            (0..hashes.len()).collect::<Vec<_>>()
        );
        let end = self.large.finishing().expect("asked");
        let mut at = 0;
        for (index, (range, seq)) in &self.held {
            assert_eq!(range.start, at, "part {index}");
            at = range.end;
            let len = range.end - range.start;
            assert!(
                len >= MIN_PART || index + 1 == hashes.len(),
                "part {index} has {len}"
            );
            let stale = self.changes.iter().any(|(place, change)| {
                *change > *seq
                    && *change <= end.seq
                    && place.start < range.end
                    && place.end > range.start
            });
            assert!(!stale, "part {index} is older than what is stored");
        }
        assert_eq!(at, end.size);
        self.finished = true;
    }
}

proptest! {
    #[test]
    fn whatever_fails_the_parts_in_b2_are_those_of_the_list(events in events()) {
        let mut world = World {
            large: Large::growing(FileId::new("large"), MIN_PART, Vec::new(), 0),
            size: 6 * MB,
            seq: 1,
            changes: vec![(0..6 * MB, 1)],
            given_back: Vec::new(),
            held: BTreeMap::new(),
            flying: BTreeMap::new(),
            finished: false,
        };
        for event in events {
            match event {
                Event::Write(len) => {
                    world.seq += 1;
                    world.changes.push((world.size..world.size + len, world.seq));
                    world.size += len;
                }
                Event::Rewrite(at) if at < world.size && at >= world.large.issued() => {
                    world.seq += 1;
                    world.changes.push((at..at + 1, world.seq));
                }
                Event::Cut(size) if size < world.size && size > world.large.least_size() => {
                    world.size = size;
                    world.seq += 1;
                }
                Event::Grow if world.large.may_grow() => {
                    let issued = world.large.issued();
                    if world.size > issued + MIN_PART {
                        let index = world.large.add(issued..issued + MIN_PART);
                        world.launch(index);
                    }
                }
                Event::Land(index, ok) => world.land(index, ok.then(|| sha1(index as u8))),
                // Below that it is no large file, see `Content::store`.
                Event::Close if world.large.is_growing() && world.size > 2 * MIN_PART => world.close(),
                Event::Fail if !world.large.is_growing() && world.large.finishing().is_none() => {
                    world.land_all();
                    world.reopen();
                }
                Event::Finish(answer) if world.large.is_closing() => {
                    world.land_all();
                    for index in world.large.missing() {
                        // Of the tail, what is stored is what was there when it closed: sent from a snapshot.
                        world.launch(index);
                        let closed = match world.large.phase {
                            Phase::Closing(end) => end.seq,
                            _ => unreachable!(),
                        };
                        if index >= world.large.issued_parts() {
                            world.flying.insert(index, closed);
                        }
                    }
                    world.land_all();
                    let hashes = world.large.finish().expect("all are there");
                    prop_assert!(hashes.len() >= 2);
                    match answer {
                        Answer::Done | Answer::DoneButLost => {
                            world.finish(&hashes);
                            prop_assert!(world.large.finishing().is_some());
                            return Ok(());
                        }
                        Answer::Refused | Answer::NeverCame => world.reopen(),
                    }
                }
                _ => {}
            }
        }
    }
}

impl Large {
    fn issued_parts(&self) -> usize {
        match self.phase {
            Phase::Growing => self.parts.len(),
            Phase::Closing(end) | Phase::Finishing(end) => end.grown,
        }
    }
}

#[test]
fn a_failed_commit_leaves_its_parts_to_the_next() {
    let mut large = Large::growing(FileId::new("large"), MIN_PART, Vec::new(), 0);
    let first = large.add(0..8 * MB);
    large.launch(first);
    assert_eq!(large.landed(first, Some(sha1(1))), Some(0..8 * MB));
    let tail = vec![Step::Send(8 * MB..16 * MB), Step::Send(16 * MB..17 * MB)];
    large.close(tail, 17 * MB, 5, true);
    for index in [1, 2] {
        large.launch(index);
        // Not given back: the commit may fail, and then what was changed meanwhile is sent again.
        assert_eq!(large.landed(index, Some(sha1(2))), None);
    }
    let back = large.reopen(|_, _| false);
    assert!(back.iter().eq(std::iter::once(&(8 * MB..16 * MB))));
    assert_eq!(
        (large.issued(), large.len(), large.lacking()),
        (16 * MB, 2, 1)
    );
    assert!(large.may_grow());
}

#[test]
fn every_number_that_was_used_is_overwritten() {
    let mut large = Large::growing(FileId::new("large"), MIN_PART, Vec::new(), 0);
    large.close(
        vec![
            Step::Send(0..5 * MB),
            Step::Send(5 * MB..10 * MB),
            Step::Send(10 * MB..11 * MB),
        ],
        11 * MB,
        5,
        true,
    );
    for index in 0..3 {
        large.launch(index);
        large.landed(index, None);
    }
    assert!(large.finish().is_none(), "two have not come");
    // The first byte has changed since: nothing of it can stay.
    assert!(large.reopen(|range, _| range.start == 0).is_empty());
    assert_eq!((large.len(), large.lacking()), (0, 3));
    assert!(!large.may_grow());
    assert_eq!(large.least_size(), 2 * MIN_PART);
}
