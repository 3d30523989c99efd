//! The end of a session: nothing that was written is lost, nobody is left hanging.
//!
//! The order after a signal: unmount first, so that no program finds the mount any more, lazily when some
//! still use it; store what is pending; give programs that have files open a moment to close them; then
//! refuse further requests, wait for those that run, and store what they left. Whoever still has a file
//! open gets an input/output error from then on, never silence. After an unmount from outside the kernel has
//! let go already, and what is pending is stored. What fails is tried again and again, until everything is stored, or
//! a second signal or `drain_timeout` ends it; then it is said what was not stored, and where it was written (`rescue`).

mod progress;
mod rescue;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use self::progress::Progress;
pub(super) use self::progress::to_store;
pub use self::progress::{human, span};
use self::rescue::Rescue;

use super::rescuer::Rescuer;
use super::session::{Session, Unmounted};
use super::{Outcome, Signals};
use crate::vfs::{Stats, Undone, Unstored, Until, Vfs};

/// What programs get to close their files, once everything written so far is stored.
const GRACE: Duration = Duration::from_secs(5);
/// The kernel reports a clean unmount almost at once.
const SETTLE: Duration = Duration::from_millis(500);
/// What an end may take that nobody watches, unless `drain_timeout` says otherwise: whoever has written what is still in
/// memory would rather wait than lose it, and a machine that goes down must go down some time.
const UNWATCHED: Duration = Duration::from_secs(3600);

/// How long the end goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainTimeout {
    /// For ever where stderr is a terminal, for an hour otherwise.
    #[default]
    ByTerminal,
    /// Until a second signal.
    Never,
    /// So long.
    After(Duration),
}

impl DrainTimeout {
    fn limit(self, watched: bool) -> Option<Duration> {
        match self {
            Self::ByTerminal => (!watched).then_some(UNWATCHED),
            Self::Never => None,
            Self::After(limit) => Some(limit),
        }
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody sent the signal of this name.
    Signal(&'static str),
    /// Somebody unmounted.
    Unmounted,
}

/// Ends the session; says on stderr what happens.
pub(super) async fn end(
    mut session: Session,
    vfs: &Vfs,
    signals: &mut Signals,
    cause: Cause,
    point: &str,
    drain_timeout: DrainTimeout,
    rescuer: Rescuer,
) -> Outcome {
    let rescue = Rescue::new(rescuer, vfs);
    let mut outcome = Outcome::Stored;
    let session = if let Cause::Signal(name) = cause {
        log::info!("{name}: unmounting {point}");
        // The kernel may write back mapped pages first, which this process has to serve meanwhile.
        let mut unmounting = tokio::task::spawn_blocking(move || {
            let result = session.unmount();
            (session, result)
        });
        let (session, result) = tokio::select! {
            Ok(done) = &mut unmounting => done,
            name = signals.next() => {
                // Two signals in a row must not leave a dead mount behind. What takes longer than a moment
                // has left the path already.
                let _ = tokio::time::timeout(SETTLE, unmounting).await;
                return rescue.give_up(name, signals).await;
            }
        };
        match result {
            Ok(Unmounted::Clean | Unmounted::Already) => {}
            Ok(Unmounted::Detached) => log::warn!(
                "{point} is still in use: detached, programs that have files open there may close them now"
            ),
            Ok(Unmounted::Covered) => log::warn!(
                "another mount lies on {point}, which stays: unmount it, then: fusermount3 -u {point}"
            ),
            Err(e) => {
                log::error!(
                    "cannot unmount {point}: {e}: end its users, then: fusermount3 -u {point}"
                );
                outcome = Outcome::NotStored;
            }
        }
        session
    } else {
        if session.is_broken() {
            log::error!("the session of {point} ended by a fault: unmounting");
            outcome = Outcome::NotStored;
            let _ = session.unmount();
        } else {
            log::info!("{point} was unmounted");
        }
        session
    };
    let limit = drain_timeout.limit(std::io::stderr().is_terminal());
    let ended = tokio::select! {
        unstored = finish(&session, vfs, &rescue) => Ok(unstored),
        name = signals.next() => Err(name.to_owned()),
        after = over(limit) => Err(format!("drain_timeout of {after:?} is over")),
    };
    let unstored = match ended {
        Ok(unstored) => unstored,
        Err(why) => return rescue.give_up(&why, signals).await,
    };
    if unstored.iter().any(|one| one.what.can_be_kept()) {
        log::info!("{}", summary(&vfs.stats()));
        let why = "what the rest was made from is gone from the bucket";
        return rescue.give_up(why, signals).await;
    }
    rescue.is_needless().await;
    log::info!("{}", summary(&vfs.stats()));
    if unstored.is_empty() {
        log::info!("everything is stored");
        outcome
    } else {
        list(&unstored);
        Outcome::NotStored
    }
}

/// Stores all that is written; what could not be stored comes back.
async fn finish(session: &Session, vfs: &Vfs, rescue: &Rescue) -> Vec<Unstored> {
    let settled = tokio::time::timeout(SETTLE, session.finished())
        .await
        .is_ok();
    if !settled {
        store(vfs, Until::Once, rescue).await;
        if tokio::time::timeout(GRACE, session.finished())
            .await
            .is_err()
        {
            log::warn!(
                "programs still have files open, they get an input/output error from now on"
            );
        }
    }
    session.close_gate().await;
    store(vfs, Until::NothingIsLeft, rescue).await
}

/// Goes on until it is done, and says how far it is.
async fn store(vfs: &Vfs, until: Until, rescue: &Rescue) -> Vec<Unstored> {
    let mut work = std::pin::pin!(vfs.store_all_pending(until));
    let mut progress = Progress::new(std::io::stderr().is_terminal());
    let began = Instant::now();
    loop {
        if let Ok(unstored) = tokio::time::timeout(Progress::EVERY, &mut work).await {
            return unstored;
        }
        let pending = vfs.pending();
        if let Some(line) = progress.line(began.elapsed(), &pending) {
            log::info!("{line}");
        }
        rescue.look(pending.last.is_some());
    }
}

/// Comes when the end has taken as long as it may; `None` for no limit.
async fn over(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

fn list(unstored: &[Unstored]) {
    for one in unstored {
        let why = if one.error.is_empty() {
            "not tried to the end"
        } else {
            &one.error
        };
        let what = match &one.what {
            Undone::Removal => {
                log::error!("not removed: {}: {why}", one.path);
                continue;
            }
            Undone::Rename(to) | Undone::Refused(to) => {
                log::error!("not renamed: {} to {to}: {why}", one.path);
                continue;
            }
            Undone::Content(bytes) => human(*bytes),
            Undone::Attributes if one.path.ends_with('/') => "directory".to_owned(),
            Undone::Attributes => "attributes".to_owned(),
        };
        log::error!("not stored: {} ({what}): {why}", one.path);
    }
}

/// What it took, on one line.
fn summary(stats: &Stats) -> String {
    let b2 = &stats.b2;
    format!(
        "in all: {} calls to B2 (class A {}, B {}, C {}), {} tried again; {} up, {} down; {} of {} reads \
         from memory; at most {} of {} in use",
        b2.calls.values().sum::<u64>(),
        b2.class_a,
        b2.class_b,
        b2.class_c,
        b2.retries,
        human(b2.bytes_up),
        human(b2.bytes_down),
        stats.reads.from_memory,
        stats.reads.from_memory + stats.reads.waited,
        human(stats.memory.peak),
        human(stats.memory.limit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_nobody_watches_has_a_limit() {
        assert_eq!(DrainTimeout::ByTerminal.limit(true), None);
        assert_eq!(DrainTimeout::ByTerminal.limit(false), Some(UNWATCHED));
        assert_eq!(DrainTimeout::Never.limit(false), None);
        let short = Duration::from_secs(3);
        assert_eq!(DrainTimeout::After(short).limit(true), Some(short));
    }
}
