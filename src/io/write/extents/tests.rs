use super::*;
use crate::b2::FileId;
use crate::io::Version;
use crate::io::memory::budget::{Budget, Want};
use crate::io::read::records::{Record, Records};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u64, Vec<u8>),
    Small(u64, Vec<u8>),
    Follow(Vec<u8>),
    Truncate(u64),
    Sent(u64, u64),
    /// From a version's offset to an offset.
    Copy(u64, u64, u64),
    /// As much as follows it in the version, behind the last copy.
    CopyOn(u64),
    Zeros(u64, u64),
    /// Behind the last zeros.
    ZerosOn(u64),
    Stored,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(1u8..100, 1..40);
    prop_oneof![
        (0u64..200, bytes()).prop_map(|(at, data)| Step::Put(at, data)),
        (0u64..200, bytes()).prop_map(|(at, data)| Step::Small(at, data)),
        bytes().prop_map(Step::Follow),
        (0u64..240).prop_map(Step::Truncate),
        (0u64..200, 1u64..40).prop_map(|(at, len)| Step::Sent(at, len)),
        (0u64..1000, 0u64..200, 1u64..40).prop_map(|(from, at, len)| Step::Copy(from, at, len)),
        (1u64..40).prop_map(Step::CopyOn),
        (0u64..200, 1u64..40).prop_map(|(at, len)| Step::Zeros(at, len)),
        (1u64..40).prop_map(Step::ZerosOn),
        Just(Step::Stored),
    ]
}

/// What the copied version holds at an offset.
fn copied(at: u64) -> u8 {
    100 + (at % 100) as u8
}

fn version() -> Arc<Record> {
    Records::new(1).intern(Version {
        id: FileId::new("version"),
        size: 4000,
        sha1: None,
    })
}

fn pay(budget: &Arc<Budget>) -> Reservation {
    let room = budget.try_reserve(Want::Write, EXTENT_COST);
    room.expect("little is used")
}

fn small(overlay: &mut Overlay, budget: &Arc<Budget>, at: u64, data: &[u8], seq: u64) {
    if !overlay.put_open(at, data, seq) {
        let capacity = data.len() * 2;
        let room = budget
            .try_reserve(Want::Write, capacity as u64 + EXTENT_COST)
            .expect("small");
        overlay.open(at, data, OpenBuffer::new(capacity, room), seq);
    }
}

proptest! {
    #[test]
    fn the_overlay_shows_what_was_written_last(steps in proptest::collection::vec(step(), 1..60)) {
        let budget = Budget::new(32 << 20);
        let mut overlay = Overlay::default();
        let version = version();
        let mut next = (0, 0);
        let mut hole = 0;
        // None: unchanged; Some((byte, seq)); byte 0 stands for sent, 255 for zeros.
        let mut model: Vec<Option<(u8, u64)>> = vec![None; 400];
        let mut end = 0u64;
        for (seq, step) in (1u64..).zip(&steps) {
            let mut set = |at: u64, data: &[u8]| {
                for (i, &byte) in data.iter().enumerate() {
                    model[at as usize + i] = Some((byte, seq));
                }
            };
            match step {
                Step::Put(at, data) => {
                    overlay.put(*at, Bytes::from(data.clone()), seq);
                    set(*at, data);
                    end = at + data.len() as u64;
                }
                Step::Small(at, data) => {
                    small(&mut overlay, &budget, *at, data, seq);
                    set(*at, data);
                    end = at + data.len() as u64;
                }
                Step::Follow(data) => {
                    let at = end.min(300);
                    small(&mut overlay, &budget, at, data, seq);
                    set(at, data);
                    end = at + data.len() as u64;
                }
                Step::Truncate(size) => {
                    overlay.truncate(*size);
                    model[*size as usize..].fill(None);
                }
                Step::Sent(at, len) => {
                    overlay.mark_sent(*at..at + len);
                    // Only what is in memory leaves it.
                    for place in &mut model[*at as usize..(*at + *len) as usize] {
                        *place = place.map(|(byte, seq)| match byte {
                            1..100 => (0, seq),
                            other => (other, seq),
                        });
                    }
                }
                Step::Copy(..) | Step::CopyOn(_) => {
                    let (from, at, len) = match step {
                        Step::Copy(from, at, len) => (*from, *at, *len),
                        Step::CopyOn(len) => (next.0, next.1.min(300), *len),
                        _ => unreachable!(),
                    };
                    let stored = StoredRange::new(&version, from..from + len).held();
                    overlay.put_stored(at, stored, seq, pay(&budget));
                    let bytes: Vec<u8> = (from..from + len).map(copied).collect();
                    set(at, &bytes);
                    next = (from + len, at + len);
                }
                Step::Zeros(..) | Step::ZerosOn(_) => {
                    let (at, len) = match step {
                        Step::Zeros(at, len) => (*at, *len),
                        Step::ZerosOn(len) => (hole.min(300), *len),
                        _ => unreachable!(),
                    };
                    overlay.put_zeros(at, len, seq, pay(&budget));
                    set(at, &vec![255; len as usize]);
                    hole = at + len;
                }
                Step::Stored => {
                    // What lies in one buffer has the age of its last byte.
                    overlay.freeze();
                    overlay.drop_stored(u64::MAX, seq);
                    model.fill(None);
                }
            }
            let mut shown = Vec::new();
            for piece in overlay.pieces(0..400) {
                match piece {
                    Piece::Data(bytes) => shown.extend(bytes.iter().map(|&b| Some(b))),
                    Piece::Sent(len) => shown.extend((0..len).map(|_| Some(0))),
                    Piece::Stored(stored) => {
                        shown.extend(stored.range.map(|at| Some(copied(at))));
                    }
                    Piece::Zero(len) => shown.extend((0..len).map(|_| Some(255))),
                    Piece::Gap(len) => shown.extend((0..len).map(|_| None)),
                }
            }
            let want: Vec<Option<u8>> = model.iter().map(|m| m.map(|m| m.0)).collect();
            prop_assert_eq!(&shown, &want);
            let unsent = want.iter().filter(|b| matches!(b, Some(1..100))).count() as u64;
            prop_assert_eq!(overlay.unsent(), unsent);
            let first = want.iter().position(|b| matches!(b, Some(1..100)));
            prop_assert_eq!(overlay.first_unsent(), first.map(|first| first as u64));
            let held = overlay.map.values().filter(|e| !matches!(e.kind, Kind::Sent)).count();
            prop_assert_eq!(overlay.weight(), unsent + held as u64 * EXTENT_COST);
            let changed: Vec<usize> = (0..400).filter(|at| want[*at].is_some()).collect();
            let one = changed.last().is_some_and(|last| last - changed[0] + 1 == changed.len());
            prop_assert_eq!(overlay.is_one_run(), one);
            for size in [0, 50, 120, 300] {
                let sent = want[..size as usize].contains(&Some(0));
                prop_assert_eq!(overlay.has_sent_before(size), sent);
            }
            let run = overlay.run_end(50) - 50;
            let expect = want[50..].iter().take_while(|b| matches!(b, Some(1..100))).count();
            prop_assert_eq!(run, expect as u64);
        }
        drop(overlay);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn copies_that_follow_one_another_are_one() {
    let budget = Budget::new(32 << 20);
    let version = version();
    let mut overlay = Overlay::default();
    let copy = |overlay: &mut Overlay, range: Range<u64>, at, seq| {
        overlay.put_stored(at, StoredRange::new(&version, range), seq, pay(&budget));
    };
    for i in 0..10 {
        copy(&mut overlay, i * 100..i * 100 + 100, 7 + i * 100, i + 1);
    }
    assert_eq!((overlay.map.len(), budget.used()), (1, EXTENT_COST));
    copy(&mut overlay, 1000..1100, 1200, 11);
    copy(&mut overlay, 1000..1100, 1300, 12);
    assert_eq!(overlay.map.len(), 3, "elsewhere, and from elsewhere");
    // A commit under way stores what was there when it began, and not more.
    overlay.freeze();
    copy(&mut overlay, 1100..1200, 1400, 13);
    overlay.drop_stored(u64::MAX, 12);
    assert_eq!(
        overlay.pieces(1300..1500).collect::<Vec<_>>(),
        [
            Piece::Gap(100),
            Piece::Stored(StoredRange::new(&version, 1100..1200))
        ]
    );
    assert_eq!(overlay.weight(), EXTENT_COST);
}

#[test]
fn zeros_that_follow_one_another_are_one() {
    let budget = Budget::new(32 << 20);
    let mut overlay = Overlay::default();
    for i in 0..10 {
        overlay.put_zeros(i * 100, 100, i + 1, pay(&budget));
    }
    assert_eq!((overlay.map.len(), budget.used()), (1, EXTENT_COST));
    // A commit under way stores what was there when it began, and not more.
    overlay.freeze();
    overlay.put_zeros(1000, 100, 11, pay(&budget));
    overlay.drop_stored(u64::MAX, 10);
    let left = [Piece::Gap(1000), Piece::Zero(100)];
    assert_eq!(overlay.pieces(0..1100).collect::<Vec<_>>(), left);
    assert_eq!(budget.used(), EXTENT_COST);
}

#[test]
fn what_was_rewritten_since_a_snapshot_survives_it() {
    let mut overlay = Overlay::default();
    overlay.put(0, Bytes::from_static(b"aaaaaaaaaa"), 1);
    overlay.put(3, Bytes::from_static(b"bb"), 2);
    overlay.drop_stored(u64::MAX, 1);
    assert_eq!(
        overlay.pieces(0..10).collect::<Vec<_>>(),
        [
            Piece::Gap(3),
            Piece::Data(Bytes::from_static(b"bb")),
            Piece::Gap(5)
        ]
    );
}

#[test]
fn small_writes_in_a_row_share_one_buffer() {
    let budget = Budget::new(32 << 20);
    let mut overlay = Overlay::default();
    let room = budget
        .try_reserve(Want::Write, (1 << 20) + EXTENT_COST)
        .expect("empty");
    overlay.open(0, &[1; 4096], OpenBuffer::new(1 << 20, room), 1);
    for i in 1..256 {
        assert!(overlay.put_open(i * 4096, &[1; 4096], i));
    }
    assert_eq!((overlay.map.len(), overlay.unsent()), (1, 1 << 20));
    assert!(!overlay.put_open(1 << 20, &[1], 300), "full");
}

#[test]
fn a_buffer_closed_early_gives_back_what_it_does_not_use() {
    let budget = Budget::new(32 << 20);
    let mut overlay = Overlay::default();
    let room = budget
        .try_reserve(Want::Write, (1 << 20) + EXTENT_COST)
        .expect("empty");
    overlay.open(0, &[1; 4096], OpenBuffer::new(1 << 20, room), 1);
    overlay.freeze();
    assert_eq!(budget.used(), 4096 + EXTENT_COST);
}

#[test]
fn what_was_never_in_memory_is_not_sent_either() {
    let mut overlay = Overlay::default();
    overlay.mark_sent(0..1);
    assert_eq!(overlay.pieces(0..1).collect::<Vec<_>>(), [Piece::Gap(1)]);
}

/// What a sequence of writes costs to ask after is the same whatever was written before: 100,000 extents, of which each is
/// looked at with each write, take many minutes else.
#[test]
fn what_is_asked_at_each_write_takes_no_longer_the_more_there_is() {
    const COUNT: u64 = 100_000;
    let ask = |overlay: &Overlay, at: u64| {
        assert!(overlay.first_unsent().is_some());
        assert!(overlay.run_end(0) <= COUNT * 10);
        assert!(!overlay.has_sent_before(u64::MAX));
        assert!(overlay.unsent() > 0 && overlay.weight() > 0);
        assert_eq!(overlay.pieces(at..at + 1).count(), 1);
        overlay.is_one_run()
    };
    let byte = Bytes::from_static(b"x");
    // Forwards, backwards, and with holes between them.
    for (stride, backwards) in [(1, false), (1, true), (10, false)] {
        let mut overlay = Overlay::default();
        for i in 0..COUNT {
            let at = if backwards { COUNT - 1 - i } else { i } * stride;
            overlay.put(at, byte.clone(), i + 1);
            assert_eq!(ask(&overlay, at), stride == 1 || i == 0);
        }
        assert_eq!(overlay.map.len() as u64, COUNT);
        // Written over, in any order.
        for i in 0..COUNT {
            let at = i * 7919 % COUNT * stride;
            overlay.put(at, byte.clone(), COUNT + i + 1);
            ask(&overlay, at);
        }
        assert_eq!(
            overlay.count(0..COUNT * stride) as u64,
            if stride == 1 { COUNT } else { 2 * COUNT }
        );
        // Cut from the end, a byte at a time.
        for i in (1..COUNT).rev() {
            overlay.truncate(i * stride);
            ask(&overlay, 0);
        }
        assert_eq!(overlay.map.len(), 1);
    }
}

#[test]
fn what_left_first_is_not_looked_through() {
    const COUNT: u64 = 100_000;
    let mut overlay = Overlay::default();
    for i in 0..COUNT {
        overlay.put(i * 2, Bytes::from_static(b"x"), i + 1);
    }
    // Each part that has landed, however short.
    for i in 0..COUNT - 1 {
        overlay.mark_sent(i * 2..i * 2 + 1);
        assert_eq!(overlay.first_unsent(), Some(i * 2 + 2));
        assert_eq!(overlay.run_end(0), 0);
        assert!(overlay.has_sent_before(1) && !overlay.has_sent_before(0));
    }
}
