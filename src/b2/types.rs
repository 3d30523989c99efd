//! The words of B2 that other layers use: file ids, names, hashes, versions.
//!
//! Everything here is a value; nothing talks to the network.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::FileId;

/// A name that B2 accepts: 1 to 1,024 bytes of UTF-8 without control characters (API §10).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Arc<str>);

/// Why B2 would refuse a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The empty name.
    #[error("the name is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("the name has {0} bytes, B2 takes at most 1,024")]
    TooLong(usize),
    /// A character below U+0020, or DEL.
    #[error("the name has a control character, which B2 refuses")]
    Control,
}

impl FileName {
    /// The most bytes that a name may have (API §10).
    pub const MAX: usize = 1024;

    /// Checks a name before it is sent.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.len() > Self::MAX {
            return Err(InvalidName::TooLong(name.len()));
        }
        if name.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(InvalidName::Control);
        }
        Ok(Self(Arc::from(name)))
    }

    /// A name that B2 itself has listed: whatever it is, B2 knows it.
    pub fn listed(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as plain UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A SHA-1, shown as 40 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha1(pub [u8; 20]);

impl Sha1 {
    /// Reads 40 hex digits of either case; anything else is `None`.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != 40 {
            return None;
        }
        let mut out = [0; 20];
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha1({self})")
    }
}

/// What B2 says of a version's SHA-1 (`contentSha1`, API §4.3, §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSha1 {
    /// Checked by B2 at upload.
    Verified(Sha1),
    /// Computed by B2, never compared with the sender's (`unverified:<hex>`).
    Unverified(Sha1),
    /// B2 has none (`none` or null: large files, folders).
    None,
}

impl ContentSha1 {
    /// The hash, checked or not.
    pub fn known(&self) -> Option<Sha1> {
        match self {
            Self::Verified(sha1) | Self::Unverified(sha1) => Some(*sha1),
            Self::None => None,
        }
    }
}

/// File info: up to 2,048 encoded bytes of keys (lower case) and values (API §5.3).
pub type FileInfo = BTreeMap<String, String>;

/// What a row of a listing stands for. New words may come (API §1): `Other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Content that was uploaded or copied.
    Upload,
    /// A hide marker.
    Hide,
    /// A large file that is not finished.
    Start,
    /// Names folded at a delimiter; the row's name ends with it.
    Folder,
    /// A word this client does not know.
    Other(String),
}

/// One row of a listing, or the answer to an upload, copy or hide (API §4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// What the row stands for; a copy's answer counts as `Upload`.
    pub action: Action,
    /// The version's id; absent on folders only.
    pub id: Option<FileId>,
    /// The full name.
    pub name: FileName,
    /// Content length in bytes.
    pub size: u64,
    /// `contentSha1`; callers also look at `large_file_sha1` in `info`.
    pub sha1: ContentSha1,
    /// Content type as stored.
    pub content_type: Option<String>,
    /// All of its file info.
    pub info: FileInfo,
    /// `uploadTimestamp`: milliseconds since 1970 at which the upload began, B2's clock.
    pub uploaded_ms: u64,
    /// Encrypted with a customer's key (SSE-C): without it, which this client does not have, B2 neither sends nor copies
    /// the content (API §7).
    pub customer_key: bool,
    /// The answer to a call that was tried more than once: earlier tries may have made the same version again.
    pub twins: bool,
}

impl FileVersion {
    /// The SHA-1 of the whole content: B2's, or for a large file the one that its uploader has
    /// put into `large_file_sha1` (API §6).
    pub fn whole_sha1(&self) -> Option<Sha1> {
        self.sha1
            .known()
            .or_else(|| Sha1::from_hex(self.info.get("large_file_sha1")?))
    }

    /// Whether its info is what was sent; B2 lower-cases keys (API §5.3).
    pub fn has_info(&self, sent: &FileInfo) -> bool {
        self.info.len() == sent.len()
            && sent
                .iter()
                .all(|(key, value)| self.info.get(&key.to_ascii_lowercase()) == Some(value))
    }
}

/// Name, type and info of a version about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// The full name.
    pub name: FileName,
    /// A media type, or `b2/x-auto`.
    pub content_type: String,
    /// File info; keys are lower-cased by B2.
    pub info: FileInfo,
}

/// Bytes to send, in pieces that are sent one after another without being joined. Clones share them: there may be a
/// hundred thousand.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    pieces: Arc<Vec<Bytes>>,
    len: u64,
    taken: Taken,
}

/// How many bytes of a [`Payload`] its connection has taken in the try under way; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<AtomicU64>);

impl Taken {
    /// Bytes by now; each try begins at 0 again.
    pub fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Whether its payload is held by anybody else, sent or yet to be sent.
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(super) fn begin(&self) {
        self.0.store(0, Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Relaxed);
    }
}

impl Payload {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            Arc::make_mut(&mut self.pieces).push(piece);
        }
    }

    /// Total length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How far the try under way is.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the bytes of a range, as far as there are any.
    pub fn copy(&self, range: &Range<u64>) -> Vec<u8> {
        let mut copy = Vec::new();
        let mut at = 0;
        for piece in self.pieces.iter() {
            let end = at + piece.len() as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                copy.extend_from_slice(&piece[(from - at) as usize..(to - at) as usize]);
            }
            at = end;
        }
        copy
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(bytes);
        payload
    }
}

/// A key or token: never shown by `Debug`, never `Display`ed, and overwritten when the last copy goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(Zeroizing::new(secret.to_owned())))
    }

    /// The secret itself, for the header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
