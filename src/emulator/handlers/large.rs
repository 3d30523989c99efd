//! Large files: start, finish, cancel (API §6).

use bytes::Bytes;
use serde_json::json;

use super::entry::{Entry, Viewer};
use super::fields::{encryption_field, info_field};
use crate::emulator::account::Parts;
use crate::emulator::account::version::{Action, Sha1, Version};
use crate::emulator::content::Content;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::{check_header_size, resolve_content_type};
use crate::emulator::text::hex;

pub(in crate::emulator) fn start(request: &Request, params: &Params) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    let name = params.need("fileName")?;
    let content_type = params.need("contentType")?;
    request.allow(Some(bucket), Some(name))?;
    request.check_name(name)?;
    let info = info_field(params)?;
    request.check_info_keys(&info)?;
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
        let now = request.stamp(&mut account);
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
    reply(&Entry::of(&version, &Viewer::of(request)))
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
    request.allow(None, None)?;
    let minimum = request.shared.faults.switches().minimum_part;
    let finished = {
        let mut account = request.shared.account();
        let file = account.started(id)?;
        request.allow(Some(&file.bucket), Some(&file.name))?;
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
    reply(&Entry::of(&finished, &Viewer::of(request)))
}

pub(in crate::emulator) fn cancel(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    request.allow(None, None)?;
    let (account_id, file) = {
        let mut account = request.shared.account();
        let file = account.started(id)?;
        request.allow(Some(&file.bucket), Some(&file.name))?;
        account.remove_version(file.number)?;
        (account.id.clone(), file)
    };
    reply(&json!({
        "accountId": account_id, "bucketId": file.bucket, "fileId": id, "fileName": file.name,
    }))
}
