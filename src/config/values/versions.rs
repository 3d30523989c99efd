//! Values that say what becomes of versions.

use std::str::FromStr;
use std::time::Duration;

use super::{Period, Wrong, from_text, wrong};
use crate::vfs;

read_from_text!(OverwriteHow Youth);

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
