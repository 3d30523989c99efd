//! Large files: start, finish, cancel (API §6).

use bytes::Bytes;
use serde_json::{Value, json};

use crate::emulator::account::version::{Action, Encryption, Entry, Info, Sha1, Version};
use crate::emulator::account::{Parts, Settings};
use crate::emulator::content::Content;
use crate::emulator::dispatch::json as reply;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::http::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::{check_header_size, check_info, resolve_content_type};
use crate::emulator::text::hex;

/// `fileInfo` of a JSON call.
pub(in crate::emulator) fn info_field(params: &Params) -> Result<Info> {
    let Some(object) = params.object("fileInfo")? else {
        return Ok(Info::new());
    };
    let mut pairs = Vec::new();
    for (key, value) in object {
        let Value::String(value) = value else {
            return Err(ApiError::bad_json(format!(
                "fileInfo {key} must be a string"
            )));
        };
        pairs.push((key.clone(), value.clone()));
    }
    check_info(pairs)
}

/// What a field such as `serverSideEncryption` asks for, or the bucket's default.
pub(in crate::emulator) fn encryption_field(
    params: &Params,
    field: &str,
    settings: &Settings,
) -> Result<Encryption> {
    let Some(object) = params.object(field)? else {
        return Ok(settings.encryption.clone());
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    match (text("mode"), text("algorithm")) {
        (None, _) => Ok(settings.encryption.clone()),
        (Some("SSE-B2"), Some("AES256")) => Ok(Encryption::B2),
        (Some("SSE-C"), Some("AES256")) => match text("customerKeyMd5") {
            Some(md5) => Ok(Encryption::Customer(md5.to_owned())),
            None => Err(ApiError::bad_request(
                "SSE-C needs customerKey and customerKeyMd5",
            )),
        },
        (Some(mode), _) => Err(ApiError::bad_request(format!("Bad encryption: {mode}"))),
    }
}

pub(in crate::emulator) fn start(request: &Request, params: &Params) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    let name = params.need("fileName")?;
    let content_type = params.need("contentType")?;
    request.check("writeFiles", Some(bucket), Some(name))?;
    request.check_name(name)?;
    let info = info_field(params)?;
    let content_type = resolve_content_type(content_type, name)?;
    let custom = params
        .raw("customUploadTimestamp")
        .map(|value| value.as_str().unwrap_or_default());
    let version = {
        let mut account = request.shared.account();
        let settings = account.bucket(bucket)?.settings.clone();
        let encryption = encryption_field(params, "serverSideEncryption", &settings)?;
        check_header_size(name, &info, &encryption, settings.lock_enabled)?;
        let lock = super::locks::from_params(request, &settings, params)?;
        let now = account.stamp();
        let version = Version {
            number: account.large_number(),
            bucket: settings.id,
            name: name.into(),
            action: Action::Start,
            stamp: request.custom_stamp(custom)?.unwrap_or(now),
            content_type: content_type.into(),
            info: (!info.is_empty()).then(|| Box::new(info)),
            sha1: Sha1::None,
            md5: None,
            encryption,
            lock,
            content: Content::empty(),
        };
        account.put_version(version)?
    };
    reply(&Entry::of(&version, &request.viewer()))
}

fn check_parts(parts: &Parts, sha1s: &[String], minimum: u64) -> Result<()> {
    if sha1s.len() < 2 {
        return Err(ApiError::bad_request(
            "large files must have at least 2 parts",
        ));
    }
    for (number, sha1) in (1..).zip(sha1s) {
        let part = parts.get(&number).ok_or_else(|| {
            ApiError::new(
                400,
                "missing_part",
                format!("Part number {number} has not been uploaded"),
            )
        })?;
        if hex(&part.hashes.sha1) != *sha1 {
            return Err(ApiError::new(
                400,
                "part_sha1_mismatch",
                format!("Part number {number} has SHA-1 {}", hex(&part.hashes.sha1)),
            ));
        }
        if number < sha1s.len() as u64 && part.content.len() < minimum {
            return Err(ApiError::bad_request(format!(
                "Part number {number} is smaller than {minimum} bytes"
            )));
        }
    }
    if parts.len() != sha1s.len() {
        return Err(ApiError::bad_request(format!(
            "{} parts are uploaded, but partSha1Array has {}",
            parts.len(),
            sha1s.len()
        )));
    }
    Ok(())
}

pub(in crate::emulator) fn finish(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    let sha1s = params
        .texts("partSha1Array")?
        .ok_or_else(|| ApiError::bad_request("required field partSha1Array is missing"))?;
    request.check("writeFiles", None, None)?;
    let minimum = request.shared.faults.switches().minimum_part;
    let finished = {
        let mut account = request.shared.account();
        let file = account.started(id)?;
        request.check("writeFiles", Some(&file.bucket), Some(&file.name))?;
        let none = Parts::new();
        let parts = account.parts(file.number).unwrap_or(&none);
        check_parts(parts, &sha1s, minimum)?;
        let finished = Version {
            action: Action::Upload,
            content: Content::join(parts.values().map(|part| &part.content)),
            ..Version::clone(&file)
        };
        account.put_version(finished)?
    };
    reply(&Entry::of(&finished, &request.viewer()))
}

pub(in crate::emulator) fn cancel(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    request.check("writeFiles", None, None)?;
    let (account_id, file) = {
        let mut account = request.shared.account();
        let file = account.started(id)?;
        request.check("writeFiles", Some(&file.bucket), Some(&file.name))?;
        account.remove_version(file.number)?;
        (account.id.clone(), file)
    };
    reply(&json!({
        "accountId": account_id, "bucketId": file.bucket, "fileId": id, "fileName": file.name,
    }))
}
