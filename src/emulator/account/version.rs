//! One version of a file, and its id (API §4.3).

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::emulator::content::{Content, Hashes};
use crate::emulator::encryption::Encryption;
use crate::emulator::rules::Info;
use crate::emulator::text::{date_and_time, hex};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::emulator) enum Action {
    Upload,
    Hide,
    /// A large file that is not finished.
    Start,
}

/// What is known of the SHA-1 of the whole content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Sha1 {
    Checked([u8; 20]),
    /// Computed here, not given by the client: `do_not_verify`.
    Unverified([u8; 20]),
    /// Large files.
    None,
}

impl Sha1 {
    pub(in crate::emulator) fn text(&self) -> String {
        match self {
            Self::Checked(digest) => hex(digest),
            Self::Unverified(digest) => format!("unverified:{}", hex(digest)),
            Self::None => "none".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Retention {
    /// `governance` or `compliance`.
    pub(in crate::emulator) mode: String,
    pub(in crate::emulator) until: u64,
}

/// Object Lock of one version; most have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Lock {
    pub(in crate::emulator) retention: Option<Retention>,
    pub(in crate::emulator) legal_hold: Option<bool>,
}

#[derive(Debug, Clone)]
pub(in crate::emulator) struct Version {
    /// Unique in the account; the hexadecimal field of the file id, whose first digit tells large from small.
    pub(in crate::emulator) number: u64,
    pub(in crate::emulator) bucket: Arc<str>,
    pub(in crate::emulator) name: Arc<str>,
    pub(in crate::emulator) action: Action,
    /// When the upload began, in milliseconds.
    pub(in crate::emulator) stamp: u64,
    pub(in crate::emulator) content_type: Arc<str>,
    pub(in crate::emulator) info: Option<Box<Info>>,
    pub(in crate::emulator) sha1: Sha1,
    pub(in crate::emulator) md5: Option<[u8; 16]>,
    pub(in crate::emulator) encryption: Encryption,
    pub(in crate::emulator) lock: Option<Box<Lock>>,
    pub(in crate::emulator) content: Content,
}

/// First hexadecimal digit of the ids of small files, hide markers and copies; and of large files (API §1).
pub(super) const SMALL: u64 = 1 << 60;
pub(super) const LARGE: u64 = 2 << 60;

impl Version {
    pub(in crate::emulator) fn file_id(&self) -> String {
        let (date, time) = date_and_time(self.stamp);
        format!(
            "4_z{}_f{:016x}_d{date}_m{time}_c002_v0001129_t0017_u{:014}",
            self.bucket, self.number, self.stamp
        )
    }

    /// Newest first; ties go to the greater id.
    pub(super) fn order(&self) -> Order {
        Reverse((self.stamp, self.number))
    }

    pub(in crate::emulator) fn set_hashes(&mut self, hashes: Hashes) {
        self.sha1 = Sha1::Checked(hashes.sha1);
        self.md5 = hashes.md5;
    }

    pub(in crate::emulator) fn info(&self) -> &Info {
        static NONE: Info = Info::new();
        self.info.as_deref().unwrap_or(&NONE)
    }

    pub(in crate::emulator) fn lock(&self) -> Lock {
        self.lock.as_deref().cloned().unwrap_or_default()
    }
}

/// The place of a version among those of its name: stamp and number, greatest first.
pub(super) type Order = Reverse<(u64, u64)>;

/// The place inside a file id; `None` when it has not the form of one.
pub(in crate::emulator) fn parse_file_id(id: &str) -> Option<Order> {
    let rest = id.strip_prefix("4_z")?;
    let (_, rest) = rest.split_once("_f")?;
    let number = u64::from_str_radix(rest.get(..16)?, 16).ok()?;
    let (_, stamp) = rest.split_once("_u")?;
    Some(Reverse((stamp.parse().ok()?, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_where_its_version_stands() {
        let version = Version {
            number: SMALL | 0x4d,
            bucket: "0123456789abcdef01234567".into(),
            name: "a".into(),
            action: Action::Upload,
            stamp: 1_709_210_096_789,
            content_type: "text/plain".into(),
            info: None,
            sha1: Sha1::None,
            md5: None,
            encryption: Encryption::B2,
            lock: None,
            content: Content::empty(),
        };
        let id = version.file_id();
        assert_eq!(
            id,
            "4_z0123456789abcdef01234567_f100000000000004d_d20240229_m123456_c002_v0001129_t0017_u01709210096789"
        );
        assert_eq!(parse_file_id(&id), Some(version.order()));
        assert_eq!(parse_file_id("bad-id"), None);
    }
}
