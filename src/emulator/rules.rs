//! What B2 accepts as names, file info, content types and sizes (API §5.2, §5.3, §10).

use std::collections::BTreeMap;

use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::text::encode;

/// All parts but the last one have at least this size (API §6).
pub(super) const MINIMUM_PART: u64 = 5_000_000;
pub(super) const RECOMMENDED_PART: u64 = 100_000_000;
/// A single upload, part or copy (API §5.2, §6.1).
pub(super) const MAXIMUM_UPLOAD: u64 = 5_000_000_000;
pub(super) const MAXIMUM_PARTS: u64 = 10_000;

/// Info names that start with `b2-` are reserved, but for those that become headers of downloads.
pub(super) const HEADER_INFO: [(&str, &str, &str); 5] = [
    (
        "b2-content-disposition",
        "content-disposition",
        "b2ContentDisposition",
    ),
    (
        "b2-content-language",
        "content-language",
        "b2ContentLanguage",
    ),
    ("b2-expires", "expires", "b2Expires"),
    ("b2-cache-control", "cache-control", "b2CacheControl"),
    (
        "b2-content-encoding",
        "content-encoding",
        "b2ContentEncoding",
    ),
];

/// File info: keys and values of the client.
pub(super) type Info = BTreeMap<String, String>;

pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(ApiError::bad_request("File name must not be empty"));
    }
    if name.len() > 1024 {
        return Err(ApiError::bad_request("File name is longer than 1024 bytes"));
    }
    if let Some(code) = name.bytes().find(|byte| *byte < 32 || *byte == 127) {
        return Err(ApiError::bad_request(format!(
            "File names must not contain code {code}"
        )));
    }
    Ok(())
}

/// As B2's documents have it; whether B2 still does it is not confirmed (API §10).
pub(super) fn check_segments(name: &str) -> Result<()> {
    if name.split('/').any(|segment| segment.len() > 250) {
        return Err(ApiError::bad_request(
            "File name segment must be no more than 250 bytes",
        ));
    }
    Ok(())
}

/// The rules before 2020, by the switch `old-names` (API §10).
pub(super) fn check_old_name(name: &str) -> Result<()> {
    let refuse = |text: &str| Err(ApiError::bad_request(format!("File names must not {text}")));
    if name.starts_with('/') {
        return refuse("start with '/'");
    }
    if name.ends_with('/') {
        return refuse("end with '/'");
    }
    if name.contains("//") {
        return refuse("contain '//'");
    }
    if name.contains('\\') {
        return refuse("contain '\\'");
    }
    Ok(())
}

pub(super) fn check_part_number(number: u64) -> Result<()> {
    if (1..=MAXIMUM_PARTS).contains(&number) {
        Ok(())
    } else {
        Err(ApiError::bad_request(
            "Part number must be in range 1 - 10000",
        ))
    }
}

/// Checks keys and values; the result has lower-case keys.
pub(super) fn check_info(given: impl IntoIterator<Item = (String, String)>) -> Result<Info> {
    let mut info = Info::new();
    for (key, value) in given {
        let key = key.to_ascii_lowercase();
        if key.is_empty() || key.len() > 50 {
            return Err(ApiError::bad_request(format!(
                "Info name {key} must have 1 to 50 bytes"
            )));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.`~!#$%^&*'|+".contains(&byte);
        if !key.bytes().all(allowed) {
            return Err(ApiError::bad_request(format!(
                "Info name {key} has characters that are not allowed"
            )));
        }
        if key.starts_with("b2-") {
            check_reserved(&key, &value)?;
        }
        if info.insert(key.clone(), value).is_some() {
            return Err(ApiError::bad_request(format!(
                "Info name {key} is given twice"
            )));
        }
    }
    Ok(info)
}

fn check_reserved(key: &str, value: &str) -> Result<()> {
    if !HEADER_INFO.iter().any(|(name, _, _)| *name == key) {
        return Err(ApiError::bad_request(format!(
            "Info name {key} is reserved"
        )));
    }
    let printable = !value.is_empty() && value.bytes().all(|byte| (32..127).contains(&byte));
    let sound = match key {
        "b2-content-disposition" => value
            .split(';')
            .next()
            .is_some_and(|kind| is_token(kind.trim())),
        "b2-content-language" | "b2-content-encoding" => {
            value.split(',').all(|item| is_token(item.trim()))
        }
        "b2-expires" => is_http_date(value),
        _ => true,
    };
    if printable && sound {
        Ok(())
    } else {
        Err(ApiError::bad_request(format!(
            "Bad value for {key}: {value}"
        )))
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in outline.
fn is_http_date(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    matches!(words[..], [day, _, _, year, time, "GMT"]
        if day.ends_with(',') && year.len() == 4 && time.split(':').count() == 3)
}

/// Name and info as encoded header lines: 7000 bytes, or 2048 with encryption or Object Lock (API §5.3).
/// The service's exact way of counting is not known; this counts every byte of the lines, so that who passes here passes there.
pub(super) fn check_header_size(
    name: &str,
    info: &Info,
    encryption: &Encryption,
    lockable: bool,
) -> Result<()> {
    let line = |key: usize, value: &str| key + 2 + encode(value).len() + 2;
    let total = line("X-Bz-File-Name".len(), name)
        + info
            .iter()
            .map(|(key, value)| line("X-Bz-Info-".len() + key.len(), value))
            .sum::<usize>();
    let limit = if lockable || *encryption != Encryption::None {
        2048
    } else {
        7000
    };
    if total > limit {
        return Err(ApiError::bad_request(format!(
            "File name and file info need {total} bytes as headers, limit {limit}"
        )));
    }
    Ok(())
}

/// Resolves `b2/x-auto` by the name's extension.
pub(super) fn resolve_content_type(given: &str, name: &str) -> Result<String> {
    if given == "b2/x-auto" {
        return Ok(type_by_name(name).to_owned());
    }
    let essence = given.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, sub)) if is_token(kind) && is_token(sub) => Ok(given.to_owned()),
        _ => Err(ApiError::bad_request(format!("Bad content type: {given}"))),
    }
}

fn type_by_name(name: &str) -> &'static str {
    let extension = name
        .rsplit('/')
        .next()
        .and_then(|last| last.rsplit_once('.'))
        .map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "txt" | "log" | "text" => "text/plain",
        "htm" | "html" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "js" => "application/javascript",
        "json" => "application/json",
        "xml" => "text/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/x-gzip",
        "tar" => "application/x-tar",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "wav" => "audio/x-wav",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_1_to_1024_bytes_without_control_codes() {
        assert!(check_name("").is_err());
        assert!(check_name(&"ä".repeat(512)).is_ok());
        assert!(check_name(&"ä".repeat(513)).is_err());
        assert!(check_name("a\u{1f}").is_err());
        assert!(check_name("a\u{7f}").is_err());
        for name in ["/", "a/", "//", "a\\b", " ", "..", "\u{80}"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
        for name in ["/a", "a/", "a//b", "a\\b"] {
            assert!(check_old_name(name).is_err(), "{name:?}");
        }
    }

    fn info(key: &str, value: &str) -> Result<Info> {
        check_info([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn info_keys_are_lowered_and_reserved_ones_checked() {
        assert_eq!(
            info("MiXed", "V").ok(),
            Some(Info::from([("mixed".to_owned(), "V".to_owned())]))
        );
        assert!(info("b2-other", "v").is_err());
        assert!(info("b2-content-language", "de, en").is_ok());
        assert!(info("b2-content-language", "d e").is_err());
        assert!(info("b2-expires", "Sun, 06 Nov 1994 08:49:37 GMT").is_ok());
        assert!(info("b2-expires", "tomorrow").is_err());
        assert!(info("a b", "v").is_err());
        assert!(info(&"k".repeat(51), "v").is_err());
    }

    #[test]
    fn encryption_lowers_the_header_limit() {
        let info = info("k", &"v".repeat(3000)).expect("fits");
        assert!(check_header_size("n", &info, &Encryption::None, false).is_ok());
        assert!(check_header_size("n", &info, &Encryption::None, true).is_err());
        assert!(check_header_size("n", &info, &Encryption::B2, false).is_err());
    }

    #[test]
    fn auto_types_go_by_extension() {
        assert_eq!(
            resolve_content_type("b2/x-auto", "a/b.TXT").ok().as_deref(),
            Some("text/plain")
        );
        assert_eq!(
            resolve_content_type("b2/x-auto", "a.txt/b").ok().as_deref(),
            Some("application/octet-stream")
        );
        assert!(resolve_content_type("nonsense", "a").is_err());
    }
}
