//! Files that have lost their names to other clients while they were open, or had something unsent.
//!
//! Such a file is not an unlinked one: its readers stay with their version, and what is written to it is stored
//! under the name that it had, as a version of its own; with that it takes the name back.

use std::sync::Arc;

use super::tree::Tree;
use crate::vfs::Ino;

impl Tree {
    /// Notes the path of what is about to lose its name, and of all below it.
    pub(in crate::vfs) fn displace(&mut self, ino: Ino) {
        for one in self.subtree(ino) {
            let Ok(node) = self.get(one) else { continue };
            // To be stored under the name takes something that somebody has written.
            let unsent = node.content_dirty() && !node.only_created();
            let kept = node.object().is_some() && (node.opens > 0 || unsent);
            if kept && let Some(path) = self.path(one) {
                self.displaced.insert(one, path.into());
            }
        }
    }

    /// Where an inode is, or was when it lost its name; there its content is stored. `None` once it was removed here.
    pub(in crate::vfs) fn place(&self, ino: Ino) -> Option<String> {
        let displaced = || self.displaced.get(&ino).map(|path| String::from(&**path));
        self.path(ino).or_else(displaced)
    }

    /// Whether a content can be stored for an inode: a displaced one takes its name back, unless a directory has it now,
    /// or a file one of the directories above it.
    pub(in crate::vfs) fn may_take(&self, ino: Ino) -> bool {
        let Some(path) = self.displaced.get(&ino) else {
            return true;
        };
        let mut here = Ino::ROOT;
        let mut rest = &**path;
        while let Some((component, beneath)) = rest.split_once('/') {
            match self.child(here, component) {
                Some(child) if self.dir(child).is_ok() => here = child,
                Some(_) => return false,
                None => return true, // with the content, it is there again
            }
            rest = beneath;
        }
        self.child(here, rest)
            .is_none_or(|child| self.dir(child).is_err())
    }

    /// A displaced inode has nothing to store under its name. Who has it open may still write.
    pub(in crate::vfs) fn gives_way(&mut self, ino: Ino) {
        if self.get(ino).is_ok_and(|node| node.opens == 0) {
            self.displaced.remove(&ino);
            self.free_if_unused(ino);
        }
    }

    /// The directory that a path leads into, and the last name of it.
    pub(in crate::vfs) fn locate(&self, path: &str) -> Option<(Ino, Arc<str>)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut here = Ino::ROOT;
        for component in above.split('/').filter(|component| !component.is_empty()) {
            here = self.child(here, component)?;
        }
        self.dir(here).ok()?;
        Some((here, Arc::from(name)))
    }

    /// The part of a path that ends with the first directory that is not there, or all of it.
    pub(in crate::vfs) fn first_missing<'a>(&self, path: &'a str) -> &'a str {
        let mut here = Ino::ROOT;
        for (at, _) in path.match_indices('/') {
            let component = path[..at].rsplit('/').next().unwrap_or_default();
            match self.child(here, component) {
                Some(child) if self.dir(child).is_ok() => here = child,
                _ => return &path[..at],
            }
        }
        path
    }

    /// A displaced inode has been stored under its name: it takes that back from whoever has it. Tells the
    /// directory and the name.
    pub(in crate::vfs) fn take_back_name(&mut self, ino: Ino) -> Option<(Ino, Arc<str>)> {
        let path = self.displaced.get(&ino)?.clone();
        let (parent, name) = self.locate(&path)?;
        if let Some(other) = self.child(parent, &name) {
            if self.dir(other).is_ok() {
                return None;
            }
            self.forget_name(other);
        }
        let node = self.get_mut(ino).ok()?;
        node.parent = parent;
        node.name = Arc::clone(&name);
        node.linked = true;
        self.add_child(parent, Arc::clone(&name), ino, false).ok()?;
        self.displaced.remove(&ino);
        self.touch(ino);
        Some((parent, name))
    }
}
