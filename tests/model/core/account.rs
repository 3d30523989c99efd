//! What the sequences of one test share.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::support::emulator::Emulator;

/// What the sequences of one test share: a server, and a runtime for the clients.
pub(crate) struct Account {
    pub(super) emulator: Emulator,
    pub(super) runtime: Runtime,
    pub(super) next: std::sync::atomic::AtomicU64,
}

impl Account {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            emulator: Emulator::start(),
            runtime,
            next: 0.into(),
        }
    }

    /// Every answer takes this long.
    pub(crate) fn slow(latency: Duration) -> Self {
        let emulator = Emulator::with(b2fuse::emulator::Options {
            latency,
            ..b2fuse::emulator::Options::default()
        });
        Self {
            emulator,
            ..Self::new()
        }
    }
}
