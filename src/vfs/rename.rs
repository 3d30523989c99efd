//! Renames: server-side copies, then removal of the source (API §17.1).
//!
//! All copies are made before the first removal, so that an interrupted rename leaves both names,
//! never neither. A file that is not in B2 yet is simply stored under its last name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use log::warn;

use super::attr;
use super::commit::Why;
use super::merge::stored_of;
use super::name;
use super::node::{Marker, Stored};
use super::pathlock::Claim;
use super::queue::Urgency;
use super::{Error, Ino, Invalidation, Vfs};
use crate::b2::{FileId, FileName, FileVersion, ListNames, NewFile};

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
            let _guard = self.shared.paths.lock(claims).await;
            if !self.still_so(&ends) {
                continue;
            }
            return if directory {
                self.rename_directory(&ends).await
            } else {
                self.rename_file(&ends).await
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
        Ok(Some(Ends {
            ino,
            replaced,
            parent,
            new_parent,
            to: format!("{new_parent_full}{component}{slash}"),
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

    async fn rename_file(&self, ends: &Ends) -> Result<(), Error> {
        if let Some(replaced) = ends.replaced {
            self.keep_readable(replaced, &ends.to).await?;
        }
        let result = self.rename_file_over(ends).await;
        if result.is_err()
            && let Some(replaced) = ends.replaced
            && self.tree().path(replaced).is_some()
        {
            self.stays(replaced);
        }
        result
    }

    async fn rename_file_over(&self, ends: &Ends) -> Result<(), Error> {
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
                    self.superseded_by_copy(ends.ino, &ends.to, &ends.from, &old, &copy)
                        .await?;
                }
                None => self.commit_moved(ends, under).await?,
            }
            self.edit(ends)?;
            if let Err(error) = self.remove_renamed(&ends.from, &old).await {
                self.both_remain(ends);
                return Err(error);
            }
        } else {
            let covers = !self.tree().object_mut(ends.ino)?.bare_name;
            if covers {
                // It was renamed over a stored file before it was stored itself; that one must not
                // come back when it leaves.
                self.remove_name(&ends.from).await?;
            }
            self.tree().object_mut(ends.ino)?.bare_name = under;
            self.edit(ends)?;
        }
        Ok(())
    }

    /// Stores unsent content under the new name at once: its base lies under the old one.
    async fn commit_moved(&self, ends: &Ends, under: bool) -> Result<(), Error> {
        let provisional = {
            let mut tree = self.tree();
            let stored = tree.object_mut(ends.ino)?.stored.as_mut();
            stored.map(|stored| std::mem::replace(&mut stored.provisional, false))
        };
        let result = self
            .commit_content_at(ends.ino, &ends.to, Why::Closed)
            .await;
        let mut tree = self.tree();
        if let Some(stored) = tree.object_mut(ends.ino)?.stored.as_mut() {
            match result {
                Ok(()) => stored.bare = under,
                Err(_) => stored.provisional = provisional.unwrap_or(false),
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
            name::check_full(&new)?;
        }
        let copied = self.copy_all(&rows, ends).await?;
        let sources = self.rebase(ends, &copied)?;
        {
            // The old name leads nowhere now, also for listings already under way.
            let mut tree = self.tree();
            tree.tick();
        }
        self.edit(ends)?;
        self.keep_alive(ends.ino);
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
            .buffer_unordered(self.settings().parallel)
            .collect()
            .await;
        let removed: Result<Vec<()>, Error> = removed.into_iter().collect();
        if let Err(error) = removed {
            self.both_remain(ends);
            return Err(error);
        }
        Ok(())
    }

    /// The copies are there but the source could not be removed: B2 has both names, which the
    /// kernel, told of an error, would not expect.
    fn both_remain(&self, ends: &Ends) {
        let old_name = ends.from.trim_end_matches('/').rsplit('/').next();
        for (parent, name) in [
            (ends.parent, Arc::from(old_name.unwrap_or_default())),
            (ends.new_parent, Arc::clone(&ends.new_name)),
        ] {
            if let Ok(dir) = self.tree().dir_mut(parent) {
                dir.listed = None;
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
                max: 1000,
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
        let made = std::sync::Mutex::new(Vec::new());
        let result = stream::iter(rows)
            .map(Ok)
            .try_for_each_concurrent(self.settings().parallel, |row| {
                let made = &made;
                async move {
                    let Some(stored) = stored_of(row, false, false) else {
                        return Ok(());
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
                    made.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((stored.id, copy));
                    Ok::<(), Error>(())
                }
            })
            .await;
        let made = made
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = result {
            for (_, copy) in made {
                if let Some(id) = &copy.id
                    && !self.delete_version(copy.name.as_str(), id).await
                {
                    warn!("{:?}: left over from a rename that failed", copy.name);
                }
            }
            return Err(error);
        }
        Ok(made.into_iter().collect())
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
                if let Marker::Stored { id, .. } = &mut dir.marker
                    && let Some(copy) = copied.get(id).and_then(|copy| copy.id.clone())
                {
                    dir.marker = Marker::Stored {
                        id: copy,
                        ours: true,
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
