//! The emulator in a process of its own, so that its CPU time and memory are nobody else's, and the few
//! calls that a bench makes by itself.
//!
//! MD5 is switched off: the emulator would spend more on it than on everything else together.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::MIB;
use super::process::Process;

/// How far the server seems away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Added to every answer.
    pub(crate) latency: Duration,
    /// Bytes per second of each connection.
    pub(crate) bandwidth: Option<u64>,
}

impl Line {
    pub(crate) const LOOPBACK: Self = Self::new(0, None);

    pub(crate) const fn new(milliseconds: u64, mib_per_second: Option<u64>) -> Self {
        let bandwidth = match mib_per_second {
            Some(mib) => Some(mib * MIB),
            None => None,
        };
        Self {
            latency: Duration::from_millis(milliseconds),
            bandwidth,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = self.latency.as_millis();
        match (latency, self.bandwidth) {
            (0, None) => write!(f, "loopback"),
            (_, None) => write!(f, "{latency} ms"),
            (_, Some(rate)) => write!(f, "{latency} ms, {} MiB/s a connection", rate / MIB),
        }
    }
}

/// What the server was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes of content that clients downloaded.
    pub(crate) down: u64,
    /// Bytes of content that clients uploaded.
    pub(crate) up: u64,
    pub(crate) calls: u64,
}

/// What a bucket shows. Empty objects are left out: every client has markers of its own for directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A running emulator with one bucket.
pub(crate) struct Server {
    _process: Process,
    pub(crate) endpoint: String,
    pub(crate) key_id: String,
    pub(crate) key: String,
    pub(crate) bucket: String,
    pub(crate) token: String,
    bucket_id: String,
    api: String,
    downloads: String,
    http: reqwest::Client,
    runtime: Runtime,
}

impl Server {
    pub(crate) fn start(line: Line) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_b2fuse"));
        command.args(["--emulator-listen", "127.0.0.1:0"]);
        command.args(["--emulator-fault", "no-md5"]);
        command.arg("--emulator-latency");
        command.arg(format!("{}ms", line.latency.as_millis()));
        if let Some(rate) = line.bandwidth {
            command.args(["--emulator-bandwidth", &rate.to_string()]);
        }
        let mut process = Process::piped(&command)?;
        let said = process.child().stdout.take().context("a pipe")?;
        let mut lines = BufReader::new(said).lines();
        let mut told = |what: &str| -> Result<String> {
            for line in lines.by_ref() {
                if let Some(value) = line?.strip_prefix(what) {
                    return Ok(value.trim().to_owned());
                }
            }
            bail!("the emulator ended without telling its {what}")
        };
        let endpoint = told("endpoint ")?;
        let key_id = told("key id ")?;
        let key = told("key ")?;
        let bucket = told("bucket ")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut server = Self {
            _process: process,
            endpoint,
            key_id,
            key,
            bucket,
            token: String::new(),
            bucket_id: String::new(),
            api: String::new(),
            downloads: String::new(),
            http,
            runtime,
        };
        server.authorize()?;
        Ok(server)
    }

    fn authorize(&mut self) -> Result<()> {
        let url = format!("{}/b2api/v4/b2_authorize_account", self.endpoint);
        let request = self.http.get(url).basic_auth(&self.key_id, Some(&self.key));
        let answer = self.answer(request)?;
        let storage = &answer["apiInfo"]["storageApi"];
        self.api = text(&storage["apiUrl"])?;
        self.downloads = text(&storage["downloadUrl"])?;
        self.token = text(&answer["authorizationToken"])?;
        let wanted = json!({"accountId": answer["accountId"], "bucketName": self.bucket});
        let buckets = self.call("b2_list_buckets", &wanted)?;
        self.bucket_id = text(&buckets["buckets"][0]["bucketId"])?;
        Ok(())
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let status = answer.status();
            let body: Value = answer.json().await?;
            if !status.is_success() {
                bail!("the emulator answered {status}: {body}");
            }
            Ok(body)
        })
    }

    /// One call of the Native API.
    pub(crate) fn call(&self, name: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/b2api/v4/{name}", self.api);
        let request = self.http.post(url).header("Authorization", &self.token);
        self.answer(request.json(body))
    }

    /// One request to the emulator itself.
    fn control(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}/emulator/{path}", self.endpoint);
        let request = self.http.request(method, url);
        let request = request.basic_auth(&self.key_id, Some(&self.key));
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    pub(crate) fn traffic(&self) -> Result<Traffic> {
        let counters = self.control(Method::GET, "counters", None)?;
        let calls = counters["calls"].as_object().context("calls")?;
        let number = |value: &Value| value.as_u64().context("a number");
        Ok(Traffic {
            down: number(&counters["bytesOut"])?,
            up: number(&counters["bytesIn"])?,
            calls: calls.values().filter_map(Value::as_u64).sum(),
        })
    }

    /// Calls by their names, without `b2_`.
    pub(crate) fn calls(&self) -> Result<BTreeMap<String, u64>> {
        let counters = self.control(Method::GET, "counters", None)?;
        let calls = counters["calls"].as_object().context("calls")?;
        calls
            .iter()
            .map(|(name, count)| {
                let name = name.strip_prefix("b2_").unwrap_or(name);
                Ok((name.to_owned(), count.as_u64().context("a number")?))
            })
            .collect()
    }

    /// What the bucket shows under a prefix; not counted as a call.
    pub(crate) fn tally(&self, prefix: &str) -> Result<Tally> {
        let body = json!({"bucketName": self.bucket, "prefix": prefix});
        let tally = self.control(Method::POST, "tally", Some(&body))?;
        let number = |field: &str| tally[field].as_u64().context("a number");
        Ok(Tally {
            files: number("names")? - number("empty")?,
            bytes: number("bytes")?,
        })
    }

    /// Asks until the bucket shows this under a prefix.
    pub(crate) fn wait_for_tally(
        &self,
        prefix: &str,
        wanted: Tally,
        patience: Duration,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            let found = self.tally(prefix)?;
            if found == wanted {
                return Ok(());
            }
            if started.elapsed() > patience {
                bail!("{found:?} of {wanted:?} is in the bucket under {prefix}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Objects of seeded content and of this size, made without uploads.
    pub(crate) fn seed_all(&self, names: impl Iterator<Item = String>, size: u64) -> Result<()> {
        let files: Vec<Value> = names
            .map(|name| json!({"name": name, "size": size}))
            .collect();
        let body = json!({"bucketName": self.bucket, "files": files});
        self.control(Method::POST, "seed", Some(&body)).map(drop)
    }

    /// Forgets what was asked so far.
    pub(crate) fn reset_traffic(&self) -> Result<()> {
        self.control(Method::POST, "reset", None).map(drop)
    }

    /// An object of seeded content, made without an upload. Its SHA-1 is stored where it is given.
    pub(crate) fn seed(&self, name: &str, size: u64, sha1: Option<&str>) -> Result<()> {
        let info = match sha1 {
            Some(sha1) => json!({"large_file_sha1": sha1}),
            None => json!({}),
        };
        let body = json!({"bucketName": self.bucket, "files": [{"name": name, "size": size, "info": info}]});
        self.control(Method::POST, "seed", Some(&body)).map(drop)
    }

    /// An object of real bytes, which the server hands out at less cost than seeded ones.
    pub(crate) fn upload(&self, name: &str, content: Bytes, sha1: &str) -> Result<()> {
        let (url, token) = self.upload_url()?;
        let request = self
            .http
            .post(url)
            .header("Authorization", token)
            .header("X-Bz-File-Name", name)
            .header("Content-Type", "b2/x-auto")
            .header("X-Bz-Content-Sha1", sha1)
            .body(content);
        self.answer(request).map(drop)
    }

    /// Where a file may be uploaded, and the token for that.
    pub(crate) fn upload_url(&self) -> Result<(String, String)> {
        let answer = self.call("b2_get_upload_url", &json!({"bucketId": self.bucket_id}))?;
        Ok((
            text(&answer["uploadUrl"])?,
            text(&answer["authorizationToken"])?,
        ))
    }

    /// Begins a large file; its id.
    pub(crate) fn start_large(&self, name: &str) -> Result<String> {
        let file =
            json!({"bucketId": self.bucket_id, "fileName": name, "contentType": "b2/x-auto"});
        text(&self.call("b2_start_large_file", &file)?["fileId"])
    }

    /// Where a part may be uploaded, and the token for that.
    pub(crate) fn part_url(&self, file_id: &str) -> Result<(String, String)> {
        let answer = self.call("b2_get_upload_part_url", &json!({"fileId": file_id}))?;
        Ok((
            text(&answer["uploadUrl"])?,
            text(&answer["authorizationToken"])?,
        ))
    }

    /// Joins the parts of a large file.
    pub(crate) fn finish_large(&self, file_id: &str, sha1s: &[String]) -> Result<()> {
        let parts = json!({"fileId": file_id, "partSha1Array": sha1s});
        self.call("b2_finish_large_file", &parts).map(drop)
    }

    /// Where a file is downloaded by its name, which must not need encoding.
    pub(crate) fn url_of(&self, name: &str) -> String {
        format!("{}/file/{}/{name}", self.downloads, self.bucket)
    }

    /// The size of the object that a name shows.
    pub(crate) fn size_of(&self, name: &str) -> Result<Option<u64>> {
        let request = self
            .http
            .request(Method::HEAD, self.url_of(name))
            .header("Authorization", &self.token);
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let length = answer.headers().get("content-length");
            match (answer.status().as_u16(), length) {
                (200, Some(length)) => Ok(Some(length.to_str()?.parse()?)),
                (404, _) => Ok(None),
                (status, _) => bail!("the emulator answered {status}"),
            }
        })
    }

    /// The id of the version that the name shows.
    pub(crate) fn id_of(&self, name: &str) -> Result<String> {
        let wanted = json!({"bucketId": self.bucket_id, "prefix": name, "maxFileCount": 1});
        text(&self.call("b2_list_file_names", &wanted)?["files"][0]["fileId"])
    }

    /// Asks until the name shows an object of this size; how often that was.
    pub(crate) fn wait_for(&self, name: &str, size: u64, patience: Duration) -> Result<u64> {
        let started = Instant::now();
        for asked in 1.. {
            if self.size_of(name)? == Some(size) {
                return Ok(asked);
            }
            if started.elapsed() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{name} of {size} bytes has not reached the server")
    }

    /// Deletes every version of one name, so that the server can free its memory.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        loop {
            let wanted = json!({"bucketId": self.bucket_id, "prefix": name});
            let page = self.call("b2_list_file_versions", &wanted)?;
            let rows = page["files"].as_array().context("rows")?;
            let of_name = |row: &&Value| row["fileName"] == name;
            let mut left = false;
            for row in rows.iter().filter(of_name) {
                left = true;
                let id = json!({"fileName": name, "fileId": row["fileId"]});
                let call = if row["action"] == "start" {
                    "b2_cancel_large_file"
                } else {
                    "b2_delete_file_version"
                };
                self.call(call, &id)?;
            }
            if !left {
                return Ok(());
            }
        }
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value
        .as_str()
        .context("the answer lacks a text")?
        .to_owned())
}
