//! Signals: three are wishes to end, of which SIGHUP is one only when a terminal hangs up, the others are requests or change
//! nothing.

use std::io::IsTerminal;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end; the signal's name.
    End(&'static str),
    /// SIGUSR1: the statistics, in the log.
    Statistics,
    /// SIGUSR2: everything in the log, or no longer.
    Detail,
    /// SIGHUP, while no terminal hangs up: to read the configuration again.
    Reload,
}

/// From `listen` on none of them kills the process.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` under nohup(1), whose wish it is that a hangup changes nothing.
    hangup: Option<Signal>,
    /// It was started on a terminal.
    terminal: bool,
    user1: Signal,
    user2: Signal,
    /// SIGQUIT, a slip of the hand on a terminal, and SIGALRM: unsent bytes are worth more than their default.
    _unheard: [Signal; 2],
}

impl Signals {
    /// Must be called inside a tokio runtime.
    pub fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            terminal: on_a_terminal(),
            hangup: if is_ignored(libc::SIGHUP) {
                None
            } else {
                Some(on(SignalKind::hangup())?)
            },
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            user1: on(SignalKind::user_defined1())?,
            user2: on(SignalKind::user_defined2())?,
            _unheard: [on(SignalKind::quit())?, on(SignalKind::alarm())?],
        })
    }

    /// The next wish; loses none when dropped.
    pub(super) async fn wish(&mut self) -> Wish {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = hangup => if self.terminal && !on_a_terminal() {
                Wish::End("SIGHUP")
            } else {
                Wish::Reload
            },
            _ = self.user1.recv() => Wish::Statistics,
            _ = self.user2.recv() => Wish::Detail,
        }
    }

    /// The name of the next signal to end, whatever else is asked for before it; loses none when dropped.
    pub async fn next(&mut self) -> &'static str {
        loop {
            if let Wish::End(name) = self.wish().await {
                return name;
            }
        }
    }
}

/// Whether one of the standard streams is a terminal that has not hung up.
fn on_a_terminal() -> bool {
    std::io::stdin().is_terminal()
        || std::io::stdout().is_terminal()
        || std::io::stderr().is_terminal()
}

/// Whether the process was started with a signal ignored.
pub(super) fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    })
}
