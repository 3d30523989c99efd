//! What a killed b2fuse leaves at its mountpoint: a mount that answers everything with ENOTCONN. It is detached at the next
//! start, so that a service manager can simply start again. Nothing else is ever detached here: neither a mount that lives
//! nor one of another program.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};

use super::{OURS, topmost};
use crate::mount::fusermount;

/// How often the turn is asked for, and how long each time is waited.
const TRIES: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(100);

/// While this lives, no other start clears this mountpoint: one that saw the remains a moment ago would detach what was
/// mounted in their place.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: Option<Flock<File>>,
}

/// Detaches the remains at a mountpoint, if there are any.
pub(super) fn clear(given: &Path) -> anyhow::Result<Option<Turn>> {
    if !is_dead(given) {
        return Ok(None);
    }
    let shown = given.display();
    let (dir, path) = place(given).with_context(|| format!("cannot use {shown}"))?;
    let turn = Turn::of(&dir, given)?;
    // Looked at anew: whoever had the turn before may have cleared it, and mounted.
    while is_dead(given) {
        let mount = topmost(&path).context("cannot read /proc/self/mountinfo")?;
        if mount.is_none_or(|mount| mount.kind != OURS) {
            bail!(
                "{shown} holds the remains of a mount whose program has ended: clear them with: fusermount3 -u {shown}"
            );
        }
        detach(&path).with_context(|| {
            format!(
                "{shown} holds the remains of a mount whose program has ended: clear them with: fusermount3 -u {shown}"
            )
        })?;
        log::warn!(
            "{shown} held the remains of a b2fuse that had been killed: detached; what it had not stored is lost"
        );
    }
    Ok(Some(turn))
}

fn is_dead(path: &Path) -> bool {
    path.metadata()
        .is_err_and(|fault| fault.raw_os_error() == Some(libc::ENOTCONN))
}

/// The directory that holds it, and its own path, both without symlinks.
fn place(given: &Path) -> io::Result<(PathBuf, PathBuf)> {
    if let Ok(path) = given.canonicalize()
        && let Some(dir) = path.parent()
    {
        return Ok((dir.to_owned(), path));
    }
    let path = std::path::absolute(given)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = dir.canonicalize()?;
    let path = dir.join(name);
    Ok((dir, path))
}

impl Turn {
    fn of(dir: &Path, given: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        for _ in 0..TRIES {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _lock: Some(lock) }),
                Err((back, Errno::EWOULDBLOCK)) => file = back,
                // Some network filesystems have no locks.
                Err(_) => return Ok(Self { _lock: None }),
            }
            thread::sleep(BETWEEN);
        }
        bail!(
            "{} holds the remains of a mount, and another program holds {} locked: wait for it",
            given.display(),
            dir.display()
        )
    }
}

fn detach(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Somebody else has taken it away.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(Errno::EPERM) => {
            if fusermount::unmount(path, true)? {
                Ok(())
            } else {
                Err(io::Error::other("fusermount3 -u -z failed"))
            }
        }
        Err(fault) => Err(fault.into()),
    }
}
