//! What goes to B2, and when: content at fsync and at close (with write-back after it).
//!
//! A commit holds the path lock of its name, so that the order of commits, renames and removals of
//! one name is the order in which B2 sees them. On failure everything stays pending, is tried again
//! in the background, and the error is told to whoever waits. A file whose name somebody else has taken
//! or removed is stored under that name all the same: new bytes are no return of old ones.

use std::time::{Duration, Instant};

use log::{debug, warn};

use super::between::twins_of;
use super::supersede::{Act, Deed};
use crate::b2::{FileId, FileName, FileVersion, Lost, NewFile, Sha1};
use crate::io::{self, Stamp};
use crate::vfs::attr::Meta;
use crate::vfs::delta::{Changed, Delta};
use crate::vfs::names::node::{AUTO_TYPE, Carried};
use crate::vfs::names::tree::Tree;
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::Hash;
use crate::vfs::state::{Maker, Stored, Superseded, Why};
use crate::vfs::{Error, Failure, Ino, Vfs};

/// What B2 makes of an unknown extension.
pub(in crate::vfs) const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Info key with the SHA-1 of a large file's whole content (API §6).
const WHOLE_SHA1: &str = "large_file_sha1";

impl Vfs {
    /// Name, type and info under which an object would be stored now; `None` once it is unlinked.
    pub(in crate::vfs) fn target(&self, tree: &Tree, ino: Ino) -> Option<NewFile> {
        let full = self.full(&tree.place(ino)?);
        self.target_at(tree, ino, &full)
    }

    /// Name, type and info under which an object would be stored now under this name.
    pub(in crate::vfs) fn target_at(&self, tree: &Tree, ino: Ino, full: &str) -> Option<NewFile> {
        let node = tree.get(ino).ok()?;
        let state = &node.object()?.state;
        let (stored, came) = (state.stored(), state.came_ms());
        let content_type = node
            .carried()
            .and_then(|carried| carried.content_type.as_deref())
            .filter(|known| *known != UNKNOWN_TYPE || node.carried().is_some_and(|all| all.chosen))
            .unwrap_or(AUTO_TYPE);
        let chosen_type = node.carried().and_then(Carried::type_mark);
        let mut info = node.meta.to_info(node.carried_info(), self.settings());
        Stamp::change(&mut info, |stamp| {
            stamp.nonce = Some(fastrand::u64(..));
            stamp.number = tree.number_to_store(ino, full);
            stamp.came = Some(came);
            stamp.chosen_type = chosen_type;
        });
        if let Some(Hash::Told(sha1)) = stored.map(|stored| stored.hash)
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

    pub(in crate::vfs) async fn commit_content_once(
        &self,
        ino: Ino,
        why: Why,
    ) -> Result<(), Error> {
        /// Somebody else is to get the lock meanwhile.
        const MOMENT: Duration = Duration::from_millis(5);
        loop {
            let full = {
                let tree = self.tree();
                if !tree.get(ino)?.content_dirty() {
                    return Ok(());
                }
                let Some(place) = tree.place(ino) else {
                    return Ok(());
                };
                self.full(&place)
            };
            let guard = self.lock_name(&full).await?;
            let same = self
                .tree()
                .place(ino)
                .is_some_and(|place| self.full(&place) == full);
            if same {
                match self.commit_content_at(ino, &full, why).await {
                    // Whoever removes it waits for this lock; then there is nothing to store, or it is tried again.
                    Err(Error::NotFound) => {}
                    done => return done,
                }
                drop(guard);
                tokio::time::sleep(MOMENT).await;
            }
        }
    }

    /// Locks one name. Waits for whoever has it as long as that one's bytes move. Fails when it is not to be had for
    /// as long as any operation may wait: its directory is being renamed, which may take long.
    async fn lock_name(&self, full: &str) -> Result<PathGuard, Error> {
        let limit = self.settings().timeout;
        let mut lock = std::pin::pin!(self.shared.paths.lock(vec![Claim::name(full)]));
        let sent = || self.shared.client.counters().bytes_up;
        let mut before = sent();
        loop {
            if let Ok(guard) = tokio::time::timeout(limit, &mut lock).await {
                return Ok(guard);
            }
            if self.shared.paths.locked_above(full) {
                return Err(Error::Io(format!(
                    "its directory is being renamed or removed, for longer than {limit:.0?} now"
                )));
            }
            let now = sent();
            if now == before {
                return Err(Error::Io(format!(
                    "another call for it has been under way for longer than {limit:.0?}, and nothing moves"
                )));
            }
            before = now;
        }
    }

    /// Stores unsent content under a name whose path lock the caller holds.
    pub(in crate::vfs) async fn commit_content_at(
        &self,
        ino: Ino,
        full: &str,
        why: Why,
    ) -> Result<(), Error> {
        if self.gives_way(ino, full).await? {
            return Ok(());
        }
        let act = if self.tree().get(ino)?.only_created() {
            Act::Free
        } else {
            Act::Content
        };
        let Some(done) = self
            .send_content(ino, full, Why::Readable == why, None)
            .await?
        else {
            return Ok(());
        };
        let (superseded, believed) = {
            let mut tree = self.tree();
            let believed = match tree.object_mut(ino)?.state.leaves() {
                crate::vfs::state::Leaves::Nothing => None,
                crate::vfs::state::Leaves::Name(id) => id,
            };
            let mut superseded =
                self.record(&mut tree, ino, &done.version, done.sha1, Some(why))?;
            superseded.lost.extend(twins_of(&done.version));
            self.take_name(&mut tree, ino);
            // Without a directory to be in, and with nobody who uses it, it has stayed for this only.
            tree.free_if_unused(ino);
            (superseded, believed)
        };
        let made = done
            .version
            .id
            .filter(|made| believed.as_ref() != Some(made));
        match made {
            Some(made) => {
                self.check_later(Deed {
                    full: full.to_owned(),
                    act,
                    made,
                    believed: believed.into_iter().collect(),
                    lost: superseded.lost,
                    // Until then it tells what came between.
                    twin: superseded.old,
                    replaced: superseded.replaced,
                    delta: Delta::default(),
                });
            }
            None => {
                if let Some(old) = superseded.old {
                    self.delete_superseded(full, old);
                }
            }
        }
        Ok(())
    }

    /// Sends it under a name, which is a new one if it `moved` (when that was, in milliseconds since 1970); no more than makes it readable, if that is asked for.
    async fn send_content(
        &self,
        ino: Ino,
        full: &str,
        readable: bool,
        moved: Option<u64>,
    ) -> Result<Option<io::Committed>, Error> {
        let (content, target) = {
            let tree = self.tree();
            let object = tree.get(ino)?.object().ok_or(Error::IsDirectory)?;
            let Some(content) = object.content.clone() else {
                return Ok(None);
            };
            if !tree.may_take(ino) {
                return Err(Error::Stale);
            }
            let Some(mut target) = self.target_at(&tree, ino, full) else {
                return Ok(None);
            };
            let stored = tree
                .get(ino)?
                .object()
                .and_then(|object| object.state.stored());
            match (moved, stored) {
                (Some(_), _) => Stamp::change(&mut target.info, |stamp| stamp.came = moved),
                // Unless the content shows otherwise.
                (None, Some(stored)) => self.continues(&stored.id, &mut target),
                (None, None) => {}
            }
            (content, target)
        };
        let done = if readable {
            content.commit_sent(&target).await
        } else {
            content.commit(&target).await
        };
        match done {
            Ok(done) => {
                match done.as_ref().map(|done| done.version.id.as_ref()) {
                    Some(Some(id)) => debug!("stored {full:?}: version {id}"),
                    Some(None) => debug!("stored {full:?}"),
                    None => debug!("{full:?}: there was nothing to store"),
                }
                Ok(done)
            }
            Err(error) if self.gave_attributes_up(ino, &target.info, &error) => {
                Box::pin(self.send_content(ino, full, readable, moved)).await
            }
            Err(error) => {
                match lost_of(&error) {
                    // Whoever asked will be told that the name has nothing of it. (A large file that the content has
                    // sent is its own to ask for, and goes on under its first name. Only a copy tells its info.)
                    Some(lost)
                        if moved.is_some() && (lost.id.is_none() || !lost.info.is_empty()) =>
                    {
                        self.forget_copy_later(full, lost.clone());
                    }
                    _ => self.note_lost(ino, &error, |_| {}),
                }
                Err(error.into())
            }
        }
    }

    /// Stores unsent content under the name that the file is being renamed to; `None` when there is none. The path
    /// locks of both names are the caller's.
    pub(in crate::vfs) async fn commit_moved(
        &self,
        ino: Ino,
        full: &str,
        came: u64,
    ) -> Result<Option<FileId>, Error> {
        let sent = self.send_content(ino, full, false, Some(came));
        let Some(done) = sent.await? else {
            return Ok(None);
        };
        let mut stored = Stored::of(&done.version, Maker::Other)
            .ok_or_else(|| Error::Io("B2 acknowledged a version without an id".to_owned()))?;
        stored.learn(done.sha1);
        let id = stored.id.clone();
        self.record_by(&mut self.tree(), ino, &done.version, |state, _| {
            state.renamed_to(stored);
            Superseded::default()
        })?;
        Ok(Some(id))
    }

    /// A displaced file that has been stored under its name has that again; the kernel is told.
    fn take_name(&self, tree: &mut Tree, ino: Ino) {
        if let Some((parent, name)) = tree.take_back_name(ino) {
            self.shared.forgets.entry(parent, name);
        }
    }

    /// A call may have made a version although it failed. `complete` adds what the caller knows of that.
    pub(in crate::vfs) fn note_lost(
        &self,
        ino: Ino,
        error: &io::Error,
        complete: impl FnOnce(&mut Lost),
    ) {
        let Some(lost) = lost_of(error) else { return };
        let mut lost = lost.clone();
        complete(&mut lost);
        if let Ok(object) = self.tree().object_mut(ino) {
            object.state.outcome_unknown(lost);
        }
    }

    /// Puts an acknowledged version into the tree. `why`: a commit of content; `None`: a copy of the version
    /// that was there, which has only stored attributes.
    pub(in crate::vfs) fn record(
        &self,
        tree: &mut Tree,
        ino: Ino,
        version: &FileVersion,
        sha1: Option<Sha1>,
        why: Option<Why>,
    ) -> Result<Superseded, Error> {
        let mut stored = Stored::of(version, Maker::Other)
            .ok_or_else(|| Error::Io("B2 acknowledged a version without an id".to_owned()))?;
        stored.learn(sha1);
        let rule = self.replacing();
        let superseded = self.record_by(tree, ino, version, |state, writing| match why {
            Some(why) => state.committed(stored, why, writing, rule),
            None => state.copied(stored, rule),
        })?;
        if why.is_some() {
            self.grown_is_stored(tree, ino);
        }
        Ok(superseded)
    }

    /// Puts an acknowledged version into the tree by a transition of the file's state, which is told whether somebody may still write.
    pub(in crate::vfs) fn record_by(
        &self,
        tree: &mut Tree,
        ino: Ino,
        version: &FileVersion,
        transition: impl FnOnce(&mut crate::vfs::state::FileState, bool) -> Superseded,
    ) -> Result<Superseded, Error> {
        tree.touch(ino);
        self.shared.lineage.made(version);
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
        let superseded = transition(&mut object.state, writers > 0 || dirty);
        if !object.state.delta().has(Changed::MTIME) && !dirty {
            // A large file's info is fixed when its first part leaves; the time that was stored
            // is as good as any between open and close, and it is the one others will see.
            meta.mtime = stored_meta.mtime;
        }
        let mine = object.carried.take();
        let mine = mine.unwrap_or_default();
        // What has changed while the version was on its way is still to be stored.
        let differs = |key: &str| mine.info.get(key) != carried.info.get(key);
        let mut fields = Changed::between(&meta, &stored_meta);
        // What was sent decides: B2 may write a type otherwise, and makes one of `b2/x-auto`.
        if Stamp::of(&version.info).chosen_type != mine.type_mark() {
            fields = fields.and(Changed::TYPE);
        }
        object.state.settle(differs, fields);
        carried = carried.with_changes(object.state.delta(), &mine);
        object.carried = Some(carried);
        let again = !object.state.delta().is_empty() && !dirty;
        if opens == 0 && !dirty {
            object.content = None;
        }
        node.meta = meta;
        if again {
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        }
        Ok(superseded)
    }

    /// Whether somebody has it open who may still write, and something is unsent: a close will follow.
    pub(in crate::vfs) fn being_written(&self, ino: Ino) -> bool {
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
            let wanted = node.content_dirty() && tree.place(ino).is_some();
            (content.filter(|_| wanted), node.failed.is_some())
        };
        if self.settings().write_back.is_none() || failed {
            return self.commit_content(ino, why).await;
        }
        let Some(content) = content else {
            return Ok(());
        };
        self.store_later(&self.tree(), ino);
        // Where memory is short, this waits until older ones have left.
        self.retry_after_commit(ino, || content.pay()).await
    }

    /// Sees to it that a closed file is stored: at once, or as much later as the user wants.
    pub(in crate::vfs) fn store_later(&self, tree: &Tree, ino: Ino) {
        let created = || {
            let state = &tree.get(ino).ok()?.object()?.state;
            Some(state.only_opened() && state.stored().is_none())
        };
        let (delay, urgency) = match self.settings().write_back {
            Some(delay) => (delay, Urgency::Closed),
            // Programs that only try whether they can make a file remove it again, and locks are short.
            None if created() == Some(true) => (Queue::QUIET, Urgency::Idle),
            None => (Duration::ZERO, Urgency::Now),
        };
        self.shared.queue.push(ino, delay, urgency);
    }

    /// Something could not be stored: says so once, and sees to another try.
    pub(in crate::vfs) fn store_failed(&self, ino: Ino, failures: u32, error: &Error) {
        let mut tree = self.tree();
        let place = tree.place(ino);
        let Ok(node) = tree.get_mut(ino) else { return };
        if !node.pending() || place.is_none() {
            return;
        }
        let text = format!(
            "{:?} is not stored yet: {error}; it stays in memory and is tried again",
            place.unwrap_or_default()
        );
        // Told once; how it ends is told at the end of the mount.
        if node.failed.is_none() {
            warn!("{text}");
        } else {
            debug!("{text}");
        }
        let now = Instant::now();
        node.failed = Some(Box::new(Failure {
            text: error.to_string(),
            prospect: error.prospect(),
            since: node.failed.as_ref().map_or(now, |before| before.since),
            at: now,
        }));
        self.shared.queue.retry(ino, failures);
    }
}

/// What a call may have made although it failed.
pub(in crate::vfs) fn lost_of(error: &io::Error) -> Option<&Lost> {
    match error {
        io::Error::B2(error) => error.lost.as_deref(),
        _ => None,
    }
}
