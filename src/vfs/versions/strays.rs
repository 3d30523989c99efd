//! Copies that may have been made although their renames have failed: where one was, it goes again.
//!
//! Whoever asked was told that nothing was renamed, so nobody here knows of such a copy (`Shared::strays`). It is looked
//! for until B2 answers, and once more at the end of the mount; nonce, size, SHA-1 and all info decide (`is_lost`).

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use log::debug;

use super::between::is_lost;
use crate::b2::{FileName, Lost};
use crate::vfs::ask::look::Hurry;
use crate::vfs::pathlock::Claim;
use crate::vfs::{Error, Vfs};

impl Vfs {
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
}
