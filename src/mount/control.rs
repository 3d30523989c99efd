//! The control socket of a running mount: what `b2fuse status`, `flush` and the like speak to.
//!
//! It lies beside the file that says which process serves the mount (`served`), and lives as long as the process stores: also
//! after the kernel has unmounted. Whoever connects must be the user who has mounted it, or root. What is asked runs in
//! tasks of its own, so that nobody who stalls holds the filesystem up. The protocol: docs/control.md.
//!
//! Rooms: `protocol` (words on the line), `socket` (connections), `answers` (what is done), `rates` (how fast files
//! leave); `reach` is the other end, in the process of the command.

mod answers;
mod protocol;
mod rates;
mod reach;
mod socket;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

pub use self::protocol::{
    Bandwidth, Cap, FileStatus, Flushed, Kind, Limits, Refreshed, Request, State, Status, ToStore,
    Undone, Warmed, Width,
};
pub(super) use self::reach::storing;
pub use self::reach::{Connection, Mount, all, choose};
pub(super) use self::socket::Socket;

use self::rates::Rates;
use super::reload::Reload;
use crate::b2::Client;
use crate::vfs::Vfs;

/// What is told of a mount, and how it is changed.
#[derive(Clone)]
pub(super) struct Control(Arc<Inner>);

struct Inner {
    vfs: Vfs,
    client: Client,
    reload: Option<Reload>,
    facts: Facts,
    began: Instant,
    /// The kernel has let go, or the end has begun: what is pending is being stored.
    storing: AtomicBool,
    limits: Mutex<Width>,
    rates: Mutex<Rates>,
}

/// What does not change.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) bucket: String,
    /// Empty, or ends with `/`.
    pub(super) prefix: String,
    pub(super) mountpoint: PathBuf,
    pub(super) read_only: bool,
    /// Where the page for people is, its token included.
    pub(super) page: Option<String>,
    /// What the service manager is told while all is well.
    pub(super) introduction: String,
}

impl Control {
    pub(super) fn new(
        vfs: Vfs,
        client: Client,
        reload: Option<Reload>,
        facts: Facts,
        (up, down): (Option<NonZeroU64>, Option<NonZeroU64>),
    ) -> Self {
        Self(Arc::new(Inner {
            vfs,
            client,
            reload,
            facts,
            began: Instant::now(),
            storing: AtomicBool::new(false),
            limits: Mutex::new(Width {
                up: up.into(),
                down: down.into(),
            }),
            rates: Mutex::default(),
        }))
    }

    /// The end has begun.
    pub(super) fn ends(&self) {
        self.0.storing.store(true, Relaxed);
    }
}
