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

use crate::b2::{Action, ErrorKind, FileId, FileName, FileVersion, Lost, NewFile};
use crate::io::{Stamp, Version};
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

/// What lies between the version that was made and the one that was believed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs) enum Between {
    /// Nothing of others.
    Nothing,
    /// Another client's version, which was the newest one.
    Theirs(Box<FileVersion>),
    /// Somebody else has removed the file.
    Removed,
    /// It lies farther down than was looked.
    Farther,
}

/// Decides by ids; `own` tells the versions that this mount has made.
pub(in crate::vfs) fn between(
    versions: &Versions,
    made: &FileId,
    believed: &[FileId],
    own: impl Fn(&FileId) -> bool,
) -> Between {
    let Some(at) = versions.position(made) else {
        return Between::Nothing; // superseded, and gone
    };
    for row in &versions.rows[at + 1..] {
        let Some(id) = &row.id else { continue };
        if believed.contains(id) {
            return Between::Nothing;
        }
        match row.action {
            Action::Hide => return Between::Removed,
            Action::Upload if !own(id) => return Between::Theirs(Box::new(row.clone())),
            _ => {}
        }
    }
    match (versions.complete, believed.is_empty()) {
        (false, _) => Between::Farther,
        (true, true) => Between::Nothing,
        (true, false) => Between::Removed,
    }
}

/// Whether a row is what a call of unknown outcome has made, and nothing else.
pub(in crate::vfs) fn is_lost(row: &FileVersion, lost: &Lost) -> bool {
    if row.action != Action::Upload {
        return false;
    }
    if lost.id.is_some() {
        return row.id == lost.id;
    }
    let nonce = |info| Stamp::of(info).nonce;
    nonce(&lost.info).is_some()
        && nonce(&lost.info) == nonce(&row.info)
        && row.has_info(&lost.info)
        && lost.size.is_none_or(|size| size == row.size)
        && lost.sha1.is_none_or(|sha1| row.whole_sha1() == Some(sha1))
}

/// What earlier tries of the call that made a version may have made beside it.
pub(in crate::vfs) fn twins_of(version: &FileVersion) -> Option<Lost> {
    version.twins.then(|| Lost {
        id: None,
        size: Some(version.size),
        sha1: version.whole_sha1(),
        info: version.info.clone(),
    })
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
        }
        number
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

    /// A call that should have made a copy under a name may have done so: where it has, the copy goes again, as soon as
    /// B2 answers.
    pub(in crate::vfs) fn forget_copy_later(&self, full: &str, lost: Lost) {
        const FIRST: Duration = Duration::from_secs(2);
        const TRIES: u32 = 8;
        self.strays().push((full.to_owned(), lost));
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            for attempt in 0..TRIES {
                tokio::time::sleep(FIRST * (1 << attempt)).await;
                vfs.forget_copies().await;
                if vfs.strays().is_empty() {
                    return;
                }
            }
        });
    }

    /// Looks for the copies that may have been made, once.
    pub(in crate::vfs) async fn forget_copies(&self) {
        let all = std::mem::take(&mut *self.strays());
        for (full, lost) in all {
            match self.forget_copy(&full, &lost).await {
                Ok(()) => {}
                Err(error) => {
                    debug!("{full:?}: whether a copy was made there is not known yet: {error}");
                    self.strays().push((full, lost));
                }
            }
        }
    }

    async fn forget_copy(&self, full: &str, lost: &Lost) -> Result<(), Error> {
        let guard = self.shared.paths.lock(vec![Claim::name(full)]).await;
        let seen = self.look_at_all(full, Hurry::Yes).await?;
        for row in seen.rows.iter().filter(|row| is_lost(row, lost)) {
            let Some(id) = &row.id else { continue };
            let name = FileName::listed(full);
            self.shared.client.delete_file_version(&name, id).await?;
            let mut tree = self.tree();
            if let Some((parent, name)) = tree.locate(self.within(full)) {
                let child = tree.child(parent, &name);
                let stored = child.and_then(|child| tree.get(child).ok()?.object()?.state.stored());
                if stored.is_some_and(|stored| stored.id == *id)
                    && let Some(child) = child
                {
                    self.forget_entry(&mut tree, child);
                }
                self.shows_again(&mut tree, parent, &name);
            }
        }
        drop(guard);
        Ok(())
    }

    fn strays(&self) -> MutexGuard<'_, Vec<(String, Lost)>> {
        let all = self.shared.strays.lock();
        all.unwrap_or_else(PoisonError::into_inner)
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
    async fn undo(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::b2::{ContentSha1, FileInfo, Sha1};

    fn id(number: u32) -> FileId {
        FileId::new(&format!("4_z1_f{number}"))
    }

    fn row(number: u32, action: Action) -> FileVersion {
        FileVersion {
            action,
            id: Some(id(number)),
            name: FileName::listed("f"),
            size: 3,
            sha1: ContentSha1::Verified(Sha1([7; 20])),
            content_type: None,
            info: FileInfo::new(),
            uploaded_ms: 0,
            twins: false,
        }
    }

    fn versions(rows: &[(u32, Action)], complete: bool) -> Versions {
        let rows = rows
            .iter()
            .map(|(number, action)| row(*number, action.clone()));
        Versions {
            rows: rows.collect(),
            complete,
        }
    }

    /// Rows, what is believed in, whether they are all, and the verdict.
    type Case<'a> = (&'a [(u32, Action)], Option<u32>, bool, &'a str);

    #[test]
    fn ids_decide_who_came_between() {
        use Action::{Hide, Upload};
        let verdict = |rows: &[(u32, Action)], believed: Option<u32>, complete| {
            // Numbers from 100 on are versions of this mount.
            let own = |one: &FileId| (100..200).any(|number| *one == id(number));
            match between(
                &versions(rows, complete),
                &id(100),
                &believed.map(id).into_iter().collect::<Vec<_>>(),
                own,
            ) {
                Between::Nothing => "nothing".to_owned(),
                Between::Theirs(row) => row.id.expect("an id").to_string(),
                Between::Removed => "removed".to_owned(),
                Between::Farther => "farther".to_owned(),
            }
        };
        let cases: &[Case<'_>] = &[
            (&[(100, Upload), (1, Upload)], Some(1), true, "nothing"),
            (
                &[(100, Upload), (2, Upload), (1, Upload)],
                Some(1),
                true,
                "4_z1_f2",
            ),
            (
                &[(100, Hide), (101, Upload), (1, Upload)],
                Some(1),
                true,
                "nothing",
            ),
            (
                &[(100, Upload), (2, Hide), (1, Upload)],
                Some(1),
                true,
                "removed",
            ),
            (&[(100, Upload)], Some(1), true, "removed"),
            (&[(100, Upload)], None, true, "nothing"),
            (&[(100, Upload), (2, Upload)], None, true, "4_z1_f2"),
            (&[(100, Upload), (101, Upload)], Some(1), false, "farther"),
            (
                &[(2, Upload), (100, Upload), (1, Upload)],
                Some(1),
                true,
                "nothing",
            ),
            (&[(2, Upload), (1, Upload)], Some(1), true, "nothing"),
        ];
        for (rows, believed, complete, wanted) in cases {
            assert_eq!(
                verdict(rows, *believed, *complete),
                *wanted,
                "{rows:?} {believed:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_version_is_lost_only_if_everything_agrees(nonce: u64, other: u64, size in 0u64..5, same: bool) {
            let mut info = FileInfo::from([("mode".to_owned(), "100600".to_owned())]);
            Stamp::change(&mut info, |stamp| stamp.nonce = Some(nonce));
            let lost = Lost { id: None, size: Some(size), sha1: Some(Sha1([7; 20])), info: info.clone() };
            let mut row = row(1, Action::Upload);
            row.info = info;
            prop_assert_eq!(is_lost(&row, &lost), size == 3);
            if !same {
                Stamp::change(&mut row.info, |stamp| stamp.nonce = Some(other));
                prop_assert_eq!(is_lost(&row, &lost), size == 3 && nonce == other);
            }
            row.action = Action::Hide;
            prop_assert!(!is_lost(&row, &lost));
        }
    }
}
