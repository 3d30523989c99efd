//! The options that every bench has.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use b2fuse::config::Size;
use clap::Parser;

use super::{GIB, MIB};

/// Measures b2fuse beside its peers and prints one Markdown table; progress goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "benches/run", max_term_width = 100)]
pub(crate) struct Options {
    /// Rows to run, by their keys; none: all
    #[arg(value_name = "ROW")]
    pub(crate) rows: Vec<String>,
    /// List the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Only contenders whose names contain one of these; bars need their limits, too
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds of each row; the table shows medians [default: 3]
    #[arg(long, value_name = "COUNT")]
    rounds: Option<u64>,
    /// Bytes that sequential rows move [default: 1GiB]
    #[arg(long)]
    size: Option<Size>,
    /// Size of the file that is appended to and patched [default: 10GiB]
    #[arg(long)]
    patched_size: Option<Size>,
    /// The same for rclone, which moves all of it through memory and disk [default: 1GiB]
    #[arg(long)]
    peer_patched_size: Option<Size>,
    /// Size of each of the sixteen files in the row on memory [default: 512MiB]
    #[arg(long)]
    many_size: Option<Size>,
    /// Connections of each contender where one does not fill the line
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub(crate) streams: u64,
    /// Milliseconds that each answer takes, in the rows on names [default: those of each row, of 0, 20 and 50]
    #[arg(long, value_name = "MILLISECONDS", value_delimiter = ',')]
    pub(crate) latency: Vec<u64>,
    /// A line of b2fuse's config.yaml, as KEY=VALUE; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// One more flag for rclone, where it beats the one chosen here; may be given several times
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) rclone_flag: Vec<String>,
    /// Small sizes and one round: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,

    /// Serve the bare filesystem there
    #[arg(long, hide = true, value_name = "MOUNTPOINT")]
    pub(crate) serve_bare: Option<PathBuf>,
    /// How many names it has besides its file
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) bare_names: u64,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn size_or(&self, given: Option<&Size>, usual: u64, quick: u64) -> u64 {
        given.map_or(if self.quick { quick } else { usual }, |size| size.0)
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size_or(self.size.as_ref(), GIB, 128 * MIB)
    }

    pub(crate) fn patched_size(&self) -> u64 {
        self.size_or(self.patched_size.as_ref(), 10 * GIB, GIB)
    }

    pub(crate) fn peer_patched_size(&self) -> u64 {
        self.size_or(self.peer_patched_size.as_ref(), GIB, 96 * MIB)
    }

    pub(crate) fn many_size(&self) -> u64 {
        self.size_or(self.many_size.as_ref(), 512 * MIB, 64 * MIB)
    }

    /// How many reads a row on random reads makes.
    pub(crate) fn random_reads(&self) -> u64 {
        if self.quick { 8 } else { 48 }
    }

    /// A count of files or names.
    pub(crate) fn count(&self, usual: u64, quick: u64) -> u64 {
        if self.quick { quick } else { usual }
    }

    /// The latencies that a row is measured at, which by itself would be these.
    pub(crate) fn latencies(&self, usual: &[u64]) -> Vec<u64> {
        match (self.latency.is_empty(), self.quick) {
            (false, _) => self.latency.clone(),
            (true, true) => usual.iter().take(1).copied().collect(),
            (true, false) => usual.to_vec(),
        }
    }

    pub(crate) fn wants_row(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == key)
    }

    pub(crate) fn wants_contender(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Lines of config.yaml: those of the row, and those of `--set`.
    pub(crate) fn config(&self, lines: &str) -> Result<String> {
        let mut config = lines.to_owned();
        for line in &self.set {
            let (key, value) = line.split_once('=').context("--set wants KEY=VALUE")?;
            write!(config, "\n{key}: {value}")?;
        }
        Ok(config)
    }
}
