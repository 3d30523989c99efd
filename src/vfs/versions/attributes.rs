//! Changed attributes of files: stored by a server-side copy of the version to itself (API §17.3), briefly after
//! the last change, or with the next content or rename.
//!
//! They are a delta: where another client's version has become the newest, they are applied to that.

use std::time::Duration;

use log::{debug, warn};

use super::between::twins_of;
use super::supersede::{Act, Deed};
use crate::b2::{Action, ErrorKind, FileVersion};
use crate::io::{self, Covered, Stamp, Version};
use crate::vfs::ask::look::Hurry;
use crate::vfs::names::node::Need;
use crate::vfs::names::tree::Tree;
use crate::vfs::pathlock::Claim;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::Stored;
use crate::vfs::{Error, Ino, Vfs};

/// While it lives, rows of a file's name tell nothing that this mount will not know better in a moment.
struct Copying<'a>(&'a Vfs, Ino);

impl<'a> Copying<'a> {
    fn new(vfs: &'a Vfs, ino: Ino) -> Self {
        vfs.tree().copying.insert(ino);
        Self(vfs, ino)
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.tree().copying.remove(&self.1);
    }
}

impl Vfs {
    /// How long an attribute change waits: until the content goes, which takes it along, or briefly.
    pub(in crate::vfs) fn attributes_delay(&self, dirty: bool) -> Duration {
        match self.settings().write_back {
            Some(delay) if dirty => delay,
            _ => Queue::QUIET,
        }
    }

    /// Attributes are not those in B2 any more: they go there briefly later, or with the content.
    pub(in crate::vfs) fn store_attributes_later(
        &self,
        tree: &mut Tree,
        ino: Ino,
    ) -> Result<(), Error> {
        let node = tree.get_mut(ino)?;
        let delay = self.attributes_delay(node.content_dirty());
        if let Some(dir) = node.dir_mut() {
            dir.marker.want(Need::Attributes);
        }
        tree.note_pending(ino);
        self.shared.queue.push(ino, delay, Urgency::Idle);
        Ok(())
    }

    /// Stores changed attributes of a file.
    pub(in crate::vfs) async fn commit_attributes(&self, ino: Ino) -> Result<(), Error> {
        /// Others may replace the file again and again.
        const TRIES: u32 = 8;
        for _ in 0..TRIES {
            let Some(full) = self.owes_attributes(ino)? else {
                return Ok(());
            };
            let _guard = self
                .shared
                .paths
                .lock(vec![Claim::name(full.clone())])
                .await;
            if self.owes_attributes(ino)?.as_ref() != Some(&full) {
                continue;
            }
            let (target, old) = {
                let tree = self.tree();
                let stored = tree
                    .get(ino)?
                    .object()
                    .and_then(|object| object.state.stored());
                let (Some(old), Some(mut target)) =
                    (stored.cloned(), self.target_at(&tree, ino, &full))
                else {
                    return Ok(());
                };
                Stamp::change(&mut target.info, |stamp| stamp.since = Some(old.since_ms()));
                self.continues(&old.id, &mut target);
                (target, old)
            };
            let version = old.version();
            let _copying = Copying::new(self, ino);
            let copied = self.shared.io.copy(&version, &target, Covered::GiveWay);
            match copied.await {
                Ok(copy) => return self.copied_to_itself(ino, &full, &old, &copy),
                // What another client has stored meanwhile gets them.
                Err(io::Error::Covered) => self.look_again(ino, &full, &old).await?,
                Err(error) if is_gone(&error) => self.look_again(ino, &full, &old).await?,
                Err(error) if self.gave_attributes_up(ino, &target.info, &error) => {}
                Err(error) => {
                    self.note_lost_copy(ino, &error, &old);
                    return Err(error.into());
                }
            }
        }
        Err(Error::Io(
            "other clients replace it again and again".to_owned(),
        ))
    }

    /// The full name of a file that has changed attributes to be stored by a copy.
    fn owes_attributes(&self, ino: Ino) -> Result<Option<String>, Error> {
        let tree = self.tree();
        let node = tree.get(ino)?;
        let Some(object) = node.object() else {
            return Ok(None);
        };
        if object.state.delta().is_empty()
            || object.state.stored().is_none()
            || node.content_dirty()
        {
            return Ok(None);
        }
        Ok(tree.path(ino).map(|path| self.full(&path)))
    }

    /// A copy of this version may have been made although the call failed.
    pub(in crate::vfs) fn note_lost_copy(&self, ino: Ino, error: &io::Error, old: &Stored) {
        self.note_lost(ino, error, |lost| {
            lost.size = Some(old.size);
            lost.sha1 = old.sha1();
        });
    }

    fn copied_to_itself(
        &self,
        ino: Ino,
        full: &str,
        old: &Stored,
        copy: &FileVersion,
    ) -> Result<(), Error> {
        let (superseded, delta) = {
            let mut tree = self.tree();
            Self::follow_copy(&tree, ino, old, copy)?;
            let delta = tree.object_mut(ino)?.state.delta().clone();
            let mut superseded = self.record(&mut tree, ino, copy, old.sha1(), None)?;
            superseded.lost.extend(twins_of(copy));
            (superseded, delta)
        };
        if let Some(made) = copy.id.clone() {
            self.check_later(Deed {
                full: full.to_owned(),
                act: Act::Attributes(ino),
                made,
                believed: vec![old.id.clone()],
                lost: superseded.lost,
                twin: superseded.old,
                replaced: superseded.replaced,
                delta,
            });
        }
        Ok(())
    }

    /// Readers go on with a copy: the version they have open is about to go. To be done in one step with its
    /// record, for an open in between would begin with the old version.
    pub(in crate::vfs) fn follow_copy(
        tree: &Tree,
        ino: Ino,
        old: &Stored,
        copy: &FileVersion,
    ) -> Result<(), Error> {
        let content = tree
            .get(ino)?
            .object()
            .and_then(|object| object.content.clone());
        if let (Some(content), Some(id)) = (content, copy.id.clone()) {
            let version = Version {
                id,
                size: copy.size,
                sha1: old.sha1(),
            };
            content.same_content(&old.id, &version);
        }
        Ok(())
    }

    /// The version that was to be copied is gone: another client has replaced or removed the file.
    pub(in crate::vfs) async fn look_again(
        &self,
        ino: Ino,
        full: &str,
        old: &Stored,
    ) -> Result<(), Error> {
        let seen = self.look(full, Hurry::Yes).await?;
        let theirs = seen.rows.first().filter(|row| row.action == Action::Upload);
        if theirs.is_some_and(|row| row.id.as_ref() == Some(&old.id)) {
            return Err(Error::Stale); // B2 lists what it does not have
        }
        let mut tree = self.tree();
        let Some(row) = theirs else {
            let object = tree.get(ino)?.object();
            if object.is_some_and(|object| !object.state.delta().is_empty()) {
                warn!(
                    "{:?}: another client has removed it; the changed attributes are not stored",
                    self.within(full)
                );
            }
            self.forget_entry(&mut tree, ino);
            return Ok(());
        };
        debug!("{full:?}: changed attributes go to the version that another client has made");
        self.replace_version(&mut tree, ino, row);
        Ok(())
    }

    /// Shows again what a deed of this mount should not have covered.
    pub(in crate::vfs) fn take_over(&self, deed: &Deed, theirs: Option<FileVersion>) {
        let mut tree = self.tree();
        let path = self.within(&deed.full);
        let found = tree.locate(path);
        if deed.act == Act::Hide {
            // Where its directory was removed since, the next one above it tells.
            let told = match &found {
                Some(_) => path,
                None => tree.first_missing(path),
            };
            let failures = &self.shared.removals.failures;
            failures.tell_of(&self.full(told), Error::Stale);
        }
        let Some((parent, name)) = found else {
            let gone = tree.first_missing(path);
            if let Some((parent, name)) = tree.locate(gone) {
                self.shows_again(&mut tree, parent, &name);
            }
            return;
        };
        let Act::Attributes(ino) = deed.act else {
            return self.shows_again(&mut tree, parent, &name);
        };
        let stored = tree
            .get(ino)
            .ok()
            .and_then(|node| node.object()?.state.stored());
        if stored.is_none_or(|stored| stored.id != deed.made) {
            return;
        }
        if tree
            .path(ino)
            .is_none_or(|path| self.full(&path) != deed.full)
        {
            // It is being removed, or renamed.
            return self.shows_again(&mut tree, parent, &name);
        }
        if let Ok(object) = tree.object_mut(ino) {
            // They are to be stored once more, with that version.
            object.state.owe(deed.delta.clone());
        }
        match theirs {
            Some(row) => self.replace_version(&mut tree, ino, &row),
            None => self.forget_entry(&mut tree, ino),
        }
    }
}

/// Whether B2 does not have the version any more that a call has named.
pub(in crate::vfs) fn is_gone(error: &io::Error) -> bool {
    match error {
        io::Error::B2(error) => error.kind == ErrorKind::NotFound,
        io::Error::Stale => true,
        _ => false,
    }
}
