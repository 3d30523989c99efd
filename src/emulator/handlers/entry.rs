//! How a version looks on the wire, in rows of lists and as the reply of what made it (API §4.3).

use serde::Serialize;

use crate::emulator::account::version::{Action, Version};
use crate::emulator::encryption::EncryptionShown;
use crate::emulator::exchange::request::Request;
use crate::emulator::rules::Info;
use crate::emulator::text::hex;

/// Hashes of the empty string, which a hide marker carries (API §4.3 note).
const EMPTY_SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Who looks: decides which fields are shown, and how.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    account: String,
    pub(super) reads_retentions: bool,
    pub(super) reads_holds: bool,
    /// Rows tell `replicationStatus`.
    replicated: bool,
    /// Lists of version 1 also tell the length as `size` (API §0).
    version: u8,
}

impl Viewer {
    pub(super) fn of(request: &Request) -> Self {
        let key = request.key().ok();
        let can = |capability| key.is_some_and(|key| key.can(capability));
        Self {
            account: request.shared.account_id.clone(),
            reads_retentions: can("readFileRetentions"),
            reads_holds: can("readFileLegalHolds"),
            replicated: request.shared.faults.switches().replicated,
            version: request.version,
        }
    }
}

/// A row of a list and the reply of uploads, in alphabetical order as the service writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
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
    /// Absent unless the bucket is replicated (API §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_side_encryption: Option<EncryptionShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    upload_timestamp: u64,
}

impl<'a> Entry<'a> {
    pub(super) fn of(version: &'a Version, viewer: &'a Viewer) -> Self {
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
            replication_status: (viewer.replicated && version.action == Action::Upload)
                .then_some("COMPLETED"),
            server_side_encryption: (!hide).then(|| version.encryption.shown()),
            size: (viewer.version == 1).then_some(length),
            upload_timestamp: version.stamp,
        }
    }

    /// The reply of a copy says so; lists call the same version an upload (API §6.1).
    pub(super) fn copied(mut self) -> Self {
        self.action = "copy";
        self
    }

    pub(super) fn folder(name: &'a str, bucket: &'a str, viewer: &'a Viewer) -> Self {
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
            replication_status: None,
            server_side_encryption: None,
            size: (viewer.version == 1).then_some(0),
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
