//! `rclone mount`: the peer.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::mount::Mount;
use super::options::Options;
use super::server::Server;

/// rclone's `--vfs-cache-mode`; each row names the settings that were the best of those tried for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    Writes,
    Full,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Writes, Self::Full];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "rclone off",
            Self::Writes => "rclone writes",
            Self::Full => "rclone full",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Writes => "writes",
            Self::Full => "full",
        }
    }
}

/// The newest one, where `benches/run` has put it; else that of the machine.
pub(crate) fn program() -> Result<PathBuf> {
    let given = std::env::var_os("B2FUSE_TEST_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = given.into_iter().chain(std::env::split_paths(&path));
    let mut programs = dirs.map(|dir| dir.join("rclone"));
    programs
        .find(|program| program.is_file())
        .context("rclone is needed: run benches/run, or set B2FUSE_TEST_BIN to its directory")
}

/// A mount in this mode, with the flags of the row and those of `--rclone-flag`. Without polling, which B2 does not offer.
pub(crate) fn mount(
    server: &Server,
    program: &Path,
    mode: Mode,
    flags: &[&str],
    options: &Options,
) -> Result<Mount> {
    let common = ["--vfs-cache-mode", mode.flag(), "--poll-interval", "0"];
    let given = options.rclone_flag.iter().map(String::as_str);
    let flags: Vec<&str> = common
        .into_iter()
        .chain(flags.iter().copied())
        .chain(given)
        .collect();
    Mount::rclone(server, program, &flags)
}
