//! Server-side copies (API §6.1). They share the source's blobs; only hashes that are not known yet cost a read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::entry::{Entry, Viewer};
use super::fields::{customer_key_field, encryption_field, info_field};
use super::upload::part_reply;
use crate::emulator::account::Part;
use crate::emulator::account::version::{Action, Version};
use crate::emulator::content::{Content, Hashes};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::{check_header_size, check_part_number, resolve_content_type};

/// `bytes=a-b`, both inclusive, inside the source.
fn range_field(params: &Params, size: u64) -> Result<Option<Range<u64>>> {
    let Some(text) = params.text("range")? else {
        return Ok(None);
    };
    let bad = || ApiError::bad_request(format!("Bad range: {text}"));
    let (from, to) = text
        .strip_prefix("bytes=")
        .and_then(|rest| rest.split_once('-'))
        .ok_or_else(bad)?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(from) || !plain(to) {
        return Err(bad());
    }
    let from: u64 = from.parse().map_err(|_| bad())?;
    let to: u64 = to.parse().map_err(|_| bad())?;
    if from > to {
        return Err(bad());
    }
    if to >= size {
        return Err(ApiError::new(
            416,
            "range_not_satisfiable",
            format!("Range {text} is not inside {size} bytes"),
        ));
    }
    Ok(Some(from..to + 1))
}

/// The source, which the key must be allowed to read, and the wanted part of its content.
fn source(request: &Request, params: &Params) -> Result<(Arc<Version>, Content)> {
    let id = params.need("sourceFileId")?;
    let source = request
        .shared
        .account()
        .version(id)?
        .filter(|version| version.action == Action::Upload)
        .ok_or_else(|| ApiError::not_found("File not present"))?;
    request.check("readFiles", Some(&source.bucket), Some(&source.name))?;
    let key = customer_key_field(params, "sourceServerSideEncryption")?;
    source.encryption.check_reader(key.as_deref())?;
    let size = source.content.len();
    let content = match range_field(params, size)? {
        Some(range) if range != (0..size) => source.content.slice(&range),
        _ => source.content.clone(),
    };
    let limit = request.shared.faults.switches().maximum_copy;
    if content.len() > limit {
        return Err(ApiError::new(
            400,
            "source_too_large",
            format!("Copy source too big: {}", content.len()),
        ));
    }
    Ok((source, content))
}

/// Off the workers: it may read gigabytes.
async fn hash(request: &Request, content: &Content) -> Result<Hashes> {
    if let Some(hashes) = content.known_hashes() {
        return Ok(hashes);
    }
    let with_md5 = request.shared.faults.switches().md5;
    let content = content.clone();
    tokio::task::spawn_blocking(move || content.hash(with_md5))
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|error| ApiError::internal(&error))
}

pub(in crate::emulator) async fn file(request: &Request, params: &Params) -> Result<Bytes> {
    let name = params.need("fileName")?;
    let (source, content) = source(request, params)?;
    let bucket = params
        .text("destinationBucketId")?
        .unwrap_or(&source.bucket);
    request.allow(Some(bucket), Some(name))?;
    request.check_name(name)?;
    let settings = request.shared.account().bucket(bucket)?.settings.clone();
    let directive = params.text("metadataDirective")?.unwrap_or("COPY");
    let (content_type, info) = match (directive, params.text("contentType")?) {
        ("COPY", None) if params.raw("fileInfo").is_none() => (
            source.content_type.as_ref().to_owned(),
            source.info().clone(),
        ),
        ("COPY", _) => {
            return Err(ApiError::bad_request(
                "contentType and fileInfo go with metadataDirective REPLACE only",
            ));
        }
        ("REPLACE", Some(given)) => (resolve_content_type(given, name)?, info_field(params)?),
        ("REPLACE", None) => {
            return Err(ApiError::bad_request("REPLACE needs a contentType"));
        }
        (other, _) => {
            return Err(ApiError::bad_request(format!(
                "Bad metadataDirective: {other}"
            )));
        }
    };
    request.check_info_keys(&info)?;
    let encryption = encryption_field(params, "destinationServerSideEncryption", &settings)?;
    check_header_size(name, &info, &encryption, settings.lock_enabled)?;
    let lock = super::locks::from_params(request, &settings, params)?;
    let mut copy = Version {
        number: 0,
        bucket: settings.id,
        name: name.into(),
        action: Action::Upload,
        stamp: 0,
        content_type: content_type.into(),
        info: (!info.is_empty()).then(|| Box::new(info)),
        sha1: source.sha1,
        md5: source.md5,
        encryption,
        lock,
        content,
    };
    if copy.content.len() != source.content.len() {
        let hashes = hash(request, &copy.content).await?;
        copy.set_hashes(hashes);
    }
    let copy = {
        let mut account = request.shared.account();
        copy.number = account.small_number();
        copy.stamp = request.stamp(&mut account);
        account.put_version(copy)?
    };
    reply(&Entry::of(&copy, &Viewer::of(request)).copied())
}

pub(in crate::emulator) async fn part(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("largeFileId")?;
    let number = params
        .number("partNumber")?
        .ok_or_else(|| ApiError::bad_request("required field partNumber is missing"))?;
    check_part_number(number)?;
    let (_, content) = source(request, params)?;
    let file = request.shared.account().started(id)?;
    request.allow(Some(&file.bucket), Some(&file.name))?;
    let key = customer_key_field(params, "destinationServerSideEncryption")?;
    file.encryption.check_part(key.as_deref())?;
    if content.len() == 0 {
        return Err(ApiError::bad_request("A part has at least one byte"));
    }
    let hashes = hash(request, &content).await?;
    let mut account = request.shared.account();
    let part = Part {
        content,
        hashes,
        stamp: request.stamp(&mut account),
    };
    let body = part_reply(id, number, &part, &file.encryption)?;
    account.put_part(file.number, number, part)?;
    Ok(body)
}
