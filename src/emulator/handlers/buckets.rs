//! Calls on buckets (API §3).

use bytes::Bytes;
use serde_json::{Value, json};

use crate::emulator::account::bucket::{Settings, fresh};
use crate::emulator::account::keys::Key;
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;

const MOST_BUCKETS: usize = 100;

fn default_encryption(request: &Request) -> Encryption {
    request.shared.faults.switches().default_encryption()
}

fn describe(request: &Request, settings: &Settings) -> Value {
    let can = |capability: &str| {
        request
            .key()
            .is_ok_and(|key: &std::sync::Arc<Key>| key.can(capability))
    };
    let guarded = |capability: &str, value: Value| {
        let readable = can(capability);
        json!({
            "isClientAuthorizedToRead": readable,
            "value": if readable { value } else { Value::Null },
        })
    };
    json!({
        "accountId": request.shared.account_id,
        "bucketId": settings.id,
        "bucketInfo": settings.info,
        "bucketName": settings.name,
        "bucketType": settings.kind,
        "corsRules": settings.cors,
        "defaultServerSideEncryption": guarded("readBucketEncryption", json!(settings.encryption.shown())),
        "fileLockConfiguration": guarded("readBucketRetentions", json!({
            "defaultRetention": settings.default_retention,
            "isFileLockEnabled": settings.lock_enabled,
        })),
        "lifecycleRules": settings.lifecycle,
        "options": ["s3"],
        "replicationConfiguration": guarded("readBucketReplications", settings.replication.clone()),
        "revision": settings.revision,
    })
}

fn check_account_id(request: &Request, params: &Params) -> Result<()> {
    match params.need("accountId")? {
        id if id == request.shared.account_id => Ok(()),
        id => Err(ApiError::bad_request(format!("Invalid accountId: {id}"))),
    }
}

pub(in crate::emulator) fn list(request: &Request, params: &Params) -> Result<Bytes> {
    check_account_id(request, params)?;
    let id = params.text("bucketId")?;
    let name = params.text("bucketName")?;
    let kinds = params.texts("bucketTypes")?;
    let key = request.key()?;
    request.allow(None, None)?;
    let account = request.shared.account();
    if let Some(own) = &key.buckets {
        // It must name one of its own (API §3).
        let named = id.map(str::to_owned).or_else(|| {
            let bucket = account.bucket_by_name(name?)?;
            Some(bucket.settings.id.as_ref().to_owned())
        });
        if !named.is_some_and(|named| own.contains(&named)) {
            return Err(ApiError::unauthorized());
        }
    }
    let kind_fits = |kind: &str| match &kinds {
        Some(kinds) => kinds.iter().any(|wanted| wanted == "all" || wanted == kind),
        None => kind != "snapshot",
    };
    let buckets: Vec<_> = account
        .buckets
        .values()
        .map(|bucket| &bucket.settings)
        .filter(|settings| id.is_none_or(|id| *settings.id == *id))
        .filter(|settings| name.is_none_or(|name| settings.name.eq_ignore_ascii_case(name)))
        .filter(|settings| kind_fits(&settings.kind))
        .map(|settings| describe(request, settings))
        .collect();
    reply(&json!({"buckets": buckets}))
}

fn check_bucket_name(name: &str) -> Result<()> {
    let allowed = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if (6..=63).contains(&name.len()) && allowed && !name.starts_with("b2-") {
        Ok(())
    } else {
        Err(ApiError::bad_request(format!(
            "Invalid bucket name: {name}"
        )))
    }
}

fn check_kind(kind: &str) -> Result<&str> {
    match kind {
        "allPrivate" | "allPublic" => Ok(kind),
        _ => Err(ApiError::bad_request(format!("Invalid bucketType: {kind}"))),
    }
}

/// No rule's prefix begins with that of another one, and days are whole and positive (API §8).
fn check_lifecycle(rules: &Value) -> Result<()> {
    const DAYS: [&str; 3] = [
        "daysFromHidingToDeleting",
        "daysFromUploadingToHiding",
        "daysFromStartingToCancelingUnfinishedLargeFiles",
    ];
    let mut prefixes: Vec<&str> = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let prefix = rule["fileNamePrefix"]
            .as_str()
            .ok_or_else(|| ApiError::bad_request("A lifecycle rule needs a fileNamePrefix"))?;
        let overlaps = |other: &&str| prefix.starts_with(*other) || other.starts_with(prefix);
        if let Some(other) = prefixes.iter().find(|other| overlaps(other)) {
            return Err(ApiError::bad_request(format!(
                "The lifecycle rules for {other:?} and {prefix:?} overlap"
            )));
        }
        prefixes.push(prefix);
        for field in DAYS {
            let days = &rule[field];
            if !days.is_null() && days.as_u64().is_none_or(|days| days == 0) {
                return Err(ApiError::bad_request(format!(
                    "{field} must be a positive number of days"
                )));
            }
        }
    }
    Ok(())
}

/// Takes over the fields that both create and update know.
fn apply(request: &Request, params: &Params, settings: &mut Settings) -> Result<()> {
    if let Some(kind) = params.text("bucketType")? {
        check_kind(kind)?.clone_into(&mut settings.kind);
    }
    if let Some(info) = params.object("bucketInfo")? {
        if info.len() > 10 {
            return Err(ApiError::bad_request("bucketInfo has more than 10 pairs"));
        }
        settings.info.clone_from(info);
    }
    let lists = [
        ("corsRules", &mut settings.cors),
        ("lifecycleRules", &mut settings.lifecycle),
    ];
    for (field, setting) in lists {
        if let Some(value) = params.raw(field) {
            if value.as_array().is_none_or(|rules| rules.len() > 100) {
                return Err(ApiError::bad_json(format!(
                    "{field} must be a list of at most 100 rules"
                )));
            }
            setting.clone_from(value);
        }
    }
    check_lifecycle(&settings.lifecycle)?;
    if let Some(object) = params.object("defaultServerSideEncryption")? {
        request.check("writeBucketEncryption", None, None)?;
        settings.encryption = match object.get("mode").and_then(Value::as_str) {
            None => default_encryption(request),
            Some("SSE-B2") => Encryption::B2,
            Some(mode) => return Err(ApiError::bad_request(format!("Bad encryption: {mode}"))),
        };
    }
    if let Some(replication) = params.raw("replicationConfiguration") {
        request.check("writeBucketReplications", None, None)?;
        settings.replication = replication.clone();
    }
    if params.flag("fileLockEnabled")? {
        request.check("writeBucketRetentions", None, None)?;
        settings.lock_enabled = true;
    } else if settings.lock_enabled && params.raw("fileLockEnabled").is_some() {
        return Err(ApiError::new(
            400,
            "file_lock_conflict",
            "fileLockEnabled value of false is not allowed when bucket is already file lock enabled.",
        ));
    }
    if let Some(retention) = params.object("defaultRetention")? {
        request.check("writeBucketRetentions", None, None)?;
        if !settings.lock_enabled {
            return Err(ApiError::new(
                400,
                "bucket_missing_file_lock",
                "The bucket is not file lock enabled",
            ));
        }
        settings.default_retention = json!({
            "mode": retention.get("mode"), "period": retention.get("period"),
        });
    }
    Ok(())
}

pub(in crate::emulator) fn create(request: &Request, params: &Params) -> Result<Bytes> {
    check_account_id(request, params)?;
    let name = params.need("bucketName")?;
    params.need("bucketType")?;
    request.allow_account()?;
    check_bucket_name(name)?;
    let mut settings = fresh(name, "allPrivate", default_encryption(request));
    apply(request, params, &mut settings)?;
    let mut account = request.shared.account();
    if account.bucket_by_name(name).is_some() {
        return Err(ApiError::new(
            400,
            "duplicate_bucket_name",
            "Bucket name is already in use.",
        ));
    }
    if account.buckets.len() >= MOST_BUCKETS {
        return Err(ApiError::new(
            400,
            "too_many_buckets",
            "The account has as many buckets as it may have",
        ));
    }
    account.put_bucket(settings.clone())?;
    reply(&describe(request, &settings))
}

pub(in crate::emulator) fn update(request: &Request, params: &Params) -> Result<Bytes> {
    check_account_id(request, params)?;
    let id = params.need("bucketId")?;
    request.allow_account()?;
    let mut account = request.shared.account();
    let mut settings = account.bucket(id)?.settings.clone();
    if let Some(revision) = params.number("ifRevisionIs")?
        && revision != settings.revision
    {
        return Err(ApiError::new(
            409,
            "conflict",
            "simultaneous updates to bucket",
        ));
    }
    apply(request, params, &mut settings)?;
    settings.revision += 1;
    account.put_bucket(settings.clone())?;
    reply(&describe(request, &settings))
}

pub(in crate::emulator) fn delete(request: &Request, params: &Params) -> Result<Bytes> {
    check_account_id(request, params)?;
    let id = params.need("bucketId")?;
    request.allow_account()?;
    let mut account = request.shared.account();
    let bucket = account.bucket(id)?;
    if !bucket.names.is_empty() {
        return Err(ApiError::new(
            400,
            "cannot_delete_non_empty_bucket",
            "Cannot delete non-empty bucket",
        ));
    }
    let mut settings = bucket.settings.clone();
    settings.revision += 1;
    account.remove_bucket(id)?;
    reply(&describe(request, &settings))
}

pub(in crate::emulator) fn notification_rules(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("bucketId")?;
    request.allow(Some(id), None)?;
    let account = request.shared.account();
    let rules = &account.bucket(id)?.settings.notifications;
    reply(&json!({"bucketId": id, "eventNotificationRules": rules}))
}

/// Keeps the rules; nothing is ever sent.
pub(in crate::emulator) fn set_notification_rules(
    request: &Request,
    params: &Params,
) -> Result<Bytes> {
    let id = params.need("bucketId")?;
    request.allow(Some(id), None)?;
    let rules = params
        .raw("eventNotificationRules")
        .filter(|rules| rules.is_array())
        .ok_or_else(|| ApiError::bad_json("eventNotificationRules must be a list"))?;
    let mut account = request.shared.account();
    let mut settings = account.bucket(id)?.settings.clone();
    settings.notifications = rules.clone();
    account.put_bucket(settings)?;
    reply(&json!({"bucketId": id, "eventNotificationRules": rules}))
}
