//! Locks on names in the bucket: changes of one name happen one after another.
//!
//! A commit, an unlink and a rename of the same name must not overlap, or the order in which B2
//! sees them would be left to chance; and while a directory is renamed nothing below it may change.
//! Held across calls to B2; therefore never held together with a mutex.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The names that are locked now.
#[derive(Debug, Default)]
pub(super) struct PathLocks {
    held: Mutex<Vec<Claim>>,
    freed: Notify,
}

/// One name, or everything below a directory (a name that ends with `/`; the empty name is the root).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    name: String,
    subtree: bool,
}

impl Claim {
    /// One name.
    pub(super) fn name(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subtree: false,
        }
    }

    /// All names that begin with `prefix`.
    pub(super) fn subtree(prefix: impl Into<String>) -> Self {
        Self {
            name: prefix.into(),
            subtree: true,
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        (self.subtree && other.name.starts_with(&self.name))
            || (other.subtree && self.name.starts_with(&other.name))
            || self.name == other.name
    }
}

/// Frees its names when dropped.
#[derive(Debug)]
pub(super) struct PathGuard {
    locks: Arc<PathLocks>,
    claims: Vec<Claim>,
}

impl PathLocks {
    /// Waits until all the claims can be had together, so that two callers never wait for each other.
    pub(super) async fn lock(self: &Arc<Self>, claims: Vec<Claim>) -> PathGuard {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before looking, so that a release in between is not missed.
            freed.as_mut().enable();
            {
                let mut held = self.held();
                if !held
                    .iter()
                    .any(|one| claims.iter().any(|claim| claim.conflicts(one)))
                {
                    held.extend(claims.iter().cloned());
                    return PathGuard {
                        locks: Arc::clone(self),
                        claims,
                    };
                }
            }
            freed.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        let mut held = self.locks.held();
        for claim in &self.claims {
            if let Some(at) = held.iter().position(|one| one == claim) {
                held.swap_remove(at);
            }
        }
        drop(held);
        self.locks.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_name_is_held_by_one_at_a_time() {
        let locks = Arc::new(PathLocks::default());
        let first = locks.lock(vec![Claim::name("a")]).await;
        assert!(locks.lock(vec![Claim::name("a")]).now_or_never().is_none());
        assert!(locks.lock(vec![Claim::name("ab")]).now_or_never().is_some());
        let waiting = locks.lock(vec![Claim::name("b"), Claim::name("a")]);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(waiting.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_subtree_excludes_what_is_below_it() {
        let locks = Arc::new(PathLocks::default());
        let _dir = locks.lock(vec![Claim::subtree("d/")]).await;
        for name in ["d/a", "d/e/f", "d/"] {
            assert!(locks.lock(vec![Claim::name(name)]).now_or_never().is_none());
        }
        assert!(
            locks
                .lock(vec![Claim::subtree("")])
                .now_or_never()
                .is_none()
        );
        for name in ["d", "da", "e/d/a"] {
            assert!(locks.lock(vec![Claim::name(name)]).now_or_never().is_some());
        }
    }
}
