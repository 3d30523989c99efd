//! Fields of new versions that several calls take.

use serde_json::Value;

use crate::emulator::account::bucket::Settings;
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
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
        (Some("SSE-C"), Some("AES256")) => match text("customerKeyMd5") {
            Some(md5) => Ok(Encryption::Customer(md5.to_owned())),
            None => Err(ApiError::bad_request(
                "SSE-C needs customerKey and customerKeyMd5",
            )),
        },
        (Some(mode), _) => Err(ApiError::bad_request(format!("Bad encryption: {mode}"))),
    }
}
