//! The end of a session: nothing that was written is lost, nobody is left hanging.
//!
//! The order after a signal: unmount first, so that no program finds the mount any more, lazily when some
//! still use it; store what is pending; give programs that have files open a moment to close them; then
//! refuse further requests, wait for those that run, and store what they left. Whoever still has a file
//! open gets an input/output error from then on, never silence. After an unmount from outside the kernel has
//! let go already, and what is pending is stored. A second signal gives up and says what was not stored.

use std::time::Duration;

use super::session::{Session, Unmounted};
use super::{Outcome, Signals};
use crate::vfs::{Pending, Stats, Unstored, Vfs};

/// What programs get to close their files, once everything written so far is stored.
const GRACE: Duration = Duration::from_secs(5);
/// The kernel reports a clean unmount almost at once.
const SETTLE: Duration = Duration::from_millis(500);
/// How often the user hears how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

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
) -> Outcome {
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
                return give_up(vfs, name);
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
    let unstored = tokio::select! {
        unstored = finish(&session, vfs) => unstored,
        name = signals.next() => return give_up(vfs, name),
    };
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
async fn finish(session: &Session, vfs: &Vfs) -> Vec<Unstored> {
    let settled = tokio::time::timeout(SETTLE, session.finished())
        .await
        .is_ok();
    if !settled {
        drain(vfs).await;
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
    drain(vfs).await
}

async fn drain(vfs: &Vfs) -> Vec<Unstored> {
    let work = vfs.drain();
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(PROGRESS, &mut work).await {
            Ok(unstored) => return unstored,
            Err(_) => log::info!(
                "storing: {} (once more Ctrl-C gives up)",
                togo(vfs.pending())
            ),
        }
    }
}

fn give_up(vfs: &Vfs, name: &str) -> Outcome {
    let unstored = vfs.unstored();
    if unstored.is_empty() {
        log::warn!("{name}: ended at once, nothing was left to store");
        return Outcome::Stored;
    }
    log::error!("{name}: gave up");
    list(&unstored);
    Outcome::NotStored
}

fn list(unstored: &[Unstored]) {
    for one in unstored {
        let why = if one.error.is_empty() {
            "not tried to the end"
        } else {
            &one.error
        };
        if one.removal {
            log::error!("not removed: {}: {why}", one.path);
            continue;
        }
        let what = match one.content {
            Some(bytes) => human(bytes),
            None if one.path.ends_with('/') => "directory".to_owned(),
            None => "attributes".to_owned(),
        };
        log::error!("not stored: {} ({what}): {why}", one.path);
    }
}

fn togo(pending: Pending) -> String {
    let files = match pending.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let removals = match pending.removals {
        0 => String::new(),
        1 => ", 1 removal".to_owned(),
        removals => format!(", {removals} removals"),
    };
    format!("{files}, {}{removals} to go", human(pending.bytes))
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

/// `1536` is `1.5 KiB`.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_human_units() {
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(1023), "1023 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(5 << 30), "5.0 GiB");
        assert_eq!(human(3 << 40), "3.0 TiB");
        let pending = |files, bytes, removals| {
            togo(Pending {
                files,
                bytes,
                removals,
            })
        };
        assert_eq!(pending(1, 2 << 20, 0), "1 file, 2.0 MiB to go");
        assert_eq!(pending(2, 0, 1), "2 files, 0 bytes, 1 removal to go");
        assert_eq!(pending(0, 0, 9), "0 files, 0 bytes, 9 removals to go");
    }
}
