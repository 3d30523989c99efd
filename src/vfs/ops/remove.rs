//! Removal: of files, of directories, and of versions in B2.
//!
//! Nothing comes back: removing the newest version would make the older one current again (API §8),
//! so a name is hidden, or all its versions go, the oldest first. A version that an unsent copy refers
//! to stays, under a hidden name, until the copy is stored.
//!
//! A file's name leaves the tree at once, and B2 is asked behind the caller's back (`remove_behind`): the
//! name stays locked until B2 has answered, and no listing brings it back meanwhile (`leaving`). When B2
//! refuses, the name is there again; `rmdir` and `fsync` of its directory tell why, or else the end of the
//! mount, and until one has succeeded further removals are waited for.

use std::ffi::OsStr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use log::warn;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::b2::{Action, ErrorKind, FileId, FileName, ListNames, ListVersions};
use crate::vfs::names::leaving::{Failures, Leaving};
use crate::vfs::names::name::MARKER;
use crate::vfs::names::node::{Leftover, Marker, MarkerObject, Standing, Stored};
use crate::vfs::names::tree::Tree;
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::versions::commit::Why;
use crate::vfs::{Delete, Error, Ino, Invalidation, Unstored, Vfs};

/// Removals that nobody waits for.
pub(in crate::vfs) struct Removals {
    /// How many more may be under way.
    places: Arc<Semaphore>,
    /// One has ended, well or not.
    ended: Notify,
    pub(in crate::vfs) failures: Failures,
}

impl Removals {
    /// As many as the client makes calls for at once: more would only wait there.
    const AT_ONCE: usize = 64;

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
        }
    }
}

/// What B2 is asked for so that a name goes.
#[derive(Debug, Clone)]
pub(in crate::vfs) enum Removal {
    /// What the user chose: to hide it, or to purge it.
    Name,
    /// To hide it; its content is still being read, and is purged at the last close.
    Hide,
    /// Less: its content lives on under another name.
    Renamed(Stored),
}

/// A name that has left the tree, and that B2 is still to remove.
pub(in crate::vfs) struct Gone {
    pub(in crate::vfs) parent: Ino,
    pub(in crate::vfs) name: Arc<str>,
    pub(in crate::vfs) full: String,
    /// The file that had the name, unless it has another one now.
    pub(in crate::vfs) ino: Option<Ino>,
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
            let guard = self
                .shared
                .paths
                .lock(vec![Claim::name(full.clone())])
                .await;
            if !self.is_at(&self.tree(), ino, &full) {
                continue;
            }
            let made_readable = self.keep_readable(ino, &full).await?;
            let place = if made_readable {
                None
            } else {
                self.removal_place().await
            };
            let Some(place) = place else {
                return self.unlink_now(ino, &full).await;
            };
            let mut tree = self.tree();
            if !self.is_at(&tree, ino, &full) {
                continue;
            }
            let removal = self.removal_of(&tree, ino)?;
            if let Some(removal) = removal {
                if matches!(removal, Removal::Hide) {
                    tree.object_mut(ino)?.leftover = Some(Box::new(Leftover::All(full.clone())));
                }
                tree.leaving.begin(&full);
                let name = Arc::clone(&tree.get(ino)?.name);
                let gone = Gone {
                    parent: tree.get(ino)?.parent,
                    name,
                    full,
                    ino: Some(ino),
                    removal,
                    guard,
                };
                self.remove_behind(gone, place);
            }
            self.take_out(&mut tree, ino);
            return Ok(());
        }
    }

    /// Removes a file's name and waits for B2.
    async fn unlink_now(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let removal = self.removal_of(&self.tree(), ino)?;
        if let Some(removal) = &removal {
            if let Err(error) = self.carry_out(full, removal).await {
                self.stays(ino);
                return Err(error);
            }
            self.shared.removals.failures.recovered(full);
        }
        let mut tree = self.tree();
        if matches!(removal, Some(Removal::Hide)) {
            tree.object_mut(ino)?.leftover = Some(Box::new(Leftover::All(full.to_owned())));
        }
        self.take_out(&mut tree, ino);
        Ok(())
    }

    /// Takes a node out of the tree, and notes that its directory has lost it.
    fn take_out(&self, tree: &mut Tree, ino: Ino) {
        let parent = tree.get(ino).map(|node| node.parent);
        tree.tick();
        tree.detach(ino);
        if let Ok(parent) = parent {
            self.lost_child(tree, parent);
        }
    }

    fn is_at(&self, tree: &Tree, ino: Ino, full: &str) -> bool {
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
    fn removal_of(&self, tree: &Tree, ino: Ino) -> Result<Option<Removal>, Error> {
        let node = tree.get(ino)?;
        let object = node.object().ok_or(Error::IsDirectory)?;
        if object.stored.is_none() && object.bare_name {
            return Ok(None);
        }
        let read = node.opens > 0 && self.settings().delete == Delete::Purge;
        Ok(Some(if read { Removal::Hide } else { Removal::Name }))
    }

    /// Has B2 remove a name.
    pub(in crate::vfs) async fn carry_out(
        &self,
        full: &str,
        removal: &Removal,
    ) -> Result<(), Error> {
        match removal {
            Removal::Name => self.remove_name(full).await,
            Removal::Hide => self.hide(full).await,
            Removal::Renamed(stored) => self.remove_renamed(full, stored).await,
        }
    }

    /// The same when nobody waits: `Leaving::begin` was called, the tree has let go of the name or is
    /// about to.
    pub(in crate::vfs) fn remove_behind(&self, gone: Gone, place: OwnedSemaphorePermit) {
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            let _place = place;
            let work = AssertUnwindSafe(vfs.carry_out(&gone.full, &gone.removal));
            let result = work.catch_unwind().await;
            match result.unwrap_or_else(|_| Err(Error::Io("a fault of b2fuse".to_owned()))) {
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
    fn is_there_again(&self, gone: &Gone, error: Error) {
        let failures = &self.shared.removals.failures;
        warn!(
            "{:?} could not be removed and is there again: {error}",
            self.within(&gone.full)
        );
        let mut tree = self.tree();
        tree.leaving.failed(&gone.full);
        if let Some(ino) = gone.ino
            && let Ok(object) = tree.object_mut(ino)
        {
            object.leftover = None;
        }
        let anew = tree.child(gone.parent, &gone.name);
        if let Some(anew) = anew
            && self.is_at(&tree, anew, &gone.full)
            && let Ok(object) = tree.object_mut(anew)
        {
            // Another file has the name, and will lie over what should have gone.
            object.bare_name = false;
            failures.beware();
            return;
        }
        if let Ok(dir) = tree.dir_mut(gone.parent) {
            dir.doubt(&gone.name);
        }
        failures.add(&gone.full, error);
        drop(tree);
        self.shared.invalidations.push(Invalidation::Entry {
            parent: gone.parent,
            name: Arc::clone(&gone.name),
        });
    }

    /// Waits for the removals of the names in a directory, and tells of one that has failed.
    pub(in crate::vfs) async fn removed_in(&self, dir: Ino) -> Result<(), Error> {
        let Ok(full) = self.directory_name(dir) else {
            return Ok(());
        };
        self.removals_ended(|leaving| !leaving.any_in(&full, true))
            .await;
        match self.shared.removals.failures.tell(&full, true) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for all removals.
    pub(in crate::vfs) async fn finish_removals(&self) {
        self.removals_ended(|leaving| leaving.under_way() == 0)
            .await;
    }

    async fn removals_ended(&self, enough: impl Fn(&Leaving) -> bool) {
        loop {
            let ended = self.shared.removals.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if enough(&self.tree().leaving) {
                return;
            }
            ended.await;
        }
    }

    /// Removals under way, and those that have failed without anybody being told.
    pub(in crate::vfs) fn unremoved(&self) -> Vec<Unstored> {
        let mut all = self.shared.removals.failures.untold();
        let tree = self.tree();
        all.extend(
            tree.leaving
                .names()
                .map(|name| (name.to_owned(), String::new())),
        );
        drop(tree);
        all.into_iter()
            .map(|(full, error)| Unstored {
                path: self.within(&full).to_owned(),
                content: None,
                removal: true,
                error,
            })
            .collect()
    }

    /// The path within the mount of a full name in B2.
    fn within<'a>(&self, full: &'a str) -> &'a str {
        full.strip_prefix(&self.settings().prefix).unwrap_or(full)
    }

    /// Before the name of a file goes that may be open: parts of it that have left for B2 can be
    /// read again only as a stored version, and there will be no name to store one under. True when
    /// that version, the newest of the name, goes at the last close: the name must be gone by then.
    pub(in crate::vfs) async fn keep_readable(&self, ino: Ino, full: &str) -> Result<bool, Error> {
        let content = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let object = node.object().filter(|_| node.opens > 0);
            object.and_then(|object| object.content.clone())
        };
        let Some(content) = content else {
            return Ok(false);
        };
        if content.hold_parts() {
            let stored = self.commit_content_at(ino, full, Why::Provisional).await;
            if let Err(error) = stored {
                content.release_parts();
                return Err(error);
            }
        }
        let mut tree = self.tree();
        let object = tree.object_mut(ino)?;
        if let Some(stored) = &object.stored
            && stored.standing == Standing::Open
            && stored.ours
        {
            object.leftover = Some(Box::new(Leftover::One(full.to_owned(), stored.id.clone())));
            return Ok(true);
        }
        Ok(false)
    }

    /// The name did not go after all.
    pub(in crate::vfs) fn stays(&self, ino: Ino) {
        if let Ok(object) = self.tree().object_mut(ino) {
            object.leftover = None;
            if let Some(content) = &object.content {
                content.release_parts();
            }
        }
    }

    /// Removes an empty directory. Waits for the removals below it, and tells of one that failed.
    pub async fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        self.writable()?;
        let ino = self.find(parent, name).await?;
        let real = ino.hashed().map_or(Ok(ino), |_| Err(Error::NotDirectory))?;
        let full = self.directory_name(real)?;
        self.may_remove()?;
        let claims = vec![Claim::subtree(full.clone())];
        let _guard = self.shared.paths.lock(claims).await;
        if self.directory_name(real)? != full {
            return Err(Error::NotFound);
        }
        if let Some(error) = self.shared.removals.failures.tell(&full, false) {
            return Err(error);
        }
        self.remove_directory(real, &full).await?;
        self.take_out(&mut self.tree(), real);
        Ok(())
    }

    /// The full name of a directory, ending with `/`.
    pub(in crate::vfs) fn directory_name(&self, ino: Ino) -> Result<String, Error> {
        let tree = self.tree();
        tree.dir(ino)?;
        Ok(self.full(&tree.path(ino).ok_or(Error::NotFound)?))
    }

    /// Makes sure that a directory holds nothing, and removes its markers from B2. What Linux
    /// cannot show counts: it would lose its directory, so the directory is not empty.
    pub(in crate::vfs) async fn remove_directory(&self, ino: Ino, full: &str) -> Result<(), Error> {
        if !self.tree().dir(ino)?.children.is_empty() {
            // Others may have emptied it since it was listed.
            self.ensure_listed(ino).await?;
            if !self.tree().dir(ino)?.children.is_empty() {
                return Err(Error::NotEmpty);
            }
        }
        let (known, marker) = {
            let tree = self.tree();
            let dir = tree.dir(ino)?;
            let ttl = self.settings().metadata_ttl;
            let fresh = dir.listed().is_some_and(|at| at.elapsed() < ttl);
            (fresh && !dir.odd, dir.marker.stored().cloned())
        };
        match marker {
            None if known => {}
            Some(own) if known && own.ours => {
                self.remove_marker(&format!("{full}{MARKER}"), &own).await?;
            }
            marker => self.remove_listed_markers(full, marker).await?,
        }
        // A marker that was still to be written is needed no more.
        self.tree().dir_mut(ino)?.marker = Marker::Absent;
        Ok(())
    }

    /// Asks B2 what is in a directory, and removes its markers when that is all.
    async fn remove_listed_markers(
        &self,
        full: &str,
        known: Option<MarkerObject>,
    ) -> Result<(), Error> {
        let marker = format!("{full}{MARKER}");
        let mut markers = Vec::new();
        let mut start = None;
        loop {
            let request = ListNames {
                prefix: full.to_owned(),
                start,
                delimiter: false,
                max: 3,
            };
            let page = self.shared.client.list_file_names(&request).await?;
            for row in page.files {
                if row.name.as_str() != full && row.name.as_str() != marker {
                    return Err(Error::NotEmpty);
                }
                markers.push(row);
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        for row in markers {
            match &known {
                Some(own) if own.ours && row.id.as_ref() == Some(&own.id) => {
                    self.remove_marker(row.name.as_str(), own).await?;
                }
                _ => self.remove_name(row.name.as_str()).await?,
            }
        }
        Ok(())
    }

    /// Removes a marker of this mount's own altogether, but nothing that lies under it.
    async fn remove_marker(&self, name: &str, own: &MarkerObject) -> Result<(), Error> {
        if own.bare && self.delete_version(name, &own.id).await {
            return Ok(());
        }
        self.remove_name(name).await?;
        if self.settings().delete == Delete::Hide {
            self.delete_version(name, &own.id).await;
        }
        Ok(())
    }

    async fn visible(&self, full: &str) -> Result<bool, Error> {
        let request = ListNames {
            prefix: full.to_owned(),
            start: None,
            delimiter: false,
            max: 1,
        };
        let page = self.shared.client.list_file_names(&request).await?;
        Ok(page.files.iter().any(|row| row.name.as_str() == full))
    }

    /// Makes a name invisible, by the way that the user chose.
    pub(in crate::vfs) async fn remove_name(&self, full: &str) -> Result<(), Error> {
        match self.settings().delete {
            Delete::Hide => self.hide(full).await,
            Delete::Purge => self.purge(full).await,
        }
    }

    async fn hide(&self, full: &str) -> Result<(), Error> {
        match self.shared.client.hide_file(&FileName::listed(full)).await {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Runs a deletion that nobody waits for.
    pub(in crate::vfs) fn delete_later(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.shared.runtime.spawn(work);
        let mut all = self.deletions();
        all.retain(|task| !task.is_finished());
        all.push(task);
    }

    /// Waits for the deletions under way.
    pub(in crate::vfs) async fn finish_deletions(&self) {
        let all = std::mem::take(&mut *self.deletions());
        for task in all {
            // One that ended in a panic has said so.
            drop(task.await);
        }
    }

    fn deletions(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.shared
            .deletions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what is left of a file that was removed while it was open.
    pub(in crate::vfs) fn clear_later(&self, leftover: Leftover) {
        let vfs = self.clone();
        self.delete_later(async move {
            let full = match leftover {
                Leftover::One(full, id) => {
                    vfs.delete_version(&full, &id).await;
                    return;
                }
                Leftover::All(full) => full,
            };
            let claims = vec![Claim::name(full.clone())];
            let _guard = vfs.shared.paths.lock(claims).await;
            // Somebody may have made the name anew since.
            let result = match vfs.visible(&full).await {
                Ok(true) => Ok(()),
                Ok(false) => vfs.purge(&full).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                warn!("{full:?} stays hidden in the bucket, it could not be purged: {error}");
            }
        });
    }

    /// While unsent copies refer to a version, puts the purge of its name off until they are stored,
    /// and returns true.
    fn purge_when_free(&self, full: &str, id: &FileId) -> bool {
        let (shared, full) = (Arc::downgrade(&self.shared), full.to_owned());
        self.shared.io.when_free(id, move || {
            if let Some(shared) = shared.upgrade() {
                Self { shared }.clear_later(Leftover::All(full));
            }
        })
    }

    async fn purge(&self, full: &str) -> Result<(), Error> {
        let mut versions = Vec::new();
        let mut start = Some((full.to_owned(), None));
        while let Some(from) = start {
            let request = ListVersions {
                prefix: full.to_owned(),
                start: Some(from),
                delimiter: false,
                max: 1000,
            };
            let page = self.shared.client.list_file_versions(&request).await?;
            let others = page.files.iter().any(|row| row.name.as_str() != full);
            versions.extend(
                page.files
                    .into_iter()
                    .filter(|row| row.name.as_str() == full && row.action != Action::Start),
            );
            start = page.next.filter(|_| !others);
        }
        let ids = versions.iter().filter_map(|version| version.id.as_ref());
        if ids.into_iter().any(|id| self.purge_when_free(full, id)) {
            return self.hide(full).await;
        }
        for version in versions.into_iter().rev() {
            let Some(id) = version.id else { continue };
            let gone = self
                .shared
                .client
                .delete_file_version(&version.name, &id)
                .await;
            match gone {
                Ok(()) => {}
                Err(error) if matches!(error.kind, ErrorKind::Locked | ErrorKind::AccessDenied) => {
                    warn!("{full:?}: hidden instead of purged: {error}");
                    return self.hide(full).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes the source of a rename: its content lives on under the new name. A version that this
    /// mount made goes altogether; any other stays recoverable under its old name.
    pub(in crate::vfs) async fn remove_renamed(
        &self,
        full: &str,
        stored: &Stored,
    ) -> Result<(), Error> {
        if stored.ours && stored.bare && self.delete_version(full, &stored.id).await {
            return Ok(());
        }
        self.remove_name(full).await?;
        if stored.ours && self.settings().delete == Delete::Hide {
            self.delete_version(full, &stored.id).await;
        }
        Ok(())
    }
}
