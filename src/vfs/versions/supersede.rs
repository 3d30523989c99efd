//! The identity rule: what removes or covers a version names the version it believes in, and looks afterwards
//! whether somebody else's came between.
//!
//! B2 has no conditional write: the look comes after the deed (`look`, in batches, in the background), and ids
//! decide, never time stamps. Where a foreign version lies between, hide markers and copies that only store
//! attributes are taken back, theirs is shown again, and whoever wanted the deed decides anew. Contents that
//! were acknowledged to a program stay on top; the log names the other version. A deed done before the look
//! at the one before it decides for both (`checks`). Whatever may have been made by
//! calls of unknown outcome is looked for here, too: it is deleted only where nonce, size, SHA-1 and all info agree.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use super::between::{Between, between, is_lost};
use super::checks::{Chain, Checking};
use crate::b2::{Action, ErrorKind, FileId, FileName, FileVersion, Lost, NewFile};
use crate::io::{self, Covered, Version};
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
    /// Something was put under a name that had to be free: a copy that may replace nothing, or a file that was only created.
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
    /// Versions that go once it is seen that they lie right under it (`replaced`).
    pub(in crate::vfs) replaced: Vec<FileId>,
    /// The attributes that it has stored.
    pub(in crate::vfs) delta: Delta,
}

impl Vfs {
    /// Looks, in the background, whether a deed met what was believed.
    pub(in crate::vfs) fn check_later(&self, deed: Deed) {
        let checks = &self.shared.checks;
        let nothing = deed.believed.is_empty() && deed.lost.is_empty() && deed.replaced.is_empty();
        let free = matches!(deed.act, Act::Content | Act::Free) && nothing;
        if free && !checks.pending(&deed.full) {
            return self.check_new_later(deed);
        }
        let checking = checks.begin(deed);
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            if let Err(error) = vfs.check_once(&checking).await {
                vfs.look_again_later(checking, &error, 0);
            }
        });
    }

    /// Waits for the looks of names right in a directory (its full name ends with `/`, or is empty).
    pub(in crate::vfs) async fn checks_ended_in(&self, dir: &str) {
        self.shared.looks.hurry();
        self.shared
            .checks
            .ended(|full| is_right_in(full, dir))
            .await;
    }

    /// Waits for all looks.
    pub(in crate::vfs) async fn checks_ended(&self) {
        self.shared.looks.hurry();
        self.shared.checks.ended(|_| true).await;
    }

    /// A look has failed: it is tried again, also at the end of the mount.
    fn look_again_later(&self, checking: Checking, error: &Error, attempt: u32) {
        /// Longer ones tell nothing: the end of the mount does.
        const TRIES: u32 = 8;
        const FIRST: Duration = Duration::from_secs(2);
        let (full, number) = (checking.full.clone(), checking.number);
        debug!("{full:?}: not looked at yet: {error}");
        drop(checking);
        if attempt >= TRIES {
            return;
        }
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(FIRST * (1 << attempt)).await;
            for checking in vfs.shared.checks.again(Some((&full, number))) {
                if let Err(error) = vfs.check_once(&checking).await {
                    vfs.look_again_later(checking, &error, attempt + 1);
                }
            }
        });
    }

    /// Looks once more at what could not be looked at.
    pub(in crate::vfs) async fn check_again(&self) {
        for checking in self.shared.checks.again(None) {
            if let Err(error) = self.check_once(&checking).await {
                warn!(
                    "{:?}: it could not be seen whether another client has changed it meanwhile: {error}",
                    self.within(&checking.full)
                );
            }
        }
    }

    async fn check_once(&self, checking: &Checking) -> Result<(), Error> {
        let seen = self.look(&checking.full, Hurry::No).await?;
        let current = self.shared.checks.current(&checking.full, checking.number);
        let Some(chain) = current else { return Ok(()) };
        self.delete_lost(&chain.top, &seen).await;
        let found = self.verdict(&chain, Arc::clone(&seen)).await?;
        if must_go(&chain, &found) {
            let claims = vec![Claim::name(checking.full.clone())];
            let guard = self.shared.paths.lock(claims).await;
            self.take_back_checked(checking, Hurry::No).await?;
            drop(guard);
        } else {
            self.stays_done(checking, seen, &found).await?;
        }
        Ok(())
    }

    /// What was done is left as it is: says what it covers, and lets go of what waited for that.
    async fn stays_done(
        &self,
        checking: &Checking,
        seen: Arc<Versions>,
        found: &Between,
    ) -> Result<(), Error> {
        if *found == Between::Unlisted {
            return Err(Error::Io("its versions are listed late".to_owned()));
        }
        let Some(chain) = checking.verified() else {
            return Ok(()); // a later deed decides
        };
        if let Between::Theirs(theirs) | Between::Under(theirs) = found {
            self.log_conflict(&chain, theirs);
        }
        // What was to succeed them may be gone again.
        if *found != Between::Gone {
            for twin in &chain.twins {
                self.purge_after_reading(&checking.full, twin);
            }
            // Boxed, for it is large, and seldom has to do anything.
            Box::pin(self.delete_replaced(&chain, seen)).await;
        }
        Ok(())
    }

    /// What lies under a chain of deeds.
    pub(in crate::vfs) async fn verdict(
        &self,
        chain: &Chain,
        mut seen: Arc<Versions>,
    ) -> Result<Between, Error> {
        let mut found = self.between(chain, &seen);
        if found == Between::Farther || (found == Between::Unlisted && !seen.complete) {
            seen = self.look_at_all(&chain.top.full, Hurry::No).await?;
            found = self.between(chain, &seen);
        }
        if found == Between::Unlisted && !self.has_version(&chain.top.made, &chain.top.full).await?
        {
            return Ok(Between::Gone);
        }
        Ok(found)
    }

    pub(in crate::vfs) fn between(&self, chain: &Chain, seen: &Versions) -> Between {
        let own = |id: &FileId| {
            let made = self.shared.io.is_own(id) || chain.made(id);
            made || self.is_lost_of(&chain.top, seen, id)
        };
        let found = between(seen, chain, own);
        let Between::Theirs(theirs) = &found else {
            return found;
        };
        let above = seen.rows.iter().take_while(|row| row.id != theirs.id);
        let stored_since = above
            .filter(|row| row.action == Action::Upload)
            .filter_map(|row| row.id.as_ref())
            .any(|id| self.shared.io.is_own(id) && !chain.made(id));
        if chain.top.act == Act::Free && stored_since {
            // Content of this mount's own, which is about to leave the name: what it lies on is history.
            return Between::Nothing;
        }
        found
    }

    #[allow(clippy::unused_self, reason = "reads as a question of the mount")]
    pub(super) fn is_lost_of(&self, deed: &Deed, seen: &Versions, id: &FileId) -> bool {
        let row = seen.position(id).map(|at| &seen.rows[at]);
        row.is_some_and(|row| deed.lost.iter().any(|lost| is_lost(row, lost)))
    }

    /// Deletes what calls of unknown outcome have made beside what is known.
    pub(in crate::vfs) async fn delete_lost(&self, deed: &Deed, seen: &Versions) {
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

    /// Content covers another client's version: the log says so, and no purge takes that one.
    pub(in crate::vfs) fn log_conflict(&self, chain: &Chain, theirs: &FileVersion) {
        if let Some(id) = &theirs.id {
            self.shared.contested.add(id);
        }
        let show = |id: Option<&FileId>| id.map_or_else(String::new, FileId::to_string);
        let contents = chain.before.iter().filter(|(_, content)| *content);
        let ours = match chain.top.act {
            Act::Content => Some(&chain.top.made),
            _ => contents.map(|(made, _)| made).next(),
        };
        warn!(
            "{:?}: another client's version {} was made meanwhile; it is kept under the version {}, which was stored here",
            self.within(&chain.top.full),
            show(theirs.id.as_ref()),
            show(ours),
        );
    }

    /// Takes a deed back, unless it has been overtaken. Tells whether it did. The path lock is the caller's.
    pub(in crate::vfs) async fn take_back_locked(
        &self,
        deed: &Deed,
        hurry: Hurry,
    ) -> Result<bool, Error> {
        let checking = self.shared.checks.begin(deed.clone());
        self.take_back_seen(checking, hurry).await
    }

    /// Takes back what is being looked at, unless it has been overtaken. Tells whether it did. The path lock is the caller's.
    pub(super) async fn take_back_seen(
        &self,
        checking: Checking,
        hurry: Hurry,
    ) -> Result<bool, Error> {
        let taken = self.take_back_checked(&checking, hurry).await;
        match taken {
            Err(error) => {
                self.look_again_later(checking, &error, 0);
                Err(error)
            }
            Ok(None) => {
                let late = Error::Io("its versions are listed late".to_owned());
                self.look_again_later(checking, &late, 0);
                Ok(false)
            }
            Ok(Some(taken)) => Ok(taken),
        }
    }

    /// Takes back deeds that are being looked at; `None`: B2 does not list them yet.
    async fn take_back_checked(
        &self,
        checking: &Checking,
        hurry: Hurry,
    ) -> Result<Option<bool>, Error> {
        let full = &checking.full;
        let Some(chain) = self.shared.checks.current(full, checking.number) else {
            return Ok(Some(false)); // a later deed decides
        };
        let seen = self.look_at_all(full, hurry).await?;
        if seen.position(&chain.top.made).is_some_and(|at| at > 0) {
            // Somebody else has decided anew already.
            checking.verified();
            return Ok(Some(false));
        }
        let found = self.verdict(&chain, Arc::clone(&seen)).await?;
        if found == Between::Unlisted {
            return Ok(None);
        }
        if !must_go(&chain, &found) {
            self.stays_done(checking, seen, &found).await?;
            return Ok(Some(false));
        }
        let theirs = match found {
            Between::Theirs(theirs) => Some(*theirs),
            _ => None,
        };
        self.take_back_chain(&chain, &seen, theirs).await?;
        checking.verified();
        Ok(Some(true))
    }

    /// Takes back all that was done to a name since it was last looked at.
    pub(in crate::vfs) async fn take_back_chain(
        &self,
        chain: &Chain,
        seen: &Versions,
        theirs: Option<FileVersion>,
    ) -> Result<(), Error> {
        let deed = &chain.top;
        if self.shared.client.may("deleteFiles") {
            // The oldest first: what lies under the newest never shows.
            for made in to_take_back(chain, seen, theirs.as_ref()).iter().rev() {
                self.delete_version(&deed.full, made).await;
            }
        }
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
        Ok(())
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
        let copied = self.shared.io.copy(&version, &target, Covered::GiveWay);
        match copied.await {
            // Something newer shows already.
            Ok(_) | Err(io::Error::Covered) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What has to go with the last deed of a chain: attribute copies and hide markers on top of what another client has done.
/// What lies below that is history, and content is never taken back.
fn to_take_back(chain: &Chain, seen: &Versions, theirs: Option<&FileVersion>) -> Vec<FileId> {
    let end = match theirs.and_then(|theirs| seen.position(theirs.id.as_ref()?)) {
        Some(end) => Some(end),
        None => seen.rows.iter().position(|row| {
            let made_here = row.id.as_ref().is_some_and(|id| chain.made(id));
            row.action == Action::Hide && !made_here
        }),
    };
    let above = &seen.rows[..end.unwrap_or(seen.rows.len())];
    let made = chain.before.iter().filter(|(_, content)| !content);
    made.map(|(made, _)| made)
        .filter(|made| above.iter().any(|row| row.id.as_ref() == Some(made)))
        .cloned()
        .collect()
}

/// Whether what was done has to be taken back.
pub(in crate::vfs) fn must_go(chain: &Chain, found: &Between) -> bool {
    match found {
        Between::Theirs(_) => chain.top.act != Act::Content,
        Between::Removed => matches!(chain.top.act, Act::Attributes(_)),
        _ => false,
    }
}

/// Whether a name is right in a directory, whose own ends with `/` or is empty.
pub(in crate::vfs) fn is_right_in(full: &str, dir: &str) -> bool {
    let beneath = full.strip_prefix(dir);
    beneath.is_some_and(|name| !name.trim_end_matches('/').contains('/'))
}
