//! Names that the user is warned of, because Linux cannot show them, something hides them, or they cannot be read.

use parking_lot::Mutex;
use std::collections::HashSet;

use log::warn;

use crate::vfs::Names;

/// Names that were warned of, so that each is named once.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Warned(Mutex<HashSet<String>>);

impl Warned {
    /// Most names remembered; beyond that nothing more is said.
    const MAX: usize = 10_000;

    pub(in crate::vfs) fn unshowable(&self, name: &str, names: Names) {
        let mut set = self.0.lock();
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            let hint = match names {
                Names::Refuse => "",
                Names::Encode => ", or with names: encode another name is shown so",
            };
            warn!("{name:?}: Linux cannot show this name{hint}; it is left alone");
        }
    }

    pub(in crate::vfs) fn customer_key(&self, name: &str) {
        let mut set = self.0.lock();
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!(
                "{name:?} is encrypted with a customer's key (SSE-C), which b2fuse does not have"
            );
        }
    }

    pub(in crate::vfs) fn shadowed(&self, name: &str) {
        let mut set = self.0.lock();
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!("{name:?}: a directory of the same name hides this file; it is left alone");
        }
    }
}
