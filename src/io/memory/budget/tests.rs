//! The budget: who gets memory, when, and how much.

use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn unsent_bytes_leave_the_reserve_to_reads() {
    let budget = Budget::new(32 * MIB);
    let write = budget
        .try_reserve(Want::Write, budget.write_limit())
        .expect("empty");
    assert_eq!(budget.try_reserve(Want::Write, 1).expect_err("full"), 0);
    assert_eq!(budget.try_reserve(Want::Ahead, 1).expect_err("full"), 0);
    let read = budget
        .try_reserve(Want::Demand, 12 * MIB)
        .expect("the reserve is free");
    assert_eq!(budget.used(), 32 * MIB);
    drop((write, read));
    assert_eq!((budget.used(), budget.peak()), (0, 32 * MIB));
}

#[test]
fn cached_bytes_are_reported_as_what_must_go() {
    let budget = Budget::new(32 * MIB);
    let mut cached = budget.try_reserve(Want::Demand, 30 * MIB).expect("empty");
    cached.turn(Use::Cached);
    assert_eq!(
        budget.try_reserve(Want::Write, 5 * MIB).expect_err("full"),
        3 * MIB
    );
    let mut waiting = budget.queue(Want::Write, 5 * MIB, 0);
    assert_eq!(budget.shortage(), [0, 3 * MIB]);
    assert!(waiting.try_recv().is_err());
    drop(cached.split(4 * MIB));
    assert_eq!(waiting.try_recv().expect("granted").bytes(), 5 * MIB);
}

#[test]
fn what_waits_is_counted_and_does_not_stop_the_first() {
    let budget = Budget::new(32 * MIB);
    let mut all = budget.try_reserve(Want::Write, 20 * MIB).expect("empty");
    let mut cached = budget.try_reserve(Want::Demand, 4 * MIB).expect("free");
    cached.turn(Use::Cached);
    let mut lined: Vec<_> = (0..100)
        .map(|_| budget.queue(Want::Write, MIB, 0))
        .collect();
    assert_eq!(budget.shortage(), [0, 4 * MIB], "blocks make room");
    drop(cached);
    drop(all.split(10 * MIB));
    let mut granted = 0;
    lined.retain_mut(|one| {
        let got = one.try_recv();
        granted += usize::from(got.is_ok());
        got.is_err()
    });
    assert_eq!(granted, 0, "10 MiB unsent, 100 MiB wait: as much as may be");
    drop(all);
    let mut held: Vec<_> = lined
        .iter_mut()
        .filter_map(|one| one.try_recv().ok())
        .collect();
    assert_eq!(held.len(), 5, "a fourth of what writes may take");
    // One by one all of them come to their turn.
    let mut turns = 0;
    while let Some(one) = held.pop() {
        drop(one);
        turns += 1;
        held.extend(lined.iter_mut().filter_map(|one| one.try_recv().ok()));
    }
    assert_eq!((turns, budget.used()), (100, 0));
}

#[test]
fn files_that_hold_most_are_finished_first_and_nobody_waits_for_ever() {
    let budget = Budget::new(32 * MIB);
    let all = budget.try_reserve(Want::Write, 20 * MIB).expect("empty");
    let mut lined: Vec<_> = (0..20)
        .map(|holds| budget.queue(Want::Write, 4 * MIB, holds * MIB))
        .collect();
    let mut order = Vec::new();
    let mut held = vec![all];
    while let Some(one) = held.pop() {
        drop(one);
        for (at, one) in lined.iter_mut().enumerate() {
            if let Ok(room) = one.try_recv() {
                order.push(at);
                held.push(room);
            }
        }
    }
    assert_eq!(order.len(), 20);
    assert_eq!(order[0], 0, "the one that has waited longest");
    let place = |at| order.iter().position(|one| *one == at).expect("served");
    assert!(place(19) < place(10) && place(10) < place(7), "{order:?}");
    assert!(place(1) < place(8), "{order:?}");
}

#[test]
fn waiters_are_served_in_order_and_readers_first() {
    let budget = Budget::new(32 * MIB);
    let all = budget.try_reserve(Want::Write, 20 * MIB).expect("empty");
    let rest = budget.try_reserve(Want::Demand, 12 * MIB).expect("free");
    let mut first = budget.queue(Want::Write, 2 * MIB, 0);
    let mut second = budget.queue(Want::Write, MIB, 0);
    let mut read = budget.queue(Want::Demand, 12 * MIB, 0);
    assert!(budget.try_reserve(Want::Write, 0).is_err(), "no overtaking");
    drop(rest);
    let got = read.try_recv().expect("granted");
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    drop((all, got));
    assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_waiter_that_left_holds_up_nobody() {
    let budget = Budget::new(32 * MIB);
    let all = budget.try_reserve(Want::Write, 20 * MIB).expect("empty");
    drop(budget.queue(Want::Write, 20 * MIB, 0));
    let mut second = budget.queue(Want::Write, MIB, 0);
    drop(all);
    let got = second.try_recv().expect("granted");
    assert_eq!(budget.used(), MIB);
    drop(got);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_grant_that_nobody_takes_comes_back() {
    let budget = Budget::new(32 * MIB);
    let all = budget.try_reserve(Want::Write, 20 * MIB).expect("empty");
    let waiting = budget.queue(Want::Write, 20 * MIB, 0);
    drop(all);
    assert_eq!(budget.used(), 20 * MIB);
    drop(waiting);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_last_slice_pays_back() {
    let budget = Budget::new(32 * MIB);
    let room = budget.try_reserve(Want::Write, 1000).expect("empty");
    let bytes = room.hold(vec![7; 1000]);
    let slice = bytes.slice(10..20);
    drop(bytes);
    assert_eq!(budget.used(), 1000);
    drop(slice);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_was_read_ahead_stays_before_writers_and_not_before_readers() {
    let budget = Budget::new(64 * MIB);
    let theirs = budget.write_limit() / AHEAD_SHARE;
    assert_eq!(budget.kept_ahead(Want::Write), 0, "nobody reads");
    budget.readers.store(1, Ordering::Relaxed);
    let fetch = budget.try_reserve(Want::Ahead, 5 * MIB).expect("empty");
    assert_eq!(budget.kept_ahead(Want::Write), theirs - 5 * MIB);
    assert_eq!(budget.kept_ahead(Want::Demand), 0);
    // While writers wait, all that is ahead stays within the part: what is on its way and what has come.
    let room = budget.write_limit() - theirs;
    let all = budget.try_reserve(Want::Write, room).expect("theirs");
    let waiting = budget.queue(Want::Write, MIB, 0);
    budget.unread.store(theirs - 6 * MIB, Ordering::Relaxed);
    drop(
        budget
            .try_reserve(Want::Ahead, MIB)
            .expect("within the part"),
    );
    assert!(budget.try_reserve(Want::Ahead, MIB + 1).is_err());
    assert_eq!(budget.windows(), theirs);
    drop((fetch, all, waiting));
    assert_eq!(budget.windows(), budget.write_limit() * 3 / 4);
}
