//! Copies of directory renames that have failed: they go again, at once or before the next rename to their name.
//!
//! Whoever asked was told that nothing was renamed. What could not be taken back is remembered with the number of its
//! rename: the next rename to that name must not take it along, for what it is a copy of may have been removed since.

use parking_lot::Mutex;

use futures_util::{StreamExt as _, stream};
use log::warn;

use super::below::Below;
use super::copies::AT_ONCE;
use crate::b2::FileVersion;
use crate::io::Stamp;
use crate::vfs::ask::look::Hurry;
use crate::vfs::pathlock::Claim;
use crate::vfs::versions::removal::Outgoing;
use crate::vfs::{Error, Vfs};

/// Renames that have left copies.
#[derive(Debug, Default)]
pub(in crate::vfs) struct FailedMoves(Mutex<Vec<FailedMove>>);

/// One of them; full names, which end with `/`.
#[derive(Debug, Clone)]
pub(super) struct FailedMove {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) number: u32,
}

/// How copies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Their sources are under the old name.
    Deleted,
    /// Nobody knows what has become of their sources: they stay as versions.
    Hidden,
}

impl FailedMoves {
    /// More of them are named in the log only.
    const MOST: usize = 1000;

    fn add(&self, failed: FailedMove) {
        let mut all = self.0.lock();
        if all.len() < Self::MOST {
            all.push(failed);
        }
    }

    fn take(&self, fits: impl Fn(&FailedMove) -> bool) -> Vec<FailedMove> {
        let mut all = self.0.lock();
        let (taken, rest) = std::mem::take(&mut *all).into_iter().partition(fits);
        *all = rest;
        taken
    }
}

impl Vfs {
    /// A rename has failed: its copies go again.
    pub(super) async fn remove_copies(&self, failed: FailedMove) {
        if let Err(error) = self.remove_copies_of(&failed, Way::Deleted).await {
            let (from, to) = (self.within(&failed.from), self.within(&failed.to));
            warn!(
                "copies of a rename from {from:?} that failed are left below {to:?}: {error}; they go before the next rename \
                 to that name, or at the end of the mount"
            );
            self.shared.failed_moves.add(failed);
        }
    }

    /// Before anything is renamed to a name, what an earlier rename has left there goes. The caller holds the path lock.
    pub(super) async fn remove_copies_left_at(&self, to: &str) -> Result<(), Error> {
        let mut result = Ok(());
        for failed in self.shared.failed_moves.take(|failed| failed.to == to) {
            if let Err(error) = self.hide_copies_of(&failed).await {
                self.shared.failed_moves.add(failed);
                result = Err(error);
            }
        }
        result
    }

    /// Hides copies, unless nothing is left under the old name: another mount may have finished the rename, and they are
    /// all there is.
    async fn hide_copies_of(&self, failed: &FailedMove) -> Result<(), Error> {
        let mut sources = Below::all(self, &failed.from).short(1);
        if sources.page().await?.is_some() {
            return self.remove_copies_of(failed, Way::Hidden).await;
        }
        let (from, to) = (self.within(&failed.from), self.within(&failed.to));
        warn!(
            "copies of a rename from {from:?} that failed stay below {to:?}: nothing is left below {from:?}, and they may \
             be all there is"
        );
        Ok(())
    }

    /// The mount ends.
    pub(in crate::vfs) async fn remove_copies_left(&self) {
        for failed in self.shared.failed_moves.take(|_| true) {
            let claims = vec![Claim::subtree(failed.to.clone())];
            let guard = self.shared.paths.lock(claims).await;
            if let Err(error) = self.hide_copies_of(&failed).await {
                let (from, to) = (self.within(&failed.from), self.within(&failed.to));
                warn!("copies of a rename from {from:?} that failed stay below {to:?}: {error}");
                self.shared.failed_moves.add(failed);
            }
            drop(guard);
        }
    }

    async fn remove_copies_of(&self, failed: &FailedMove, way: Way) -> Result<(), Error> {
        let mut copies = Below::all(self, &failed.to);
        let mut first = None;
        while let Some(mut rows) = copies.page().await? {
            rows.retain(|row| {
                let moved = Stamp::of(&row.info).moved;
                moved.is_some_and(|moved| moved.rename == failed.number)
            });
            let results: Vec<Result<(), Error>> = stream::iter(rows)
                .map(|row| async move { self.remove_copy(&row, way).await })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            first = first.or(results.into_iter().find_map(Result::err));
        }
        first.map_or(Ok(()), Err)
    }

    async fn remove_copy(&self, row: &FileVersion, way: Way) -> Result<(), Error> {
        let (full, Some(id)) = (row.name.as_str(), &row.id) else {
            return Ok(());
        };
        if way == Way::Deleted && self.delete_version(full, id).await {
            return Ok(());
        }
        let leaving = Outgoing {
            believed: Some(id.clone()),
            ..Outgoing::default()
        };
        self.hide(full, &leaving, Hurry::No).await.map(drop)
    }
}
