//! The inode table: who is whose child, under which name, with which attributes and version.
//!
//! A path is derived from parents, never kept, so that renaming a directory is one edit. A node
//! stays while it is linked, or the kernel refers to it, or it is open, or it holds unsent bytes.
//! Everything here is memory work under one mutex; nothing waits, nothing talks to B2.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use hashlink::LinkedHashSet;

use crate::vfs::attr::{self, Meta, Nanos, to_time};
use crate::vfs::names::atime::AccessTimes;
use crate::vfs::names::dir::{Dir, Usage};
use crate::vfs::names::gone::Gone;
use crate::vfs::names::lately::Lately;
use crate::vfs::names::leaving::Leaving;
use crate::vfs::names::node::{Body, Node, Object};
use crate::vfs::names::number::Numbers;
use crate::vfs::names::table::Table;
use crate::vfs::{Attr, Error, Ino};

/// Counts local changes and the beginnings of listings, so that it can be told which came first.
pub(in crate::vfs) type Tick = u64;

/// What a listing showed otherwise than this mount has left it a moment ago.
#[derive(Debug)]
pub(in crate::vfs) enum Unsettled {
    /// A file that was stored, or a directory whose marker was: it was missing, or an older version was shown.
    Stored(Ino),
    /// An open file of which a newer version was shown that may continue it.
    Grown(Ino),
    /// A directory's marker of which an older version was shown.
    Marker(Ino),
    /// A name that was removed: there it was, and with `/` at its end a directory.
    Removed { dir: Ino, full: String },
}

/// The inode table.
pub(in crate::vfs) struct Tree {
    nodes: Table,
    numbers: Numbers,
    /// Numbers of inodes that were removed, those of the last ones: a task that was begun for one of them must not come upon
    /// another file.
    spent: LinkedHashSet<Ino>,
    tick: Tick,
    /// Nodes that may have something not in B2 yet; the truth is `Node::pending`.
    pending: BTreeSet<Ino>,
    /// Listings under way.
    flights: usize,
    /// Names removed here while listings are under way, which their rows must not bring back.
    removed: HashMap<(Ino, Arc<str>), Tick>,
    /// Names that B2 may still show although they were removed here.
    pub(in crate::vfs) leaving: Leaving,
    accessed: AccessTimes,
    /// Inodes that have lost their names to other clients, by the paths that they had; what is written to them is
    /// stored there (`displaced`).
    pub(in crate::vfs) displaced: HashMap<Ino, Box<str>>,
    /// Files of which B2 is making a copy with changed attributes: it may be listed before this mount has its id.
    pub(in crate::vfs) copying: HashSet<Ino>,
    lately: Lately,
    /// Names removed here a moment ago.
    pub(in crate::vfs) gone: Gone,
    /// What a listing showed otherwise than it was left here a moment ago: what B2 has is to be asked otherwise.
    pub(in crate::vfs) unsettled: Vec<Unsettled>,
    /// How many directories are in use (`Dir::usage`).
    in_use: usize,
    /// How many directories hold anything.
    parents: usize,
    /// What was known until then is known no longer: the machine has slept.
    pub(in crate::vfs::names) doubted: Option<Instant>,
}

impl Tree {
    /// A table with only the root.
    pub(in crate::vfs) fn new(root: Meta, numbers: Numbers) -> Self {
        let mut tree = Self {
            nodes: Table::default(),
            numbers,
            spent: LinkedHashSet::new(),
            tick: 0,
            pending: BTreeSet::new(),
            flights: 0,
            removed: HashMap::new(),
            leaving: Leaving::default(),
            accessed: AccessTimes::default(),
            displaced: HashMap::new(),
            copying: HashSet::new(),
            lately: Lately::default(),
            gone: Gone::default(),
            unsettled: Vec::new(),
            in_use: 0,
            parents: 0,
            doubted: None,
        };
        tree.nodes.insert(
            Ino::ROOT,
            Node {
                parent: Ino::ROOT,
                name: Arc::from(""),
                linked: true,
                unsettled: false,
                lookups: 1,
                opens: 0,
                changed: 0,
                checked: None,
                meta: root,
                failed: None,
                body: Body::Dir(Box::default()),
            },
        );
        tree
    }

    pub(in crate::vfs) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.lately.note(self.tick, Instant::now());
        self.tick
    }

    /// Whether this mount changed a node within the time that listings may lag behind.
    pub(in crate::vfs) fn changed_lately(&self, node: &Node, now: Instant) -> bool {
        self.lately.has(node.changed, now)
    }

    /// A listing begins; `end_flight` must follow.
    pub(in crate::vfs) fn begin_flight(&mut self) -> Tick {
        self.flights += 1;
        self.tick()
    }

    pub(in crate::vfs) fn end_flight(&mut self) {
        self.flights = self.flights.saturating_sub(1);
        if self.flights == 0 {
            self.removed = HashMap::new();
            self.leaving.forget_acknowledged();
        }
    }

    /// B2 has acknowledged a removal.
    pub(in crate::vfs) fn left(&mut self, full: &str) {
        let now = self.tick();
        self.leaving.ended(full, now, self.flights > 0);
        if full.ends_with('/') {
            self.gone.note(full, None, None, Instant::now());
        }
    }

    /// Whether a name was removed here after a listing that is still under way began.
    pub(in crate::vfs) fn removed_since(&self, dir: Ino, name: &str, began: Tick) -> bool {
        self.removed(dir, name).is_some_and(|at| at > began)
    }

    /// When a name was removed here, as far as listings under way may still show it.
    pub(in crate::vfs::names) fn removed(&self, dir: Ino, name: &str) -> Option<Tick> {
        if self.removed.is_empty() {
            return None;
        }
        self.removed.get(&(dir, Arc::from(name))).copied()
    }

    fn note_removed(&mut self, dir: Ino, name: Arc<str>) {
        if self.flights > 0 {
            let now = self.tick();
            self.removed.insert((dir, name), now);
        }
    }

    pub(in crate::vfs) fn get(&self, ino: Ino) -> Result<&Node, Error> {
        self.nodes.get(ino).ok_or(Error::Stale)
    }

    pub(in crate::vfs) fn get_mut(&mut self, ino: Ino) -> Result<&mut Node, Error> {
        self.nodes.get_mut(ino).ok_or(Error::Stale)
    }

    pub(in crate::vfs) fn dir(&self, ino: Ino) -> Result<&Dir, Error> {
        self.get(ino)?.dir().ok_or(Error::NotDirectory)
    }

    pub(in crate::vfs) fn dir_mut(&mut self, ino: Ino) -> Result<&mut Dir, Error> {
        self.get_mut(ino)?.dir_mut().ok_or(Error::NotDirectory)
    }

    /// What a directory in use has; it is in use from now on.
    pub(in crate::vfs) fn usage_mut(&mut self, ino: Ino) -> Result<&mut Usage, Error> {
        if self.dir(ino)?.usage.is_none() {
            self.in_use += 1;
        }
        let dir = self.dir_mut(ino)?;
        Ok(dir.usage.get_or_insert_default())
    }

    /// Nobody uses a directory any more.
    pub(in crate::vfs::names) fn put_away(&mut self, ino: Ino) {
        if let Ok(dir) = self.dir_mut(ino)
            && dir.usage.take().is_some()
        {
            self.in_use = self.in_use.saturating_sub(1);
        }
    }

    pub(in crate::vfs) fn object_mut(&mut self, ino: Ino) -> Result<&mut Object, Error> {
        self.get_mut(ino)?.object_mut().ok_or(Error::IsDirectory)
    }

    pub(in crate::vfs) fn child(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.dir(dir).ok()?.children.get(name).copied()
    }

    /// Adds a child; a node that had the name before is detached.
    pub(in crate::vfs) fn insert(
        &mut self,
        parent: Ino,
        name: Arc<str>,
        meta: Meta,
        body: Body,
    ) -> Result<Ino, Error> {
        self.insert_as(parent, name, meta, body, None)
    }

    /// As `insert`; the number is the given one, unless that is in use.
    pub(in crate::vfs) fn insert_as(
        &mut self,
        parent: Ino,
        name: Arc<str>,
        meta: Meta,
        body: Body,
        number: Option<Ino>,
    ) -> Result<Ino, Error> {
        if let Some(old) = self.child(parent, &name) {
            self.forget_name(old);
        }
        let changed = self.tick;
        let directory = matches!(body, Body::Dir(_));
        let ino = self.free_number(parent, &name, directory, number);
        self.add_child(parent, Arc::clone(&name), ino, directory)?;
        self.nodes.insert(
            ino,
            Node {
                parent,
                name,
                linked: true,
                unsettled: false,
                lookups: 0,
                opens: 0,
                changed,
                checked: None,
                meta,
                failed: None,
                body,
            },
        );
        Ok(ino)
    }

    pub(in crate::vfs::names) fn add_child(
        &mut self,
        parent: Ino,
        name: Arc<str>,
        child: Ino,
        directory: bool,
    ) -> Result<(), Error> {
        let dir = self.dir_mut(parent)?;
        let first = dir.children.is_empty();
        dir.add(name, child, directory);
        self.parents += usize::from(first);
        Ok(())
    }

    fn remove_child(&mut self, parent: Ino, name: &str, child: Ino, directory: bool) {
        let Ok(dir) = self.dir_mut(parent) else {
            return;
        };
        let before = dir.children.len();
        dir.remove(name, child, directory);
        if before > 0 && dir.children.is_empty() {
            self.parents = self.parents.saturating_sub(1);
        }
    }

    /// Marks a local change of a name: listings that began before lose against it.
    pub(in crate::vfs) fn touch(&mut self, ino: Ino) {
        let tick = self.tick();
        if let Some(node) = self.nodes.get_mut(ino) {
            node.changed = tick;
        }
    }

    /// Takes a node out of its directory, and all that is below it, because it was removed here; it
    /// lives on while somebody uses it.
    pub(in crate::vfs) fn detach(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        if node.linked && ino != Ino::ROOT {
            let (parent, name) = (node.parent, Arc::clone(&node.name));
            self.note_removed(parent, name);
        }
        if let Some(node) = self.nodes.get_mut(ino) {
            node.meta.ctime = attr::now(); // it has a link less
        }
        self.unlink(ino);
    }

    /// Takes a node out of its directory because B2 does not have it any more, or has another one. A file that is open, or has something
    /// unsent, has lost its name, and is not removed.
    pub(in crate::vfs) fn forget_name(&mut self, ino: Ino) {
        self.displace(ino);
        self.unlink(ino);
    }

    fn unlink(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        if !node.linked || ino == Ino::ROOT {
            return;
        }
        node.linked = false;
        let (parent, name) = (node.parent, Arc::clone(&node.name));
        let below: Vec<Ino> = match &node.body {
            Body::Dir(dir) => dir.children.values().copied().collect(),
            Body::Object(_) => Vec::new(),
        };
        let directory = matches!(node.body, Body::Dir(_));
        self.remove_child(parent, &name, ino, directory);
        for child in below {
            self.unlink(child);
        }
        self.free_if_unused(ino);
    }

    /// How many inodes there are.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Memory that names take, in names: the map of a directory's children takes as much as one more, and
    /// so does what a directory in use needs.
    pub(in crate::vfs) fn weight(&self) -> usize {
        self.nodes.len() + self.parents + self.in_use
    }

    /// Every inode, in no order.
    pub(in crate::vfs) fn all(&self) -> impl Iterator<Item = (Ino, &Node)> {
        self.nodes.iter()
    }

    /// Forgets a name that B2 has and nobody uses, as if it had never been listed.
    pub(in crate::vfs) fn drop_name(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        let (parent, name) = (node.parent, Arc::clone(&node.name));
        let directory = node.dir().is_some();
        self.remove_child(parent, &name, ino, directory);
        self.free(ino);
    }

    /// Moves a node to another name; whatever had that name is detached.
    pub(in crate::vfs) fn relocate(
        &mut self,
        ino: Ino,
        parent: Ino,
        name: Arc<str>,
    ) -> Result<(), Error> {
        if let Some(old) = self.child(parent, &name)
            && old != ino
        {
            self.detach(old);
        }
        let node = self.get(ino)?;
        let (old_parent, old_name) = (node.parent, Arc::clone(&node.name));
        let directory = node.dir().is_some();
        self.remove_child(old_parent, &old_name, ino, directory);
        self.note_removed(old_parent, old_name);
        self.add_child(parent, Arc::clone(&name), ino, directory)?;
        let node = self.get_mut(ino)?;
        node.parent = parent;
        node.name = name;
        self.touch(ino);
        Ok(())
    }

    /// Removes a node that nobody can reach any more. One that has lost its name to another client, and has something
    /// unsent, stays until that is stored.
    pub(in crate::vfs) fn free_if_unused(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get(ino)
            && !node.linked
            && node.lookups == 0
            && node.opens == 0
            && !(node.content_dirty() && self.displaced.contains_key(&ino))
        {
            if let Some(content) = node.object().and_then(|object| object.content.as_ref()) {
                content.discard();
            }
            self.free(ino);
        }
    }

    fn free(&mut self, ino: Ino) {
        self.put_away(ino);
        if self.nodes.get(ino).is_some_and(|node| !node.linked) {
            self.spend(ino);
        }
        self.nodes.remove(ino);
        self.displaced.remove(&ino);
        self.pending.remove(&ino);
        self.accessed.forget(ino);
    }

    /// Notes that a node may have something to store.
    pub(in crate::vfs) fn note_pending(&mut self, ino: Ino) {
        self.pending.insert(ino);
    }

    /// The nodes that have something to store, and could be stored (unlinked ones have no name).
    pub(in crate::vfs) fn pending(&mut self) -> Vec<Ino> {
        let nodes = &self.nodes;
        self.pending
            .retain(|ino| nodes.get(*ino).is_some_and(Node::pending));
        self.pending
            .iter()
            .copied()
            .filter(|ino| {
                let dirty = || nodes.get(*ino).is_some_and(Node::content_dirty);
                self.path(*ino).is_some() || (self.displaced.contains_key(ino) && dirty())
            })
            .collect()
    }

    /// What stat(2) shows.
    pub(in crate::vfs) fn attr(&self, ino: Ino) -> Result<Attr, Error> {
        let node = self.get(ino)?;
        let meta = node.meta;
        let linked = ino == Ino::ROOT || node.linked || self.displaced.contains_key(&ino);
        Ok(Attr {
            ino,
            kind: meta.kind,
            mode: u32::from(meta.mode),
            uid: meta.uid,
            gid: meta.gid,
            size: node.size(),
            nlink: match node.dir() {
                _ if !linked => 0,
                Some(dir) => dir.links(),
                None => 1,
            },
            rdev: meta.rdev,
            atime: to_time(self.atime(ino)?),
            mtime: to_time(meta.mtime),
            ctime: to_time(meta.ctime),
        })
    }

    /// The access time that was set, else what another tool has told, else the modification time.
    pub(in crate::vfs) fn atime(&self, ino: Ino) -> Result<Nanos, Error> {
        let node = self.get(ino)?;
        let told = || node.carried_info().and_then(attr::told_atime);
        let set = self.accessed.get(ino).or_else(told);
        Ok(set.unwrap_or(node.meta.mtime))
    }

    pub(in crate::vfs) fn set_atime(&mut self, ino: Ino, atime: Nanos) {
        self.accessed.set(ino, atime);
    }
}

mod numbering;
mod shape;

#[cfg(test)]
mod tests;
