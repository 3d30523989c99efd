//! One emulated account per test, in this process.

use std::path::Path;

use b2fuse::emulator::{Counters, Options, Seed, Server};
use tempfile::TempDir;

/// A running server with an empty bucket, and a folder for the state of clients.
pub(crate) struct Emulator {
    server: Server,
    home: TempDir,
}

impl Emulator {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self {
            server: Server::start(options).expect("the emulator listens"),
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// One that hashes no more than it must, for gigabytes.
    pub(crate) fn without_md5() -> Self {
        Self::with(Options {
            faults: vec!["no-md5".to_owned()],
            ..Options::default()
        })
    }

    /// The same, with the content in files: for more than should lie in this process's memory.
    pub(crate) fn on_disk() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(Options {
            dir: Some(home.path().join("bucket")),
            faults: vec!["no-md5".to_owned()],
            ..Options::default()
        })
        .expect("the emulator listens");
        Self { server, home }
    }

    /// Sets the faults in force from here on, in the emulator's words.
    pub(crate) fn faults(&self, words: &[&str]) {
        self.server.set_faults(words).expect("faults in words");
    }

    /// Makes an object of any size, whose content is computed when it is read.
    pub(crate) fn seed(&self, name: &str, size: u64) {
        let seed = Seed {
            name: name.to_owned(),
            size,
            ..Seed::default()
        };
        self.server
            .seed(self.bucket_name(), &[seed])
            .expect("an object is seeded");
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
