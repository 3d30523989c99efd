//! The client's parts and its interface values; the calls stand in the rooms beside.
//!
//! A [`Client`] is one [`Arc`] of what all calls share: connections, session, idle upload URLs,
//! places for concurrent work, limits, counters. Nothing here is locked for longer than a map lookup.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::auth::{Allowed, Key, Sessions, authorize};
use super::body::Line;
use super::call::{Call, Places};
use super::calls::Pulse;
use super::counters::{Counters, Counting};
use super::guard::Guard;
use super::http::{Http, Realm, Waits};
use super::large::Started;
use super::limiter::Limiter;
use super::pool::Pool;
use super::throttle::Throttle;
use super::times::CallTimes;
use super::{Error, ErrorKind, FileId, FileInfo, FileVersion, Secret, Sha1};

/// JSON calls at once: well below the 500 requests a second that B2 grants (API §13), and about
/// what other clients use with it.
const SHORT_CALLS: usize = 32;
/// Copies and finishes at once; they take time on the server, not on the line.
const LONG_CALLS: usize = 64;
/// Hides and deletions at once: they come in crowds, which must hold up no listing. At 100 ms each
/// that is about what B2 grants a second.
const REMOVALS: usize = 64;

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://api.backblazeb2.com`, or another realm; plain http for loopback only.
    pub endpoint: String,
    /// The application key's id.
    pub key_id: String,
    /// The application key.
    pub key: Secret,
    /// The bucket by id; neither id nor name is needed with a key bound to one bucket.
    pub bucket_id: Option<String>,
    /// The bucket by name. With both, both must fit.
    pub bucket_name: Option<String>,
    /// A call ends at most this long after its last progress (default 120 s). Shorter limits
    /// also shorten the waits between tries.
    pub timeout: Duration,
    /// Concurrent uploads (files and parts).
    pub uploads: usize,
    /// Concurrent downloads.
    pub downloads: usize,
    /// What the user allows, whatever B2 grants.
    pub limits: Limits,
    /// A file of PEM certificates: whom to trust, instead of whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    /// The usual limits; endpoint and key are to be named.
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            key_id: String::new(),
            key: Secret::new(""),
            bucket_id: None,
            bucket_name: None,
            timeout: Duration::from_secs(120),
            uploads: 8,
            downloads: 8,
            limits: Limits::default(),
            ca_file: None,
        }
    }
}

/// Limits that the user sets; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls of all kinds begun in a second, repeated tries included.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes of content sent in a second, all uploads together.
    pub bandwidth_up: Option<NonZeroU64>,
    /// Bytes of content received in a second, all downloads together.
    pub bandwidth_down: Option<NonZeroU64>,
}

/// What authorize told about the key, and the bucket that was chosen.
#[derive(Debug, Clone)]
pub struct Account {
    /// The account's id, which is not the key's.
    pub account_id: String,
    /// The chosen bucket's id.
    pub bucket_id: String,
    /// The chosen bucket's name.
    pub bucket_name: String,
    /// What the key may do: `listFiles`, ... (API §11).
    pub capabilities: Vec<String>,
    /// The key's `namePrefix`; empty when unrestricted.
    pub name_prefix: String,
    /// Bytes that every part but the last must have.
    pub minimum_part_size: u64,
    /// Bytes of a part that B2 advises.
    pub recommended_part_size: u64,
}

impl Account {
    /// Whether the key has a capability (`writeFiles`, ...).
    pub fn may(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

/// `b2_list_file_names` (API §4.1).
#[derive(Debug, Clone, Default)]
pub struct ListNames {
    /// Only names that begin so; with a restricted key within its prefix.
    pub prefix: String,
    /// Inclusive; `None` starts at the prefix.
    pub start: Option<String>,
    /// Fold at `/`.
    pub delimiter: bool,
    /// 1..=10,000; 1,000 cost as much as one, and are meant by 0.
    pub max: u32,
}

/// A page of names; may be short or empty although more follow.
#[derive(Debug, Clone)]
pub struct NamesPage {
    /// Rows in B2's order.
    pub files: Vec<FileVersion>,
    /// Opaque; the listing ends only where this is `None` (API §4.1).
    pub next: Option<String>,
}

/// `b2_list_file_versions` (API §4.2): names ascending, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListVersions {
    /// Only names that begin so.
    pub prefix: String,
    /// Inclusive; with an id, from that version of the name on.
    pub start: Option<(String, Option<FileId>)>,
    /// Fold at `/`.
    pub delimiter: bool,
    /// 1..=10,000; 1,000 cost as much as one, and are meant by 0.
    pub max: u32,
}

/// A page of versions; may be short or empty although more follow.
#[derive(Debug, Clone)]
pub struct VersionsPage {
    /// Rows in B2's order.
    pub files: Vec<FileVersion>,
    /// Opaque; the listing ends only where this is `None`.
    pub next: Option<(String, Option<FileId>)>,
}

/// What a copy's file info is (`metadataDirective`, API §6.1).
#[derive(Debug, Clone)]
pub enum CopyMetadata {
    /// The source's content type and info.
    Copy,
    /// These instead; what is not named is lost.
    Replace {
        /// A media type, or `b2/x-auto`.
        content_type: String,
        /// The whole new info.
        info: FileInfo,
    },
}

/// A stored part of an unfinished large file.
#[derive(Debug, Clone)]
pub struct PartDone {
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// What `finish_large_file` wants to hear.
    pub sha1: Sha1,
}

/// The client; clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

/// What all clones and calls share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) http: Http,
    pub(super) sessions: Sessions,
    pub(super) urls: Pool,
    pub(super) started: Started,
    pub(super) guard: Guard,
    pub(super) limiter: Limiter,
    pub(super) up: Line,
    pub(super) down: Arc<Throttle>,
    short_calls: Arc<Semaphore>,
    long_calls: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    pub(super) pulse: Pulse,
    pub(super) counting: Counting,
}

impl Shared {
    pub(super) fn places(&self, whose: Places) -> &Arc<Semaphore> {
        match whose {
            Places::Short => &self.short_calls,
            Places::Long => &self.long_calls,
            Places::Removals => &self.removals,
            Places::Uploads => &self.uploads,
            Places::Downloads => &self.downloads,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes new connections for what is asked from now on: the machine has slept, or its network has changed.
    pub fn give_up_connections(&self) {
        self.shared.http.give_up_connections();
    }

    /// Authorizes and finds the bucket: one call with a bucket-bound key, else two.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let (client, allowed) = Self::authorized(options).await?;
        client.choose_bucket(allowed).await?;
        Ok(client)
    }

    /// Authorizes; the bucket is still to be chosen.
    pub(super) async fn authorized(options: Options) -> Result<(Self, Allowed), Error> {
        let refused = |detail: String| {
            Error::refused_here(
                ErrorKind::InvalidArgument,
                Call::AuthorizeAccount,
                &options.endpoint,
                detail,
            )
        };
        let realm = Realm::new(&options.endpoint)
            .map_err(|what| refused(format!("the endpoint is not usable: {what}")))?;
        let (uploads, downloads) = (options.uploads.max(1), options.downloads.max(1));
        let transfers = uploads.max(downloads).max(REMOVALS);
        let http = Http::new(
            realm,
            Waits::new(options.timeout),
            transfers,
            options.ca_file.as_deref(),
        )
        .map_err(|failure| refused(super::error::said(&failure)))?;
        let counting = Counting::default();
        let places = SHORT_CALLS + LONG_CALLS + REMOVALS + uploads + downloads;
        let cap = options.limits.requests_per_second;
        let limiter = Limiter::new(places, cap, options.timeout);
        let key = Key {
            id: options.key_id.clone(),
            secret: options.key.clone(),
        };
        let (session, allowed) = authorize(&http, &key, &counting, &limiter, 1).await?;
        let pulse = counting.troubled.pulse.clone();
        let client = Self {
            shared: Arc::new(Shared {
                http,
                sessions: Sessions::new(session, key),
                urls: Pool::new(uploads),
                started: Started::default(),
                guard: Guard::default(),
                limiter,
                up: Line {
                    pulse: pulse.clone(),
                    throttle: Arc::new(Throttle::new(options.limits.bandwidth_up)),
                    bytes: Arc::clone(&counting.sent),
                },
                down: Arc::new(Throttle::new(options.limits.bandwidth_down)),
                short_calls: Arc::new(Semaphore::new(SHORT_CALLS)),
                long_calls: Arc::new(Semaphore::new(LONG_CALLS)),
                removals: Arc::new(Semaphore::new(REMOVALS)),
                uploads: Arc::new(Semaphore::new(uploads)),
                downloads: Arc::new(Semaphore::new(downloads)),
                pulse,
                counting,
                options,
            }),
        };
        Ok((client, allowed))
    }

    /// What the key may do, and on which bucket; capabilities are those of the last authorize.
    pub fn account(&self) -> Account {
        self.session().account.clone()
    }

    /// Bytes that every part but the last must have, by the last authorize.
    pub fn minimum_part_size(&self) -> u64 {
        self.session().account.minimum_part_size
    }

    /// Whether the key has a capability, by the last authorize.
    pub fn may(&self, capability: &str) -> bool {
        self.session().account.may(capability)
    }

    /// Other limits on the bytes of content a second from now on, also for what is under way; `None` for no limit.
    pub fn set_bandwidth(&self, up: Option<NonZeroU64>, down: Option<NonZeroU64>) {
        self.shared.up.throttle.set(up);
        self.shared.down.set(down);
    }

    /// What has been asked of B2 so far.
    pub fn counters(&self) -> Counters {
        self.shared.counting.snapshot()
    }

    /// How long the tries of each call took so far.
    pub fn call_times(&self) -> Vec<CallTimes> {
        self.shared.counting.times.snapshot()
    }

    /// For how long calls have not got through, where that was worth a warning and is not over.
    pub fn trouble(&self) -> Option<Duration> {
        self.shared.counting.troubled.lasts()
    }

    /// The counters as one line of JSON: calls by name and class, retries, bytes up and down.
    pub fn counters_json(&self) -> String {
        serde_json::to_string(&self.counters()).expect("numbers under words are JSON")
    }
}
