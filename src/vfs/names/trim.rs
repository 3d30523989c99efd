//! Dropping names that nobody uses, so that what is known of a bucket stays bounded.
//!
//! Whole directories at a time, those used longest ago first, and what is in one before itself; they are
//! listed again when somebody asks. What is open, has something to store, or is referred to by the kernel
//! stays. Of the latter the kernel is told to forget files, so that they can go the next time. Not directories:
//! to forget one it takes its name away also from a process that works in it, and unmounts what is mounted
//! below. They stay as small nodes, without what was known of their contents, until the kernel lets go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::debug;

use crate::vfs::names::dir::{Dir, Usage};
use crate::vfs::names::moment::Moment;
use crate::vfs::names::node::{Body, Marker, Node};
use crate::vfs::names::tree::Tree;
use crate::vfs::{Ino, Vfs};

/// Of the names that may be known, so many eighths stay.
const STAY: usize = 6;
/// What was asked for so lately may be in the hands of an operation under way.
const LATELY: Duration = Duration::from_secs(2);
/// Pause between tries when nothing can go.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Directories that are looked through before others get the tree.
const AT_ONCE: usize = 64;

impl Vfs {
    /// How many names are known, the root and what is still in use after its removal included.
    pub fn known_names(&self) -> usize {
        self.tree().len()
    }

    /// Names have come: while there are too many, drops some in the background.
    pub(in crate::vfs) fn names_came(&self, tree: &Tree) {
        let most = self.settings().names_max;
        if tree.weight() <= most || self.shared.trimming.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::downgrade(&self.shared);
        self.shared.runtime.spawn(async move {
            let mut pause = LATELY;
            let mut before = usize::MAX;
            while let Some(shared) = shared.upgrade() {
                let vfs = Self { shared };
                let trimmed = tokio::task::spawn_blocking(move || {
                    vfs.trim(most / 8 * STAY);
                    let left = vfs.tree().weight();
                    vfs.shared.trimming.store(left > most, Ordering::Relaxed);
                    left
                });
                let left = trimmed.await.unwrap_or(usize::MAX);
                if left <= most {
                    return;
                }
                // What is in use now may not be any more a little later.
                pause = if left == before {
                    (pause * 2).min(LONGEST_PAUSE)
                } else {
                    LATELY
                };
                before = left;
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Drops names until at most `stay` are known, or nothing more can go.
    fn trim(&self, stay: usize) {
        let dirs = in_order(&self.tree(), Instant::now());
        let before = self.known_names();
        for some in dirs.chunks(AT_ONCE) {
            let mut tree = self.tree();
            for dir in some {
                if tree.weight() <= stay {
                    break;
                }
                self.drop_children(&mut tree, *dir);
            }
        }
        debug!("{before} names known, {} stay", self.known_names());
    }

    fn drop_children(&self, tree: &mut Tree, ino: Ino) {
        let Ok(dir) = tree.dir(ino) else { return };
        if tree.get(ino).is_ok_and(|node| node.opens > 0) {
            return; // being read
        }
        let (mut dropped, mut told) = (Vec::new(), Vec::new());
        for (name, child) in &dir.children {
            let Ok(node) = tree.get(*child) else { continue };
            if !idle(node) || tree.copying.contains(child) {
                continue;
            }
            if node.lookups == 0 {
                dropped.push(*child);
            } else if node.object().is_some() {
                told.push(Arc::clone(name));
            }
        }
        for name in told {
            let parent = ino;
            self.shared.forgets.entry(parent, name);
        }
        if tree.dir(ino).is_ok_and(|dir| !used(dir)) {
            tree.put_away(ino);
        }
        if dropped.is_empty() {
            return;
        }
        for child in dropped {
            tree.drop_name(child);
        }
        if let Ok(dir) = tree.dir_mut(ino) {
            dir.forget_listing();
        }
    }
}

/// Directories of which something can go, in the order in which it should: those used longest ago first,
/// but none before those below it.
fn in_order(tree: &Tree, now: Instant) -> Vec<Ino> {
    let mut last: HashMap<Ino, Option<Instant>> = HashMap::new();
    for (ino, node) in tree.all() {
        let Some(dir) = node.dir() else { continue };
        let used = dir.listed().max(dir.paged());
        let used = used.max(node.checked.map(Moment::instant));
        let mut at = ino;
        // A directory is used as lately as what is in it.
        while last.get(&at).is_none_or(|known| *known < used) {
            last.insert(at, used);
            match tree.get(at) {
                Ok(node) if at != Ino::ROOT => at = node.parent,
                _ => break,
            }
        }
    }
    let mut dirs: Vec<(Option<Instant>, usize, Ino)> = last
        .into_iter()
        .filter_map(|(ino, used)| {
            let node = tree.get(ino).ok()?;
            let dir = node.dir()?;
            let idle =
                node.opens == 0 && used.is_none_or(|at| now.saturating_duration_since(at) > LATELY);
            let something = !dir.children.is_empty() || dir.usage().is_some();
            (idle && something).then(|| (used, tree.depth(ino), ino))
        })
        .collect();
    dirs.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    dirs.into_iter().map(|(_, _, ino)| ino).collect()
}

/// Whether somebody is listing or reading a directory.
fn used(dir: &Dir) -> bool {
    dir.usage().is_some_and(Usage::busy)
}

/// Whether B2 knows all that is known of a node, and nobody has it open.
fn idle(node: &Node) -> bool {
    let checked = node.checked.map(Moment::instant);
    if node.opens > 0 || node.local() || checked.is_some_and(|at| at.elapsed() <= LATELY) {
        return false;
    }
    match &node.body {
        Body::Dir(dir) => {
            dir.children.is_empty() && !used(dir) && !matches!(dir.marker, Marker::Wanted { .. })
        }
        Body::Object(object) => object.content.is_none() && object.state.delta().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::FileKind;
    use crate::vfs::attr::Meta;
    use crate::vfs::names::number::Numbers;

    #[test]
    fn what_is_in_a_directory_goes_before_itself() {
        let settings = crate::vfs::tests::settings();
        let meta = Meta::default_for(FileKind::Directory, &settings, 0);
        let mut tree = Tree::new(meta, Numbers::new("bucket", ""));
        let mut add = |parent, name: &str| {
            let body = Body::Dir(Box::default());
            let ino = tree.insert(parent, Arc::from(name), meta, body);
            ino.expect("the parent is a directory")
        };
        let old = add(Ino::ROOT, "old");
        let moved = add(old, "moved");
        let below = add(moved, "below");
        let top = add(Ino::ROOT, "top");
        let young = add(top, "young");
        // Moved below a younger one, and listed after those above it.
        tree.relocate(moved, young, Arc::from("moved"))
            .expect("moves");
        for dir in [old, moved, below, top, young] {
            tree.usage_mut(dir).expect("a directory");
        }
        let first = Instant::now();
        for (at, dir) in [Ino::ROOT, top, old, young, moved, below]
            .into_iter()
            .enumerate()
        {
            let at = first + Duration::from_millis(at as u64);
            tree.dir_mut(dir).expect("one").note_listing(at);
        }
        assert!(in_order(&tree, first).is_empty(), "used lately");
        // What is above `below` is used as lately as that.
        let order = in_order(&tree, first + LATELY * 2);
        assert_eq!(order, [old, below, moved, young, top, Ino::ROOT]);
    }
}
