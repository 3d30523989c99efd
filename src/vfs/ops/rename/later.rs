//! Renames that nobody waits for.
//!
//! A file whose content is stored has its new name in the tree at once; the copy on the server follows in the background
//! and takes along what else is changed meanwhile, then the old name goes. Both names stay locked until B2 has the copy, so
//! whoever wants to do anything to one of them waits for it, and sees to it that it begins. No row of a listing undoes the
//! new name (`Tree::copying`) or brings the old one back (`Leaving`).
//!
//! A copy that B2 refuses brings the old name back. One that only fails for now is tried again, for the caller was told
//! that the file has its new name. Whoever calls fsync(2) for the file or a directory of it is told either.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::sync::OwnedSemaphorePermit;

use super::Ends;
use super::copy::{Over, believed_of, lost_copy};
use crate::b2::{FileId, Lost};
use crate::io;
use crate::vfs::ask::look::Hurry;
use crate::vfs::attr::Nanos;
use crate::vfs::ops::drain::unharmed;
use crate::vfs::ops::remove::Gone;
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::state::{Leaves, Stored};
use crate::vfs::versions::attributes::is_gone;
use crate::vfs::versions::between::twins_of;
use crate::vfs::versions::removal::{Removal, Unseen, now_ms};
use crate::vfs::{Error, Ino, Vfs};

/// How long a copy waits for further changes (a chmod, say) that it could take along, as long as nobody waits for it.
const MOMENT: Duration = Duration::from_secs(1);
/// So many may wait so; with more of them, who renames much would wait for a place.
const WAITING: usize = 16;
/// What failed tries may have made is kept to the end for so many of them; what earlier ones made is looked for meanwhile.
const STRAYS: usize = 16;
/// The first pause before a failed copy is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a failed copy is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What B2 has under the new name.
struct Arrived {
    made: FileId,
    /// What failed tries may have made beside it.
    strays: Vec<Lost>,
    /// It has the content of the old name's version.
    content_lives_on: bool,
}

/// A rename whose caller has gone on.
struct Later {
    ends: Arc<Ends>,
    old: Stored,
    over: Over,
    /// What calls of unknown outcome may have left under the old name.
    lost: Vec<Lost>,
    /// The file's ctime before the rename, and the one it has set.
    times: (Nanos, Nanos),
}

impl Vfs {
    /// Whether a rename has to be waited for, or else a place among those that nobody waits for.
    pub(super) async fn rename_place(&self, ends: &Ends) -> Option<OwnedSemaphorePermit> {
        let simple = {
            let tree = self.tree();
            let clean = |ino| {
                tree.get(ino).is_ok_and(|node| {
                    let state = node.object().map(|object| &object.state);
                    !node.content_dirty()
                        && state.is_some_and(|state| {
                            state.stored().is_some() && state.lost().is_empty()
                        })
                })
            };
            clean(ends.ino) && ends.replaced.is_none_or(clean)
        };
        // Without the right to read, copies are refused.
        let may = self.shared.client.may("readFiles");
        if !simple || !may || ends.noreplace {
            return None;
        }
        self.removal_place().await
    }

    /// Renames a stored file here, and sees to it that B2 follows.
    pub(super) fn rename_later(
        &self,
        ends: &Arc<Ends>,
        target: &Leaves,
        times: (Nanos, Nanos),
        guard: PathGuard,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let over = Over {
            believed: believed_of(target),
            intermediate: self.intermediate_of(ends.replaced),
            replaced: self.replaced_by_rename(ends.replaced),
        };
        let (old, lost) = {
            let mut tree = self.tree();
            let state = &tree
                .get(ends.ino)?
                .object()
                .ok_or(Error::IsDirectory)?
                .state;
            let old = state.stored().cloned().ok_or(Error::NotFound)?;
            let lost = state.lost().to_vec();
            tree.leaving.begin(&ends.from);
            tree.copying.insert(ends.ino);
            (old, lost)
        };
        let moves = &self.shared.moves;
        moves.begin(ends, old.clone(), over.believed.clone());
        if let Err(error) = self.edit(ends) {
            self.tree().leaving.failed(&ends.from);
            self.has_moved(ends.ino);
            return Err(error);
        }
        let later = Later {
            ends: Arc::clone(ends),
            old,
            over,
            lost,
            times,
        };
        let vfs = self.clone();
        let crowded = self.shared.removals.under_way() > WAITING;
        self.shared.runtime.spawn(async move {
            if !crowded {
                vfs.wait_for_changes(&guard).await;
            }
            Box::pin(vfs.follow(later, guard, place)).await;
            vfs.shared.removals.told_ended();
        });
        Ok(())
    }

    /// Until somebody waits for it, or for one of its names, or no more changes have come.
    async fn wait_for_changes(&self, guard: &PathGuard) {
        tokio::select! {
            () = tokio::time::sleep(MOMENT) => {}
            () = guard.wanted() => {}
            () = self.shared.moves.somebody_waits() => {}
        }
    }

    /// Has B2 do what the tree shows.
    async fn follow(&self, later: Later, mut guard: PathGuard, place: OwnedSemaphorePermit) {
        let Later {
            ends,
            old,
            over,
            lost,
            times,
        } = later;
        let mut place = Some(place);
        let copied = self
            .copy_until_settled(&ends, &old, times, &mut place)
            .await;
        let Some(copied) = copied else {
            self.has_moved(ends.ino);
            return;
        };
        self.check_later(over.deed(&ends.to, copied.made, copied.strays));
        self.has_moved(ends.ino);
        guard.keep_only(&ends.from);
        let mut gone = Gone {
            parent: ends.parent,
            name: ends.old_name(),
            full: ends.from.clone(),
            removal: Removal::Renamed {
                stored: old,
                content_lives_on: copied.content_lives_on,
                lost,
            },
            guard,
        };
        match Box::pin(unharmed(self.old_name_goes(&mut gone))).await {
            Ok(()) => self.tree().left(&gone.full),
            Err(error) => self.is_there_again(&gone, error),
        }
    }

    /// Copies a file to its new name, again and again as long as that may help; `None` when the file has its old name again.
    async fn copy_until_settled(
        &self,
        ends: &Ends,
        old: &Stored,
        times: (Nanos, Nanos),
        place: &mut Option<OwnedSemaphorePermit>,
    ) -> Option<Arrived> {
        let failures = &self.shared.removals.failures;
        let mut strays = Vec::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut hopeless = false;
            let error = match unharmed(self.copy_to_new_name(ends, old)).await {
                Ok(Ok((made, twins))) => {
                    strays.extend(twins);
                    failures.told(&ends.from);
                    failures.told(&ends.to);
                    return Some(Arrived {
                        made,
                        strays,
                        content_lives_on: true,
                    });
                }
                Ok(Err(error)) => error,
                // An answer that makes no sense, or a fault of this program: the next try would make one more copy.
                Err(fault) => {
                    hopeless = true;
                    io::Error::Corrupt(fault.to_string())
                }
            };
            strays.extend(lost_copy(&error, old));
            if strays.len() > STRAYS {
                self.forget_copy_later(&ends.to, strays.remove(0));
            }
            let said = Error::from(error.clone());
            if (is_gone(&error) || hopeless || !said.may_pass())
                && let Some(made) = self.upload_to_new_name(ends).await
            {
                return Some(Arrived {
                    made,
                    strays,
                    content_lives_on: false,
                });
            }
            let over = if is_gone(&error) {
                self.is_gone_meanwhile(ends, old, &said);
                true
            } else {
                (hopeless || !said.may_pass()) && self.has_old_name_again(ends, times, &said)
            };
            if over {
                for stray in strays {
                    self.forget_copy_later(&ends.to, stray);
                }
                return None;
            }
            let (from, to) = (self.within(&ends.from), self.within(&ends.to));
            let text = format!(
                "B2 still has {to:?} under its old name {from:?}: {said}; the rename is tried again"
            );
            if pause == FIRST_PAUSE {
                warn!("{text}");
            } else {
                debug!("{text}");
            }
            self.tell_of_both(ends, &said);
            self.shared.moves.failed(ends.ino, &said);
            // Others are waited for until one has succeeded, and find a place.
            failures.beware();
            drop(place.take());
            self.shared.removals.told_ended();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = async {
                    tokio::time::sleep(FIRST_PAUSE).await;
                    self.shared.moves.somebody_waits().await;
                } => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn copy_to_new_name(
        &self,
        ends: &Ends,
        old: &Stored,
    ) -> Result<Result<(FileId, Option<Lost>), io::Error>, Error> {
        let copy = match self.copy_once(ends, old).await {
            Ok(Some(copy)) => copy,
            // Another client has removed its directory: it has no name here any more.
            Ok(None) => return Ok(Err(io::Error::Stale)),
            Err(error) => return Ok(Err(error)),
        };
        let made = copy.id.clone();
        let made = made.ok_or_else(|| Error::Io("B2 made a copy without an id".to_owned()))?;
        if self.has_new_name(ends, old, &copy).is_err() {
            let copy = Lost {
                id: Some(made),
                ..Lost::default()
            };
            self.forget_copy_later(&ends.to, copy);
            return Ok(Err(io::Error::Stale));
        }
        Ok(Ok((made, twins_of(&copy))))
    }

    /// B2 refuses the copy, but the file has been written since: what it holds now belongs under its new name, not over what
    /// it was before. `None` where nothing was, or B2 does not take that, either.
    async fn upload_to_new_name(&self, ends: &Ends) -> Option<FileId> {
        if !self.tree().get(ends.ino).ok()?.content_dirty() {
            return None;
        }
        match Box::pin(unharmed(self.commit_moved(ends.ino, &ends.to, ends.came()))).await {
            Ok(made) => made,
            Err(error) => {
                debug!("{:?}: {error}", self.within(&ends.to));
                None
            }
        }
    }

    fn tell_of_both(&self, ends: &Ends, error: &Error) {
        let failures = &self.shared.removals.failures;
        let both = (&*ends.from, &*ends.to);
        failures.tell_of_rename(&ends.from, both, error.clone());
        if ends.parent != ends.new_parent {
            failures.tell_of_rename(&ends.to, both, error.clone());
        }
    }

    /// The rename is over, whatever has become of it.
    fn has_moved(&self, ino: Ino) {
        self.tree().copying.remove(&ino);
        self.shared.moves.end(ino);
        self.shared.removals.told_ended();
    }

    /// What was to be copied is not in B2 any more.
    fn is_gone_meanwhile(&self, ends: &Ends, old: &Stored, error: &Error) {
        warn!(
            "{:?} could not be renamed to {:?}: another client has replaced or removed its version {}",
            self.within(&ends.from),
            self.within(&ends.to),
            old.id
        );
        let mut tree = self.tree();
        tree.leaving.failed(&ends.from);
        if self.is_at(&tree, ends.ino, &ends.to) {
            self.forget_entry(&mut tree, ends.ino);
        }
        self.shows_again(&mut tree, ends.parent, &ends.old_name());
        self.shows_again(&mut tree, ends.new_parent, &ends.new_name);
        drop(tree);
        self.tell_of_both(ends, error);
        self.shared.removals.failures.beware();
    }

    /// B2 has refused the copy. False where another file has the old name by now.
    fn has_old_name_again(
        &self,
        ends: &Ends,
        (before, set): (Nanos, Nanos),
        error: &Error,
    ) -> bool {
        let mut tree = self.tree();
        if tree.child(ends.parent, &ends.old_name()).is_some() {
            return false;
        }
        tree.leaving.failed(&ends.from);
        let back = tree.relocate(ends.ino, ends.parent, ends.old_name());
        if back.is_ok()
            && let Ok(node) = tree.get_mut(ends.ino)
            && node.meta.ctime == set
        {
            node.meta.ctime = before;
        }
        let (from, to) = (self.within(&ends.from), self.within(&ends.to));
        warn!("{from:?} could not be renamed to {to:?}, and has its old name again: {error}");
        self.shared.forgets.entry(ends.parent, ends.old_name());
        self.shows_again(&mut tree, ends.new_parent, &ends.new_name);
        drop(tree);
        self.tell_of_both(ends, error);
        self.shared.removals.failures.beware();
        true
    }

    /// Removes the old name of a file that B2 has under its new one.
    async fn old_name_goes(&self, gone: &mut Gone) -> Result<(), Error> {
        if let Removal::Renamed {
            stored,
            content_lives_on,
            lost,
        } = &gone.removal
            && lost.is_empty()
            && stored.goes_when_renamed(now_ms(), *content_lives_on)
        {
            // A version that shows nothing when it goes needs no lock: who saves by temporary names uses the same one
            // again at once.
            gone.guard.free_all();
            let id = stored.id.clone();
            let removed = self.remove_unseen(&gone.full, &id).await?;
            if matches!(removed, Unseen::Gone { under: None }) {
                return Ok(());
            }
            let claim = Claim::name(gone.full.clone());
            gone.guard = self.shared.paths.lock(vec![claim]).await;
            if let Unseen::Gone { under: Some(top) } = removed {
                // With the lock, what this mount was storing there is known to be its own.
                let own = self.shared.io.is_own(&top);
                return if own { Ok(()) } else { Err(Error::Stale) };
            }
            if self.is_stored_anew(&gone.full, &id) {
                return Ok(());
            }
        }
        self.carry_out(&gone.full, &gone.removal, Hurry::No).await
    }

    /// Whether another file was stored under the name meanwhile: then what lies under it is history.
    fn is_stored_anew(&self, full: &str, id: &FileId) -> bool {
        let tree = self.tree();
        let found = tree.locate(self.within(full));
        let child = found.and_then(|(parent, name)| tree.child(parent, &name));
        let node = child.and_then(|child| tree.get(child).ok());
        let stored = node.and_then(|node| node.object()?.state.stored());
        stored.is_some_and(|stored| stored.id != *id)
    }

    /// A file was found by its new name, and has not got that any more: it has its old one again, or is gone, when its rename has failed
    /// meanwhile. Then nothing may be done to what has the name now: whoever meant the file is told.
    pub(in crate::vfs) fn rename_held(&self, ino: Ino, found: Option<&Ends>) -> Result<(), Error> {
        let Some(ends) = found else { return Ok(()) };
        let elsewhere = {
            let tree = self.tree();
            let path = tree.path(ino).map(|path| self.full(&path));
            path.is_some_and(|path| path != ends.from)
        };
        if elsewhere {
            return Ok(());
        }
        let told = self.shared.removals.failures.take(&ends.from);
        Err(told.unwrap_or_else(|| Error::Io("B2 has refused its rename".to_owned())))
    }

    /// Waits until B2 has a file under the name it has here; tells when that has failed.
    pub(in crate::vfs) async fn has_arrived(&self, ino: Ino) -> Result<(), Error> {
        let moves = &self.shared.moves;
        let Some(ends) = moves.of(ino) else {
            return Ok(());
        };
        let _hurrying = moves.hurry();
        let failures = &self.shared.removals.failures;
        self.removals_ended(|_| moves.of(ino).is_none() || failures.is_untold(&ends.from))
            .await;
        failures.take(&ends.from).map_or(Ok(()), Err)
    }

    /// Waits until B2 has the files that were renamed into a directory; tells when that has failed.
    pub(in crate::vfs) async fn have_arrived_in(&self, dir: &str) -> Result<(), Error> {
        let moves = &self.shared.moves;
        if moves.renamed_into(dir).is_none() {
            return Ok(());
        }
        let _hurrying = moves.hurry();
        let failures = &self.shared.removals.failures;
        self.removals_ended(|_| match moves.renamed_into(dir) {
            Some(from) => failures.is_untold(&from),
            None => true,
        })
        .await;
        match moves.renamed_into(dir) {
            Some(from) => failures.take(&from).map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}
