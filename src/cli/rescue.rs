//! `b2fuse rescue DIR`: options of its own, the configuration of a mount.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::{AccountOptions, begun, ended, log, misconfigured};
use crate::config::Layer;
use crate::mount;

/// Sends what a mount could not store at its end, and removes it from DIR.
///
/// DIR is the directory that the last lines of the mount have named. Account and bucket are configured as for the
/// mount. What was sent is taken out of DIR; run again after an interruption, it goes on.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse rescue",
    version,
    max_term_width = 100,
    after_help = "Exit code: 0 everything is stored, 1 something is left in DIR, 2 wrong options or configuration"
)]
pub(super) struct Options {
    /// The directory with what is to be sent
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    #[command(flatten)]
    account: AccountOptions,
    #[command(flatten)]
    layer: Layer,
    #[command(flatten)]
    log: log::MessageOptions,
}

/// Runs it with the arguments behind its word.
pub(super) fn run(arguments: &[OsString]) -> u8 {
    let parts = |options: &Options| (options.account.fault(), options.log.clone());
    let options = match begun("b2fuse rescue", arguments, parts) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let which = options.account.which();
    let environment = |name: &str| std::env::var_os(name);
    let config = options
        .account
        .load(options.layer, &which, &environment, false);
    match config {
        Ok(config) => {
            log::configure(&options.log, &config.logging);
            for warning in &config.warnings {
                ::log::warn!("{warning}");
            }
            let plan = config.into_mount(PathBuf::new(), None);
            ended(mount::resend(plan, &options.dir))
        }
        Err(fault) => misconfigured(&fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options =
            Options::try_parse_from(["b2fuse rescue", "--config", "c", "/r"]).expect("right");
        assert_eq!(options.dir, PathBuf::from("/r"));
        Options::try_parse_from(["b2fuse rescue"]).expect_err("the directory is missing");
    }
}
