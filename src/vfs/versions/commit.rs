//! What goes to B2, and when: content at fsync and at close (with write-back after it), attributes and
//! markers a little later.
//!
//! A commit holds the path lock of its name, so that the order of commits, renames and removals of
//! one name is the order in which B2 sees them. On failure everything stays pending, is tried again
//! in the background, and the error is told to whoever waits.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use log::debug;

use crate::b2::{FileId, FileName, FileVersion, NewFile, Payload, Sha1};
use crate::io::Version;
use crate::vfs::attr::{self, Meta};
use crate::vfs::names::merge::stored_of;
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::names::node::{Carried, Failure, Marker, MarkerObject, Node, Standing, Stored};
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::xattr;
use crate::vfs::pathlock::Claim;
use crate::vfs::versions::queue::{Queue, Task, Urgency};
use crate::vfs::{Error, Fh, Ino, Pending, Unstored, Vfs};

/// The type that lets B2 decide by the name's extension (API §5.2).
const AUTO_TYPE: &str = "b2/x-auto";
/// What B2 makes of an unknown extension.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Info key with the SHA-1 of a large file's whole content (API §6).
const WHOLE_SHA1: &str = "large_file_sha1";

/// What a commit of content leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Why {
    /// A state that somebody closed: it stays among the versions when it is superseded.
    Closed,
    /// A descriptor of this handle is being closed; whether it was the last is known at release only.
    Flushed(Fh),
    /// In the middle of writing: the version goes when the next one is there.
    Provisional,
}

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
                Vfs { shared }.store_due(task).await;
            });
        }
    });
}

impl Vfs {
    /// Name, type and info under which an object would be stored now; `None` once it is unlinked.
    pub(in crate::vfs) fn target(&self, tree: &Tree, ino: Ino) -> Option<NewFile> {
        let full = self.full(&tree.path(ino)?);
        self.target_at(tree, ino, &full)
    }

    /// The same under another name.
    pub(in crate::vfs) fn target_at(&self, tree: &Tree, ino: Ino, full: &str) -> Option<NewFile> {
        let node = tree.get(ino).ok()?;
        let stored = node.object()?.stored.as_ref();
        let content_type = node
            .carried()
            .and_then(|carried| carried.content_type.as_deref())
            .filter(|known| *known != UNKNOWN_TYPE)
            .unwrap_or(AUTO_TYPE);
        let mut info = node.meta.to_info(node.carried_info(), self.settings());
        if let Some(stored) = stored
            && let Some(sha1) = stored.sha1
            && !stored.hashed_by_b2
            && !node.content_dirty()
        {
            info.insert(WHOLE_SHA1.to_owned(), sha1.to_string());
        }
        Some(NewFile {
            name: FileName::listed(full),
            content_type: content_type.to_owned(),
            info,
        })
    }

    /// Stores unsent content; the file may be open and be written to meanwhile.
    pub(in crate::vfs) async fn commit_content(&self, ino: Ino, why: Why) -> Result<(), Error> {
        let result = self.commit_content_once(ino, why).await;
        if let Err(error) = &result {
            self.store_failed(ino, 0, error);
        }
        result
    }

    async fn commit_content_once(&self, ino: Ino, why: Why) -> Result<(), Error> {
        loop {
            let full = {
                let tree = self.tree();
                if !tree.get(ino)?.content_dirty() {
                    return Ok(());
                }
                let Some(path) = tree.path(ino) else {
                    return Ok(());
                };
                self.full(&path)
            };
            let claims = vec![Claim::name(full.clone())];
            let _guard = self.shared.paths.lock(claims).await;
            let same = self
                .tree()
                .path(ino)
                .is_some_and(|path| self.full(&path) == full);
            if same {
                return self.commit_content_at(ino, &full, why).await;
            }
        }
    }

    /// Stores unsent content under a name whose path lock the caller holds.
    pub(in crate::vfs) async fn commit_content_at(
        &self,
        ino: Ino,
        full: &str,
        why: Why,
    ) -> Result<(), Error> {
        let (content, target, old) = {
            let tree = self.tree();
            let object = tree.get(ino)?.object().ok_or(Error::IsDirectory)?;
            let Some(content) = object.content.clone() else {
                return Ok(());
            };
            let Some(target) = self.target_at(&tree, ino, full) else {
                return Ok(());
            };
            (content, target, object.stored.clone())
        };
        let Some(done) = content.commit(&target).await? else {
            return Ok(());
        };
        debug!("stored {full:?} as {:?}", done.version.id);
        let told_again = |old: &Stored| done.version.id.as_ref() == Some(&old.id);
        let bare = old.as_ref().map(|old| old.bare && told_again(old));
        let between = {
            let mut tree = self.tree();
            let stored = tree.object_mut(ino)?.stored.as_ref();
            let now = stored.filter(|now| old.as_ref().is_some_and(|old| old.id == now.id));
            let between = now.is_some_and(|now| now.standing == Standing::Open);
            self.record(&mut tree, ino, &done.version, done.sha1, why, bare)?;
            between
        };
        if let Some(old) = &old
            && between
            && old.ours
            && !told_again(old)
        {
            self.delete_superseded(ino, full, old, &done.version);
        }
        Ok(())
    }

    /// Puts an acknowledged version into the tree. `bare`: whether nothing visible lies under it
    /// (`None`: as the name was when the file was made).
    fn record(
        &self,
        tree: &mut Tree,
        ino: Ino,
        version: &FileVersion,
        sha1: Option<Sha1>,
        why: Why,
        bare: Option<bool>,
    ) -> Result<(), Error> {
        tree.touch(ino);
        let settings = self.settings();
        let node = tree.get_mut(ino)?;
        let content = node.object().and_then(|object| object.content.clone());
        if let (Some(content), Some(id)) = (content, &version.id) {
            content.recorded(id);
        }
        let dirty = node.content_dirty();
        let stored_meta = Meta::of_version(version, settings);
        let mut carried = Carried::of_version(version, settings);
        let (opens, writers) = (node.opens, node.writers());
        node.failed = None;
        let mut meta = node.meta;
        let object = node.object_mut().ok_or(Error::IsDirectory)?;
        let bare = bare.unwrap_or(object.bare_name);
        let mut stored = stored_of(version, true, bare)
            .ok_or_else(|| Error::Io("B2 acknowledged a version without an id".to_owned()))?;
        // Whoever closed it last meanwhile could not say so of a version that was not there yet.
        stored.standing = match why {
            Why::Flushed(fh) if writers > 0 || dirty => Standing::Flushed(fh.into()),
            Why::Provisional if writers > 0 || dirty => Standing::Open,
            _ => Standing::Closed,
        };
        stored.sha1 = stored.sha1.or(sha1);
        object.stored = Some(stored);
        if !object.mtime_explicit && !dirty {
            // A large file's info is fixed when its first part leaves; the time that was stored
            // is as good as any between open and close, and it is the one others will see.
            meta.mtime = stored_meta.mtime;
        }
        let now = object.carried.take();
        let now = now.map(|now| now.info.clone()).unwrap_or_default();
        let newer = !xattr::alike(&now, &carried.info);
        if newer {
            // Changed while the version was on its way.
            let content_type = carried.content_type.clone();
            carried = Carried {
                content_type,
                info: now,
            }
            .shared();
        }
        object.carried = Some(carried);
        object.attrs_pending = newer || !meta.stored_alike(&stored_meta);
        let again = object.attrs_pending && !dirty;
        if opens == 0 && !dirty {
            object.content = None;
        }
        node.meta = meta;
        if again {
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        }
        Ok(())
    }

    /// Stores changed attributes of a file by a server-side copy to itself (API §17.3).
    pub(in crate::vfs) async fn commit_attributes(&self, ino: Ino) -> Result<(), Error> {
        loop {
            let full = {
                let tree = self.tree();
                let node = tree.get(ino)?;
                let Some(object) = node.object() else {
                    return Ok(());
                };
                if !object.attrs_pending || object.stored.is_none() || node.content_dirty() {
                    return Ok(());
                }
                let Some(path) = tree.path(ino) else {
                    return Ok(());
                };
                self.full(&path)
            };
            let claims = vec![Claim::name(full.clone())];
            let _guard = self.shared.paths.lock(claims).await;
            let (target, old) = {
                let tree = self.tree();
                if tree.path(ino).is_none_or(|path| self.full(&path) != full) {
                    continue;
                }
                let node = tree.get(ino)?;
                let pending = node.object().filter(|object| object.attrs_pending);
                let (Some(old), false) = (
                    pending.and_then(|object| object.stored.clone()),
                    node.content_dirty(),
                ) else {
                    return Ok(());
                };
                let Some(target) = self.target_at(&tree, ino, &full) else {
                    return Ok(());
                };
                (target, old)
            };
            let copy = self.shared.io.copy(&old.version(), &target).await?;
            return self.superseded_by_copy(ino, &full, &full, &old, &copy);
        }
    }

    /// Records a copy that took the place of `old`, and removes the twin where it is this mount's own.
    pub(in crate::vfs) fn superseded_by_copy(
        &self,
        ino: Ino,
        full: &str,
        old_full: &str,
        old: &Stored,
        copy: &FileVersion,
    ) -> Result<(), Error> {
        {
            // Readers go on with the copy: the version they have open is about to go. One step with
            // the record: an open in between would begin with the old version.
            let mut tree = self.tree();
            let content = tree.get(ino)?.object().and_then(|o| o.content.clone());
            if let (Some(content), Some(id)) = (content, copy.id.clone()) {
                content.same_content(
                    &old.id,
                    &Version {
                        id,
                        size: copy.size,
                        sha1: old.sha1,
                    },
                );
            }
            let bare = (full == old_full).then_some(false);
            self.record(&mut tree, ino, copy, old.sha1, Why::Closed, bare)?;
        }
        if full == old_full && old.ours {
            self.delete_superseded(ino, full, old, copy);
        }
        Ok(())
    }

    /// Deletes a version that `by` has superseded, and notes whether `by` now lies over nothing.
    /// Nobody waits for it: it is not the newest, so that its going shows nothing, and as long as it is
    /// there `by` does not count as bare.
    fn delete_superseded(&self, ino: Ino, full: &str, old: &Stored, by: &FileVersion) {
        let (vfs, full) = (self.clone(), full.to_owned());
        let (id, bare, by) = (old.id.clone(), old.bare, by.id.clone());
        self.delete_later(async move {
            if !vfs.delete_version(&full, &id).await || !bare {
                return;
            }
            let mut tree = vfs.tree();
            let stored = tree.object_mut(ino).ok().and_then(|o| o.stored.as_mut());
            if let Some(stored) = stored.filter(|stored| by.as_ref() == Some(&stored.id)) {
                stored.bare = true;
            }
        });
    }

    /// Writes a directory's marker where it has to have one (DESIGN §3, "directory").
    pub(in crate::vfs) async fn commit_marker(&self, ino: Ino) -> Result<(), Error> {
        let Some((full, _)) = self.wanted_marker(ino)? else {
            return Ok(());
        };
        let claims = vec![Claim::name(full.clone())];
        let _guard = self.shared.paths.lock(claims).await;
        let Some((now, file)) = self.wanted_marker(ino)? else {
            return Ok(());
        };
        if now != full {
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            return Ok(());
        }
        let made = self
            .shared
            .client
            .upload_file(&file, Payload::default())
            .await?;
        let old = {
            let mut tree = self.tree();
            tree.touch(ino);
            let node = tree.get_mut(ino)?;
            node.failed = None;
            let info = node.meta.to_info(node.carried_info(), self.settings());
            let dir = node.dir_mut().ok_or(Error::NotDirectory)?;
            let Some(id) = made.id else {
                return Err(Error::Io("B2 made a marker without an id".to_owned()));
            };
            let old = dir.marker.stored().filter(|old| old.id != id).cloned();
            dir.marker = Marker::Stored(MarkerObject {
                id: id.clone(),
                ours: true,
                // A marker that was there before would stand in the first page.
                bare: old.is_none() && dir.paged().is_some(),
            });
            if info != file.info {
                dir.marker.want(true);
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            }
            old.filter(|old| old.ours).map(|old| (old, id))
        };
        if let Some((old, by)) = old {
            let vfs = self.clone();
            self.delete_later(async move {
                if vfs.delete_version(&full, &old.id).await && old.bare {
                    vfs.marker_is_bare(ino, &by);
                }
            });
        }
        Ok(())
    }

    fn marker_is_bare(&self, ino: Ino, id: &FileId) {
        let mut tree = self.tree();
        let Ok(dir) = tree.dir_mut(ino) else { return };
        if let Marker::Stored(object)
        | Marker::Wanted {
            old: Some(object), ..
        } = &mut dir.marker
            && object.id == *id
        {
            object.bare = true;
        }
    }

    /// The marker to write; `None` when there is none to write (any more).
    fn wanted_marker(&self, ino: Ino) -> Result<Option<(String, NewFile)>, Error> {
        let mut tree = self.tree();
        let Some(path) = tree.path(ino) else {
            return Ok(None);
        };
        let node = tree.get(ino)?;
        let Marker::Wanted { attributes, .. } = node.dir().ok_or(Error::NotDirectory)?.marker
        else {
            return Ok(None);
        };
        let info = node.meta.to_info(node.carried_info(), self.settings());
        let children: Vec<Ino> = tree.dir(ino)?.children.values().copied().collect();
        if !attributes && !children.is_empty() {
            let implied = children.iter().any(|child| {
                tree.get(*child).is_ok_and(|child| match child.object() {
                    Some(object) => object.stored.is_some(),
                    None => true, // has a marker of its own, or something below it
                })
            });
            if implied {
                tree.dir_mut(ino)?.marker = Marker::Absent;
                tree.touch(ino);
            } else {
                // A file is on its way; look again when it may have arrived.
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            }
            return Ok(None);
        }
        let full = format!("{}{MARKER}", self.full(&path));
        let file = NewFile {
            name: name::check_full(&full)?,
            content_type: UNKNOWN_TYPE.to_owned(),
            info,
        };
        Ok(Some((full, file)))
    }

    /// The directory has just lost a child: if it is empty now, it needs a marker to live on.
    pub(in crate::vfs) fn lost_child(&self, tree: &mut Tree, ino: Ino) {
        let now = attr::now();
        let Ok(node) = tree.get_mut(ino) else { return };
        node.meta.mtime = now;
        node.meta.ctime = now;
        let Some(dir) = node.dir_mut() else { return };
        if dir.children.is_empty() && ino != Ino::ROOT {
            dir.marker.want(false);
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        }
    }

    /// Deletes a version of this mount's own that has been superseded; true when it is gone. While
    /// unsent copies refer to it, it stays; it goes when the last of them is stored.
    pub(in crate::vfs) async fn delete_version(&self, full: &str, id: &FileId) -> bool {
        if self.delete_when_free(full, id) {
            debug!("the superseded version {id} of {full:?} stays: it is being copied from");
            return false;
        }
        let name = FileName::listed(full);
        match self.shared.client.delete_file_version(&name, id).await {
            Ok(()) => true,
            Err(error) => {
                debug!("the superseded version {id} of {full:?} stays: {error}");
                false
            }
        }
    }

    /// While unsent copies refer to a version, puts its deletion off until they are stored, and
    /// returns true.
    fn delete_when_free(&self, full: &str, id: &FileId) -> bool {
        let shared = Arc::downgrade(&self.shared);
        let (full, gone) = (full.to_owned(), id.clone());
        self.shared.io.when_free(id, move || {
            if let Some(shared) = shared.upgrade() {
                let vfs = Self { shared };
                vfs.clone().delete_later(async move {
                    vfs.delete_version(&full, &gone).await;
                });
            }
        })
    }

    /// Whether somebody has it open who may still write, and something is unsent: a close will follow.
    fn being_written(&self, ino: Ino) -> bool {
        let tree = self.tree();
        tree.get(ino)
            .is_ok_and(|node| node.writers() > 0 && node.content_dirty())
    }

    /// A file was closed: stores it, or with write-back sees to it that it is stored a little later.
    /// Where that has failed before, it is tried now and the caller told.
    pub(in crate::vfs) async fn store_closed(&self, ino: Ino, why: Why) -> Result<(), Error> {
        let (content, failed) = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let content = node.object().and_then(|object| object.content.clone());
            let wanted = node.content_dirty() && tree.path(ino).is_some();
            (content.filter(|_| wanted), node.failed.is_some())
        };
        if self.settings().write_back.is_none() || failed {
            return self.commit_content(ino, why).await;
        }
        let Some(content) = content else {
            return Ok(());
        };
        self.store_later(ino);
        // Where memory is short, this waits until older ones have left.
        self.retry_after_commit(ino, || content.pay()).await
    }

    /// Sees to it that a closed file is stored: at once, or as much later as the user wants.
    pub(in crate::vfs) fn store_later(&self, ino: Ino) {
        let (delay, urgency) = match self.settings().write_back {
            Some(delay) => (delay, Urgency::Closed),
            None => (Duration::ZERO, Urgency::Now),
        };
        self.shared.queue.push(ino, delay, urgency);
    }

    /// How long an attribute change waits: until the content goes, which takes it along, or briefly.
    pub(in crate::vfs) fn attributes_delay(&self, dirty: bool) -> Duration {
        match self.settings().write_back {
            Some(delay) if dirty => delay,
            _ => Queue::QUIET,
        }
    }

    async fn store_due(&self, task: Task) {
        /// A directory that is being renamed is looked at again so soon.
        const MOMENT: Duration = Duration::from_millis(100);
        if self.being_written(task.ino) {
            let delay = self.settings().write_back;
            match (task.urgency, delay) {
                (Urgency::Idle, _) => return,
                (Urgency::Closed, Some(delay)) if self.shared.queue.put_off(&task, delay) => return,
                _ => {}
            }
        }
        let path = self.tree().path(task.ino);
        if path.is_some_and(|path| self.shared.paths.locked_above(&self.full(&path))) {
            // Others can go on meanwhile.
            return self.shared.queue.again(&task, MOMENT);
        }
        if let Err(error) = self.store(task.ino).await {
            self.store_failed(task.ino, task.failures, &error);
        }
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

    fn store_failed(&self, ino: Ino, failures: u32, error: &Error) {
        let mut tree = self.tree();
        let path = tree.path(ino);
        let Ok(node) = tree.get_mut(ino) else { return };
        if !node.pending() || path.is_none() {
            return;
        }
        // Told once; how it ends is told at the end of the mount.
        let level = if node.failed.is_none() {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        node.failed = Some(Box::new(Failure(error.to_string())));
        log::log!(
            level,
            "{:?} is not stored yet: {error}; it stays in memory and is tried again",
            path.unwrap_or_default()
        );
        self.shared.queue.retry(ino, failures);
    }

    /// How much is not in B2 yet.
    pub fn pending(&self) -> Pending {
        let mut tree = self.tree();
        let all = tree.pending();
        let bytes = all
            .iter()
            .filter_map(|ino| tree.get(*ino).ok())
            .filter(|node| node.content_dirty())
            .map(Node::size)
            .sum();
        Pending {
            files: all.len(),
            bytes,
            removals: tree.leaving.under_way(),
        }
    }

    /// Stores everything that is pending, several at once, and waits for removals; what could not be
    /// done comes back.
    pub async fn drain(&self) -> Vec<Unstored> {
        // Storing a file can leave something behind it (attributes, a parent's marker).
        const ROUNDS: usize = 3;
        // The client has tried often enough; without a network each try takes all its time.
        let failed = std::sync::Mutex::new(HashSet::new());
        let has_failed = |ino: &Ino| {
            let failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.contains(ino)
        };
        for _ in 0..ROUNDS {
            let mut all = self.tree().pending();
            all.retain(|ino| !has_failed(ino));
            if all.is_empty() {
                break;
            }
            let (objects, dirs): (Vec<Ino>, Vec<Ino>) = all
                .into_iter()
                .partition(|ino| self.tree().get(*ino).is_ok_and(|node| node.dir().is_none()));
            for group in [objects, dirs] {
                stream::iter(group)
                    .for_each_concurrent(self.settings().parallel, |ino| {
                        let failed = &failed;
                        async move {
                            if let Err(error) = self.store(ino).await {
                                self.store_failed(ino, 0, &error);
                                let mut failed =
                                    failed.lock().unwrap_or_else(PoisonError::into_inner);
                                failed.insert(ino);
                            }
                        }
                    })
                    .await;
            }
        }
        self.finish_removals().await;
        self.finish_deletions().await;
        self.unstored()
    }

    /// Stores what is pending below a directory, but nothing that somebody is still writing.
    pub(in crate::vfs) async fn store_all_below(&self, dir: Ino) -> Result<(), Error> {
        let below: Vec<Ino> = {
            let mut tree = self.tree();
            let all = tree.pending();
            all.into_iter()
                .filter(|ino| tree.is_below(*ino, dir))
                .collect()
        };
        let below = below.into_iter().filter(|ino| !self.being_written(*ino));
        let results: Vec<Result<(), Error>> = stream::iter(below)
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
                let node = tree.get(ino).ok()?;
                Some(Unstored {
                    path: tree.path(ino)?,
                    content: node.content_dirty().then(|| node.size()),
                    removal: false,
                    error: node
                        .failed
                        .as_ref()
                        .map_or_else(String::new, |failure| failure.0.clone()),
                })
            })
            .collect();
        drop(tree);
        unstored.extend(self.unremoved());
        unstored
    }
}
