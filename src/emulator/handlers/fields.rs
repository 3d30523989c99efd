//! Fields of versions, new ones and those that are read, that several calls take.

use serde_json::{Map, Value};

use crate::emulator::account::bucket::Settings;
use crate::emulator::encryption::{Encryption, GivenKey};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::request::Request;
use crate::emulator::params::Params;
use crate::emulator::rules::{Info, check_info};

/// `fileInfo` of a JSON call.
pub(super) fn info_field(params: &Params) -> Result<Info> {
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
pub(super) fn encryption_field(
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
        (Some("SSE-C"), _) => match customer_key(object)? {
            Some(md5) => Ok(Encryption::Customer(md5)),
            None => Err(ApiError::bad_request("SSE-C needs a customer key")),
        },
        (Some(mode), _) => Err(ApiError::bad_request(format!("Bad encryption: {mode}"))),
    }
}

fn customer_key(object: &Map<String, Value>) -> Result<Option<String>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    GivenKey {
        algorithm: text("algorithm"),
        key: text("customerKey"),
        md5: text("customerKeyMd5"),
    }
    .md5()
}

/// The MD5 of the customer's key in a field such as `sourceServerSideEncryption`, if it has one.
pub(super) fn customer_key_field(params: &Params, field: &str) -> Result<Option<String>> {
    match params.object(field)? {
        Some(object) if object.get("mode").and_then(Value::as_str) == Some("SSE-C") => {
            customer_key(object)
        }
        _ => Ok(None),
    }
}

/// The MD5 of the customer's key in the headers `X-Bz-Server-Side-Encryption-Customer-…`, if they are there.
pub(super) fn customer_key_headers(request: &Request) -> Result<Option<String>> {
    let header =
        |name: &str| request.header(&format!("x-bz-server-side-encryption-customer-{name}"));
    GivenKey {
        algorithm: header("algorithm"),
        key: header("key"),
        md5: header("key-md5"),
    }
    .md5()
}
