//! What a row of a listing may change in the tree.
//!
//! It never undoes what this mount did after the listing began: such nodes carry a later tick, and
//! names removed meanwhile are remembered while listings are under way (`Tree::removed_since`); those that
//! B2 has still to remove are ignored (`leaving`). What was stored or removed here a moment ago wins over rows that show
//! an older state, until B2 was asked otherwise (`Unsettled`). A file that is open keeps its inode and its version; a
//! newer version in B2 gets a new inode.

use std::ops::Bound;
use std::sync::Arc;

use crate::b2::FileVersion;
use crate::io::Stamp;
use crate::vfs::attr::{self, Meta};
use crate::vfs::delta::Delta;
use crate::vfs::names::flight::{Covers, Flight};
use crate::vfs::names::known;
use crate::vfs::names::lineage::Successor;
use crate::vfs::names::moment::Moment;
use crate::vfs::names::name::MARKER;
use crate::vfs::names::node::{Body, Carried, Marker, MarkerObject, Need, Object};
use crate::vfs::names::rows::Rows;
use crate::vfs::names::tree::{Tick, Tree, Unsettled};
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::{FileState, Maker, Stored};
use crate::vfs::{FileKind, Ino, Vfs};

/// What rows have changed.
#[derive(Default)]
pub(in crate::vfs) struct Applied {
    /// The inodes that they stand for.
    pub(in crate::vfs) seen: Vec<Ino>,
    /// Files whose row was not believed, because a directory is known by that name, and whether B2
    /// still has it is for later rows to say.
    pub(in crate::vfs) doubtful: Vec<Arc<str>>,
}

impl Vfs {
    /// Takes over rows of a directory that was listed by itself; `None` when it has moved meanwhile.
    pub(in crate::vfs) fn apply(
        &self,
        flight: &Flight,
        rows: Vec<FileVersion>,
        covers: &Covers,
    ) -> Option<Applied> {
        let mut sorted = Rows::default();
        for row in rows {
            self.sort_row(&mut sorted, &flight.prefix, row);
        }
        self.apply_rows(&mut self.tree(), flight, sorted, covers)
    }

    pub(in crate::vfs::names) fn apply_rows(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        mut rows: Rows,
        covers: &Covers,
    ) -> Option<Applied> {
        // Renamed or removed meanwhile: the rows speak of another place.
        if self.full(&tree.path(flight.dir)?) != flight.prefix {
            return None;
        }
        let leaves = Self::drop_leaving(tree, flight, &mut rows);
        Self::drop_gone(tree, flight, &mut rows);
        let mut applied = Applied::default();
        for component in &rows.folders {
            let ino = self.apply_folder(tree, flight, component);
            applied.seen.extend(ino);
        }
        let reach_all = covers.reach_all();
        // First its own attributes: what came after these changes its time.
        let marker = rows.marker.take();
        let no_marker = marker.is_none();
        if let Some(row) = marker {
            self.apply_listed_marker(tree, flight, &row);
        }
        for (component, row) in std::mem::take(&mut rows.files) {
            if rows.folders.contains(&component) {
                self.shared.warned.shadowed(row.name.as_str());
                rows.odd = true;
                continue;
            }
            let directory = tree.child(flight.dir, &component);
            let directory = directory.filter(|ino| tree.dir(*ino).is_ok());
            let settled = reach_all || covers.reach(&format!("{}/", row.name));
            if directory.is_some() && !settled {
                applied.doubtful.push(component);
                continue;
            }
            let ino = self.apply_file(tree, flight, &component, &row);
            applied.seen.extend(ino);
            if !settled
                && let Some(ino) = ino
                && let Ok(node) = tree.get_mut(ino)
            {
                node.unsettled = true;
            }
        }
        if no_marker && !leaves && covers.begin_with(&format!("{}{MARKER}", flight.prefix)) {
            self.marker_is_gone(tree, flight);
        }
        self.apply_absence(tree, flight, &applied.seen, covers);
        let dir = tree.dir_mut(flight.dir).ok()?;
        match covers {
            Covers::Range {
                after, upto, since, ..
            } => {
                if after.is_none() {
                    dir.large = upto.is_some();
                    dir.odd &= dir.large;
                    dir.note_page(flight.at);
                }
                dir.odd |= rows.odd;
                dir.compact();
                if upto.is_none() {
                    dir.note_listing(*since);
                }
            }
            Covers::Name(name) => {
                dir.large = true;
                if !dir.children.contains_key(name.as_str()) {
                    dir.remember_absent(name, flight.at);
                }
            }
            Covers::Part { .. } => {}
        }
        self.names_came(tree);
        Some(applied)
    }

    /// Leaves out what B2 shows only because it has not removed it yet; true when that is all.
    fn drop_leaving(tree: &Tree, flight: &Flight, rows: &mut Rows) -> bool {
        let leaving = &tree.leaving;
        if leaving.is_empty() {
            return false;
        }
        if leaving.overrules_all(&flight.prefix, flight.began) {
            *rows = Rows::default();
            return true;
        }
        let full = |name: &str, slash: &str| format!("{}{name}{slash}", flight.prefix);
        rows.files
            .retain(|(name, _)| !leaving.overrules(&full(name, ""), flight.began));
        rows.folders
            .retain(|name| !leaving.overrules(&full(name, "/"), flight.began));
        false
    }

    /// Whether a row of this name must be ignored because this mount changed it after the listing began.
    fn overruled(tree: &Tree, flight: &Flight, name: &Arc<str>) -> bool {
        tree.known_listed(flight.dir, name).overrules(flight.began)
    }

    /// Returns the inode that the row stands for; `None` when this mount knows better.
    pub(in crate::vfs::names) fn apply_folder(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        name: &Arc<str>,
    ) -> Option<Ino> {
        if Self::overruled(tree, flight, name) {
            return None;
        }
        if let Some(child) = tree.child(flight.dir, name) {
            if tree.dir(child).is_ok() {
                tree.get_mut(child).ok()?.check(flight.at, true);
                return Some(child);
            }
            if tree.newer_than(child, flight.began) {
                return None;
            }
            self.forget_entry(tree, child);
        }
        let mounted = self.shared.mounted;
        let meta = Meta::default_for(FileKind::Directory, self.settings(), mounted);
        let body = Body::Dir(Box::default());
        Self::insert_row(tree, flight, name, (meta, None), body)
    }

    /// Takes a row of a file into the tree.
    pub(in crate::vfs::names) fn apply_file(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        name: &Arc<str>,
        row: &FileVersion,
    ) -> Option<Ino> {
        if Self::overruled(tree, flight, name) {
            return None;
        }
        row.id.as_ref()?;
        if let Some(child) = tree.child(flight.dir, name) {
            if tree.newer_than(child, flight.began) {
                return None;
            }
            let lately = tree.changed_lately(tree.get(child).ok()?, flight.at);
            let node = tree.get_mut(child).ok()?;
            node.check(flight.at, true);
            if let Some(old) = node.object().and_then(|object| object.state.stored()) {
                if Some(&old.id) == row.id.as_ref() {
                    return Some(child);
                }
                if known::lags(row.uploaded_ms, old, lately) {
                    node.check(flight.at, false);
                    tree.unsettled.push(Unsettled::Stored(child));
                    return Some(child);
                }
            }
            if node.object().is_some() {
                if Self::successor(node, row) == Successor::Perhaps {
                    node.check(flight.at, false);
                    tree.unsettled.push(Unsettled::Grown(child));
                    return Some(child);
                }
                self.came(tree, flight.dir, row);
                return self.replace_version_since(tree, child, row, flight.began);
            }
            self.forget_entry(tree, child);
        }
        let meta = Meta::of_version(row, self.settings());
        let carried = Carried::of_version(row, self.settings());
        let state = FileState::listed(Stored::of(row, Maker::Other)?);
        let object = Object::new(state, Some(carried));
        self.came(tree, flight.dir, row);
        let number = Stamp::of(&row.info).number.map(Ino);
        let known = (meta, number.filter(|ino| ino.is_possible()));
        Self::insert_row(tree, flight, name, known, Body::Object(object))
    }

    /// A file is seen in a directory: that has changed when it came, unless it was changed later.
    fn came(&self, tree: &mut Tree, dir: Ino, row: &FileVersion) {
        let Some(stored) = Stored::of(row, Maker::Other) else {
            return;
        };
        let at = attr::of_ms(stored.came_ms());
        let Ok(node) = tree.get_mut(dir) else { return };
        let unknown =
            node.meta.mtime == self.shared.mounted && node.meta.ctime == self.shared.mounted;
        if unknown {
            node.meta.mtime = at;
            node.meta.ctime = at;
        } else {
            node.meta.entry_came(at);
        }
    }

    /// Another client's version is the newest one of a file now: who has it open keeps the version that it was
    /// opened with, changed attributes go to the new one.
    pub(in crate::vfs) fn replace_version(&self, tree: &mut Tree, ino: Ino, row: &FileVersion) {
        let began = tree.tick();
        self.replace_version_since(tree, ino, row, began);
    }

    fn replace_version_since(
        &self,
        tree: &mut Tree,
        ino: Ino,
        row: &FileVersion,
        began: Tick,
    ) -> Option<Ino> {
        let stored = Stored::of(row, Maker::Other)?;
        if Self::successor(tree.get(ino).ok()?, row) == Successor::Continues
            && self.has_grown(tree, ino, row)
        {
            return Some(ino);
        }
        let theirs = Meta::of_version(row, self.settings());
        let mut carried = Carried::of_version(row, self.settings());
        let node = tree.get_mut(ino).ok()?;
        let (opens, dirty) = (node.opens, node.content_dirty());
        let mine = node.meta;
        // What was set of a file that was only created here is not meant for another one.
        let inherits = mine.kind == theirs.kind && !node.only_created();
        let before = node.carried().cloned().unwrap_or_default();
        let object = node.object_mut()?;
        let delta = if inherits {
            object.state.give_up_attributes()
        } else {
            Delta::default()
        };
        let meta = delta.applied(&mine, &theirs);
        carried = carried.with_changes(&delta, &before);
        let pending = !delta.is_empty();
        let ino = if opens == 0 && !dirty && inherits {
            object.content = None;
            object.state.taken(stored);
            object.state.owe(delta);
            object.carried = Some(carried);
            object.kernel_behind = true;
            node.meta = meta;
            self.shared.forgets.inode(ino);
            ino
        } else {
            let (parent, name, checked) = (node.parent, Arc::clone(&node.name), node.checked);
            self.forget_entry(tree, ino);
            let mut state = FileState::listed(stored);
            state.owe(delta);
            let body = Body::Object(Object::new(state, Some(carried)));
            let new = tree.insert(parent, name, meta, body).ok()?;
            let node = tree.get_mut(new).ok()?;
            node.checked = checked;
            node.changed = began;
            new
        };
        if pending {
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        }
        Some(ino)
    }

    fn insert_row(
        tree: &mut Tree,
        flight: &Flight,
        name: &Arc<str>,
        (meta, number): (Meta, Option<Ino>),
        body: Body,
    ) -> Option<Ino> {
        let ino = tree.insert_as(flight.dir, Arc::clone(name), meta, body, number);
        let ino = ino.ok()?;
        let node = tree.get_mut(ino).ok()?;
        node.check(flight.at, true);
        node.changed = flight.began;
        Some(ino)
    }

    /// A directory has this marker, and the attributes that it holds.
    pub(in crate::vfs) fn apply_marker(&self, tree: &mut Tree, dir: Ino, row: &FileVersion) {
        let Some(id) = row.id.clone() else { return };
        let Ok(node) = tree.get_mut(dir) else { return };
        let mine = node.meta;
        let Some(body) = node.dir_mut() else { return };
        if body.marker.stored().is_some_and(|known| known.id == id) {
            return;
        }
        let object = MarkerObject {
            id,
            ours: false,
            uploaded_ms: row.uploaded_ms,
        };
        let pending = match &mut body.marker {
            // Somebody else has made one: what was changed here goes to that.
            Marker::Wanted { need, old, .. } if *need > Need::Place => {
                *old = Some(object);
                true
            }
            marker => {
                *marker = Marker::Stored(object);
                false
            }
        };
        let mut carried = Carried::of_version(row, self.settings());
        let mut meta = Meta::of_marker(row, self.settings());
        if pending {
            let before = body.carried.take().unwrap_or_default();
            carried = carried.with_changes(body.delta(), &before);
            let time = body.marker.need() == Some(Need::Time);
            meta = body.delta().applied(&mine, &meta);
            if time {
                // It has moved here, and they do not know.
                meta.mtime = meta.mtime.max(mine.mtime);
                meta.ctime = meta.ctime.max(mine.ctime);
            }
        }
        body.carried = Some(carried);
        node.meta = meta;
    }

    /// The first page does not show the marker that was believed to be there: somebody has removed it, and
    /// the attributes that it held with it.
    fn marker_is_gone(&self, tree: &mut Tree, flight: &Flight) {
        let lately = tree
            .get(flight.dir)
            .is_ok_and(|node| tree.changed_lately(node, flight.at));
        let Ok(node) = tree.get(flight.dir) else {
            return;
        };
        if node.changed > flight.began {
            return; // made meanwhile
        }
        let marker = node.dir().map(|dir| &dir.marker);
        // The listing may lag behind, and attributes would be lost.
        if !matches!(marker, Some(Marker::Stored(object)) if object.ours && lately) {
            self.lost_marker(tree, flight.dir);
        }
    }

    /// A directory has no marker any more, and nothing of the attributes that it held.
    pub(in crate::vfs) fn lost_marker(&self, tree: &mut Tree, dir: Ino) {
        let Ok(node) = tree.get_mut(dir) else { return };
        let mtime = node.meta.mtime;
        let Some(body) = node.dir_mut() else { return };
        if !matches!(body.marker, Marker::Stored(_)) {
            return;
        }
        body.marker = Marker::Absent;
        body.carried = None;
        node.meta = Meta::default_for(FileKind::Directory, self.settings(), mtime);
        self.shared.forgets.inode(dir);
    }

    fn apply_absence(&self, tree: &mut Tree, flight: &Flight, seen: &[Ino], covers: &Covers) {
        let Ok(dir) = tree.dir(flight.dir) else {
            return;
        };
        let candidates: Vec<Ino> = match covers {
            Covers::Part { .. } => return,
            Covers::Name(name) => {
                let child = dir.children.get(name.as_str());
                child
                    .filter(|child| !seen.contains(child))
                    .copied()
                    .into_iter()
                    .collect()
            }
            Covers::Range {
                after, upto, since, ..
            } => {
                let within = |full: &Option<String>| {
                    let within = full.as_deref()?.strip_prefix(&flight.prefix)?;
                    Some(within.to_owned())
                };
                let (after, upto) = (within(after), within(upto));
                // The last row of a name is that of the directory: up to there it may still come.
                let covered = |name: &str| {
                    let row = format!("{name}/");
                    after.as_ref().is_none_or(|after| row > *after)
                        && upto.as_ref().is_none_or(|upto| row <= *upto)
                };
                let since = Moment::from(*since);
                let fresh = |ino: &Ino| {
                    let checked = tree.get(*ino).ok().and_then(|node| node.checked);
                    checked.is_some_and(|at| at >= since)
                };
                // Names before `after` whose directory's row comes after it begin it.
                let mut all: Vec<Ino> = after
                    .iter()
                    .flat_map(|after| after.char_indices().map(|(at, _)| &after[..at]))
                    .filter(|name| covered(name))
                    .filter_map(|name| dir.children.get(name).copied())
                    .collect();
                let first = after.as_deref().map_or(Bound::Unbounded, Bound::Included);
                let range = dir.children.range::<str, _>((first, Bound::Unbounded));
                all.extend(
                    range
                        .take_while(|(name, _)| upto.as_ref().is_none_or(|upto| ***name <= **upto))
                        .filter(|(name, _)| covered(name))
                        .map(|(_, ino)| *ino),
                );
                all.retain(|ino| !fresh(ino));
                all
            }
        };
        for child in candidates {
            // The row was there, but this mount knew better.
            if tree.newer_than(child, flight.began) {
                continue;
            }
            // Stored here a moment ago, or something in it: the listing may lag behind.
            let lately = Self::stored_lately(tree, child, flight.at);
            if lately.is_empty() {
                self.forget_entry(tree, child);
                continue;
            }
            if let Ok(node) = tree.get_mut(child) {
                node.check(flight.at, false);
            }
            let lately = lately.into_iter().map(Unsettled::Stored);
            tree.unsettled.extend(lately);
        }
    }

    /// A name of which nothing was known any more has to be asked for again.
    pub(in crate::vfs) fn shows_again(&self, tree: &mut Tree, parent: Ino, name: &Arc<str>) {
        if let Ok(dir) = tree.dir_mut(parent) {
            dir.doubt(name);
        }
        if let Some(path) = tree.path(parent) {
            let full = self.full(&format!("{path}{name}"));
            tree.gone.forget(&full);
        }
        self.shared.forgets.entry(parent, Arc::clone(name));
    }

    /// Takes a node out of the tree because B2 no longer has it (or has another one), and tells the kernel.
    pub(in crate::vfs) fn forget_entry(&self, tree: &mut Tree, ino: Ino) {
        if let Ok(node) = tree.get(ino) {
            let name = Arc::clone(&node.name);
            self.shared.forgets.entry(node.parent, name);
        }
        tree.forget_name(ino);
    }
}
