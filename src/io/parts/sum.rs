//! The SHA-1 of a whole file that leaves in parts, computed beside the sending.
//!
//! B2 knows only the hashes of the parts, and is told that of the whole at the start or never (API §6). It is known
//! here all the same, and goes along with the next copy that stores attributes. Bytes that wait for their turn keep
//! their memory: parts are offered in the order in which they leave, so it is little.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::b2::Hasher;

/// Bytes hashed at once.
const STEP: usize = 1 << 20;

/// The hash of parts 0, 1, 2 … in order, whatever the order they are offered in.
#[derive(Default)]
pub(in crate::io) struct Sum {
    state: Mutex<Summing>,
    idle: Notify,
}

#[derive(Default)]
struct Summing {
    hash: Hasher,
    /// The part that is to be hashed next.
    next: usize,
    waiting: BTreeMap<usize, Vec<Bytes>>,
    running: bool,
}

impl Summing {
    fn take_next(&mut self) -> Option<Vec<Bytes>> {
        let pieces = self.waiting.remove(&self.next);
        self.running = pieces.is_some();
        pieces
    }
}

impl Sum {
    /// A part is on its way and its bytes are in memory: hashes it when its turn comes.
    pub(in crate::io) fn offer(self: &Arc<Self>, index: usize, pieces: Vec<Bytes>) {
        let mut state = self.lock();
        if index < state.next {
            return;
        }
        state.waiting.insert(index, pieces);
        if state.running {
            return;
        }
        let Some(first) = state.take_next() else {
            return;
        };
        drop(state);
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.run(first));
    }

    /// The hash so far if it is of exactly the first `parts` parts; waits for what was offered.
    pub(in crate::io) async fn of(&self, parts: usize) -> Option<Hasher> {
        loop {
            let idle = self.idle.notified();
            {
                let state = self.lock();
                if !state.running {
                    let whole = state.next == parts;
                    return whole.then(|| state.hash.clone());
                }
            }
            idle.await;
        }
    }

    fn run(&self, first: Vec<Bytes>) {
        let mut hash = self.lock().hash.clone();
        let mut pieces = Some(first);
        while let Some(part) = pieces {
            for slice in part.iter().flat_map(|piece| piece.chunks(STEP)) {
                hash.update(slice);
            }
            drop(part);
            let mut state = self.lock();
            state.hash.clone_from(&hash);
            state.next += 1;
            pieces = state.take_next();
        }
        self.idle.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Summing> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![index as u8; 100_000]); 20]
    }

    fn hash(parts: usize) -> crate::b2::Sha1 {
        let mut hash = Hasher::new();
        for piece in (0..parts).flat_map(part) {
            hash.update(&piece);
        }
        hash.finish()
    }

    #[tokio::test]
    async fn parts_are_hashed_in_their_order() {
        let sum = Arc::new(Sum::default());
        for index in [2, 0, 1, 4, 3] {
            sum.offer(index, part(index));
        }
        let found = sum.of(5).await.expect("all were offered");
        assert_eq!(found.finish(), hash(5));
        assert!(sum.of(6).await.is_none());
    }

    #[tokio::test]
    async fn a_part_offered_again_counts_once() {
        let sum = Arc::new(Sum::default());
        sum.offer(0, part(0));
        sum.of(1).await.expect("offered");
        sum.offer(0, part(7));
        sum.offer(1, part(1));
        let found = sum.of(2).await.expect("all were offered");
        assert_eq!(found.finish(), hash(2));
    }

    #[tokio::test]
    async fn a_missing_part_ends_it() {
        let sum = Arc::new(Sum::default());
        sum.offer(0, part(0));
        sum.offer(2, part(2));
        assert!(sum.of(3).await.is_none());
    }
}
