//! `b2fuse umount DIR`: unmounts, and shows how far the storing is until it has ended.

use std::path::PathBuf;

use clap::Parser;

use super::screen::Storing;
use crate::cli::FAILURE;
use crate::config::Period;
use crate::mount::{self, How, Outcome};

/// Unmounts, and waits until everything is stored; on a terminal a line shows how far it is.
///
/// Ctrl-C ends the waiting, not the storing; run again, it waits on.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse umount",
    version,
    max_term_width = 100,
    after_help = "Exit code, as the mount's: 0 everything is stored, 1 not unmounted, or something is not stored (yet), 2 wrong options"
)]
pub(in crate::cli) struct Options {
    /// Where it is mounted
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    mountpoint: PathBuf,
    /// Wait for so long at most; storing goes on then, exit code 1
    #[arg(long, value_name = "TIME")]
    timeout: Option<Period>,
    /// Unmount also what is in use; then nothing is waited for
    #[arg(short, long)]
    lazy: bool,
}

pub(in crate::cli) fn run(options: &Options) -> anyhow::Result<u8> {
    let how = How {
        lazy: options.lazy,
        force: false,
        unmounted: true,
        timeout: options.timeout.map(|timeout| timeout.0),
    };
    let outcome = mount::unmount(&options.mountpoint, how, &mut Storing::new())?;
    Ok(match outcome {
        Outcome::Stored => 0,
        Outcome::NotStored => FAILURE,
    })
}
