//! The shape of the tree: paths, what is above a node and what below.

use super::{Tick, Tree};
use crate::vfs::Ino;
use crate::vfs::names::node::{Body, Node};

impl Tree {
    /// The names from the root down, joined by `/`; a directory's ends with `/`, the root's is empty.
    /// `None` once it, or a directory above it, is no longer linked.
    pub(in crate::vfs) fn path(&self, ino: Ino) -> Option<String> {
        let mut names = Vec::new();
        let mut at = self.nodes.get(ino)?;
        let directory = matches!(at.body, Body::Dir(_));
        let mut here = ino;
        while here != Ino::ROOT {
            if !at.linked {
                return None;
            }
            names.push(&*at.name);
            here = at.parent;
            at = self.nodes.get(here)?;
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

    /// Whether a node and all directories above it are linked.
    pub(in crate::vfs) fn reachable(&self, ino: Ino) -> bool {
        let mut here = ino;
        while here != Ino::ROOT {
            match self.nodes.get(here) {
                Some(node) if node.linked => here = node.parent,
                _ => return false,
            }
        }
        true
    }

    /// How many directories are above a node.
    pub(in crate::vfs::names) fn depth(&self, ino: Ino) -> usize {
        let mut depth = 0;
        let mut here = ino;
        while here != Ino::ROOT {
            let Some(node) = self.nodes.get(here) else {
                break;
            };
            here = node.parent;
            depth += 1;
        }
        depth
    }

    /// Whether `ino` is `ancestor` or lies below it.
    pub(in crate::vfs) fn is_below(&self, mut ino: Ino, ancestor: Ino) -> bool {
        loop {
            if ino == ancestor {
                return true;
            }
            match self.nodes.get(ino) {
                Some(node) if ino != Ino::ROOT => ino = node.parent,
                _ => return false,
            }
        }
    }

    /// Whether the subtree holds anything that a listing which began at `began` cannot know of.
    pub(in crate::vfs) fn newer_than(&self, ino: Ino, began: Tick) -> bool {
        let Some(node) = self.nodes.get(ino) else {
            return false;
        };
        let below = || {
            node.dir().is_some_and(|dir| {
                let mut children = dir.children.values();
                children.any(|child| self.newer_than(*child, began))
            })
        };
        node.local() || self.copying.contains(&ino) || node.changed > began || below()
    }

    /// All nodes of a subtree, the root of it first.
    pub(in crate::vfs) fn subtree(&self, ino: Ino) -> Vec<Ino> {
        let mut all = vec![ino];
        let mut at = 0;
        while let Some(one) = all.get(at).copied() {
            if let Some(dir) = self.nodes.get(one).and_then(Node::dir) {
                all.extend(dir.children.values());
            }
            at += 1;
        }
        all
    }
}
