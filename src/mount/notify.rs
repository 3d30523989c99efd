//! What a service manager is told (sd_notify(3)): that it is mounted, that the configuration is read again, and while the end
//! stores what is pending, how far it is and that it wants more time. Without `NOTIFY_SOCKET` nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::ending::to_store;
use crate::vfs::Vfs;

/// How often the end says how far it is, and for how much longer than now it must not be killed then.
const EVERY: Duration = Duration::from_secs(5);
const GRANTED: Duration = Duration::from_secs(60);

/// It is mounted.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; `ready` says when that is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("no time for the service manager: {error}"),
    }
}

/// The end has begun. Until what comes back is dropped, it is said how far it is, and more time is asked for.
pub(super) fn ending(vfs: &Vfs, runtime: &tokio::runtime::Handle) -> Ending {
    tell(&[NotifyState::Stopping]);
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ending(None);
    }
    let vfs = vfs.clone();
    Ending(Some(runtime.spawn(async move {
        let granted = u32::try_from(GRANTED.as_micros()).unwrap_or(u32::MAX);
        loop {
            let status = to_store(&vfs.pending());
            tell(&[
                NotifyState::Status(&status),
                NotifyState::ExtendTimeoutUsec(granted),
            ]);
            tokio::time::sleep(EVERY).await;
        }
    })))
}

/// The end goes on.
#[derive(Debug)]
pub(super) struct Ending(Option<JoinHandle<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("the service manager is not told: {error}");
    }
}
