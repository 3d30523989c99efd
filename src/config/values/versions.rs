//! Values that say what becomes of versions.

use std::str::FromStr;
use std::time::Duration;

use super::{Period, Wrong, from_text, wrong};
use crate::vfs;

read_from_text!(OverwriteHow Youth StoreOpen);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What overwriting a file does with its old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverwriteHow(pub vfs::Overwrite);

impl FromStr for OverwriteHow {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "keep" => Ok(Self(vfs::Overwrite::Keep)),
            "replace" => Ok(Self(vfs::Overwrite::Replace)),
            _ => wrong(format!(
                "{text:?} is not known: write keep (the old version stays) or replace (it is deleted)"
            )),
        }
    }
}

/// How young a version is that goes when it is replaced; zero: none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Youth(pub Duration);

impl FromStr for Youth {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(Duration::ZERO));
        }
        match text.parse() {
            Ok(Period(within)) if within > DAY => {
                wrong(format!("{text} is out of range: write 0, or up to 24h"))
            }
            Ok(Period(within)) => Ok(Self(within)),
            Err(_) => wrong(format!(
                "{text:?} is not a time: write 0, or how young versions are that go when they are replaced, 5m say"
            )),
        }
    }
}

/// After what time what was appended to a file that stays open is stored; `None`: at its close only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOpen(pub Option<Duration>);

impl FromStr for StoreOpen {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Period(interval)) if interval.is_zero() => Ok(Self(None)),
            // Each costs calls, and perhaps a copy of all that is there.
            Ok(Period(interval)) if interval < Duration::from_secs(1) || interval > DAY => {
                wrong(format!("{text} is out of range: write off, or 1s to 24h"))
            }
            Ok(Period(interval)) => Ok(Self(Some(interval))),
            Err(_) => wrong(format!(
                "{text:?} is not a time: write off, or the time after which open files are stored, 60s say"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_stays_or_goes() {
        let read = |text: &str| text.parse::<OverwriteHow>().map(|how| how.0).ok();
        assert_eq!(read("keep"), Some(vfs::Overwrite::Keep));
        assert_eq!(read("replace"), Some(vfs::Overwrite::Replace));
        for bad in ["", "purge", "Replace", "yes"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn open_files_are_stored_after_a_time_or_not() {
        let read = |text: &str| text.parse::<StoreOpen>().map(|open| open.0).ok();
        for off in ["off", "no", "0"] {
            assert_eq!(read(off), Some(None), "{off}");
        }
        assert_eq!(read("60s"), Some(Some(Duration::from_secs(60))));
        for bad in ["10ms", "25h", "-1s", "soon", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn young_is_a_time_of_at_most_a_day() {
        let read = |text: &str| text.parse::<Youth>().map(|within| within.0).ok();
        for off in ["0", "0s", "off", "no"] {
            assert_eq!(read(off), Some(Duration::ZERO), "{off}");
        }
        assert_eq!(read("5m"), Some(Duration::from_secs(300)));
        assert_eq!(read("24h"), Some(DAY));
        for bad in ["25h", "-1s", "young", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
