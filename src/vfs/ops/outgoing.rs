//! What is on its way to B2: each file with how far it is, and the state of a single one (`user.b2fuse.state`).
//!
//! Only looks, and waits for nothing; callers are the statistics of a running mount and `xattr`.

use std::cmp::Reverse;
use std::fmt;

use crate::io::Progress;
use crate::vfs::names::node::Node;
use crate::vfs::{Error, Ino, Vfs};

/// What B2 has of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageState {
    /// Everything.
    Stored,
    /// Something of it waits to be stored.
    Pending,
    /// Its content is being sent; hundredths of it have left.
    Sending(u64),
    /// The last try has failed, and another will follow: what it ended with.
    Failed(String),
}

impl fmt::Display for StorageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("stored"),
            Self::Pending => f.write_str("pending"),
            Self::Sending(percent) => write!(f, "sending {percent}%"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// A file on its way to B2.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The file; it keeps its number while it is known.
    pub ino: Ino,
    /// Path within the mount; a directory's ends with `/`.
    pub path: String,
    /// How far its content is; all zero where only attributes wait.
    pub progress: Progress,
    /// What the last try ended with.
    pub error: Option<String>,
}

impl Vfs {
    /// What B2 has of a file or directory.
    pub fn storage_state(&self, ino: Ino) -> Result<StorageState, Error> {
        let tree = self.tree();
        Ok(state(tree.get(ino)?))
    }

    /// What is on its way, at most `most` of it: first what is being sent, then what has failed, then what waits.
    pub fn outgoing(&self, most: usize) -> Vec<Outgoing> {
        let mut tree = self.tree();
        let all = tree.pending();
        let mut found: Vec<(Ino, Progress)> = all
            .into_iter()
            .filter_map(|ino| {
                let node = tree.get(ino).ok().filter(|node| node.pending_now())?;
                Some((ino, node.progress()))
            })
            .collect();
        let rank = |(ino, progress): &(Ino, Progress)| {
            let failed = tree.get(*ino).is_ok_and(|node| node.failed.is_some());
            (!progress.begun, !failed, Reverse(progress.total), *ino)
        };
        found.sort_by_cached_key(rank);
        found.truncate(most);
        found
            .into_iter()
            .filter_map(|(ino, progress)| {
                let path = tree.place(ino)?;
                let failed = tree.get(ino).ok()?.failed.as_ref();
                Some(Outgoing {
                    ino,
                    path,
                    progress,
                    error: failed.map(|failure| failure.text.clone()),
                })
            })
            .collect()
    }
}

fn state(node: &Node) -> StorageState {
    if !node.pending_now() {
        return StorageState::Stored;
    }
    let progress = node.progress();
    if progress.begun {
        return StorageState::Sending(progress.percent());
    }
    match &node.failed {
        Some(failure) => StorageState::Failed(failure.text.clone()),
        None => StorageState::Pending,
    }
}
