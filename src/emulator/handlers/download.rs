//! Downloads by id and by name (API §7).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::entry::Viewer;
use super::fields::customer_key_headers;
use crate::emulator::account::version::{Action, Version};
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Failure, Result};
use crate::emulator::exchange::reply::{Body, Outgoing, Pause, Reply};
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::HEADER_INFO;
use crate::emulator::shared::faults::Fault;
use crate::emulator::shared::tokens::DownloadGrant;
use crate::emulator::text::{decode, encode_reply};

/// Who asks: a key, a token for downloads, or nobody.
enum Caller {
    Key,
    Grant(DownloadGrant),
    Nobody,
}

fn caller(request: &mut Request, query: &Params) -> Result<Caller> {
    let token = match request.authorization() {
        Some(token) => token,
        None => match query.text("Authorization")? {
            Some(token) => token,
            None => return Ok(Caller::Nobody),
        },
    };
    if let Some(grant) = request.shared.tokens.download(token) {
        return Ok(Caller::Grant(grant?));
    }
    let key = request.shared.tokens.account(token)?;
    request.admit(key);
    Ok(Caller::Key)
}

fn is_public(request: &Request, bucket: &str) -> bool {
    let account = request.shared.account();
    let bucket = account.buckets.get(bucket);
    bucket.is_some_and(|bucket| bucket.settings.kind == "allPublic")
}

fn no_token() -> ApiError {
    ApiError::new(401, "bad_auth_token", "")
}

pub(in crate::emulator) async fn by_id(
    request: &mut Request,
) -> std::result::Result<Reply, Failure> {
    let body = request.read_json_body().await?;
    let query = Params::from_query(&request.query)?;
    let caller = caller(request, &query)?;
    let from_body;
    let params = if request.method == Method::POST {
        from_body = Params::from_json(&body)?;
        &from_body
    } else {
        &query
    };
    let id = params.need("fileId")?;
    let version = request.shared.account().version(id)?;
    let allow = |bucket: Option<&str>, name: Option<&str>| match caller {
        Caller::Key => request.allow(bucket, name),
        // Tokens for downloads are for names only.
        Caller::Grant(_) => Err(ApiError::unauthorized()),
        Caller::Nobody if bucket.is_some_and(|bucket| is_public(request, bucket)) => Ok(()),
        Caller::Nobody => Err(no_token()),
    };
    let Some(version) = version.filter(|version| version.action == Action::Upload) else {
        allow(None, None)?;
        return Err(ApiError::not_found(format!("File with id {id} does not exist")).into());
    };
    allow(Some(&version.bucket), Some(&version.name))?;
    Ok(send(request, &version, &overrides(params, &caller)?)?)
}

pub(in crate::emulator) fn by_name(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let query = Params::from_query(&request.query)?;
    let caller = caller(request, &query)?;
    let bad = || ApiError::bad_request("Bad percent-encoding in the path");
    let (bucket, name) = request
        .rest
        .split_once('/')
        .ok_or_else(|| ApiError::not_found("No file name"))?;
    let bucket_name = decode(bucket).ok_or_else(bad)?;
    let name = decode(name).ok_or_else(bad)?;
    let bucket = {
        let account = request.shared.account();
        account
            .bucket_by_name(&bucket_name)
            .map(|bucket| bucket.settings.id.clone())
    };
    let Some(bucket) = bucket else {
        if matches!(caller, Caller::Nobody) {
            return Err(no_token().into());
        }
        return Err(ApiError::not_found(format!("Bucket does not exist: {bucket_name}")).into());
    };
    match &caller {
        _ if is_public(request, &bucket) => {}
        Caller::Key => request.allow(Some(&bucket), Some(&name))?,
        Caller::Grant(grant) if grant.bucket == bucket && name.starts_with(&grant.prefix) => {}
        Caller::Grant(_) => return Err(ApiError::unauthorized().into()),
        Caller::Nobody => return Err(no_token().into()),
    }
    let version = request.shared.account().current(&bucket, &name);
    let version = version.ok_or_else(|| {
        ApiError::not_found(format!("File with such name does not exist: {name}"))
    })?;
    Ok(send(request, &version, &overrides(&query, &caller)?)?)
}

/// Headers that the query asks for, which must be those of the token where it fixes them.
fn overrides(params: &Params, caller: &Caller) -> Result<HashMap<&'static str, String>> {
    let mut found = HashMap::new();
    let named = HEADER_INFO
        .iter()
        .map(|(_, header, field)| (*header, *field));
    for (header, field) in named.chain([("content-type", "b2ContentType")]) {
        let asked = params.text(field)?;
        let fixed = match caller {
            Caller::Grant(grant) => grant.overrides.get(field).map(String::as_str),
            _ => None,
        };
        match (asked, caller) {
            (Some(_), Caller::Nobody) => return Err(no_token()),
            (_, Caller::Grant(_)) if fixed.is_some() && asked != fixed => {
                return Err(ApiError::unauthorized());
            }
            (Some(value), _) => {
                found.insert(header, value.to_owned());
            }
            (None, _) => {}
        }
    }
    Ok(found)
}

/// Digits only: a sign makes a range malformed.
fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// The one range of the header; `None`: the whole file, also when the header is malformed.
fn wanted_range(header: Option<&str>, size: u64) -> Result<Option<Range<u64>>> {
    let Some((from, to)) = header
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let Some(from) = digits(from) else {
        return Ok(None);
    };
    let end = match to {
        "" => u64::MAX,
        to => match digits(to) {
            Some(to) if to >= from => to.saturating_add(1),
            _ => return Ok(None),
        },
    };
    if from >= size {
        return Err(ApiError::new(
            416,
            "range_not_satisfiable",
            format!("The range starts at {from}, the file has {size} bytes"),
        ));
    }
    let range = from..end.min(size);
    Ok((range != (0..size)).then_some(range))
}

fn send(
    request: &Request,
    version: &Arc<Version>,
    overrides: &HashMap<&'static str, String>,
) -> Result<Reply> {
    let key = customer_key_headers(request)?;
    version.encryption.check_reader(key.as_deref())?;
    let size = version.content.len();
    let range = wanted_range(request.header("range"), size)?;
    let content = match &range {
        Some(range) => version.content.slice(range),
        None => version.content.clone(),
    };
    let len = content.len();
    let half = len / 2;
    let cut = match request.fault {
        Some(Fault::Truncate) => Some(half),
        Some(Fault::ResetMid) => {
            request.line.reset();
            Some(half)
        }
        _ => None,
    };
    let mut response = Response::new(Body::Content(Box::new(Outgoing {
        reader: content.reader(),
        left: len,
        cut_at: cut.filter(|_| len > 0),
        corrupt: request.fault == Some(Fault::Corrupt),
        pause: match request.fault {
            Some(Fault::StallMid(time)) => Some(Pause {
                at: half,
                time,
                sleep: None,
            }),
            _ => None,
        },
        shared: request.shared.clone(),
    })));
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        set(&mut response, "content-range", &text)?;
    }
    set(&mut response, "content-length", &len.to_string())?;
    describe(request, version, &mut response)?;
    for (header, value) in overrides {
        set(&mut response, header, value)?;
    }
    Ok(Reply(response))
}

fn set(response: &mut Response<Body>, name: &str, value: &str) -> Result<()> {
    let name = HeaderName::from_bytes(name.as_bytes());
    let value = HeaderValue::from_str(value);
    let (Ok(name), Ok(value)) = (name, value) else {
        return Err(ApiError::bad_request("A header value is not allowed"));
    };
    response.headers_mut().insert(name, value);
    Ok(())
}

fn describe(request: &Request, version: &Version, response: &mut Response<Body>) -> Result<()> {
    let mut set = |name: &str, value: &str| set(response, name, value);
    set("accept-ranges", "bytes")?;
    set("content-type", &version.content_type)?;
    set("x-bz-content-sha1", &version.sha1.text())?; // of the whole file, also in a 206
    set("x-bz-file-id", &version.file_id())?;
    set("x-bz-file-name", &encode_reply(&version.name))?;
    set("x-bz-upload-timestamp", &version.stamp.to_string())?;
    for (key, value) in version.info() {
        match HEADER_INFO.iter().find(|(name, _, _)| name == key) {
            Some((_, header, _)) => set(header, value)?,
            None => set(&format!("x-bz-info-{key}"), &encode_reply(value))?,
        }
    }
    match &version.encryption {
        Encryption::None => {}
        Encryption::B2 => set("x-bz-server-side-encryption", "AES256")?,
        Encryption::Customer(md5) => {
            set("x-bz-server-side-encryption-customer-algorithm", "AES256")?;
            set("x-bz-server-side-encryption-customer-key-md5", md5)?;
        }
    }
    let lock = version.lock();
    let viewer = Viewer::of(request);
    let mut unreadable = Vec::new();
    if let Some(retention) = lock.retention {
        if viewer.reads_retentions {
            set("x-bz-file-retention-mode", &retention.mode)?;
            set(
                "x-bz-file-retention-retain-until-timestamp",
                &retention.until.to_string(),
            )?;
        } else {
            unreadable.push("X-Bz-File-Retention-Mode");
            unreadable.push("X-Bz-File-Retention-Retain-Until-Timestamp");
        }
    }
    if let Some(on) = lock.legal_hold {
        if viewer.reads_holds {
            set("x-bz-file-legal-hold", if on { "on" } else { "off" })?;
        } else {
            unreadable.push("X-Bz-File-Legal-Hold");
        }
    }
    if !unreadable.is_empty() {
        set("x-bz-client-unauthorized-to-read", &unreadable.join(","))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_ignored_or_refused() {
        let range = |text| wanted_range(Some(text), 10).ok();
        assert_eq!(range("bytes=5-8"), Some(Some(5..9)));
        assert_eq!(range("bytes=5-"), Some(Some(5..10)));
        assert_eq!(range("bytes=5-99"), Some(Some(5..10)));
        assert_eq!(range("bytes=0-9"), Some(None));
        assert_eq!(range("bytes=8-5"), Some(None));
        assert_eq!(range("bytes=-3"), Some(None));
        assert_eq!(range("bytes=+1-2"), Some(None));
        assert_eq!(range("bytes=1-+2"), Some(None));
        assert_eq!(range("bytes=1-2,4-5"), Some(None));
        assert_eq!(range("bytes=10-"), None);
        assert_eq!(wanted_range(Some("bytes=0-0"), 0).ok(), None);
    }
}
