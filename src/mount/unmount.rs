//! Unmounting from another process, as umount(8) has it done: the mount is taken away, and its b2fuse is waited for until it
//! has stored everything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::point::{self, OURS};
use super::served::Server;
use super::{Outcome, fusermount};

/// After so long it is said what is waited for.
const SAID_AFTER: Duration = Duration::from_secs(2);

/// How it is unmounted.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Also while programs use it: then nothing is waited for.
    pub lazy: bool,
    /// Requests that wait for the filesystem get an error.
    pub force: bool,
}

/// Unmounts and waits. [`Outcome::Stored`] only if everything is stored; else it has been said why not, or an error says it.
pub fn unmount(given: &Path, how: How) -> anyhow::Result<Outcome> {
    let shown = given.display();
    let path = place(given).with_context(|| format!("cannot use {shown}"))?;
    let mount = point::topmost(&path)
        .context("cannot read /proc/self/mountinfo")?
        .filter(|mount| mount.kind == OURS)
        .ok_or_else(|| anyhow!("no b2fuse is mounted on {shown}"))?;
    let server = Server::of(&mount);
    if !take_away(&path, how).with_context(|| format!("cannot unmount {shown}"))? {
        super::say(&format!(
            "{shown} is still in use: detached; its b2fuse ends when programs have closed their files there"
        ));
        return Ok(Outcome::Stored);
    }
    let Some(server) = server else {
        bail!(
            "{shown} is unmounted, but no process is known that served it: whether everything was stored, only its log can tell"
        );
    };
    let waits = format!(
        "{shown} is unmounted; waiting until its b2fuse (process {}) has stored everything",
        server.pid
    );
    let (done, over) = std::sync::mpsc::channel::<()>();
    let speaker = std::thread::spawn(move || {
        if over.recv_timeout(SAID_AFTER) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            super::say(&waits);
        }
    });
    let outcome = server.wait();
    drop(done);
    let _ = speaker.join();
    let outcome = outcome.with_context(|| format!("the b2fuse of {shown} is lost"))?;
    if outcome == Outcome::NotStored {
        super::say(&format!(
            "{shown} is unmounted, but not everything was stored: the log of its b2fuse names what was not, and where it is kept"
        ));
    }
    Ok(outcome)
}

/// The mountpoint without symlinks, as mountinfo has it. A dead mount can still be named.
fn place(given: &Path) -> io::Result<PathBuf> {
    given.canonicalize().or_else(|_| std::path::absolute(given))
}

/// Whether it is unmounted; else it is only detached.
fn take_away(path: &Path, how: How) -> anyhow::Result<bool> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_FORCE, how.force);
    match umount2(path, flags) {
        Ok(()) => return Ok(true),
        Err(Errno::EBUSY) => {}
        Err(Errno::EPERM) => {
            if fusermount::unmount(path, false)? {
                return Ok(true);
            }
            if !how.lazy {
                bail!("fusermount3 -u failed: somebody uses it, or another user has mounted it");
            }
            return if fusermount::unmount(path, true)? {
                Ok(false)
            } else {
                Err(anyhow!(
                    "fusermount3 -u -z failed: another user has mounted it"
                ))
            };
        }
        Err(error) => return Err(error.into()),
    }
    if !how.lazy {
        bail!("somebody uses it: fuser -vm {} names who", path.display());
    }
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    Ok(false)
}
