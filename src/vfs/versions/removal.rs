//! Names that go from B2: hidden, or purged, or only this mount's own version of them.
//!
//! Nothing comes back: removing the newest version would make the older one current again (API §8), so a version
//! is deleted by its id only where a look at what lies under the name shows that nothing becomes visible by it.

use parking_lot::MutexGuard;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use log::debug;
use tokio::task::JoinHandle;

use super::between::is_lost;
use super::supersede::{Act, Deed};
use crate::b2::{Action, ErrorKind, FileId, FileName, FileVersion, Lost};
use crate::vfs::ask::look::{Hurry, Versions};
use crate::vfs::delta::Delta;
use crate::vfs::state::Stored;
use crate::vfs::{Delete, Error, Vfs};

/// What B2 is asked for so that a name goes.
#[derive(Debug, Clone)]
pub(in crate::vfs) enum Removal {
    /// What the user chose: to hide the name, or to purge it.
    Name(Outgoing),
    /// Less: what has been renamed. Its content lives on under another name, unless it was changed before
    /// it was stored there.
    Renamed {
        stored: Stored,
        content_lives_on: bool,
        lost: Vec<Lost>,
    },
}

/// A name that is to go.
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) struct Outgoing {
    /// The version that it is believed to have.
    pub(in crate::vfs) believed: Option<FileId>,
    /// What calls of unknown outcome may have left there.
    pub(in crate::vfs) lost: Vec<Lost>,
    /// Nobody has closed the file in that version: it goes with its last reader.
    pub(in crate::vfs) intermediate: bool,
    /// When that was made, in milliseconds by B2's clock.
    pub(in crate::vfs) believed_ms: Option<u64>,
    /// Versions that were seen under it.
    pub(in crate::vfs) seen: Vec<FileId>,
    /// A version that goes once the name is hidden, and nobody came between.
    pub(in crate::vfs) twin: Option<FileId>,
    /// It was renamed: what it shows lives on, and nobody asked for anything else to go.
    pub(in crate::vfs) renamed: bool,
}

impl Removal {
    /// The version that goes.
    pub(in crate::vfs) fn believed(&self) -> Option<&FileId> {
        match self {
            Self::Name(leaving) => leaving.believed.as_ref(),
            Self::Renamed { stored, .. } => Some(&stored.id),
        }
    }

    /// When that was made.
    fn believed_ms(&self) -> Option<u64> {
        match self {
            Self::Name(leaving) => leaving.believed_ms,
            Self::Renamed { stored, .. } => Some(stored.uploaded_ms),
        }
    }
}

/// How the removal of a version ended that must show nothing.
pub(in crate::vfs) enum Unseen {
    /// Something would show: it is still there.
    Stays,
    /// It is gone, and lay under another version.
    Gone { under: Option<FileId> },
}

impl Vfs {
    /// Has B2 remove a name. `Stale`: it holds a version that this mount has not seen, which stays.
    pub(in crate::vfs) async fn carry_out(
        &self,
        full: &str,
        removal: &Removal,
        hurry: Hurry,
    ) -> Result<(), Error> {
        self.carry_out_now(full, removal, hurry).await?;
        // Listings that lag behind go on showing it for a moment.
        let upto = removal.believed_ms();
        self.tree().gone.note(full, None, upto, Instant::now());
        Ok(())
    }

    async fn carry_out_now(
        &self,
        full: &str,
        removal: &Removal,
        hurry: Hurry,
    ) -> Result<(), Error> {
        match removal {
            Removal::Name(leaving) => self.remove_name(full, leaving, hurry).await,
            Removal::Renamed {
                stored,
                content_lives_on,
                lost,
            } => {
                if stored.goes_when_renamed(now_ms(), *content_lives_on) {
                    return self.remove_own(full, &stored.id, lost, hurry).await;
                }
                let leaving = Outgoing {
                    believed: Some(stored.id.clone()),
                    lost: lost.clone(),
                    renamed: true,
                    ..Outgoing::default()
                };
                if *content_lives_on {
                    return self.remove_name(full, &leaving, hurry).await;
                }
                // What was changed before it got its new name was overwritten, and that leaves a version.
                self.hide(full, &leaving, hurry).await.map(drop)
            }
        }
    }

    /// Makes a name invisible, by the way that the user chose.
    pub(in crate::vfs) async fn remove_name(
        &self,
        full: &str,
        leaving: &Outgoing,
        hurry: Hurry,
    ) -> Result<(), Error> {
        match self.settings().delete {
            Delete::Hide => {
                let twin = leaving.believed.clone().filter(|_| leaving.intermediate);
                let leaving = Outgoing {
                    twin: leaving.twin.clone().or(twin),
                    ..leaving.clone()
                };
                self.hide(full, &leaving, hurry).await.map(drop)
            }
            Delete::Purge => self.purge(full, leaving, hurry).await,
        }
    }

    /// Hides a name; tells the hide marker, if it was not hidden before. Whether that covers what nobody here
    /// has seen is looked at later, or where somebody waits for it, now: then it is `Stale`, and taken back.
    pub(in crate::vfs) async fn hide(
        &self,
        full: &str,
        leaving: &Outgoing,
        hurry: Hurry,
    ) -> Result<Option<FileId>, Error> {
        let marker = match self.shared.client.hide_file(&FileName::listed(full)).await {
            Ok(marker) => marker,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(made) = marker else { return Ok(None) };
        let proof = Some(made.clone());
        self.tree()
            .gone
            .note(full, proof, leaving.believed_ms, Instant::now());
        let deed = Deed {
            full: full.to_owned(),
            act: Act::Hide,
            made: made.clone(),
            believed: leaving
                .believed
                .iter()
                .chain(&leaving.seen)
                .cloned()
                .collect(),
            lost: leaving.lost.clone(),
            twin: leaving.twin.clone(),
            replaced: Vec::new(),
            delta: Delta::default(),
        };
        if hurry != Hurry::Yes {
            self.check_later(deed);
        } else if self.take_back_locked(&deed, hurry).await? {
            self.shared.removals.failures.told(full);
            return Err(Error::Stale);
        }
        Ok(Some(made))
    }

    /// Removes a version of this mount's own that nobody will miss: altogether where nothing lies under it, else
    /// under a hide marker. What somebody else has put above it stays.
    pub(in crate::vfs) async fn remove_own(
        &self,
        full: &str,
        id: &FileId,
        lost: &[Lost],
        hurry: Hurry,
    ) -> Result<(), Error> {
        let seen = self.look(full, hurry).await?;
        let mine = |row: &FileVersion| {
            let same = row.id.as_ref() == Some(id);
            let going = row.id.as_ref().is_some_and(|id| self.is_going(id));
            same || going || lost.iter().any(|lost| is_lost(row, lost))
        };
        if seen.position(id).is_none() && self.has_version(id, full).await? {
            // What lies under it is not known.
            let leaving = Outgoing {
                believed: Some(id.clone()),
                lost: lost.to_vec(),
                twin: Some(id.clone()),
                ..Outgoing::default()
            };
            return self.hide(full, &leaving, hurry).await.map(drop);
        }
        let visible = visible(&seen);
        let ids = |rows: &[FileVersion]| {
            let mine = rows.iter().rev().filter(|row| mine(row));
            mine.filter_map(|row| row.id.clone()).collect::<Vec<_>>()
        };
        if visible.first().is_some_and(|top| !mine(top)) {
            for id in ids(visible) {
                self.delete_version(full, &id).await;
            }
            return Err(Error::Stale);
        }
        if !visible.iter().all(mine) || (visible.len() == seen.rows.len() && !seen.complete) {
            let leaving = Outgoing {
                believed: Some(id.clone()),
                lost: lost.to_vec(),
                twin: Some(id.clone()),
                ..Outgoing::default()
            };
            // Of what lies under it, only this mount's own versions were ever shown by this name.
            let others = |row: &FileVersion| {
                let id = row.id.as_ref();
                !mine(row) && !id.is_some_and(|id| self.shared.io.is_own(id))
            };
            if visible.iter().any(others) {
                return self.hide(full, &leaving, hurry).await.map(drop);
            }
            return self.remove_name(full, &leaving, hurry).await;
        }
        self.shared.checks.forget_new(full);
        // The oldest first: what lies under the newest never shows.
        for id in ids(visible) {
            if !self.delete_version(full, &id).await {
                let leaving = Outgoing {
                    believed: Some(id),
                    lost: lost.to_vec(),
                    ..Outgoing::default()
                };
                return self.hide(full, &leaving, hurry).await.map(drop);
            }
        }
        Ok(())
    }

    /// Removes a version of this mount's own where that shows nothing that did not show before: it lies under another one,
    /// or nothing lies under it. Needs no lock of the name.
    pub(in crate::vfs) async fn remove_unseen(
        &self,
        full: &str,
        id: &FileId,
    ) -> Result<Unseen, Error> {
        let seen = self.look(full, Hurry::No).await?;
        let Some(at) = seen.position(id) else {
            return Ok(Unseen::Stays);
        };
        let shown = visible(&seen).len();
        let alone = at == 0 && shown == 1 && (shown < seen.rows.len() || seen.complete);
        if at == 0 && !alone {
            return Ok(Unseen::Stays);
        }
        self.shared.checks.forget_new_version(full, id);
        if !self.delete_version(full, id).await {
            return Ok(Unseen::Stays);
        }
        let top = seen.rows.first().filter(|_| at > 0);
        let top = top.filter(|row| row.action == Action::Upload);
        Ok(Unseen::Gone {
            under: top.and_then(|row| row.id.clone()),
        })
    }

    /// Deletes a version of this mount's own that has been superseded; true when it is gone. While
    /// unsent copies refer to it, it stays; it goes when the last of them is stored.
    pub(in crate::vfs) async fn delete_version(&self, full: &str, id: &FileId) -> bool {
        if self.delete_when_free(full, id) {
            debug!("the superseded version {id} of {full:?} stays: it is being copied from");
            return false;
        }
        self.going().insert(id.clone());
        let name = FileName::listed(full);
        let result = self.shared.client.delete_file_version(&name, id).await;
        self.going().remove(id);
        match result {
            Ok(()) => true,
            Err(error) => {
                debug!("the superseded version {id} of {full:?} stays: {error}");
                false
            }
        }
    }

    /// Deletes what a new version has superseded. Nobody waits for it: it is not the newest, so that its
    /// going shows nothing.
    pub(in crate::vfs) fn delete_superseded(&self, full: &str, id: FileId) {
        self.going().insert(id.clone());
        let (vfs, full) = (self.clone(), full.to_owned());
        self.delete_later(async move {
            vfs.delete_version(&full, &id).await;
            vfs.going().remove(&id);
        });
    }

    /// While unsent copies refer to a version, puts its deletion off until they are stored, and
    /// returns true.
    fn delete_when_free(&self, full: &str, id: &FileId) -> bool {
        let shared = std::sync::Arc::downgrade(&self.shared);
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

    /// Runs a deletion that nobody waits for.
    pub(in crate::vfs) fn delete_later(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.shared.runtime.spawn(work);
        let mut all = self.deletions();
        all.retain(|task| !task.is_finished());
        all.push(task);
    }

    /// Waits for the deletions under way.
    pub(in crate::vfs) async fn finish_deletions(&self) {
        loop {
            self.shared.io.settled().await;
            let all = std::mem::take(&mut *self.deletions());
            if all.is_empty() {
                return;
            }
            self.shared.looks.hurry();
            for task in all {
                // One that ended in a panic has said so.
                drop(task.await);
            }
        }
    }

    fn deletions(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.shared.deletions.lock()
    }

    fn going(&self) -> MutexGuard<'_, std::collections::HashSet<FileId>> {
        self.shared.going.lock()
    }

    fn is_going(&self, id: &FileId) -> bool {
        self.going().contains(id)
    }

    /// The path within the mount of a full name in B2.
    pub(in crate::vfs) fn within<'a>(&self, full: &'a str) -> &'a str {
        full.strip_prefix(&self.settings().prefix).unwrap_or(full)
    }
}

/// The versions of which the newest shows: those above the first hide marker.
fn visible(seen: &Versions) -> &[FileVersion] {
    let end = seen.rows.iter().position(|row| row.action == Action::Hide);
    &seen.rows[..end.unwrap_or(seen.rows.len())]
}

/// Now, in milliseconds since 1970.
pub(in crate::vfs) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
