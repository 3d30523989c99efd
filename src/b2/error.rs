//! What a call to B2 can end with: the call, what it was about, what B2 said, how long was tried.
//!
//! A message never holds a token, a key or a URL's query.

use std::fmt::Write as _;
use std::time::Duration;

use super::call::Call;
use super::retry::FailedTry;
use super::{Account, FileId, FileInfo, Sha1};

/// Why a call failed, as far as a caller decides by it (DESIGN §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 404, `no_such_file`, `file_not_present`.
    NotFound,
    /// 401 `unauthorized`, 403 `access_denied`, 400 for want of a customer's key: the key may not do this.
    AccessDenied,
    /// 401 from authorize: wrong key.
    BadCredentials,
    /// 401 `access_denied` on delete: Object Lock.
    Locked,
    /// 403 `*cap_exceeded`.
    CapExceeded,
    /// 400 on a name or on file info.
    InvalidArgument,
    /// 400 on a name that is too long, or has a segment that is.
    NameTooLong,
    /// `bad_bucket_id`, or no bucket of that name.
    NoSuchBucket,
    /// 416.
    RangeNotSatisfiable,
    /// Retries used up, no network, no progress within the time limit.
    Unavailable,
    /// Bytes that do not have the SHA-1 they should have.
    Corrupt,
    /// Any other answer, or an answer that makes no sense.
    Protocol,
}

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call} of {subject:?} failed: {detail} ({})", effort(*.attempts, *.elapsed))]
pub struct Error {
    /// What a caller decides by.
    pub kind: ErrorKind,
    /// The B2 call, `b2_upload_file` say.
    pub call: &'static str,
    /// The file name, id or bucket it was about; may be empty.
    pub subject: String,
    /// HTTP status, 0 without an answer.
    pub status: u16,
    /// B2's error code, empty without one.
    pub code: String,
    /// What B2 or the network said, and what to do.
    pub detail: String,
    /// Times tried.
    pub attempts: u32,
    /// Time spent, waits included.
    pub elapsed: Duration,
    /// Set when the outcome is unknown: B2 may have done what was asked.
    pub lost: Option<Box<Lost>>,
}

/// What B2 may have made although the call failed: the answer was lost, or something on the way gave
/// another in its place (API §12).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// The version's id, where it is known before (large files).
    pub id: Option<FileId>,
    /// Content length in bytes, where the caller or the call knows it.
    pub size: Option<u64>,
    /// SHA-1 of the content, the same.
    pub sha1: Option<Sha1>,
    /// The file info that was sent; empty for calls that send none.
    pub info: FileInfo,
}

impl Error {
    /// The end of a call whose last try failed so.
    pub(super) fn failed(
        call: Call,
        subject: &str,
        failure: &FailedTry,
        attempts: u32,
        elapsed: Duration,
    ) -> Self {
        let kind = kind(call, failure);
        let (status, code) = match failure {
            FailedTry::Refused(refusal) => (refusal.status, refusal.code.clone()),
            _ => (0, String::new()),
        };
        let mut detail = said(failure);
        if let Some(remedy) = failure.hopeless().or(remedy(kind, call)) {
            detail.push_str("; ");
            detail.push_str(remedy);
        }
        Self {
            kind,
            call: call.name(),
            subject: subject.to_owned(),
            status,
            code,
            detail,
            attempts,
            elapsed,
            lost: None,
        }
    }

    /// A call that was not made, because it could not have worked.
    pub(super) fn refused_here(kind: ErrorKind, call: Call, subject: &str, detail: String) -> Self {
        Self {
            kind,
            call: call.name(),
            subject: subject.to_owned(),
            status: 0,
            code: String::new(),
            detail,
            attempts: 0,
            elapsed: Duration::ZERO,
            lost: None,
        }
    }

    /// How many keys of file info B2 takes, where it has refused `sent` of them for their number. No document has the words
    /// of that refusal (API §5.2): what speaks of bytes is another one, and a number that was not sent is none.
    pub fn most_info_keys(&self, sent: usize) -> Option<usize> {
        /// Of older rules.
        const KEYS: usize = 10;
        let (_, message) = self.detail.split_once(": ")?;
        let message = message.to_ascii_lowercase();
        let any = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if self.status != 400
            || !any(&["info"])
            || !any(&["key", "header", "pair", "entries", "items"])
            || !any(&[
                "more than",
                "too many",
                "at most",
                "maximum",
                "limit",
                "exceed",
            ])
            || any(&["byte", "size", "long", "length", "character"])
        {
            return None;
        }
        let mut numbers = message.split(|c: char| !c.is_ascii_alphanumeric());
        let told = numbers.find_map(|word| word.parse().ok());
        Some(told.unwrap_or(KEYS)).filter(|most| *most < sent)
    }

    /// Adds what the key's limits tell about a refusal: B2 itself says no more than
    /// `unauthorized` (API §11).
    pub(super) fn explained_by(mut self, account: &Account, call: Call) -> Self {
        if self.kind == ErrorKind::AccessDenied && self.status == 401 {
            let missing = call.capabilities().iter().find(|c| !account.may(c));
            let why = match missing {
                Some(capability) => format!("; the key lacks {capability}"),
                None if !account.name_prefix.is_empty() => format!(
                    "; the key is restricted to names that begin with {:?}",
                    account.name_prefix
                ),
                None => "; the key's restrictions do not allow it".to_owned(),
            };
            self.detail.push_str(&why);
        }
        self
    }
}

fn kind(call: Call, failure: &FailedTry) -> ErrorKind {
    let refusal = match failure {
        FailedTry::Network { .. } | FailedTry::Garbled(_) => return ErrorKind::Unavailable,
        FailedTry::Mismatch(_) => return ErrorKind::Corrupt,
        FailedTry::Nonsense(_) => return ErrorKind::Protocol,
        FailedTry::Refused(refusal) => refusal,
    };
    match (refusal.status, refusal.code.as_str()) {
        (_, "no_such_file" | "file_not_present") | (404, _) => ErrorKind::NotFound,
        (_, "bad_bucket_id" | "invalid_bucket_id") => ErrorKind::NoSuchBucket,
        // A token that was renewed and is dead again says nothing about rights.
        (401, "bad_auth_token" | "expired_auth_token" | "") if call != Call::AuthorizeAccount => {
            ErrorKind::Unavailable
        }
        (400, "auth_token_limit") | (408 | 429 | 500.., _) => ErrorKind::Unavailable,
        (400, "part_sha1_mismatch") => ErrorKind::Corrupt,
        (400, "bad_request") if refusal.lacks_a_customer_key() => ErrorKind::AccessDenied,
        (400, _) if refusal.is_checksum() && call.is_upload() => ErrorKind::Corrupt,
        (400, "bad_request" | "bad_json") if call.makes_a_version() && refusal.name_too_long() => {
            ErrorKind::NameTooLong
        }
        (400, "bad_json") if call.makes_a_version() && refusal.speaks_of_a_name() => {
            ErrorKind::InvalidArgument
        }
        (400, "bad_request" | "out_of_range" | "source_too_large") if call.makes_a_version() => {
            ErrorKind::InvalidArgument
        }
        (401, "unsupported" | "email_not_verified" | "no_payment_history") => {
            ErrorKind::AccessDenied
        }
        (401, _) if call == Call::AuthorizeAccount => ErrorKind::BadCredentials,
        (401, "access_denied") if call == Call::DeleteFileVersion => ErrorKind::Locked,
        (403, code) if code.ends_with("cap_exceeded") => ErrorKind::CapExceeded,
        (401 | 403, _) => ErrorKind::AccessDenied,
        (416, _) => ErrorKind::RangeNotSatisfiable,
        _ => ErrorKind::Protocol,
    }
}

/// What B2 or the network said, without what to do.
pub(super) fn said(failure: &FailedTry) -> String {
    match failure {
        FailedTry::Network { detail, .. } => detail.clone(),
        FailedTry::Garbled(what) | FailedTry::Mismatch(what) | FailedTry::Nonsense(what) => {
            what.clone()
        }
        FailedTry::Refused(refusal) => {
            let mut text = format!("B2 answered {}", refusal.status);
            if !refusal.code.is_empty() {
                text.push(' ');
                text.push_str(&refusal.code);
            }
            if !refusal.message.is_empty() {
                text.push_str(": ");
                text.push_str(&refusal.message);
            }
            if let Some(wait) = refusal.retry_after {
                let _ = write!(text, " (asks to wait {} s)", wait.as_secs());
            }
            text
        }
    }
}

fn effort(attempts: u32, elapsed: Duration) -> String {
    match attempts {
        0 => "not sent".to_owned(),
        1 => format!("1 attempt, {elapsed:.1?}"),
        n => format!("{n} attempts in {elapsed:.1?}"),
    }
}

fn remedy(kind: ErrorKind, call: Call) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::BadCredentials => "check the key id and the application key",
        ErrorKind::CapExceeded => {
            "a cap of the account is reached: raise it on the Caps page of the B2 web site"
        }
        ErrorKind::Locked => "Object Lock protects this version from deletion",
        ErrorKind::NoSuchBucket => "check the bucket: it may have been deleted",
        ErrorKind::Unavailable if call.is_upload() => {
            "several upload servers were tried: check the network, then B2's status page"
        }
        ErrorKind::Unavailable => "check the network, then B2's status page",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Error, ErrorKind, kind};
    use crate::b2::call::Call;
    use crate::b2::retry::{FailedTry, Refusal};

    fn refused(status: u16, code: &str) -> FailedTry {
        FailedTry::Refused(Refusal {
            status,
            code: code.to_owned(),
            ..Refusal::default()
        })
    }

    #[test]
    fn a_refusal_of_many_info_keys_tells_how_many_there_may_be() {
        let most = |status, message: &str, sent| {
            let refusal = FailedTry::Refused(Refusal {
                status,
                code: "bad_request".to_owned(),
                message: message.to_owned(),
                ..Refusal::default()
            });
            Error::failed(Call::UploadFile, "f", &refusal, 1, Duration::ZERO).most_info_keys(sent)
        };
        for (message, sent, told) in [
            ("File info has more than 12 keys", 13, Some(12)),
            ("too many X-Bz-Info-* headers", 11, Some(10)),
            ("too many X-Bz-Info-* headers", 10, None),
            ("File info has more than 12 keys", 12, None),
            (
                "file info keys and values are limited to 7000 bytes",
                11,
                None,
            ),
            ("info key k11 has a bad character", 11, None),
            ("bad fileName", 11, None),
            ("", 11, None),
        ] {
            assert_eq!(most(400, message, sent), told, "{message}");
        }
        assert_eq!(most(503, "File info has more than 12 keys", 13), None);
    }

    #[test]
    fn each_answer_has_its_kind() {
        use ErrorKind as Kind;
        let rows = [
            (Call::GetFileInfo, 404, "not_found", Kind::NotFound),
            (Call::HideFile, 400, "no_such_file", Kind::NotFound),
            (
                Call::DeleteFileVersion,
                400,
                "file_not_present",
                Kind::NotFound,
            ),
            (
                Call::ListFileNames,
                400,
                "bad_bucket_id",
                Kind::NoSuchBucket,
            ),
            (Call::ListFileNames, 401, "unauthorized", Kind::AccessDenied),
            (
                Call::DownloadFileById,
                403,
                "access_denied",
                Kind::AccessDenied,
            ),
            (
                Call::AuthorizeAccount,
                401,
                "bad_auth_token",
                Kind::BadCredentials,
            ),
            (
                Call::AuthorizeAccount,
                401,
                "unauthorized",
                Kind::BadCredentials,
            ),
            (
                Call::AuthorizeAccount,
                401,
                "unsupported",
                Kind::AccessDenied,
            ),
            (Call::HideFile, 401, "expired_auth_token", Kind::Unavailable),
            (Call::DeleteFileVersion, 401, "access_denied", Kind::Locked),
            (
                Call::UploadFile,
                403,
                "storage_cap_exceeded",
                Kind::CapExceeded,
            ),
            (
                Call::AuthorizeAccount,
                403,
                "transaction_cap_exceeded",
                Kind::CapExceeded,
            ),
            (Call::UploadFile, 400, "bad_request", Kind::InvalidArgument),
            (
                Call::CopyFile,
                400,
                "source_too_large",
                Kind::InvalidArgument,
            ),
            (Call::ListFileNames, 400, "bad_request", Kind::Protocol),
            (
                Call::FinishLargeFile,
                400,
                "part_sha1_mismatch",
                Kind::Corrupt,
            ),
            (
                Call::DownloadFileById,
                416,
                "range_not_satisfiable",
                Kind::RangeNotSatisfiable,
            ),
            (Call::UploadFile, 400, "auth_token_limit", Kind::Unavailable),
            (
                Call::ListFileNames,
                429,
                "too_many_requests",
                Kind::Unavailable,
            ),
            (
                Call::ListFileNames,
                408,
                "request_timeout",
                Kind::Unavailable,
            ),
            (
                Call::ListFileNames,
                503,
                "service_unavailable",
                Kind::Unavailable,
            ),
            (Call::ListFileNames, 502, "", Kind::Unavailable),
            (
                Call::ListFileNames,
                405,
                "method_not_allowed",
                Kind::Protocol,
            ),
            (Call::ListFileNames, 302, "", Kind::Protocol),
        ];
        for (call, status, code, want) in rows {
            assert_eq!(kind(call, &refused(status, code)), want, "{status} {code}");
        }
    }

    #[test]
    fn a_bad_name_in_a_json_call_is_told_by_its_text() {
        for (message, want) in [
            (
                "File name segment must be no more than 250 bytes",
                ErrorKind::NameTooLong,
            ),
            (
                "File name is longer than 1024 bytes",
                ErrorKind::NameTooLong,
            ),
            (
                "File names must not contain code 7",
                ErrorKind::InvalidArgument,
            ),
            (
                "File names must not contain '//'",
                ErrorKind::InvalidArgument,
            ),
            ("unknown field in com.backblaze.x: y", ErrorKind::Protocol),
        ] {
            let failure = FailedTry::Refused(Refusal {
                status: 400,
                code: "bad_json".to_owned(),
                message: message.to_owned(),
                ..Refusal::default()
            });
            for call in [Call::CopyFile, Call::StartLargeFile, Call::HideFile] {
                assert_eq!(kind(call, &failure), want, "{message}");
            }
            assert_eq!(kind(Call::ListFileNames, &failure), ErrorKind::Protocol);
        }
    }

    #[test]
    fn the_want_of_a_customers_key_is_told_by_its_text() {
        let failure = FailedTry::Refused(Refusal {
            status: 400,
            code: "bad_request".to_owned(),
            message: "The object was stored using a form of Server Side Encryption. The correct \
                      parameters must be provided to retrieve the object."
                .to_owned(),
            ..Refusal::default()
        });
        for call in [Call::DownloadFileById, Call::CopyFile, Call::CopyPart] {
            assert_eq!(kind(call, &failure), ErrorKind::AccessDenied);
        }
    }

    #[test]
    fn a_message_tells_call_subject_answer_remedy_and_effort() {
        let error = Error::failed(
            Call::UploadFile,
            "a/b",
            &refused(403, "cap_exceeded"),
            1,
            Duration::from_millis(40),
        );
        assert_eq!(
            error.to_string(),
            "b2_upload_file of \"a/b\" failed: B2 answered 403 cap_exceeded; a cap of the account \
             is reached: raise it on the Caps page of the B2 web site (1 attempt, 40.0ms)"
        );
    }
}
