//! What a row of a listing may change in the tree.
//!
//! It never undoes what this mount did after the listing began: such nodes carry a later tick, and
//! names removed meanwhile are remembered while listings are under way (`Tree::removed_since`); those that
//! B2 has still to remove are ignored (`leaving`). A file that is open keeps its inode and its version; a
//! newer version in B2 gets a new inode.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::attr::{self, Meta};
use super::listing::{Covers, Flight};
use super::name::{self, Row};
use super::node::{Body, Marker, MarkerObject, Object, Stored};
use super::tree::Tree;
use super::{FileKind, Ino, Invalidation, Vfs};
use crate::b2::{Action, FileVersion};

/// Rows of one directory.
#[derive(Default)]
struct Rows {
    files: Vec<(Arc<str>, FileVersion)>,
    folders: HashSet<Arc<str>>,
    marker: Option<FileVersion>,
    /// Something that Linux cannot show.
    odd: bool,
}

impl Vfs {
    /// Takes over rows of a directory that was listed by itself.
    pub(super) fn apply(
        &self,
        flight: &Flight,
        rows: Vec<FileVersion>,
        covers: &Covers,
        large: bool,
    ) {
        let mut sorted = Rows::default();
        for row in rows {
            self.sort_row(&mut sorted, &flight.prefix, row);
        }
        self.apply_rows(&mut self.tree(), flight, sorted, covers, large);
    }

    fn sort_row(&self, rows: &mut Rows, prefix: &str, row: FileVersion) {
        match name::row(row.name.as_str(), prefix) {
            // Two of them (`d/` and `d/.bzEmpty`): the tree has a place for one.
            Row::Marker => rows.odd |= rows.marker.replace(row).is_some(),
            Row::Dir(component) => {
                rows.folders.insert(Arc::from(component));
            }
            Row::File(component) if row.action == Action::Upload => {
                let component = Arc::from(component);
                rows.files.push((component, row));
            }
            Row::File(_) => {}
            Row::Unshowable => {
                rows.odd = true;
                self.shared.warned.unshowable(row.name.as_str());
            }
        }
    }

    /// Takes over rows of a recursive listing, which began at the name `start` and would go on at
    /// `next`. Returns the directories that are known completely now, in B2's order, and the one
    /// where it is best to go on.
    pub(super) fn apply_walk(
        &self,
        flight: &Flight,
        start: &str,
        rows: Vec<FileVersion>,
        next: Option<&str>,
    ) -> (Vec<Ino>, Option<String>) {
        // Directories before what is in them.
        let mut all: BTreeMap<String, Rows> = BTreeMap::new();
        for row in rows {
            self.sort_deep(&mut all, &flight.prefix, row);
        }
        let complete = |prefix: &str| {
            start <= prefix && next.is_none_or(|next| prefix < next && !next.starts_with(prefix))
        };
        let mut known = Vec::new();
        for (prefix, rows) in all {
            // In steps: others want the tree, too.
            let mut tree = self.tree();
            let Some(dir) = self.directory_at(&tree, flight, &prefix) else {
                continue;
            };
            if tree
                .dir(dir)
                .is_ok_and(|dir| dir.listed.is_some_and(|at| at >= flight.at))
            {
                continue;
            }
            let whole = complete(&prefix);
            let covers = if whole { Covers::All } else { Covers::Rows };
            let here = Flight {
                dir,
                prefix,
                ..*flight
            };
            self.apply_rows(&mut tree, &here, rows, &covers, false);
            if whole {
                known.push(dir);
            }
        }
        let on = next.and_then(|next| {
            // The first directory that is known in part: whoever walks will ask for all of it.
            let tree = self.tree();
            let beneath = next.strip_prefix(&flight.prefix)?;
            let mut ends = beneath.match_indices('/').map(|(at, _)| at + 1);
            ends.find_map(|end| {
                let prefix = &next[..flight.prefix.len() + end];
                let dir = self.directory_at(&tree, flight, prefix)?;
                let unknown = tree
                    .dir(dir)
                    .is_ok_and(|dir| dir.listed.is_none_or(|at| at < flight.at));
                (prefix > start && unknown).then(|| prefix.to_owned())
            })
        });
        (known, on)
    }

    fn sort_deep(&self, all: &mut BTreeMap<String, Rows>, root: &str, row: FileVersion) {
        let full = row.name.as_str();
        let Some(beneath) = full.strip_prefix(root) else {
            return;
        };
        let mut from = root.len();
        for (at, _) in beneath.match_indices('/') {
            let end = root.len() + at + 1;
            let (parent, folder) = (&full[..from], &full[..end]);
            let Row::Dir(component) = name::row(folder, parent) else {
                self.shared.warned.unshowable(folder);
                all.entry(parent.to_owned()).or_default().odd = true;
                return;
            };
            if !all.contains_key(folder) {
                let component = Arc::from(component);
                all.entry(parent.to_owned())
                    .or_default()
                    .folders
                    .insert(component);
                all.insert(folder.to_owned(), Rows::default());
            }
            from = end;
        }
        let parent = full[..from].to_owned();
        let rows = all.entry(parent.clone()).or_default();
        self.sort_row(rows, &parent, row);
    }

    /// The directory that has a full name now, if it is the one that the listing speaks of.
    fn directory_at(&self, tree: &Tree, flight: &Flight, prefix: &str) -> Option<Ino> {
        let root = tree.path(flight.dir).map(|path| self.full(&path));
        let beneath = prefix.strip_prefix(root.as_ref()?)?;
        if root.as_ref() != Some(&flight.prefix) {
            return None;
        }
        let mut here = flight.dir;
        for component in beneath.split_terminator('/') {
            let child = tree.child(here, component)?;
            // Made, or moved here, after the listing began.
            if tree.get(child).ok()?.changed > flight.began {
                return None;
            }
            here = child;
        }
        tree.dir(here).ok().map(|_| here)
    }

    fn apply_rows(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        mut rows: Rows,
        covers: &Covers,
        large: bool,
    ) {
        // Renamed or removed meanwhile: the rows speak of another place.
        if tree
            .path(flight.dir)
            .map(|path| self.full(&path))
            .as_deref()
            != Some(&flight.prefix)
        {
            return;
        }
        Self::drop_leaving(tree, flight, &mut rows);
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        for component in &rows.folders {
            self.apply_folder(tree, flight, component);
            seen.insert(Arc::clone(component));
        }
        for (component, row) in rows.files {
            if rows.folders.contains(&component) {
                self.shared.warned.shadowed(row.name.as_str());
                rows.odd = true;
                continue;
            }
            self.apply_file(tree, flight, &component, &row);
            seen.insert(component);
        }
        if let Some(row) = rows.marker {
            self.apply_marker(tree, flight.dir, &row);
        }
        self.apply_absence(tree, flight, &seen, covers);
        if let Ok(dir) = tree.dir_mut(flight.dir) {
            match covers {
                Covers::All => {
                    dir.large = large;
                    dir.odd = rows.odd;
                    dir.listed = Some(flight.at);
                    dir.paged = Some(flight.at);
                    dir.absent.clear();
                }
                Covers::UpTo(_) => {
                    dir.large = large;
                    dir.paged = Some(flight.at);
                }
                Covers::Name(name) => {
                    dir.large = large;
                    if !seen.contains(name.as_str()) {
                        dir.remember_absent(name, flight.at);
                    }
                }
                Covers::Rows => {}
            }
        }
    }

    /// Leaves out what B2 shows only because it has not removed it yet.
    fn drop_leaving(tree: &Tree, flight: &Flight, rows: &mut Rows) {
        let leaving = &tree.leaving;
        if leaving.is_empty() {
            return;
        }
        if leaving.overrules_all(&flight.prefix, flight.began) {
            *rows = Rows::default();
            return;
        }
        let full = |name: &str, slash: &str| format!("{}{name}{slash}", flight.prefix);
        rows.files
            .retain(|(name, _)| !leaving.overrules(&full(name, ""), flight.began));
        rows.folders
            .retain(|name| !leaving.overrules(&full(name, "/"), flight.began));
    }

    /// Whether a row of this name must be ignored because this mount changed it after the listing began.
    fn overruled(tree: &Tree, flight: &Flight, name: &Arc<str>) -> bool {
        let Ok(dir) = tree.dir(flight.dir) else {
            return true;
        };
        match dir.children.get(name) {
            Some(child) => tree
                .get(*child)
                .is_ok_and(|node| node.changed > flight.began),
            None => tree.removed_since(flight.dir, name, flight.began),
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
            node.changed = flight.began;
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
            node.changed = flight.began;
        }
    }

    fn apply_marker(&self, tree: &mut Tree, dir: Ino, row: &FileVersion) {
        let Some(id) = row.id.clone() else { return };
        let Ok(node) = tree.get_mut(dir) else { return };
        let Some(body) = node.dir_mut() else { return };
        let object = MarkerObject {
            id,
            ours: false,
            bare: false,
        };
        match &mut body.marker {
            Marker::Wanted { old: Some(_), .. } => {}
            // Somebody else has made one.
            Marker::Wanted {
                attributes: true,
                old,
            } => *old = Some(object),
            marker @ Marker::Wanted { .. } => *marker = Marker::Stored(object),
            Marker::Stored(known) if known.id == object.id => {}
            marker => {
                *marker = Marker::Stored(object);
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
            Covers::Rows => Vec::new(),
            Covers::All | Covers::UpTo(_) => dir
                .children
                .iter()
                .map(|(name, ino)| (Arc::clone(name), *ino))
                .collect(),
        };
        for (name, child) in gone {
            let covered = match covers {
                Covers::All | Covers::Name(_) => true,
                Covers::Rows => false,
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
        tree.forget_name(ino);
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
