//! Bytes: one memory budget over cached blocks, read-ahead and unsent writes; knows versions, not names.
//!
//! [`Io`] is the engine that all contents share; a [`Content`] is one file's bytes, a [`Cursor`]
//! where one reader stands. The rooms, from the top:
//!
//! - `commit`: stores a snapshot by the cheapest plan; what is written in one run leaves as parts before (`stream`).
//!   Small files that were just stored stay cached (`keep`).
//! - `write`: a `content`'s unsent changes stay in an overlay (`extents`), of which a `snapshot` is taken. A copy from
//!   one content to another (`lend`) shares what is in memory and refers to what is stored, so that B2 copies it. Who
//!   waits for memory makes something leave (`pressure`).
//! - `parts`: the `plan` for a content in parts, and how far a `large` file is.
//! - `read`: blocks shared per version (`cache`, `fetch`), ahead of the reader as `readahead` decides, compared with
//!   the stored hash by the `cursor`.
//! - `memory`: everything that holds bytes is paid for from one `budget`.
//!
//! Each knows those below it, and `engine`, which all share.
//!
//! Lock order: cursor, content, cache, budget; each is held for map work only, never across an
//! `.await` and never while an [`Owner`] is called. Reads, writes and truncations that memory
//! can answer are ready at their first poll, on any thread. Everything that talks to B2 runs in
//! tasks of its own: a future that is dropped leaves nothing half done. Callers: `vfs`.

mod commit;
mod engine;
mod memory;
mod parts;
mod read;
mod stamp;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::b2::{Client, Error as B2Error, FileId, FileVersion, NewFile, Sha1};
use engine::Engine;

pub use read::cursor::Cursor;
pub use stamp::{Ancestors, Moved, Stamp};
pub use write::content::Content;
pub use write::lend::CopyError;
pub use write::progress::Progress;
pub use write::remains::{Remain, Remains, UnfinishedLarge};

/// So many times the downloads of one file run for all of them together.
pub const ALL_DOWNLOADS: usize = 4;

/// Limits and sizes; all sizes in bytes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Ceiling for cached blocks, read-ahead and unsent writes together; at least 24 MiB.
    pub memory: u64,
    /// A file up to this size goes up in one call; a larger one in parts, while it is written.
    pub large_file: u64,
    /// Size of the first parts of a large file; grows so that 10,000 parts suffice.
    pub part_size: u64,
    /// Parts of one file under way at once.
    pub uploads: usize,
    /// Ranges of one version that are fetched ahead at once; of all versions [`ALL_DOWNLOADS`] times as many.
    pub downloads: usize,
    /// Compare whole sequential reads with the stored SHA-1.
    pub verify_reads: bool,
    /// How long a wait for memory lasts while nothing gets better.
    pub timeout: Duration,
}

/// One immutable version, as far as reading needs it.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its id.
    pub id: FileId,
    /// Content length in bytes.
    pub size: u64,
    /// SHA-1 of its content where it is known.
    pub sha1: Option<Sha1>,
}

/// Why bytes could not be read, taken or stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A call to B2 failed.
    #[error(transparent)]
    B2(#[from] B2Error),
    /// The budget is full and this content holds unsent bytes that cannot leave as parts: commit, then ask again.
    #[error("the content must be committed first")]
    NeedsCommit,
    /// A read of, or a change to, bytes that left memory as parts of an unfinished large file: `commit_sent`, then ask
    /// again.
    #[error("the bytes are in a large file that is not finished")]
    HasLeft,
    /// The file was cut while it was being sent: the commit begins anew by itself.
    #[error("the file was cut while it was being sent")]
    Anew,
    /// Its name is about to go, so that nothing more of it is sent; nothing is lost by that.
    #[error("it is being removed")]
    Stopped,
    /// The version that was open has been deleted from the bucket.
    #[error("the version was deleted in the bucket")]
    Stale,
    /// Bytes whose SHA-1 is not the stored one, also after a retry.
    #[error("{0}")]
    Corrupt(String),
    /// The memory budget is full of unsent bytes that cannot be stored.
    #[error("no memory left: the budget is full of bytes that could not be stored")]
    NoMemory,
    /// Another client has stored something under the name of a copy while it was being made.
    #[error("another client stored something there meanwhile")]
    Covered,
    /// Larger than B2 can hold (10 TB).
    #[error("larger than B2 can hold")]
    TooLarge,
}

/// Who a writable content belongs to; `vfs` implements it. Calls must not block; no lock of this
/// layer is held during them.
pub trait Owner: Send + Sync + 'static {
    /// Under which name, type and info the content would be stored if it were stored now.
    /// `None`: unlinked, must not be stored.
    fn target(&self) -> Option<NewFile>;
    /// Asks for a commit soon, because others wait for memory.
    fn please_commit(&self);
    /// A version that was made of it under a name it no longer has could not be deleted: it must not show there.
    fn withdraw(&self, version: &FileVersion);
}

/// What becomes of a copy that took so long that another client's version has come to lie above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered {
    /// It is made once more, on top: it holds what a program was told is stored.
    PutOnTop,
    /// It goes again, and the caller decides anew ([`Error::Covered`]).
    GiveWay,
}

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

/// The engine; clones share everything.
#[derive(Clone)]
pub struct Io {
    engine: Arc<Engine>,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("memory_used", &self.memory_used())
            .finish_non_exhaustive()
    }
}

impl Io {
    /// Must be called inside a tokio runtime.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self {
            engine: Engine::new(client, settings),
        }
    }

    /// The content of a stored version. Two calls for one id share cached blocks.
    pub fn stored(&self, version: Version) -> Arc<Content> {
        let record = self.engine.records.intern(version);
        Content::new(&self.engine, Some(record))
    }

    /// Fetches all of a version that will be read soon, in the background; `false` when there is no memory for it now.
    pub fn fetch_ahead(&self, version: Version) -> bool {
        let size = version.size;
        let record = self.engine.records.intern(version);
        self.engine.read_ahead(&record, 0..size).is_some()
    }

    /// Empty content that is stored nowhere yet.
    pub fn empty(&self) -> Arc<Content> {
        Content::new(&self.engine, None)
    }

    /// A server-side copy of any size under `target`'s name, type and info, which takes the source's place:
    /// what is cached of the source is that of the copy from here on.
    pub async fn copy(
        &self,
        source: &Version,
        target: &NewFile,
        covered: Covered,
    ) -> Result<FileVersion, Error> {
        let version = self.engine.copy(source, target, covered).await?;
        self.engine.moved(source, &version);
        Ok(version)
    }

    /// As `copy`, of a version that nobody here may have seen: the copy counts as made by this mount only once
    /// `note_own` has said so.
    pub async fn copy_unseen(
        &self,
        source: &Version,
        target: &NewFile,
        covered: Covered,
    ) -> Result<FileVersion, Error> {
        let version = self.engine.copy_unseen(source, target, covered).await?;
        self.engine.moved(source, &version);
        Ok(version)
    }

    /// A version is this mount's own (`is_own`).
    pub fn note_own(&self, id: &FileId) {
        self.engine.note_own(id);
    }

    /// Waits for deletions of versions that were copied to their places.
    pub async fn settled(&self) {
        self.engine.settled().await;
    }

    /// While unsent content refers to a version (it was copied from), the version must not be deleted:
    /// then returns true, and calls `last` when none refers to it any more. `last` must take no lock.
    pub fn when_free(&self, id: &FileId, last: impl FnOnce() + Send + 'static) -> bool {
        self.engine.records.when_free(id, last)
    }

    /// Whether unsent content refers to a version.
    pub fn is_held(&self, id: &FileId) -> bool {
        self.engine.records.is_held(id)
    }

    /// Whether this mount has made a version; remembered for the most recent ones.
    pub fn is_own(&self, id: &FileId) -> bool {
        self.engine.is_own(id)
    }

    /// Cancels large files under `prefix` that an earlier mount began and to which nothing has come
    /// for `older_than`, by B2's clock; tells how many. A mount elsewhere may still be writing others.
    pub async fn cancel_abandoned(
        &self,
        prefix: &str,
        older_than: Duration,
    ) -> Result<usize, Error> {
        self.engine.cancel_abandoned(prefix, older_than).await
    }

    /// Bytes given out that were compared with a stored SHA-1, as part of a whole read.
    pub fn read_verified(&self) -> u64 {
        self.engine.reads.verified.load(Ordering::Relaxed)
    }

    /// Bytes given out that were not; `read::check` says when that is so.
    pub fn read_unverified(&self) -> u64 {
        self.engine.reads.unverified.load(Ordering::Relaxed)
    }

    /// Bytes of stored versions that were sent again as part of new content without a hash to compare them with.
    pub fn resent_unverified(&self) -> u64 {
        self.engine.unchecked.load(Ordering::Relaxed)
    }

    /// Bytes of the budget.
    pub fn memory_limit(&self) -> u64 {
        self.engine.settings.memory
    }

    /// Bytes of the budget in use, for statistics and tests.
    pub fn memory_used(&self) -> u64 {
        self.engine.budget.used()
    }

    /// Bytes that cached blocks may take now, if nobody writes more.
    pub fn cache_room(&self) -> u64 {
        let budget = &self.engine.budget;
        budget.write_limit().saturating_sub(budget.unsent())
    }

    /// Bytes of the budget that hold writes which B2 has not acknowledged.
    pub fn memory_unsent(&self) -> u64 {
        self.engine.budget.unsent()
    }

    /// The most bytes of the budget that were ever in use.
    pub fn memory_peak(&self) -> u64 {
        self.engine.budget.peak()
    }
}
