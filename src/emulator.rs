//! A B2 Native API server in this process, for `--emulator` and for tests.
//!
//! It answers as the service does, as far as that is known (cited as API §n), and is strict where the
//! service is: unknown fields, wrong names, missing lengths and rights are refused. It shares no type with the client.
//! Threads and runtime are its own; it listens on loopback only, at one address for the API and at others for downloads
//! and uploads, and stops when dropped. Content stays in memory, or in a directory that later runs take up again.
//! Its rooms, from `http` down to `content`, stand in docs/architecture.md.
//!
//! # Faults
//! [`Options::faults`], [`Server::set_faults`] and `POST /emulator/faults` take words of the form
//! `CALL:KIND[=VALUE][:COUNT][@SKIP][/PROBABILITY]`: the first rule that fits a request, is not used up and passes its
//! dice strikes; the first SKIP requests that it would strike pass it unharmed. CALL is a call's name with or without `b2_`, or `upload` (file and part), `download` (by id and name), `list`
//! (names and versions) or `*`.
//!
//! | KIND | effect |
//! |---|---|
//! | `503` `429` `500` `408` | that status; `=SECONDS` adds Retry-After |
//! | `502` | an HTML page |
//! | `401` | the request's token expires for good; `bad-token`: refused this once |
//! | `400` | the request is refused as it is, `bad_request` |
//! | `403` `storage-cap` `transaction-cap` `download-cap` | 403 `cap_exceeded` and its kin |
//! | `reset` | the connection is reset before the body is read |
//! | `reset-mid` | reset after half of the body, of the request or of a download |
//! | `lost-reply` | the call takes effect, then the connection is reset |
//! | `truncate` | a download ends after half of its bytes |
//! | `corrupt` | a download's first byte is wrong |
//! | `stall=SECONDS` | nothing happens for so long, then the call goes on |
//! | `stall-mid=SECONDS` | so long a pause after half of an upload or download |
//! | `late=SECONDS` | the call takes effect at once, and is answered so much later |
//! | `hang` | the call has no effect and is never answered: it ends with its connection |
//! | `short-page[=ROWS]` `empty-page` | a list page ends early, with a next name |
//! | `stale-list=SECONDS` | a list page shows nothing of the versions uploaded or hidden in the last SECONDS |
//!
//! `hang@N` is a crash point: `*:hang@5` lets five calls through and none after them, so that a client can be killed with
//! exactly these done; with `*:late=600:1@4` before it, the fifth has taken effect and is not answered.
//!
//! Words without a colon are switches: `no-md5` (contentMd5 null, for speed), `no-encryption` (buckets without SSE-B2; also
//! lifts the 2048 byte limit), `old-names` (slash rules of before 2020), `odd-next` (nextFileName that names no file),
//! `split-folders=NAMES` (a list with a delimiter stops inside a folder after so many names, and tells the folder again on
//! its next page), `strict-urls` (an upload URL is dead after any failure but 429), `early-refusals` (refused uploads are
//! answered and their connection closed while the body is still coming), `json-names` (a bad name in a JSON call is
//! `bad_json`),
//! `unauthorized-keys` (a wrong key is `unauthorized`, not `bad_auth_token`), `replicated` (rows tell `replicationStatus`),
//! `info-keys=NUMBER` (most keys of file info; older rules say ten), `stamp-step=MILLISECONDS` (upload times are multiples of
//! it: versions may have the same one),
//! `custom-timestamps` (the account may set upload times), `token-life=SECONDS`, `maximum-copy=BYTES`,
//! `recommended-part=BYTES` (what authorizations recommend), `minimum-part=BYTES` (what they say every part but the last must
//! have, and a finish wants), `rate-limit=NUMBER` and `at-once=NUMBER` (so many requests of all kinds are taken in a second, or
//! at once; the others are refused with 429).
//!
//! # Control
//! At the API address, for whoever has the master key (as user and password) or a token of it, and no page of a browser: `GET /emulator/counters`, `GET /emulator/held` (a list of `{"call", "by"}`: the requests that `stall`,
//! `late` or `hang` keeps waiting now), `POST /emulator/reset`, `POST /emulator/faults` (a JSON list of words
//! that replaces all), `POST /emulator/seed` (`{"bucketName", "files": [{"name", "size", "uploadTimestamp"?, "info"?, "customerKeyMd5"?}]}`),
//! `POST /emulator/expire-tokens`, `POST /emulator/tally` (`{"bucketName", "prefix"?}`: how many names the bucket shows, how
//! many of them are empty, and the bytes of all). None of these is counted, delayed or struck by faults. The content of seeded objects is [`seeded_content`].

mod account;
mod content;
mod control;
mod dispatch;
mod encryption;
mod error;
mod exchange;
mod handlers;
mod http;
mod journal;
mod params;
mod rules;
mod shared;
mod text;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use control::seed::Seed;
pub use shared::counters::Counters;
pub use shared::held::Held;

use account::{Account, bucket, keys};
use content::patterns;
use content::store::Store;
use encryption::Encryption;
use error::ApiError;
use shared::call::Role;
use shared::faults::Faults;
use shared::{Addresses, Shared};

const BUCKET: &str = "b2fuse-demo";

/// How to start a [`Server`].
#[derive(Debug, Clone)]
pub struct Options {
    /// `127.0.0.1:0` takes a free port; loopback only.
    pub listen: SocketAddr,
    /// Keeps the account here across runs; `None`: in memory.
    pub dir: Option<PathBuf>,
    /// Added before every answer.
    pub latency: Duration,
    /// Bytes per second and connection and direction.
    pub bandwidth: Option<u64>,
    /// Fault switches in words (`--emulator-fault`), see the head of this module.
    pub faults: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir: None,
            latency: Duration::ZERO,
            bandwidth: None,
            faults: Vec::new(),
        }
    }
}

/// A running server with threads and a runtime of its own; stops when dropped.
pub struct Server {
    shared: Arc<Shared>,
    key_id: String,
    key: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Options {
    /// Says what is wrong with the fault words before anything is started.
    pub fn check(&self) -> Result<(), String> {
        Faults::parse(&self.faults).map(drop)
    }
}

impl Server {
    /// Returns when it listens.
    pub fn start(options: Options) -> io::Result<Self> {
        let Options {
            listen,
            dir,
            latency,
            bandwidth,
            faults,
        } = options;
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the emulator listens on loopback only, not on {listen}"),
            ));
        }
        let faults = Faults::parse(&faults)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let any = SocketAddr::new(listen.ip(), 0);
        let mut listeners = vec![(Role::Api, TcpListener::bind(listen)?)];
        for role in [Role::Download, Role::Download, Role::Pod, Role::Pod] {
            listeners.push((role, TcpListener::bind(any)?));
        }
        let addresses = addresses(&listeners)?;

        let alive = Arc::new(());
        let new_id = text::random_hex(12);
        let (mut account, store) = match dir {
            None => (Account::new(new_id), Store::new(None, 0, alive)),
            Some(dir) => {
                let opened = journal::open(&dir, new_id, &alive)?;
                let content = Some(dir.join("content"));
                (opened.account, Store::new(content, opened.last_blob, alive))
            }
        };
        let (key_id, key) = furnish(&mut account, faults.switches().default_encryption())
            .map_err(|error| io::Error::other(error.message))?;

        let shared = Shared::new(account, store, faults, addresses, latency, bandwidth);
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(listeners, shared.clone(), stopped)?;
        Ok(Self {
            shared,
            key_id,
            key,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:port`: what a client takes as realm.
    pub fn endpoint(&self) -> String {
        self.shared.addresses.api.clone()
    }

    /// The account that all buckets belong to.
    pub fn account_id(&self) -> &str {
        &self.shared.account_id
    }

    /// The master key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The secret of the master key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The private bucket that exists from the start (`b2fuse-demo`).
    pub fn bucket_name(&self) -> &'static str {
        BUCKET
    }

    /// What was asked since the start or the last reset.
    pub fn counters(&self) -> Counters {
        self.shared.meter.snapshot()
    }

    /// The requests that `stall`, `late` or `hang` keeps waiting now, oldest first.
    pub fn held(&self) -> Vec<Held> {
        self.shared.held.now()
    }

    /// Zeroes the counters.
    pub fn reset_counters(&self) {
        self.shared.meter.reset();
    }

    /// Replaces all fault rules and switches; on an error the old ones stay.
    pub fn set_faults(&self, words: &[&str]) -> Result<(), String> {
        self.shared.faults.set(words)
    }

    /// Every token that is out is told to be expired from now on.
    pub fn expire_tokens(&self) {
        self.shared.tokens.expire_all();
    }

    /// Makes objects without an upload, with the content of [`seeded_content`].
    pub fn seed(&self, bucket_name: &str, seeds: &[Seed]) -> Result<(), String> {
        control::seed::seed(&self.shared, bucket_name, seeds)
            .map(drop)
            .map_err(|error| error.message)
    }

    /// Another private bucket.
    pub fn create_bucket(&self, name: &str) -> Result<(), String> {
        let encryption = self.shared.faults.switches().default_encryption();
        let mut account = self.shared.account();
        if account.bucket_by_name(name).is_some() {
            return Err(format!("there is a bucket called {name}"));
        }
        account
            .put_bucket(bucket::fresh(name, "allPrivate", encryption))
            .map_err(|error| error.message)
    }

    /// A new key as (id, secret), restricted to buckets given by name and to a name prefix where they are given.
    pub fn create_key(
        &self,
        capabilities: &[&str],
        bucket_names: Option<&[&str]>,
        name_prefix: Option<&str>,
    ) -> Result<(String, String), String> {
        let mut account = self.shared.account();
        let ids = match bucket_names {
            None => None,
            Some(names) => {
                let id = |name: &&str| {
                    let bucket = account
                        .bucket_by_name(name)
                        .ok_or_else(|| format!("no bucket is called {name}"))?;
                    Ok(bucket.settings.id.as_ref().to_owned())
                };
                Some(names.iter().map(id).collect::<Result<Vec<_>, String>>()?)
            }
        };
        let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
        let prefix = name_prefix.map(str::to_owned);
        let key = keys::fresh(&account, capabilities, ids, prefix)
            .and_then(|key| account.put_key(key))
            .map_err(|error| error.message)?;
        Ok((key.id.clone(), key.secret.clone()))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the key nor the tokens.
        f.debug_struct("Server")
            .field("endpoint", &self.shared.addresses.api)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; nothing is left to stop.
            let _ = thread.join();
        }
    }
}

/// Bytes of the seeded object `name` from `offset` on: byte `i` is byte `i % 8`, little-endian, of
/// `(i / 8 + 1 + v * 2^40) * 0x9E3779B97F4A7C15`, where `v` is the name's bytes folded by `v * 31 + byte`, modulo 61.
pub fn seeded_content(name: &str, offset: u64, buffer: &mut [u8]) {
    patterns::pattern(patterns::variant_of(name), offset, buffer);
}

fn addresses(listeners: &[(Role, TcpListener)]) -> io::Result<Addresses> {
    let mut addresses = Addresses::default();
    for (role, listener) in listeners {
        let url = format!("http://{}", listener.local_addr()?);
        match role {
            Role::Api => addresses.api = url,
            Role::Download => addresses.download.push(url),
            Role::Pod => addresses.pods.push(url),
        }
    }
    Ok(addresses)
}

/// Makes master key and first bucket where they do not exist yet; returns the key's id and secret.
fn furnish(account: &mut Account, encryption: Encryption) -> Result<(String, String), ApiError> {
    let master = match account.keys.get(&account.id) {
        Some(key) => key.clone(),
        None => account.put_key(keys::master(&account.id.clone()))?,
    };
    if account.bucket_by_name(BUCKET).is_none() {
        account.put_bucket(bucket::fresh(BUCKET, "allPrivate", encryption))?;
    }
    Ok((master.id.clone(), master.secret.clone()))
}

/// A thread that owns the runtime, so that dropping the server ends every connection before it returns.
fn spawn(
    listeners: Vec<(Role, TcpListener)>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("emulator")
        .enable_all()
        .build()?;
    {
        let _inside = runtime.enter();
        for (role, listener) in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            runtime.spawn(http::listen(listener, role, shared.clone()));
        }
    }
    drop(shared);
    std::thread::Builder::new()
        .name("emulator".to_owned())
        .spawn(move || {
            // The sender's end is the signal. A copy that still hashes gigabytes is not waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(Duration::from_secs(1));
        })
}
