//! Which files have their new names here, and not yet in B2; and who waits for that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::vfs::Ino;
use crate::vfs::versions::supersede::is_right_in;

/// Files that have their new names here, and not yet in B2.
#[derive(Default)]
pub(in crate::vfs) struct Moves {
    all: Mutex<HashMap<Ino, Names>>,
    /// How many wait for the end of some.
    wanted: AtomicUsize,
    hurried: Notify,
}

/// The full names of a file that is being renamed.
#[derive(Clone)]
pub(in crate::vfs) struct Names {
    pub(super) from: String,
    pub(super) to: String,
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
    pub(super) fn begin(&self, ino: Ino, names: Names) {
        self.all.lock().insert(ino, names);
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

    /// Where a file was renamed from, as long as B2 does not have it under its new name.
    pub(in crate::vfs) fn of(&self, ino: Ino) -> Option<Names> {
        self.all.lock().get(&ino).cloned()
    }

    /// The old names of files that came into a directory, or with `None` of all of them.
    pub(super) fn renamed_into(&self, dir: &str) -> Option<String> {
        let all = self.all.lock();
        let mut into = all.values().filter(|names| is_right_in(&names.to, dir));
        into.next().map(|names| names.from.clone())
    }

    /// What a name is called here that is still to be removed, because it was renamed.
    pub(in crate::vfs) fn renamed_to(&self, from: &str) -> Option<String> {
        let all = self.all.lock();
        let mut moves = all.values().filter(|names| names.from == from);
        moves.next().map(|names| names.to.clone())
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
