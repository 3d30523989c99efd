//! B2's rows into the tree: what is asked for, and what a row may change.
//!
//! A listing never undoes what this mount did after it began: such nodes carry a later tick, and
//! names removed meanwhile are remembered while the listing is under way (`Dir::removed`). A file
//! that is open keeps its inode and its version; a newer version in B2 gets a new inode.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use log::warn;

use super::attr::{self, Meta};
use super::name::{self, Row};
use super::tree::{Body, Dir, Marker, Object, Stored, Tick, Tree};
use super::{Error, FileKind, Ino, Invalidation, Vfs};
use crate::b2::{Action, FileVersion, ListNames, NamesPage};

/// Rows of one call; B2 bills a call by started thousands (API §4.1).
const PAGE: u32 = 1000;

/// Names that were warned of, so that each is named once.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<HashSet<String>>);

impl Warned {
    /// Most names remembered; beyond that nothing more is said.
    const MAX: usize = 10_000;

    fn unshowable(&self, name: &str) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!("{name:?}: Linux cannot show this name; it is left alone");
        }
    }

    fn shadowed(&self, name: &str) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!("{name:?}: a directory of the same name hides this file; it is left alone");
        }
    }
}

/// A listing under way: what of the tree it may overrule.
struct Flight {
    dir: Ino,
    /// Full name of the directory, empty or ending with `/`.
    prefix: String,
    began: Tick,
    at: Instant,
}

/// Which names a set of rows speaks for: those it does not hold do not exist.
enum Covers {
    /// Every name of the directory.
    All,
    /// Names whose file and folder rows would stand at or before this full name.
    UpTo(String),
    /// One name.
    Name(String),
}

impl Vfs {
    /// Makes sure that all names of a directory are known and fresh.
    pub(super) async fn ensure_listed(&self, dir: Ino) -> Result<(), Error> {
        if self.listing_fresh(dir)? {
            return Ok(());
        }
        let _one = self.flight_lock(dir)?.lock_owned().await;
        if self.listing_fresh(dir)? {
            return Ok(());
        }
        let flight = self.begin(dir)?;
        let result = self.list_all(&flight).await;
        self.end(&flight);
        result
    }

    /// The first page of the root: authorises the whole mount, and is all of a small bucket.
    pub(super) async fn ensure_first_page(&self, dir: Ino) -> Result<(), Error> {
        let _one = self.flight_lock(dir)?.lock_owned().await;
        let flight = self.begin(dir)?;
        let result = self.list_first_page(&flight).await;
        self.end(&flight);
        result.map(drop)
    }

    /// Makes sure that it is known, and freshly so, whether a directory has a name.
    pub(super) async fn ensure_name(&self, dir: Ino, name: &str) -> Result<(), Error> {
        if self.name_fresh(dir, name)? {
            return Ok(());
        }
        let _one = self.flight_lock(dir)?.lock_owned().await;
        if self.name_fresh(dir, name)? {
            return Ok(());
        }
        let flight = self.begin(dir)?;
        let result = self.list_name(&flight, name).await;
        self.end(&flight);
        result
    }

    fn listing_fresh(&self, dir: Ino) -> Result<bool, Error> {
        let tree = self.tree();
        if tree.path(dir).is_none() {
            return Ok(true); // removed: what it holds is what memory says
        }
        let ttl = self.settings().metadata_ttl;
        let listed = tree.dir(dir)?.listed;
        Ok(listed.is_some_and(|at| at.elapsed() < ttl))
    }

    fn name_fresh(&self, dir: Ino, name: &str) -> Result<bool, Error> {
        if self.listing_fresh(dir)? {
            return Ok(true);
        }
        let tree = self.tree();
        let ttl = self.settings().metadata_ttl;
        let now = Instant::now();
        let node = tree.dir(dir)?;
        Ok(match node.children.get(name) {
            Some(child) => !tree.fresh_for(*child, ttl, now).is_zero(),
            None => node
                .absent
                .get(name)
                .is_some_and(|at| now.saturating_duration_since(*at) < ttl),
        })
    }

    fn flight_lock(&self, dir: Ino) -> Result<Arc<tokio::sync::Mutex<()>>, Error> {
        Ok(Arc::clone(&self.tree().dir(dir)?.flight))
    }

    fn begin(&self, dir: Ino) -> Result<Flight, Error> {
        let mut tree = self.tree();
        let path = tree.path(dir).ok_or(Error::NotFound)?;
        let began = tree.tick();
        tree.dir_mut(dir)?.removed = Some(BTreeSet::new());
        Ok(Flight {
            dir,
            prefix: self.full(&path),
            began,
            at: Instant::now(),
        })
    }

    fn end(&self, flight: &Flight) {
        if let Ok(dir) = self.tree().dir_mut(flight.dir) {
            dir.removed = None;
        }
    }

    async fn page(
        &self,
        prefix: &str,
        start: Option<String>,
        max: u32,
    ) -> Result<NamesPage, Error> {
        let request = ListNames {
            prefix: prefix.to_owned(),
            start,
            delimiter: true,
            max,
        };
        Ok(self.shared.client.list_file_names(&request).await?)
    }

    async fn list_all(&self, flight: &Flight) -> Result<(), Error> {
        let mut rows = Vec::new();
        let mut start = None;
        let mut pages = 0;
        loop {
            let mut page = self.page(&flight.prefix, start, PAGE).await?;
            pages += 1;
            rows.append(&mut page.files);
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        self.apply(flight, rows, &Covers::All, pages > 1);
        Ok(())
    }

    /// Returns up to which full name everything is known; `None` when that is everything.
    async fn list_first_page(&self, flight: &Flight) -> Result<Option<String>, Error> {
        let mut start = None;
        let mut rows = Vec::new();
        // A page may be short or empty and still not be the last (API §4.1).
        while rows.is_empty() {
            let mut page = self.page(&flight.prefix, start, PAGE).await?;
            rows.append(&mut page.files);
            start = page.next;
            if start.is_none() {
                self.apply(flight, rows, &Covers::All, false);
                return Ok(None);
            }
        }
        let last = rows
            .last()
            .map(|row| row.name.as_str().to_owned())
            .unwrap_or_default();
        self.apply(flight, rows, &Covers::UpTo(last.clone()), true);
        Ok(Some(last))
    }

    async fn list_name(&self, flight: &Flight, name: &str) -> Result<(), Error> {
        let large = self.tree().dir(flight.dir)?.large;
        let full = format!("{}{name}", flight.prefix);
        if !large {
            match self.list_first_page(flight).await? {
                None => return Ok(()),
                Some(last) if format!("{full}/") <= last => return Ok(()),
                Some(_) => {}
            }
        }
        // Names such as `a-b` and `a.txt` stand between the rows of the file `a` and of the
        // directory `a/` (API §17.11), so one page may show the file only.
        let folder = format!("{full}/");
        let mut rows = Vec::new();
        let mut start = Some(full.clone());
        let mut complete = false;
        while rows.is_empty() && !complete {
            let mut page = self.page(&full, start, PAGE).await?;
            rows.append(&mut page.files);
            start = page.next;
            complete = start.is_none();
        }
        let known = complete
            || rows
                .last()
                .is_some_and(|row| row.name.as_str() >= folder.as_str());
        rows.retain(|row| row.name.as_str() == full || row.name.as_str() == folder);
        if !known {
            rows.extend(self.folder_row(&folder).await?);
        }
        self.apply(flight, rows, &Covers::Name(name.to_owned()), true);
        Ok(())
    }

    /// A folder row for a prefix under which anything is visible.
    async fn folder_row(&self, folder: &str) -> Result<Option<FileVersion>, Error> {
        let parent = folder.trim_end_matches('/');
        let mut start = Some(folder.to_owned());
        loop {
            let page = self.page(parent, start, 1).await?;
            if let Some(row) = page.files.into_iter().next() {
                return Ok((row.name.as_str() == folder).then_some(row));
            }
            if page.next.is_none() {
                return Ok(None);
            }
            start = page.next;
        }
    }

    fn apply(&self, flight: &Flight, rows: Vec<FileVersion>, covers: &Covers, large: bool) {
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
                    dir.absent.clear();
                }
                Covers::UpTo(_) => {}
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

impl Dir {
    /// A directory that was just made here: everything about it is known.
    pub(super) fn made_here() -> Self {
        Self {
            listed: Some(Instant::now()),
            marker: Marker::Wanted {
                attributes: false,
                old: None,
            },
            ..Self::default()
        }
    }
}
