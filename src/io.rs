//! Bytes: one memory budget over cached blocks, read-ahead and unsent writes; knows versions, not names.
//!
//! INTERFACE STUB.
#![allow(dead_code, missing_docs, unused_variables, clippy::unused_async, clippy::todo)]

mod budget;
mod extents;
mod plan;
mod readahead;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::b2::{Client, Error as B2Error, FileId, FileVersion, NewFile, Sha1};

/// Limits and sizes; all sizes in bytes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Ceiling for cached blocks, read-ahead and unsent writes together.
    pub memory: u64,
    /// A file up to this size goes up in one call; a larger one in parts, while it is written.
    pub large_file: u64,
    /// Size of the first parts of a large file; grows so that 10,000 parts suffice.
    pub part_size: u64,
    /// Parts of one file under way at once / ranged GETs of one reader under way at once.
    pub uploads: usize,
    pub downloads: usize,
    /// Compare whole sequential reads with the stored SHA-1.
    pub verify_reads: bool,
    pub timeout: Duration,
}

/// One immutable version, as far as reading needs it.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: FileId,
    pub size: u64,
    pub sha1: Option<Sha1>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A call to B2 failed.
    #[error(transparent)]
    B2(#[from] B2Error),
    /// Nothing of this can be answered from memory or from one version: commit, then ask again.
    /// (Read of, or write into, bytes that left as parts of an unfinished large file; or the
    /// budget is full and this content holds unsent bytes that cannot leave as parts.)
    #[error("the content must be committed first")]
    NeedsCommit,
    /// The version that was open has been deleted from the bucket.
    #[error("the version was deleted in the bucket")]
    Stale,
    /// Bytes whose SHA-1 is not the stored one, also after a retry.
    #[error("{0}")]
    Corrupt(String),
    /// The memory budget is full of unsent bytes that cannot be stored.
    #[error("no memory left: the budget is full of bytes that could not be stored")]
    NoMemory,
    /// Larger than B2 can hold (10 TB).
    #[error("larger than B2 can hold")]
    TooLarge,
}

/// Who a writable content belongs to; `vfs` implements it. Calls must not block.
pub trait Owner: Send + Sync + 'static {
    /// Under which name, type and info the content would be stored if it were stored now.
    /// `None`: unlinked, must not be stored.
    fn target(&self) -> Option<NewFile>;
    /// Asks for a commit soon, because others wait for memory.
    fn please_commit(&self);
}

/// The engine; clones share everything.
#[derive(Clone)]
pub struct Io;

impl Io {
    /// Must be called inside a tokio runtime.
    pub fn new(client: Client, settings: Settings) -> Self {
        todo!()
    }
    /// The content of a stored version. Two calls for one id share cached blocks.
    pub fn stored(&self, version: Version) -> Arc<Content> {
        todo!()
    }
    /// Empty content that is stored nowhere yet.
    pub fn empty(&self) -> Arc<Content> {
        todo!()
    }
    /// A server-side copy of any size under `target`'s name, type and info.
    pub async fn copy(&self, source: &Version, target: &NewFile) -> Result<FileVersion, Error> {
        todo!()
    }
    /// Bytes of the budget in use, for statistics and tests.
    pub fn memory_used(&self) -> u64 {
        todo!()
    }
}

/// Where one reader stands (one per open handle); drives read-ahead.
#[derive(Debug, Default)]
pub struct Cursor;

/// What a commit did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The version that B2 acknowledged; its `info` and `name` are those stored, which may be older
    /// than the owner's (a large file's are fixed when its first part leaves).
    pub version: FileVersion,
    /// SHA-1 of the whole content where it is known.
    pub sha1: Option<Sha1>,
    /// The version it was based on, if any (a base that only existed to free memory included).
    pub superseded: Option<FileId>,
}

/// The content of one file: a base version, an overlay of unsent changes, a size.
///
/// Lock order: content before budget. Reads and writes may run while a commit runs; what is
/// written meanwhile stays dirty on top of the version that the commit makes.
pub struct Content;

impl Content {
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// True while B2 has not acknowledged some change of content.
    pub fn is_dirty(&self) -> bool {
        todo!()
    }
    /// The version that unchanged bytes come from.
    pub fn base(&self) -> Option<Version> {
        todo!()
    }
    /// Needed before the first change; replaces an earlier owner.
    pub fn set_owner(&self, owner: Arc<dyn Owner>) {
        todo!()
    }
    /// The base's bytes are now also stored as `version`; they are read from there from now on.
    /// Does nothing when the base is not `old`.
    pub fn same_content(&self, old: &FileId, version: Version) {
        todo!()
    }
    /// At most `len` bytes from `offset`; short only at the end of the file.
    pub async fn read(
        self: &Arc<Self>,
        cursor: &Cursor,
        offset: u64,
        len: u32,
    ) -> Result<Vec<Bytes>, Error> {
        todo!()
    }
    /// Takes the bytes; waits while the budget is full.
    pub async fn write(self: &Arc<Self>, offset: u64, data: Bytes) -> Result<(), Error> {
        todo!()
    }
    /// Cuts or grows (zeros, nothing allocated).
    pub async fn truncate(self: &Arc<Self>, size: u64) -> Result<(), Error> {
        todo!()
    }
    /// Stores what is dirty under `target`; `None` when nothing was. On error everything stays.
    /// A file just created is dirty although it is empty.
    pub async fn commit(self: &Arc<Self>, target: &NewFile) -> Result<Option<Committed>, Error> {
        todo!()
    }
    /// SHA-1 of the content as it is now, streamed; remembered for a clean content.
    pub async fn sha1(self: &Arc<Self>) -> Result<Sha1, Error> {
        todo!()
    }
    /// Nobody will ask for these bytes again: drops them, cancels a started large file.
    pub fn discard(&self) {
        todo!()
    }
}
