//! Renames: server-side copies, then removal of the source (API §17.1).
//!
//! All copies are made before the first removal, so that an interrupted rename leaves both names,
//! never neither. A file that is not in B2 yet is simply stored under its last name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use log::warn;

use crate::b2::{FileId, FileName, FileVersion, ListNames, NewFile};
use crate::vfs::attr;
use crate::vfs::names::merge::stored_of;
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::names::node::{Marker, MarkerObject, Standing, Stored};
use crate::vfs::ops::remove::{Departure, Gone, Removal};
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::versions::commit::Why;
use crate::vfs::versions::queue::Urgency;
use crate::vfs::{Error, Ino, Invalidation, Vfs};

/// Copies, and then removals, of one directory's rename at once: as many as the client makes.
const AT_ONCE: usize = 64;
/// Names in a page of what is below a directory: the most that B2 gives (API §4.1).
const PAGE: u32 = 10_000;

/// Both ends of a rename, looked up and locked.
struct Ends {
    ino: Ino,
    replaced: Option<Ino>,
    parent: Ino,
    new_parent: Ino,
    new_name: Arc<str>,
    /// Full names; a directory's ends with `/`.
    from: String,
    to: String,
}

impl Ends {
    fn old_name(&self) -> Arc<str> {
        let name = self.from.trim_end_matches('/').rsplit('/').next();
        Arc::from(name.unwrap_or_default())
    }
}

impl Vfs {
    /// Renames; `flags` as of renameat2(2): RENAME_NOREPLACE is honoured, others are refused.
    pub async fn rename(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<(), Error> {
        self.writable()?;
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(Error::Invalid);
        }
        self.may_remove()?;
        let noreplace = flags & libc::RENAME_NOREPLACE != 0;
        loop {
            let found = self.ends(parent, name, new_parent, new_name, noreplace);
            let Some(ends) = found.await? else {
                return Ok(());
            };
            let directory = ends.from.ends_with('/');
            let claims = if directory {
                vec![
                    Claim::subtree(ends.from.clone()),
                    Claim::subtree(ends.to.clone()),
                ]
            } else {
                vec![Claim::name(ends.from.clone()), Claim::name(ends.to.clone())]
            };
            let guard = self.shared.paths.lock(claims).await;
            if !self.still_so(&ends) {
                continue;
            }
            return if directory {
                self.rename_directory(&ends).await
            } else {
                self.rename_file(&ends, guard).await
            };
        }
    }

    /// Looks both names up and refuses what cannot be; `None` when both are the same.
    async fn ends(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        noreplace: bool,
    ) -> Result<Option<Ends>, Error> {
        let ino = self.find(parent, name).await?;
        if ino.hashed().is_some() {
            return Err(Error::NotPermitted);
        }
        let directory = self.tree().get(ino)?.dir().is_some();
        let new_parent_full = self.directory_name(new_parent)?;
        let component: Arc<str> =
            name::new_component(new_name, &new_parent_full, directory).map(Arc::from)?;
        let replaced = self.find_real(new_parent, &component).await?;
        if noreplace && replaced.is_some() {
            return Err(Error::Exists);
        }
        if replaced == Some(ino) {
            return Ok(None);
        }
        let tree = self.tree();
        if directory && tree.is_below(new_parent, ino) {
            return Err(Error::Invalid);
        }
        if let Some(replaced) = replaced {
            match (directory, tree.get(replaced)?.dir().is_some()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => {}
            }
        }
        let from = self.full(&tree.path(ino).ok_or(Error::NotFound)?);
        let slash = if directory { "/" } else { "" };
        let to = format!("{new_parent_full}{component}{slash}");
        if let Some(carried) = tree.get(ino)?.carried_info() {
            name::check_renamed(&from, &to, carried)?;
        }
        Ok(Some(Ends {
            ino,
            replaced,
            parent,
            new_parent,
            to,
            new_name: component,
            from,
        }))
    }

    fn still_so(&self, ends: &Ends) -> bool {
        let tree = self.tree();
        let path = |ino| tree.path(ino).map(|path| self.full(&path));
        let slash = if ends.from.ends_with('/') { "/" } else { "" };
        path(ends.ino).as_ref() == Some(&ends.from)
            && path(ends.new_parent)
                .is_some_and(|parent| format!("{parent}{}{slash}", ends.new_name) == ends.to)
            && tree.child(ends.new_parent, &ends.new_name) == ends.replaced
    }

    async fn rename_file(&self, ends: &Ends, guard: PathGuard) -> Result<(), Error> {
        if let Some(replaced) = ends.replaced {
            self.keep_readable(replaced, &ends.to).await?;
        }
        let result = self.rename_file_over(ends, guard).await;
        if result.is_err()
            && let Some(replaced) = ends.replaced
            && self.tree().path(replaced).is_some()
        {
            self.stays(replaced);
        }
        result
    }

    async fn rename_file_over(&self, ends: &Ends, guard: PathGuard) -> Result<(), Error> {
        let (stored, dirty, target) = {
            let tree = self.tree();
            let node = tree.get(ends.ino)?;
            let object = node.object().ok_or(Error::IsDirectory)?;
            let mut target = self
                .target_at(&tree, ends.ino, &ends.to)
                .ok_or(Error::NotFound)?;
            if extension(&ends.from) != extension(&ends.to)
                && object.stored.as_ref().is_some_and(|stored| stored.ours)
            {
                // The type was B2's guess from the old name (`.page.html.Xy3` of rsync, say).
                "b2/x-auto".clone_into(&mut target.content_type);
            }
            (object.stored.clone(), node.content_dirty(), target)
        };
        let under = {
            // What lies under the new name from now on, for later removals.
            let tree = self.tree();
            match ends.replaced {
                None => true,
                Some(replaced) => tree
                    .get(replaced)?
                    .object()
                    .is_some_and(|object| object.stored.is_none() && object.bare_name),
            }
        };
        if let Some(old) = stored {
            let copy = if dirty {
                None
            } else {
                Some(self.shared.io.copy(&old.version(), &target).await?)
            };
            self.tree().object_mut(ends.ino)?.bare_name = under;
            match copy {
                Some(copy) => {
                    self.superseded_by_copy(ends.ino, &ends.to, &ends.from, &old, &copy)?;
                }
                None => self.commit_moved(ends, under).await?,
            }
            self.leave(ends, Removal::Renamed(old), guard).await
        } else {
            let covers = {
                let mut tree = self.tree();
                let object = tree.object_mut(ends.ino)?;
                !std::mem::replace(&mut object.bare_name, under)
            };
            if covers {
                // It was renamed over a stored file before it was stored itself; that one must not
                // come back when it leaves.
                self.leave(ends, Removal::Name, guard).await
            } else {
                self.edit(ends)
            }
        }
    }

    /// Moves a file in the tree and has its old name removed from B2, behind the caller's back unless
    /// a removal has failed lately.
    async fn leave(
        &self,
        ends: &Ends,
        removal: Removal,
        mut guard: PathGuard,
    ) -> Result<(), Error> {
        let place = self.removal_place().await;
        let departure = Departure::begin(self, &ends.from);
        self.edit(ends)?;
        if let Some(place) = place {
            departure.goes_on();
            guard.keep_only(&ends.from);
            let gone = Gone {
                parent: ends.parent,
                name: ends.old_name(),
                full: ends.from.clone(),
                ino: None,
                removal,
                guard,
            };
            self.remove_behind(gone, place);
            return Ok(());
        }
        if let Err(error) = self.carry_out(&ends.from, &removal).await {
            drop(departure);
            self.both_remain(ends);
            return Err(error);
        }
        departure.ended();
        self.shared.removals.failures.recovered(&ends.from);
        Ok(())
    }

    /// Stores unsent content under the new name at once: its base lies under the old one.
    async fn commit_moved(&self, ends: &Ends, under: bool) -> Result<(), Error> {
        let standing = {
            let mut tree = self.tree();
            let stored = tree.object_mut(ends.ino)?.stored.as_mut();
            stored.map(|stored| std::mem::replace(&mut stored.standing, Standing::Closed))
        };
        let result = self
            .commit_content_at(ends.ino, &ends.to, Why::Closed)
            .await;
        let mut tree = self.tree();
        if let Some(stored) = tree.object_mut(ends.ino)?.stored.as_mut() {
            match result {
                Ok(()) => stored.bare = under,
                Err(_) => stored.standing = standing.unwrap_or(Standing::Closed),
            }
        }
        result
    }

    /// The rename in the tree.
    fn edit(&self, ends: &Ends) -> Result<(), Error> {
        let mut tree = self.tree();
        tree.relocate(ends.ino, ends.new_parent, Arc::clone(&ends.new_name))?;
        tree.get_mut(ends.ino)?.meta.ctime = attr::now();
        tree.note_pending(ends.ino);
        self.lost_child(&mut tree, ends.parent);
        let node = tree.get_mut(ends.new_parent)?;
        node.meta.mtime = attr::now();
        node.meta.ctime = node.meta.mtime;
        Ok(())
    }

    async fn rename_directory(&self, ends: &Ends) -> Result<(), Error> {
        if let Some(replaced) = ends.replaced {
            self.remove_directory(replaced, &ends.to).await?;
        }
        self.store_below(ends).await?;
        let rows = self.rows_below(&ends.from).await?;
        for row in &rows {
            let new = format!("{}{}", ends.to, &row.name.as_str()[ends.from.len()..]);
            let carried = attr::carried_info(&row.info, self.settings());
            name::check_renamed(row.name.as_str(), &new, &carried)?;
        }
        let copied = self.copy_all(&rows, ends).await?;
        let sources = self.rebase(ends, &copied)?;
        // The old name leads nowhere now, also for listings that go on showing it.
        let departure = Departure::begin(self, &ends.from);
        self.edit(ends)?;
        self.keep_alive(ends.ino);
        // Waited for: the old directory is gone, and with it whoever could be told later.
        let removed: Vec<Result<(), Error>> = stream::iter(rows)
            .map(|row| {
                let own = row.id.as_ref().and_then(|id| sources.get(id)).cloned();
                async move {
                    match own.or_else(|| stored_of(&row, false, false)) {
                        Some(stored) => self.remove_renamed(row.name.as_str(), &stored).await,
                        None => self.remove_name(row.name.as_str()).await,
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let removed: Result<Vec<()>, Error> = removed.into_iter().collect();
        if let Err(error) = removed {
            drop(departure);
            self.both_remain(ends);
            return Err(error);
        }
        departure.ended();
        Ok(())
    }

    /// The copies are there but the source could not be removed: B2 has both names, which the
    /// kernel, told of an error, would not expect.
    fn both_remain(&self, ends: &Ends) {
        for (parent, name) in [
            (ends.parent, ends.old_name()),
            (ends.new_parent, Arc::clone(&ends.new_name)),
        ] {
            if let Ok(dir) = self.tree().dir_mut(parent) {
                dir.forget_listing();
            }
            self.shared
                .invalidations
                .push(Invalidation::Entry { parent, name });
        }
    }

    /// Unsent changes of stored files go up before they are copied; files that are not in B2 yet
    /// need nothing, for they will be stored under their new name.
    async fn store_below(&self, ends: &Ends) -> Result<(), Error> {
        let dirty: Vec<(Ino, String)> = {
            let tree = self.tree();
            tree.subtree(ends.ino)
                .into_iter()
                .filter(|ino| {
                    tree.get(*ino).is_ok_and(|node| {
                        node.content_dirty()
                            && node.object().is_some_and(|object| object.stored.is_some())
                    })
                })
                .filter_map(|ino| Some((ino, self.full(&tree.path(ino)?))))
                .collect()
        };
        stream::iter(dirty)
            .map(Ok)
            .try_for_each_concurrent(self.settings().parallel, |(ino, full)| async move {
                self.commit_content_at(ino, &full, Why::Provisional).await
            })
            .await
    }

    /// Everything visible below a directory, what Linux cannot show included.
    async fn rows_below(&self, prefix: &str) -> Result<Vec<FileVersion>, Error> {
        let mut rows = Vec::new();
        let mut start = None;
        loop {
            let request = ListNames {
                prefix: prefix.to_owned(),
                start,
                delimiter: false,
                max: PAGE,
            };
            let mut page = self.shared.client.list_file_names(&request).await?;
            rows.append(&mut page.files);
            start = page.next;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Copies every row to its new name; on an error the copies made so far are removed again.
    async fn copy_all(
        &self,
        rows: &[FileVersion],
        ends: &Ends,
    ) -> Result<HashMap<FileId, FileVersion>, Error> {
        let failed = AtomicBool::new(false);
        // One that has begun is never given up: B2 would make the copy, and nobody would know of it.
        let failed = &failed;
        let results: Vec<Result<Option<(FileId, FileVersion)>, Error>> =
            stream::iter(0..rows.len())
                .map(|at| async move {
                    if failed.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    let result = self.copy_below(&rows[at], ends).await;
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    result
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        let mut made = HashMap::with_capacity(rows.len());
        let mut first = None;
        for result in results {
            match result {
                Ok(one) => made.extend(one),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let Some(error) = first else {
            return Ok(made);
        };
        stream::iter(made.into_values())
            .for_each_concurrent(AT_ONCE, |copy| async move {
                if let Some(id) = &copy.id
                    && !self.delete_version(copy.name.as_str(), id).await
                {
                    warn!("{:?}: left over from a rename that failed", copy.name);
                }
            })
            .await;
        Err(error)
    }

    /// Copies one row to its new name; tells which version it was and which it is there.
    async fn copy_below(
        &self,
        row: &FileVersion,
        ends: &Ends,
    ) -> Result<Option<(FileId, FileVersion)>, Error> {
        let Some(stored) = stored_of(row, false, false) else {
            return Ok(None);
        };
        let new = format!("{}{}", ends.to, &row.name.as_str()[ends.from.len()..]);
        let target = NewFile {
            name: FileName::listed(&new),
            content_type: row
                .content_type
                .clone()
                .unwrap_or_else(|| "b2/x-auto".to_owned()),
            info: row.info.clone(),
        };
        let copy = self.shared.io.copy(&stored.version(), &target).await?;
        Ok(Some((stored.id, copy)))
    }

    /// Points every known file below the directory to its copy; returns the versions it had before.
    fn rebase(
        &self,
        ends: &Ends,
        copied: &HashMap<FileId, FileVersion>,
    ) -> Result<HashMap<FileId, Stored>, Error> {
        let mut sources = HashMap::new();
        let mut tree = self.tree();
        for ino in tree.subtree(ends.ino) {
            tree.touch(ino);
            let node = tree.get_mut(ino)?;
            if let Some(dir) = node.dir_mut() {
                if let Marker::Stored(object)
                | Marker::Wanted {
                    old: Some(object), ..
                } = &mut dir.marker
                    && let Some(copy) = copied.get(&object.id)
                    && let Some(id) = copy.id.clone()
                {
                    *object = MarkerObject {
                        id,
                        ours: copy.name.as_str().ends_with(MARKER),
                        bare: true,
                    };
                }
                continue;
            }
            let Some(object) = node.object_mut() else {
                continue;
            };
            let Some(old) = object.stored.take() else {
                // Not stored yet. What it was renamed over is: it has come along under the new name.
                continue;
            };
            object.bare_name = true;
            let copy = copied.get(&old.id);
            let Some(mut stored) = copy.and_then(|copy| stored_of(copy, true, true)) else {
                object.stored = Some(old);
                continue;
            };
            stored.sha1 = stored.sha1.or(old.sha1);
            if let Some(content) = &object.content {
                content.same_content(&old.id, &stored.version());
            }
            object.stored = Some(stored);
            sources.insert(old.id.clone(), old);
        }
        Ok(sources)
    }

    /// A renamed directory without anything in B2 still has to exist there.
    fn keep_alive(&self, ino: Ino) {
        let mut tree = self.tree();
        for ino in tree.subtree(ino) {
            let Ok(node) = tree.get(ino) else { continue };
            if node.pending() {
                let delay = self.attributes_delay(node.content_dirty());
                tree.note_pending(ino);
                self.shared.queue.push(ino, delay, Urgency::Idle);
            }
        }
    }
}

fn extension(name: &str) -> Option<&str> {
    let last = name.rsplit('/').next()?;
    last.rsplit_once('.').map(|(_, extension)| extension)
}
