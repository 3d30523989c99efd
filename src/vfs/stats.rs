//! What the mount has done and what it holds: the numbers behind `user.b2fuse.stats` (`xattr`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::b2::Counters;
use crate::vfs::{Pending, Vfs};

/// How many things that are not stored are named.
const NAMED: usize = 5;

/// How reads were answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) from_memory: AtomicU64,
    pub(super) waited: AtomicU64,
}

/// The numbers; field names are those of the JSON, which only ever gains some.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// What was asked of B2.
    pub b2: Counters,
    /// What programs read.
    pub reads: ReadStats,
    /// The memory budget.
    pub memory: MemoryStats,
    /// The inode table.
    pub names: NameStats,
    /// What is still on its way to B2.
    pub queue: QueueStats,
    /// What B2 would not take.
    pub not_stored: NotStored,
}

/// Read requests of the kernel, up to 1 MiB each.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ReadStats {
    /// Answered at once.
    pub from_memory: u64,
    /// Answered after waiting for B2.
    pub waited: u64,
    /// Bytes read as part of a whole file that was compared with its stored SHA-1.
    pub verified: u64,
    /// Bytes that were not: read here and there, or of a file whose SHA-1 nobody has stored.
    pub unverified: u64,
    /// Bytes of stored files that were sent again as part of new content and could not be compared.
    pub resent_unverified: u64,
    /// Bytes downloaded for each byte that programs were given; more than 1 is what was fetched and not read, less what
    /// was read again from memory.
    pub downloaded_per_byte: f64,
}

/// Bytes of cache, read-ahead and unsent writes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemoryStats {
    /// The setting `memory`.
    pub limit: u64,
    /// In use.
    pub used: u64,
    /// Of these, written and not acknowledged by B2.
    pub unsent: u64,
    /// The most that was ever in use.
    pub peak: u64,
}

/// Files and directories.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NameStats {
    /// In memory.
    pub known: usize,
}

/// Things under way, or waiting for their turn.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct QueueStats {
    /// Files, markers and changes of attributes.
    pub files: usize,
    /// Bytes in those files.
    pub bytes: u64,
    /// Names that B2 is being asked to remove.
    pub removals: usize,
}

/// Files that could not be stored, and removals that B2 refused; both as of now.
#[derive(Debug, Clone, Serialize)]
pub struct NotStored {
    /// All of them.
    pub count: usize,
    /// The first few.
    pub first: Vec<Reason>,
}

/// One of them.
#[derive(Debug, Clone, Serialize)]
pub struct Reason {
    /// Path within the mount.
    pub path: String,
    /// What the last try ended with.
    pub reason: String,
}

impl Vfs {
    /// The setting `memory`, in bytes.
    pub fn memory_limit(&self) -> u64 {
        self.shared.io.memory_limit()
    }

    /// What the mount has done so far, and what it holds now.
    pub fn stats(&self) -> Stats {
        let Pending {
            files,
            bytes,
            removals,
            ..
        } = self.pending();
        let mut failed = self.unstored();
        failed.retain(|one| !one.error.is_empty());
        let io = &self.shared.io;
        let reads = &self.shared.reads;
        let b2 = self.shared.client.counters();
        let given = io.read_verified() + io.read_unverified();
        Stats {
            reads: ReadStats {
                from_memory: reads.from_memory.load(Relaxed),
                waited: reads.waited.load(Relaxed),
                verified: io.read_verified(),
                unverified: io.read_unverified(),
                resent_unverified: io.resent_unverified(),
                downloaded_per_byte: b2.bytes_down as f64 / given.max(1) as f64,
            },
            b2,
            memory: MemoryStats {
                limit: io.memory_limit(),
                used: io.memory_used(),
                unsent: io.memory_unsent(),
                peak: io.memory_peak(),
            },
            names: NameStats {
                known: self.tree().len(),
            },
            queue: QueueStats {
                files,
                bytes,
                removals,
            },
            not_stored: NotStored {
                count: failed.len(),
                first: failed
                    .into_iter()
                    .take(NAMED)
                    .map(|one| Reason {
                        path: one.path,
                        reason: one.error,
                    })
                    .collect(),
            },
        }
    }
}
