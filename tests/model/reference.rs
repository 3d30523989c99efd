//! A filesystem in memory that does what Linux does: the measure of the others.
//!
//! Errors come in the kernel's order of precedence; `the_reference_agrees_with_linux` proves it.

mod apply;

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::operation::{Operation, Range, SLOTS};

/// An errno, or what was asked for.
pub(crate) type Outcome = Result<Answer, i32>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Bytes(Vec<u8>),
    Names(Vec<String>),
    Size(u64),
    Stat(Stat),
    Target(String),
    Xattrs(Xattrs),
}

/// Extended attributes by their names.
pub(crate) type Xattrs = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of all but directories, which count differently everywhere; 0 there.
    pub(crate) nlink: u32,
    /// The same.
    pub(crate) size: u64,
    /// Where it was set and nothing has changed it since; else whatever it is, is right.
    pub(crate) mtime: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// Every one leads nowhere.
    Symlink,
    /// Nobody opens one: that would wait for a second.
    Fifo,
}

type Id = usize;

#[derive(Debug, Clone)]
struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Option<SystemTime>,
    linked: bool,
    xattrs: Xattrs,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<String, Id>),
    Symlink(String),
    Fifo,
}

const ROOT: Id = 0;

#[derive(Debug)]
pub(crate) struct Reference {
    nodes: Vec<Node>,
    slots: [Option<(Id, bool)>; SLOTS],
}

impl Node {
    fn new(mode: u32, body: Body) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime: None,
            linked: true,
            xattrs: Xattrs::new(),
            body,
        }
    }

    fn file(mode: u32) -> Self {
        Self::new(mode, Body::File(Vec::new()))
    }

    fn directory(mode: u32) -> Self {
        Self::new(mode, Body::Directory(BTreeMap::new()))
    }

    fn kind(&self) -> Kind {
        match self.body {
            Body::File(_) => Kind::File,
            Body::Directory(_) => Kind::Directory,
            Body::Symlink(_) => Kind::Symlink,
            Body::Fifo => Kind::Fifo,
        }
    }
}

impl Reference {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::directory(0o755)],
            slots: [None; SLOTS],
        }
    }

    pub(crate) fn open_slots(&self) -> Vec<usize> {
        (0..SLOTS)
            .filter(|slot| self.slots[*slot].is_some())
            .collect()
    }

    /// Every path of that kind, the root among the directories.
    pub(crate) fn paths(&self, kind: Kind) -> Vec<String> {
        let mut found = Vec::new();
        if kind == Kind::Directory {
            found.push(String::new());
        }
        self.collect(ROOT, "", kind, &mut found);
        found
    }

    fn collect(&self, id: Id, at: &str, kind: Kind, found: &mut Vec<String>) {
        let Body::Directory(children) = &self.nodes[id].body else {
            return;
        };
        for (name, child) in children {
            let path = if at.is_empty() {
                name.clone()
            } else {
                format!("{at}/{name}")
            };
            if self.kind(*child) == kind {
                found.push(path.clone());
            }
            self.collect(*child, &path, kind, found);
        }
    }

    fn kind(&self, id: Id) -> Kind {
        self.nodes[id].kind()
    }

    fn children(&self, id: Id) -> Result<&BTreeMap<String, Id>, i32> {
        match &self.nodes[id].body {
            Body::Directory(children) => Ok(children),
            Body::Symlink(_) => Err(libc::ENOENT),
            Body::File(_) | Body::Fifo => Err(libc::ENOTDIR),
        }
    }

    fn children_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        self.nodes[id].mtime = None;
        match &mut self.nodes[id].body {
            Body::Directory(children) => children,
            _ => panic!("a directory was looked up"),
        }
    }

    fn content(&self, id: Id) -> Result<&Vec<u8>, i32> {
        match &self.nodes[id].body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(libc::EISDIR),
            Body::Symlink(_) => Err(libc::ENOENT),
            Body::Fifo => Err(libc::ENXIO),
        }
    }

    /// To change it: the time is the filesystem's own from here on.
    fn content_mut(&mut self, id: Id) -> Result<&mut Vec<u8>, i32> {
        let node = &mut self.nodes[id];
        match &mut node.body {
            Body::File(content) => {
                node.mtime = None;
                Ok(content)
            }
            Body::Directory(_) => Err(libc::EISDIR),
            Body::Symlink(_) => Err(libc::ENOENT),
            Body::Fifo => Err(libc::ENXIO),
        }
    }

    fn find(&self, path: &str) -> Result<Id, i32> {
        let mut id = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            id = *self.children(id)?.get(name).ok_or(libc::ENOENT)?;
        }
        Ok(id)
    }

    /// As `find`, by calls that follow a link.
    fn follow(&self, path: &str) -> Result<Id, i32> {
        let id = self.find(path)?;
        if self.kind(id) == Kind::Symlink {
            return Err(libc::ENOENT);
        }
        Ok(id)
    }

    /// Of `user.*`: nothing but files and directories has them.
    fn xattrs(&mut self, path: &str, otherwise: i32) -> Result<&mut Xattrs, i32> {
        let id = self.follow(path)?;
        if self.kind(id) == Kind::Fifo {
            return Err(otherwise);
        }
        Ok(&mut self.nodes[id].xattrs)
    }

    /// The directory of a path's last name, and that name; the root has none.
    fn parent<'a>(&self, path: &'a str) -> Result<(Id, &'a str), i32> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let id = self.find(parent)?;
        self.children(id)?;
        Ok((id, name))
    }

    /// In a directory with set-group-id everything gets its group, and directories the bit as well.
    fn add(&mut self, parent: Id, name: &str, mut node: Node) -> Id {
        let id = self.nodes.len();
        if self.nodes[parent].mode & libc::S_ISGID != 0 {
            node.gid = self.nodes[parent].gid;
            if node.kind() == Kind::Directory {
                node.mode |= libc::S_ISGID;
            }
        }
        self.nodes.push(node);
        self.children_mut(parent).insert(name.to_owned(), id);
        id
    }

    fn make(&mut self, path: &str, node: Node) -> Outcome {
        let (parent, last) = self.parent(path)?;
        if self.children(parent)?.contains_key(last) {
            return Err(libc::EEXIST);
        }
        self.add(parent, last, node);
        Ok(Answer::Done)
    }

    fn remove(&mut self, parent: Id, name: &str) {
        if let Some(id) = self.children_mut(parent).remove(name) {
            self.nodes[id].linked = false;
        }
    }

    fn slot(&self, slot: usize) -> Result<(Id, bool), i32> {
        self.slots[slot].ok_or(libc::EBADF)
    }

    fn stat(&self, id: Id) -> Stat {
        let node = &self.nodes[id];
        let size = match &node.body {
            Body::File(content) => content.len(),
            Body::Symlink(target) => target.len(),
            Body::Directory(_) | Body::Fifo => 0,
        };
        Stat {
            kind: node.kind(),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            nlink: u32::from(node.linked && node.kind() != Kind::Directory),
            size: size as u64,
            mtime: node.mtime,
        }
    }

    fn open(
        &mut self,
        path: &str,
        create: bool,
        exclusive: bool,
        truncate: bool,
    ) -> Result<Id, i32> {
        let (parent, name) = self.parent(path)?;
        match self.children(parent)?.get(name).copied() {
            Some(_) if exclusive => Err(libc::EEXIST),
            Some(id) => {
                self.content(id)?;
                if truncate {
                    self.content_mut(id)?.clear();
                }
                Ok(id)
            }
            None if create => Ok(self.add(parent, name, Node::file(0o644))),
            None => Err(libc::ENOENT),
        }
    }

    fn rename(&mut self, from: &str, to: &str, no_replace: bool) -> Outcome {
        let source = self.parent(from)?;
        let target = self.parent(to)?;
        let old = *self.children(source.0)?.get(source.1).ok_or(libc::ENOENT)?;
        let new = self.children(target.0)?.get(target.1).copied();
        if new.is_some() && no_replace {
            return Err(libc::EEXIST);
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(libc::EINVAL);
        }
        if from.starts_with(&format!("{to}/")) {
            return Err(libc::ENOTEMPTY);
        }
        if new == Some(old) {
            return Ok(Answer::Done);
        }
        if let Some(new) = new {
            match (self.kind(old), self.kind(new)) {
                (Kind::Directory, Kind::Directory) if !self.children(new)?.is_empty() => {
                    return Err(libc::ENOTEMPTY);
                }
                (Kind::Directory, Kind::Directory) => {}
                (Kind::Directory, _) => return Err(libc::ENOTDIR),
                (_, Kind::Directory) => return Err(libc::EISDIR),
                _ => {}
            }
            self.nodes[new].linked = false;
        }
        self.children_mut(source.0).remove(source.1);
        self.children_mut(target.0).insert(target.1.to_owned(), old);
        Ok(Answer::Done)
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}
