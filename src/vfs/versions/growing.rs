//! Files that stay open: what was appended to them is stored now and then (`store_open`), though nobody has closed them.
//!
//! Whether, and when, `growth` decides; here it is told of changes, commits and closes, and the queue asks it. What is stored so is a
//! state that nobody has closed, which goes when its successor is there (`state`): where B2 lets nothing be deleted, nothing is
//! stored. A failure is nobody's error: the close or fsync tells.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::debug;

use crate::vfs::growth::{Change, Growth, Verdict};
use crate::vfs::names::node::Node;
use crate::vfs::names::tree::Tree;
use crate::vfs::queue::{Task, Urgency};
use crate::vfs::state::Why;
use crate::vfs::{Error, Ino, Vfs};

/// The files that somebody writes to and has changed.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Growing {
    files: Mutex<HashMap<Ino, Growth>>,
    /// Whether the bucket protects every new version: asked when it first matters.
    retains: tokio::sync::OnceCell<bool>,
}

impl Growing {
    /// Nobody has it open for writing any more.
    pub(in crate::vfs) fn closed(&self, ino: Ino) {
        self.files.lock().remove(&ino);
    }
}

impl Vfs {
    /// The content of an open file was changed.
    pub(in crate::vfs) fn grows(&self, ino: Ino, change: Change) {
        let Some(interval) = self.settings().store_open else {
            return;
        };
        let tree = self.tree();
        if !tree.get(ino).is_ok_and(|node| node.writers() > 0) {
            return;
        }
        let mut files = self.shared.growing.files.lock();
        let growth = files.entry(ino).or_insert_with(|| Growth::new(interval));
        if let Some(delay) = growth.changed(change, Instant::now()) {
            self.shared.queue.push(ino, delay, Urgency::Open);
        }
    }

    /// B2 has acknowledged a content of a file, which may have been changed meanwhile.
    pub(super) fn grown_is_stored(&self, tree: &Tree, ino: Ino) {
        let mut files = self.shared.growing.files.lock();
        let Some(growth) = files.get_mut(&ino) else {
            return;
        };
        let dirty = tree.get(ino).is_ok_and(Node::content_dirty);
        if let Some(delay) = growth.stored(dirty, Instant::now()) {
            self.shared.queue.push(ino, delay, Urgency::Open);
        }
    }

    /// The interval of a file that is still being written is over.
    pub(in crate::vfs) async fn store_open(&self, task: &Task) {
        /// A directory that is being renamed is looked at again so soon.
        const MOMENT: Duration = Duration::from_millis(100);
        let verdict = {
            let files = self.shared.growing.files.lock();
            let growth = files.get(&task.ino);
            growth.map_or(Verdict::Leave, |growth| growth.verdict(Instant::now()))
        };
        let place = self.tree().place(task.ino).map(|place| self.full(&place));
        let Some(full) = place else { return };
        let again = match verdict {
            Verdict::Leave => return,
            Verdict::After(rest) => rest,
            Verdict::Store if self.shared.paths.locked_above(&full) => MOMENT,
            Verdict::Store => match self.store_open_now(task.ino).await {
                Ok(()) => return,
                Err(error) => {
                    debug!("{full:?}: what was appended is not stored yet: {error}");
                    self.shared
                        .growing
                        .files
                        .lock()
                        .get(&task.ino)
                        .map_or(MOMENT, Growth::interval)
                }
            },
        };
        self.shared.queue.again(task, again);
    }

    async fn store_open_now(&self, ino: Ino) -> Result<(), Error> {
        if let Some(growth) = self.shared.growing.files.lock().get_mut(&ino) {
            growth.stored_open();
        }
        let shared = &self.shared;
        if shared.refusals.too_many() || !shared.client.may("deleteFiles") {
            return Ok(());
        }
        let ask = async || {
            let retains = shared.client.retains_by_default().await?;
            Ok::<_, Error>(retains == Some(true))
        };
        if *shared.growing.retains.get_or_try_init(ask).await? {
            return Ok(());
        }
        self.commit_content_once(ino, Why::Provisional).await
    }
}
