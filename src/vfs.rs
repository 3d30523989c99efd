//! Names: inode table, directories, freshness, attributes, handles; free of fuser, testable without a mount.
//!
//! [`Vfs`] answers the operations of a filesystem. What memory can answer is ready at the first
//! poll; the rest waits for B2, bounded by the client's timeouts. What this mount did wins over any
//! listing that began before it (`Node::changed`); an open file keeps the version it was opened with.
//!
//! Locks, in this order: a path lock (`pathlock`, held across calls to B2), a directory's flight
//! (one listing at a time), then for map work only and never across an await: `tree`, `handles`.
//! `io` locks its contents itself and must not call back while it does; from under the tree lock
//! only methods of `Content` that wait for nothing are called.
//!
//! Rooms, each knowing only those below it: `ops` (as the kernel asks), `versions` (what lies in B2 under a name),
//! `ask` (what B2 is asked, and when), `names` (what is known, since when); beside them words and locks that know
//! nothing of the rooms: `attr`, `types`, `error`, `encoding`, `pathlock`, and `stats`, which asks all.

mod ask;
mod attr;
mod delta;
mod encoding;
mod error;
mod forget;
mod growth;
mod kept;
mod names;
mod ops;
mod pathlock;
mod queue;
mod state;
mod stats;
mod types;
mod versions;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use error::Error;
pub use forget::{StaleEntry, StaleInode};
pub use ops::leftover::{Leftover, LeftoverId, LeftoverKind};
pub use ops::outgoing::{Outgoing, StorageState};
pub use ops::persist::Until;
pub use ops::rename::moves::Unmoved;
pub use ops::subtree::Asked;
pub use ops::warm::{Warm, Warmed};
pub use ops::xattr::Reader;
pub use stats::{MemoryStats, NameStats, NotStored, QueueStats, ReadStats, Reason, Stats};
pub use types::{
    Attr, Delete, DirEntry, Entry, Failure, Fh, FileKind, HardLinks, HashFiles, Ino, Names,
    NewNode, Opened, Overwrite, Pending, Permissions, Prospect, SetAttr, Settings, StatFs, Undone,
    Unstored,
};

use crate::b2::{Client, FileId};
use crate::io::Io;
use ask::look::Looks;
use ask::{succession, walk};
use attr::Meta;
use forget::Forgets;
use names::lineage::Lineage;
use names::name;
use names::number::Numbers;
use names::tree::Tree;
use names::warned::Warned;
use ops::file::Handle;
use ops::rename::moves::Moves;
use ops::rename_dir::failed::FailedMoves;
use ops::{drain, hashfile, remove};
use pathlock::PathLocks;
use queue::{Queue, Urgency};
use versions::checks::Checks;
use versions::contested::Contested;
use versions::growing::Growing;
use versions::info_keys::InfoKeys;
use versions::replaced::Refusals;
use versions::strays::Strays;
use versions::waiting::Waiting;

/// The filesystem; clones share everything. All methods may run at once from any thread.
#[derive(Clone)]
pub struct Vfs {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: tokio::runtime::Handle,
    client: Client,
    io: Io,
    settings: Settings,
    tree: Mutex<Tree>,
    handles: Mutex<HashMap<Fh, Arc<Handle>>>,
    next_fh: AtomicU64,
    paths: Arc<PathLocks>,
    queue: Arc<Queue>,
    forgets: Forgets,
    warned: Warned,
    walks: walk::Walks,
    succession: Mutex<succession::Succession>,
    /// There are too many names, and some are being dropped.
    trimming: AtomicBool,
    unlinked_hashes: hashfile::Unlinked,
    /// Looks at versions that wait for a page, and those that follow what was done.
    looks: Looks,
    checks: Arc<Checks>,
    reads: stats::Reads,
    /// Removals that nobody waits for: how many more may begin, and what became of them.
    removals: remove::Removals,
    moves: Moves,
    /// Deletions that nobody waits for but the end of the mount.
    deletions: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    /// Versions that are being deleted.
    going: Mutex<HashSet<FileId>>,
    /// Copies that may have been made although their renames have failed.
    strays: Strays,
    contested: Contested,
    /// Deletions of replaced versions that B2 has refused.
    refusals: Refusals,
    growing: Growing,
    lineage: Lineage,
    /// Open files of which is being asked whether they have grown.
    followed: Mutex<HashSet<Ino>>,
    /// How many keys of file info B2 takes.
    info_keys: InfoKeys,
    /// Renames of directories that have failed and left copies.
    failed_moves: FailedMoves,
    /// Purges that wait for the last reader.
    purges: Waiting,
    /// What directories without a time of their own show.
    mounted: attr::Nanos,
}

impl Vfs {
    /// Must be called inside a tokio runtime. Lists the root, so that a key without rights fails here.
    pub async fn new(client: Client, io: Io, settings: Settings) -> Result<Self, Error> {
        let mounted = attr::now();
        let root = Meta::default_for(FileKind::Directory, &settings, mounted);
        let numbers = Numbers::new(&client.account().bucket_id, &settings.prefix);
        let vfs = Self {
            shared: Arc::new(Shared {
                runtime: tokio::runtime::Handle::current(),
                client,
                io,
                tree: Mutex::new(Tree::new(root, numbers)),
                handles: Mutex::default(),
                next_fh: AtomicU64::new(1),
                paths: Arc::default(),
                queue: Arc::default(),
                forgets: Forgets::default(),
                warned: Warned::default(),
                walks: walk::Walks::default(),
                succession: Mutex::default(),
                trimming: AtomicBool::new(false),
                unlinked_hashes: hashfile::Unlinked::default(),
                reads: stats::Reads::default(),
                removals: remove::Removals::default(),
                moves: Moves::default(),
                deletions: Mutex::default(),
                going: Mutex::default(),
                purges: Waiting::default(),
                strays: Strays::default(),
                contested: Contested::default(),
                refusals: Refusals::default(),
                growing: Growing::default(),
                lineage: Lineage::default(),
                followed: Mutex::default(),
                info_keys: InfoKeys::default(),
                failed_moves: FailedMoves::default(),
                looks: Looks::default(),
                checks: Arc::default(),
                mounted,
                settings,
            }),
        };
        vfs.ensure_first_page(Ino::ROOT).await?;
        let prefix = &vfs.shared.settings.prefix;
        let empty = vfs
            .tree()
            .dir(Ino::ROOT)
            .is_ok_and(|root| root.children.is_empty());
        if empty && !prefix.is_empty() {
            // A slip in the name looks the same.
            log::info!("there is nothing below the prefix {prefix:?} yet");
        }
        drain::spawn_flusher(&vfs);
        Ok(vfs)
    }

    /// The machine has slept: what was known of the bucket is old, and the connections may be dead.
    pub fn after_sleep(&self) {
        self.ask_anew();
        self.shared.client.give_up_connections();
    }

    /// What was known of the bucket is asked for anew.
    pub fn ask_anew(&self) {
        self.tree().doubt_all();
    }

    /// What could not be stored is tried again now, not when its time has come.
    pub fn try_pending_again(&self) {
        self.shared.queue.try_failed();
    }

    /// What df(1) shows: a petabyte, since B2 has no quota to ask for (API §17.27); or the size that is configured, and
    /// as used what the known files hold.
    pub fn statfs(&self) -> StatFs {
        const BLOCK: u32 = 4096;
        const PETABYTE: u64 = 1 << 50;
        const FILES: u64 = 1 << 32;
        let (size, used) = match self.settings().quota {
            Some(quota) => (quota, self.known_bytes()),
            None => (PETABYTE, 0),
        };
        StatFs {
            block_size: BLOCK,
            blocks: size / u64::from(BLOCK),
            free: size.saturating_sub(used) / u64::from(BLOCK),
            files: FILES,
            files_free: FILES,
            name_max: name::NEW_MAX as u32,
        }
    }

    /// Bytes of all files that are known.
    fn known_bytes(&self) -> u64 {
        let tree = self.tree();
        let files = tree
            .all()
            .filter(|(_, node)| node.linked && node.object().is_some());
        files
            .map(|(_, node)| node.size())
            .fold(0, u64::saturating_add)
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.shared.tree.lock()
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The full name in B2 of a path within the mount.
    fn full(&self, path: &str) -> String {
        format!("{}{path}", self.shared.settings.prefix)
    }

    fn writable(&self) -> Result<(), Error> {
        if self.shared.settings.read_only {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Whether an open file reads a version.
    fn is_read(&self, id: &FileId) -> bool {
        let handles = self.shared.handles.lock();
        handles.values().any(|handle| handle.reads(id))
    }

    fn next_fh(&self) -> Fh {
        Fh(self.shared.next_fh.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Wakes the task that works the queue off, so that it sees that nothing is left to do.
        self.queue
            .push(Ino::ROOT, std::time::Duration::ZERO, Urgency::Now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Settings for unit tests of this layer.
    pub(super) fn settings() -> Settings {
        Settings {
            prefix: String::new(),
            metadata_ttl: Duration::from_secs(30),
            delete: Delete::Hide,
            overwrite: Overwrite::Keep,
            drop_versions_within: Duration::ZERO,
            quota: None,
            read_only: false,
            uid: 1000,
            gid: 1000,
            umask: 0o022,
            permissions: Permissions::Keep,
            hard_links: HardLinks::Refuse,
            names: Names::Refuse,
            hash_files: HashFiles::Listed,
            parallel: 8,
            names_max: usize::MAX,
            write_back: None,
            store_open: None,
            timeout: Duration::from_secs(120),
        }
    }
}
