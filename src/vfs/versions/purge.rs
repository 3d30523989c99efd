//! Purging: every version of a removed name that was seen before it went, and never another one.
//!
//! The name is hidden first, so that whatever happens in between it stays removed; then what was seen goes, the
//! oldest first, several at once; at last the hide marker, if nothing else is left. A version that an open file
//! still reads, or an unsent copy refers to, stays until the last close, or until the end of the mount.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use log::{debug, warn};

use super::between::{Between, is_lost};
use super::checks::Chain;
use super::removal::Outgoing;
use super::supersede::Act;
use crate::b2::{Action, ErrorKind, FileId, FileName, FileVersion};
use crate::vfs::ask::look::{Hurry, Versions};
use crate::vfs::{Error, Vfs};

/// Deletions of one purge at once.
const AT_ONCE: usize = 32;

/// What is left to do of a purge.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Purge {
    full: String,
    /// Our hide marker, which goes last.
    marker: Option<FileId>,
    /// What was seen, the oldest first.
    left: Vec<FileId>,
    /// What could not be deleted, though nobody reads it.
    failed: Vec<FileId>,
    /// The version that has replaced what goes, which shall not show again: it goes only while that lies above it.
    over: Option<FileId>,
    /// That was seen a moment ago.
    over_seen: bool,
    /// What goes was made in the middle of writing, or lives on in what has replaced it.
    twin: bool,
}

impl Purge {
    /// What it weighs among those that wait: its versions, and itself.
    pub(in crate::vfs) fn weight(&self) -> usize {
        1 + self.left.len() + self.failed.len()
    }

    /// The versions whose last close it waits for.
    pub(super) fn waits_for(&self) -> &[FileId] {
        &self.left
    }

    /// It waits for nobody, but for the end of the mount.
    fn at_the_end(mut self) -> Self {
        self.over_seen = false;
        self.failed.append(&mut self.left);
        self
    }
}

/// How a purge ended for now.
enum Ended {
    Done,
    /// Some versions are still read, or could not be deleted yet.
    Later(Purge),
    /// B2 does not let them go: they stay hidden.
    Refused,
}

impl Vfs {
    /// Removes the versions of a name from the one believed in down. `Stale`: somebody else has put a newer one
    /// above it; then nothing goes.
    pub(in crate::vfs) async fn purge(
        &self,
        full: &str,
        leaving: &Outgoing,
        hurry: Hurry,
    ) -> Result<(), Error> {
        let seen = self.look_at_all(full, hurry).await?;
        let chain = self.shared.checks.chain(full);
        if let Some((number, chain)) = &chain {
            self.settle_before_purge(*number, chain, &seen).await?;
        }
        let made = |id: &FileId| chain.as_ref().is_some_and(|(_, chain)| chain.made(id));
        let own = |row: &FileVersion| {
            let id = row.id.as_ref();
            let by_id = id.is_some_and(|id| self.shared.io.is_own(id) || made(id));
            by_id || leaving.lost.iter().any(|lost| is_lost(row, lost))
        };
        let believed = leaving.believed.as_ref().and_then(|id| seen.position(id));
        if let Some(id) = leaving.believed.as_ref().filter(|_| believed.is_none())
            && self.has_version(id, full).await?
        {
            return self.purge_unlisted(full, id, leaving, hurry).await;
        }
        let (above, below) = seen.rows.split_at(believed.unwrap_or(seen.rows.len()));
        let top = seen.rows.first();
        if let Some(top) = top.filter(|_| !above.is_empty())
            && top.action == Action::Upload
            && !own(top)
        {
            return Err(Error::Stale);
        }
        let seen_down_to = match &chain {
            Some((_, chain)) => unseen_below(&chain.top.believed, below, own),
            None => below.len(),
        };
        // Of what was renamed, the newest may be what another client put over a version of this mount.
        let over_ours = leaving.renamed && below.first().is_some_and(|top| !own(top));
        let stays = |row: &FileVersion| {
            let contested = row
                .id
                .as_ref()
                .is_some_and(|id| self.shared.contested.has(id));
            contested || over_ours && row.action == Action::Upload && own(row)
        };
        let seen_down_to = below[..seen_down_to]
            .iter()
            .position(stays)
            .unwrap_or(seen_down_to);
        if seen_down_to < below.len() {
            warn!(
                "{:?}: another client has written it meanwhile; what was covered by that stays, hidden, with what is older",
                self.within(full)
            );
        }
        let going = below[..seen_down_to].iter().rev();
        let mut left: Vec<FileId> = going.filter_map(|row| row.id.clone()).collect();
        left.extend(
            above
                .iter()
                .rev()
                .filter(|row| own(row))
                .filter_map(|row| row.id.clone()),
        );
        let alone = left.len() == 1 && seen.rows.len() == 1;
        let mut purge = Purge {
            full: full.to_owned(),
            marker: None,
            left,
            failed: Vec::new(),
            over: None,
            over_seen: false,
            twin: false,
        };
        let free = |id: &FileId| !self.is_read(id) && !self.shared.io.is_held(id);
        if !(alone && purge.left.iter().all(free))
            && top.is_some_and(|top| top.action == Action::Upload)
        {
            let seen = seen.rows.iter().filter_map(|row| row.id.clone()).collect();
            let leaving = Outgoing {
                seen,
                twin: None,
                ..leaving.clone()
            };
            purge.marker = self.hide(full, &leaving, hurry).await?;
        }
        match self.go_on_purging(purge.clone(), false).await {
            Ok(Ended::Done) => Ok(()),
            Ok(Ended::Refused) if purge.marker.is_some() => Ok(()),
            Ok(Ended::Refused) => {
                let seen = seen.rows.iter().filter_map(|row| row.id.clone()).collect();
                let leaving = Outgoing {
                    seen,
                    twin: None,
                    ..leaving.clone()
                };
                self.hide(full, &leaving, hurry).await.map(drop)
            }
            Ok(Ended::Later(rest)) => {
                self.purge_later(rest);
                Ok(())
            }
            // Gone it is, all the same: the rest is tried again at the end.
            Err(_) if purge.marker.is_some() => {
                self.purge_later(purge.at_the_end());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// B2 has the version believed in, but does not list it yet: the name is hidden, and the version goes later.
    async fn purge_unlisted(
        &self,
        full: &str,
        id: &FileId,
        leaving: &Outgoing,
        hurry: Hurry,
    ) -> Result<(), Error> {
        let purge = Purge {
            full: full.to_owned(),
            marker: self.hide(full, leaving, hurry).await?,
            left: Vec::new(),
            failed: vec![id.clone()],
            over: None,
            over_seen: false,
            twin: false,
        };
        self.purge_later(purge);
        Ok(())
    }

    /// What was done to the name before it goes, and not looked at: that decides first. `Stale`: another client's version
    /// is there again.
    async fn settle_before_purge(
        &self,
        number: u64,
        chain: &Chain,
        seen: &Arc<Versions>,
    ) -> Result<(), Error> {
        let full = &chain.top.full;
        self.delete_lost(&chain.top, seen).await;
        let found = self.verdict(chain, Arc::clone(seen)).await?;
        let on_top = seen.position(&chain.top.made) == Some(0);
        match found {
            Between::Theirs(theirs) if on_top && chain.top.act != Act::Content => {
                self.take_back_chain(chain, seen, Some(*theirs)).await?;
                self.shared.checks.verified(full, number);
                return Err(Error::Stale);
            }
            Between::Theirs(theirs) | Between::Under(theirs) => self.log_conflict(chain, &theirs),
            // Nothing was seen of it: the look that follows it goes on.
            Between::Unlisted => return Ok(()),
            _ => {}
        }
        self.shared.checks.verified(full, number);
        Ok(())
    }

    /// Deletes a version of a hidden name when nobody reads it any more.
    pub(in crate::vfs) fn purge_after_reading(&self, full: &str, id: &FileId) {
        self.purge_later(Purge {
            full: full.to_owned(),
            marker: None,
            left: vec![id.clone()],
            failed: Vec::new(),
            over: None,
            over_seen: false,
            twin: true,
        });
    }

    /// Deletes a version that was just seen to lie under the one that has replaced it; where somebody still reads it, when nobody
    /// does any more, and after another look.
    pub(super) fn purge_under(&self, full: &str, id: &FileId, over: &FileId) {
        let mut purge = Purge {
            full: full.to_owned(),
            marker: None,
            left: vec![id.clone()],
            failed: Vec::new(),
            over: Some(over.clone()),
            over_seen: true,
            twin: false,
        };
        if self.is_read(id) || self.shared.io.is_held(id) {
            purge.over_seen = false;
            return self.purge_later(purge);
        }
        let vfs = self.clone();
        self.delete_later(async move { vfs.purge_again(purge, false).await });
    }

    /// `all`: also what is still read, for the mount ends.
    async fn go_on_purging(&self, mut purge: Purge, all: bool) -> Result<Ended, Error> {
        let mut all_left = std::mem::take(&mut purge.failed);
        all_left.append(&mut purge.left);
        let (kept, gone): (Vec<FileId>, Vec<FileId>) = all_left
            .into_iter()
            .partition(|id| self.shared.io.is_held(id) || (!all && self.is_read(id)));
        if !gone.is_empty() && !Box::pin(self.is_still_over(&purge, &gone)).await? {
            return Ok(Ended::Done);
        }
        let name = FileName::listed(&purge.full);
        let results: Vec<(FileId, Result<(), crate::b2::Error>)> = stream::iter(gone)
            .map(|id| {
                let name = &name;
                async move {
                    let result = self.shared.client.delete_file_version(name, &id).await;
                    (id, result)
                }
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        purge.left = kept;
        for (id, result) in results {
            match result {
                Ok(()) if purge.twin || purge.over.is_some() => self.shared.refusals.none(),
                Ok(()) => {}
                Err(error) if (purge.twin || purge.over.is_some()) && is_refused(&error) => {
                    self.deletion_was_refused(&purge.full, &error);
                    return Ok(Ended::Refused);
                }
                Err(error) if is_refused(&error) => {
                    warn!("{:?}: hidden instead of purged: {error}", purge.full);
                    return Ok(Ended::Refused);
                }
                Err(error) if purge.marker.is_none() => return Err(error.into()),
                Err(_) => purge.failed.push(id),
            }
        }
        if !purge.left.is_empty() || !purge.failed.is_empty() {
            return Ok(Ended::Later(purge));
        }
        if let Some(marker) = &purge.marker {
            let rest = self.look_at_all(&purge.full, Hurry::No).await?;
            let others = rest.rows.iter().any(|row| row.action == Action::Upload);
            if others || rest.position(marker).is_none() {
                return Ok(Ended::Done); // whether what lies there shows is decided elsewhere
            }
            self.shared
                .client
                .delete_file_version(&name, marker)
                .await?;
        }
        Ok(Ended::Done)
    }

    /// Whether what has replaced them, or another version of this mount, still lies right above these versions: what another client has made visible again stays.
    async fn is_still_over(&self, purge: &Purge, gone: &[FileId]) -> Result<bool, Error> {
        let Some(over) = purge.over.as_ref().filter(|_| !purge.over_seen) else {
            return Ok(true);
        };
        let seen = self.look_at_all(&purge.full, Hurry::No).await?;
        let covered = |id| {
            let above = seen.position(id).and_then(|at| at.checked_sub(1));
            let above = above.and_then(|at| seen.rows[at].id.as_ref());
            // What has replaced it may have been replaced in its turn.
            above.is_some_and(|above| above == over || self.shared.io.is_own(above))
        };
        Ok(gone.iter().all(covered))
    }

    /// A file was closed, or something stored: what waited for that version may go.
    pub(in crate::vfs) fn resume_purges(&self, id: &FileId) {
        let purges = &self.shared.purges;
        if !purges.any_for(id) || self.shared.io.is_held(id) || self.is_read(id) {
            return;
        }
        for purge in purges.take(id) {
            let vfs = self.clone();
            self.delete_later(async move { vfs.purge_again(purge, false).await });
        }
    }

    /// The mount ends: nobody reads any more.
    pub(in crate::vfs) async fn finish_purges(&self) {
        let all = self.shared.purges.take_all();
        stream::iter(all)
            .for_each_concurrent(AT_ONCE, |purge| self.purge_again(purge, true))
            .await;
    }

    async fn purge_again(&self, purge: Purge, all: bool) {
        let full = purge.full.clone();
        let before = purge.clone();
        match self.go_on_purging(purge, all).await {
            Ok(Ended::Done | Ended::Refused) => {}
            Ok(Ended::Later(rest)) => self.purge_later(rest),
            Err(error) => {
                if before.over.is_some() {
                    debug!("{full:?}: a replaced version stays for now: {error}");
                } else {
                    warn!(
                        "{full:?} stays hidden in the bucket, it could not be purged yet: {error}"
                    );
                }
                self.purge_later(before.at_the_end());
            }
        }
    }

    /// A purge goes on at the last close of a version, or at the end of the mount; where too many wait, the oldest is
    /// given up.
    fn purge_later(&self, mut purge: Purge) {
        purge.over_seen = false;
        let waits_for = purge.left.clone();
        for oldest in self.shared.purges.add(purge) {
            warn!(
                "{:?} stays hidden in the bucket with {} of its versions: too many wait to be purged",
                self.within(&oldest.full),
                oldest.weight() - 1
            );
        }
        for id in waits_for {
            self.wake_when_stored(&id);
            // It may have been closed a moment ago.
            self.resume_purges(&id);
        }
    }

    /// While an unsent copy refers to a version, sees to it that its purges go on when that is stored.
    fn wake_when_stored(&self, id: &FileId) {
        let io = &self.shared.io;
        if !io.is_held(id) || !self.shared.purges.watch(id) {
            return;
        }
        let (shared, freed) = (Arc::downgrade(&self.shared), id.clone());
        let held = io.when_free(id, move || {
            if let Some(shared) = shared.upgrade() {
                // Called wherever the last hold ends: the locks are taken elsewhere.
                let runtime = shared.runtime.clone();
                runtime.spawn(async move {
                    shared.purges.unwatch(&freed);
                    Self { shared }.resume_purges(&freed);
                });
            }
        });
        if !held {
            self.shared.purges.unwatch(id);
        }
    }
}

/// Whether B2 will not let it go, however often it is asked.
fn is_refused(error: &crate::b2::Error) -> bool {
    matches!(error.kind, ErrorKind::Locked | ErrorKind::AccessDenied)
}

/// How many of the rows under what was done unseen were there when somebody last looked, or are this mount's own: all
/// of them, or down to the first one of others above what was verified.
fn unseen_below(
    verified: &[FileId],
    rows: &[FileVersion],
    own: impl Fn(&FileVersion) -> bool,
) -> usize {
    for (at, row) in rows.iter().enumerate() {
        let known = row.id.as_ref().is_some_and(|id| verified.contains(id));
        // What was believed free was removed by somebody.
        if known || (verified.is_empty() && row.action == Action::Hide && !own(row)) {
            break;
        }
        if row.action == Action::Upload && !own(row) {
            return at;
        }
    }
    rows.len()
}
