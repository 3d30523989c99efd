//! What is to be done later: closed files that wait for their upload, attribute changes and markers that
//! wait to be merged, and failed commits that wait to be tried again.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::vfs::Ino;

/// Due times by inode. Each inode stands here once; the earlier time wins.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Nothing that was taken is under way any more, or less than before.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    due: HashMap<Ino, Due>,
    /// What is due, by time.
    order: BTreeSet<(Instant, Ino)>,
    /// What was taken and has not ended, and how often.
    running: HashMap<Ino, u32>,
    pace: Pace,
    /// What was stored since `hurry`.
    stored: HashSet<Ino>,
}

/// How long a failed try waits for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pace {
    /// While the mount is used: what fails is kept in memory, and nobody waits for it.
    #[default]
    Patient,
    /// At the end: somebody waits for each of them.
    Hurried,
}

impl Pace {
    /// The wait after so many tries that failed before this one: doubled each time, up to the longest.
    fn wait(self, failures: u32) -> Duration {
        let (first, longest) = match self {
            Self::Patient => (Duration::from_secs(4), Duration::from_secs(300)),
            Self::Hurried => (Duration::from_secs(1), Duration::from_secs(30)),
        };
        first.saturating_mul(1 << failures.min(10)).min(longest)
    }

    /// What of a delay is kept: at the end nothing comes that it would be worth waiting for.
    fn delay(self, wish: Duration) -> Duration {
        match self {
            Self::Patient => wish,
            Self::Hurried => wish.min(Duration::from_millis(200)),
        }
    }
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
    /// If it has only been appended to (`growth`).
    Open,
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
        if let Some(old) = self.due.get(&ino).copied() {
            match (old.urgency, due.urgency) {
                // Whether somebody has closed it or not decides, and not what comes first.
                (Urgency::Open, Urgency::Closed | Urgency::Now) => {}
                (Urgency::Closed | Urgency::Now, Urgency::Open) => return,
                _ => {
                    due.at = due.at.min(old.at);
                    due.since = due.since.min(old.since);
                    due.urgency = due.urgency.max(old.urgency);
                }
            }
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
        *self.running.entry(ino).or_default() += 1;
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
    /// A closed file that is written again waits for its next close so many times its delay.
    const PATIENCE: u32 = 12;

    /// Asks for a commit after a delay.
    pub(in crate::vfs) fn push(&self, ino: Ino, delay: Duration, urgency: Urgency) {
        let now = Instant::now();
        self.change(|waiting| {
            let due = Due {
                at: now + waiting.pace.delay(delay),
                since: now,
                failures: 0,
                urgency,
            };
            waiting.merge(ino, due);
        });
    }

    /// Asks for another try after a failed one, later each time.
    pub(in crate::vfs) fn retry(&self, ino: Ino, failures: u32) {
        let now = Instant::now();
        self.change(|waiting| {
            let due = Due {
                at: now + waiting.pace.wait(failures),
                since: now,
                failures: failures + 1,
                urgency: Urgency::Now,
            };
            waiting.put(ino, due);
        });
    }

    /// What was taken has ended, whatever became of it.
    pub(in crate::vfs) fn ended(&self, ino: Ino) {
        {
            let mut waiting = self.waiting();
            if let Some(times) = waiting.running.get_mut(&ino) {
                *times -= 1;
                if *times == 0 {
                    waiting.running.remove(&ino);
                }
            }
        }
        self.ended.notify_waiters();
    }

    /// Everything of it that was pending when its try began is stored.
    pub(in crate::vfs) fn stored(&self, ino: Ino) {
        let mut waiting = self.waiting();
        if waiting.pace == Pace::Hurried {
            waiting.stored.insert(ino);
        }
    }

    /// The mount ends: whatever waits is due now, also what is still being written, and what fails is tried again
    /// soon. What was `stored` counts from here on.
    pub(in crate::vfs) fn hurry(&self) {
        let now = Instant::now();
        self.change(|waiting| {
            waiting.pace = Pace::Hurried;
            waiting.stored.clear();
            waiting.order.clear();
            for (ino, due) in &mut waiting.due {
                *due = Due {
                    at: now,
                    failures: 0,
                    urgency: Urgency::Now,
                    ..*due
                };
                waiting.order.insert((now, *ino));
            }
        });
    }

    /// What has failed and waits for its time is due now.
    pub(in crate::vfs) fn try_failed(&self) {
        let now = Instant::now();
        self.change(|waiting| {
            for (ino, due) in &mut waiting.due {
                if due.failures > 0 && due.at > now {
                    waiting.order.remove(&(due.at, *ino));
                    due.at = now;
                    waiting.order.insert((now, *ino));
                }
            }
        });
    }

    /// Whether it was stored since `hurry`.
    pub(in crate::vfs) fn was_stored(&self, ino: Ino) -> bool {
        self.waiting().stored.contains(&ino)
    }

    /// Makes due at once what is neither waiting nor under way.
    pub(in crate::vfs) fn see_to(&self, all: impl Iterator<Item = Ino>) {
        let now = Instant::now();
        self.change(|waiting| {
            for ino in all {
                if !waiting.due.contains_key(&ino) && !waiting.running.contains_key(&ino) {
                    let due = Due {
                        at: now,
                        since: now,
                        failures: 0,
                        urgency: Urgency::Now,
                    };
                    waiting.put(ino, due);
                }
            }
        });
    }

    /// Waits until nothing is waiting or under way, and at most so long.
    pub(in crate::vfs) async fn idle(&self, limit: Duration) {
        let idle = async {
            loop {
                let ended = self.ended.notified();
                {
                    let waiting = self.waiting();
                    if waiting.due.is_empty() && waiting.running.is_empty() {
                        return;
                    }
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(limit, idle).await;
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

    #[test]
    fn a_close_makes_due_what_would_have_been_due_open_and_not_before() {
        const LONG: Duration = Duration::from_secs(3600);
        let queue = Queue::default();
        queue.push(Ino(5), Duration::from_secs(60), Urgency::Open);
        queue.push(Ino(5), LONG, Urgency::Closed);
        let (at, urgency, _) = due(&queue, Ino(5));
        assert_eq!(urgency, Urgency::Closed);
        assert!(at > Instant::now() + LONG / 2);
        queue.push(Ino(5), Duration::ZERO, Urgency::Open);
        assert_eq!(due(&queue, Ino(5)), (at, urgency, 0));
        // What only wants its attributes stored does not make it forget that.
        queue.push(Ino(7), Duration::from_secs(60), Urgency::Open);
        queue.push(Ino(7), LONG, Urgency::Idle);
        assert_eq!(due(&queue, Ino(7)).1, Urgency::Open);
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
            assert!(delay <= Duration::from_secs(300));
            assert_eq!(told, failures + 1);
            last = delay;
        }
    }

    #[tokio::test]
    async fn at_the_end_everything_is_due_and_tried_again_soon() {
        let queue = Queue::default();
        queue.push(Ino(3), Duration::from_secs(3600), Urgency::Idle);
        queue.retry(Ino(5), 9);
        queue.hurry();
        for ino in [3, 5] {
            let (at, urgency, failures) = due(&queue, Ino(ino));
            assert!(at <= Instant::now());
            assert_eq!((urgency, failures), (Urgency::Now, 0));
        }
        for failures in 0..40 {
            queue.retry(Ino(5), failures);
            let (at, ..) = due(&queue, Ino(5));
            assert!(at - Instant::now() <= Duration::from_secs(30));
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_not_made_due_a_second_time() {
        let queue = Queue::default();
        queue.hurry();
        queue.see_to([Ino(3)].into_iter());
        let task = queue.next().await;
        queue.see_to([Ino(3)].into_iter());
        assert!(queue.waiting().due.is_empty());
        queue.idle(Duration::from_millis(1)).await;
        queue.stored(task.ino);
        queue.ended(task.ino);
        queue.idle(Duration::from_secs(3600)).await;
        assert!(queue.was_stored(Ino(3)));
        queue.hurry();
        assert!(!queue.was_stored(Ino(3)));
    }

    #[test]
    fn what_has_failed_can_be_due_at_once() {
        let queue = Queue::default();
        queue.retry(Ino(5), 6);
        queue.push(Ino(6), Duration::from_secs(3600), Urgency::Closed);
        let later = due(&queue, Ino(6)).0;
        queue.try_failed();
        let (at, _, failures) = due(&queue, Ino(5));
        assert!(at <= Instant::now());
        assert_eq!(failures, 7, "that it has failed is not forgotten");
        assert_eq!(due(&queue, Ino(6)).0, later);
    }

    #[test]
    fn a_wish_for_a_later_time_does_not_lose_the_count_of_failures() {
        let queue = Queue::default();
        queue.retry(Ino(5), 3);
        let (at, ..) = due(&queue, Ino(5));
        queue.push(Ino(5), Duration::from_secs(3600), Urgency::Closed);
        assert_eq!(due(&queue, Ino(5)), (at, Urgency::Now, 4));
    }
}
