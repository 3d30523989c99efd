//! Things that wait to be tried again, no more of them than are good for memory.
//!
//! What could not be done is tried again for as long as it is kept. Where too much waits, the oldest gives way: whoever
//! adds says in the log what stays in the bucket, and the end of the mount tells how many they were.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;

/// A queue of bounded weight.
#[derive(Debug)]
pub(in crate::vfs) struct Kept<T> {
    state: Mutex<Items<T>>,
    weigh: fn(&T) -> usize,
}

#[derive(Debug)]
struct Items<T> {
    all: VecDeque<T>,
    weight: usize,
    given_up: u64,
}

impl<T> Kept<T> {
    /// The most that is kept: versions, or names.
    pub(in crate::vfs) const MOST: usize = 10_000;

    /// With what one of them weighs.
    pub(in crate::vfs) fn new(weigh: fn(&T) -> usize) -> Self {
        let state = Items {
            all: VecDeque::new(),
            weight: 0,
            given_up: 0,
        };
        Self {
            state: Mutex::new(state),
            weigh,
        }
    }

    /// Adds one; tells those that give way to it. It is kept itself, whatever it weighs.
    pub(in crate::vfs) fn add(&self, one: T) -> Vec<T> {
        let mut state = self.state();
        state.weight += (self.weigh)(&one);
        state.all.push_back(one);
        let mut given_up = Vec::new();
        while state.weight > Self::MOST && state.all.len() > 1 {
            let Some(oldest) = state.all.pop_front() else {
                break;
            };
            state.weight = state.weight.saturating_sub((self.weigh)(&oldest));
            state.given_up += 1;
            given_up.push(oldest);
        }
        given_up
    }

    /// Takes out those that are ready.
    pub(in crate::vfs) fn take(&self, ready: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.state();
        let all = std::mem::take(&mut state.all);
        let (taken, rest): (Vec<T>, Vec<T>) = all.into_iter().partition(ready);
        state.weight = rest.iter().map(self.weigh).sum();
        state.all = rest.into();
        taken
    }

    pub(in crate::vfs) fn take_all(&self) -> Vec<T> {
        self.take(|_| true)
    }

    pub(in crate::vfs) fn is_empty(&self) -> bool {
        self.state().all.is_empty()
    }

    /// How many have given way so far.
    pub(in crate::vfs) fn given_up(&self) -> u64 {
        self.state().given_up
    }

    fn state(&self) -> MutexGuard<'_, Items<T>> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_are_counted() {
        const MOST: u64 = Kept::<u64>::MOST as u64;
        let kept = Kept::<u64>::new(|_| 1);
        for one in 0..MOST {
            assert!(kept.add(one).is_empty());
        }
        assert_eq!(kept.add(MOST), [0]);
        assert_eq!(kept.add(MOST + 1), [1]);
        assert_eq!(kept.given_up(), 2);
        assert_eq!(kept.take(|one| one % 2 == 0).len(), 5000);
        assert!(kept.add(7).is_empty(), "there is room again");
        let left = kept.take_all();
        assert_eq!((left.len(), left.last()), (5001, Some(&7)));
        assert!(kept.is_empty());
        assert_eq!(kept.given_up(), 2, "what is taken out is not given up");
    }

    #[test]
    fn one_that_weighs_much_takes_the_place_of_many_and_is_kept_itself() {
        let kept = Kept::<usize>::new(|one| *one);
        for _ in 0..3 {
            assert!(kept.add(3000).is_empty());
        }
        assert_eq!(kept.add(2000), [3000]);
        let huge = 5 * Kept::<usize>::MOST;
        assert_eq!(kept.add(huge), [3000, 3000, 2000]);
        assert_eq!(kept.add(1), [huge]);
        assert_eq!(kept.take_all(), [1]);
    }
}
