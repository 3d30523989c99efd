//! Which small files will be read next: whoever reads whole ones in the order of a directory gets those that follow fetched
//! while it reads.
//!
//! [`Succession`] decides without clock, tree or socket; `search` looks what follows a file. A walk is told by its reads: the
//! file that follows the last one is a right guess. Programs come to the files of a directory by their names (tar, rsync,
//! `grep -r`) or by their inode numbers (`cp -r`, borg, which spare a disk's head so): until it is seen which, both are foreseen. The window (files fetched ahead) grows when a reader had to wait all the same, and stays below a third of
//! what was read, so that a walk that ends early has cost little. A read elsewhere, or a file that is left out, halves it, and
//! three end it.

mod search;

use std::collections::VecDeque;

use self::search::{Sorted, successors};
use crate::vfs::{Ino, Vfs};

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

/// In which order a walk comes to the entries of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// That of their names, in which they are listed; directories after the files.
    Names,
    /// That of their inode numbers, directories among the files.
    Numbers,
}

impl Order {
    const ALL: [Self; 2] = [Self::Names, Self::Numbers];

    fn other(self) -> Self {
        match self {
            Self::Names => Self::Numbers,
            Self::Numbers => Self::Names,
        }
    }
}

/// Files that a walk may read next, in each order, the next first.
#[derive(Debug, Default)]
struct Foreseen([VecDeque<Ino>; 2]);

impl Foreseen {
    fn of(&mut self, order: Order) -> &mut VecDeque<Ino> {
        &mut self.0[order as usize]
    }

    fn has(&self, order: Order, file: Ino) -> bool {
        self.0[order as usize].contains(&file)
    }
}

/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// Files to be fetched of those that follow.
    window: usize,
    /// In this order.
    order: Order,
    /// It may be the other one.
    unsure: bool,
}

/// The walks that are going on.
#[derive(Default)]
pub(in crate::vfs) struct Succession {
    /// The one that read last comes first.
    walks: Vec<Walk>,
    sorted: Sorted,
}

#[derive(Debug)]
struct Walk {
    /// Where it read last.
    dir: Ino,
    foreseen: Foreseen,
    /// In which it reads, as far as was seen.
    order: Order,
    /// It may be the other one.
    unsure: bool,
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
    fn new(dir: Ino) -> Self {
        Self {
            dir,
            foreseen: Foreseen::default(),
            order: Order::Names,
            unsure: true,
            read: 1,
            window: 0,
            wrong: 0,
            right: 0,
            distrust: 0,
            lately: VecDeque::new(),
        }
    }

    fn foresaw(&self, file: Ino) -> bool {
        Order::ALL
            .iter()
            .any(|order| self.foreseen.has(*order, file))
    }

    /// A file that was foreseen is read: tells which order is the right one.
    fn goes_on_to(&mut self, file: Ino) {
        let [by_this, by_other] =
            [self.order, self.order.other()].map(|order| self.foreseen.has(order, file));
        if by_this != by_other {
            if by_other {
                self.order = self.order.other();
            }
            self.unsure = false;
            self.foreseen.of(self.order.other()).clear();
        }
        for order in Order::ALL {
            self.foreseen.of(order).retain(|other| *other != file);
        }
    }

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
        self.unsure = true;
        let foreseen = self.foreseen.of(self.order);
        let excess = foreseen.len().saturating_sub(BESIDE);
        foreseen.drain(..excess);
        if self.wrong == WRONG {
            (self.read, self.window, self.wrong) = (0, 0, 0);
            self.distrust = (2 * self.distrust).clamp(DISTRUST, MOST_DISTRUST);
        }
    }
}

impl Succession {
    /// A small file of a directory is read from its start. `waits`: it was not there. Returns how many of those that follow
    /// are to be fetched; `follow` must be told which they are, and [`BESIDE`] more, and where it is unsure as many of the
    /// other order.
    ///
    /// `None`: it was read a moment ago, which says nothing of the walk.
    fn reads(&mut self, dir: Ino, file: Ino, waits: bool) -> Option<Wanted> {
        if self.walks.iter().any(|walk| walk.lately.contains(&file)) {
            return None;
        }
        let right = self.walks.iter().position(|walk| walk.foresaw(file));
        let same_dir = || self.walks.iter().position(|walk| walk.dir == dir);
        let at = if let Some(at) = right {
            self.walks[at].goes_on_to(file);
            self.walks[at].is_right(waits);
            at
        } else if let Some(at) = same_dir() {
            self.walks[at].is_wrong();
            at
        } else {
            self.walks.truncate(WALKS - 1);
            self.walks.push(Walk::new(dir));
            self.walks.len() - 1
        };
        self.walks[..=at].rotate_right(1);
        let walk = &mut self.walks[0];
        walk.dir = dir;
        if walk.lately.len() == LATELY {
            walk.lately.pop_front();
        }
        walk.lately.push_back(file);
        Some(Wanted {
            window: walk.window,
            order: walk.order,
            unsure: walk.unsure,
        })
    }

    /// What the file read last is followed by in an order.
    fn follow(&mut self, order: Order, next: &[Ino]) {
        let Some(walk) = self.walks.first_mut() else {
            return;
        };
        let foreseen = walk.foreseen.of(order);
        for file in next {
            if !foreseen.contains(file) && !walk.lately.contains(file) {
                foreseen.push_back(*file);
            }
        }
        let most = walk.window + BESIDE + PASSED;
        if foreseen.len() <= most {
            return;
        }
        if order == walk.order {
            walk.is_wrong();
        } else {
            let excess = foreseen.len() - BESIDE;
            foreseen.drain(..excess);
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
        let Some(Wanted {
            window,
            order,
            unsure,
        }) = succession.reads(node.parent, ino, waits)
        else {
            return;
        };
        let next = successors(&tree, &mut succession.sorted, ino, order, window + BESIDE);
        succession.follow(order, &next);
        if unsure {
            let other = order.other();
            let next = successors(&tree, &mut succession.sorted, ino, other, BESIDE);
            succession.follow(other, &next);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(succession: &mut Succession, file: u64, waits: bool) -> usize {
        let Some(wanted) = succession.reads(Ino::ROOT, Ino(file), waits) else {
            return 0;
        };
        let next = |order: Order| -> Vec<_> {
            (1..=(wanted.window + BESIDE) as u64)
                .map(|n| match order {
                    Order::Names => Ino(file + n),
                    // Any other order that never meets the first.
                    Order::Numbers => Ino(number(place_of(file) + n)),
                })
                .collect()
        };
        succession.follow(wanted.order, &next(wanted.order));
        if wanted.unsure {
            let other = wanted.order.other();
            succession.follow(other, &next(other));
        }
        wanted.window
    }

    const FAR: u64 = 7_919;
    const ALL: u64 = 1_000_003;

    /// The file at a place in the order of the numbers.
    fn number(place: u64) -> u64 {
        place % ALL * FAR % ALL
    }

    /// Its place there.
    fn place_of(file: u64) -> u64 {
        // FAR times this is 1 in the field of ALL elements.
        let mut inverse = 1;
        for bit in (0..u64::BITS).rev() {
            inverse = inverse * inverse % ALL;
            if (ALL - 2) >> bit & 1 == 1 {
                inverse = inverse * FAR % ALL;
            }
        }
        file % ALL * inverse % ALL
    }

    #[test]
    fn a_walk_in_the_order_of_inode_numbers_is_one() {
        assert_eq!(place_of(number(12_345)), 12_345);
        let windows_of_waiting = windows((1..200).map(number), |_| true);
        assert_eq!(windows_of_waiting.last(), Some(&MOST));
        assert!(
            windows_of_waiting
                .iter()
                .filter(|&&window| window == 0)
                .count()
                < 5
        );
        for (at, window) in windows_of_waiting.iter().enumerate() {
            assert!(*window <= (at + 1) / 3, "{window} after {at}");
        }
    }

    #[test]
    fn a_walk_may_change_its_order_once_in_a_while() {
        // Another program, in the same directory.
        let reads = (1..100).chain((500..600).map(number));
        let windows = windows(reads, |_| true);
        assert_eq!(windows[98], MOST);
        assert!(windows.ends_with(&[MOST]), "{windows:?}");
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
