//! Files that grow at the other end: versions that continue others byte for byte.
//!
//! Whoever appends names in the new version those that it continues (`Ancestors`). A file that somebody has open here, and
//! nobody writes, goes on with such a version: same inode, more bytes, so that `tail -f` and `tail -F` print each line once.
//! Any other version of an open file gets an inode of its own.

use hashlink::LruCache;
use parking_lot::Mutex;

use crate::b2::{Action, FileId, FileVersion, NewFile};
use crate::io::{Ancestors, Stamp, Version};
use crate::vfs::attr::Meta;
use crate::vfs::names::name;
use crate::vfs::names::node::{Carried, Node};
use crate::vfs::names::tree::Tree;
use crate::vfs::state::{Maker, Stored};
use crate::vfs::{FileKind, Ino, Vfs};

/// Versions whose ancestors are kept in mind.
const MOST: usize = 1024;

/// What versions made here continue.
pub(in crate::vfs) struct Lineage(Mutex<LruCache<FileId, Ancestors>>);

impl Default for Lineage {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Lineage {
    /// What a version continues that continues this one.
    pub(in crate::vfs) fn after(&self, id: &FileId) -> Ancestors {
        let mut all = self.0.lock();
        all.get(id).copied().unwrap_or_default().and(id)
    }

    /// B2 has acknowledged it.
    pub(in crate::vfs) fn made(&self, version: &FileVersion) {
        let ancestors = Stamp::of(&version.info).ancestors;
        if let (Some(id), Some(_)) = (&version.id, ancestors.last()) {
            self.0.lock().insert(id.clone(), ancestors);
        }
    }
}

/// Whether the first of these versions of a name, the newest first, continues that one. Others in between tell of what it
/// does not name itself.
pub(in crate::vfs) fn continues(rows: &[FileVersion], old: &FileId) -> bool {
    let Some((newest, below)) = rows.split_first() else {
        return false;
    };
    let mut known: Vec<u64> = Stamp::of(&newest.info).ancestors.iter().collect();
    for row in below {
        let Some(id) = row.id.as_ref().filter(|_| row.action == Action::Upload) else {
            continue;
        };
        if known.contains(&Ancestors::mark(id)) {
            known.extend(Stamp::of(&row.info).ancestors.iter());
        }
    }
    known.contains(&Ancestors::mark(old))
}

/// What a newer version means to an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Successor {
    /// It continues the one that is open.
    Continues,
    /// Perhaps: the versions in between tell.
    Perhaps,
    /// It is another content.
    Other,
}

impl Vfs {
    /// What is to be stored continues a version: says so, as far as there is room.
    pub(in crate::vfs) fn continues(&self, id: &FileId, target: &mut NewFile) {
        let ancestors = self.shared.lineage.after(id);
        let spare = name::spare(target.name.as_str(), &target.info);
        Stamp::change(&mut target.info, |stamp| {
            stamp.ancestors = ancestors.within(spare);
        });
    }

    /// Whether a file that is open here goes on with a newer version of its name.
    pub(in crate::vfs) fn successor(node: &Node, row: &FileVersion) -> Successor {
        let Some(old) = pinned(node).filter(|old| row.size >= old.size) else {
            return Successor::Other;
        };
        let ancestors = Stamp::of(&row.info).ancestors;
        if ancestors.has(&old.id) {
            Successor::Continues
        } else if ancestors.last().is_some() {
            Successor::Perhaps
        } else {
            Successor::Other
        }
    }

    /// Goes on with a version that continues this one; false where that cannot be.
    pub(in crate::vfs) fn has_grown(&self, tree: &mut Tree, ino: Ino, row: &FileVersion) -> bool {
        let theirs = Meta::of_version(row, self.settings());
        let carried = Carried::of_version(row, self.settings());
        let (Some(stored), Ok(node)) = (Stored::of(row, Maker::Other), tree.get_mut(ino)) else {
            return false;
        };
        let Some(old) = pinned(node).map(|old| old.id.clone()) else {
            return false;
        };
        if theirs.kind != FileKind::File {
            return false;
        }
        let mine = node.meta;
        let before = node.carried().cloned().unwrap_or_default();
        let Some(object) = node.object_mut() else {
            return false;
        };
        let version = Version {
            id: stored.id.clone(),
            size: stored.size,
            sha1: stored.sha1(),
        };
        let grown = object.content.as_ref();
        if !grown.is_some_and(|content| content.has_grown(&old, &version)) {
            return false;
        }
        let delta = object.state.give_up_attributes();
        let meta = delta.applied(&mine, &theirs);
        let pending = !delta.is_empty();
        object.carried = Some(carried.with_changes(&delta, &before));
        object.state.taken(stored);
        object.state.owe(delta);
        object.kernel_behind = true;
        node.meta = meta;
        if pending {
            tree.note_pending(ino);
        }
        self.shared.lineage.made(row);
        self.shared.forgets.inode(ino);
        true
    }
}

/// The version that an open file shows, to which nobody writes.
fn pinned(node: &Node) -> Option<&Stored> {
    let quiet = node.meta.kind == FileKind::File
        && node.opens > 0
        && node.writers() == 0
        && !node.content_dirty();
    node.object().filter(|_| quiet)?.state.stored()
}
