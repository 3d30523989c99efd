//! Other clients' versions that contents of this mount have covered, and those shown here that others have covered
//! before they were renamed with their directory: nobody here has decided that they may go.
//!
//! They are in the log, and a purge of their names leaves them, hidden, with what is older. Where they are too many to
//! be kept in mind, the oldest are forgotten, and go with what was seen.

use parking_lot::{Mutex, MutexGuard};

use hashlink::LruCache;

use crate::b2::FileId;
use crate::vfs::kept::Kept;

/// Versions that a purge leaves.
#[derive(Debug)]
pub(in crate::vfs) struct Contested {
    all: Mutex<LruCache<FileId, ()>>,
}

impl Default for Contested {
    fn default() -> Self {
        Self {
            all: Mutex::new(LruCache::new(Kept::<FileId>::MOST)),
        }
    }
}

impl Contested {
    fn all(&self) -> MutexGuard<'_, LruCache<FileId, ()>> {
        self.all.lock()
    }

    /// A version was covered, and nobody was shown by what.
    pub(in crate::vfs) fn add(&self, id: &FileId) {
        self.all().insert(id.clone(), ());
    }

    pub(in crate::vfs) fn has(&self, id: &FileId) -> bool {
        self.all().contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let id = |number: usize| FileId::new(&format!("4_z1_f{number}"));
        let most = Kept::<FileId>::MOST;
        let contested = Contested::default();
        for number in 0..most {
            contested.add(&id(number));
            contested.add(&id(number));
        }
        assert!(contested.has(&id(0)), "the same one twice is one");
        contested.add(&id(most));
        assert!(!contested.has(&id(0)));
        assert!(contested.has(&id(1)) && contested.has(&id(most)));
    }
}
