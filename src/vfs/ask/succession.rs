//! Which small files will be read next: whoever reads whole ones in the order of a directory gets those that follow fetched
//! while it reads.
//!
//! [`Succession`] decides without clock, tree or socket. A walk is told by its reads: the file that follows the last one is
//! a right guess. The window (files fetched ahead) grows when a reader had to wait all the same, and stays below a third of
//! what was read, so that a walk that ends early has cost little. A read elsewhere, or a file that is left out, halves it, and
//! three end it.

use std::collections::VecDeque;
use std::ops::Bound;

use crate::vfs::names::node::Body;
use crate::vfs::names::tree::Tree;
use crate::vfs::{FileKind, Ino, Vfs};

/// Larger files are read ahead of by themselves once somebody reads them. In bytes.
const SMALL: u64 = 1 << 20;
/// Files fetched ahead of one walk at most.
const MOST: usize = 32;
/// Walks at once.
const WALKS: usize = 8;
/// Files by which a walk is recognized beside those that are fetched: several readers may share it, in any order.
const BESIDE: usize = 8;
/// What was foreseen and passed by so many files ago will not be read.
const PASSED: usize = 16;
/// Files that a walk has read lately.
const LATELY: usize = 64;
/// A walk that has ended must read so many files in order before it is believed again; twice as many after the next end.
const DISTRUST: usize = 32;
const MOST_DISTRUST: usize = 1024;
/// After so many right guesses, wrong ones are forgotten.
const FORGIVEN: usize = 32;
/// Wrong guesses that end a walk.
const WRONG: u32 = 3;
/// The part of the memory that the files of one window may take is one in this many.
const SHARE: u64 = 8;

/// The walks that are going on.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Succession {
    /// The one that read last comes first.
    walks: Vec<Walk>,
}

#[derive(Debug)]
struct Walk {
    /// Where it read last.
    dir: Ino,
    /// Files that it may read next.
    foreseen: VecDeque<Ino>,
    /// Files read in order.
    read: usize,
    window: usize,
    wrong: u32,
    /// Right guesses since the last wrong one.
    right: usize,
    /// So many files must be read in order before any is fetched ahead again.
    distrust: usize,
    /// Files read lately: nobody reads them again in this walk.
    lately: VecDeque<Ino>,
}

impl Walk {
    fn is_right(&mut self, waits: bool) {
        self.read += 1;
        self.right += 1;
        if self.right == FORGIVEN {
            self.wrong = 0;
        }
        if waits {
            self.window = (2 * self.window).max(1);
        }
        let earned = self.read.saturating_sub(self.distrust) / 3;
        self.window = self.window.min(MOST).min(earned);
    }

    fn is_wrong(&mut self) {
        self.right = 0;
        self.wrong += 1;
        self.window /= 2;
        let excess = self.foreseen.len().saturating_sub(BESIDE);
        self.foreseen.drain(..excess);
        if self.wrong == WRONG {
            (self.read, self.window, self.wrong) = (0, 0, 0);
            self.distrust = (2 * self.distrust).clamp(DISTRUST, MOST_DISTRUST);
        }
    }
}

impl Succession {
    /// A small file of a directory is read from its start. `waits`: it was not there. Returns how many of those that follow
    /// are to be fetched; `follow` must be told which they are, and [`BESIDE`] more.
    ///
    /// `None`: it was read a moment ago, which says nothing of the walk.
    fn reads(&mut self, dir: Ino, file: Ino, waits: bool) -> Option<usize> {
        if self.walks.iter().any(|walk| walk.lately.contains(&file)) {
            return None;
        }
        let foreseen = |walk: &Walk| walk.foreseen.iter().position(|next| *next == file);
        let found = self.walks.iter().enumerate();
        let right = found
            .clone()
            .find_map(|(at, walk)| Some((at, foreseen(walk)?)));
        let same_dir = || self.walks.iter().position(|walk| walk.dir == dir);
        let at = if let Some((at, place)) = right {
            self.walks[at].foreseen.remove(place);
            self.walks[at].is_right(waits);
            at
        } else if let Some(at) = same_dir() {
            self.walks[at].is_wrong();
            at
        } else {
            self.walks.truncate(WALKS - 1);
            self.walks.push(Walk {
                dir,
                foreseen: VecDeque::new(),
                read: 1,
                window: 0,
                wrong: 0,
                right: 0,
                distrust: 0,
                lately: VecDeque::new(),
            });
            self.walks.len() - 1
        };
        self.walks[..=at].rotate_right(1);
        let walk = &mut self.walks[0];
        walk.dir = dir;
        if walk.lately.len() == LATELY {
            walk.lately.pop_front();
        }
        walk.lately.push_back(file);
        Some(walk.window)
    }

    /// What the file read last is followed by.
    fn follow(&mut self, next: &[Ino]) {
        let Some(walk) = self.walks.first_mut() else {
            return;
        };
        for file in next {
            if !walk.foreseen.contains(file) && !walk.lately.contains(file) {
                walk.foreseen.push_back(*file);
            }
        }
        if walk.foreseen.len() > walk.window + BESIDE + PASSED {
            walk.is_wrong();
        }
    }
}

impl Vfs {
    /// A file is read from its start, and `waits` for that or not: fetches what is likely to be read after it.
    pub(in crate::vfs) fn foresee(&self, ino: Ino, waits: bool) {
        let (shared, tree) = (&self.shared, self.tree());
        let Ok(node) = tree.get(ino) else { return };
        let Some(object) = node.object() else { return };
        if object
            .state
            .stored()
            .is_none_or(|stored| stored.size > SMALL)
        {
            return;
        }
        let mut succession = shared.succession.lock();
        let Some(window) = succession.reads(node.parent, ino, waits) else {
            return;
        };
        let next = tree.successors(ino, window + BESIDE);
        succession.follow(&next);
        drop(succession);
        let mut room = shared.io.memory_limit() / SHARE;
        let stored = next.iter().take(window).filter_map(|file| {
            let object = tree.get(*file).ok()?.object()?;
            Some(object.state.stored()?.version())
        });
        let versions: Vec<_> = stored
            .take_while(|version| {
                let fits = version.size <= room;
                room = room.saturating_sub(version.size);
                fits
            })
            .collect();
        drop(tree);
        for version in versions {
            if !shared.io.fetch_ahead(version) {
                return;
            }
        }
    }
}

impl Tree {
    /// The small files that a walk comes to after one, as far as they are known: those of its directory, then those of the
    /// directories that follow.
    fn successors(&self, file: Ino, count: usize) -> Vec<Ino> {
        let mut search = Search {
            tree: self,
            count,
            // Not every name is a small file, and this runs under the lock.
            steps: 64 + 4 * count,
            found: Vec::new(),
        };
        let mut at = file;
        while let Ok(node) = self.get(at)
            && node.linked
            && at != Ino::ROOT
            && search.goes_on()
        {
            search.below(node.parent, Some(&node.name));
            at = node.parent;
        }
        search.found
    }
}

struct Search<'a> {
    tree: &'a Tree,
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
    fn below(&mut self, dir: Ino, after: Option<&str>) {
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
            self.below(*child, None);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(succession: &mut Succession, file: u64, waits: bool) -> usize {
        let Some(window) = succession.reads(Ino::ROOT, Ino(file), waits) else {
            return 0;
        };
        let next: Vec<_> = (1..=(window + BESIDE) as u64)
            .map(|n| Ino(file + n))
            .collect();
        succession.follow(&next);
        window
    }

    /// Reads files in turn; the windows.
    fn windows(reads: impl IntoIterator<Item = u64>, waits: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut succession = Succession::default();
        let reads = reads.into_iter().enumerate();
        reads
            .map(|(at, file)| read(&mut succession, file, waits(at)))
            .collect()
    }

    #[test]
    fn a_walk_is_fetched_ahead_of_as_far_as_it_waits() {
        let windows_of_waiting = windows(1..200, |_| true);
        assert_eq!(windows_of_waiting[..3], [0, 0, 1]);
        assert_eq!(windows_of_waiting.last(), Some(&MOST));
        for (at, window) in windows_of_waiting.iter().enumerate() {
            assert!(*window <= (at + 1) / 3, "{window} after {at}");
        }
        let windows = windows(1..200, |at| at < 20);
        assert!(windows.iter().all(|window| *window <= 6), "{windows:?}");
    }

    #[test]
    fn reads_in_no_order_fetch_nothing() {
        let mut random = fastrand::Rng::with_seed(4);
        let fetched: usize = windows((0..1000).map(|_| random.u64(1..100_000)), |_| true)
            .iter()
            .sum();
        assert!(fetched < 20, "{fetched}");
        // Each second or third one.
        for step in [2, 3] {
            let windows = windows((1..1000).step_by(step), |_| true);
            let widest = windows.iter().max().copied().unwrap_or(0);
            assert!(widest <= 12, "{windows:?}");
            assert!(
                windows[100..].iter().all(|window| *window == 0),
                "{windows:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_read_again_and_again_ends_no_walk() {
        let twice = windows((1..200).flat_map(|file| [file, file]), |at| at % 2 == 0);
        assert!(twice.contains(&MOST), "{twice:?}");
    }

    #[test]
    fn wrong_guesses_halve_the_window_and_three_end_it() {
        let reads = (1..100).chain([500, 600, 700, 800]).chain(701..720);
        let windows = windows(reads, |_| true);
        assert_eq!(windows[98..103], [32, 16, 8, 0, 0]);
        assert!(
            windows[103..].iter().all(|window| *window <= 6),
            "{:?}",
            &windows[103..]
        );
    }

    #[test]
    fn many_readers_of_one_walk_are_one() {
        // Eight threads take the files in turn, and come to them in another order.
        let reads = (0..100).flat_map(|turn| [3, 1, 2, 0, 5, 4, 7, 6].map(|n| 8 * turn + n));
        let mut succession = Succession::default();
        let mut last = 0;
        for file in reads {
            last = read(&mut succession, file, true);
        }
        assert!(last >= 8, "{last}");
    }
}
