//! Reference made from the options themselves: manual pages and completions. The commands for it are hidden: packages call
//! them.

pub(super) mod completions;
pub(super) mod man;

use clap::builder::Resettable;
use clap::{Command, CommandFactory as _, Id};

use super::{Options, check, helper, rescue, running, setup};

/// The whole command line in one tree, as people see it. (It is parsed otherwise: `commands`.)
fn whole() -> Command {
    shown("b2fuse", &Options::command())
        .disable_help_subcommand(true)
        .subcommands(words().iter().map(|(name, _, word)| shown(name, word)))
}

/// The command without its hidden options, which completions would show.
fn shown(name: &'static str, command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_flag(command.is_disable_help_flag_set())
        // What is hidden is not there to be in conflict with.
        .args(arguments.map(|arg| arg.clone().conflicts_with(Resettable::<Id>::Reset)))
}

/// The words that make it another command: each with the name of its manual page.
fn words() -> Vec<(&'static str, &'static str, Command)> {
    let fstab = Options::command()
        .about("Prints the line of /etc/fstab for a mount with these options")
        .long_about(
            "Prints the line of /etc/fstab for a mount with these options, after the same checks as for the mount. \
             The account must stand in a file, for mount(8) hands on no environment.",
        )
        .override_usage("b2fuse fstab [OPTIONS] <DIR>")
        .after_help(None::<&str>);
    let mut words = Vec::from(running::commands());
    words.extend([
        ("rescue", "b2fuse-rescue", rescue::Options::command()),
        ("fstab", "b2fuse-fstab", fstab),
        (
            "install-helper",
            "b2fuse-install-helper",
            helper::install::Options::command(),
        ),
        ("check", "b2fuse-check", check::Options::command()),
        ("setup", "b2fuse-setup", setup::Options::command()),
    ]);
    words
}
