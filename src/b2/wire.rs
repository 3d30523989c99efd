//! The JSON of B2's answers, read defensively: fields may be missing, null or unknown (API §1).
//!
//! Only what this client uses is read; each shape turns into the values of `types`.

mod bounded;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bucket::LifecycleRule;
use super::{Action, ContentSha1, FileId, FileName, FileVersion, Sha1};

/// A row of a listing, and the answer to upload, copy, hide, start and finish (API §4.3); the
/// answer to the part calls is a subset.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Row {
    action: Option<String>,
    content_length: Option<i64>,
    content_sha1: Option<String>,
    content_type: Option<String>,
    file_id: Option<String>,
    #[serde(deserialize_with = "bounded::info")]
    file_info: Option<BTreeMap<String, Option<String>>>,
    file_name: String,
    server_side_encryption: Option<Encryption>,
    upload_timestamp: Option<i64>,
}

/// How a version is encrypted where it lies; unknown modes may come (API §4.3).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Encryption {
    mode: Option<String>,
}

impl Row {
    pub(super) fn name(&self) -> &str {
        &self.file_name
    }

    pub(super) fn size(&self) -> u64 {
        self.content_length.unwrap_or(0).max(0) as u64
    }

    pub(super) fn sha1(&self) -> ContentSha1 {
        content_sha1(self.content_sha1.as_deref())
    }

    pub(super) fn into_version(self) -> FileVersion {
        let action = match self.action.as_deref().unwrap_or_default() {
            // A copy's own answer says `copy`; later listings show it as `upload` (API §6.1).
            "upload" | "copy" => Action::Upload,
            "hide" => Action::Hide,
            "start" => Action::Start,
            "folder" => Action::Folder,
            other => Action::Other(other.to_owned()),
        };
        FileVersion {
            action,
            id: self
                .file_id
                .as_deref()
                .filter(|id| !id.is_empty())
                .map(FileId::new),
            size: self.size(),
            sha1: self.sha1(),
            name: FileName::listed(&self.file_name),
            content_type: self.content_type,
            info: self
                .file_info
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect(),
            uploaded_ms: self.upload_timestamp.unwrap_or(0).max(0) as u64,
            customer_key: self
                .server_side_encryption
                .is_some_and(|encryption| encryption.mode.as_deref() == Some("SSE-C")),
            twins: false,
        }
    }
}

fn content_sha1(text: Option<&str>) -> ContentSha1 {
    let Some(text) = text else {
        return ContentSha1::None;
    };
    if let Some(hex) = text.strip_prefix("unverified:") {
        return Sha1::from_hex(hex).map_or(ContentSha1::None, ContentSha1::Unverified);
    }
    Sha1::from_hex(text).map_or(ContentSha1::None, ContentSha1::Verified)
}

/// `b2_list_file_names`, `b2_list_file_versions`, `b2_list_unfinished_large_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rows {
    #[serde(deserialize_with = "bounded::rows")]
    pub(super) files: Vec<Row>,
    pub(super) next_file_name: Option<String>,
    pub(super) next_file_id: Option<String>,
}

/// `b2_list_parts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parts {
    #[serde(deserialize_with = "bounded::rows")]
    pub(super) parts: Vec<Part>,
    pub(super) next_part_number: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Part {
    pub(super) upload_timestamp: Option<u64>,
}

/// `b2_get_upload_url`, `b2_get_upload_part_url`; without `Debug`, which would show the token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadUrl {
    pub(super) upload_url: String,
    pub(super) authorization_token: String,
}

/// `b2_authorize_account`, v4 (API §2); without `Debug`, which would show the token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authorized {
    pub(super) account_id: String,
    pub(super) authorization_token: String,
    #[serde(default)]
    pub(super) application_key_expiration_timestamp: Option<u64>,
    pub(super) api_info: ApiInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiInfo {
    pub(super) storage_api: StorageApi,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StorageApi {
    pub(super) api_url: String,
    pub(super) download_url: String,
    pub(super) absolute_minimum_part_size: Option<u64>,
    pub(super) recommended_part_size: Option<u64>,
    #[serde(default)]
    pub(super) allowed: Allowed,
}

/// What the key may do; `buckets` null means all.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Allowed {
    pub(super) capabilities: Vec<String>,
    pub(super) buckets: Option<Vec<AllowedBucket>>,
    pub(super) name_prefix: Option<String>,
}

/// A bucket that a key is restricted to; without a name it has been deleted.
#[derive(Debug, Deserialize)]
pub(super) struct AllowedBucket {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: Option<String>,
}

/// `b2_list_buckets`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Buckets {
    pub(super) buckets: Vec<Bucket>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Bucket {
    #[serde(rename = "bucketId")]
    pub(super) id: String,
    #[serde(rename = "bucketName")]
    pub(super) name: String,
    #[serde(rename = "bucketType", default)]
    pub(super) kind: String,
    #[serde(rename = "fileLockConfiguration", default)]
    pub(super) lock: FileLock,
    #[serde(rename = "lifecycleRules", default)]
    pub(super) lifecycle: Vec<LifecycleRule>,
    #[serde(rename = "defaultServerSideEncryption", default)]
    pub(super) encryption: Guarded<DefaultEncryption>,
}

/// What is null where the key may not know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Guarded<T> {
    pub(super) value: Option<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DefaultEncryption {
    pub(super) mode: Option<String>,
}

/// What a bucket says of Object Lock; without a value where the key may not know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FileLock {
    value: Option<FileLockValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileLockValue {
    #[serde(rename = "defaultRetention")]
    retention: Option<DefaultRetention>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RetentionPeriod {
    duration: u64,
    unit: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DefaultRetention {
    mode: Option<String>,
    period: Option<RetentionPeriod>,
}

impl FileLock {
    /// How every new version is protected: `governance for 7 days`. Without words: not at all; `None`: not known.
    pub(super) fn shown(&self) -> Option<String> {
        let retention = self.value.as_ref()?.retention.as_ref();
        let mode = retention.and_then(|one| one.mode.as_deref());
        let Some(mode) = mode.filter(|mode| *mode != "none") else {
            return Some(String::new());
        };
        let period = retention.and_then(|one| one.period.as_ref());
        Some(period.map_or_else(
            || mode.to_owned(),
            |period| format!("{mode} for {} {}", period.duration, period.unit),
        ))
    }

    /// Whether every new version is protected; `None`: not known.
    pub(super) fn retains(&self) -> Option<bool> {
        let value = self.value.as_ref()?;
        let mode = value.retention.as_ref().and_then(|one| one.mode.as_deref());
        Some(mode.is_some_and(|mode| mode != "none"))
    }
}

/// An error answer; B2 sends three fields, others may send anything (API §1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Authorized, Bucket, ErrorBody, Row, Rows};
    use crate::b2::{Action, ContentSha1, Sha1};

    fn version(json: &str) -> crate::b2::FileVersion {
        serde_json::from_str::<Row>(json)
            .expect("a row")
            .into_version()
    }

    #[test]
    fn a_default_retention_is_told_from_none_and_from_what_the_key_may_not_know() {
        let retains = |lock: &str| {
            let text = format!(
                r#"{{"bucketId": "b", "bucketName": "n", "bucketType": "allPrivate"{lock}}}"#
            );
            let bucket: Bucket = serde_json::from_str(&text).expect("a bucket");
            bucket.lock.retains()
        };
        let known = |retention: &str| {
            retains(&format!(
                r#", "fileLockConfiguration": {{"isClientAuthorizedToRead": true,
                "value": {{"defaultRetention": {retention}, "isFileLockEnabled": true}}}}"#
            ))
        };
        let days = r#"{"mode": "compliance", "period": {"duration": 7, "unit": "days"}}"#;
        assert_eq!(known(days), Some(true));
        assert_eq!(known(r#"{"mode": null, "period": null}"#), Some(false));
        assert_eq!(known("null"), Some(false));
        let hidden =
            r#", "fileLockConfiguration": {"isClientAuthorizedToRead": false, "value": null}"#;
        assert_eq!(retains(hidden), None);
        assert_eq!(retains(""), None);
    }

    #[test]
    fn a_small_upload_is_read_as_recorded() {
        let sha1 = "3853a8a7ed8b9c1b5a0d3eb6d4f8de13a2c5e6b1";
        let version = version(&format!(
            r#"{{"accountId":"A","action":"upload","bucketId":"B","contentLength":4,"contentMd5":"M",
            "contentSha1":"{sha1}","contentType":"text/plain","fileId":"4_zF","fileInfo":
            {{"src_last_modified_millis":"1641308478123"}},"fileName":"a/ü","fileRetention":
            {{"isClientAuthorizedToRead":true,"value":{{"mode":null,"retainUntilTimestamp":null}}}},
            "legalHold":{{"isClientAuthorizedToRead":true,"value":null}},"serverSideEncryption":
            {{"algorithm":null,"mode":null}},"uploadTimestamp":1641308478000}}"#
        ));
        assert_eq!(version.action, Action::Upload);
        assert_eq!(version.name.as_str(), "a/ü");
        assert_eq!(version.size, 4);
        assert_eq!(
            version.sha1,
            ContentSha1::Verified(Sha1::from_hex(sha1).expect("hex"))
        );
        assert_eq!(version.info["src_last_modified_millis"], "1641308478123");
        assert_eq!(version.uploaded_ms, 1_641_308_478_000);
        assert_eq!(version.id.expect("an id").to_string(), "4_zF");
    }

    #[test]
    fn a_folder_row_has_neither_id_nor_hash() {
        let version = version(
            r#"{"action":"folder","contentLength":0,"contentMd5":null,"contentSha1":null,
            "contentType":null,"fileId":null,"fileInfo":{},"fileName":"photos/","uploadTimestamp":0}"#,
        );
        assert_eq!(version.action, Action::Folder);
        assert_eq!((version.id, version.sha1), (None, ContentSha1::None));
    }

    #[test]
    fn a_hide_marker_is_known_by_its_action_with_or_without_hash() {
        for sha1 in ["null", r#""da39a3ee5e6b4b0d3255bfef95601890afd80709""#] {
            let json = format!(
                r#"{{"action":"hide","fileId":"x","fileName":"n","contentSha1":{sha1},"fileInfo":null}}"#
            );
            assert_eq!(version(&json).action, Action::Hide);
        }
    }

    #[test]
    fn hashes_of_large_and_unverified_files() {
        let unverified = version(
            r#"{"action":"copy","fileName":"n","contentSha1":"unverified:da39a3ee5e6b4b0d3255bfef95601890afd80709"}"#,
        );
        assert_eq!(unverified.action, Action::Upload);
        assert!(matches!(unverified.sha1, ContentSha1::Unverified(_)));
        let large = version(r#"{"action":"start","fileName":"n","contentSha1":"none"}"#);
        assert_eq!(
            (large.action, large.sha1),
            (Action::Start, ContentSha1::None)
        );
    }

    #[test]
    fn a_customers_key_is_known_by_the_mode() {
        for (encryption, customer_key) in [
            (r#"{"algorithm":"AES256","mode":"SSE-C"}"#, true),
            (r#"{"algorithm":"AES256","mode":"SSE-B2"}"#, false),
            (r#"{"algorithm":null,"mode":null}"#, false),
            ("null", false),
        ] {
            let json = format!(
                r#"{{"action":"upload","fileName":"n","serverSideEncryption":{encryption}}}"#
            );
            assert_eq!(version(&json).customer_key, customer_key, "{encryption}");
        }
    }

    #[test]
    fn unknown_words_and_fields_do_not_fail() {
        let version = version(r#"{"action":"teleport","fileName":"n","later":{"x":[1]}}"#);
        assert_eq!(version.action, Action::Other("teleport".to_owned()));
    }

    #[test]
    fn a_page_ends_where_next_is_null() {
        let page: Rows = serde_json::from_str(r#"{"files":[],"nextFileName":"x "}"#).expect("page");
        assert_eq!(page.next_file_name.as_deref(), Some("x "));
        let page: Rows =
            serde_json::from_str(r#"{"files":[],"nextFileName":null,"nextFileId":null}"#)
                .expect("page");
        assert_eq!((page.next_file_name, page.next_file_id), (None, None));
    }

    #[test]
    fn authorize_is_read_in_the_v4_shape() {
        let answer: Authorized = serde_json::from_str(
            r#"{"accountId":"a","authorizationToken":"t","applicationKeyExpirationTimestamp":null,
            "apiInfo":{"groupsApi":{"groupsApiUrl":"u","infoType":"groupsApi"},"storageApi":{
            "apiUrl":"https://api001.backblazeb2.com","downloadUrl":"https://f001.backblazeb2.com",
            "s3ApiUrl":"https://s3","absoluteMinimumPartSize":5000000,"recommendedPartSize":100000000,
            "allowed":{"capabilities":["listFiles"],"buckets":[{"id":"b1","name":"one"},
            {"id":"b2","name":null}],"namePrefix":null}}}}"#,
        )
        .expect("authorized");
        let buckets = answer.api_info.storage_api.allowed.buckets.expect("two");
        assert_eq!(buckets[0].name.as_deref(), Some("one"));
        assert_eq!((buckets[1].id.as_str(), &buckets[1].name), ("b2", &None));
    }

    #[test]
    fn error_bodies_survive_a_status_of_another_type() {
        let body: ErrorBody =
            serde_json::from_str(r#"{"code":"bad_request","message":"","status":"400"}"#)
                .expect("error");
        assert_eq!(body.code.as_deref(), Some("bad_request"));
    }

    /// JSON of the shape of B2's answers, in which any member may be missing, null or nonsense.
    fn any_answer() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
            Just("[]".to_owned()),
            Just("{\"a\":null}".to_owned()),
            Just("true".to_owned()),
        ];
        let member = prop_oneof![
            Just("action"),
            Just("contentLength"),
            Just("contentSha1"),
            Just("fileId"),
            Just("fileInfo"),
            Just("fileName"),
            Just("uploadTimestamp"),
            Just("other"),
        ];
        let row = proptest::collection::vec((member, leaf.clone()), 0..6).prop_map(|members| {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        });
        (proptest::collection::vec(row, 0..4), leaf.clone(), leaf).prop_map(|(rows, name, id)| {
            format!(
                "{{\"files\":[{}],\"nextFileName\":{name},\"nextFileId\":{id}}}",
                rows.join(",")
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever a server sends: it is read or refused.
        #[test]
        fn any_answer_is_read_or_refused(text in any_answer(), cut in 0usize..400) {
            if let Ok(rows) = serde_json::from_str::<Rows>(&text) {
                for row in rows.files {
                    let _ = row.size();
                    let _ = row.into_version();
                }
            }
            let cut = &text.as_bytes()[..cut.min(text.len())];
            let _ = serde_json::from_slice::<Rows>(cut);
            let _ = serde_json::from_slice::<ErrorBody>(cut);
        }
    }
}
