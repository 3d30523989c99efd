//! `b2fuse check [DIR]`: a line for each thing that a mount needs, with a tick, a warning or a cross.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueHint};

use super::{AccountOptions, FAILURE, begun, log};
use crate::config::Layer;
use crate::mount::check::{Finding, Verdict, account, system};
use crate::mount::{self, KernelOptions, RescueTo};

/// Checks configuration, key, bucket and this machine, and mounts nothing.
///
/// Each line begins with a tick, with ! where it mounts but you should know something, or with a cross and what to do.
/// Options are those of a mount. Nothing is written, neither to the bucket nor here.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse check",
    version,
    max_term_width = 100,
    after_help = "Exit code: 0 it can be mounted, 1 something is in the way, 2 wrong options"
)]
pub(super) struct Options {
    /// The directory to mount on
    #[arg(value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,

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
    let options = match begun("b2fuse check", arguments, parts) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let mut bad = false;
    let mut tell = |finding: Finding| {
        bad |= finding.verdict == Verdict::Bad;
        mount::tell(&line(&finding));
    };
    let which = options.account.which();
    let environment = |name: &str| std::env::var_os(name);
    let config = options
        .account
        .load(options.layer, &which, &environment, false);
    let dir = options.dir.as_deref();
    match config {
        Ok(config) => {
            let place = config.file.as_ref().map_or_else(
                || "options and environment".to_owned(),
                |path| path.display().to_string(),
            );
            tell(Finding::good(format!("configuration: {place}")));
            for warning in &config.warnings {
                tell(Finding::warning(format!("configuration: {warning}")));
            }
            let plan = config.into_mount(PathBuf::new(), None);
            let (kernel, rescue) = (plan.kernel, plan.rescue.clone());
            if let Err(fault) = account(plan, &mut tell) {
                tell(Finding::bad(format!("{fault:#}")));
            }
            system(&kernel, &rescue, dir, &mut tell);
        }
        Err(fault) => {
            tell(Finding::bad(format!("configuration: {fault}")));
            system(
                &KernelOptions::default(),
                &RescueTo::default(),
                dir,
                &mut tell,
            );
        }
    }
    mount::messages::drain();
    if bad { FAILURE } else { 0 }
}

/// The mark, and what it is about; further lines stand below the first.
fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Good => '✓',
        Verdict::Warning => '!',
        Verdict::Bad => '✗',
    };
    format!("{mark} {}", finding.text.replace('\n', "\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        Options::try_parse_from(["b2fuse check"]).expect("the directory may be missing");
    }

    #[test]
    fn each_line_begins_with_its_mark() {
        assert_eq!(line(&Finding::good("a")), "✓ a");
        assert_eq!(line(&Finding::warning("b")), "! b");
        assert_eq!(line(&Finding::bad("c\nd")), "✗ c\n  d");
    }
}
