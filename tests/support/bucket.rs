//! The bucket by raw calls of the Native API: what no tool and no filesystem would write.
//!
//! A client of its own in a hundred lines, sharing nothing with the program's, so that a fault of
//! that one does not hide.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::runtime::Runtime;

use super::emulator::Emulator;

/// One row of the listing of versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) size: u64,
}

/// A signed-in session with the emulator's bucket.
pub(crate) struct Bucket {
    runtime: Runtime,
    http: reqwest::Client,
    api: String,
    downloads: String,
    token: String,
    pub(crate) account_id: String,
    pub(crate) id: String,
}

impl Bucket {
    pub(crate) fn open(emulator: &Emulator) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let http = reqwest::Client::new();
        let answer: Value = runtime.block_on(async {
            http.get(format!(
                "{}/b2api/v4/b2_authorize_account",
                emulator.endpoint()
            ))
            .basic_auth(emulator.key_id(), Some(emulator.key()))
            .send()
            .await
            .expect("the emulator answers")
            .json()
            .await
            .expect("an authorization")
        });
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut bucket = Self {
            runtime,
            http,
            api: text(&answer["apiInfo"]["storageApi"]["apiUrl"]),
            downloads: text(&answer["apiInfo"]["storageApi"]["downloadUrl"]),
            token: text(&answer["authorizationToken"]),
            account_id: text(&answer["accountId"]),
            id: String::new(),
        };
        let buckets = bucket.call(
            "b2_list_buckets",
            &json!({"accountId": bucket.account_id, "bucketName": emulator.bucket_name()}),
        );
        bucket.id = text(&buckets["buckets"][0]["bucketId"]);
        bucket
    }

    /// One call; fails on an error.
    pub(crate) fn call(&self, name: &str, body: &Value) -> Value {
        self.try_call(name, body)
            .unwrap_or_else(|(status, error)| panic!("{name} {body}: {status} {error}"))
    }

    /// One call, for what a server may refuse: the answer, or the error's status and body.
    pub(crate) fn try_call(&self, name: &str, body: &Value) -> Result<Value, (u16, Value)> {
        self.runtime.block_on(async {
            let answer = self
                .http
                .post(format!("{}/b2api/v4/{name}", self.api))
                .header("Authorization", &self.token)
                .json(body)
                .send()
                .await
                .expect("the emulator answers");
            let status = answer.status();
            let value: Value = answer.json().await.expect("an answer in JSON");
            if status.is_success() {
                Ok(value)
            } else {
                Err((status.as_u16(), value))
            }
        })
    }

    /// Uploads with a right SHA-1; gives the file id.
    pub(crate) fn upload(&self, name: &str, content: &[u8]) -> String {
        self.upload_with(name, content, &sha1_hex(content), &[])
    }

    /// Uploads with this `X-Bz-Content-Sha1` and file info; gives the file id.
    pub(crate) fn upload_with(
        &self,
        name: &str,
        content: &[u8],
        sha1: &str,
        info: &[(&str, &str)],
    ) -> String {
        self.try_upload(name, content, sha1, info)
            .unwrap_or_else(|error| panic!("upload of {name:?}: {error}"))
    }

    /// As `upload_with`, for names that a server may refuse.
    pub(crate) fn try_upload(
        &self,
        name: &str,
        content: &[u8],
        sha1: &str,
        info: &[(&str, &str)],
    ) -> Result<String, Value> {
        let target = self.call("b2_get_upload_url", &json!({"bucketId": self.id}));
        self.send(
            &target,
            content,
            [
                ("X-Bz-File-Name".to_owned(), encode(name)),
                ("Content-Type".to_owned(), "b2/x-auto".to_owned()),
                ("X-Bz-Content-Sha1".to_owned(), sha1.to_owned()),
            ]
            .into_iter()
            .chain(
                info.iter()
                    .map(|(key, value)| (format!("X-Bz-Info-{key}"), encode(value))),
            ),
        )
        .map(|answer| answer["fileId"].as_str().expect("an id").to_owned())
    }

    fn send(
        &self,
        target: &Value,
        content: &[u8],
        headers: impl Iterator<Item = (String, String)>,
    ) -> Result<Value, Value> {
        self.runtime.block_on(async {
            let mut request = self
                .http
                .post(target["uploadUrl"].as_str().expect("a URL"))
                .header(
                    "Authorization",
                    target["authorizationToken"].as_str().expect("a token"),
                )
                .header("Content-Length", content.len().to_string())
                .body(content.to_vec());
            for (key, value) in headers {
                request = request.header(key, value);
            }
            let answer = request.send().await.expect("the emulator answers");
            let status = answer.status();
            let value: Value = answer.json().await.expect("an answer in JSON");
            if status.is_success() {
                Ok(value)
            } else {
                Err(value)
            }
        })
    }

    /// Starts a large file and, if asked, sends its first part; leaves it unfinished.
    pub(crate) fn start_large(&self, name: &str, part: Option<&[u8]>) -> String {
        let id = self.start_large_with(name, &json!({}), None);
        if let Some(part) = part {
            self.upload_part(&id, 1, part);
        }
        id
    }

    /// Starts one with this file info, at that time in milliseconds (which takes the switch `custom-timestamps`).
    pub(crate) fn start_large_with(&self, name: &str, info: &Value, at: Option<u64>) -> String {
        let mut request = json!({
            "bucketId": self.id,
            "fileName": name,
            "contentType": "b2/x-auto",
            "fileInfo": info,
        });
        if let Some(at) = at {
            request["customUploadTimestamp"] = at.to_string().into();
        }
        let started = self.call("b2_start_large_file", &request);
        started["fileId"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn upload_part(&self, id: &str, number: u32, part: &[u8]) -> String {
        let target = self.call("b2_get_upload_part_url", &json!({"fileId": id}));
        let sha1 = sha1_hex(part);
        self.send(
            &target,
            part,
            [
                ("X-Bz-Part-Number".to_owned(), number.to_string()),
                ("X-Bz-Content-Sha1".to_owned(), sha1.clone()),
            ]
            .into_iter(),
        )
        .unwrap_or_else(|error| panic!("part {number}: {error}"));
        sha1
    }

    /// A finished large file without `large_file_sha1`, as many tools leave it.
    pub(crate) fn upload_large(&self, name: &str, parts: &[&[u8]]) -> String {
        let id = self.start_large(name, None);
        let sums: Vec<String> = (1..)
            .zip(parts)
            .map(|(number, part)| self.upload_part(&id, number, part))
            .collect();
        self.call(
            "b2_finish_large_file",
            &json!({"fileId": id, "partSha1Array": sums}),
        );
        id
    }

    pub(crate) fn hide(&self, name: &str) {
        self.call(
            "b2_hide_file",
            &json!({"bucketId": self.id, "fileName": name}),
        );
    }

    pub(crate) fn delete(&self, name: &str, id: &str) {
        self.call(
            "b2_delete_file_version",
            &json!({"fileName": name, "fileId": id}),
        );
    }

    /// Every version of every file, unfinished ones and hide markers included.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut found = Vec::new();
        let mut next = json!({});
        loop {
            let mut request = json!({"bucketId": self.id, "maxFileCount": 1000});
            for key in ["startFileName", "startFileId"] {
                if let Some(value) = next.get(key).filter(|value| !value.is_null()) {
                    request[key] = value.clone();
                }
            }
            let page = self.call("b2_list_file_versions", &request);
            for row in page["files"].as_array().expect("rows") {
                found.push(Version {
                    name: row["fileName"].as_str().expect("a name").to_owned(),
                    action: row["action"].as_str().expect("an action").to_owned(),
                    id: row["fileId"].as_str().expect("an id").to_owned(),
                    size: row["contentLength"].as_u64().unwrap_or(0),
                });
            }
            if page["nextFileName"].is_null() {
                return found;
            }
            next =
                json!({"startFileName": page["nextFileName"], "startFileId": page["nextFileId"]});
        }
    }

    /// The versions of one name, newest first.
    pub(crate) fn versions_of(&self, name: &str) -> Vec<Version> {
        let mut versions = self.versions();
        versions.retain(|version| version.name == name);
        versions
    }

    /// Names and ids of the large files that were begun and not finished.
    pub(crate) fn unfinished(&self) -> Vec<Version> {
        let mut versions = self.versions();
        versions.retain(|version| version.action == "start");
        versions
    }

    /// Fails unless the name has one version, and nothing under it is unfinished, or will have in a moment: what was
    /// superseded goes in the background.
    #[track_caller]
    pub(crate) fn has_one_version_of(&self, name: &str) {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let versions = self.versions_of(name);
            let actions: Vec<&str> = versions.iter().map(|version| &*version.action).collect();
            if actions == ["upload"] {
                return;
            }
            assert!(std::time::Instant::now() < patience, "{versions:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The names that have a current version.
    pub(crate) fn visible(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut last = None;
        for version in self.versions() {
            if last.as_ref() != Some(&version.name) && version.action != "start" {
                if version.action == "upload" {
                    names.push(version.name.clone());
                }
                last = Some(version.name);
            }
        }
        names
    }

    /// The content of one version.
    pub(crate) fn download(&self, id: &str) -> Vec<u8> {
        self.try_download(id)
            .unwrap_or_else(|| panic!("version {id} cannot be downloaded"))
    }

    /// The same of a version that may be gone.
    pub(crate) fn try_download(&self, id: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            let answer = self
                .http
                .get(format!(
                    "{}/b2api/v4/b2_download_file_by_id?fileId={id}",
                    self.downloads
                ))
                .header("Authorization", &self.token)
                .send()
                .await
                .expect("the emulator answers");
            let found = answer.status().is_success();
            let content = answer.bytes().await.expect("the content").to_vec();
            found.then_some(content)
        })
    }

    /// What B2 keeps about one version.
    pub(crate) fn info(&self, id: &str) -> Value {
        self.call("b2_get_file_info", &json!({"fileId": id}))
    }
}

/// Lower-case hex of the SHA-1.
pub(crate) fn sha1_hex(content: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha1::digest(content) {
        write!(hex, "{byte:02x}").expect("a string grows");
    }
    hex
}

/// Percent-encoding as B2 wants it: every byte that is not plainly harmless.
fn encode(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-/~".contains(&byte) {
            out.push(byte as char);
        } else {
            write!(out, "%{byte:02X}").expect("a string grows");
        }
    }
    out
}
