//! The list calls for files, parts and unfinished large files (API §4, §6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::entry::{Entry, Viewer};
use crate::emulator::account::bucket::Names;
use crate::emulator::account::listing::{Kind, Page, Query, Row, after, page};
use crate::emulator::account::now_millis;
use crate::emulator::account::version::{Action, Version, parse_file_id};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::reply::json as reply;
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::shared::faults::{Fault, NextName};
use crate::emulator::text::hex;

/// Names that one transaction of class C pays for (API §4.1).
const BILLED: u64 = 1000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamesReply<'a> {
    files: Vec<Entry<'a>>,
    next_file_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionsReply<'a> {
    files: Vec<Entry<'a>>,
    next_file_id: Option<String>,
    next_file_name: Option<String>,
}

fn count(params: &Params, field: &str, default: u64, most: u64) -> Result<u64> {
    match params.number(field)? {
        None | Some(0) => Ok(default),
        Some(count) if count <= most => Ok(count),
        Some(_) => Err(ApiError::out_of_range(format!(
            "{field} must be at most {most}"
        ))),
    }
}

fn delimiter(params: &Params) -> Result<Option<char>> {
    let Some(text) = params.text("delimiter")? else {
        return Ok(None);
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(delimiter), None) => Ok(Some(delimiter)),
        _ => Err(ApiError::bad_request(
            "delimiter must be exactly one character",
        )),
    }
}

fn rows<'a>(page: &'a Page, bucket: &'a str, viewer: &'a Viewer) -> Vec<Entry<'a>> {
    let entry = |row: &'a Row| match row {
        Row::File(version) => Entry::of(version, viewer),
        Row::Folder(name) => Entry::folder(name, bucket, viewer),
    };
    page.rows.iter().map(entry).collect()
}

/// The names as an index would know them that is so much behind, going by upload times.
fn before(names: &Names, lag: Duration) -> Names {
    let since = now_millis().saturating_sub(lag.as_millis() as u64);
    let old = |versions: &[Arc<Version>]| -> Vec<_> {
        let old = versions.iter().filter(|version| version.stamp < since);
        old.cloned().collect()
    };
    names
        .iter()
        .map(|(name, versions)| (name.clone(), old(versions)))
        .filter(|(_, versions)| !versions.is_empty())
        .collect()
}

fn list(request: &Request, params: &Params, kind: Kind) -> Result<Page> {
    let bucket = params.need("bucketId")?;
    let prefix = params.text("prefix")?.unwrap_or_default();
    let start = params.text("startFileName")?.unwrap_or_default();
    request.allow(Some(bucket), Some(prefix))?;
    let max = count(params, "maxFileCount", 100, 10_000)?;
    let start_version = match params.text("startFileId")? {
        None => None,
        Some(_) if start.is_empty() => {
            return Err(ApiError::bad_request("startFileId needs startFileName"));
        }
        Some(id) => Some(parse_file_id(id).ok_or_else(|| ApiError::invalid_file_id(id))?),
    };
    let most = match request.fault {
        Some(Fault::ShortPage(rows)) => rows,
        _ => usize::MAX,
    };
    let query = Query {
        kind,
        prefix,
        delimiter: delimiter(params)?,
        start,
        start_version,
        max: most.min(max as usize),
        split: request.shared.faults.switches().split_folders,
    };
    let page = {
        let account = request.shared.account();
        let names = &account.bucket(bucket)?.names;
        match request.fault {
            Some(Fault::StaleList(lag)) => page(&before(names, lag), &query),
            _ => page(names, &query),
        }
    };
    let billed = max.max(page.rows.len() as u64).div_ceil(BILLED);
    request.shared.meter.charge(request.call, billed - 1);
    Ok(page)
}

pub(in crate::emulator) fn file_names(request: &Request, params: &Params) -> Result<Bytes> {
    let page = list(request, params, Kind::Names)?;
    let mut next = page.next.as_ref().map(|(name, _)| name.clone());
    if next.is_some() && request.shared.faults.switches().next == NextName::Odd {
        // Any text after this row and not after the next one will do (API §4.1).
        next = match page.rows.last() {
            Some(Row::File(version)) => Some(format!("{} ", version.name)),
            Some(Row::Folder(name)) => after(name).or(next),
            None => next,
        };
    }
    reply(&NamesReply {
        files: rows(&page, params.need("bucketId")?, &Viewer::of(request)),
        next_file_name: next,
    })
}

pub(in crate::emulator) fn file_versions(request: &Request, params: &Params) -> Result<Bytes> {
    let page = list(request, params, Kind::Versions)?;
    let next = page.next.as_ref();
    reply(&VersionsReply {
        files: rows(&page, params.need("bucketId")?, &Viewer::of(request)),
        next_file_id: next
            .and_then(|(_, version)| version.as_ref().map(|version| version.file_id())),
        next_file_name: next.map(|(name, _)| name.clone()),
    })
}

pub(in crate::emulator) fn parts(request: &Request, params: &Params) -> Result<Bytes> {
    let id = params.need("fileId")?;
    let start = params.number("startPartNumber")?.unwrap_or(1);
    let max = count(params, "maxPartCount", 100, 1000)? as usize;
    request.allow(None, None)?;
    let account = request.shared.account();
    let file = account.started(id)?;
    request.allow(Some(&file.bucket), Some(&file.name))?;
    let mut found = account
        .parts(file.number)
        .into_iter()
        .flat_map(|parts| parts.range(start..));
    let rows: Vec<_> = found
        .by_ref()
        .take(max)
        .map(|(number, part)| {
            json!({
                "contentLength": part.content.len(),
                "contentMd5": part.hashes.md5.map(|md5| hex(&md5)),
                "contentSha1": hex(&part.hashes.sha1),
                "fileId": id,
                "partNumber": number,
                "serverSideEncryption": file.encryption.shown(),
                "uploadTimestamp": part.stamp / 1000 * 1000, // whole seconds here (API §6)
            })
        })
        .collect();
    let next = found.next().map(|(number, _)| *number);
    reply(&json!({"nextPartNumber": next, "parts": rows}))
}

/// In the order of their starts; `startFileId` is inclusive.
pub(in crate::emulator) fn unfinished(request: &Request, params: &Params) -> Result<Bytes> {
    let bucket = params.need("bucketId")?;
    let prefix = params.text("namePrefix")?.unwrap_or_default();
    let max = count(params, "maxFileCount", 100, 100)? as usize;
    request.allow(Some(bucket), Some(prefix))?;
    let start = match params.text("startFileId")? {
        None => None,
        Some(id) => Some(
            parse_file_id(id)
                .ok_or_else(|| ApiError::invalid_file_id(id))?
                .0,
        ),
    };
    let mut found: Vec<_> = {
        let account = request.shared.account();
        let bucket = account.bucket(bucket)?;
        account
            .unfinished()
            .filter(|version| version.bucket == bucket.settings.id)
            .filter(|version| version.action == Action::Start && version.name.starts_with(prefix))
            .filter(|version| start.is_none_or(|start| (version.stamp, version.number) >= start))
            .cloned()
            .collect()
    };
    found.sort_by_key(|version| (version.stamp, version.number));
    let viewer = Viewer::of(request);
    let files: Vec<_> = found
        .iter()
        .take(max)
        .map(|version| Entry::of(version, &viewer))
        .collect();
    let next = found
        .get(max)
        .map(|version: &Arc<Version>| version.file_id());
    reply(&json!({"files": files, "nextFileId": next}))
}
