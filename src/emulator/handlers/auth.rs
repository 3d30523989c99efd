//! b2_authorize_account in the shapes of its four versions (API §0, §2), and tokens for downloads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::emulator::account::keys::Key;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::HEADER_INFO;
use crate::emulator::shared::Shared;

pub(in crate::emulator) fn authorize(request: &Request) -> Result<Bytes> {
    let refused = || {
        let switches = request.shared.faults.switches();
        if switches.unauthorized_keys {
            ApiError::unauthorized()
        } else {
            ApiError::new(401, "bad_auth_token", "")
        }
    };
    let key = key_of(&request.shared, request.authorization()).ok_or_else(refused)?;
    if request.version < key.since_version {
        return Err(ApiError::bad_request(format!(
            "This request is not currently supported on API version number {}",
            request.version
        )));
    }
    let shared = &request.shared;
    let switches = shared.faults.switches();
    let token = shared.tokens.issue_account(&key, switches.token_life);
    let urls = shared.urls();
    let account_id = shared.account().id.clone();
    let common = json!({
        "absoluteMinimumPartSize": switches.minimum_part,
        "apiUrl": urls.api,
        "downloadUrl": urls.download,
        "recommendedPartSize": switches.recommended_part,
        "s3ApiUrl": urls.api,
    });
    let top = json!({
        "accountId": account_id,
        "applicationKeyExpirationTimestamp": key.expires,
        "authorizationToken": token,
    });
    let shape = match request.version {
        1 | 2 => {
            let mut flat = merge(top, common);
            flat["allowed"] = allowed_one(request, &key);
            if request.version == 1 {
                flat["minimumPartSize"] = switches.recommended_part.into();
            }
            flat
        }
        3 => {
            let mut api = merge(common, allowed_one(request, &key));
            api["infoType"] = "storageApi".into();
            merge(top, json!({"apiInfo": {"storageApi": api}}))
        }
        _ => {
            let mut api = common;
            api["allowed"] = allowed_many(request, &key);
            merge(top, json!({"apiInfo": {"storageApi": api}}))
        }
    };
    reply(&shape)
}

/// The key whose id and secret a header has.
pub(in crate::emulator) fn key_of(shared: &Shared, header: Option<&str>) -> Option<Arc<Key>> {
    let (id, secret) = basic(header)?;
    let account = shared.account();
    let key = account.keys.get(&id)?;
    (key.secret == secret && !key.expired()).then(|| key.clone())
}

fn basic(header: Option<&str>) -> Option<(String, String)> {
    let encoded = header?.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn merge(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn bucket_name(request: &Request, id: &str) -> Option<String> {
    let account = request.shared.account();
    let bucket = account.buckets.get(id)?;
    Some(bucket.settings.name.clone())
}

fn allowed_one(request: &Request, key: &Key) -> Value {
    let id = key.buckets.as_ref().and_then(|buckets| buckets.first());
    json!({
        "bucketId": id,
        "bucketName": id.and_then(|id| bucket_name(request, id)),
        "capabilities": key.capabilities,
        "namePrefix": key.prefix,
    })
}

fn allowed_many(request: &Request, key: &Key) -> Value {
    let buckets = key.buckets.as_ref().map(|ids| {
        ids.iter()
            .map(|id| json!({"id": id, "name": bucket_name(request, id)}))
            .collect::<Vec<_>>()
    });
    json!({
        "buckets": buckets,
        "capabilities": key.capabilities,
        "namePrefix": key.prefix,
    })
}

/// b2_get_download_authorization (API §7).
pub(in crate::emulator) fn download_authorization(
    request: &Request,
    params: &Params,
) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    let prefix = params.need("fileNamePrefix")?;
    let seconds = params
        .number("validDurationInSeconds")?
        .ok_or_else(|| ApiError::bad_request("required field validDurationInSeconds is missing"))?;
    request.allow(Some(bucket), Some(prefix))?;
    let id = request.shared.account().bucket(bucket)?.settings.id.clone();
    if !(1..=604_800).contains(&seconds) {
        return Err(ApiError::out_of_range(
            "validDurationInSeconds must be between 1 and 604800",
        ));
    }
    let mut overrides = HashMap::new();
    let fields = HEADER_INFO.iter().map(|(_, _, field)| *field);
    for field in fields.chain(["b2ContentType"]) {
        if let Some(value) = params.text(field)? {
            overrides.insert(field.to_owned(), value.to_owned());
        }
    }
    let token = request.shared.tokens.issue_download(
        id,
        prefix.to_owned(),
        overrides,
        request.key()?,
        Duration::from_secs(seconds),
    );
    reply(&json!({"authorizationToken": token, "bucketId": bucket, "fileNamePrefix": prefix}))
}
