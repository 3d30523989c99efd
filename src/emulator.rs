//! A B2 Native API server in this process, for `--emulator` and for tests.
//!
//! INTERFACE STUB.
#![allow(missing_docs, unused_variables, clippy::unused_async, clippy::todo)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Options {
    /// `127.0.0.1:0` takes a free port; loopback only.
    pub listen: SocketAddr,
    /// Keeps the account here across runs; `None`: in memory.
    pub dir: Option<PathBuf>,
    /// Added before every answer.
    pub latency: Duration,
    /// Bytes per second and connection and direction.
    pub bandwidth: Option<u64>,
    /// Fault switches in words (`--emulator-fault`), see `faults`.
    pub faults: Vec<String>,
}

/// A running server with threads and a runtime of its own; stops when dropped.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Returns when it listens.
    pub fn start(options: Options) -> std::io::Result<Self> {
        todo!()
    }
    /// `http://127.0.0.1:port`: what a client takes as realm.
    pub fn endpoint(&self) -> String {
        todo!()
    }
    /// The master key.
    pub fn key_id(&self) -> &str {
        todo!()
    }
    pub fn key(&self) -> &str {
        todo!()
    }
    /// The bucket that exists from the start (`b2fuse-demo`).
    pub fn bucket_name(&self) -> &str {
        todo!()
    }
}
