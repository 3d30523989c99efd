//! Who waits for removals, and what is said of those that have failed.

use crate::vfs::names::leaving::{Failed, Leaving};
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::versions::supersede::is_right_in;
use crate::vfs::{Error, Ino, Undone, Unstored, Vfs};

impl Vfs {
    /// Waits for the removals of the names in a directory, and tells of one that has failed.
    pub(in crate::vfs) async fn removed_in(&self, dir: Ino) -> Result<(), Error> {
        let Ok(full) = self.directory_name(dir) else {
            return Ok(());
        };
        self.have_arrived_in(&full).await?;
        let failures = &self.shared.removals.failures;
        let hurrying = self.shared.moves.hurry();
        self.removals_ended(|leaving| {
            !leaving.any_in(&full, true) || failures.any_untold_in(&full)
        })
        .await;
        drop(hurrying);
        self.checks_ended_in(&full).await;
        let orphaned = self.shared.removals.orphaned_in(&full);
        for dir in &orphaned {
            self.checks_ended_in(dir).await;
        }
        let mut told = failures.tell(&full, true);
        for dir in &orphaned {
            told = told.or(failures.tell(dir, true));
        }
        if let Some(error) = told {
            return Err(error);
        }
        if self
            .shared
            .checks
            .any_failed(|name| is_right_in(name, &full))
        {
            let text =
                "it could not be seen whether what was removed had been changed by another client";
            return Err(Error::Io(text.to_owned()));
        }
        Ok(())
    }

    /// Locks names of which none is still being removed: B2 would show what has left. (A version that shows nothing when it
    /// goes is deleted without a lock.)
    pub(in crate::vfs) async fn lock_settled(&self, claims: Vec<Claim>) -> PathGuard {
        let settled = |leaving: &Leaving| {
            let mut names = leaving.names();
            !names.any(|name| claims.iter().any(|claim| claim.holds(name)))
        };
        loop {
            let guard = self.shared.paths.lock(claims.clone()).await;
            if settled(&self.tree().leaving) {
                return guard;
            }
            // They may need the lock to come to their end.
            drop(guard);
            let _hurrying = self.shared.moves.hurry();
            self.removals_ended(settled).await;
        }
    }

    /// Waits for all removals.
    pub(in crate::vfs) async fn finish_removals(&self) {
        let _hurrying = self.shared.moves.hurry();
        self.removals_ended(|leaving| leaving.under_way() == 0)
            .await;
    }

    pub(in crate::vfs) async fn removals_ended(&self, enough: impl Fn(&Leaving) -> bool) {
        loop {
            let ended = self.shared.removals.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if enough(&self.tree().leaving) {
                return;
            }
            ended.await;
        }
    }

    /// Removals and renames under way, and those that have failed without anybody being told.
    pub(in crate::vfs) fn unremoved(&self) -> Vec<Unstored> {
        let mut all = self.shared.removals.failures.untold();
        let under_way: Vec<String> = {
            let tree = self.tree();
            tree.leaving.names().map(str::to_owned).collect()
        };
        let mut renames = Vec::new();
        for name in under_way {
            if let Some((to, failed)) = self.shared.moves.renamed_to(&name) {
                all.retain(|failed| failed.full != name && failed.full != to);
                renames.push(Unstored {
                    path: self.within(&name).to_owned(),
                    what: Undone::Rename(self.within(&to).to_owned()),
                    error: failed.map_or_else(String::new, |failed| failed.text),
                });
            } else if !all.iter().any(|failed| failed.full == name) {
                all.push(Failed {
                    full: name,
                    renamed_to: None,
                    error: String::new(),
                });
            }
        }
        let over = all.into_iter().map(|failed| Unstored {
            path: self.within(&failed.full).to_owned(),
            what: failed.renamed_to.map_or(Undone::Removal, |to| {
                Undone::Refused(self.within(&to).to_owned())
            }),
            error: failed.error,
        });
        renames.extend(over);
        renames
    }
}
