//! How many keys of file info B2 takes for an object. Older rules say ten, newer ones tell bytes only (API §5.2), so the
//! first refusal tells: from then on attributes beyond it are refused where they are set, and those that were taken before
//! are given up, so that everything else of the file is stored.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use log::warn;

use crate::b2::{self, ErrorKind, FileInfo};
use crate::io;
use crate::vfs::delta::Changed;
use crate::vfs::names::node::Node;
use crate::vfs::{Ino, Vfs, attr};

/// The most keys of info that B2 takes, as far as it has said so.
#[derive(Debug)]
pub(in crate::vfs) struct InfoKeys(AtomicUsize);

impl Default for InfoKeys {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl InfoKeys {
    /// Whether B2 would refuse an object that carries this, whatever attributes the file has besides.
    pub(in crate::vfs) fn too_many(&self, carried: &FileInfo) -> bool {
        attr::most_keys(carried) > self.0.load(Relaxed)
    }

    /// Takes what a refusal of so many keys says; the limit, if that was the reason.
    fn learn(&self, sent: usize, error: &b2::Error) -> Option<usize> {
        let most = error.most_info_keys(sent)?;
        self.0.fetch_min(most, Relaxed);
        Some(most)
    }
}

impl Vfs {
    /// Whether a call was refused for its number of keys, and attributes of this inode that B2 does not have were given up
    /// for that: then it is worth another try.
    pub(in crate::vfs) fn gave_attributes_up(
        &self,
        ino: Ino,
        sent: &FileInfo,
        error: &io::Error,
    ) -> bool {
        match error {
            io::Error::B2(error) => self.gave_up_for(ino, sent, error),
            _ => false,
        }
    }

    /// The same for an error of the client.
    pub(in crate::vfs) fn gave_up_for(&self, ino: Ino, sent: &FileInfo, error: &b2::Error) -> bool {
        let Some(most) = self.shared.info_keys.learn(sent.len(), error) else {
            return error.kind == ErrorKind::InvalidArgument && self.gave_type_up(ino, error);
        };
        let mut tree = self.tree();
        let path = tree.path(ino).unwrap_or_default();
        let Ok(node) = tree.get_mut(ino) else {
            return false;
        };
        let gone = give_up(node, sent.len().saturating_sub(most));
        if !gone.is_empty() {
            warn!(
                "{path:?}: B2 takes {most} keys of info for a file; these attributes are not stored: {}",
                gone.join(", ")
            );
        }
        !gone.is_empty()
    }
}

impl Vfs {
    /// A content type that was set here is left to B2 again: content is not to wait for one that B2 refuses, and a call
    /// that was refused for something else fails once more.
    fn gave_type_up(&self, ino: Ino, error: &b2::Error) -> bool {
        let mut tree = self.tree();
        let path = tree.path(ino).unwrap_or_default();
        let Ok(node) = tree.get_mut(ino) else {
            return false;
        };
        let mut carried = node.carried().cloned().unwrap_or_default();
        let Some(object) = node.object_mut() else {
            return false;
        };
        if !carried.chosen || !object.state.delta().has(Changed::TYPE) {
            return false;
        }
        let refused = carried.content_type.take().unwrap_or_default();
        carried.chosen = false;
        object.state.forget(Changed::TYPE);
        *node.carried_mut() = Some(carried.shared());
        warn!(
            "{path:?}: its content type {refused:?} is given up, B2 may have refused it: {error}"
        );
        true
    }
}

/// Takes the extended attributes that were set last, and B2 does not have, from a node; returns their keys.
fn give_up(node: &mut Node, excess: usize) -> Vec<String> {
    let Some(carried) = node.carried() else {
        return Vec::new();
    };
    let mut carried = carried.clone();
    let pending: Vec<String> = match node.object() {
        Some(object) => object.state.delta().keys().to_vec(),
        None => node
            .dir_mut()
            .map(|dir| dir.delta().keys().to_vec())
            .unwrap_or_default(),
    };
    let mut gone = Vec::new();
    for key in pending.into_iter().rev() {
        if gone.len() < excess && carried.info.remove(&key).is_some() {
            gone.push(key);
        }
    }
    if !gone.is_empty() {
        *node.carried_mut() = Some(carried.shared());
    }
    gone
}
