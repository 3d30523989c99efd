//! Runs of reads, and what is asked for ahead of them.

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
        .flat_map(|(offset, len)| state.on_read(offset, len, size, LIMITS, true).fetch)
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
        for chunk in state.on_read(offset, len, size, LIMITS, true).fetch {
            // What was not asked for ahead comes with the read itself.
            assert_eq!(chunk.start, expected.max(offset + len));
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
    let mut read = |at: u64| state.on_read(at * MIB, MIB, 1 << 30, LIMITS, true);
    let order = (0..20).chain([21, 22, 23, 24, 25, 26, 27, 20, 28, 32, 29, 30, 31, 33]);
    let mut issued = 0;
    for at in order {
        let advice = read(at);
        assert_eq!(advice.abandon, [], "at {at}");
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
fn who_reads_elsewhere_gives_up_what_was_asked_for_ahead() {
    let mut state = ReadAhead::default();
    let advice = state.on_read(0, 128 * KIB, 1 << 30, LIMITS, true);
    let end = advice.fetch.last().expect("opened").end;
    for at in 0..u64::from(ELSEWHERE) {
        let advice = state.on_read((500 + 20 * (at % 2)) * MIB, 4096, 1 << 30, LIMITS, true);
        let last = at + 1 == u64::from(ELSEWHERE);
        assert_eq!(advice.abandon.len(), usize::from(last), "{at}");
        assert!(
            advice
                .abandon
                .iter()
                .all(|unread| *unread == (128 * KIB..end))
        );
        assert_eq!(advice.fetch, []);
    }
}

#[test]
fn two_positions_of_one_descriptor_are_both_read_ahead_of() {
    let mut state = ReadAhead::default();
    let (mut issued, mut abandoned) = (0, 0);
    for step in 0..100 {
        for place in [0, 500 * MIB] {
            let at = place + step * 256 * KIB;
            let advice = state.on_read(at, 256 * KIB, 1 << 30, LIMITS, true);
            issued += advice.fetch.iter().map(|c| c.end - c.start).sum::<u64>();
            abandoned += advice.abandon.len();
        }
    }
    assert_eq!(abandoned, 0);
    assert!(issued > 2 * 50 * MIB, "{issued}");
}

/// Reads as the kernel asks for them while a program reads the first bytes of a file, 1 MiB ahead at most.
fn by_the_kernel(program: u64) -> Vec<(u64, u64)> {
    let (mut asked, mut window, mut mark) = (64 * KIB, 64 * KIB, 16 * KIB);
    let mut reads = vec![(0, window)];
    while program > mark {
        window = (2 * window).min(MIB);
        reads.push((asked, window));
        mark = asked;
        asked += window;
    }
    reads
}

#[test]
fn reading_the_first_bytes_of_a_large_file_brings_few_others() {
    for program in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16 << 10] {
        let program = program * KIB;
        let reads = by_the_kernel(program);
        let asked: u64 = reads.iter().map(|(_, len)| len).sum();
        let ahead = ahead(reads, 1 << 30).last().map_or(0, |last| last.end);
        let most = asked.max(4 * program + 256 * KIB);
        assert!(ahead <= most, "{program}: {ahead} of {asked}");
    }
    // At once.
    for program in [64 * KIB, 128 * KIB, MIB] {
        let ahead = ahead([(0, program)], 1 << 30)
            .last()
            .map_or(0, |last| last.end);
        assert!(ahead <= 4 * program + 256 * KIB, "{program}: {ahead}");
    }
}

#[test]
fn of_a_small_file_all_the_rest_comes_with_the_second_read() {
    let mut state = ReadAhead::default();
    assert_eq!(state.on_read(0, 32 * KIB, 3 * MIB, LIMITS, true).fetch, []);
    let rest = state
        .on_read(32 * KIB, 32 * KIB, 3 * MIB, LIMITS, true)
        .fetch;
    assert_eq!(rest.first().map(|c| c.start), Some(64 * KIB));
    assert_eq!(rest.last().map(|c| c.end), Some(3 * MIB));
}

#[test]
fn a_window_grows_only_while_its_reader_waits() {
    let mut state = ReadAhead::default();
    let mut read = |at: u64, waits| {
        let advice = state.on_read(at * MIB, MIB, 1 << 30, LIMITS, waits);
        advice
            .fetch
            .last()
            .map_or(0, |last| last.end - (at + 1) * MIB)
    };
    let early = (0..20).map(|at| read(at, at < 3)).max().unwrap_or(0);
    assert!((2 * MIB..=8 * MIB).contains(&early), "{early}");
    let later = (20..200).map(|at| read(at, false)).max().unwrap_or(0);
    assert!(later <= early, "{later} after {early}");
    let slow = (200..300).map(|at| read(at, true)).max().unwrap_or(0);
    assert!(slow > 32 * MIB, "{slow}");
}

#[test]
fn what_was_refused_is_asked_for_again() {
    let mut state = ReadAhead::default();
    let read =
        |state: &mut ReadAhead, at| state.on_read(at * MIB, MIB, 1 << 30, LIMITS, true).fetch;
    for at in 0..4 {
        read(&mut state, at);
    }
    let first = read(&mut state, 4)[0].clone();
    state.refused(first.start);
    let again = read(&mut state, 5)[0].clone();
    assert_eq!(again.start, first.start.max(6 * MIB));
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
            for chunk in state.on_read(offset, len, size, LIMITS, true).fetch {
                prop_assert!(chunk.start < chunk.end && chunk.end <= size);
                prop_assert!(chunk.end == size || chunk.end % LIMITS.block == 0);
            }
        }
    }
}
