//! What is to be done later: attribute changes and markers that wait to be merged, failed commits
//! that wait to be tried again, and what the kernel should forget.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Ino, Invalidation};

/// Due times by inode. Each inode stands here once; the earlier time wins.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: Mutex<HashMap<Ino, Due>>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    failures: u32,
    urgency: Urgency,
}

/// Whether a file that is still being written is to be stored, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// No: its close stores it, attributes and all.
    Idle,
    /// Yes: its memory is needed, or its close has been and has failed.
    Now,
}

/// One inode to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) ino: Ino,
    pub(super) urgency: Urgency,
    /// Tries that have failed so far.
    pub(super) failures: u32,
}

impl Queue {
    /// How long attribute changes wait for more of them, or for a rename that takes them along.
    pub(super) const QUIET: Duration = Duration::from_secs(2);
    /// Waits between tries that fail: doubled each time, up to the longest.
    const RETRY_FIRST: Duration = Duration::from_secs(4);
    const RETRY_LONGEST: Duration = Duration::from_secs(300);

    /// Asks for a commit after a delay.
    pub(super) fn push(&self, ino: Ino, delay: Duration, urgency: Urgency) {
        let at = Instant::now() + delay;
        self.due()
            .entry(ino)
            .and_modify(|due| {
                due.at = due.at.min(at);
                due.urgency = due.urgency.max(urgency);
            })
            .or_insert(Due {
                at,
                failures: 0,
                urgency,
            });
        self.changed.notify_one();
    }

    /// Asks for another try after a failed one, later each time.
    pub(super) fn retry(&self, ino: Ino, failures: u32) {
        let delay = Self::RETRY_FIRST
            .saturating_mul(1 << failures.min(10))
            .min(Self::RETRY_LONGEST);
        self.due().insert(
            ino,
            Due {
                at: Instant::now() + delay,
                failures: failures + 1,
                urgency: Urgency::Now,
            },
        );
        self.changed.notify_one();
    }

    /// Waits until something is due and takes it.
    pub(super) async fn next(&self) -> Vec<Task> {
        loop {
            let now = Instant::now();
            let next = {
                let mut due = self.due();
                let ready: Vec<Task> = due
                    .iter()
                    .filter(|(_, due)| due.at <= now)
                    .map(|(ino, due)| Task {
                        ino: *ino,
                        urgency: due.urgency,
                        failures: due.failures,
                    })
                    .collect();
                if !ready.is_empty() {
                    for task in &ready {
                        due.remove(&task.ino);
                    }
                    return ready;
                }
                due.values().map(|due| due.at).min()
            };
            let changed = self.changed.notified();
            match next {
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, HashMap<Ino, Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel should forget; a set, so that it is bounded by what is known.
#[derive(Debug, Default)]
pub(super) struct Invalidations {
    set: Mutex<HashSet<Invalidation>>,
    added: Notify,
}

impl Invalidations {
    pub(super) fn push(&self, one: Invalidation) {
        self.set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(one);
        self.added.notify_one();
    }

    pub(super) async fn next(&self) -> Invalidation {
        loop {
            {
                let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
                let one = set.iter().next().cloned();
                if let Some(one) = one {
                    set.remove(&one);
                    return one;
                }
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_earlier_due_time_wins_and_each_inode_comes_once() {
        let queue = Queue::default();
        queue.push(Ino(5), Duration::from_secs(3600), Urgency::Now);
        queue.push(Ino(5), Duration::ZERO, Urgency::Idle);
        queue.push(Ino(5), Duration::from_secs(1), Urgency::Idle);
        let due = Task {
            ino: Ino(5),
            urgency: Urgency::Now,
            failures: 0,
        };
        assert_eq!(queue.next().await, [due]);
        assert!(queue.due().is_empty());
    }

    #[test]
    fn retries_come_later_each_time_but_never_stop() {
        let queue = Queue::default();
        let mut last = Duration::ZERO;
        for failures in 0..40 {
            queue.retry(Ino(5), failures);
            let due = queue.due()[&Ino(5)];
            let delay = due.at - Instant::now();
            assert!(delay + Duration::from_millis(200) >= last);
            assert!(delay <= Queue::RETRY_LONGEST);
            assert_eq!(due.failures, failures + 1);
            last = delay;
        }
    }

    #[tokio::test]
    async fn what_the_kernel_should_forget_is_told_once() {
        let all = Invalidations::default();
        all.push(Invalidation::Inode(Ino(7)));
        all.push(Invalidation::Inode(Ino(7)));
        assert_eq!(all.next().await, Invalidation::Inode(Ino(7)));
        assert!(all.set.lock().expect("not poisoned").is_empty());
    }
}
