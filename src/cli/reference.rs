//! Reference made from the options themselves: manual pages and completions. The commands for it are hidden: packages call
//! them.

pub(super) mod completions;
pub(super) mod man;

use clap::builder::Resettable;
use clap::{Command, CommandFactory as _, Id};

use super::{Options, check, helper, rescue, setup};

/// The whole command line in one tree, as people see it. (It is parsed otherwise: `commands`.)
fn whole() -> Command {
    let names = ["rescue", "fstab", "install-helper", "check", "setup"];
    let words = words();
    shown("b2fuse", &Options::command())
        .disable_help_subcommand(true)
        .subcommands(
            names
                .into_iter()
                .zip(&words)
                .map(|(name, word)| shown(name, word)),
        )
}

/// The command without its hidden options, which completions would show.
fn shown(name: &'static str, command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        // What is hidden is not there to be in conflict with.
        .args(arguments.map(|arg| arg.clone().conflicts_with(Resettable::<Id>::Reset)))
}

/// The words that make it another command.
fn words() -> [Command; 5] {
    [
        rescue::Options::command().name("rescue"),
        Options::command()
            .name("fstab")
            .about("Prints the line of /etc/fstab for a mount with these options")
            .long_about(
                "Prints the line of /etc/fstab for a mount with these options, after the same checks as for the mount. \
                 The account must stand in a file, for mount(8) hands on no environment.",
            )
            .override_usage("b2fuse fstab [OPTIONS] <DIR>")
            .after_help(None::<&str>),
        helper::install::Options::command().name("install-helper"),
        check::Options::command().name("check"),
        setup::Options::command().name("setup"),
    ]
}
