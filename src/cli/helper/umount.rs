//! `umount.fuse.b2fuse DIR [-flnrv] [-t TYPE]`: what umount(8) runs for a mount of b2fuse. It returns when everything is stored.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::exit;
use crate::cli::{log, refused};
use crate::mount::{self, How, Outcome, Quiet};

/// Unmounts a mount of b2fuse, and waits until everything is stored; for umount(8), which calls it by itself.
#[derive(Debug, Parser)]
#[command(name = "umount.b2fuse", version, args_override_self = true)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(in crate::cli) struct Options {
    /// Where it is mounted
    mountpoint: PathBuf,
    /// Programs that wait for the mount get an error
    #[arg(short, long)]
    force: bool,
    /// Unmount also what is in use; then nothing is waited for
    #[arg(short, long)]
    lazy: bool,
    /// For umount(8): there is no /etc/mtab to leave alone
    #[arg(short)]
    no_mtab: bool,
    /// For umount(8): changes nothing
    #[arg(short)]
    read_only: bool,
    /// Say what happens
    #[arg(short, long)]
    verbose: bool,
    /// For umount(8): the type
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

pub(super) fn run(name: &str, arguments: &[OsString]) -> u8 {
    let name = OsString::from(name);
    let options = match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(usage) => {
            return match refused(&usage) {
                0 => 0,
                _ => exit::USAGE,
            };
        }
    };
    log::start(&log::MessageOptions::default());
    let how = How {
        lazy: options.lazy,
        force: options.force,
        unmounted: false,
        timeout: None,
    };
    match mount::unmount(&options.mountpoint, how, &mut Quiet::default()) {
        Ok(Outcome::Stored) => {
            if options.verbose {
                mount::tell(&format!("{} unmounted", options.mountpoint.display()));
            }
            0
        }
        Ok(Outcome::NotStored) => exit::FAILURE,
        Err(fault) => {
            mount::say(&format!("{fault:#}"));
            exit::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_umount_are_taken() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let words = ["umount.b2fuse", "/mnt", "-flnrv", "-t", "fuse.b2fuse"];
        let options = Options::try_parse_from(words).expect("right");
        assert!(options.force && options.lazy && options.verbose);
        Options::try_parse_from(["umount.b2fuse"]).expect_err("no mountpoint");
    }
}
