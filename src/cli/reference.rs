//! Reference made from the options themselves: manual pages and completions. The commands for it are hidden: packages call
//! them.

pub(super) mod completions;
pub(super) mod man;

use clap::{Command, CommandFactory as _};

use super::{Options, check, helper, rescue, running, setup};

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
