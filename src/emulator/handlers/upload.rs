//! Bytes coming in: upload URLs, b2_upload_file, b2_upload_part (API §5, §6).

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;

use super::entry::{Entry, Viewer};
use super::fields::customer_key_headers;
use super::locks;
use crate::emulator::account::Part;
use crate::emulator::account::bucket::Settings;
use crate::emulator::account::locks::{parse_hold, parse_retention};
use crate::emulator::account::version::{Action, Lock, Sha1, Version};
use crate::emulator::content::{Content, Hashes};
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Failure, Result};
use crate::emulator::exchange::reply::{Reply, json as reply};
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::{
    Info, MAXIMUM_UPLOAD, check_header_size, check_info, check_part_number, resolve_content_type,
};
use crate::emulator::shared::faults::Fault;
use crate::emulator::shared::tokens::UploadTarget;
use crate::emulator::text::{decode, hex, unhex};

/// The hexadecimal SHA-1 after the content, when it is sent at the end.
const TAIL: u64 = 40;

pub(in crate::emulator) fn url(request: &Request, params: &Params) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    request.allow(Some(bucket), None)?;
    let shared = &request.shared;
    let id = shared.account().bucket(bucket)?.settings.id.clone();
    let token = shared.tokens.issue_upload(
        UploadTarget::Bucket(id),
        request.key()?,
        shared.faults.switches().token_life,
    );
    let pod = shared.pod();
    let version = request.version;
    reply(&json!({
        "authorizationToken": token,
        "bucketId": bucket,
        "uploadUrl": format!("{pod}/b2api/v{version}/b2_upload_file/{bucket}/c002_v0001129_t0017"),
    }))
}

pub(in crate::emulator) fn part_url(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    request.allow(None, None)?;
    let shared = &request.shared;
    let file = shared.account().started(id)?;
    request.allow(Some(&file.bucket), Some(&file.name))?;
    let token = shared.tokens.issue_upload(
        UploadTarget::Part(file.number, id.to_owned()),
        request.key()?,
        shared.faults.switches().token_life,
    );
    let pod = shared.pod();
    let version = request.version;
    reply(&json!({
        "authorizationToken": token,
        "fileId": id,
        "uploadUrl": format!("{pod}/b2api/v{version}/b2_upload_part/{id}/0018"),
    }))
}

fn need_header<'a>(request: &'a Request, name: &str) -> Result<&'a str> {
    request
        .header(name)
        .ok_or_else(|| ApiError::bad_request(format!("Missing header: {name}")))
}

fn decoded_header(name: &str, value: &str) -> Result<String> {
    decode(value).ok_or_else(|| ApiError::bad_request(format!("Bad percent-encoding in {name}")))
}

fn info_headers(request: &Request) -> Result<Info> {
    let mut pairs = Vec::new();
    for (name, value) in &request.headers {
        let Some(key) = name.as_str().strip_prefix("x-bz-info-") else {
            continue;
        };
        let value = value
            .to_str()
            .map_err(|_| ApiError::bad_request(format!("{name} is not ASCII")))?;
        pairs.push((key.to_owned(), decoded_header(name.as_str(), value)?));
    }
    check_info(pairs)
}

fn encryption_headers(request: &Request, settings: &Settings) -> Result<Encryption> {
    if let Some(md5) = customer_key_headers(request)? {
        return Ok(Encryption::Customer(md5));
    }
    match request.header("x-bz-server-side-encryption") {
        None => Ok(settings.encryption.clone()),
        Some("AES256") => Ok(Encryption::B2),
        Some(other) => Err(ApiError::bad_request(format!("Bad encryption: {other}"))),
    }
}

fn lock_headers(request: &Request, settings: &Settings) -> Result<Option<Box<Lock>>> {
    let until = request
        .header("x-bz-file-retention-retain-until-timestamp")
        .map(|text| {
            text.parse::<u64>()
                .map_err(|_| ApiError::bad_request("Bad retention timestamp"))
        })
        .transpose()?;
    let retention = parse_retention(request.header("x-bz-file-retention-mode"), until)?;
    let hold = request
        .header("x-bz-file-legal-hold")
        .map(parse_hold)
        .transpose()?;
    locks::for_new(request, settings, retention, hold)
}

pub(in crate::emulator) async fn file(
    request: &mut Request,
) -> std::result::Result<Reply, Failure> {
    let shared = request.shared.clone();
    let turn = shared
        .tokens
        .upload(request.authorization().unwrap_or_default())?;
    let UploadTarget::Bucket(bucket) = turn.target.clone() else {
        return Err(wrong_url().into());
    };
    check_path(request, &bucket)?;
    request.admit(turn.key.clone());
    let name = decoded_header("X-Bz-File-Name", need_header(request, "X-Bz-File-Name")?)?;
    request.allow(Some(&bucket), Some(&name))?;
    request.check_name(&name)?;
    refuse_headers(request)?;
    let info = info_headers(request)?;
    request.check_info_keys(&info)?;
    let content_type = resolve_content_type(need_header(request, "Content-Type")?, &name)?;
    let promise = Promise::of(request)?;
    let settings = shared.account().bucket(&bucket)?.settings.clone();
    let encryption = encryption_headers(request, &settings)?;
    check_header_size(&name, &info, &encryption, settings.lock_enabled)?;
    let lock = lock_headers(request, &settings)?;
    let custom = request.custom_stamp(request.header("x-bz-custom-upload-timestamp"))?;
    let (stamp, number) = {
        // The stamp is that of the beginning (API §4.3).
        let mut account = shared.account();
        (request.stamp(&mut account), account.small_number())
    };
    let received = receive(request, promise).await?;
    let version = Version {
        number,
        bucket,
        name: name.into(),
        action: Action::Upload,
        stamp: custom.unwrap_or(stamp),
        content_type: content_type.into(),
        info: (!info.is_empty()).then(|| Box::new(info)),
        sha1: received.sha1,
        md5: received.hashes.md5,
        encryption,
        lock,
        content: received.content,
    };
    let version = shared.account().put_version(version)?;
    Ok(Reply::json(reply(&Entry::of(
        &version,
        &Viewer::of(request),
    ))?))
}

pub(in crate::emulator) async fn part(
    request: &mut Request,
) -> std::result::Result<Reply, Failure> {
    let shared = request.shared.clone();
    let turn = shared
        .tokens
        .upload(request.authorization().unwrap_or_default())?;
    let UploadTarget::Part(file, id) = turn.target.clone() else {
        return Err(wrong_url().into());
    };
    check_path(request, &id)?;
    request.admit(turn.key.clone());
    let number = need_header(request, "X-Bz-Part-Number")?
        .parse()
        .map_err(|_| ApiError::bad_request("Bad part number"))?;
    check_part_number(number)?;
    let promise = Promise::of(request)?;
    let (stamp, encryption) = {
        let mut account = shared.account();
        (
            request.stamp(&mut account),
            account.started(&id)?.encryption.clone(),
        )
    };
    encryption.check_part(customer_key_headers(request)?.as_deref())?;
    let received = receive(request, promise).await?;
    if received.content.len() == 0 {
        return Err(ApiError::bad_request("A part has at least one byte").into());
    }
    let part = Part {
        content: received.content,
        hashes: received.hashes,
        stamp,
    };
    let body = part_reply(&id, number, &part, &encryption)?;
    shared.account().put_part(file, number, part)?;
    Ok(Reply::json(body))
}

pub(super) fn part_reply(
    id: &str,
    number: u64,
    part: &Part,
    encryption: &Encryption,
) -> Result<Bytes> {
    reply(&json!({
        "contentLength": part.content.len(),
        "contentMd5": part.hashes.md5.map(|md5| hex(&md5)),
        "contentSha1": hex(&part.hashes.sha1),
        "fileId": id,
        "partNumber": number,
        "serverSideEncryption": encryption.shown(),
        "uploadTimestamp": part.stamp,
    }))
}

fn wrong_url() -> ApiError {
    ApiError::new(
        401,
        "bad_auth_token",
        "The token is not for this upload URL",
    )
}

fn check_path(request: &Request, id: &str) -> Result<()> {
    match request.rest.split('/').next() {
        Some(first) if first == id => Ok(()),
        _ => Err(wrong_url()),
    }
}

/// Headers that belong into `X-Bz-Info-b2-…` (API §5.2).
fn refuse_headers(request: &Request) -> Result<()> {
    let forbidden = [
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-location",
        "content-range",
        "expires",
    ];
    match forbidden
        .iter()
        .find(|name| request.headers.contains_key(**name))
    {
        Some(name) => Err(ApiError::bad_request(format!("Header not allowed: {name}"))),
        None => Ok(()),
    }
}

/// What the headers say of the body.
#[derive(Debug, Clone, Copy)]
struct Promise {
    /// Content without the digits at the end.
    len: u64,
    sha1: PromisedSha1,
}

#[derive(Debug, Clone, Copy)]
enum PromisedSha1 {
    Given([u8; 20]),
    AtEnd,
    Unverified,
}

impl Promise {
    fn of(request: &Request) -> Result<Self> {
        let sent: u64 = request
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ApiError::bad_request("Missing header: Content-Length"))?;
        let sha1 =
            match need_header(request, "X-Bz-Content-Sha1")? {
                "hex_digits_at_end" => PromisedSha1::AtEnd,
                "do_not_verify" => PromisedSha1::Unverified,
                text => PromisedSha1::Given(unhex(text).ok_or_else(|| {
                    ApiError::bad_request(format!("Bad X-Bz-Content-Sha1: {text}"))
                })?),
            };
        let len = match sha1 {
            PromisedSha1::AtEnd => sent.checked_sub(TAIL).ok_or_else(|| {
                ApiError::bad_request("Content-Length leaves no room for a SHA-1")
            })?,
            _ => sent,
        };
        if len > MAXIMUM_UPLOAD {
            return Err(ApiError::bad_request(format!(
                "{len} bytes are too many for one upload"
            )));
        }
        Ok(Self { len, sha1 })
    }
}

struct Received {
    content: Content,
    hashes: Hashes,
    sha1: Sha1,
}

/// Takes the body in and checks it against what was promised.
async fn receive(
    request: &mut Request,
    promise: Promise,
) -> std::result::Result<Received, Failure> {
    let shared = request.shared.clone();
    let with_md5 = shared.faults.switches().md5;
    let mut sink = shared
        .store
        .sink(promise.len, with_md5)
        .map_err(|error| ApiError::internal(&error))?;
    let mut left = promise.len;
    let mut tail = Vec::new();
    while let Some(body) = &mut request.body
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|_| Failure::Cut)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if let Some(Fault::StallMid(time)) = request.fault
            && left <= promise.len / 2
        {
            request.fault = None;
            tokio::time::sleep(time).await;
        }
        let (now, rest) = data.split_at(left.min(data.len() as u64) as usize);
        sink.push(now).map_err(|error| ApiError::internal(&error))?;
        shared.meter.received(now.len() as u64);
        left -= now.len() as u64;
        tail.extend_from_slice(rest);
    }
    if left > 0 {
        return Err(Failure::Cut);
    }
    let blob = sink.finish();
    let Some(hashes) = blob.hashes else {
        return Err(ApiError::new(500, "internal_error", "no hash").into());
    };
    let wanted = match promise.sha1 {
        PromisedSha1::Given(digest) => Some(digest),
        PromisedSha1::AtEnd => {
            let text = std::str::from_utf8(&tail).ok();
            let digest = text.and_then(unhex);
            Some(digest.ok_or_else(|| ApiError::bad_request("Bad SHA-1 at the end"))?)
        }
        PromisedSha1::Unverified => None,
    };
    let sha1 = match wanted {
        None => Sha1::Unverified(hashes.sha1),
        Some(digest) if digest == hashes.sha1 => Sha1::Checked(digest),
        Some(_) => {
            return Err(ApiError::bad_request("Sha1 did not match data received").into());
        }
    };
    let content = if blob.len == 0 {
        Content::empty()
    } else {
        Content::whole(Arc::new(blob))
    };
    Ok(Received {
        content,
        hashes,
        sha1,
    })
}
