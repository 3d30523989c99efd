//! File info as other tools write it: s3fs keeps modes in decimal and times in seconds, `rclone --metadata` modes in octal
//! and times by RFC 3339. What cannot be read counts as absent.

use crate::b2::FileInfo;
use crate::vfs::attr::{MODE, Nanos, time};

/// Seconds since 1970, or RFC 3339.
const MTIME: &str = "mtime";
/// The same.
const ATIME: &str = "atime";
/// The same.
const CTIME: &str = "ctime";

/// The st_mode that stands in info: octal, as rclone and b2fuse write it, or decimal where that is none. Without type bits it
/// is that of a file. Its kind is one that Linux knows, and a directory's only if it is `directory` that asks: 41471 would be
/// one in octal, and is a symbolic link of s3fs.
pub(super) fn mode(info: &FileInfo, directory: bool) -> Option<u32> {
    let text = info.get(MODE)?;
    if text.len() > 7 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fits = |mode: &u32| is_mode(*mode) && (directory || mode & libc::S_IFMT != libc::S_IFDIR);
    let octal = u32::from_str_radix(text, 8).ok().filter(fits);
    octal.or_else(|| text.parse().ok().filter(fits))
}

/// A mode that Linux could show.
fn is_mode(mode: u32) -> bool {
    let kind = mode & libc::S_IFMT;
    let known = [
        0,
        libc::S_IFREG,
        libc::S_IFDIR,
        libc::S_IFLNK,
        libc::S_IFIFO,
        libc::S_IFSOCK,
        libc::S_IFCHR,
        libc::S_IFBLK,
    ];
    mode & !(libc::S_IFMT | 0o7777) == 0 && known.contains(&kind)
}

/// When the content was changed.
pub(super) fn mtime(info: &FileInfo) -> Option<Nanos> {
    time_in(info, MTIME)
}

/// When it was read last.
pub(super) fn atime(info: &FileInfo) -> Option<Nanos> {
    time_in(info, ATIME)
}

/// When content or attributes were changed: not after the upload, which is a change.
pub(super) fn ctime(info: &FileInfo, uploaded: Nanos) -> Option<Nanos> {
    time_in(info, CTIME).filter(|at| *at <= uploaded)
}

/// An owner or a group; the highest number means none.
pub(super) fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// Times that others read in an info that is handed on become those of the new version, in seconds with as many decimals
/// as there were. Where that does not fit into the room of the old text, the key goes: no time is better than a wrong one.
pub(super) fn bring_up(info: &mut FileInfo, mtime: Nanos, ctime: Nanos) {
    for (key, now) in [(MTIME, mtime), (CTIME, ctime)] {
        let Some(text) = info.get(key) else { continue };
        if time_in(info, key).is_none_or(|known| known == now) {
            continue;
        }
        let decimals = seconds(text).and_then(|_| Some(text.split_once('.')?.1.len()));
        match in_seconds(now, decimals.unwrap_or(0)) {
            Some(new) if new.len() <= text.len() => info.insert(key.to_owned(), new),
            _ => info.remove(key),
        };
    }
}

/// `None` before 1970.
fn in_seconds(at: Nanos, decimals: usize) -> Option<String> {
    let (seconds, nanos) = time::parts(at);
    let fraction = format!("{nanos:09}");
    match (u64::try_from(seconds).ok()?, decimals.min(fraction.len())) {
        (seconds, 0) => Some(seconds.to_string()),
        (seconds, decimals) => Some(format!("{seconds}.{}", &fraction[..decimals])),
    }
}

fn time_in(info: &FileInfo, key: &str) -> Option<Nanos> {
    let text = info.get(key)?;
    seconds(text).or_else(|| {
        let time: jiff::Timestamp = text.parse().ok()?;
        let within = u32::try_from(time.subsec_nanosecond().rem_euclid(1_000_000_000)).ok()?;
        let seconds = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
        Some(time::of_parts(seconds, within))
    })
}

/// Seconds since 1970, with a fraction or without.
fn seconds(text: &str) -> Option<Nanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanos = format!("{fraction:0<9}");
    let nanos: u32 = nanos.get(..9)?.parse().ok()?;
    if text.starts_with('-') && nanos > 0 {
        return Some(time::of_parts(whole.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some(time::of_parts(whole, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(key: &str, value: &str) -> FileInfo {
        [(key.to_owned(), value.to_owned())].into_iter().collect()
    }

    #[test]
    fn modes_of_other_tools_are_read() {
        for (text, read) in [
            ("33261", Some(0o100_755)),
            ("33188", Some(0o100_644)),
            ("41471", Some(0o120_777)),
            ("16877", Some(0o40_755)),
            ("40755", Some(0o40_755)),
            ("100644", Some(0o100_644)),
            ("0100644", Some(0o100_644)),
            ("120777", Some(0o120_777)),
            ("10640", Some(0o10_640)),
            ("644", Some(0o644)),
            ("4755", Some(0o4755)),
            ("70000", None),
            ("rwx", None),
            ("-1", None),
            ("99999", None),
            ("999999999999", None),
            ("", None),
        ] {
            let directory = read.is_some_and(|mode| mode & libc::S_IFMT == libc::S_IFDIR);
            assert_eq!(mode(&info(MODE, text), directory), read, "{text}");
            // What is a directory is none of an object.
            let object = mode(&info(MODE, text), false);
            assert_eq!(object, read.filter(|_| !directory), "{text}");
        }
    }

    #[test]
    fn what_means_both_is_a_directory_where_one_is_looked_at() {
        let shared = info(MODE, "42775");
        assert_eq!(mode(&shared, true), Some(0o42_775));
        assert_eq!(mode(&shared, false), Some(0o123_427));
    }

    #[test]
    fn times_of_other_tools_are_read() {
        const SECOND: i64 = 1_000_000_000;
        for (text, read) in [
            ("1609459200", Some(1_609_459_200 * SECOND)),
            ("1609459200.5", Some(1_609_459_200 * SECOND + SECOND / 2)),
            ("1609459200.123456789", Some(1_609_459_200_123_456_789)),
            ("-1.25", Some(-SECOND - SECOND / 4)),
            ("2021-01-01T00:00:00Z", Some(1_609_459_200 * SECOND)),
            (
                "2021-01-01T01:00:00.25+01:00",
                Some(1_609_459_200 * SECOND + SECOND / 4),
            ),
            ("yesterday", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(mtime(&info(MTIME, text)), read, "{text}");
        }
    }

    #[test]
    fn times_that_are_handed_on_are_those_of_the_new_version() {
        const AT: Nanos = 1_700_000_000_123_456_789;
        for (old, new) in [
            ("1609459200", Some("1700000000")),
            ("1609459200.25", Some("1700000000.12")),
            ("1609459200.123456789", Some("1700000000.123456789")),
            ("2021-01-01T00:00:00Z", Some("1700000000")),
            ("5", None),
            ("nonsense", Some("nonsense")),
            ("1700000000.123456789", Some("1700000000.123456789")),
        ] {
            for key in [MTIME, CTIME] {
                let mut info = info(key, old);
                bring_up(&mut info, AT, AT);
                assert_eq!(info.get(key).map(String::as_str), new, "{old}");
            }
        }
        let mut before = info(MTIME, "1609459200");
        bring_up(&mut before, -1, -1);
        assert!(before.is_empty());
    }

    #[test]
    fn a_change_is_not_after_the_upload_and_an_owner_is_somebody() {
        let changed = info(CTIME, "7");
        assert_eq!(ctime(&changed, 7_000_000_000), Some(7_000_000_000));
        assert_eq!(ctime(&changed, 6_999_999_999), None);
        assert_eq!((id("0"), id("4294967294")), (Some(0), Some(4_294_967_294)));
        assert_eq!((id("4294967295"), id("-1"), id("root")), (None, None, None));
    }

    proptest! {
        #[test]
        fn nothing_that_is_written_there_matters_more_than_that(text: String) {
            let _ = mtime(&info(MTIME, &text));
            let mode = mode(&info(MODE, &text), true);
            prop_assert!(mode.is_none_or(is_mode));
        }
    }
}
