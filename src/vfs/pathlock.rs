//! Locks on names in the bucket: changes of one name happen one after another.
//!
//! A commit, an unlink and a rename of the same name must not overlap, or the order in which B2
//! sees them would be left to chance; and while a directory is renamed nothing below it may change.
//! Held across calls to B2; therefore never held together with a mutex.
//!
//! First come, first served: who removes a directory is not overtaken for ever by those who change
//! what is in it. So nobody who holds a name may wait for another.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use tokio::sync::Notify;

/// The names that are locked now, and who waits for which.
#[derive(Debug, Default)]
pub(super) struct PathLocks {
    names: Mutex<Names>,
    changed: Notify,
    /// Somebody has begun to wait.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Names {
    held: Vec<Claim>,
    /// In the order of arrival.
    waiting: Vec<(u64, Vec<Claim>)>,
    arrivals: u64,
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

    /// Whether a name is one of these; a directory's ends with `/`.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.name == name || self.subtree && name.starts_with(&self.name)
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
    pub(super) async fn lock(self: &Arc<Self>, mut claims: Vec<Claim>) -> PathGuard {
        claims.dedup();
        let place = {
            let mut names = self.names();
            if names.free(&claims, u64::MAX) {
                names.held.extend(claims.iter().cloned());
                return self.guard(claims);
            }
            names.arrivals += 1;
            let number = names.arrivals;
            names.waiting.push((number, claims.clone()));
            self.arrived.notify_waiters();
            Place {
                locks: self,
                number,
            }
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a release in between is not missed.
            changed.as_mut().enable();
            {
                let mut names = self.names();
                if names.free(&claims, place.number) {
                    names.held.extend(claims.iter().cloned());
                    drop(names);
                    return self.guard(claims);
                }
            }
            changed.await;
        }
    }

    /// Whether a directory that the name lies below is locked as a whole, which may take long.
    pub(super) fn locked_above(&self, name: &str) -> bool {
        let names = self.names();
        let mut held = names.held.iter();
        held.any(|claim| claim.subtree && name.starts_with(&claim.name))
    }

    fn guard(self: &Arc<Self>, claims: Vec<Claim>) -> PathGuard {
        PathGuard {
            locks: Arc::clone(self),
            claims,
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock()
    }
}

impl Names {
    /// Whether nobody holds any of the claims, nor has waited for one since before `number`.
    fn free(&self, claims: &[Claim], number: u64) -> bool {
        let conflict = |one: &Claim| claims.iter().any(|claim| claim.conflicts(one));
        !self.held.iter().any(conflict)
            && !self
                .waiting
                .iter()
                .take_while(|(earlier, _)| *earlier < number)
                .any(|(_, claims)| claims.iter().any(conflict))
    }
}

/// A place in the line; left when dropped.
struct Place<'a> {
    locks: &'a PathLocks,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut names = self.locks.names();
        names.waiting.retain(|(number, _)| *number != self.number);
        drop(names);
        // Those behind look again: who waits for nothing that is held may go on.
        self.locks.changed.notify_waiters();
    }
}

impl PathGuard {
    /// Frees all names but this one.
    pub(super) fn keep_only(&mut self, name: &str) {
        let (kept, freed) = std::mem::take(&mut self.claims)
            .into_iter()
            .partition(|claim| claim.name == name);
        self.claims = kept;
        self.free(&freed);
    }

    /// Frees all names.
    pub(super) fn free_all(&mut self) {
        let freed = std::mem::take(&mut self.claims);
        self.free(&freed);
    }

    /// Waits until somebody else waits for one of its names.
    pub(super) async fn wanted(&self) {
        loop {
            let arrived = self.locks.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let is_wanted = |claims: &[Claim]| {
                let mut own = self.claims.iter();
                own.any(|own| claims.iter().any(|claim| claim.conflicts(own)))
            };
            let wanted = {
                let names = self.locks.names();
                let mut waiting = names.waiting.iter();
                waiting.any(|(_, claims)| is_wanted(claims))
            };
            if wanted {
                return;
            }
            arrived.await;
        }
    }

    fn free(&self, claims: &[Claim]) {
        let mut names = self.locks.names();
        for claim in claims {
            if let Some(at) = names.held.iter().position(|one| one == claim) {
                names.held.swap_remove(at);
            }
        }
        drop(names);
        self.locks.changed.notify_waiters();
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        self.free_all();
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

    #[tokio::test]
    async fn who_comes_first_is_served_first() {
        let locks = Arc::new(PathLocks::default());
        let file = locks.lock(vec![Claim::name("d/a")]).await;
        let dir = locks.lock(vec![Claim::subtree("d/")]);
        tokio::pin!(dir);
        assert!(futures_util::poll!(dir.as_mut()).is_pending());
        // Free, but somebody waits for all of `d/`.
        let later = locks.lock(vec![Claim::name("d/b")]);
        tokio::pin!(later);
        assert!(futures_util::poll!(later.as_mut()).is_pending());
        assert!(locks.lock(vec![Claim::name("e")]).now_or_never().is_some());
        drop(file);
        assert!(futures_util::poll!(later.as_mut()).is_pending());
        let held = futures_util::poll!(dir.as_mut());
        assert!(held.is_ready() && futures_util::poll!(later.as_mut()).is_pending());
        drop(held);
        assert!(futures_util::poll!(later.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_in_nobodys_way() {
        let locks = Arc::new(PathLocks::default());
        let _file = locks.lock(vec![Claim::name("d/a")]).await;
        let mut dir = Box::pin(locks.lock(vec![Claim::subtree("d/")]));
        assert!(futures_util::poll!(dir.as_mut()).is_pending());
        let later = locks.lock(vec![Claim::name("d/b")]);
        tokio::pin!(later);
        assert!(futures_util::poll!(later.as_mut()).is_pending());
        drop(dir);
        assert!(futures_util::poll!(later.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_part_of_what_is_held_can_be_freed() {
        let locks = Arc::new(PathLocks::default());
        let mut both = locks.lock(vec![Claim::name("a"), Claim::name("b")]).await;
        both.keep_only("a");
        assert!(locks.lock(vec![Claim::name("b")]).now_or_never().is_some());
        assert!(locks.lock(vec![Claim::name("a")]).now_or_never().is_none());
        drop(both);
        assert!(locks.lock(vec![Claim::name("a")]).now_or_never().is_some());
    }
}
