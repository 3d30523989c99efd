//! The values that an option, a variable or config.yaml can hold, each read from text by one rule.
//!
//! Every type refuses nonsense itself and says what to write instead, so that the message is the same
//! wherever the value stands, and config.yaml can add file and line. Nothing here looks at other values.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

use crate::mount::messages::Format;
use crate::mount::{DrainTimeout, RescueTo};
use crate::vfs;

pub(super) use address::Address;
pub use key::{KeyCommand, KeyFile, KeySecret};
pub use measures::{Bandwidth, LargeFile, Memory, PartSize, Period, Quota, RequestRate, Size};
pub(super) use timetable::Rate;
pub use versions::{OverwriteHow, StoreOpen, Youth};

/// What a wrong value should have been, in words that follow the value's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub(super) String);

fn wrong<T>(text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(text.into()))
}

/// Reads a type from the plain text of a YAML scalar, so that `022` and `0012` keep their digits.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Text<T>(PhantomData<T>);
    impl<T> Visitor<'_> for Text<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one value on one line")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(PhantomData))
}

macro_rules! read_from_text {
    ($($type:ident)*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    )*};
}

mod address;
mod key;
mod measures;
mod timetable;
mod versions;

read_from_text!(Size Memory PartSize LargeFile Bandwidth Quota RequestRate Period Umask Switch Count Id Endpoint Prefix Word DeleteHow Rights LinkHow NamesHow WriteBack DrainLimit RescueDir FilePath LogFormat Address);

/// Permission bits that are taken away, in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umask(pub u32);

impl FromStr for Umask {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o777 && !digits.starts_with('+') => Ok(Self(bits)),
            _ => wrong(format!(
                "{text:?} is not a umask: write three octal digits, \"022\" say"
            )),
        }
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Self(true)),
            "false" | "no" | "off" => Ok(Self(false)),
            _ => wrong(format!(
                "{text:?} is neither yes nor no: write true or false"
            )),
        }
    }
}

/// How many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.parse() {
            Ok(count @ 1..=256) => Ok(Self(count)),
            _ => wrong(format!("{text:?} is out of range: write 1 to 256")),
        }
    }
}

/// A user's or a group's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub u32);

impl FromStr for Id {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.parse() {
            // The highest number means "unchanged" to chown(2).
            Ok(id) if id != u32::MAX => Ok(Self(id)),
            _ => wrong(format!(
                "{text:?} is not a number of a user or group: write one, 1000 say"
            )),
        }
    }
}

/// Where the API is: `https://host[:port]`, or plain http on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl FromStr for Endpoint {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let url = text.trim_end_matches('/');
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if rest.is_empty() || !rest.chars().all(plain) {
            return wrong(
                "not an address: write https:// and a host, https://api.backblazeb2.com say",
            );
        }
        match scheme {
            "https" => Ok(Self(url.to_owned())),
            "http" if is_loopback(rest) => Ok(Self(url.to_owned())),
            "http" => wrong(format!(
                "{text} would send the key unencrypted: write https://{rest} (plain http is for this machine only)"
            )),
            _ => wrong(format!("{text:?} is not an address: write https://{rest}")),
        }
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The directory of the bucket that is mounted: empty, or ending with `/`, never starting with one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix(pub String);

impl FromStr for Prefix {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let path = text.trim_matches('/');
        if path.is_empty() {
            return Ok(Self::default());
        }
        let unfit = |segment: &str| matches!(segment, "" | "." | "..") || segment.len() > 255;
        if path.len() > 1000 || path.chars().any(char::is_control) || path.split('/').any(unfit) {
            return wrong(format!(
                "{text:?} is not a directory of a bucket: write names with / between them, backup/home say"
            ));
        }
        Ok(Self(format!("{path}/")))
    }
}

/// A file's path; a relative one starts in the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl FromStr for FilePath {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match std::path::absolute(text) {
            Ok(path) => Ok(Self(path)),
            Err(_) => wrong("empty: write the file's path or leave it out"),
        }
    }
}

/// A word without blanks: a key's id, a bucket's name or id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(pub String);

impl FromStr for Word {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let text = text.trim();
        if text.is_empty() {
            return wrong("empty: write the value or leave it out");
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
            return wrong("must be one word without blanks and colons");
        }
        Ok(Self(text.to_owned()))
    }
}

/// What removing a file does to its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteHow(pub vfs::Delete);

impl FromStr for DeleteHow {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "hide" => Ok(Self(vfs::Delete::Hide)),
            "purge" => Ok(Self(vfs::Delete::Purge)),
            _ => wrong(format!(
                "{text:?} is not known: write hide (older versions stay) or purge (all versions go)"
            )),
        }
    }
}

/// Whether files have permissions and owners of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(pub vfs::Permissions);

impl FromStr for Rights {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "keep" => Ok(Self(vfs::Permissions::Keep)),
            "ignore" => Ok(Self(vfs::Permissions::Ignore)),
            _ => wrong(format!(
                "{text:?} is not known: write keep (each file has its own) or ignore (all show the defaults)"
            )),
        }
    }
}

/// What link(2) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkHow(pub vfs::HardLinks);

impl FromStr for LinkHow {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "refuse" => Ok(Self(vfs::HardLinks::Refuse)),
            "copy" => Ok(Self(vfs::HardLinks::Copy)),
            _ => wrong(format!(
                "{text:?} is not known: write refuse (link(2) fails) or copy (it makes a file of its own)"
            )),
        }
    }
}

/// What becomes of names that B2 refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamesHow(pub vfs::Names);

impl FromStr for NamesHow {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "refuse" => Ok(Self(vfs::Names::Refuse)),
            "encode" => Ok(Self(vfs::Names::Encode)),
            _ => wrong(format!(
                "{text:?} is not known: write refuse (they cannot be made) or encode (as rclone writes them)"
            )),
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFormat(pub Format);

impl FromStr for LogFormat {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "text" => Ok(Self(Format::Text)),
            "json" => Ok(Self(Format::Json)),
            _ => wrong(format!("{text:?} is not known: write text or json")),
        }
    }
}

/// How long after close a file is uploaded; `None`: before close returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBack(pub Option<Duration>);

/// Longer, nobody would remember what is still in memory only.
const WRITE_BACK_MAX: Duration = Duration::from_secs(24 * 3600);

impl FromStr for WriteBack {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Period(delay)) if delay > WRITE_BACK_MAX => {
                wrong(format!("{text} is out of range: write off, or up to 24h"))
            }
            Ok(Period(delay)) => Ok(Self((!delay.is_zero()).then_some(delay))),
            Err(_) => wrong(format!(
                "{text:?} is not a time: write off, or the time to wait after close, 5s say"
            )),
        }
    }
}

/// How long the end of a mount goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainLimit(pub DrainTimeout);

impl FromStr for DrainLimit {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "off" | "false" | "no") {
            return Ok(Self(DrainTimeout::Never));
        }
        match text.parse() {
            // So short, nothing would be tried.
            Ok(Period(limit)) if limit < Duration::from_secs(1) => {
                wrong(format!("{text} is out of range: write off, or 1s or more"))
            }
            Ok(Period(limit)) => Ok(Self(DrainTimeout::After(limit))),
            Err(_) => wrong(format!(
                "{text:?} is not a time: write off (until a second signal), or the time that the end may take, 1h say"
            )),
        }
    }
}

/// Where is written what cannot be stored at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescueDir(pub RescueTo);

impl FromStr for RescueDir {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "off" | "false" | "no" => Ok(Self(RescueTo::Off)),
            // From which directory a relative one counts, nobody would remember.
            dir if dir.starts_with('/') => Ok(Self(RescueTo::Dir(dir.into()))),
            _ => wrong(format!(
                "{text:?} is no directory: write off, or a path that begins with /"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_back_is_off_or_a_time() {
        let read = |text: &str| text.parse::<WriteBack>().map(|w| w.0).ok();
        for off in ["off", "no", "false", "0", "0s"] {
            assert_eq!(read(off), Some(None), "{off}");
        }
        assert_eq!(read("5s"), Some(Some(Duration::from_secs(5))));
        assert_eq!(read("24h"), Some(Some(WRITE_BACK_MAX)));
        for bad in ["25h", "-1s", "soon", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_drain_timeout_is_off_or_a_time() {
        let read = |text: &str| text.parse::<DrainLimit>().map(|limit| limit.0).ok();
        assert_eq!(read("off"), Some(DrainTimeout::Never));
        let hour = DrainTimeout::After(Duration::from_secs(3600));
        assert_eq!(read("1h"), Some(hour));
        for bad in ["0", "500ms", "-1s", "soon", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rescue_directory_is_off_or_absolute() {
        let read = |text: &str| text.parse::<RescueDir>().map(|dir| dir.0).ok();
        assert_eq!(read("off"), Some(RescueTo::Off));
        assert_eq!(read("/a b"), Some(RescueTo::Dir("/a b".into())));
        for bad in ["", "a", "./a", "~/a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        let ok = |text: &str| text.parse::<Endpoint>().map(|e| e.0).ok();
        assert_eq!(
            ok("https://api.backblazeb2.com/").as_deref(),
            Some("https://api.backblazeb2.com")
        );
        for good in [
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:9",
            "http://127.8.9.1",
        ] {
            assert_eq!(ok(good).as_deref(), Some(good));
        }
        for bad in [
            "http://api.backblazeb2.com",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "http://[::2]:9",
            "ftp://127.0.0.1",
            "api.backblazeb2.com",
            "https://",
            "https://host/path",
            "",
        ] {
            assert_eq!(ok(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_with_one_slash_and_starts_with_none() {
        let read = |text: &str| text.parse::<Prefix>().map(|p| p.0).ok();
        assert_eq!(read("").as_deref(), Some(""));
        assert_eq!(read("/").as_deref(), Some(""));
        assert_eq!(read("a/b").as_deref(), Some("a/b/"));
        assert_eq!(read("/a b/ü/").as_deref(), Some("a b/ü/"));
        for bad in ["a//b", "../x", "a/.", "a\nb"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_umask_is_octal() {
        let read = |text: &str| text.parse::<Umask>().map(|u| u.0).ok();
        assert_eq!(read("022"), Some(0o22));
        assert_eq!(read("0o077"), Some(0o77));
        assert_eq!(read("0"), Some(0));
        for bad in ["8", "1777", "+22", "", "rwx"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
