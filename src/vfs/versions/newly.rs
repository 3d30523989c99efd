//! Contents stored under names that were believed free: whether another client has made the same name meanwhile.
//!
//! Only files that nobody has written to give way, so the look has time: what is stored within some seconds shares a page of
//! `b2_list_file_versions` for each thousand names of a directory. Where so many pages do not show them all, since
//! much else lies between, the rest is left to whatever is done to these names next.

use std::collections::BTreeMap;
use std::time::Duration;

use log::debug;

use super::between::Between;
use super::supersede::{Deed, must_go};
use crate::vfs::ask::look::{Hurry, Versions};
use crate::vfs::pathlock::Claim;
use crate::vfs::{Error, Vfs};

/// How long new names are gathered.
const GATHER: Duration = Duration::from_secs(5);

/// New names of one page: B2 bills a call by started thousands (API §4.1).
const PAGE: usize = 1000;

impl Vfs {
    pub(super) fn check_new_later(&self, deed: Deed) {
        if !self.shared.checks.note_new(deed) {
            return;
        }
        let shared = std::sync::Arc::downgrade(&self.shared);
        self.shared.runtime.spawn(async move {
            loop {
                tokio::time::sleep(GATHER).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                let vfs = Self { shared };
                vfs.check_new().await;
                if !vfs.shared.checks.more_new() {
                    return;
                }
            }
        });
    }

    /// Looks at the names that were made since the last time.
    pub(in crate::vfs) async fn check_new(&self) {
        let mut groups: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (full, number) in self.shared.checks.new_names() {
            let dir = full.rfind('/').map_or("", |at| &full[..=at]);
            groups
                .entry(dir.to_owned())
                .or_default()
                .push((full, number));
        }
        for (dir, mut names) in groups {
            let pages = names.len().div_ceil(PAGE);
            for _ in 0..pages {
                match self.check_new_in(&dir, &names).await {
                    Ok(seen) => drop(names.drain(..seen)),
                    Err(error) => {
                        debug!(
                            "{dir:?}: whether others have made the same names is not known: {error}"
                        );
                        break;
                    }
                }
                if names.is_empty() {
                    break;
                }
            }
            self.shared.checks.unseen(&names);
        }
    }

    /// One page; tells how many of the names it has settled.
    async fn check_new_in(&self, dir: &str, names: &[(String, u64)]) -> Result<usize, Error> {
        let sorted: Vec<String> = names.iter().map(|(full, _)| full.clone()).collect();
        let (found, _) = self.look_at_page(dir, &sorted).await?;
        for (full, number) in &names[..found.len()] {
            if let Some(seen) = found.get(full) {
                self.settle_new(full, *number, seen).await;
            }
        }
        Ok(found.len())
    }

    async fn settle_new(&self, full: &str, number: u64, seen: &Versions) {
        let Some(chain) = self.shared.checks.current(full, number) else {
            return;
        };
        let found = self.between(&chain, seen);
        if must_go(&chain, &found) {
            let _guard = self.shared.paths.lock(vec![Claim::name(full)]).await;
            if let Some(checking) = self.shared.checks.look_at(full, number) {
                // Fails: it is looked at again.
                let _ = self.take_back_seen(checking, Hurry::No).await;
            }
            return;
        }
        // A list that lags behind says nothing about what others did at the same time, either.
        if self.shared.checks.verified(full, number)
            && let Between::Theirs(theirs) | Between::Under(theirs) = found
        {
            self.log_conflict(&chain, &theirs);
        }
    }
}
