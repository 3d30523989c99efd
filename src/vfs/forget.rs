//! What the kernel should forget: inodes whose content another client has replaced, names that mean something else now.
//!
//! Two queues, since the kernel takes the lock of a directory before it forgets a name in it, which a request may hold
//! whose answer waits for an inode to be forgotten.
//!
//! Lock order: the one here is a leaf, held for map work only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::vfs::{Ino, Vfs, encoding};

/// How long an open waits until the kernel has forgotten what it knew; no measure, a guard.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name in a directory that the kernel should look up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleEntry {
    /// The directory.
    pub parent: Ino,
    /// The name in it, as Linux has it.
    pub name: Arc<[u8]>,
}

/// An inode whose pages and attributes the kernel should forget; to be dropped when it has.
#[derive(Debug)]
pub struct StaleInode {
    /// Its number.
    pub ino: Ino,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Drop for StaleInode {
    fn drop(&mut self) {
        for one in self.waiting.drain(..) {
            // Nobody may wait any more.
            let _ = one.send(());
        }
    }
}

/// Both queues; sets, so that they are bounded by what is known.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Forgets {
    inodes: Mutex<HashMap<Ino, Vec<oneshot::Sender<()>>>>,
    inode_added: Notify,
    /// Directories and names in them, as B2 has them.
    entries: Mutex<HashSet<(Ino, Arc<str>)>>,
    entry_added: Notify,
    /// Somebody tells the kernel; changed under the lock of `inodes`.
    heard: AtomicBool,
}

impl Forgets {
    pub(in crate::vfs) fn inode(&self, ino: Ino) {
        self.inodes.lock().entry(ino).or_default();
        self.inode_added.notify_one();
    }

    pub(in crate::vfs) fn entry(&self, parent: Ino, name: Arc<str>) {
        self.entries.lock().insert((parent, name));
        self.entry_added.notify_one();
    }

    /// Returns when the kernel has forgotten an inode, asked after this call; at once where nobody tells it.
    async fn forgotten(&self, ino: Ino) {
        let (told, done) = oneshot::channel();
        {
            let mut inodes = self.inodes.lock();
            let waiting = inodes.entry(ino).or_default();
            if !self.heard.load(Ordering::Relaxed) {
                return;
            }
            waiting.push(told);
        }
        self.inode_added.notify_one();
        // An error: nobody tells the kernel any more.
        let _ = done.await;
    }

    async fn next_inode(&self) -> StaleInode {
        loop {
            {
                let mut inodes = self.inodes.lock();
                self.heard.store(true, Ordering::Relaxed);
                let ino = inodes.keys().next().copied();
                if let Some((ino, waiting)) = ino.and_then(|ino| inodes.remove_entry(&ino)) {
                    return StaleInode { ino, waiting };
                }
            }
            self.inode_added.notified().await;
        }
    }

    async fn next_entry(&self) -> (Ino, Arc<str>) {
        loop {
            {
                let mut entries = self.entries.lock();
                let entry = entries.iter().next().cloned();
                if let Some(entry) = entry.and_then(|entry| entries.take(&entry)) {
                    return entry;
                }
            }
            self.entry_added.notified().await;
        }
    }

    fn unheard(&self) {
        let mut inodes = self.inodes.lock();
        self.heard.store(false, Ordering::Relaxed);
        inodes.clear();
    }
}

impl Vfs {
    /// Waits for an inode that the kernel should forget; for one thread of `mount`.
    pub async fn next_stale_inode(&self) -> StaleInode {
        self.shared.forgets.next_inode().await
    }

    /// Waits for a name that the kernel should forget; for one thread of `mount`.
    pub async fn next_stale_entry(&self) -> StaleEntry {
        let (parent, name) = self.shared.forgets.next_entry().await;
        let name = encoding::for_kernel(&name, self.settings().names);
        StaleEntry { parent, name }
    }

    /// Nobody takes stale inodes any more; whoever waits for one goes on.
    pub fn kernel_has_gone(&self) {
        self.shared.forgets.unheard();
    }

    /// Before a file is read whose content was replaced since the kernel last saw it: the kernel forgets its pages
    /// and its size, so that no read is made of two versions. The file must be open, so that it is not replaced
    /// meanwhile. Tells whether what the kernel has is of the present content then.
    pub(in crate::vfs) async fn bring_kernel_up(&self, ino: Ino) -> bool {
        let forgotten = self.shared.forgets.forgotten(ino);
        if tokio::time::timeout(PATIENCE, forgotten).await.is_err() {
            log::debug!("the kernel does not forget inode {}", ino.0);
            return false;
        }
        if let Ok(object) = self.tree().object_mut(ino) {
            object.kernel_behind = false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn an_inode_is_told_once() {
        let all = Forgets::default();
        all.inode(Ino(7));
        all.inode(Ino(7));
        assert_eq!(all.next_inode().await.ino, Ino(7));
        assert!(all.inodes.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_it_is_done_and_not_before() {
        let all = Forgets::default();
        // Nobody listens.
        all.forgotten(Ino(7)).await;
        let earlier = all.next_inode().await;
        let mut waiting = pin!(all.forgotten(Ino(7)));
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(earlier);
        assert!(
            poll!(waiting.as_mut()).is_pending(),
            "that was begun before"
        );
        let own = all.next_inode().await;
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(own);
        waiting.await;
    }

    #[tokio::test]
    async fn nobody_waits_for_a_kernel_that_has_gone() {
        let all = Forgets::default();
        all.inode(Ino(1));
        drop(all.next_inode().await);
        let mut waiting = pin!(all.forgotten(Ino(7)));
        assert!(poll!(waiting.as_mut()).is_pending());
        all.unheard();
        waiting.await;
    }
}
