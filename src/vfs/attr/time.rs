//! Times in 64 bits: nanoseconds as far as these reach, from 1678 to 2262, and whole seconds beyond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970 between -[`LAST`] and [`LAST`]; beyond, each number is a second more, so that times are ordered as
/// their numbers are.
pub(in crate::vfs) type Nanos = i64;

/// Seconds on either side that can be said beyond the nanoseconds: 139,000 years.
const BEYOND: i64 = 1 << 42;
const LAST: i64 = i64::MAX - BEYOND;
const SECOND: i64 = 1_000_000_000;

/// Seconds since 1970 and nanoseconds within the second.
pub(in crate::vfs) fn of_parts(seconds: i64, nanos: u32) -> Nanos {
    let exact = i128::from(seconds) * i128::from(SECOND) + i128::from(nanos);
    match i64::try_from(exact) {
        Ok(exact) if exact.unsigned_abs() <= LAST.unsigned_abs() => exact,
        _ if seconds > 0 => {
            let beyond = seconds.saturating_sub(LAST / SECOND);
            (LAST + 1).saturating_add(beyond)
        }
        _ => {
            let beyond = seconds.saturating_add(LAST / SECOND + 1);
            (-LAST - 1).saturating_add(beyond)
        }
    }
}

/// The reverse of [`of_parts`].
pub(in crate::vfs) fn parts(time: Nanos) -> (i64, u32) {
    if time > LAST {
        (LAST / SECOND + (time - LAST - 1), 0)
    } else if time < -LAST {
        (time + LAST + 1 - LAST / SECOND - 1, 0)
    } else {
        (time.div_euclid(SECOND), time.rem_euclid(SECOND) as u32)
    }
}

/// From milliseconds since 1970, and nanoseconds within the millisecond.
pub(in crate::vfs) fn of_millis(millis: i64, nanos: u32) -> Nanos {
    let within = millis.rem_euclid(1000) as u32 * 1_000_000 + nanos;
    of_parts(millis.div_euclid(1000), within)
}

/// Milliseconds since 1970, and nanoseconds within the millisecond.
pub(in crate::vfs) fn millis(time: Nanos) -> (i64, u32) {
    let (seconds, nanos) = parts(time);
    let millis = seconds.saturating_mul(1000) + i64::from(nanos / 1_000_000);
    (millis, nanos % 1_000_000)
}

/// Now.
pub(in crate::vfs) fn now() -> Nanos {
    to_nanos(SystemTime::now())
}

pub(in crate::vfs) fn to_nanos(time: SystemTime) -> Nanos {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            of_parts(seconds, after.subsec_nanos())
        }
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            match before.subsec_nanos() {
                0 => of_parts(seconds, 0),
                nanos => of_parts(seconds.saturating_sub(1), SECOND as u32 - nanos),
            }
        }
    }
}

/// The reverse of [`to_nanos`].
pub(in crate::vfs) fn to_time(time: Nanos) -> SystemTime {
    let (seconds, nanos) = parts(time);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 {
        UNIX_EPOCH - whole
    } else {
        UNIX_EPOCH + whole
    };
    second + Duration::from_nanos(nanos.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Years 1 and 9999.
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

    #[test]
    fn what_ends_and_begins_at_the_bounds_is_told() {
        let last = LAST / SECOND;
        for (seconds, nanos, kept) in [
            (0, 1, 1),
            (last - 1, 999_999_999, 999_999_999),
            (last + 1, 5, 0),
            (-last, 1, 1),
            (-last - 2, 5, 0),
            (10_413_792_000, 0, 0),  // 2300
            (-14_831_769_600, 0, 0), // 1500
        ] {
            assert_eq!(
                parts(of_parts(seconds, nanos)),
                (seconds, kept),
                "{seconds}"
            );
        }
        assert_eq!(of_parts(i64::MAX, 0), i64::MAX);
        assert_eq!(of_parts(i64::MIN, 0), i64::MIN);
        for extreme in [i64::MAX, i64::MIN] {
            assert_eq!(to_nanos(to_time(extreme)), extreme);
        }
    }

    proptest! {
        #[test]
        fn every_number_is_a_time(time in any::<i64>()) {
            let (seconds, nanos) = parts(time);
            prop_assert_eq!(of_parts(seconds, nanos), time);
            prop_assert_eq!(to_nanos(to_time(time)), time);
            let (millis, rest) = millis(time);
            prop_assert_eq!(of_millis(millis, rest), time);
        }

        #[test]
        fn times_are_ordered_as_their_numbers(a in YEARS, b in YEARS, nanos in 0u32..1_000_000_000) {
            let (first, second) = (of_parts(a, nanos), of_parts(b, nanos));
            prop_assert_eq!(a.cmp(&b), first.cmp(&second));
            prop_assert_eq!(parts(first).0, a);
        }
    }
}
