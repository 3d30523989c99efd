//! Purging: every version of a removed name that was seen before it went, and never another one.
//!
//! The name is hidden first, so that whatever happens in between it stays removed; then what was seen goes, the
//! oldest first, several at once; at last the hide marker, if nothing else is left. A version that an open file
//! still reads, or an unsent copy refers to, stays until the last close, or until the end of the mount.

use futures_util::{StreamExt as _, stream};
use log::warn;

use super::between::is_lost;
use super::removal::Leaving;
use crate::b2::{Action, ErrorKind, FileId, FileName, FileVersion};
use crate::vfs::ask::look::Hurry;
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
}

impl Purge {
    /// What it weighs among those that wait: its versions, and itself.
    pub(in crate::vfs) fn weight(&self) -> usize {
        1 + self.left.len()
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
        leaving: &Leaving,
        hurry: Hurry,
    ) -> Result<(), Error> {
        let seen = self.look_at_all(full, hurry).await?;
        let own = |row: &FileVersion| {
            let by_id = row.id.as_ref().is_some_and(|id| self.shared.io.is_own(id));
            by_id || leaving.lost.iter().any(|lost| is_lost(row, lost))
        };
        let believed = leaving.believed.as_ref().and_then(|id| seen.position(id));
        let above = &seen.rows[..believed.unwrap_or(seen.rows.len())];
        let top = seen.rows.first();
        if let Some(top) = top.filter(|_| !above.is_empty())
            && top.action == Action::Upload
            && !own(top)
        {
            return Err(Error::Stale);
        }
        let mut left: Vec<FileId> = match believed {
            Some(at) => seen.rows[at..]
                .iter()
                .rev()
                .filter_map(|row| row.id.clone())
                .collect(),
            None => Vec::new(),
        };
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
        };
        let free = |id: &FileId| !self.is_read(id) && !self.is_held(id);
        if !(alone && purge.left.iter().all(free))
            && top.is_some_and(|top| top.action == Action::Upload)
        {
            let leaving = Leaving {
                seen: purge.left.clone(),
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
                let leaving = Leaving {
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
                self.purge_later(purge);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a version of a hidden name when nobody reads it any more.
    pub(in crate::vfs) fn purge_after_reading(&self, full: &str, id: &FileId) {
        self.purge_later(Purge {
            full: full.to_owned(),
            marker: None,
            left: vec![id.clone()],
        });
        self.resume_purges();
    }

    /// `all`: also what is still read, for the mount ends.
    async fn go_on_purging(&self, mut purge: Purge, all: bool) -> Result<Ended, Error> {
        let (kept, gone): (Vec<FileId>, Vec<FileId>) = std::mem::take(&mut purge.left)
            .into_iter()
            .partition(|id| self.is_held(id) || (!all && self.is_read(id)));
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
                Ok(()) => {}
                Err(error) if matches!(error.kind, ErrorKind::Locked | ErrorKind::AccessDenied) => {
                    warn!("{:?}: hidden instead of purged: {error}", purge.full);
                    return Ok(Ended::Refused);
                }
                Err(error) if purge.marker.is_none() => return Err(error.into()),
                Err(_) => purge.left.push(id),
            }
        }
        if !purge.left.is_empty() {
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

    /// A file was closed: versions that waited for it may go.
    pub(in crate::vfs) fn resume_purges(&self) {
        let free = |id: &FileId| !self.is_held(id) && !self.is_read(id);
        let ready = self.shared.purges.take(|purge| purge.left.iter().any(free));
        for purge in ready {
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
                warn!("{full:?} stays hidden in the bucket, it could not be purged yet: {error}");
                self.purge_later(before);
            }
        }
    }

    /// A purge goes on at the next last close, or at the end of the mount; where too many wait, the oldest is given up.
    fn purge_later(&self, purge: Purge) {
        for oldest in self.shared.purges.add(purge) {
            warn!(
                "{:?} stays hidden in the bucket with {} of its versions: too many wait to be purged",
                self.within(&oldest.full),
                oldest.left.len()
            );
        }
    }

    /// Whether an unsent copy refers to a version; then the purge goes on when it is stored.
    fn is_held(&self, id: &FileId) -> bool {
        let shared = std::sync::Arc::downgrade(&self.shared);
        self.shared.io.when_free(id, move || {
            if let Some(shared) = shared.upgrade() {
                // Called wherever the last hold ends: the locks are taken elsewhere.
                let runtime = shared.runtime.clone();
                runtime.spawn(async move { Self { shared }.resume_purges() });
            }
        })
    }
}
