//! Calls on application keys (API §11).

use bytes::Bytes;
use serde_json::{Value, json};

use crate::emulator::account::keys::{Key, fresh};
use crate::emulator::account::now_millis;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;

const MOST_SECONDS: u64 = 86_400_000;

fn describe(request: &Request, key: &Key) -> Value {
    let one = key.buckets.as_ref().and_then(|buckets| match &buckets[..] {
        [one] => Some(one),
        _ => None,
    });
    let mut fields = json!({
        "accountId": request.shared.account_id,
        "applicationKeyId": key.id,
        "bucketId": one,
        "capabilities": key.capabilities,
        "expirationTimestamp": key.expires,
        "keyName": key.name,
        "namePrefix": key.prefix,
        "options": ["s3"],
    });
    if request.version >= 4 {
        fields["bucketIds"] = json!(key.buckets);
    }
    fields
}

pub(in crate::emulator) fn create(request: &Request, params: &Params) -> Result<Bytes> {
    request.allow_account()?;
    let capabilities = params
        .texts("capabilities")?
        .filter(|capabilities| !capabilities.is_empty())
        .ok_or_else(|| ApiError::bad_request("required field capabilities is missing"))?;
    let name = params.need("keyName")?;
    let buckets = match (params.texts("bucketIds")?, params.text("bucketId")?) {
        (Some(_), _) if request.version < 4 => {
            return Err(ApiError::bad_json("unknown field: bucketIds"));
        }
        (Some(ids), _) => Some(ids),
        (None, one) => one.map(|id| vec![id.to_owned()]),
    };
    let prefix = params.text("namePrefix")?.map(str::to_owned);
    if prefix.is_some() && buckets.is_none() {
        return Err(ApiError::bad_request("namePrefix needs a bucket"));
    }
    let account_wide = [
        "listKeys",
        "writeKeys",
        "deleteKeys",
        "writeBuckets",
        "deleteBuckets",
    ];
    if buckets.is_some()
        && let Some(wide) = capabilities
            .iter()
            .find(|capability| account_wide.contains(&capability.as_str()))
    {
        return Err(ApiError::bad_request(format!(
            "{wide} is not for keys of some buckets"
        )));
    }
    let seconds = params.number("validDurationInSeconds")?;
    if seconds.is_some_and(|seconds| !(1..=MOST_SECONDS).contains(&seconds)) {
        return Err(ApiError::out_of_range(
            "validDurationInSeconds must be between 1 and 86400000",
        ));
    }
    let key = {
        let mut account = request.shared.account();
        let mut key = fresh(&account, capabilities, buckets, prefix)?;
        name.clone_into(&mut key.name);
        key.expires = seconds.map(|seconds| now_millis() + seconds * 1000);
        if request.version < 4 {
            key.since_version = 1;
        }
        account.put_key(key)?
    };
    let mut fields = describe(request, &key);
    fields["applicationKey"] = key.secret.clone().into();
    reply(&fields)
}

pub(in crate::emulator) fn list(request: &Request, params: &Params) -> Result<Bytes> {
    request.allow_account()?;
    let max = match params.number("maxKeyCount")? {
        None | Some(0) => 100,
        Some(count) if count <= 10_000 => count as usize,
        Some(_) => return Err(ApiError::out_of_range("maxKeyCount must be at most 10000")),
    };
    let start = params.text("startApplicationKeyId")?.unwrap_or_default();
    let account = request.shared.account();
    let mut found = account
        .keys
        .range(start.to_owned()..)
        .map(|(_, key)| key)
        .filter(|key| key.id != account.id && !key.expired());
    let keys: Vec<_> = found
        .by_ref()
        .take(max)
        .map(|key| describe(request, key))
        .collect();
    let next = found.next().map(|key| &key.id);
    reply(&json!({"keys": keys, "nextApplicationKeyId": next}))
}

pub(in crate::emulator) fn delete(request: &Request, params: &Params) -> Result<Bytes> {
    request.allow_account()?;
    let id = params.need("applicationKeyId")?;
    let mut account = request.shared.account();
    let key = account
        .keys
        .get(id)
        .filter(|key| key.id != account.id)
        .cloned()
        .ok_or_else(|| ApiError::bad_request(format!("No such key: {id}")))?;
    account.remove_key(id)?;
    request.shared.tokens.revoke(id);
    reply(&describe(request, &key))
}
