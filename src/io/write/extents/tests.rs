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
    Records::new().intern(Version {
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
                    let stored = Stored::new(&version, from..from + len).held();
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
                    overlay.drop_stored(seq);
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
            prop_assert_eq!(overlay.first_unsent().is_some(), first.is_some());
            let references = overlay.map.values().filter(|e| e.kind.is_reference()).count();
            prop_assert_eq!(overlay.weight(), unsent + references as u64 * EXTENT_COST);
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
        overlay.put_stored(at, Stored::new(&version, range), seq, pay(&budget));
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
    overlay.drop_stored(12);
    assert_eq!(
        overlay.pieces(1300..1500),
        [
            Piece::Gap(100),
            Piece::Stored(Stored::new(&version, 1100..1200))
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
    overlay.drop_stored(10);
    let left = [Piece::Gap(1000), Piece::Zero(100)];
    assert_eq!(overlay.pieces(0..1100), left);
    assert_eq!(budget.used(), EXTENT_COST);
}

#[test]
fn what_was_rewritten_since_a_snapshot_survives_it() {
    let mut overlay = Overlay::default();
    overlay.put(0, Bytes::from_static(b"aaaaaaaaaa"), 1);
    overlay.put(3, Bytes::from_static(b"bb"), 2);
    overlay.drop_stored(1);
    assert_eq!(
        overlay.pieces(0..10),
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
    assert_eq!(overlay.pieces(0..1), [Piece::Gap(1)]);
}
