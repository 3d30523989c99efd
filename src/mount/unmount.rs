//! Unmounting from another process, as umount(8) has it done: the mount is taken away, and its b2fuse is waited for until it
//! has stored everything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::control::{self, Connection, Request, Status, ToStore};
use super::point::{self, OURS};
use super::served::Server;
use super::{Outcome, fusermount};

/// After so long it is said what is waited for.
const SAID_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked how far the end is.
const LOOK: Duration = Duration::from_millis(500);

/// How it is unmounted.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Also while programs use it: then nothing is waited for.
    pub lazy: bool,
    /// Requests that wait for the filesystem get an error.
    pub force: bool,
    /// What is unmounted already and still stores is waited for, too.
    pub unmounted: bool,
    /// How long the end is waited for; `None`: as long as it takes.
    pub timeout: Option<Duration>,
}

/// Somebody who watches the end.
pub trait Watcher {
    /// How far the end is.
    fn shows(&mut self, to_store: &ToStore);
    /// It is waited for the end of that process, which does not tell how far it is.
    fn waits(&mut self, shown: &str, pid: &str);
    /// What is said from here on is no progress.
    fn done(&mut self);
}

/// A watcher who hears after a moment what is waited for, and no more.
#[derive(Debug, Default)]
pub struct Quiet {
    began: Option<Instant>,
    said: bool,
}

impl Watcher for Quiet {
    fn shows(&mut self, _: &ToStore) {}

    fn waits(&mut self, shown: &str, pid: &str) {
        let began = *self.began.get_or_insert_with(Instant::now);
        if !self.said && began.elapsed() >= SAID_AFTER {
            self.said = true;
            super::say(&format!(
                "{shown} is unmounted; waiting until its b2fuse (process {pid}) has stored everything"
            ));
        }
    }

    fn done(&mut self) {}
}

/// Unmounts and waits. [`Outcome::Stored`] only if everything is stored; else it has been said why not, or an error says it.
pub fn unmount(given: &Path, how: How, watcher: &mut dyn Watcher) -> anyhow::Result<Outcome> {
    let shown = given.display();
    let path = place(given).with_context(|| format!("cannot use {shown}"))?;
    let mount = point::topmost(&path)
        .context("cannot read /proc/self/mountinfo")?
        .filter(|mount| mount.kind == OURS);
    let Some(mount) = mount else {
        let storing = if how.unmounted {
            control::storing(&path)?
        } else {
            None
        };
        let (mount, living) = storing.ok_or_else(|| anyhow!("no b2fuse is mounted on {shown}"))?;
        let connection = mount.connect().ok();
        return wait(
            living.into_server(),
            connection,
            &shown.to_string(),
            how.timeout,
            watcher,
        );
    };
    let connection = control::choose(Some(&path))
        .and_then(|(mount, _)| mount.connect())
        .ok();
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
    wait(server, connection, &shown.to_string(), how.timeout, watcher)
}

/// Waits for the end of the process, and shows how far it is.
fn wait(
    server: Server,
    mut connection: Option<Connection>,
    shown: &str,
    timeout: Option<Duration>,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Outcome> {
    let (pid, began) = (server.pid.clone(), Instant::now());
    let (ended, over) = std::sync::mpsc::channel();
    // It ends with this process where it is not waited for any longer.
    std::thread::spawn(move || ended.send(server.wait()));
    let outcome = loop {
        match over.recv_timeout(LOOK) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Disconnected) => {
                break Err(io::Error::other("the thread that waits has ended"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            watcher.done();
            bail!(
                "{shown} is unmounted, but not everything is stored after {:?}: its b2fuse (process {pid}) goes on; b2fuse status {shown} shows how far it is",
                timeout.unwrap_or_default()
            );
        }
        let status = connection
            .as_mut()
            .and_then(|connection| connection.ask(&Request::Status { files: 0 }).ok());
        match status {
            Some(Status { to_store, .. }) => watcher.shows(&to_store),
            None => connection = None,
        }
        watcher.waits(shown, &pid);
    };
    watcher.done();
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
