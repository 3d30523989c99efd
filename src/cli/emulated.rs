//! The options of the emulator.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::config::{Period, Size};
use crate::emulator;

#[derive(Debug, Args)]
#[command(next_help_heading = "Emulator of B2 (no account needed)")]
pub(super) struct EmulatorOptions {
    /// Mount a bucket of an emulator in this process, kept in memory, or in DIR across runs;
    /// the mountpoint is made if it is missing
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(super) emulator: Option<OsString>,
    /// Let other programs use the emulator at this address of this machine, 127.0.0.1:8080 say;
    /// without a mountpoint only the emulator runs
    #[arg(long, value_name = "ADDRESS")]
    pub(super) emulator_listen: Option<SocketAddr>,
    /// Time that the emulator adds to every answer, 50ms say
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    pub(super) emulator_latency: Option<Period>,
    /// Bytes per second of each of the emulator's connections, 20MiB say
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub(super) emulator_bandwidth: Option<Size>,
    /// A fault that the emulator plays; may be given several times
    #[arg(long, value_name = "FAULT", action = ArgAction::Append, hide_short_help = true)]
    pub(super) emulator_fault: Vec<String>,
}

impl EmulatorOptions {
    /// `None` when no emulator is asked for.
    pub(super) fn wanted(&self) -> Option<emulator::Options> {
        if self.emulator.is_none() && self.emulator_listen.is_none() {
            return None;
        }
        Some(emulator::Options {
            listen: self
                .emulator_listen
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            dir: self
                .emulator
                .clone()
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
                .map(|dir| std::path::absolute(&dir).unwrap_or(dir)),
            latency: self
                .emulator_latency
                .map_or(std::time::Duration::ZERO, |t| t.0),
            bandwidth: self.emulator_bandwidth.map(|s| s.0),
            faults: self.emulator_fault.clone(),
        })
    }

    pub(super) fn over(mut self, under: Self) -> Self {
        self.emulator_fault.extend(under.emulator_fault);
        Self {
            emulator: self.emulator.or(under.emulator),
            emulator_listen: self.emulator_listen.or(under.emulator_listen),
            emulator_latency: self.emulator_latency.or(under.emulator_latency),
            emulator_bandwidth: self.emulator_bandwidth.or(under.emulator_bandwidth),
            emulator_fault: self.emulator_fault,
        }
    }

    /// The emulator's options say nothing without an emulator.
    pub(super) fn stray(&self) -> Option<&'static str> {
        if self.emulator.is_some() || self.emulator_listen.is_some() {
            return None;
        }
        if self.emulator_latency.is_some() {
            Some("--emulator-latency")
        } else if self.emulator_bandwidth.is_some() {
            Some("--emulator-bandwidth")
        } else if self.emulator_fault.is_empty() {
            None
        } else {
            Some("--emulator-fault")
        }
    }
}
