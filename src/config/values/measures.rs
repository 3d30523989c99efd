//! Sizes and times: numbers with units.

use crate::b2::BANDWIDTH_MIN;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use super::{Wrong, wrong};

const MIB: u64 = 1 << 20;

/// Less holds neither one part of a large file nor a useful read-ahead.
const MEMORY_MIN: u64 = 32 * MIB;
/// B2's bounds of a part (API §6) and of an upload in one call (API §5).
const PART_MIN: u64 = 5_000_000;
const UPLOAD_MAX: u64 = 5_000_000_000;

/// A number of bytes: `512MiB`, `64K` (1024 each), `100MB` (1000 each), or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let hint = || {
            wrong(format!(
                "{text:?} is not a size: write bytes or a unit, 512MiB say"
            ))
        };
        let (number, unit) = split_unit(text);
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return hint(),
        };
        match scaled(number, factor) {
            Some(bytes) => Ok(Self(bytes)),
            None => hint(),
        }
    }
}

/// Bytes and unit; the unit starts at the first letter.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    (text[..at].trim(), &text[at..])
}

/// `number * factor` for a decimal number with at most one point; `None` on overflow and nonsense.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let product = number.parse::<f64>().ok()? * factor as f64;
    (product < u64::MAX as f64).then_some(product as u64)
}

macro_rules! bounded_size {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type(pub u64);
        impl FromStr for $type {
            type Err = Wrong;
            fn from_str(text: &str) -> Result<Self, Wrong> {
                let Size(bytes) = text.parse()?;
                let check: fn(u64) -> Option<&'static str> = $check;
                match check(bytes) {
                    None => Ok(Self(bytes)),
                    Some(rule) => wrong(format!("{text} is out of range: write {rule}")),
                }
            }
        }
    };
}

bounded_size!(
    /// The ceiling of `memory`.
    Memory,
    |bytes| (bytes < MEMORY_MIN).then_some("at least 32MiB")
);
bounded_size!(
    /// The size of a large file's parts.
    PartSize,
    |bytes| (!(PART_MIN..=UPLOAD_MAX).contains(&bytes)).then_some("5MB to 5GB, B2's bounds")
);
bounded_size!(
    /// The largest file that is sent in one call.
    LargeFile,
    |bytes| (!(PART_MIN..=UPLOAD_MAX).contains(&bytes)).then_some("5MB to 5GB, B2's bounds")
);

/// Bytes of content a second; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth(pub Option<NonZeroU64>);

impl FromStr for Bandwidth {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Size(bytes)) if bytes < BANDWIDTH_MIN => wrong(format!(
                "{text} is out of range: write off, or 16KiB or more"
            )),
            Ok(Size(bytes)) => Ok(Self(NonZeroU64::new(bytes))),
            Err(_) => wrong(format!(
                "{text:?} is not a size: write off, or the bytes that may pass in a second, 2MiB say"
            )),
        }
    }
}

/// Bytes that the filesystem is said to have; `None` for as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(pub Option<NonZeroU64>);

impl FromStr for Quota {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Size(bytes @ 1..)) => Ok(Self(NonZeroU64::new(bytes))),
            _ => wrong(format!(
                "{text:?} is not a size: write off, or the size that df(1) is to show, 1TB say"
            )),
        }
    }
}

/// Calls a second; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate(pub Option<NonZeroU32>);

/// More, no account is granted (API §13).
const REQUESTS_MAX: u32 = 10_000;

impl FromStr for RequestRate {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(rate @ 1..=REQUESTS_MAX) => Ok(Self(NonZeroU32::new(rate))),
            _ => wrong(format!(
                "{text:?} is out of range: write off, or 1 to {REQUESTS_MAX}"
            )),
        }
    }
}

/// A time: `30s`, `500ms`, `2m`, `1h`, or a plain number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let (number, unit) = split_unit(text);
        let factor = match unit {
            "ms" => Some(1),
            "" | "s" => Some(1_000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        match factor.and_then(|factor| scaled(number, factor)) {
            Some(millis) => Ok(Self(Duration::from_millis(millis))),
            None => wrong(format!(
                "{text:?} is not a time: write seconds or a unit, 30s say"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_of_1024_and_of_1000() {
        let read = |text: &str| text.parse::<Size>().map(|s| s.0).ok();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("4096"), Some(4096));
        assert_eq!(read("512MiB"), Some(512 << 20));
        assert_eq!(read("512 mib"), Some(512 << 20));
        assert_eq!(read("64K"), Some(65_536));
        assert_eq!(read("100MB"), Some(100_000_000));
        assert_eq!(read("1.5GiB"), Some(3 << 29));
        for bad in [
            "",
            "MiB",
            "-1",
            "+1",
            "1e3",
            "5 apples",
            "1.2.3",
            "99999999999T",
            "nan",
            "inf",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_take_units_and_are_seconds_without() {
        let read = |text: &str| text.parse::<Period>().map(|s| s.0.as_millis()).ok();
        assert_eq!(read("30"), Some(30_000));
        assert_eq!(read("30s"), Some(30_000));
        assert_eq!(read("250ms"), Some(250));
        assert_eq!(read("1.5s"), Some(1_500));
        assert_eq!(read("2m"), Some(120_000));
        assert_eq!(read("1h"), Some(3_600_000));
        for bad in ["", "s", "-3s", "1 fortnight"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_are_off_or_a_number() {
        let bandwidth = |text: &str| text.parse::<Bandwidth>().map(|b| b.0.map(NonZeroU64::get));
        assert_eq!(bandwidth("off"), Ok(None));
        assert_eq!(bandwidth("2MiB"), Ok(Some(2 << 20)));
        assert_eq!(bandwidth("16K"), Ok(Some(16 << 10)));
        for bad in ["0", "1", "16KB", "2 MiB/s", "fast", "-1", ""] {
            let wrong = bandwidth(bad).expect_err(bad).to_string();
            assert!(wrong.contains("write off, or"), "{wrong}");
        }
        let rate = |text: &str| {
            text.parse::<RequestRate>()
                .map(|r| r.0.map(NonZeroU32::get))
        };
        assert_eq!(rate("off"), Ok(None));
        assert_eq!(rate("1"), Ok(Some(1)));
        assert_eq!(rate("10000"), Ok(Some(10_000)));
        for bad in ["0", "10001", "-1", "1.5", "many", ""] {
            let wrong = rate(bad).expect_err(bad).to_string();
            assert!(wrong.contains("write off, or"), "{wrong}");
        }
    }
}
