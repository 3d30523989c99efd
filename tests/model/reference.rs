//! A filesystem in memory that does what Linux does: the measure of the others.
//!
//! Errors come in the kernel's order of precedence; `the_reference_agrees_with_linux` proves it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::operation::{Operation, SLOTS};

/// An errno, or what was asked for.
pub(crate) type Outcome = Result<Answer, i32>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Bytes(Vec<u8>),
    Names(Vec<String>),
    Size(u64),
    Stat(Stat),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Of files; 0 of directories.
    pub(crate) size: u64,
    /// Where it was set and nothing has changed it since; else whatever it is, is right.
    pub(crate) mtime: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

type Id = usize;

#[derive(Debug, Clone)]
struct Node {
    mode: u32,
    mtime: Option<SystemTime>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<String, Id>),
}

const ROOT: Id = 0;

#[derive(Debug)]
pub(crate) struct Reference {
    nodes: Vec<Node>,
    slots: [Option<(Id, bool)>; SLOTS],
}

fn file(mode: u32) -> Node {
    Node {
        mode,
        mtime: None,
        body: Body::File(Vec::new()),
    }
}

fn directory(mode: u32) -> Node {
    Node {
        mode,
        mtime: None,
        body: Body::Directory(BTreeMap::new()),
    }
}

impl Reference {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![directory(0o755)],
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
        match self.nodes[id].body {
            Body::File(_) => Kind::File,
            Body::Directory(_) => Kind::Directory,
        }
    }

    fn children(&self, id: Id) -> Result<&BTreeMap<String, Id>, i32> {
        match &self.nodes[id].body {
            Body::Directory(children) => Ok(children),
            Body::File(_) => Err(libc::ENOTDIR),
        }
    }

    fn children_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        self.nodes[id].mtime = None;
        match &mut self.nodes[id].body {
            Body::Directory(children) => children,
            Body::File(_) => panic!("a directory was looked up"),
        }
    }

    fn content(&self, id: Id) -> Result<&Vec<u8>, i32> {
        match &self.nodes[id].body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(libc::EISDIR),
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
        }
    }

    fn find(&self, path: &str) -> Result<Id, i32> {
        let mut id = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            id = *self.children(id)?.get(name).ok_or(libc::ENOENT)?;
        }
        Ok(id)
    }

    /// The directory of a path's last name, and that name; the root has none.
    fn parent<'a>(&self, path: &'a str) -> Result<(Id, &'a str), i32> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let id = self.find(parent)?;
        self.children(id)?;
        Ok((id, name))
    }

    fn add(&mut self, parent: Id, name: &str, node: Node) -> Id {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.children_mut(parent).insert(name.to_owned(), id);
        id
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Open {
                slot,
                name,
                create,
                exclusive,
                truncate,
                append,
            } => {
                self.slots[*slot] = None;
                let id = self.open(name, *create, *exclusive, *truncate)?;
                self.slots[*slot] = Some((id, *append));
                Ok(Answer::Done)
            }
            Operation::Close { slot } => {
                self.slots[*slot] = None;
                Ok(Answer::Done)
            }
            Operation::ReadAt { slot, offset, len } => {
                let content = self.content(self.slot(*slot)?.0)?;
                let from = content.len().min(*offset as usize);
                let to = content.len().min(from + len);
                Ok(Answer::Bytes(content[from..to].to_vec()))
            }
            Operation::WriteAt { slot, offset, data } => {
                let (id, append) = self.slot(*slot)?;
                let content = self.content_mut(id)?;
                let at = if append {
                    content.len()
                } else {
                    *offset as usize
                };
                write(content, at, &data.bytes());
                Ok(Answer::Done)
            }
            Operation::SetLen { slot, len } => {
                let (id, _) = self.slot(*slot)?;
                self.content_mut(id)?.resize(*len as usize, 0);
                Ok(Answer::Done)
            }
            Operation::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                len,
            } => {
                let (source, _) = self.slot(*from)?;
                let (target, append) = self.slot(*to)?;
                if append {
                    return Err(libc::EBADF);
                }
                let content = self.content(source)?;
                let (start, len) = (*from_offset as usize, *len);
                // The kernel shortens the range first, and then looks whether the ends overlap.
                let bytes =
                    content[content.len().min(start)..content.len().min(start + len)].to_vec();
                let apart = from_offset.abs_diff(*to_offset) as usize >= bytes.len();
                if source == target && !apart {
                    return Err(libc::EINVAL);
                }
                if !bytes.is_empty() {
                    write(self.content_mut(target)?, *to_offset as usize, &bytes);
                }
                Ok(Answer::Size(bytes.len() as u64))
            }
            Operation::Copy { from, to } => {
                let source = self.open(from, false, false, false)?;
                let bytes = self.content(source)?.clone();
                let target = self.open(to, true, false, false)?;
                if source != target {
                    *self.content_mut(target)? = bytes;
                }
                Ok(Answer::Done)
            }
            Operation::Sync { slot } => self.slot(*slot).map(|_| Answer::Done),
            Operation::StatSlot { slot } => {
                let (id, _) = self.slot(*slot)?;
                Ok(Answer::Size(self.content(id)?.len() as u64))
            }
            Operation::Put { name, data } => {
                let id = self.open(name, true, false, true)?;
                *self.content_mut(id)? = data.bytes();
                Ok(Answer::Done)
            }
            Operation::Append { name, data } => {
                let id = self.open(name, false, false, false)?;
                self.content_mut(id)?.extend_from_slice(&data.bytes());
                Ok(Answer::Done)
            }
            Operation::Truncate { name, len } => {
                let id = self.find(name)?;
                self.content_mut(id)?.resize(*len as usize, 0);
                Ok(Answer::Done)
            }
            Operation::Read { name } => {
                let id = self.find(name)?;
                Ok(Answer::Bytes(self.content(id)?.clone()))
            }
            Operation::Rename {
                from,
                to,
                no_replace,
            } => self.rename(from, to, *no_replace),
            Operation::Unlink { name } => {
                let (parent, last) = self.parent(name)?;
                let id = *self.children(parent)?.get(last).ok_or(libc::ENOENT)?;
                self.content(id)?;
                self.children_mut(parent).remove(last);
                Ok(Answer::Done)
            }
            Operation::Mkdir { name, mode } => {
                let (parent, last) = self.parent(name)?;
                if self.children(parent)?.contains_key(last) {
                    return Err(libc::EEXIST);
                }
                self.add(parent, last, directory(*mode));
                Ok(Answer::Done)
            }
            Operation::Rmdir { name } => {
                let (parent, last) = self.parent(name)?;
                let id = *self.children(parent)?.get(last).ok_or(libc::ENOENT)?;
                if !self.children(id)?.is_empty() {
                    return Err(libc::ENOTEMPTY);
                }
                self.children_mut(parent).remove(last);
                Ok(Answer::Done)
            }
            Operation::List { name } => {
                let id = self.find(name)?;
                Ok(Answer::Names(self.children(id)?.keys().cloned().collect()))
            }
            Operation::Stat { name } => {
                let id = self.find(name)?;
                Ok(Answer::Stat(self.stat(id)))
            }
            Operation::Chmod { name, mode } => {
                let id = self.find(name)?;
                self.nodes[id].mode = *mode;
                Ok(Answer::Done)
            }
            Operation::SetTime { name, at } => {
                let id = self.find(name)?;
                self.nodes[id].mtime = Some(*at);
                Ok(Answer::Done)
            }
            Operation::Compare => Ok(Answer::Done),
            Operation::Remount => {
                self.slots = [None; SLOTS];
                Ok(Answer::Done)
            }
        }
    }

    fn slot(&self, slot: usize) -> Result<(Id, bool), i32> {
        self.slots[slot].ok_or(libc::EBADF)
    }

    fn stat(&self, id: Id) -> Stat {
        let node = &self.nodes[id];
        Stat {
            kind: self.kind(id),
            mode: node.mode,
            size: self.content(id).map_or(0, |content| content.len() as u64),
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
            None if create => Ok(self.add(parent, name, file(0o644))),
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
                (Kind::Directory, Kind::File) => return Err(libc::ENOTDIR),
                (Kind::File, Kind::Directory) => return Err(libc::EISDIR),
                (Kind::Directory, Kind::Directory) if !self.children(new)?.is_empty() => {
                    return Err(libc::ENOTEMPTY);
                }
                _ => {}
            }
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
