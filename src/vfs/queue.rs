//! What is to be done later: closed files that wait for their upload, attribute changes and markers that
//! wait to be merged, failed commits that wait to be tried again, and what the kernel should forget.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::vfs::{Ino, Invalidation};

/// Due times by inode. Each inode stands here once; the earlier time wins.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    due: HashMap<Ino, Due>,
    /// What is due, by time.
    order: BTreeSet<(Instant, Ino)>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    /// When it was first asked for.
    since: Instant,
    failures: u32,
    urgency: Urgency,
}

/// Whether a file that is still being written is to be stored, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vfs) enum Urgency {
    /// No: its close stores it, attributes and all.
    Idle,
    /// Not before its next close, as long as that comes soon: somebody has closed it before.
    Closed,
    /// Yes: its memory is needed, or its close has been and has failed.
    Now,
}

/// One inode to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct Task {
    pub(in crate::vfs) ino: Ino,
    pub(in crate::vfs) urgency: Urgency,
    /// Tries that have failed so far.
    pub(in crate::vfs) failures: u32,
    since: Instant,
}

impl Waiting {
    fn put(&mut self, ino: Ino, due: Due) {
        if let Some(old) = self.due.insert(ino, due) {
            self.order.remove(&(old.at, ino));
        }
        self.order.insert((due.at, ino));
    }

    fn merge(&mut self, ino: Ino, mut due: Due) {
        if let Some(old) = self.due.get(&ino) {
            due.at = due.at.min(old.at);
            due.since = due.since.min(old.since);
            due.urgency = due.urgency.max(old.urgency);
            due.failures = old.failures;
        }
        self.put(ino, due);
    }

    /// The first that is due, or when the first will be.
    fn take(&mut self, now: Instant) -> Result<Task, Option<Instant>> {
        let Some((at, ino)) = self.order.first().copied() else {
            return Err(None);
        };
        if at > now {
            return Err(Some(at));
        }
        self.order.remove(&(at, ino));
        let due = self.due.remove(&ino).ok_or(None)?;
        Ok(Task {
            ino,
            urgency: due.urgency,
            failures: due.failures,
            since: due.since,
        })
    }
}

impl Queue {
    /// How long attribute changes wait for more of them, or for a rename that takes them along.
    pub(in crate::vfs) const QUIET: Duration = Duration::from_secs(2);
    /// Waits between tries that fail: doubled each time, up to the longest.
    const RETRY_FIRST: Duration = Duration::from_secs(4);
    const RETRY_LONGEST: Duration = Duration::from_secs(300);
    /// A closed file that is written again waits for its next close so many times its delay.
    const PATIENCE: u32 = 12;

    /// Asks for a commit after a delay.
    pub(in crate::vfs) fn push(&self, ino: Ino, delay: Duration, urgency: Urgency) {
        let now = Instant::now();
        let due = Due {
            at: now + delay,
            since: now,
            failures: 0,
            urgency,
        };
        self.change(|waiting| waiting.merge(ino, due));
    }

    /// Asks for another try after a failed one, later each time.
    pub(in crate::vfs) fn retry(&self, ino: Ino, failures: u32) {
        let delay = Self::RETRY_FIRST
            .saturating_mul(1 << failures.min(10))
            .min(Self::RETRY_LONGEST);
        let now = Instant::now();
        let due = Due {
            at: now + delay,
            since: now,
            failures: failures + 1,
            urgency: Urgency::Now,
        };
        self.change(|waiting| waiting.put(ino, due));
    }

    /// Puts off what is being written again; `false` when it has waited long enough.
    pub(in crate::vfs) fn put_off(&self, task: &Task, delay: Duration) -> bool {
        let now = Instant::now();
        if now - task.since > delay * Self::PATIENCE {
            return false;
        }
        self.again(task, delay);
        true
    }

    /// Gives back what could not be begun now.
    pub(in crate::vfs) fn again(&self, task: &Task, delay: Duration) {
        let due = Due {
            at: Instant::now() + delay,
            since: task.since,
            failures: task.failures,
            urgency: task.urgency,
        };
        self.change(|waiting| waiting.merge(task.ino, due));
    }

    /// Waits until something is due and takes it; for one task.
    pub(in crate::vfs) async fn next(&self) -> Task {
        loop {
            let next = match self.waiting().take(Instant::now()) {
                Ok(task) => return task,
                Err(next) => next,
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

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let sooner = {
            let mut waiting = self.waiting();
            let first = waiting.order.first().copied();
            change(&mut waiting);
            waiting.order.first().copied() != first
        };
        if sooner {
            self.changed.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }
}

/// What the kernel should forget; a set, so that it is bounded by what is known.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Invalidations {
    set: Mutex<HashSet<Invalidation>>,
    added: Notify,
}

impl Invalidations {
    pub(in crate::vfs) fn push(&self, one: Invalidation) {
        self.set.lock().insert(one);
        self.added.notify_one();
    }

    pub(in crate::vfs) async fn next(&self) -> Invalidation {
        loop {
            {
                let mut set = self.set.lock();
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

    /// Due time, urgency and failures of an inode.
    fn due(queue: &Queue, ino: Ino) -> (Instant, Urgency, u32) {
        let waiting = queue.waiting();
        let due = waiting.due[&ino];
        assert!(waiting.order.contains(&(due.at, ino)));
        assert_eq!(waiting.order.len(), waiting.due.len());
        (due.at, due.urgency, due.failures)
    }

    #[tokio::test]
    async fn the_earlier_due_time_wins_and_each_inode_comes_once() {
        let queue = Queue::default();
        queue.push(Ino(5), Duration::from_secs(3600), Urgency::Now);
        queue.push(Ino(5), Duration::ZERO, Urgency::Idle);
        queue.push(Ino(5), Duration::from_secs(1), Urgency::Closed);
        let task = queue.next().await;
        assert_eq!(
            (task.ino, task.urgency, task.failures),
            (Ino(5), Urgency::Now, 0)
        );
        assert!(queue.waiting().due.is_empty() && queue.waiting().order.is_empty());
    }

    #[tokio::test]
    async fn what_is_due_first_comes_first() {
        let queue = Queue::default();
        for (ino, millis) in [(3, 2), (5, 0), (7, 1)] {
            queue.push(Ino(ino), Duration::from_millis(millis), Urgency::Closed);
        }
        for ino in [5, 7, 3] {
            assert_eq!(queue.next().await.ino, Ino(ino));
        }
    }

    #[tokio::test]
    async fn what_is_written_again_waits_but_not_for_ever() {
        let queue = Queue::default();
        let delay = Duration::from_millis(1);
        queue.push(Ino(5), Duration::ZERO, Urgency::Closed);
        let mut task = queue.next().await;
        let first = task.since;
        while queue.put_off(&task, delay) {
            task = queue.next().await;
            assert_eq!((task.urgency, task.since), (Urgency::Closed, first));
        }
        assert!(first.elapsed() > delay * Queue::PATIENCE);
        assert!(queue.waiting().due.is_empty());
    }

    #[test]
    fn retries_come_later_each_time_but_never_stop() {
        let queue = Queue::default();
        let mut last = Duration::ZERO;
        for failures in 0..40 {
            queue.retry(Ino(5), failures);
            let (at, _, told) = due(&queue, Ino(5));
            let delay = at - Instant::now();
            assert!(delay + Duration::from_millis(200) >= last);
            assert!(delay <= Queue::RETRY_LONGEST);
            assert_eq!(told, failures + 1);
            last = delay;
        }
    }

    #[test]
    fn a_wish_for_a_later_time_does_not_lose_the_count_of_failures() {
        let queue = Queue::default();
        queue.retry(Ino(5), 3);
        let (at, ..) = due(&queue, Ino(5));
        queue.push(Ino(5), Duration::from_secs(3600), Urgency::Closed);
        assert_eq!(due(&queue, Ino(5)), (at, Urgency::Now, 4));
    }

    #[tokio::test]
    async fn what_the_kernel_should_forget_is_told_once() {
        let all = Invalidations::default();
        all.push(Invalidation::Inode(Ino(7)));
        all.push(Invalidation::Inode(Ino(7)));
        assert_eq!(all.next().await, Invalidation::Inode(Ino(7)));
        assert!(all.set.lock().is_empty());
    }
}
