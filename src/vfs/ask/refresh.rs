//! Listings that are about to expire are asked for again while they still hold.
//!
//! Somebody who comes back to the same places never waits for B2 then. It costs a call only where
//! somebody has come in the last quarter of a listing's life; the kernel is told to ask again by then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;

use crate::vfs::{Ino, Vfs};

/// With `metadata_ttl: 0`, how long what was seen of an open file holds.
const MOMENT: Duration = Duration::from_secs(1);

/// Of the time that a listing holds, the last part in which it is asked for again.
pub(in crate::vfs) fn late(ttl: Duration) -> Duration {
    ttl / 4
}

/// How long the kernel may believe what holds so much longer.
pub(in crate::vfs) fn kernel_ttl(left: Duration, ttl: Duration) -> Duration {
    let late = late(ttl);
    // In the end it is being asked for: soon there is more to tell.
    let until = left.saturating_sub(late);
    if until.is_zero() {
        left.min(late / 8)
    } else {
        until
    }
}

impl Vfs {
    /// Somebody has used what is known of a directory: asks for it anew when it is about to expire.
    ///
    /// A large directory is left to its readers, and so are many neighbours at once: a walk fetches
    /// them in larger pages.
    pub(in crate::vfs) fn refresh_soon(&self, dir: Ino) {
        let ttl = self.settings().metadata_ttl;
        let wanted = || {
            let now = Instant::now();
            let mut tree = self.tree();
            let parent = tree.get(dir).ok()?.parent;
            let here = tree.dir(dir).ok()?;
            let age = now.saturating_duration_since(here.listed()?);
            if here.large || here.refreshing || age + late(ttl) < ttl || age >= ttl {
                return None;
            }
            if dir != Ino::ROOT {
                let again = &mut tree.usage_mut(parent).ok()?.asked_again;
                again.note(dir, now);
                if again.often() {
                    return None;
                }
            }
            tree.path(dir)?;
            tree.dir_mut(dir).ok()?.refreshing = true;
            Some(())
        };
        if wanted().is_none() {
            return;
        }
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            // Whoever asks when it has expired is told by his own call what went wrong.
            if let Err(error) = vfs.ensure_first_page(dir).await {
                debug!("not asked for again: {error}");
            }
            if let Ok(dir) = vfs.tree().dir_mut(dir) {
                dir.refreshing = false;
            }
        });
    }

    /// Somebody asks for the size of a file that is open here, a `tail -f` say: it may have grown at the other end since it
    /// was asked for. Nobody waits for that, for what is open is there whatever has become of its name: the kernel is told.
    pub(in crate::vfs) fn look_for_growth(&self, ino: Ino) {
        let ttl = self.settings().metadata_ttl.max(MOMENT);
        let place = {
            let tree = self.tree();
            let Ok(node) = tree.get(ino) else { return };
            let quiet = node.writers() == 0 && !node.content_dirty();
            let fresh = !tree.fresh_for(ino, ttl, Instant::now()).is_zero();
            if !quiet || fresh {
                return;
            }
            (node.parent, Arc::clone(&node.name))
        };
        if !self.shared.followed.lock().insert(ino) {
            return;
        }
        let vfs = self.clone();
        self.shared.runtime.spawn(async move {
            if let Err(error) = vfs.ensure_name(place.0, &place.1).await {
                debug!("whether an open file has grown is not known: {error}");
            }
            vfs.shared.followed.lock().remove(&ino);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_comes_back_before_the_end() {
        let ttl = Duration::from_secs(32);
        let kernel = |left| kernel_ttl(Duration::from_secs(left), ttl).as_secs();
        assert_eq!(kernel(32), 24);
        assert_eq!(kernel(20), 12);
        assert_eq!(kernel(5), 1);
        assert_eq!(kernel(0), 0);
        assert_eq!(kernel_ttl(Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
