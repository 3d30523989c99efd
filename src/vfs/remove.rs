//! Removal: of files, of directories, and of versions in B2.
//!
//! Nothing comes back: removing the newest version would make the older one current again (API §8),
//! so a name is hidden, or all its versions go, the oldest first. A version that an unsent copy refers
//! to stays, under a hidden name, until the copy is stored.

use std::ffi::OsStr;
use std::sync::{Arc, MutexGuard, PoisonError};

use log::warn;
use tokio::task::JoinHandle;

use super::commit::Why;
use super::name::MARKER;
use super::node::{Leftover, Marker, Stored};
use super::pathlock::Claim;
use super::{Delete, Error, Ino, Vfs};
use crate::b2::{Action, ErrorKind, FileId, FileName, ListNames, ListVersions};

impl Vfs {
    /// Removes a file's name; who has it open goes on reading it.
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
            let claims = vec![Claim::name(full.clone())];
            let _guard = self.shared.paths.lock(claims).await;
            if self
                .tree()
                .path(ino)
                .is_none_or(|path| self.full(&path) != full)
            {
                continue;
            }
            self.keep_readable(ino, &full).await?;
            if let Err(error) = self.remove_file(ino, &full).await {
                self.stays(ino);
                return Err(error);
            }
            let mut tree = self.tree();
            tree.tick();
            tree.detach(ino);
            self.lost_child(&mut tree, parent);
            return Ok(());
        }
    }

    async fn remove_file(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let (stored, open) = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let object = node.object().ok_or(Error::IsDirectory)?;
            (object.stored.is_some() || !object.bare_name, node.opens > 0)
        };
        if !stored {
            return Ok(());
        }
        if open && self.settings().delete == Delete::Purge {
            self.hide(full).await?;
            self.tree().object_mut(ino)?.leftover = Some(Box::new(Leftover::All(full.to_owned())));
            return Ok(());
        }
        self.remove_name(full).await
    }

    /// Before the name of a file goes that may be open: parts of it that have left for B2 can be
    /// read again only as a stored version, and there will be no name to store one under.
    pub(super) async fn keep_readable(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let content = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let object = node.object().filter(|_| node.opens > 0);
            object.and_then(|object| object.content.clone())
        };
        let Some(content) = content else {
            return Ok(());
        };
        if content.hold_parts() {
            let stored = self.commit_content_at(ino, full, Why::Provisional).await;
            if stored.is_err() {
                content.release_parts();
                return stored;
            }
        }
        let mut tree = self.tree();
        let object = tree.object_mut(ino)?;
        if let Some(stored) = &object.stored
            && stored.provisional
            && stored.ours
        {
            object.leftover = Some(Box::new(Leftover::One(full.to_owned(), stored.id.clone())));
        }
        Ok(())
    }

    /// The name did not go after all.
    pub(super) fn stays(&self, ino: Ino) {
        if let Ok(object) = self.tree().object_mut(ino) {
            object.leftover = None;
            if let Some(content) = &object.content {
                content.release_parts();
            }
        }
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<(), Error> {
        self.writable()?;
        let ino = self.find(parent, name).await?;
        let real = ino.hashed().map_or(Ok(ino), |_| Err(Error::NotDirectory))?;
        let full = self.directory_name(real)?;
        let claims = vec![Claim::subtree(full.clone())];
        let _guard = self.shared.paths.lock(claims).await;
        if self.directory_name(real)? != full {
            return Err(Error::NotFound);
        }
        self.remove_directory(real, &full).await?;
        let mut tree = self.tree();
        tree.tick();
        tree.detach(real);
        self.lost_child(&mut tree, parent);
        Ok(())
    }

    /// The full name of a directory, ending with `/`.
    pub(super) fn directory_name(&self, ino: Ino) -> Result<String, Error> {
        let tree = self.tree();
        tree.dir(ino)?;
        Ok(self.full(&tree.path(ino).ok_or(Error::NotFound)?))
    }

    /// Makes sure that a directory holds nothing, and removes its markers from B2. What Linux
    /// cannot show counts: it would lose its directory, so the directory is not empty.
    pub(super) async fn remove_directory(&self, ino: Ino, full: &str) -> Result<(), Error> {
        if !self.tree().dir(ino)?.children.is_empty() {
            // Others may have emptied it since it was listed.
            self.ensure_listed(ino).await?;
            if !self.tree().dir(ino)?.children.is_empty() {
                return Err(Error::NotEmpty);
            }
        }
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
            let own = match &self.tree().dir(ino)?.marker {
                Marker::Stored { id, ours } => *ours && row.id.as_ref() == Some(id),
                _ => false,
            };
            if own
                && let Some(id) = &row.id
                && self.delete_version(row.name.as_str(), id).await
                && !self.visible(row.name.as_str()).await?
            {
                continue;
            }
            self.remove_name(row.name.as_str()).await?;
        }
        // A marker that was still to be written is needed no more.
        self.tree().dir_mut(ino)?.marker = Marker::Absent;
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
    pub(super) async fn remove_name(&self, full: &str) -> Result<(), Error> {
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
    pub(super) fn delete_later(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.shared.runtime.spawn(work);
        let mut all = self.deletions();
        all.retain(|task| !task.is_finished());
        all.push(task);
    }

    /// Waits for the deletions under way.
    pub(super) async fn finish_deletions(&self) {
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
    pub(super) fn clear_later(&self, leftover: Leftover) {
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
    pub(super) async fn remove_renamed(&self, full: &str, stored: &Stored) -> Result<(), Error> {
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
