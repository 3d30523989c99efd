//! One emulated account per test, in this process.

use std::path::Path;
use std::time::Duration;

use b2fuse::emulator::{Options, Server};
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

    /// A folder that lives as long as the server, for the state that clients keep.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}
