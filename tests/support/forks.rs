//! Processes that are started while a test holds a file open.
//!
//! Between fork(2) and execve(2) a child holds a copy of every descriptor of this process, those of other tests in it, too,
//! and closing that copy is a `close()` as any other: the mount stores what the file holds at that moment. Who counts
//! calls, or looks at the bucket before the close of its own, keeps processes from being started meanwhile.

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static FORKS: RwLock<()> = RwLock::new(());

/// Starts a process, once no test is [`undisturbed`].
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _forking: RwLockReadGuard<'_, ()> = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// While it lives, no process is started by [`spawn`], so that files opened meanwhile are closed by their owner only. Who
/// holds it starts none, either.
pub(crate) fn undisturbed() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}
