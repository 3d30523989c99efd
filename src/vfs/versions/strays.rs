//! Copies that may have been made although their renames have failed: where one was, it goes again.
//!
//! Whoever asked was told that nothing was renamed, so nobody here knows of such a copy (`Shared::strays`). It is looked
//! for until B2 answers, and once more at the end of the mount; nonce, size, SHA-1 and all info decide (`is_lost`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{debug, warn};

use super::between::is_lost;
use crate::b2::{Action, ErrorKind, FileName, Lost};
use crate::vfs::ask::look::Hurry;
use crate::vfs::kept::Kept;
use crate::vfs::pathlock::Claim;
use crate::vfs::{Error, Vfs};

/// Copies that may have been made.
#[derive(Debug)]
pub(in crate::vfs) struct Strays {
    waiting: Kept<(String, Lost)>,
    /// A task looks for them,
    served: AtomicBool,
    /// and has not begun anew since one was added.
    added: AtomicBool,
}

impl Default for Strays {
    fn default() -> Self {
        Self {
            waiting: Kept::new(|_| 1),
            served: AtomicBool::new(false),
            added: AtomicBool::new(false),
        }
    }
}

impl Strays {
    /// How many are not looked for any more, because there were too many.
    pub(in crate::vfs) fn given_up(&self) -> u64 {
        self.waiting.given_up()
    }
}

impl Vfs {
    /// A call that should have made a copy under a name may have done so: where it has, the copy goes again, as soon as
    /// B2 answers.
    pub(in crate::vfs) fn forget_copy_later(&self, full: &str, lost: Lost) {
        self.keep_stray(full.to_owned(), lost);
        let strays = &self.shared.strays;
        strays.added.store(true, Ordering::SeqCst);
        if !strays.served.swap(true, Ordering::SeqCst) {
            let vfs = self.clone();
            self.shared
                .runtime
                .spawn(async move { vfs.look_for_copies().await });
        }
    }

    fn keep_stray(&self, full: String, lost: Lost) {
        for (oldest, _) in self.shared.strays.waiting.add((full, lost)) {
            warn!(
                "{:?}: whether a rename that failed has left a copy there is not looked at any more: too many wait",
                self.within(&oldest)
            );
        }
    }

    /// Looks for them again and again, later each time.
    async fn look_for_copies(&self) {
        const FIRST: Duration = Duration::from_secs(2);
        /// Longer ones tell nothing: the end of the mount does.
        const TRIES: u32 = 8;
        let strays = &self.shared.strays;
        loop {
            let mut attempt = 0;
            while attempt < TRIES && !strays.waiting.is_empty() {
                tokio::time::sleep(FIRST * (1 << attempt)).await;
                let added = strays.added.swap(false, Ordering::SeqCst);
                attempt = if added { 0 } else { attempt + 1 };
                self.forget_copies().await;
            }
            strays.served.store(false, Ordering::SeqCst);
            let again = strays.added.load(Ordering::SeqCst) && !strays.waiting.is_empty();
            if !again || strays.served.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Looks for the copies that may have been made, once.
    pub(in crate::vfs) async fn forget_copies(&self) {
        let all = self.shared.strays.waiting.take_all();
        for (full, lost) in all {
            match self.forget_copy(&full, &lost).await {
                Ok(()) => {}
                Err(error) => {
                    debug!("{full:?}: whether a copy was made there is not known yet: {error}");
                    self.keep_stray(full, lost);
                }
            }
        }
    }

    async fn forget_copy(&self, full: &str, lost: &Lost) -> Result<(), Error> {
        let guard = self.shared.paths.lock(vec![Claim::name(full)]).await;
        let seen = self.look_at_all(full, Hurry::Yes).await?;
        // The oldest first: what lies under the newest never shows.
        for (at, row) in seen.rows.iter().enumerate().rev() {
            let Some(id) = row.id.as_ref().filter(|_| is_lost(row, lost)) else {
                continue;
            };
            if at > 0 {
                let name = FileName::listed(full);
                match self.shared.client.delete_file_version(&name, id).await {
                    // It does not show.
                    Err(error)
                        if !matches!(error.kind, ErrorKind::Locked | ErrorKind::AccessDenied) =>
                    {
                        return Err(error.into());
                    }
                    _ => continue,
                }
            }
            // Where it must not be deleted, what it covers comes on top, or the name is hidden.
            let under = seen.rows.iter().find(|row| !is_lost(row, lost));
            let under = under.filter(|row| row.action == Action::Upload);
            self.undo(full, id, under).await?;
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
}
