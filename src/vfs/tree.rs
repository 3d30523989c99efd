//! The inode table: who is whose child, under which name, with which attributes and version.
//!
//! A path is derived from parents, never kept, so that renaming a directory is one edit. A node
//! stays while it is linked, or the kernel refers to it, or it is open, or it holds unsent bytes.
//! Everything here is memory work under one mutex; nothing waits, nothing talks to B2.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attr::{Meta, to_time};
use super::{Attr, Error, FileKind, Ino};
use crate::b2::{FileId, FileInfo, Sha1};
use crate::io::{Content, Version};

/// Counts local changes and the beginnings of listings, so that it can be told which came first.
pub(super) type Tick = u64;

/// A version in B2, as far as names need it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: FileId,
    pub(super) size: u64,
    pub(super) sha1: Option<Sha1>,
    /// B2 itself knows the SHA-1; if not, copies have to carry it in `large_file_sha1` (API §6).
    pub(super) hashed_by_b2: bool,
    pub(super) content_type: Option<Arc<str>>,
    /// File info keys that are not b2fuse's.
    pub(super) foreign: Option<Box<FileInfo>>,
    /// Made by this mount: it may remove the version once it has superseded it without loss.
    pub(super) ours: bool,
    /// Nothing visible lies under this version: deleting it exposes nothing (API §8).
    pub(super) bare: bool,
    /// Committed in the middle of writing; nobody ever closed the file in this state.
    pub(super) provisional: bool,
}

impl Stored {
    pub(super) fn version(&self) -> Version {
        Version {
            id: self.id.clone(),
            size: self.size,
            sha1: self.sha1,
        }
    }
}

/// Anything but a directory: one name, one object.
#[derive(Default)]
pub(super) struct Object {
    /// The version in B2; `None` until the first commit.
    pub(super) stored: Option<Stored>,
    /// Present while the file is open or has unsent bytes.
    pub(super) content: Option<Arc<Content>>,
    /// Attributes differ from those in B2.
    pub(super) attrs_pending: bool,
    /// The mtime was set by utimensat(2), not by writing: it must be stored exactly.
    pub(super) mtime_explicit: bool,
    /// The kernel's pages are those of the present content.
    pub(super) pages_valid: bool,
    /// Removed while it was open, under this full name: its versions go when nobody reads them any more.
    pub(super) purge: Option<String>,
    /// Nothing visible lay under the name when the file came to it (see `Stored::bare`).
    pub(super) bare_name: bool,
}

/// Whether a directory has its marker object in B2 (DESIGN §3).
#[derive(Debug, Clone, Default)]
pub(super) enum Marker {
    /// None known.
    #[default]
    Absent,
    /// To be written: the directory is empty, or (`attributes`) has attributes of its own.
    Wanted {
        attributes: bool,
        /// The marker it replaces, and whether this mount made it.
        old: Option<(FileId, bool)>,
    },
    /// In B2.
    Stored { id: FileId, ours: bool },
}

/// A directory's children and how much is known of them.
#[derive(Default)]
pub(super) struct Dir {
    /// In B2's order of names (API §4.2).
    pub(super) children: BTreeMap<Arc<str>, Ino>,
    /// When the last complete listing began.
    pub(super) listed: Option<Instant>,
    /// The last listing did not fit one page: single names are asked for instead.
    pub(super) large: bool,
    /// Names that B2 was asked for one by one and does not have.
    pub(super) absent: HashMap<Box<str>, Instant>,
    /// Serialises the calls that list this directory.
    pub(super) flight: Arc<tokio::sync::Mutex<()>>,
    /// While a listing is under way: names removed meanwhile, which its rows must not bring back.
    pub(super) removed: Option<BTreeSet<Arc<str>>>,
    pub(super) marker: Marker,
}

impl Dir {
    /// Most single absent names that are remembered per directory.
    const ABSENT_MAX: usize = 1024;

    pub(super) fn remember_absent(&mut self, name: &str, began: Instant) {
        if self.absent.len() >= Self::ABSENT_MAX {
            self.absent.clear();
        }
        self.absent.insert(name.into(), began);
    }
}

/// What a node is.
pub(super) enum Body {
    Dir(Box<Dir>),
    Object(Box<Object>),
}

/// One inode.
pub(super) struct Node {
    pub(super) parent: Ino,
    pub(super) name: Arc<str>,
    /// Still reachable by its name.
    pub(super) linked: bool,
    /// References that the kernel holds (`forget` gives them back).
    pub(super) lookups: u64,
    pub(super) opens: u32,
    /// Last local change of the name or of what it means.
    pub(super) changed: Tick,
    /// When B2 was last asked for this very name.
    pub(super) checked: Option<Instant>,
    pub(super) meta: Meta,
    /// Why the last try to store it failed.
    pub(super) failed: Option<String>,
    pub(super) body: Body,
}

impl Node {
    pub(super) fn object(&self) -> Option<&Object> {
        match &self.body {
            Body::Object(object) => Some(object),
            Body::Dir(_) => None,
        }
    }

    pub(super) fn object_mut(&mut self) -> Option<&mut Object> {
        match &mut self.body {
            Body::Object(object) => Some(object),
            Body::Dir(_) => None,
        }
    }

    pub(super) fn dir(&self) -> Option<&Dir> {
        match &self.body {
            Body::Dir(dir) => Some(dir),
            Body::Object(_) => None,
        }
    }

    pub(super) fn dir_mut(&mut self) -> Option<&mut Dir> {
        match &mut self.body {
            Body::Dir(dir) => Some(dir),
            Body::Object(_) => None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match &self.body {
            Body::Dir(_) => 0,
            Body::Object(object) => match (&object.content, &object.stored) {
                (Some(content), _) => content.size(),
                (None, Some(stored)) => stored.size,
                (None, None) => 0,
            },
        }
    }

    /// Bytes that B2 has not acknowledged.
    pub(super) fn content_dirty(&self) -> bool {
        self.object()
            .and_then(|object| object.content.as_ref())
            .is_some_and(|content| content.is_dirty())
    }

    /// Something that is not in B2 yet.
    pub(super) fn pending(&self) -> bool {
        match &self.body {
            Body::Dir(dir) => matches!(dir.marker, Marker::Wanted { .. }),
            Body::Object(object) => object.attrs_pending || self.content_dirty(),
        }
    }

    /// What this mount knows better than any listing.
    fn local(&self) -> bool {
        match &self.body {
            Body::Dir(_) => self.pending(),
            Body::Object(object) => object.stored.is_none() || self.pending(),
        }
    }
}

/// The inode table.
pub(super) struct Tree {
    nodes: HashMap<Ino, Node>,
    next: Ino,
    tick: Tick,
    /// Nodes that may have something not in B2 yet; the truth is `Node::pending`.
    pending: BTreeSet<Ino>,
}

impl Tree {
    /// A table with only the root.
    pub(super) fn new(root: Meta) -> Self {
        let mut tree = Self {
            nodes: HashMap::new(),
            next: Ino::ROOT.next(),
            tick: 0,
            pending: BTreeSet::new(),
        };
        tree.nodes.insert(
            Ino::ROOT,
            Node {
                parent: Ino::ROOT,
                name: Arc::from(""),
                linked: true,
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

    pub(super) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    pub(super) fn get(&self, ino: Ino) -> Result<&Node, Error> {
        self.nodes.get(&ino).ok_or(Error::Stale)
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> Result<&mut Node, Error> {
        self.nodes.get_mut(&ino).ok_or(Error::Stale)
    }

    pub(super) fn dir(&self, ino: Ino) -> Result<&Dir, Error> {
        self.get(ino)?.dir().ok_or(Error::NotDirectory)
    }

    pub(super) fn dir_mut(&mut self, ino: Ino) -> Result<&mut Dir, Error> {
        self.get_mut(ino)?.dir_mut().ok_or(Error::NotDirectory)
    }

    pub(super) fn object_mut(&mut self, ino: Ino) -> Result<&mut Object, Error> {
        self.get_mut(ino)?.object_mut().ok_or(Error::IsDirectory)
    }

    pub(super) fn child(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.dir(dir).ok()?.children.get(name).copied()
    }

    /// The names from the root down, joined by `/`; a directory's ends with `/`, the root's is empty.
    /// `None` once it, or a directory above it, is no longer linked.
    pub(super) fn path(&self, ino: Ino) -> Option<String> {
        let mut names = Vec::new();
        let mut at = self.nodes.get(&ino)?;
        let directory = matches!(at.body, Body::Dir(_));
        let mut here = ino;
        while here != Ino::ROOT {
            if !at.linked {
                return None;
            }
            names.push(&*at.name);
            here = at.parent;
            at = self.nodes.get(&here)?;
        }
        let mut path = String::new();
        for (i, name) in names.iter().rev().enumerate() {
            if i > 0 {
                path.push('/');
            }
            path.push_str(name);
        }
        if directory && ino != Ino::ROOT {
            path.push('/');
        }
        Some(path)
    }

    /// Whether `ino` is `ancestor` or lies below it.
    pub(super) fn is_below(&self, mut ino: Ino, ancestor: Ino) -> bool {
        loop {
            if ino == ancestor {
                return true;
            }
            match self.nodes.get(&ino) {
                Some(node) if ino != Ino::ROOT => ino = node.parent,
                _ => return false,
            }
        }
    }

    /// Adds a child; a node that had the name before is detached.
    pub(super) fn insert(
        &mut self,
        parent: Ino,
        name: Arc<str>,
        meta: Meta,
        body: Body,
    ) -> Result<Ino, Error> {
        if let Some(old) = self.child(parent, &name) {
            self.detach(old);
        }
        let ino = self.next;
        let changed = self.tick;
        self.dir_mut(parent)?
            .children
            .insert(Arc::clone(&name), ino);
        self.next = ino.next();
        self.nodes.insert(
            ino,
            Node {
                parent,
                name,
                linked: true,
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

    /// Marks a local change of a name: listings that began before lose against it.
    pub(super) fn touch(&mut self, ino: Ino) {
        let tick = self.tick();
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.changed = tick;
        }
    }

    /// Takes a node out of its directory, and all that is below it; it lives on while somebody uses it.
    pub(super) fn detach(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get_mut(&ino) else {
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
        if let Ok(dir) = self.dir_mut(parent) {
            if dir.children.get(&name) == Some(&ino) {
                dir.children.remove(&name);
            }
            if let Some(removed) = &mut dir.removed {
                removed.insert(name);
            }
        }
        for child in below {
            self.detach(child);
        }
        self.free_if_unused(ino);
    }

    /// Moves a node to another name; whatever had that name is detached.
    pub(super) fn relocate(&mut self, ino: Ino, parent: Ino, name: Arc<str>) -> Result<(), Error> {
        if let Some(old) = self.child(parent, &name)
            && old != ino
        {
            self.detach(old);
        }
        let node = self.get(ino)?;
        let (old_parent, old_name) = (node.parent, Arc::clone(&node.name));
        if let Ok(dir) = self.dir_mut(old_parent) {
            dir.children.remove(&old_name);
            if let Some(removed) = &mut dir.removed {
                removed.insert(old_name);
            }
        }
        let dir = self.dir_mut(parent)?;
        dir.children.insert(Arc::clone(&name), ino);
        dir.absent.remove(&*name);
        if let Some(removed) = &mut dir.removed {
            removed.remove(&name);
        }
        let node = self.get_mut(ino)?;
        node.parent = parent;
        node.name = name;
        self.touch(ino);
        Ok(())
    }

    /// Removes a node that nobody can reach any more.
    pub(super) fn free_if_unused(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get(&ino)
            && !node.linked
            && node.lookups == 0
            && node.opens == 0
        {
            if let Some(content) = node.object().and_then(|object| object.content.as_ref()) {
                content.discard();
            }
            self.nodes.remove(&ino);
            self.pending.remove(&ino);
        }
    }

    /// Whether the subtree holds anything that a listing which began at `began` cannot know of.
    pub(super) fn newer_than(&self, ino: Ino, began: Tick) -> bool {
        let Some(node) = self.nodes.get(&ino) else {
            return false;
        };
        let below = || {
            node.dir().is_some_and(|dir| {
                let mut children = dir.children.values();
                children.any(|child| self.newer_than(*child, began))
            })
        };
        node.local() || node.changed > began || below()
    }

    /// All nodes of a subtree, the root of it first.
    pub(super) fn subtree(&self, ino: Ino) -> Vec<Ino> {
        let mut all = vec![ino];
        let mut at = 0;
        while let Some(one) = all.get(at).copied() {
            if let Some(dir) = self.nodes.get(&one).and_then(Node::dir) {
                all.extend(dir.children.values());
            }
            at += 1;
        }
        all
    }

    /// Notes that a node may have something to store.
    pub(super) fn note_pending(&mut self, ino: Ino) {
        self.pending.insert(ino);
    }

    /// The nodes that have something to store, and could be stored (unlinked ones have no name).
    pub(super) fn pending(&mut self) -> Vec<Ino> {
        let nodes = &self.nodes;
        self.pending
            .retain(|ino| nodes.get(ino).is_some_and(Node::pending));
        self.pending
            .iter()
            .copied()
            .filter(|ino| self.path(*ino).is_some())
            .collect()
    }

    /// What stat(2) shows.
    pub(super) fn attr(&self, ino: Ino) -> Result<Attr, Error> {
        let node = self.get(ino)?;
        let meta = node.meta;
        let linked = ino == Ino::ROOT || node.linked;
        let mtime = to_time(meta.mtime);
        Ok(Attr {
            ino,
            kind: meta.kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: node.size(),
            nlink: match (linked, meta.kind) {
                (false, _) => 0,
                (true, FileKind::Directory) => 2,
                (true, _) => 1,
            },
            rdev: meta.rdev,
            atime: mtime,
            mtime,
            ctime: to_time(meta.ctime.max(meta.mtime)),
        })
    }

    /// How much longer B2 need not be asked about a node.
    pub(super) fn fresh_for(&self, ino: Ino, ttl: Duration, now: Instant) -> Duration {
        let Some(node) = self.nodes.get(&ino) else {
            return Duration::ZERO;
        };
        if ino == Ino::ROOT || node.local() {
            return ttl;
        }
        let listed = self.dir(node.parent).ok().and_then(|dir| dir.listed);
        let Some(known) = listed.max(node.checked) else {
            return Duration::ZERO;
        };
        ttl.saturating_sub(now.saturating_duration_since(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let settings = super::super::tests::settings();
        Tree::new(Meta::default_for(FileKind::Directory, &settings, 0))
    }

    fn add(tree: &mut Tree, parent: Ino, name: &str, directory: bool) -> Ino {
        let settings = super::super::tests::settings();
        let (kind, body) = if directory {
            (FileKind::Directory, Body::Dir(Box::default()))
        } else {
            (FileKind::File, Body::Object(Box::default()))
        };
        let meta = Meta::default_for(kind, &settings, 0);
        tree.insert(parent, Arc::from(name), meta, body)
            .expect("the parent is a directory")
    }

    #[test]
    fn renaming_a_directory_renames_what_is_below_it() {
        let mut tree = tree();
        let a = add(&mut tree, Ino::ROOT, "a", true);
        let b = add(&mut tree, a, "b", true);
        let c = add(&mut tree, b, "c", false);
        assert_eq!(tree.path(c).as_deref(), Some("a/b/c"));
        tree.relocate(a, Ino::ROOT, Arc::from("x")).expect("moves");
        assert_eq!(tree.path(c).as_deref(), Some("x/b/c"));
        assert_eq!(tree.path(b).as_deref(), Some("x/b/"));
        assert_eq!(tree.path(Ino::ROOT).as_deref(), Some(""));
        assert_eq!(tree.child(Ino::ROOT, "a"), None);
        assert!(tree.is_below(c, a) && !tree.is_below(a, c));
    }

    #[test]
    fn what_is_removed_lives_until_nobody_uses_it() {
        let mut tree = tree();
        let d = add(&mut tree, Ino::ROOT, "d", true);
        let f = add(&mut tree, d, "f", false);
        tree.get_mut(f).expect("there").opens = 1;
        tree.detach(d);
        assert!(tree.get(d).is_err());
        assert_eq!(tree.path(f), None);
        assert_eq!(tree.attr(f).expect("still open").nlink, 0);
        tree.get_mut(f).expect("there").opens = 0;
        tree.free_if_unused(f);
        assert!(tree.get(f).is_err());
    }

    #[test]
    fn a_rename_detaches_what_had_the_name() {
        let mut tree = tree();
        let a = add(&mut tree, Ino::ROOT, "a", false);
        let b = add(&mut tree, Ino::ROOT, "b", false);
        tree.get_mut(b).expect("there").lookups = 1;
        tree.relocate(a, Ino::ROOT, Arc::from("b")).expect("moves");
        assert_eq!(tree.child(Ino::ROOT, "b"), Some(a));
        assert_eq!(tree.path(b), None);
        assert_eq!(tree.path(a).as_deref(), Some("b"));
    }

    #[test]
    fn a_change_deep_below_protects_the_directories_above_it() {
        let mut tree = tree();
        let d = add(&mut tree, Ino::ROOT, "d", true);
        let e = add(&mut tree, d, "e", true);
        let began = tree.tick();
        assert!(!tree.newer_than(d, began));
        let f = add(&mut tree, e, "f", false);
        tree.touch(f);
        assert!(tree.newer_than(d, began));
    }

    #[test]
    fn removals_during_a_listing_are_remembered_for_it() {
        let mut tree = tree();
        let f = add(&mut tree, Ino::ROOT, "f", false);
        tree.dir_mut(Ino::ROOT).expect("root").removed = Some(BTreeSet::new());
        tree.detach(f);
        let removed = tree.dir(Ino::ROOT).expect("root").removed.as_ref();
        assert!(removed.is_some_and(|names| names.contains("f")));
    }
}
