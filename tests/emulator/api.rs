//! A bare B2 caller for these tests: raw requests, no knowledge shared with the client or the emulator.
//!
//! It needs an endpoint, a key and a bucket only, so that tests which do not switch faults can be pointed at the service.

use std::ops::Deref;

use b2fuse::emulator::{Options, Server};
use base64::Engine;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body))
        })
    }

    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("an ASCII header"))
    }

    /// Fails unless this is that error, in exactly the form of the service.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        let error = self.json();
        assert_eq!(error["code"], code, "{text}");
        assert_eq!(error["status"], status, "{text}");
        assert!(error["message"].is_string(), "{text}");
        assert_eq!(
            error.as_object().map(serde_json::Map::len),
            Some(3),
            "{text}"
        );
    }
}

/// An authorized caller.
pub(crate) struct Caller {
    pub(crate) http: reqwest::Client,
    pub(crate) endpoint: String,
    pub(crate) account_id: String,
    pub(crate) api_url: String,
    pub(crate) download_url: String,
    pub(crate) token: String,
    pub(crate) bucket_name: String,
    pub(crate) bucket: String,
}

/// A caller with the master key of a server of its own.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    caller: Caller,
}

impl Deref for Fixture {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

pub(crate) async fn start() -> Fixture {
    start_with(Options::default()).await
}

pub(crate) async fn start_with(options: Options) -> Fixture {
    let server = Server::start(options).expect("the emulator starts");
    let caller = Caller::authorize(
        &server.endpoint(),
        server.key_id(),
        server.key(),
        server.bucket_name(),
    )
    .await;
    Fixture { server, caller }
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    format!("Basic {text}")
}

pub(crate) fn sha1(bytes: &[u8]) -> String {
    Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Caller {
    pub(crate) async fn authorize(endpoint: &str, id: &str, secret: &str, bucket: &str) -> Self {
        let http = http();
        let request = http
            .get(format!("{endpoint}/b2api/v4/b2_authorize_account"))
            .header("authorization", basic(id, secret));
        let reply = Answer::of(request).await.expect("answers").ok();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api = &reply["apiInfo"]["storageApi"];
        let mut caller = Self {
            http,
            endpoint: endpoint.to_owned(),
            account_id: text(&reply["accountId"]),
            api_url: text(&api["apiUrl"]),
            download_url: text(&api["downloadUrl"]),
            token: text(&reply["authorizationToken"]),
            bucket_name: bucket.to_owned(),
            bucket: String::new(),
        };
        caller.bucket = match &api["allowed"]["buckets"] {
            Value::Array(buckets) => text(&buckets[0]["id"]),
            _ => {
                let wanted = json!({"accountId": caller.account_id, "bucketName": bucket});
                text(&caller.ok("b2_list_buckets", wanted).await["buckets"][0]["bucketId"])
            }
        };
        caller
    }

    /// A POST of JSON to version 4.
    pub(crate) async fn call(&self, name: &str, body: Value) -> Answer {
        self.try_call(name, body).await.expect("answers")
    }

    pub(crate) async fn try_call(&self, name: &str, body: Value) -> Result<Answer, reqwest::Error> {
        let request = self
            .http
            .post(format!("{}/b2api/v4/{name}", self.api_url))
            .header("authorization", &self.token)
            .body(body.to_string());
        Answer::of(request).await
    }

    pub(crate) async fn ok(&self, name: &str, body: Value) -> Value {
        self.call(name, body).await.ok()
    }

    pub(crate) async fn upload_url(&self) -> (String, String) {
        let url = self
            .ok("b2_get_upload_url", json!({"bucketId": self.bucket}))
            .await;
        url_and_token(&url)
    }

    /// An upload with the ordinary headers, to be changed before it is sent.
    pub(crate) async fn upload_request(&self, name: &str, bytes: &[u8]) -> reqwest::RequestBuilder {
        let (url, token) = self.upload_url().await;
        self.http
            .post(url)
            .header("authorization", token)
            .header("x-bz-file-name", encode(name))
            .header("content-type", "b2/x-auto")
            .header("x-bz-content-sha1", sha1(bytes))
            .header("content-length", bytes.len()) // also 0, which is not sent by itself
            .body(bytes.to_vec())
    }

    pub(crate) async fn upload(&self, name: &str, bytes: &[u8]) -> Value {
        Answer::of(self.upload_request(name, bytes).await)
            .await
            .expect("answers")
            .ok()
    }

    /// Uploads each with its name as content.
    pub(crate) async fn upload_all(&self, names: &[&str]) {
        let (url, token) = self.upload_url().await;
        for name in names {
            let request = self
                .http
                .post(&url)
                .header("authorization", &token)
                .header("x-bz-file-name", encode(name))
                .header("content-type", "text/plain")
                .header("x-bz-content-sha1", sha1(name.as_bytes()))
                .body((*name).to_owned());
            Answer::of(request).await.expect("answers").ok();
        }
    }

    pub(crate) async fn upload_error(
        &self,
        name: &str,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut request = self.upload_request(name, b"content").await;
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        Answer::of(request).await.expect("answers")
    }

    pub(crate) fn by_name(&self, method: reqwest::Method, name: &str) -> reqwest::RequestBuilder {
        let url = format!(
            "{}/file/{}/{}",
            self.download_url,
            self.bucket_name,
            encode(name)
        );
        self.http
            .request(method, url)
            .header("authorization", &self.token)
    }

    pub(crate) async fn get(&self, name: &str) -> Answer {
        Answer::of(self.by_name(reqwest::Method::GET, name))
            .await
            .expect("answers")
    }

    pub(crate) fn by_id(&self, id: &str) -> reqwest::RequestBuilder {
        let url = format!(
            "{}/b2api/v4/b2_download_file_by_id?fileId={id}",
            self.download_url
        );
        self.http.get(url).header("authorization", &self.token)
    }

    pub(crate) async fn get_id(&self, id: &str) -> Answer {
        Answer::of(self.by_id(id)).await.expect("answers")
    }

    pub(crate) async fn start_large(&self, name: &str) -> Value {
        let body = json!({
            "bucketId": self.bucket, "contentType": "application/octet-stream", "fileName": name,
        });
        self.ok("b2_start_large_file", body).await
    }

    pub(crate) async fn upload_part(&self, file: &Value, number: u64, bytes: &[u8]) -> Answer {
        let url = self
            .ok("b2_get_upload_part_url", json!({"fileId": file["fileId"]}))
            .await;
        let (url, token) = url_and_token(&url);
        let request = self
            .http
            .post(url)
            .header("authorization", token)
            .header("x-bz-part-number", number.to_string())
            .header("x-bz-content-sha1", sha1(bytes))
            .header("content-length", bytes.len())
            .body(bytes.to_vec());
        Answer::of(request).await.expect("answers")
    }

    /// Starts, sends these parts, and finishes.
    pub(crate) async fn upload_large(&self, name: &str, parts: &[&[u8]]) -> Value {
        let file = self.start_large(name).await;
        let mut sha1s = Vec::new();
        for (number, part) in (1..).zip(parts) {
            self.upload_part(&file, number, part).await.ok();
            sha1s.push(sha1(part));
        }
        let body = json!({"fileId": file["fileId"], "partSha1Array": sha1s});
        self.ok("b2_finish_large_file", body).await
    }

    /// Rows of one page of b2_list_file_names, as (action, name), and the next name.
    pub(crate) async fn names(&self, mut query: Value) -> (Vec<(String, String)>, Value) {
        query["bucketId"] = self.bucket.as_str().into();
        let page = self.ok("b2_list_file_names", query).await;
        (rows(&page), page["nextFileName"].clone())
    }

    /// All rows of b2_list_file_versions as (action, name).
    pub(crate) async fn versions(&self, mut query: Value) -> Vec<(String, String)> {
        query["bucketId"] = self.bucket.as_str().into();
        rows(&self.ok("b2_list_file_versions", query).await)
    }
}

pub(crate) fn url_and_token(reply: &Value) -> (String, String) {
    let text = |key: &str| reply[key].as_str().expect("a string").to_owned();
    (text("uploadUrl"), text("authorizationToken"))
}

pub(crate) fn rows(page: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = page["files"].as_array().expect("a list");
    files
        .iter()
        .map(|row| (text(&row["action"]), text(&row["fileName"])))
        .collect()
}

/// Uploads and folders, for comparing with [`rows`].
pub(crate) fn wanted(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter()
        .map(|(action, name)| ((*action).to_owned(), (*name).to_owned()))
        .collect()
}

pub(crate) fn encode(name: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');
    utf8_percent_encode(name, ENCODED).to_string()
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut all = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut all);
    all
}
