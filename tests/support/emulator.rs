//! One emulated account per test, in this process.

use std::path::Path;
use std::time::Duration;

use b2fuse::emulator::{Counters, Options, Server};
use tempfile::TempDir;

/// A running server with an empty bucket, and a folder for the state of clients.
pub(crate) struct Emulator {
    server: Server,
    home: TempDir,
}

impl Emulator {
    pub(crate) fn start() -> Self {
        let server = Server::start(Options {
            listen: "127.0.0.1:0".parse().expect("a loopback address"),
            dir: None,
            latency: Duration::ZERO,
            bandwidth: None,
            faults: Vec::new(),
        })
        .expect("the emulator listens");
        Self {
            server,
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub(crate) fn key_id(&self) -> &str {
        self.server.key_id()
    }

    pub(crate) fn key(&self) -> &str {
        self.server.key()
    }

    pub(crate) fn bucket_name(&self) -> &str {
        self.server.bucket_name()
    }

    /// What has been asked since the start or the last `forget_counters`.
    pub(crate) fn counters(&self) -> Counters {
        self.server.counters()
    }

    /// How often one call was made.
    pub(crate) fn calls(&self, name: &str) -> u64 {
        self.counters().calls.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn forget_counters(&self) {
        self.server.reset_counters();
    }

    /// The only server of its kind: for faults, keys and seeds.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// A folder that lives as long as the server, for the state that clients keep.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}
