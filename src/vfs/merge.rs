//! What a row of a listing may change in the tree.
//!
//! It never undoes what this mount did after the listing began: such nodes carry a later tick, and
//! names removed meanwhile are remembered while the listing is under way (`Dir::removed`). A file
//! that is open keeps its inode and its version; a newer version in B2 gets a new inode.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::attr::{self, Meta};
use super::listing::{Covers, Flight};
use super::name::{self, Row};
use super::node::{Body, Marker, Object, Stored};
use super::tree::Tree;
use super::{FileKind, Ino, Invalidation, Vfs};
use crate::b2::{Action, FileVersion};

impl Vfs {
    pub(super) fn apply(
        &self,
        flight: &Flight,
        rows: Vec<FileVersion>,
        covers: &Covers,
        large: bool,
    ) {
        let mut tree = self.tree();
        // Renamed or removed meanwhile: the rows speak of another place.
        if tree
            .path(flight.dir)
            .map(|path| self.full(&path))
            .as_deref()
            != Some(&flight.prefix)
        {
            return;
        }
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut folders: HashSet<Arc<str>> = HashSet::new();
        let mut marker = None;
        let mut files = Vec::new();
        for row in rows {
            match name::row(row.name.as_str(), &flight.prefix) {
                Row::Marker => marker = Some(row),
                Row::Dir(component) => {
                    folders.insert(Arc::from(component));
                }
                Row::File(component) if row.action == Action::Upload => {
                    let component = Arc::from(component);
                    files.push((component, row));
                }
                Row::File(_) => {}
                Row::Unshowable => self.shared.warned.unshowable(row.name.as_str()),
            }
        }
        for component in folders.iter().cloned() {
            self.apply_folder(&mut tree, flight, &component);
            seen.insert(component);
        }
        for (component, row) in files {
            if folders.contains(&component) {
                self.shared.warned.shadowed(row.name.as_str());
                continue;
            }
            self.apply_file(&mut tree, flight, &component, &row);
            seen.insert(component);
        }
        if let Some(row) = marker {
            self.apply_marker(&mut tree, flight.dir, &row);
        }
        self.apply_absence(&mut tree, flight, &seen, covers);
        if let Ok(dir) = tree.dir_mut(flight.dir) {
            dir.large = large;
            match covers {
                Covers::All => {
                    dir.listed = Some(flight.at);
                    dir.paged = Some(flight.at);
                    dir.absent.clear();
                }
                Covers::UpTo(_) => dir.paged = Some(flight.at),
                Covers::Name(name) => {
                    if !seen.contains(name.as_str()) {
                        dir.remember_absent(name, flight.at);
                    }
                }
            }
        }
    }

    /// Whether a row of this name must be ignored because this mount changed it after the listing began.
    fn overruled(tree: &Tree, flight: &Flight, name: &str) -> bool {
        let Ok(dir) = tree.dir(flight.dir) else {
            return true;
        };
        match dir.children.get(name) {
            Some(child) => tree
                .get(*child)
                .is_ok_and(|node| node.changed > flight.began),
            None => dir
                .removed
                .as_ref()
                .is_some_and(|removed| removed.contains(name)),
        }
    }

    fn apply_folder(&self, tree: &mut Tree, flight: &Flight, name: &Arc<str>) {
        if Self::overruled(tree, flight, name) {
            return;
        }
        if let Some(child) = tree.child(flight.dir, name) {
            if tree.dir(child).is_ok() {
                if let Ok(node) = tree.get_mut(child) {
                    node.checked = Some(flight.at);
                }
                return;
            }
            if tree.newer_than(child, flight.began) {
                return;
            }
            self.forget_entry(tree, child);
        }
        let mounted = self.shared.mounted;
        let meta = Meta::default_for(FileKind::Directory, self.settings(), mounted);
        let body = Body::Dir(Box::default());
        if let Ok(ino) = tree.insert(flight.dir, Arc::clone(name), meta, body)
            && let Ok(node) = tree.get_mut(ino)
        {
            node.checked = Some(flight.at);
        }
    }

    fn apply_file(&self, tree: &mut Tree, flight: &Flight, name: &Arc<str>, row: &FileVersion) {
        if Self::overruled(tree, flight, name) {
            return;
        }
        let Some(stored) = stored_of(row, false, false) else {
            return;
        };
        let meta = Meta::of_version(row, self.settings());
        if let Some(child) = tree.child(flight.dir, name) {
            if tree.newer_than(child, flight.began) {
                return;
            }
            let Ok(node) = tree.get_mut(child) else {
                return;
            };
            node.checked = Some(flight.at);
            let (opens, kind) = (node.opens, node.meta.kind);
            if let Some(object) = node.object_mut() {
                let same = object
                    .stored
                    .as_ref()
                    .is_some_and(|old| old.id == stored.id);
                if same {
                    return;
                }
                if opens == 0 && kind == meta.kind {
                    object.stored = Some(stored);
                    object.pages_valid = false;
                    node.meta = meta;
                    self.shared.invalidations.push(Invalidation::Inode(child));
                    return;
                }
            }
            self.forget_entry(tree, child);
        }
        let object = Object {
            stored: Some(stored),
            ..Object::default()
        };
        let body = Body::Object(Box::new(object));
        if let Ok(ino) = tree.insert(flight.dir, Arc::clone(name), meta, body)
            && let Ok(node) = tree.get_mut(ino)
        {
            node.checked = Some(flight.at);
        }
    }

    fn apply_marker(&self, tree: &mut Tree, dir: Ino, row: &FileVersion) {
        let Some(id) = row.id.clone() else { return };
        let Ok(node) = tree.get_mut(dir) else { return };
        let Some(body) = node.dir_mut() else { return };
        match &body.marker {
            Marker::Wanted { .. } => {}
            Marker::Stored { id: known, .. } if *known == id => {}
            _ => {
                body.marker = Marker::Stored { id, ours: false };
                node.meta = Meta::of_marker(row, self.settings());
            }
        }
    }

    fn apply_absence(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        seen: &BTreeSet<Arc<str>>,
        covers: &Covers,
    ) {
        let Ok(dir) = tree.dir(flight.dir) else {
            return;
        };
        let gone: Vec<(Arc<str>, Ino)> = match covers {
            Covers::Name(name) => dir
                .children
                .get_key_value(name.as_str())
                .map(|(name, ino)| (Arc::clone(name), *ino))
                .into_iter()
                .collect(),
            Covers::All | Covers::UpTo(_) => dir
                .children
                .iter()
                .map(|(name, ino)| (Arc::clone(name), *ino))
                .collect(),
        };
        for (name, child) in gone {
            let covered = match covers {
                Covers::All | Covers::Name(_) => true,
                Covers::UpTo(last) => format!("{}{name}/", flight.prefix) <= *last,
            };
            if covered
                && !seen.contains(&name)
                && !Self::overruled(tree, flight, &name)
                && !tree.newer_than(child, flight.began)
            {
                self.forget_entry(tree, child);
            }
        }
    }

    /// Takes a node out of the tree because B2 no longer has it (or has another one), and tells the kernel.
    fn forget_entry(&self, tree: &mut Tree, ino: Ino) {
        if let Ok(node) = tree.get(ino) {
            self.shared.invalidations.push(Invalidation::Entry {
                parent: node.parent,
                name: Arc::clone(&node.name),
            });
        }
        let removed = tree
            .get(ino)
            .map(|node| node.parent)
            .and_then(|parent| tree.dir_mut(parent))
            .map(|dir| dir.removed.take());
        let parent = tree.get(ino).map(|node| node.parent);
        tree.detach(ino);
        // What a listing removes is no local removal.
        if let (Ok(removed), Ok(parent)) = (removed, parent)
            && let Ok(dir) = tree.dir_mut(parent)
        {
            dir.removed = removed;
        }
    }
}

/// What the tree keeps of a version; `None` for rows without an id.
pub(super) fn stored_of(row: &FileVersion, ours: bool, bare: bool) -> Option<Stored> {
    Some(Stored {
        id: row.id.clone()?,
        size: row.size,
        sha1: row.whole_sha1(),
        hashed_by_b2: row.sha1.known().is_some(),
        content_type: row.content_type.as_deref().map(Arc::from),
        foreign: attr::foreign_keys(&row.info),
        ours,
        bare,
        provisional: false,
    })
}
