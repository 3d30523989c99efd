//! Locks on names in the bucket: changes of one name happen one after another.
//!
//! A commit, an unlink and a rename of the same name must not overlap, or the order in which B2
//! sees them would be left to chance; and while a directory is renamed nothing below it may change.
//! Held across calls to B2; therefore never held together with a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The names that are locked now.
#[derive(Debug, Default)]
pub(super) struct PathLocks {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    names: BTreeMap<String, Holder>,
    /// How many of them stand for all that is below.
    subtrees: usize,
}

#[derive(Debug)]
struct Holder {
    subtree: bool,
    /// Told when it is free: only those wait here whom it stands in the way.
    freed: Arc<Notify>,
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
}

impl Held {
    /// Whoever stands in the way of a claim.
    fn against(&self, claim: &Claim) -> Option<&Holder> {
        let same = self.names.get(&claim.name);
        same.or_else(|| self.above(&claim.name)).or_else(|| {
            let below = self.names.range(claim.name.clone()..).next();
            below
                .filter(|(name, _)| claim.subtree && name.starts_with(&claim.name))
                .map(|(_, holder)| holder)
        })
    }

    /// Whoever holds a directory that a name lies below.
    fn above(&self, name: &str) -> Option<&Holder> {
        if self.subtrees == 0 {
            return None;
        }
        let ends = name.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0)
            .chain(ends)
            .filter_map(|end| self.names.get(&name[..end]))
            .find(|holder| holder.subtree)
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
    pub(super) async fn lock(self: &Arc<Self>, mut claims: Vec<Claim>) -> PathGuard {
        claims.dedup();
        loop {
            let in_the_way = {
                let mut held = self.held();
                let holder = claims.iter().find_map(|claim| held.against(claim));
                let Some(holder) = holder else {
                    for claim in &claims {
                        let holder = Holder {
                            subtree: claim.subtree,
                            freed: Arc::default(),
                        };
                        held.subtrees += usize::from(claim.subtree);
                        held.names.insert(claim.name.clone(), holder);
                    }
                    return PathGuard {
                        locks: Arc::clone(self),
                        claims,
                    };
                };
                // Registered under the lock, so that a release in between is not missed.
                Arc::clone(&holder.freed).notified_owned()
            };
            in_the_way.await;
        }
    }

    /// Whether a directory that the name lies below is locked as a whole, which may take long.
    pub(super) fn locked_above(&self, name: &str) -> bool {
        self.held().above(name).is_some()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        let mut held = self.locks.held();
        for claim in &self.claims {
            if let Some(holder) = held.names.remove(&claim.name) {
                held.subtrees -= usize::from(holder.subtree);
                holder.freed.notify_waiters();
            }
        }
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
