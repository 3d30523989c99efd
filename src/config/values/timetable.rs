//! Limits that change by the clock.

use std::str::FromStr;

use super::{Bandwidth, Wrong, from_text, wrong};
use crate::mount::{Change, Timetable};

read_from_text!(Rate);

/// Bytes of content a second: `2MiB`, `off`, or what holds from when on, as rclone writes it:
/// `08:00,512K 19:00,off`, `Mon-08:00,1M Sat-00:00,off`. Times are local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate(pub Timetable);

impl FromStr for Rate {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.contains(',') {
            return text
                .parse()
                .map(|Bandwidth(limit)| Self(Timetable::always(limit)));
        }
        let changes: Vec<Change> = text
            .split_whitespace()
            .map(change)
            .collect::<Result<_, _>>()?;
        Timetable::of(&changes).map_or_else(
            || wrong("empty: write off, or 2MiB say"),
            |table| Ok(Self(table)),
        )
    }
}

fn change(text: &str) -> Result<Change, Wrong> {
    let hint = || {
        wrong(format!(
            "{text:?} is no change: write a time and a rate, \"08:00,512K\" or \"Mon-08:00,512K\" say"
        ))
    };
    let Some((when, rate)) = text.split_once(',') else {
        return hint();
    };
    let (weekday, time) = match when.split_once('-') {
        Some((day, time)) => match weekday(day) {
            Some(day) => (Some(day), time),
            None => return hint(),
        },
        None => (None, when),
    };
    let Some(minute) = minute(time) else {
        return hint();
    };
    let Bandwidth(limit) = rate.parse()?;
    Ok(Change {
        weekday,
        minute,
        limit,
    })
}

/// Monday is 0.
fn weekday(text: &str) -> Option<u8> {
    const DAYS: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let text = text.to_ascii_lowercase();
    let day = DAYS
        .iter()
        .position(|day| text.len() >= 3 && day.starts_with(&text))?;
    u8::try_from(day).ok()
}

/// `19:30` in minutes since midnight.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: u16| -> Option<u16> {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number < most)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_rate_holds_always() {
        for (text, limit) in [("off", None), ("2MiB", NonZeroU64::new(2 << 20))] {
            let Rate(table) = text.parse().expect(text);
            assert_eq!(table, Timetable::always(limit));
        }
    }

    #[test]
    fn a_timetable_is_read_as_rclone_reads_it() {
        let Rate(table) = "08:00,512K 19:30,off".parse().expect("a timetable");
        let slow = NonZeroU64::new(512 << 10);
        for (minute, limit) in [(0, None), (480, slow), (1169, slow), (1170, None)] {
            assert_eq!(table.at(minute), limit, "{minute}");
        }
        let Rate(table) = "Mon-08:00,1M saturday-00:00,off"
            .parse()
            .expect("a timetable");
        assert_eq!(table.at(8 * 60), NonZeroU64::new(1 << 20));
        assert_eq!(table.at(5 * 24 * 60), None);
        for wrong in [
            "08:00,512K 19:00",
            "24:00,1M",
            "8:60,1M",
            "Mo-08:00,1M",
            "Day-08:00,1M",
            "08:00,1",
            "08:00,",
            ",1M",
            ",",
            "+8:00,1M",
            "08:00,1M,2M",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_a_timetable_or_an_error(
            words in proptest::collection::vec("([A-Za-z]{1,9}-)?[0-9:]{0,6},[0-9]{1,4}[KMG]?|off|[ -~é]{0,9}", 0..4),
        ) {
            let text = words.join(" ");
            match text.parse::<Rate>() {
                Ok(Rate(table)) => {
                    let week = 7 * 24 * 60;
                    prop_assert!((0..week).step_by(61).all(|minute| table.at(minute).is_none_or(|rate| rate.get() >= 1024)));
                }
                Err(why) => prop_assert!(!why.to_string().contains('\n')),
            }
        }
    }
}
