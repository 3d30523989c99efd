//! Object Lock: retention and legal hold of single versions (API §8).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::emulator::account::bucket::Settings;
use crate::emulator::account::locks::{
    check_future, default_retention, missing_lock, parse_hold, parse_retention,
};
use crate::emulator::account::now_millis;
use crate::emulator::account::version::{Lock, Retention, Version};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;

fn retention_field(object: &Map<String, Value>) -> Result<Option<Retention>> {
    parse_retention(
        object.get("mode").and_then(Value::as_str),
        object.get("retainUntilTimestamp").and_then(Value::as_u64),
    )
}

/// `fileRetention` and `legalHold` of a new version, or the bucket's default.
pub(super) fn from_params(
    request: &Request,
    settings: &Settings,
    params: &Params,
) -> Result<Option<Box<Lock>>> {
    let retention = match params.object("fileRetention")? {
        Some(object) => retention_field(object)?,
        None => None,
    };
    let legal_hold = params.text("legalHold")?.map(parse_hold).transpose()?;
    for_new(request, settings, retention, legal_hold)
}

/// Checks the rights to lock, and adds the bucket's default retention.
pub(super) fn for_new(
    request: &Request,
    settings: &Settings,
    retention: Option<Retention>,
    legal_hold: Option<bool>,
) -> Result<Option<Box<Lock>>> {
    let asked = retention.is_some() || legal_hold.is_some();
    if retention.is_some() {
        request.check("writeFileRetentions", None, None)?;
    }
    if legal_hold.is_some() {
        request.check("writeFileLegalHolds", None, None)?;
    }
    if !settings.lock_enabled {
        return if asked { Err(missing_lock()) } else { Ok(None) };
    }
    check_future(retention.as_ref())?;
    let lock = Lock {
        retention: retention.or_else(|| default_retention(&settings.default_retention)),
        legal_hold,
    };
    Ok((lock != Lock::default()).then(|| Box::new(lock)))
}

/// Changes the lock of the version that the parameters name.
fn change(
    request: &Request,
    params: &Params,
    change: impl FnOnce(&Version, &mut Lock) -> Result<()>,
) -> Result<()> {
    let name = params.need("fileName")?;
    let id = params.need("fileId")?;
    request.allow(None, Some(name))?;
    let mut account = request.shared.account();
    let version = account
        .version(id)?
        .filter(|version| *version.name == *name)
        .ok_or_else(|| ApiError::new(400, "file_not_present", "File not present"))?;
    request.allow(Some(&version.bucket), None)?;
    if !account.bucket(&version.bucket)?.settings.lock_enabled {
        return Err(missing_lock());
    }
    let mut lock = version.lock();
    change(&version, &mut lock)?;
    account.set_lock(&version, lock)
}

pub(in crate::emulator) fn update_legal_hold(request: &Request, params: &Params) -> Result<Bytes> {
    let hold = params.need("legalHold")?;
    let on = parse_hold(hold)?;
    change(request, params, |_, lock| {
        lock.legal_hold = Some(on);
        Ok(())
    })?;
    reply(&json!({
        "fileId": params.need("fileId")?, "fileName": params.need("fileName")?, "legalHold": hold,
    }))
}

pub(in crate::emulator) fn update_retention(request: &Request, params: &Params) -> Result<Bytes> {
    let object = params
        .object("fileRetention")?
        .ok_or_else(|| ApiError::bad_request("required field fileRetention is missing"))?;
    let wanted = retention_field(object)?;
    let bypass = params.flag("bypassGovernance")?;
    if bypass {
        request.check("bypassGovernance", None, None)?;
    }
    change(request, params, |_, lock| {
        check_future(wanted.as_ref())?;
        if let Some(now) = lock
            .retention
            .as_ref()
            .filter(|now| now.until > now_millis())
        {
            let weaker = wanted.as_ref().is_none_or(|wanted| {
                wanted.until < now.until
                    || (now.mode == "compliance" && wanted.mode == "governance")
            });
            if weaker && (now.mode == "compliance" || !bypass) {
                return Err(ApiError::new(
                    401,
                    "access_denied",
                    "The retention of the file cannot be shortened",
                ));
            }
        }
        lock.retention = wanted;
        Ok(())
    })?;
    reply(&json!({
        "fileId": params.need("fileId")?, "fileName": params.need("fileName")?, "fileRetention": object,
    }))
}
