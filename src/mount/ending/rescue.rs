//! When the end writes to this machine what B2 does not take, and what is said of it.
//!
//! The rounds of the `Rescuer` run beside the tries: whoever kills the process later loses little. They wait for disks,
//! so they have threads of their own, and nobody here waits for a disk without a limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::list;
use crate::mount::rescuer::{Hurry, Rescuer};
use crate::mount::{Outcome, Signals};
use crate::vfs::Vfs;

/// An outage that is shorter leaves nothing on the disk.
const AFTER: Duration = Duration::from_secs(30);
/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// What writing may take after a second signal: somebody waits at a prompt.
const MOMENT: Duration = Duration::from_secs(5);
/// A disk that does not answer is not waited for much longer than that.
const DISK: Duration = Duration::from_secs(3);

/// The rescue of one end.
pub(super) struct Rescue {
    vfs: Vfs,
    rescuer: Arc<Mutex<Rescuer>>,
    hurry: Hurry,
    on: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The first failure of the end.
    failed: Option<Instant>,
    last: Option<Instant>,
    round: Option<JoinHandle<()>>,
}

impl Rescue {
    pub(super) fn new(rescuer: Rescuer, vfs: &Vfs) -> Self {
        Self {
            vfs: vfs.clone(),
            hurry: rescuer.hurry(),
            on: rescuer.is_on(),
            rescuer: Arc::new(Mutex::new(rescuer)),
            state: Mutex::default(),
        }
    }

    /// Begins a round if it is time for one; called every second or so.
    pub(super) fn look(&self, failing: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if failing && state.failed.is_none() {
            state.failed = Some(now);
        }
        let due = state.failed.is_some_and(|at| now >= at + AFTER)
            && state.last.is_none_or(|at| now >= at + EVERY)
            && state.round.as_ref().is_none_or(JoinHandle::is_finished);
        if self.on && due {
            state.last = Some(now);
            state.round = Some(self.round());
        }
    }

    fn round(&self) -> JoinHandle<()> {
        let (rescuer, vfs) = (Arc::clone(&self.rescuer), self.vfs.clone());
        tokio::task::spawn_blocking(move || rescuer.lock().round(&vfs))
    }

    /// Everything is stored: what was written is removed.
    pub(super) async fn is_needless(&self) {
        if self.state.lock().round.is_some() {
            let _ = tokio::time::timeout(MOMENT + DISK, self.round()).await;
        }
    }

    /// Tries no more: writes what it can, and says what was not stored and where it is now.
    pub(super) async fn give_up(&self, why: &str, signals: &mut Signals) -> Outcome {
        let unstored = self.vfs.unstored();
        if unstored.is_empty() {
            log::warn!("{why}: ended at once, nothing was left to store");
            self.is_needless().await;
            return Outcome::Stored;
        }
        log::error!("{why}: gave up");
        list(&unstored);
        if self.on && unstored.iter().any(|one| one.what.can_be_kept()) {
            self.write(why, signals).await;
        }
        Outcome::NotStored
    }

    async fn write(&self, why: &str, signals: &mut Signals) {
        let watched = why.starts_with("SIG");
        if watched {
            self.hurry.until(Instant::now() + MOMENT);
        }
        let mut round = std::pin::pin!(self.round());
        let in_time = if watched {
            tokio::time::timeout(MOMENT + DISK, &mut round)
                .await
                .is_ok()
        } else {
            tokio::select! {
                _ = &mut round => true,
                _ = signals.next() => {
                    self.hurry.until(Instant::now());
                    tokio::time::timeout(DISK, &mut round).await.is_ok()
                }
            }
        };
        if !in_time {
            log::error!("the rescue directory does not answer: what is listed above may be lost");
            return;
        }
        let rescuer = self.rescuer.lock();
        for (path, why) in rescuer.lost() {
            log::error!("not rescued, lost: {path}: {why}");
        }
        if let Some((dir, count)) = rescuer.kept() {
            let things = match count {
                1 => "1 of these is".to_owned(),
                count => format!("{count} of these are"),
            };
            let dir = dir.display();
            log::error!("{things} kept in {dir}; to send it once B2 takes it: b2fuse rescue {dir}");
        }
    }
}
