//! Removal of files and directories.
//!
//! A file's name leaves the tree at once, and B2 is asked in the background (`remove_later`): the name stays
//! locked until B2 has answered, and no listing brings it back meanwhile (`leaving`). When B2 refuses, or the name
//! holds a version that was not seen here, the name is there again; `rmdir` and `fsync` of its directory tell why,
//! or else the end of the mount, and until one has succeeded further removals are waited for.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

use hashlink::LruCache;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::b2::{FileId, FileVersion};
use crate::vfs::ask::look::Hurry;
use crate::vfs::kept::Kept;
use crate::vfs::names::leaving::Failures;
use crate::vfs::names::name::MARKER;
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::drain::unharmed;
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::state::{Leaves, Stored};
use crate::vfs::versions::removal::{self, Removal};
use crate::vfs::versions::supersede::is_right_in;
use crate::vfs::{Error, Ino, Vfs};

mod awaited;

/// Removals that nobody waits for.
pub(in crate::vfs) struct Removals {
    /// How many more may be under way.
    places: Arc<Semaphore>,
    /// One has ended, well or not.
    ended: Notify,
    pub(in crate::vfs) failures: Failures,
    /// Directories that were removed or renamed, the last ones: nobody can ask them any more how removals in them ended, so
    /// their parents tell.
    orphaned: Mutex<LruCache<String, ()>>,
}

impl Removals {
    /// As many as the client makes calls for at once: more would only wait there.
    const AT_ONCE: usize = 64;

    /// A directory is gone, or has another name.
    pub(in crate::vfs) fn orphan(&self, dir: &str) {
        self.orphaned.lock().insert(dir.to_owned(), ());
    }

    /// Removed directories that are right in this one, or in another removed one that is; they are told for with it.
    fn orphaned_in(&self, dir: &str) -> Vec<String> {
        let mut orphaned = self.orphaned.lock();
        let mut found: Vec<String> = Vec::new();
        let mut at = dir.to_owned();
        let mut next = 0;
        loop {
            let right_in = |full: &&String| is_right_in(full, &at);
            let names: Vec<String> = orphaned
                .iter()
                .map(|(full, ())| full)
                .filter(right_in)
                .cloned()
                .collect();
            for name in names {
                orphaned.remove(&name);
                found.push(name);
            }
            let Some(deeper) = found.get(next) else {
                return found;
            };
            at.clone_from(deeper);
            next += 1;
        }
    }

    /// How many are under way.
    pub(in crate::vfs) fn under_way(&self) -> usize {
        Self::AT_ONCE - self.places.available_permits()
    }

    /// One has ended, or failed for now: who waits looks again.
    pub(in crate::vfs) fn told_ended(&self) {
        self.ended.notify_waiters();
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places).acquire_owned();
        places.await.expect("semaphores are never closed")
    }
}

impl Default for Removals {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(Self::AT_ONCE)),
            ended: Notify::new(),
            failures: Failures::default(),
            orphaned: Mutex::new(LruCache::new(Kept::<String>::MOST)),
        }
    }
}

/// A name that has left the tree, and that B2 is still to remove.
pub(in crate::vfs) struct Gone {
    pub(in crate::vfs) parent: Ino,
    pub(in crate::vfs) name: Arc<str>,
    pub(in crate::vfs) full: String,
    pub(in crate::vfs) removal: Removal,
    pub(in crate::vfs) guard: PathGuard,
}

/// While it lives, rows of a name are ignored; dropped without `ended`, the name is there again.
pub(in crate::vfs) struct Departure<'a> {
    vfs: &'a Vfs,
    full: &'a str,
}

impl<'a> Departure<'a> {
    pub(in crate::vfs) fn begin(vfs: &'a Vfs, full: &'a str) -> Self {
        vfs.tree().leaving.begin(full);
        Self { vfs, full }
    }

    /// Somebody else sees to the end.
    pub(in crate::vfs) fn goes_on(self) {
        std::mem::forget(self);
    }

    /// B2 has acknowledged.
    #[allow(clippy::needless_pass_by_value, reason = "this is its end")]
    pub(in crate::vfs) fn ended(self) {
        self.vfs.tree().left(self.full);
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.vfs.tree().leaving.failed(self.full);
        self.vfs.shared.removals.ended.notify_waiters();
    }
}

impl Vfs {
    /// Removes a file's name; who has it open goes on reading it. Returns before B2 knows, where
    /// `removal_place` says so.
    pub async fn unlink(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        self.writable()?;
        loop {
            let ino = self.find(parent, name).await?;
            if let Some(file) = ino.hashed() {
                // Undeletable, and `rm -r` goes on (DESIGN §4).
                self.shared.unlinked_hashes.add(file);
                return Ok(());
            }
            let full = {
                let tree = self.tree();
                if tree.get(ino)?.dir().is_some() {
                    return Err(Error::IsDirectory);
                }
                let Some(path) = tree.path(ino) else { continue };
                self.full(&path)
            };
            self.may_remove()?;
            let moving = self.shared.moves.of(ino);
            let halted = self.halt(ino);
            let guard = self
                .shared
                .paths
                .lock(vec![Claim::name(full.clone())])
                .await;
            if !self.is_at(&self.tree(), ino, &full) {
                self.rename_held(ino, moving.as_deref())?;
                continue;
            }
            // Somebody may have opened it meanwhile.
            let read = halted.is_none() || self.is_open_to_read(ino);
            if read {
                self.keep_readable(ino, &full).await?;
            }
            let Some(place) = self.removal_place().await else {
                self.unlink_now(ino, &full).await?;
                if let Some(halted) = halted {
                    halted.gone(read);
                }
                return Ok(());
            };
            let mut tree = self.tree();
            if !self.is_at(&tree, ino, &full) {
                continue;
            }
            if let Some(removal) = Self::removal_of(&tree, ino)? {
                tree.leaving.begin(&full);
                let name = Arc::clone(&tree.get(ino)?.name);
                let gone = Gone {
                    parent: tree.get(ino)?.parent,
                    name,
                    full,
                    removal,
                    guard,
                };
                self.remove_later(gone, place);
            }
            self.take_out(&mut tree, ino);
            drop(tree);
            if let Some(halted) = halted {
                halted.gone(read);
            }
            return Ok(());
        }
    }

    /// Removes a file's name and waits for B2.
    async fn unlink_now(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let removal = Self::removal_of(&self.tree(), ino)?;
        if let Some(removal) = &removal {
            if let Err(error) = self.carry_out(full, removal, Hurry::Yes).await {
                self.stays(ino);
                if matches!(error, Error::Stale) {
                    let mut tree = self.tree();
                    if let Some((parent, name)) = tree.locate(self.within(full)) {
                        self.forget_entry(&mut tree, ino);
                        self.shows_again(&mut tree, parent, &name);
                    }
                }
                return Err(error);
            }
            self.shared.removals.failures.recovered(full);
        }
        self.take_out(&mut self.tree(), ino);
        Ok(())
    }

    /// Takes a node out of the tree, and notes that its directory has lost it.
    fn take_out(&self, tree: &mut Tree, ino: Ino) {
        let parent = tree.get(ino).map(|node| node.parent);
        self.withdraw_misplaced(tree, ino);
        tree.tick();
        tree.detach(ino);
        if let Ok(parent) = parent {
            self.lost_child(tree, parent);
        }
    }

    /// A file goes that was finished under a name it had before, and never came to its last one: nothing of it may show
    /// there, either.
    pub(in crate::vfs) fn withdraw_misplaced(&self, tree: &Tree, ino: Ino) {
        let content = tree.get(ino).ok().and_then(|node| {
            let object = node.object()?;
            object.content.clone()
        });
        if let Some(version) = content.and_then(|content| content.misplaced()) {
            self.withdraw_later(version);
        }
    }

    /// Sees to it that a version of this mount's own does not show under a name it has no business under.
    pub(in crate::vfs) fn withdraw_later(&self, version: FileVersion) {
        let Some(id) = version.id else { return };
        let vfs = self.clone();
        self.delete_later(async move {
            let full = version.name.as_str();
            let guard = vfs.shared.paths.lock(vec![Claim::name(full)]).await;
            match vfs.withdraw(full, &id).await {
                Ok(()) | Err(Error::Stale) => {}
                Err(error) => {
                    let failures = &vfs.shared.removals.failures;
                    warn!("{:?} could not be removed: {error}", vfs.within(full));
                    failures.add(full, error);
                }
            }
            drop(guard);
        });
    }

    /// Removes a version of this mount's own, of which nothing is under that name any more; who reads it goes on.
    async fn withdraw(&self, full: &str, id: &FileId) -> Result<(), Error> {
        if !self.is_read(id) {
            return self.remove_own(full, id, &[], Hurry::Look).await;
        }
        let seen = self.look(full, Hurry::Look).await?;
        if seen.position(id) != Some(0) {
            self.purge_after_reading(full, id);
            return Ok(());
        }
        let leaving = removal::Outgoing {
            believed: Some(id.clone()),
            twin: Some(id.clone()),
            ..removal::Outgoing::default()
        };
        self.hide(full, &leaving, Hurry::No).await.map(drop)
    }

    pub(in crate::vfs) fn is_at(&self, tree: &Tree, ino: Ino, full: &str) -> bool {
        tree.path(ino).is_some_and(|path| self.full(&path) == full)
    }

    /// A key that may not hide would only be refused later, when nobody listens.
    pub(in crate::vfs) fn may_remove(&self) -> Result<(), Error> {
        if self.shared.client.may("writeFiles") {
            Ok(())
        } else {
            Err(Error::Access)
        }
    }

    /// What B2 is to be asked for; `None` when it does not know the name.
    fn removal_of(tree: &Tree, ino: Ino) -> Result<Option<Removal>, Error> {
        let object = tree.get(ino)?.object().ok_or(Error::IsDirectory)?;
        let Leaves::Name(believed) = object.state.leaves() else {
            return Ok(None);
        };
        let stored = object.state.stored();
        let intermediate = stored.is_some_and(Stored::intermediate);
        Ok(Some(Removal::Name(removal::Outgoing {
            believed,
            believed_ms: stored.map(|stored| stored.uploaded_ms),
            lost: object.state.lost().to_vec(),
            intermediate,
            ..removal::Outgoing::default()
        })))
    }

    /// Has B2 remove a name when nobody waits: `Leaving::begin` was called, the tree has let go of the name or is
    /// about to.
    pub(in crate::vfs) fn remove_later(&self, gone: Gone, place: OwnedSemaphorePermit) {
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            let _place = place;
            match unharmed(Box::pin(vfs.carry_out(
                &gone.full,
                &gone.removal,
                Hurry::No,
            )))
            .await
            {
                Ok(()) => vfs.tree().left(&gone.full),
                Err(error) => vfs.is_there_again(&gone, error),
            }
            drop(gone.guard);
            vfs.shared.removals.ended.notify_waiters();
        });
    }

    /// A place among the removals that nobody waits for; `None` when they have to be waited for: the
    /// last one has failed, or the user wants every client to see at once what this one did.
    pub(in crate::vfs) async fn removal_place(&self) -> Option<OwnedSemaphorePermit> {
        if self.shared.removals.failures.careful() || self.settings().metadata_ttl.is_zero() {
            return None;
        }
        Some(self.shared.removals.place().await)
    }

    /// B2 has not removed a name that its caller believes gone.
    pub(in crate::vfs) fn is_there_again(&self, gone: &Gone, error: Error) {
        let failures = &self.shared.removals.failures;
        let full = self.within(&gone.full);
        if matches!(error, Error::Stale) {
            warn!("{full:?}: another client has written it meanwhile; its version was not removed");
        } else {
            warn!("{full:?} could not be removed and is there again: {error}");
        }
        let mut tree = self.tree();
        tree.leaving.failed(&gone.full);
        let anew = tree.child(gone.parent, &gone.name);
        if let Some(anew) = anew
            && self.is_at(&tree, anew, &gone.full)
            && let Ok(object) = tree.object_mut(anew)
        {
            // Another file has the name, and will lie over what should have gone.
            object.state.covers(gone.removal.believed().cloned());
            failures.beware();
            return;
        }
        if matches!(error, Error::Stale) {
            failures.tell_of(&gone.full, error);
        } else {
            failures.add(&gone.full, error);
        }
        self.shows_again(&mut tree, gone.parent, &gone.name);
    }

    /// Removes an empty directory. Waits for the removals below it, and tells of one that failed.
    pub async fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        self.writable()?;
        let ino = self.find(parent, name).await?;
        let real = ino.hashed().map_or(Ok(ino), |_| Err(Error::NotDirectory))?;
        let full = self.directory_name(real)?;
        self.may_remove()?;
        let claims = vec![Claim::subtree(full.clone())];
        let _guard = self.lock_settled(claims).await;
        if self.directory_name(real)? != full {
            return Err(Error::NotFound);
        }
        if let Some(error) = self.shared.removals.failures.tell(&full, false) {
            return Err(error);
        }
        self.remove_directory(real, &full).await?;
        self.shared.removals.orphan(&full);
        let mut tree = self.tree();
        for gone in [&full, &format!("{full}{MARKER}")] {
            tree.gone.note(gone, None, None, Instant::now());
        }
        self.take_out(&mut tree, real);
        Ok(())
    }

    /// The full name of a directory, ending with `/`.
    pub(in crate::vfs) fn directory_name(&self, ino: Ino) -> Result<String, Error> {
        let tree = self.tree();
        tree.dir(ino)?;
        Ok(self.full(&tree.path(ino).ok_or(Error::NotFound)?))
    }
}
