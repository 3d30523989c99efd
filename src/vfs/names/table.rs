//! Inodes by number, in pages: numbers that follow each other stand together, without a pointer, a
//! key or an allocation for each.

use std::collections::HashMap;

use crate::vfs::Ino;
use crate::vfs::names::node::Node;

/// Inodes of a page. Names that are listed together get numbers that follow each other, and are
/// dropped together, so a page rarely stays for the sake of one.
const PAGE: u64 = 64;

#[derive(Default)]
pub(in crate::vfs) struct Table {
    pages: HashMap<u64, Page>,
    len: usize,
}

struct Page {
    used: usize,
    nodes: Box<[Option<Node>]>,
}

/// The page of an inode, and its place there. Real inodes are odd.
fn place(ino: Ino) -> (u64, usize) {
    let index = ino.0 >> 1;
    (index / PAGE, (index % PAGE) as usize)
}

impl Table {
    /// How many there are.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.len
    }

    pub(in crate::vfs) fn get(&self, ino: Ino) -> Option<&Node> {
        let (page, at) = place(ino);
        self.pages.get(&page)?.nodes.get(at)?.as_ref()
    }

    pub(in crate::vfs) fn get_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        let (page, at) = place(ino);
        self.pages.get_mut(&page)?.nodes.get_mut(at)?.as_mut()
    }

    pub(in crate::vfs) fn insert(&mut self, ino: Ino, node: Node) {
        let (page, at) = place(ino);
        let page = self.pages.entry(page).or_insert_with(|| Page {
            used: 0,
            nodes: std::iter::repeat_with(|| None)
                .take(PAGE as usize)
                .collect(),
        });
        if page.nodes[at].replace(node).is_none() {
            page.used += 1;
            self.len += 1;
        }
    }

    pub(in crate::vfs) fn remove(&mut self, ino: Ino) {
        let (number, at) = place(ino);
        let Some(page) = self.pages.get_mut(&number) else {
            return;
        };
        if page.nodes[at].take().is_some() {
            page.used -= 1;
            self.len -= 1;
            if page.used == 0 {
                self.pages.remove(&number);
            }
        }
    }

    /// Every inode with its number, in no order.
    pub(in crate::vfs) fn iter(&self) -> impl Iterator<Item = (Ino, &Node)> {
        self.pages.iter().flat_map(|(number, page)| {
            let first = number * PAGE;
            let nodes = page.nodes.iter().enumerate();
            nodes.filter_map(move |(at, node)| {
                Some((Ino((first + at as u64) << 1 | 1), node.as_ref()?))
            })
        })
    }
}
