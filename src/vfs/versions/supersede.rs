//! The identity rule: what removes or covers a version names the version it believes in, and looks afterwards
//! whether somebody else's came between.
//!
//! B2 has no conditional write: the look comes after the deed (`look`, in batches, in the background), and ids
//! decide, never time stamps. Where a foreign version lies between, hide markers and copies that only store
//! attributes are taken back, theirs is shown again, and whoever wanted the deed decides anew. Contents that
//! were acknowledged to a program stay on top; the log names the other version. Whatever may have been made by
//! calls of unknown outcome is looked for here, too: it is deleted only where nonce, size, SHA-1 and all info agree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{debug, warn};
use tokio::sync::Notify;

use super::between::{Between, between, is_lost};
use crate::b2::{ErrorKind, FileId, FileName, FileVersion, Lost, NewFile};
use crate::io::Version;
use crate::vfs::ask::look::{Hurry, Versions};
use crate::vfs::delta::Delta;
use crate::vfs::pathlock::Claim;
use crate::vfs::{Error, Ino, Vfs};

/// What was done to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Act {
    /// It was hidden.
    Hide,
    /// A copy of the version believed in has stored its attributes.
    Attributes(Ino),
    /// A content was stored, or renamed to it: that stays on top.
    Content,
    /// A copy was made under a name that had to be free.
    Free,
}

/// A deed that B2 has acknowledged.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Deed {
    pub(in crate::vfs) full: String,
    pub(in crate::vfs) act: Act,
    /// The version, or hide marker, that it has made.
    pub(in crate::vfs) made: FileId,
    /// The version that was the newest one, as far as known, and others that were seen under it; empty: none.
    pub(in crate::vfs) believed: Vec<FileId>,
    /// What calls of unknown outcome may have left.
    pub(in crate::vfs) lost: Vec<Lost>,
    /// A version that goes once it is known that nobody came between.
    pub(in crate::vfs) twin: Option<FileId>,
    /// The attributes that it has stored.
    pub(in crate::vfs) delta: Delta,
}

/// Looks that follow deeds.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Checks {
    state: Mutex<Looking>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Looking {
    /// The last number given.
    last: u64,
    /// Names of those under way.
    under_way: HashMap<u64, String>,
    /// Those that have failed.
    kept: HashMap<u64, Deed>,
    /// How many of these were too many.
    given_up: u64,
}

impl Checks {
    /// Most deeds that are kept to be looked at again.
    const KEPT: usize = 10_000;

    fn lock(&self) -> MutexGuard<'_, Looking> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, deed: Deed) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        if state.kept.len() < Self::KEPT {
            state.kept.insert(number, deed);
        } else {
            state.given_up += 1;
            warn!(
                "{:?}: whether another client has changed it meanwhile is not looked at any more: too many wait",
                deed.full
            );
        }
        number
    }

    /// How many are not looked at any more, because there were too many.
    pub(in crate::vfs) fn given_up(&self) -> u64 {
        self.lock().given_up
    }

    fn kept(&self, number: u64) -> Option<Deed> {
        self.lock().kept.remove(&number)
    }

    fn all_kept(&self) -> Vec<Deed> {
        let kept = std::mem::take(&mut self.lock().kept);
        kept.into_values().collect()
    }

    fn begin(self: &Arc<Self>, full: &str) -> Checking {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.under_way.insert(number, full.to_owned());
        Checking {
            checks: Arc::clone(self),
            number,
        }
    }

    /// Waits until none is under way of a name that fits.
    async fn ended(&self, fits: impl Fn(&str) -> bool) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !self.lock().under_way.values().any(|full| fits(full)) {
                return;
            }
            ended.await;
        }
    }
}

struct Checking {
    checks: Arc<Checks>,
    number: u64,
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.checks.lock().under_way.remove(&self.number);
        self.checks.ended.notify_waiters();
    }
}

impl Vfs {
    /// Looks, in the background, whether a deed met what was believed.
    pub(in crate::vfs) fn check_later(&self, deed: Deed) {
        let checking = self.shared.checks.begin(&deed.full);
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            let _checking = checking;
            vfs.check(deed).await;
        });
    }

    /// Waits for the looks of names right in a directory (its full name ends with `/`, or is empty).
    pub(in crate::vfs) async fn checks_ended_in(&self, dir: &str) {
        self.shared.looks.hurry();
        let direct = |full: &str| {
            let beneath = full.strip_prefix(dir);
            beneath.is_some_and(|name| !name.trim_end_matches('/').contains('/'))
        };
        self.shared.checks.ended(direct).await;
    }

    /// Waits for all looks.
    pub(in crate::vfs) async fn checks_ended(&self) {
        self.shared.looks.hurry();
        self.shared.checks.ended(|_| true).await;
    }

    async fn check(&self, deed: Deed) {
        if let Err(error) = self.check_once(&deed).await {
            debug!("{:?}: not looked at yet: {error}", deed.full);
            self.look_again_later(deed, 0);
        }
    }

    /// A look has failed: it is tried again, also at the end of the mount.
    fn look_again_later(&self, deed: Deed, attempt: u32) {
        /// Longer ones tell nothing: the end of the mount does.
        const TRIES: u32 = 8;
        const FIRST: Duration = Duration::from_secs(2);
        let number = self.shared.checks.keep(deed);
        if attempt >= TRIES {
            return;
        }
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(FIRST * (1 << attempt)).await;
            let Some(deed) = vfs.shared.checks.kept(number) else {
                return;
            };
            if vfs.check_once(&deed).await.is_err() {
                vfs.look_again_later(deed, attempt + 1);
            }
        });
    }

    /// Looks once more at what could not be looked at.
    pub(in crate::vfs) async fn check_again(&self) {
        for deed in self.shared.checks.all_kept() {
            if let Err(error) = self.check_once(&deed).await {
                warn!(
                    "{:?}: it could not be seen whether another client has changed it meanwhile: {error}",
                    self.within(&deed.full)
                );
                self.shared.checks.keep(deed);
            }
        }
    }

    async fn check_once(&self, deed: &Deed) -> Result<(), Error> {
        let seen = self.look(&deed.full, Hurry::No).await?;
        self.delete_lost(deed, &seen).await;
        match self.verdict(deed, seen).await? {
            Between::Theirs(theirs) if deed.act == Act::Content => {
                self.log_conflict(deed, &theirs);
                if let Some(twin) = &deed.twin {
                    self.purge_after_reading(&deed.full, twin);
                }
                Ok(())
            }
            Between::Theirs(_) => self.take_back(deed, Hurry::No).await.map(drop),
            Between::Removed if matches!(deed.act, Act::Attributes(_)) => {
                self.take_back(deed, Hurry::No).await.map(drop)
            }
            _ => {
                if let Some(twin) = &deed.twin {
                    self.purge_after_reading(&deed.full, twin);
                }
                Ok(())
            }
        }
    }

    async fn verdict(&self, deed: &Deed, seen: Arc<Versions>) -> Result<Between, Error> {
        let own = |id: &FileId| self.shared.io.is_own(id) || self.is_lost_of(deed, &seen, id);
        let found = between(&seen, &deed.made, &deed.believed, own);
        if found != Between::Farther {
            return Ok(found);
        }
        let all = self.look_at_all(&deed.full, Hurry::No).await?;
        let own = |id: &FileId| self.shared.io.is_own(id) || self.is_lost_of(deed, &all, id);
        Ok(between(&all, &deed.made, &deed.believed, own))
    }

    #[allow(clippy::unused_self, reason = "reads as a question of the mount")]
    fn is_lost_of(&self, deed: &Deed, seen: &Versions, id: &FileId) -> bool {
        let row = seen.position(id).map(|at| &seen.rows[at]);
        row.is_some_and(|row| deed.lost.iter().any(|lost| is_lost(row, lost)))
    }

    /// Deletes what calls of unknown outcome have made beside what is known.
    async fn delete_lost(&self, deed: &Deed, seen: &Versions) {
        for row in &seen.rows {
            let Some(id) = row.id.as_ref().filter(|id| **id != deed.made) else {
                continue;
            };
            // What was acknowledged is not lost.
            if !self.shared.io.is_own(id) && deed.lost.iter().any(|lost| is_lost(row, lost)) {
                debug!(
                    "{:?}: the version {id}, whose answer was lost, goes",
                    deed.full
                );
                self.delete_version(&deed.full, id).await;
            }
        }
    }

    fn log_conflict(&self, deed: &Deed, theirs: &FileVersion) {
        let show = |id: Option<&FileId>| id.map_or_else(String::new, FileId::to_string);
        warn!(
            "{:?}: another client's version {} was made meanwhile; both are kept, the name shows {}, which was \
             stored here",
            self.within(&deed.full),
            show(theirs.id.as_ref()),
            deed.made,
        );
    }

    /// Takes a deed back, unless it has been overtaken. Tells whether it did.
    pub(in crate::vfs) async fn take_back(&self, deed: &Deed, hurry: Hurry) -> Result<bool, Error> {
        let claims = vec![Claim::name(deed.full.clone())];
        let guard = self.shared.paths.lock(claims).await;
        let taken = self.take_back_locked(deed, hurry).await?;
        drop(guard);
        Ok(taken)
    }

    /// The same for who holds the path lock.
    pub(in crate::vfs) async fn take_back_locked(
        &self,
        deed: &Deed,
        hurry: Hurry,
    ) -> Result<bool, Error> {
        let seen = self.look_at_all(&deed.full, hurry).await?;
        if seen.position(&deed.made) != Some(0) {
            return Ok(false); // somebody has decided anew already
        }
        let own = |id: &FileId| self.shared.io.is_own(id) || self.is_lost_of(deed, &seen, id);
        let theirs = match between(&seen, &deed.made, &deed.believed, own) {
            Between::Theirs(theirs) => Some(*theirs),
            Between::Removed if matches!(deed.act, Act::Attributes(_)) => None,
            _ => return Ok(false),
        };
        self.undo(&deed.full, &deed.made, theirs.as_ref()).await?;
        let full = self.within(&deed.full);
        match (&theirs, deed.act) {
            (Some(theirs), Act::Hide) => warn!(
                "{full:?}: another client has written it meanwhile; its version {} is there again and was not removed",
                theirs
                    .id
                    .as_ref()
                    .map_or_else(String::new, FileId::to_string)
            ),
            (Some(_), Act::Free) => {
                warn!("{full:?}: another client has made it meanwhile; it is left as it is");
            }
            (Some(_), _) => warn!(
                "{full:?}: another client has written it meanwhile; its version is there again, the changed attributes \
                 are stored with that"
            ),
            (None, _) => warn!(
                "{full:?}: another client has removed it meanwhile; the changed attributes are not stored"
            ),
        }
        self.take_over(deed, theirs);
        Ok(true)
    }

    /// Deletes a version that should not have been made; where it must not be deleted, what it covers comes on top.
    pub(in crate::vfs) async fn undo(
        &self,
        full: &str,
        made: &FileId,
        theirs: Option<&FileVersion>,
    ) -> Result<(), Error> {
        let (client, name) = (&self.shared.client, FileName::listed(full));
        if client.may("deleteFiles") {
            match client.delete_file_version(&name, made).await {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.kind, ErrorKind::Locked | ErrorKind::AccessDenied) => {
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Some((theirs, id)) = theirs.and_then(|theirs| Some((theirs, theirs.id.clone()?)))
        else {
            self.shared.client.hide_file(&name).await?;
            return Ok(());
        };
        let target = NewFile {
            name,
            content_type: theirs
                .content_type
                .clone()
                .unwrap_or_else(|| "b2/x-auto".to_owned()),
            info: theirs.info.clone(),
        };
        let version = Version {
            id,
            size: theirs.size,
            sha1: theirs.whole_sha1(),
        };
        self.shared.io.copy(&version, &target).await?;
        Ok(())
    }
}
