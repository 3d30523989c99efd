//! What a call to B2 can end with: the call, what it was about, what B2 said, how long was tried.
//!
//! A message never holds a token, a key or a URL's query.

use std::time::Duration;

/// Why a call failed, as far as a caller decides by it (DESIGN §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 404, `no_such_file`, `file_not_present`.
    NotFound,
    /// 401 `unauthorized`, 403 `access_denied`: the key may not do this.
    AccessDenied,
    /// 401 from authorize: wrong key.
    BadCredentials,
    /// 401 `access_denied` on delete: Object Lock.
    Locked,
    /// 403 `*cap_exceeded`.
    CapExceeded,
    /// 400 on a name or on file info.
    InvalidArgument,
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
#[error("{call} of {subject:?} failed: {detail} ({attempts} attempts in {elapsed:.1?})")]
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
}
