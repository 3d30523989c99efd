//! SIGINT, SIGTERM and SIGHUP as one stream of wishes to end.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The three signals; from `listen` on none of them kills the process.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` under nohup(1), whose wish it is that a hangup changes nothing.
    hangup: Option<Signal>,
}

impl Signals {
    /// Must be called inside a tokio runtime.
    pub fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hangup: if is_ignored(libc::SIGHUP) {
                None
            } else {
                Some(on(SignalKind::hangup())?)
            },
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// The next signal's name; loses none when dropped.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether the process was started with a signal ignored.
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    })
}
