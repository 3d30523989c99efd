//! Which files have their new names here, and not yet in B2; and who waits for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Ends;
use crate::b2::{FileId, NewFile};
use crate::vfs::names::tree::Tree;
use crate::vfs::state::Stored;
use crate::vfs::versions::supersede::is_right_in;
use crate::vfs::{Error, Failure, Ino, Vfs};

/// Files that have their new names here, and not yet in B2.
#[derive(Default)]
pub(in crate::vfs) struct Moves {
    all: Mutex<HashMap<Ino, Move>>,
    /// How many wait for the end of some.
    wanted: AtomicUsize,
    hurried: Notify,
}

/// One of them.
#[derive(Clone)]
struct Move {
    ends: Arc<Ends>,
    /// What is to be copied.
    old: Stored,
    /// The version that is believed to lie under the new name.
    over: Option<FileId>,
    /// Why it has not been copied yet.
    failed: Option<Failure>,
}

/// A rename that B2 has not got, for whoever keeps it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unmoved {
    /// The full name that B2 has it under.
    pub from: String,
    /// The version that is there.
    pub id: FileId,
}

/// While it lives, somebody waits: no copy waits for further changes.
pub(in crate::vfs) struct Hurrying<'a>(&'a Moves);

impl Drop for Hurrying<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Moves {
    /// The tree shows its new name.
    pub(super) fn begin(&self, ends: &Arc<Ends>, old: Stored, over: Option<FileId>) {
        let one = Move {
            ends: Arc::clone(ends),
            old,
            over,
            failed: None,
        };
        self.all.lock().insert(ends.ino, one);
    }

    /// A try has failed, and there will be another.
    pub(super) fn failed(&self, ino: Ino, error: &Error) {
        let now = Instant::now();
        if let Some(one) = self.all.lock().get_mut(&ino) {
            one.failed = Some(Failure {
                text: error.to_string(),
                prospect: error.prospect(),
                since: one.failed.as_ref().map_or(now, |before| before.since),
                at: now,
            });
        }
    }

    /// It has one name again, whatever has become of it.
    pub(super) fn end(&self, ino: Ino) {
        self.all.lock().remove(&ino);
    }

    /// Somebody waits until there are none, or none in a directory.
    pub(in crate::vfs) fn hurry(&self) -> Hurrying<'_> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        self.hurried.notify_waiters();
        Hurrying(self)
    }

    /// Where a file was renamed from, and to, as long as B2 does not have it under its new name.
    pub(in crate::vfs) fn of(&self, ino: Ino) -> Option<Arc<Ends>> {
        let all = self.all.lock();
        all.get(&ino).map(|one| Arc::clone(&one.ends))
    }

    /// The files that B2 does not have under their new names.
    pub(in crate::vfs) fn files(&self) -> Vec<Ino> {
        self.all.lock().keys().copied().collect()
    }

    /// The last failure of any of them.
    pub(in crate::vfs) fn last_failure(&self) -> Option<Failure> {
        let all = self.all.lock();
        let failed = all.values().filter_map(|one| one.failed.as_ref());
        failed.max_by_key(|failure| failure.at).cloned()
    }

    /// The old names of files that came into a directory, or with `None` of all of them.
    pub(super) fn renamed_into(&self, dir: &str) -> Option<String> {
        let all = self.all.lock();
        let mut into = all.values().filter(|one| is_right_in(&one.ends.to, dir));
        into.next().map(|one| one.ends.from.clone())
    }

    /// What a name is called here that is still to be removed because it was renamed, and why B2 has not got that yet.
    pub(in crate::vfs) fn renamed_to(&self, from: &str) -> Option<(String, Option<Failure>)> {
        let all = self.all.lock();
        let mut moves = all.values().filter(|one| one.ends.from == from);
        moves
            .next()
            .map(|one| (one.ends.to.clone(), one.failed.clone()))
    }

    pub(super) async fn somebody_waits(&self) {
        loop {
            let hurried = self.hurried.notified();
            tokio::pin!(hurried);
            hurried.as_mut().enable();
            if self.wanted.load(Ordering::Relaxed) > 0 {
                return;
            }
            hurried.await;
        }
    }
}

impl Vfs {
    /// A file whose rename B2 has not got: what would be stored under the new name now, the version that is believed to lie
    /// there, and where the file is in B2.
    pub(in crate::vfs) fn unmoved(
        &self,
        tree: &Tree,
        ino: Ino,
    ) -> Option<(NewFile, Option<FileId>, Unmoved)> {
        let all = self.shared.moves.all.lock();
        let Move {
            ends, old, over, ..
        } = all.get(&ino)?;
        let target = self.moved_target(tree, ends, old)?;
        let unmoved = Unmoved {
            from: ends.from.clone(),
            id: old.id.clone(),
        };
        Some((target, over.clone(), unmoved))
    }
}
