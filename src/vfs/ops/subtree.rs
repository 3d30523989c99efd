//! What the user asks of all that is below a path: to store it now, to ask B2 for it anew.
//!
//! Paths are as the mount shows them, relative to its root; the empty one is the root.

use std::collections::HashSet;
use std::ffi::OsStr;

use crate::vfs::names::node::Node;
use crate::vfs::{Error, Ino, Undone, Unstored, Vfs};

/// What was asked anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Names that were known below the path; each is asked for when it is used next.
    pub names: usize,
}

impl Vfs {
    /// The inode at a path. B2 is asked where it is not known.
    pub async fn resolve(&self, path: &str) -> Result<Ino, Error> {
        let mut at = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.find(at, OsStr::new(name)).await?;
        }
        // Of a file and its virtual hash file only the file is stored.
        Ok(at.hashed().unwrap_or(at))
    }

    /// Stores everything that is pending at a path and below it, also what is still open, and waits for removals. What could
    /// not be stored comes back; it is tried again later as ever.
    pub async fn store_now(&self, path: &str) -> Result<Vec<Unstored>, Error> {
        // Storing a file can leave something behind it: attributes, a parent's marker.
        const ROUNDS: usize = 6;
        let top = self.resolve(path).await?;
        let failed = parking_lot::Mutex::new(HashSet::new());
        for _ in 0..ROUNDS {
            let all: Vec<Ino> = {
                let mut tree = self.tree();
                let all = tree.pending();
                let failed = failed.lock();
                all.into_iter()
                    .filter(|ino| tree.is_below(*ino, top) && !failed.contains(ino))
                    .filter(|ino| tree.get(*ino).is_ok_and(Node::pending_now))
                    .collect()
            };
            if all.is_empty() {
                break;
            }
            self.try_each(all, &failed).await;
        }
        self.finish_removals().await;
        self.check_new().await;
        self.checks_ended().await;
        let failed = failed.into_inner();
        let mut unstored = self.unstored();
        let here = self.tree().place(top).filter(|_| top != Ino::ROOT);
        if let Some(here) = here {
            let below = |path: &str| {
                let rest = path.strip_prefix(&*here);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            unstored.retain(|one| below(&one.path));
        }
        // What was written since is not what was asked for.
        unstored.retain(|one| !one.error.is_empty() || matches!(one.what, Undone::Removal));
        if unstored.is_empty() && !failed.is_empty() {
            log::debug!("{} things have lost their names meanwhile", failed.len());
        }
        Ok(unstored)
    }

    /// B2 is asked anew for all names, and the kernel forgets what it knows at a path and below it. The path itself is
    /// asked for at once, so that an error is told.
    pub async fn ask_anew_at(&self, path: &str) -> Result<Asked, Error> {
        self.ask_anew();
        let top = self.resolve(path).await?;
        if self.tree().dir(top).is_ok() {
            self.ensure_listed(top).await?;
        }
        let below: Vec<_> = {
            let tree = self.tree();
            tree.all()
                .filter(|(ino, node)| node.linked && tree.is_below(*ino, top))
                .map(|(ino, node)| (ino, node.parent, std::sync::Arc::clone(&node.name)))
                .collect()
        };
        let names = below.len();
        for (ino, parent, name) in below {
            if ino != Ino::ROOT {
                self.shared.forgets.entry(parent, name);
            }
            self.shared.forgets.inode(ino);
        }
        Ok(Asked { names })
    }
}
