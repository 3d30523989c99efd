//! Limits of bytes a second that change by the clock: which one holds when, and who sees to it.
//!
//! [`Timetable`] is plain data without a clock; [`follow`] asks the machine's, in local time. A limit that somebody has set
//! meanwhile (`b2fuse limit`) holds until the timetable says the next one.

use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Weekday;

use super::control::{Bandwidth, Control, Limits};

/// Minutes of a week.
const WEEK: u16 = 7 * DAY;
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Bytes a second, or no limit.
pub(super) type Limit = Option<NonZeroU64>;

/// Which limit holds from which minute on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// Minutes since Monday 00:00, in order, each once; at least one.
    changes: Vec<(u16, Limit)>,
}

/// A moment of the week from which a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// `None`: each day. Monday is 0.
    pub weekday: Option<u8>,
    /// Minutes since midnight.
    pub minute: u16,
    /// What holds from then on.
    pub limit: Limit,
}

impl Timetable {
    /// One limit for all times.
    pub fn always(limit: Limit) -> Self {
        Self {
            changes: vec![(0, limit)],
        }
    }

    /// Of changes in any order; what stands later wins where two are of the same minute. `None` without any.
    pub fn of(changes: &[Change]) -> Option<Self> {
        let mut all: Vec<(u16, Limit)> = Vec::new();
        for change in changes {
            let days = match change.weekday {
                Some(day) => u16::from(day)..u16::from(day) + 1,
                None => 0..7,
            };
            for day in days {
                let at = (day * DAY + change.minute) % WEEK;
                all.retain(|(other, _)| *other != at);
                all.push((at, change.limit));
            }
        }
        all.sort_unstable_by_key(|(at, _)| *at);
        (!all.is_empty()).then_some(Self { changes: all })
    }

    /// What holds at a minute of the week.
    pub fn at(&self, minute: u16) -> Limit {
        let later = self.changes.partition_point(|(at, _)| *at <= minute);
        // Before the first change of a week, the last one of the week before holds.
        let change = match later {
            0 => self.changes.last(),
            later => self.changes.get(later - 1),
        };
        change.and_then(|(_, limit)| *limit)
    }

    /// Whether it ever changes.
    pub fn changes(&self) -> bool {
        self.changes.windows(2).any(|two| two[0].1 != two[1].1)
    }
}

/// What holds when, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetables {
    /// Of what is sent.
    pub up: Timetable,
    /// Of what is received.
    pub down: Timetable,
}

impl Timetables {
    /// What holds now.
    pub fn now(&self) -> (Limit, Limit) {
        let now = now();
        (self.up.at(now), self.down.at(now))
    }
}

/// The minute of the week, in local time.
fn now() -> u16 {
    let now = Zoned::now();
    let day = match now.weekday() {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    };
    let (hour, minute) = (now.hour().unsigned_abs(), now.minute().unsigned_abs());
    day * DAY + u16::from(hour) * 60 + u16::from(minute)
}

/// Sets the limits as they change, for as long as the mount lives. The clock may be set, and daylight saving begin: it is
/// looked at every quarter of a minute.
pub(super) async fn follow(tables: Timetables, control: Control) {
    const LOOK: Duration = Duration::from_secs(15);
    if !tables.up.changes() && !tables.down.changes() {
        return;
    }
    let mut held = tables.now();
    loop {
        tokio::time::sleep(LOOK).await;
        let (up, down) = tables.now();
        let changed = |now: Limit, before: Limit| (now != before).then(|| Bandwidth::from(now));
        let limits = Limits {
            up: changed(up, held.0),
            down: changed(down, held.1),
        };
        if limits != Limits::default() {
            let _ = control.limit(limits);
        }
        held = (up, down);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(bytes: u64) -> Limit {
        NonZeroU64::new(bytes)
    }

    fn at(weekday: Option<u8>, hour: u16, bytes: u64) -> Change {
        Change {
            weekday,
            minute: hour * 60,
            limit: limit(bytes),
        }
    }

    #[test]
    fn a_day_is_as_the_one_before() {
        let table = Timetable::of(&[at(None, 19, 0), at(None, 8, 5)]).expect("changes");
        for day in 0..7 {
            for (hour, bytes) in [(0, 0), (7, 0), (8, 5), (18, 5), (19, 0), (23, 0)] {
                assert_eq!(
                    table.at(day * DAY + hour * 60),
                    limit(bytes),
                    "{day} {hour}"
                );
            }
            assert_eq!(table.at(day * DAY + 8 * 60 - 1), limit(0));
        }
        assert!(table.changes());
        assert_eq!(Timetable::of(&[]), None);
        assert!(!Timetable::always(limit(3)).changes());
        assert_eq!(Timetable::always(limit(3)).at(5000), limit(3));
    }

    #[test]
    fn a_day_of_the_week_holds_until_the_next_change() {
        let changes = [at(Some(4), 18, 0), at(Some(0), 6, 5), at(Some(2), 6, 7)];
        let table = Timetable::of(&changes).expect("changes");
        let of = |day: u16, hour: u16| table.at(day * DAY + hour * 60);
        assert_eq!(of(0, 5), limit(0), "still the weekend");
        assert_eq!(
            (of(0, 6), of(1, 23), of(2, 6)),
            (limit(5), limit(5), limit(7))
        );
        assert_eq!(
            (of(4, 17), of(4, 18), of(6, 23)),
            (limit(7), limit(0), limit(0))
        );
        // A day of its own wins over what holds each day, where it stands behind that.
        let table = Timetable::of(&[at(None, 8, 5), at(Some(6), 8, 9)]).expect("changes");
        assert_eq!(table.at(6 * DAY + 8 * 60), limit(9));
        assert_eq!(table.at(5 * DAY + 8 * 60), limit(5));
    }

    proptest! {
        #[test]
        fn what_was_said_last_holds(
            changes in proptest::collection::vec((proptest::option::of(0u8..7), 0u16..DAY, 0u64..5), 1..6),
            minute in 0..WEEK,
        ) {
            let changes: Vec<Change> = changes
                .into_iter()
                .map(|(weekday, minute, bytes)| Change { weekday, minute, limit: limit(bytes) })
                .collect();
            let table = Timetable::of(&changes).expect("changes");
            // Back from that minute, the first that has a change.
            let found = (0..WEEK).find_map(|back| {
                let then = (minute + WEEK - back) % WEEK;
                let mut here = changes.iter().rev();
                here.find(|change| {
                    let day = change.weekday.is_none_or(|day| u16::from(day) == then / DAY);
                    day && change.minute == then % DAY
                })
            });
            prop_assert_eq!(table.at(minute), found.expect("one of a week").limit);
        }
    }
}
