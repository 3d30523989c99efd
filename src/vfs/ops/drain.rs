//! When what is pending goes to B2: as it falls due, at fsync of a directory, and all of it at the end.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};

use crate::vfs::names::node::Node;
use crate::vfs::queue::{Task, Urgency};
use crate::vfs::state::Why;
use crate::vfs::{Error, Failure, Ino, Pending, Prospect, Undone, Unstored, Vfs};

/// Starts the task that stores what is due in the queue; it ends with the filesystem.
pub(in crate::vfs) fn spawn_flusher(vfs: &Vfs) {
    let shared = Arc::downgrade(&vfs.shared);
    let queue = Arc::clone(&vfs.shared.queue);
    let limit = Arc::new(tokio::sync::Semaphore::new(vfs.settings().parallel));
    tokio::spawn(async move {
        // First a place, then a task: what is due waits in the queue, where it costs least and the
        // oldest comes first.
        while let Ok(place) = Arc::clone(&limit).acquire_owned().await {
            let task = queue.next().await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            tokio::spawn(async move {
                let _place = place;
                let vfs = Vfs { shared };
                let _under_way = UnderWay {
                    vfs: &vfs,
                    ino: task.ino,
                };
                if let Err(error) = unharmed(vfs.store_due(task)).await {
                    vfs.store_failed(task.ino, task.failures, &error);
                }
            });
        }
    });
}

/// What was taken from the queue, until it has ended, whatever way.
struct UnderWay<'a> {
    vfs: &'a Vfs,
    ino: Ino,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.vfs.shared.queue.ended(self.ino);
    }
}

/// Makes an error of a panic in what goes on in the background: what was to be done is not forgotten by it.
pub(in crate::vfs) async fn unharmed<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| Err(Error::Io("a fault of b2fuse".to_owned())))
}

impl Vfs {
    /// An error stands for what is to be tried again.
    async fn store_due(&self, task: Task) -> Result<(), Error> {
        /// A directory that is being renamed is looked at again so soon.
        const MOMENT: Duration = Duration::from_millis(100);
        if self.being_written(task.ino) {
            let delay = self.settings().write_back;
            match (task.urgency, delay) {
                (Urgency::Idle, _) => return Ok(()),
                (Urgency::Open, _) => {
                    self.store_open(&task).await;
                    return Ok(());
                }
                (Urgency::Closed, Some(delay)) if self.shared.queue.put_off(&task, delay) => {
                    return Ok(());
                }
                _ => {}
            }
        }
        let place = self.tree().place(task.ino);
        if place.is_some_and(|place| self.shared.paths.locked_above(&self.full(&place))) {
            // Others can go on meanwhile.
            self.shared.queue.again(&task, MOMENT);
            return Ok(());
        }
        self.store(task.ino).await?;
        self.shared.queue.stored(task.ino);
        Ok(())
    }

    /// Stores everything of one node that is pending.
    pub(in crate::vfs) async fn store(&self, ino: Ino) -> Result<(), Error> {
        let directory = match self.tree().get(ino) {
            Ok(node) => node.dir().is_some(),
            Err(_) => return Ok(()),
        };
        if directory {
            return self.commit_marker(ino).await;
        }
        let why = if self.tree().get(ino)?.writers() > 0 {
            Why::Provisional
        } else {
            Why::Closed
        };
        self.commit_content_once(ino, why).await?;
        self.commit_attributes(ino).await
    }

    /// How much is not in B2 yet.
    pub fn pending(&self) -> Pending {
        let mut tree = self.tree();
        let all = tree.pending();
        let mut pending = Pending {
            files: all.len(),
            removals: tree.leaving.under_way(),
            ..Pending::default()
        };
        for node in all.iter().filter_map(|ino| tree.get(*ino).ok()) {
            if node.content_dirty() {
                pending.bytes += node.size();
            }
            pending.unsent += node.progress().left();
            if let Some(failure) = &node.failed {
                pending.hopeless += usize::from(failure.prospect != Prospect::Passes);
                let last = pending.last.as_ref().map(|last| last.at);
                if last.is_none_or(|at| at < failure.at) {
                    pending.last = Some(Failure::clone(failure));
                }
            }
        }
        drop(tree);
        let renames = self.shared.moves.last_failure();
        pending.last = std::mem::take(&mut pending.last)
            .into_iter()
            .chain(renames)
            .max_by_key(|failure| failure.at);
        pending
    }

    /// Stores everything that is pending, several at once, waits for removals, and looks whether others came
    /// between; what could not be done comes back.
    pub async fn drain(&self) -> Vec<Unstored> {
        // Storing a file can leave something behind it (attributes, a parent's marker), and so can a look.
        const ROUNDS: usize = 6;
        // The client has tried often enough; without a network each try takes all its time.
        let failed = parking_lot::Mutex::new(HashSet::new());
        let has_failed = |ino: &Ino| {
            let failed = failed.lock();
            failed.contains(ino)
        };
        for _ in 0..ROUNDS {
            let mut all = self.tree().pending();
            all.retain(|ino| !has_failed(ino));
            self.try_each(all, &failed).await;
            self.finish_removals().await;
            self.finish_deletions().await;
            self.check_new().await;
            self.checks_ended().await;
            self.check_again().await;
            if self.tree().pending().iter().all(has_failed) {
                break;
            }
        }
        self.forget_copies().await;
        self.remove_copies_left().await;
        self.finish_purges().await;
        self.finish_deletions().await;
        self.unstored()
    }

    /// Stores all of these once, files before directories; notes those that could not be stored.
    pub(in crate::vfs::ops) async fn try_each(
        &self,
        all: Vec<Ino>,
        failed: &parking_lot::Mutex<HashSet<Ino>>,
    ) {
        let (objects, dirs): (Vec<Ino>, Vec<Ino>) = all
            .into_iter()
            .partition(|ino| self.tree().get(*ino).is_ok_and(|node| node.dir().is_none()));
        for group in [objects, dirs] {
            stream::iter(group)
                .for_each_concurrent(self.settings().parallel, |ino| async move {
                    if let Err(error) = self.store(ino).await {
                        self.store_failed(ino, 0, &error);
                        let mut failed = failed.lock();
                        failed.insert(ino);
                    }
                })
                .await;
        }
    }

    /// Stores what is pending below a directory, but nothing that somebody is still writing.
    pub(in crate::vfs) async fn store_all_below(&self, dir: Ino) -> Result<(), Error> {
        let below: Vec<Ino> = {
            let mut tree = self.tree();
            let all = tree.pending();
            all.into_iter()
                .filter(|ino| *ino != dir && tree.is_below(*ino, dir))
                .filter(|ino| tree.get(*ino).is_ok_and(Node::pending_now))
                .collect()
        };
        self.store_all(below).await
    }

    /// Stores what is pending right in a directory: files that were closed, the markers of directories, attributes.
    pub(in crate::vfs) async fn store_all_in(&self, dir: Ino) -> Result<(), Error> {
        let children: Vec<Ino> = {
            let tree = self.tree();
            let children = tree.dir(dir)?.children.values().copied();
            children
                .filter(|child| tree.get(*child).is_ok_and(Node::pending_now))
                .collect()
        };
        self.store_all(children).await
    }

    async fn store_all(&self, all: Vec<Ino>) -> Result<(), Error> {
        let all = all.into_iter().filter(|ino| !self.being_written(*ino));
        let results: Vec<Result<(), Error>> = stream::iter(all)
            .map(|ino| async move {
                let result = self.store(ino).await;
                if let Err(error) = &result {
                    self.store_failed(ino, 0, error);
                }
                result
            })
            .buffer_unordered(self.settings().parallel)
            .collect()
            .await;
        results.into_iter().collect()
    }

    /// What would be lost if the process ended now, and removals that nobody was told have failed.
    pub fn unstored(&self) -> Vec<Unstored> {
        let mut tree = self.tree();
        let all = tree.pending();
        let mut unstored: Vec<Unstored> = all
            .into_iter()
            .filter_map(|ino| {
                let node = tree.get(ino).ok().filter(|node| node.pending_now())?;
                Some(Unstored {
                    path: tree.place(ino)?,
                    what: if node.content_dirty() {
                        Undone::Content(node.size())
                    } else {
                        Undone::Attributes
                    },
                    error: node
                        .failed
                        .as_ref()
                        .map_or_else(String::new, |failure| failure.text.clone()),
                })
            })
            .collect();
        drop(tree);
        unstored.extend(self.unremoved());
        unstored.extend(self.given_up());
        unstored
    }

    /// What waited to be done, and was given up because too much did: the log has named each.
    fn given_up(&self) -> Vec<Unstored> {
        let shared = &self.shared;
        let all = [
            (shared.purges.given_up(), "hidden names that are not purged"),
            (
                shared.strays.given_up(),
                "names at which a failed rename may have left a copy",
            ),
            (
                shared.checks.given_up(),
                "names at which another client may have come between",
            ),
        ];
        let some = all.into_iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| Unstored {
            path: format!("{count} {what}"),
            what: Undone::Removal,
            error: "too many waited; the log names them".to_owned(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_what_it_has_ended() {
        let fault: Result<(), Error> =
            unharmed(async { panic!("a fault on purpose, told by this test") }).await;
        assert!(matches!(&fault, Err(Error::Io(text)) if text == "a fault of b2fuse"));
        assert!(matches!(unharmed(async { Ok(7) }).await, Ok(7)));
        let refused: Result<(), Error> = unharmed(async { Err(Error::Access) }).await;
        assert!(matches!(refused, Err(Error::Access)));
    }
}
