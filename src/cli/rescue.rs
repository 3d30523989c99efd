//! `b2fuse rescue DIR`: options of its own, the configuration of a mount.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::{AccountOptions, ended, log, misconfigured};
use crate::config::{Config, Layer};
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
struct Options {
    /// The directory with what is to be sent
    dir: PathBuf,

    #[command(flatten)]
    account: AccountOptions,
    #[command(flatten)]
    layer: Layer,
    #[command(flatten)]
    log: log::MessageOptions,
}

/// The word that makes it this command.
pub(super) const WORD: &str = "rescue";

/// Runs it, if the arguments (without the program's name) ask for it. A mountpoint of that name is `./rescue`.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = arguments.split_first()?;
    if first != WORD {
        return None;
    }
    let name = OsString::from("b2fuse rescue");
    let options = Options::parse_from(std::iter::once(&name).chain(rest));
    log::start(&options.log);
    if options.account.application_key.is_some() {
        mount::say(
            "the application key is no option: set B2_APPLICATION_KEY, or write applicationKey into config.yaml",
        );
        return Some(ExitCode::from(2));
    }
    let config = Config::load(
        options.layer,
        options.account.config.as_deref(),
        &|name| std::env::var_os(name),
        false,
    );
    Some(match config {
        Ok(config) => {
            log::configure(&options.log, &config.logging);
            for warning in &config.warnings {
                ::log::warn!("{warning}");
            }
            let plan = config.into_mount(PathBuf::new(), None);
            ended(mount::resend(plan, &options.dir))
        }
        Err(fault) => misconfigured(&fault),
    })
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

    #[test]
    fn other_arguments_are_not_for_it() {
        for other in [vec![], vec!["./rescue"], vec!["--debug", "rescue"]] {
            let arguments: Vec<OsString> = other.into_iter().map(OsString::from).collect();
            assert!(run(&arguments).is_none());
        }
    }
}
