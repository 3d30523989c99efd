use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::b2::retry::Refusal;

const REFUSED: Outcome = Outcome::Refused(None);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// As many calls as may begin at once.
fn begin_all(congestion: &mut Congestion, now: Duration) -> Vec<Ticket> {
    std::iter::from_fn(|| congestion.begin(now).ok()).collect()
}

fn refused(status: u16, retry_after: Option<Duration>) -> Result<(), FailedTry> {
    Err(FailedTry::Refused(Refusal {
        status,
        retry_after,
        ..Refusal::default()
    }))
}

#[test]
fn at_the_start_every_place_is_free() {
    let mut congestion = Congestion::new(240, None);
    assert_eq!(begin_all(&mut congestion, ms(0)).len(), 240);
}

#[test]
fn calls_that_were_refused_together_halve_once() {
    let mut congestion = Congestion::new(240, None);
    let mut calls = begin_all(&mut congestion, ms(0));
    for call in calls.split_off(20) {
        congestion.end(call, REFUSED, ms(50));
    }
    for call in calls {
        congestion.end(call, Outcome::Fine, ms(50));
    }
    assert_eq!(begin_all(&mut congestion, ms(51)).len(), 120);
}

#[test]
fn what_was_under_way_is_halved_not_what_was_allowed() {
    let mut congestion = Congestion::new(240, None);
    let calls: Vec<_> = (0..32).map(|_| congestion.begin(ms(0))).collect();
    for (n, call) in calls.into_iter().flatten().enumerate() {
        // Those that worked are gone before the first refusal comes.
        let outcome = if n < 20 { Outcome::Fine } else { REFUSED };
        congestion.end(call, outcome, ms(50 + n as u64));
    }
    assert_eq!(begin_all(&mut congestion, ms(90)).len(), 16);
}

#[test]
fn the_most_calls_of_the_last_second_or_two_are_remembered() {
    let mut peak = Peak::default();
    peak.saw(32, ms(100));
    peak.saw(3, ms(1100));
    assert_eq!(peak.recent(ms(1200)), 32);
    assert_eq!(peak.recent(ms(2200)), 3);
    assert_eq!(peak.recent(ms(3300)), 0);
    peak.saw(5, ms(3400));
    assert_eq!(peak.recent(ms(3500)), 5);
    assert_eq!(peak.recent(ms(6000)), 0);
}

#[test]
fn a_chance_refusal_of_few_calls_leaves_room_for_some() {
    let mut congestion = Congestion::new(240, None);
    let call = congestion.begin(ms(0)).expect("begins");
    congestion.end(call, REFUSED, ms(9));
    assert_eq!(begin_all(&mut congestion, ms(10)).len(), FEW / 2);
}

#[test]
fn refusals_without_end_leave_one_call_at_a_time() {
    let mut congestion = Congestion::new(240, None);
    for n in 0..20 {
        let calls = begin_all(&mut congestion, ms(n));
        assert!(!calls.is_empty());
        for call in calls {
            congestion.end(call, REFUSED, ms(n));
        }
    }
    assert_eq!(begin_all(&mut congestion, ms(20)).len(), 1);
    assert_eq!(congestion.refusing(ms(20)), ms(20));
}

#[test]
fn success_brings_all_places_back() {
    let mut congestion = Congestion::new(240, None);
    for call in begin_all(&mut congestion, ms(0)) {
        congestion.end(call, REFUSED, ms(0));
    }
    let mut rounds = 0;
    let places = loop {
        let calls = begin_all(&mut congestion, ms(rounds));
        let places = calls.len();
        for call in calls {
            congestion.end(call, Outcome::Fine, ms(rounds));
        }
        if places == 240 {
            break rounds;
        }
        rounds += 1;
    };
    // A quarter of a place each time, from 120.
    assert!((470..=490).contains(&places), "{places}");
    assert_eq!(congestion.refusing(ms(rounds)), Duration::ZERO);
}

#[test]
fn all_hold_back_as_long_as_b2_asks() {
    let mut congestion = Congestion::new(240, None);
    let call = congestion.begin(ms(0)).expect("begins");
    congestion.end(call, Outcome::Refused(Some(ms(3000))), ms(10));
    assert_eq!(congestion.begin(ms(3009)), Err(ms(3010)));
    assert!(congestion.begin(ms(3010)).is_ok());
}

#[test]
fn who_lasts_long_or_is_forgotten_keeps_nobody_out() {
    let mut congestion = Congestion::new(1, None);
    let slow = congestion.begin(ms(5)).expect("begins");
    assert_eq!(congestion.begin(ms(1004)), Err(ms(1005)));
    congestion.begin(ms(1005)).expect("begins");
    congestion.end(slow, Outcome::Fine, ms(1006));
    assert_eq!(congestion.begin(ms(1007)), Err(ms(2005)));
}

#[test]
fn no_more_than_the_cap_begin_in_any_second() {
    let mut congestion = Congestion::new(240, Some(3));
    let mut begun = Vec::new();
    for now in (0..5000).step_by(7) {
        if let Ok(call) = congestion.begin(ms(now)) {
            begun.push(now);
            congestion.end(call, Outcome::Fine, ms(now));
        }
    }
    assert!(begun.windows(4).all(|four| four[3] - four[0] >= 1000));
    assert!(begun.len() >= 15, "{begun:?}");
}

#[test]
fn a_full_pod_is_no_overload_but_a_third_one_is() {
    let busy = refused(503, None);
    for (call, tries, outcome) in [
        (Call::UploadFile, 1, Outcome::Other),
        (Call::UploadPart, 2, Outcome::Other),
        (Call::UploadPart, 3, REFUSED),
        (Call::ListFileNames, 1, REFUSED),
        (Call::GetUploadUrl, 1, REFUSED),
    ] {
        assert_eq!(Outcome::of(call, tries, &busy), outcome, "{call:?} {tries}");
    }
    let slow_down = refused(429, Some(ms(7000)));
    let told = Outcome::Refused(Some(ms(7000)));
    assert_eq!(Outcome::of(Call::UploadFile, 1, &slow_down), told);
    let broken = refused(500, None);
    assert_eq!(Outcome::of(Call::HideFile, 1, &broken), Outcome::Other);
    assert_eq!(Outcome::of(Call::HideFile, 1, &Ok(())), Outcome::Fine);
}

/// So many callers, each of which makes so many calls one after another, at a server that takes 50 ms for each and 500 in
/// a second, and refuses the others; who is refused comes again after a second. Gives how many were refused, and the end.
fn storm(callers: usize, each: usize, limited: bool) -> (usize, Duration) {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Ends(usize, Ticket, bool),
        Asks(usize),
        Time,
    }
    let places = if limited { callers } else { usize::MAX };
    let mut congestion = Congestion::new(places, None);
    let mut left = vec![each; callers];
    let mut waiting = VecDeque::new();
    let mut served = VecDeque::new();
    let (mut refusals, mut last) = (0, Duration::ZERO);
    let mut events: BinaryHeap<_> = (0..callers)
        .map(|caller| Reverse((Duration::ZERO, Event::Asks(caller))))
        .collect();
    while let Some(Reverse((now, event))) = events.pop() {
        match event {
            Event::Asks(caller) => waiting.push_back(caller),
            Event::Time => {}
            Event::Ends(caller, ticket, true) => {
                last = now;
                congestion.end(ticket, Outcome::Fine, now);
                left[caller] -= 1;
                if left[caller] > 0 {
                    waiting.push_back(caller);
                }
            }
            Event::Ends(caller, ticket, false) => {
                refusals += 1;
                if limited {
                    congestion.end(ticket, REFUSED, now);
                }
                events.push(Reverse((now + ms(1000), Event::Asks(caller))));
            }
        }
        while let Some(&caller) = waiting.front() {
            match congestion.begin(now) {
                Ok(ticket) => {
                    waiting.pop_front();
                    while served.front().is_some_and(|at| *at + ms(1000) <= now) {
                        served.pop_front();
                    }
                    let fine = served.len() < 500;
                    if fine {
                        served.push_back(now);
                    }
                    events.push(Reverse((now + ms(50), Event::Ends(caller, ticket, fine))));
                }
                Err(later) => {
                    events.push(Reverse((later, Event::Time)));
                    break;
                }
            }
        }
    }
    assert!(left.iter().all(|left| *left == 0));
    (refusals, last)
}

#[test]
fn a_crowd_finds_the_rate_that_the_server_grants() {
    let calls = 240 * 25;
    let share = |refusals: usize| refusals as f64 / (calls + refusals) as f64;
    let (before, _) = storm(240, 25, false);
    assert!(share(before) > 0.2, "{before} refused without a limit");
    let (refusals, end) = storm(240, 25, true);
    assert!(share(refusals) < 0.1, "{refusals} refused");
    // Nor is the server left idle: 12 seconds are the least.
    assert!(end < ms(24_000), "{end:?}");
}

proptest! {
    #[test]
    fn somebody_may_always_begin_and_never_more_than_there_are_places(
        most in 1..300_usize,
        cap in proptest::option::of(1..100_usize),
        steps in proptest::collection::vec((0..5_u8, 0..400_u64, any::<prop::sample::Index>()), 1..400)
    ) {
        let mut congestion = Congestion::new(most, cap);
        let (mut now, mut under_way) = (Duration::ZERO, Vec::new());
        for (what, later, which) in steps {
            now += ms(later / 4);
            if what < 2 || under_way.is_empty() {
                match congestion.begin(now) {
                    Ok(ticket) => under_way.push(ticket),
                    Err(next) => {
                        prop_assert!(next > now);
                        // Whatever others do, the time comes; hold, lease and cap may follow each other.
                        let mut at = next;
                        for _ in 0..4 {
                            match congestion.begin(at) {
                                Ok(ticket) => { under_way.push(ticket); break }
                                Err(next) => { prop_assert!(next > at); at = next }
                            }
                        }
                        prop_assert!(congestion.begin(at + ms(3000)).map(|t| under_way.push(t)).is_ok());
                        now = at + ms(3000);
                    }
                }
            } else {
                let ticket = under_way.swap_remove(which.index(under_way.len()));
                let outcome = match what {
                    2 => Outcome::Fine,
                    3 => Outcome::Refused((later % 2 == 0).then_some(ms(later))),
                    _ => Outcome::Other,
                };
                congestion.end(ticket, outcome, now);
            }
            prop_assert!(congestion.running.len() <= most);
            prop_assert!((1.0..=most as f64).contains(&congestion.limit));
        }
    }
}
