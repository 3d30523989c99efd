//! What lies around a file: the small files that a walk comes to next, as far as they are known.

use std::ops::Bound;
use std::sync::Arc;

use hashlink::LruCache;

use super::{Order, SMALL};
use crate::vfs::names::node::Body;
use crate::vfs::names::tree::Tree;
use crate::vfs::{FileKind, Ino};

/// Inode numbers that are kept in order; the lists of larger directories are not.
const SORTED: usize = 128 << 10;
/// Directories whose numbers are kept in order.
const LISTS: usize = 64;

/// Directories with their entries in the order of their inode numbers, which a walk needs again for each file.
pub(super) struct Sorted {
    lists: LruCache<Ino, Arc<[Ino]>>,
    entries: usize,
}

impl Default for Sorted {
    fn default() -> Self {
        Self {
            lists: LruCache::new(LISTS),
            entries: 0,
        }
    }
}

impl Sorted {
    /// The entries of a directory, made anew where one is missing.
    fn of(&mut self, tree: &Tree, dir: Ino, with: Option<Ino>) -> Arc<[Ino]> {
        let Ok(children) = tree.dir(dir).map(|dir| &dir.children) else {
            return Arc::default();
        };
        if let Some(list) = self.lists.get(&dir)
            && (list.len() == children.len()
                || with.is_some_and(|ino| list.binary_search(&ino).is_ok()))
        {
            return Arc::clone(list);
        }
        self.forget(dir);
        if children.len() > SORTED {
            return Arc::default();
        }
        while self.entries + children.len() > SORTED || self.lists.len() == LISTS {
            let Some((_, list)) = self.lists.remove_lru() else {
                break;
            };
            self.entries -= list.len();
        }
        let mut list: Arc<[Ino]> = children.values().copied().collect();
        if let Some(list) = Arc::get_mut(&mut list) {
            list.sort_unstable();
        }
        self.entries += list.len();
        self.lists.insert(dir, Arc::clone(&list));
        list
    }

    fn forget(&mut self, dir: Ino) {
        if let Some(list) = self.lists.remove(&dir) {
            self.entries -= list.len();
        }
    }
}

/// The small files that a walk in this order comes to after one: those of its directory, and of the directories that follow.
pub(super) fn successors(
    tree: &Tree,
    sorted: &mut Sorted,
    file: Ino,
    order: Order,
    count: usize,
) -> Vec<Ino> {
    let mut search = Search {
        tree,
        sorted,
        count,
        // Not every name is a small file, and this runs under the lock.
        steps: 64 + 4 * count,
        found: Vec::new(),
    };
    let mut at = file;
    while let Ok(node) = tree.get(at)
        && node.linked
        && at != Ino::ROOT
        && search.goes_on()
    {
        match order {
            Order::Names => search.below_by_name(node.parent, Some(&node.name)),
            Order::Numbers => search.below_by_number(node.parent, Some(at)),
        }
        at = node.parent;
    }
    search.found
}

struct Search<'a> {
    tree: &'a Tree,
    sorted: &'a mut Sorted,
    count: usize,
    steps: usize,
    found: Vec<Ino>,
}

impl Search<'_> {
    fn goes_on(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0 && self.found.len() < self.count
    }

    /// The small files in a directory after a name, then those in the directories there.
    fn below_by_name(&mut self, dir: Ino, after: Option<&str>) {
        let Ok(dir) = self.tree.dir(dir) else { return };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let children = || dir.children.range::<str, _>((start, Bound::Unbounded));
        for (_, child) in children() {
            if !self.goes_on() {
                return;
            }
            if self.is_small_file(*child) {
                self.found.push(*child);
            }
        }
        for (_, child) in children() {
            if !self.goes_on() {
                return;
            }
            self.below_by_name(*child, None);
        }
    }

    /// The small files in a directory after a number; those in a directory come where its own number stands.
    fn below_by_number(&mut self, dir: Ino, after: Option<Ino>) {
        let list = self.sorted.of(self.tree, dir, after);
        let start = after.map_or(0, |ino| list.partition_point(|other| *other <= ino));
        for child in &list[start..] {
            if !self.goes_on() {
                return;
            }
            if self.is_small_file(*child) {
                self.found.push(*child);
            } else {
                self.below_by_number(*child, None);
            }
        }
    }

    /// Not open either: then somebody reads it already.
    fn is_small_file(&self, ino: Ino) -> bool {
        let Ok(node) = self.tree.get(ino) else {
            return false;
        };
        let Body::Object(object) = &node.body else {
            return false;
        };
        object.content.is_none()
            && node.meta.kind == FileKind::File
            && object
                .state
                .stored()
                .is_some_and(|stored| (1..=SMALL).contains(&stored.size) && !stored.customer_key)
    }
}
