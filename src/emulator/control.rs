//! The server's own switches under `/emulator/` at the API address; no part of B2. Who may use them: `admission`.

mod admission;
pub(super) mod seed;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::json;

use crate::emulator::account::newest;
use crate::emulator::account::version::Action;
use crate::emulator::control::seed::{Seed, seed};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::Reply;
use crate::emulator::shared::Shared;

/// A million objects in one call.
const LIMIT: usize = 512 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeedRequest {
    bucket_name: String,
    files: Vec<Seed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TallyRequest {
    bucket_name: String,
    #[serde(default)]
    prefix: String,
}

pub(super) async fn answer(shared: &Arc<Shared>, head: &Parts, body: Incoming) -> Reply {
    match admitted(shared, head, body).await {
        Ok(value) => Reply::json(value.to_string()),
        Err(error) => Reply::error(&error, false, false),
    }
}

/// Nothing of the body is read for whoever may not ask.
async fn admitted(shared: &Arc<Shared>, head: &Parts, body: Incoming) -> Result<serde_json::Value> {
    admission::check(shared, &head.headers)?;
    let body = Limited::new(body, LIMIT)
        .collect()
        .await
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    act(shared, &head.method, head.uri.path(), body.to_bytes()).await
}

async fn act(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    body: Bytes,
) -> Result<serde_json::Value> {
    let done = json!({"ok": true});
    match (method.as_str(), path) {
        ("GET", "/emulator/counters") => {
            serde_json::to_value(shared.meter.snapshot()).map_err(|error| bad(&error))
        }
        ("GET", "/emulator/held") => {
            serde_json::to_value(shared.held.now()).map_err(|error| bad(&error))
        }
        ("POST", "/emulator/reset") => {
            shared.meter.reset();
            Ok(done)
        }
        ("POST", "/emulator/faults") => {
            let words: Vec<String> = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
            shared.faults.set(&words).map_err(ApiError::bad_request)?;
            Ok(done)
        }
        ("POST", "/emulator/seed") => {
            let wanted: SeedRequest = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
            drop(body);
            let shared = shared.clone();
            let made = tokio::task::spawn_blocking(move || {
                seed(&shared, &wanted.bucket_name, wanted.files)
            })
            .await
            .map_err(|error| ApiError::internal(&std::io::Error::other(error)))??;
            Ok(json!({"made": made}))
        }
        ("POST", "/emulator/tally") => {
            let wanted: TallyRequest =
                serde_json::from_slice(&body).map_err(|error| bad(&error))?;
            tally(shared, &wanted)
        }
        ("POST", "/emulator/expire-tokens") => {
            shared.tokens.expire_all();
            Ok(done)
        }
        _ => Err(ApiError::not_found(format!("{method} {path}"))),
    }
}

/// What the bucket shows under a prefix, without a call that would be counted.
fn tally(shared: &Shared, wanted: &TallyRequest) -> Result<serde_json::Value> {
    let account = shared.account();
    let bucket = account
        .bucket_by_name(&wanted.bucket_name)
        .ok_or_else(|| ApiError::bad_bucket_id(&wanted.bucket_name))?;
    let from = (Bound::Included(wanted.prefix.as_str()), Bound::Unbounded);
    let (mut names, mut empty, mut bytes) = (0_u64, 0_u64, 0_u64);
    for (name, versions) in bucket.names.range::<str, _>(from) {
        if !name.starts_with(&wanted.prefix) {
            break;
        }
        if let Some(version) = newest(versions).filter(|v| v.action == Action::Upload) {
            let size = version.content.len();
            names += 1;
            empty += u64::from(size == 0);
            bytes += size;
        }
    }
    Ok(json!({"names": names, "empty": empty, "bytes": bytes}))
}

fn bad(error: &serde_json::Error) -> ApiError {
    ApiError::bad_json(error.to_string())
}
