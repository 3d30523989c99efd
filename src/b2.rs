//! The client of the B2 Native API, v4: one method per call, free of filesystem words.
//!
//! [`Client`] owns the account token, the pool of upload URLs, the retry rules (API §12) and the
//! limits on concurrent transfers. It is cheap to clone and safe to share; every method may be
//! called from any task. No method waits without bound: a call ends with an answer or an
//! [`Error`] at most `Options::timeout` after its last progress.
//!
//! `calls` is the loop around each call, `retry` its rules, `limiter` (by the rules of `congestion`) how many run at once,
//! `http` one exchange, `auth` the token and the bucket; the calls themselves are in `list`, `upload` (with `body` and `pool`),
//! `large`, `copy`, `download` and `versions`. `throttle` limits bytes a second, `times` counts how long tries take, `guard` judges pages of listings, `redact` what goes into
//! messages, `trouble` says when calls do not get through.
//!
//! Callers: `io` (content), `vfs` (names), `mount` (connect). Facts are cited as (API §n).

mod auth;
mod body;
mod bucket;
mod call;
mod calls;
mod client;
mod congestion;
mod connections;
mod copy;
mod counters;
mod date;
mod download;
mod error;
mod guard;
mod hash;
mod http;
mod id;
mod large;
mod limiter;
mod list;
mod name;
mod pool;
mod redact;
mod retry;
mod rotate;
mod throttle;
mod times;
mod trouble;
mod types;
mod upload;
mod versions;
mod wire;

pub use bucket::{BucketSettings, LifecycleRule, Reached};
pub use client::{
    Account, Client, CopyMetadata, Limits, ListNames, ListVersions, NamesPage, Options, PartDone,
    VersionsPage,
};
pub use counters::Counters;
pub use download::Download;
pub use error::{Error, ErrorKind, Lost};
pub use hash::Hasher;
pub use id::FileId;
pub use name::encoded_len;
pub use throttle::BANDWIDTH_MIN;
pub use times::{BOUNDS_MS, CallTimes};
pub use types::{
    Action, ContentSha1, FileInfo, FileName, FileVersion, InvalidName, NewFile, Payload, Secret,
    Sha1, Taken,
};
