//! One version of a file, its id, and how it looks on the wire (API §4.3).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::emulator::content::{Content, Hashes};
use crate::emulator::text::{date_and_time, hex};

pub(in crate::emulator) type Info = BTreeMap<String, String>;

/// Hashes of the empty string, which a hide marker carries (API §4.3 note).
const EMPTY_SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

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
pub(in crate::emulator) enum Encryption {
    None,
    B2,
    /// With the customer's key, known by its MD5 in base64.
    Customer(String),
}

impl Encryption {
    pub(in crate::emulator) fn shown(&self) -> EncryptionShown {
        let mode = match self {
            Self::None => None,
            Self::B2 => Some("SSE-B2"),
            Self::Customer(_) => Some("SSE-C"),
        };
        EncryptionShown {
            algorithm: mode.map(|_| "AES256"),
            mode,
        }
    }
}

/// How replies tell the encryption; the key is not in it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::emulator) struct EncryptionShown {
    algorithm: Option<&'static str>,
    mode: Option<&'static str>,
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
pub(in crate::emulator) const SMALL: u64 = 1 << 60;
pub(in crate::emulator) const LARGE: u64 = 2 << 60;

impl Version {
    pub(in crate::emulator) fn file_id(&self) -> String {
        let (date, time) = date_and_time(self.stamp);
        format!(
            "4_z{}_f{:016x}_d{date}_m{time}_c002_v0001129_t0017_u{:014}",
            self.bucket, self.number, self.stamp
        )
    }

    /// Newest first; ties go to the greater id.
    pub(in crate::emulator) fn order(&self) -> Order {
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
pub(in crate::emulator) type Order = Reverse<(u64, u64)>;

/// The place inside a file id; `None` when it has not the form of one.
pub(in crate::emulator) fn parse_file_id(id: &str) -> Option<Order> {
    let rest = id.strip_prefix("4_z")?;
    let (_, rest) = rest.split_once("_f")?;
    let number = u64::from_str_radix(rest.get(..16)?, 16).ok()?;
    let (_, stamp) = rest.split_once("_u")?;
    Some(Reverse((stamp.parse().ok()?, number)))
}

/// Who looks: decides which fields are shown, and how.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Viewer {
    pub(in crate::emulator) account: String,
    pub(in crate::emulator) reads_retentions: bool,
    pub(in crate::emulator) reads_holds: bool,
    /// Version 1 lists also tell the length as `size` (API §0).
    pub(in crate::emulator) v1: bool,
}

/// A row of a list and the reply of uploads, in alphabetical order as the service writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct Entry<'a> {
    account_id: &'a str,
    action: &'a str,
    bucket_id: &'a str,
    content_length: u64,
    content_md5: Option<String>,
    content_sha1: Option<String>,
    content_type: Option<&'a str>,
    file_id: Option<String>,
    file_info: &'a Info,
    file_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_retention: Option<Guarded<RetentionShown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_hold: Option<Guarded<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_side_encryption: Option<EncryptionShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    upload_timestamp: u64,
}

impl<'a> Entry<'a> {
    pub(in crate::emulator) fn of(version: &'a Version, viewer: &'a Viewer) -> Self {
        let hide = version.action == Action::Hide;
        let length = version.content.len();
        Self {
            account_id: &viewer.account,
            action: match version.action {
                Action::Upload => "upload",
                Action::Hide => "hide",
                Action::Start => "start",
            },
            bucket_id: &version.bucket,
            content_length: length,
            content_md5: if hide {
                Some(EMPTY_MD5.to_owned())
            } else {
                version.md5.map(|digest| hex(&digest))
            },
            content_sha1: Some(if hide {
                EMPTY_SHA1.to_owned()
            } else {
                version.sha1.text()
            }),
            content_type: Some(&version.content_type),
            file_id: Some(version.file_id()),
            file_info: version.info(),
            file_name: &version.name,
            file_retention: (!hide).then(|| retention_shown(version, viewer)),
            legal_hold: (!hide).then(|| hold_shown(version, viewer)),
            server_side_encryption: (!hide).then(|| version.encryption.shown()),
            size: viewer.v1.then_some(length),
            upload_timestamp: version.stamp,
        }
    }

    /// The reply of a copy says so; lists call the same version an upload (API §6.1).
    pub(in crate::emulator) fn copied(mut self) -> Self {
        self.action = "copy";
        self
    }

    pub(in crate::emulator) fn folder(name: &'a str, bucket: &'a str, viewer: &'a Viewer) -> Self {
        static NONE: Info = Info::new();
        Self {
            account_id: &viewer.account,
            action: "folder",
            bucket_id: bucket,
            content_length: 0,
            content_md5: None,
            content_sha1: None,
            content_type: None,
            file_id: None,
            file_info: &NONE,
            file_name: name,
            file_retention: None,
            legal_hold: None,
            server_side_encryption: None,
            size: viewer.v1.then_some(0),
            upload_timestamp: 0,
        }
    }
}

/// What not every key may read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Guarded<T> {
    is_client_authorized_to_read: bool,
    value: Option<T>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionShown<'a> {
    mode: Option<&'a str>,
    retain_until_timestamp: Option<u64>,
}

fn retention_shown<'a>(version: &'a Version, viewer: &Viewer) -> Guarded<RetentionShown<'a>> {
    let lock = version.lock.as_ref();
    let retention = lock.and_then(|lock| lock.retention.as_ref());
    let shown = RetentionShown {
        mode: retention.map(|retention| retention.mode.as_str()),
        retain_until_timestamp: retention.map(|retention| retention.until),
    };
    Guarded {
        is_client_authorized_to_read: viewer.reads_retentions,
        value: viewer.reads_retentions.then_some(shown),
    }
}

fn hold_shown(version: &Version, viewer: &Viewer) -> Guarded<&'static str> {
    let hold = version.lock.as_ref().and_then(|lock| lock.legal_hold);
    let shown = hold.map(|on| if on { "on" } else { "off" });
    Guarded {
        is_client_authorized_to_read: viewer.reads_holds,
        value: shown.filter(|_| viewer.reads_holds),
    }
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
