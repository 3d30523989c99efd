//! The end of a mount: what is pending is tried again and again until it is stored.
//!
//! The queue does the work, with short waits and many at once, so that no file waits for the fate of another. Whoever
//! waits here may stop waiting at any time; nothing is lost by that, and what is under way goes on.

use std::collections::HashSet;
use std::time::Duration;

use crate::vfs::{Ino, Unstored, Vfs};

/// How long `Vfs::store_all_pending` goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// What is pending now was stored once: programs may go on writing meanwhile, for ever if they like.
    Once,
    /// Nothing is pending.
    NothingIsLeft,
}

impl Vfs {
    /// Stores everything that is pending, however often it fails; waits for removals, and looks whether others came between.
    /// What comes back are things that trying again cannot do.
    pub async fn store_all_pending(&self, until: Until) -> Vec<Unstored> {
        /// How often it is looked whether something came to be pending without standing in the queue.
        const TICK: Duration = Duration::from_millis(200);
        let queue = &self.shared.queue;
        queue.hurry();
        let mut wanted: HashSet<Ino> = self.tree().pending().into_iter().collect();
        loop {
            loop {
                let pending = self.tree().pending();
                match until {
                    Until::Once => {
                        let pending: HashSet<Ino> = pending.into_iter().collect();
                        wanted.retain(|ino| pending.contains(ino) && !queue.was_stored(*ino));
                    }
                    Until::NothingIsLeft => {
                        wanted = pending
                            .into_iter()
                            .filter(|ino| self.has_hope(*ino))
                            .collect();
                    }
                }
                if wanted.is_empty() {
                    break;
                }
                queue.see_to(wanted.iter().copied());
                queue.idle(TICK).await;
            }
            let unstored = self.drain().await;
            let left = self.tree().pending();
            if until == Until::Once || !left.into_iter().any(|ino| self.has_hope(ino)) {
                return unstored;
            }
        }
    }

    fn has_hope(&self, ino: Ino) -> bool {
        let tree = self.tree();
        tree.get(ino).is_ok_and(|node| !node.is_past_help())
    }
}
