//! Commands that speak to a mount which runs: each takes its mountpoint, or a path below it, which may be left out where the
//! user has one mount.

pub(super) mod ask;
pub(super) mod list;
mod screen;
pub(super) mod status;
pub(super) mod umount;
mod words;

use std::ffi::OsString;
use std::path::Path;

use clap::{Command, CommandFactory as _, Parser};

use super::{FAILURE, log, refused};
use crate::mount;
use crate::mount::control::{self, Connection};

/// What stands in each command's help at its end.
const EXIT_CODES: &str =
    "Exit code: 0 done, 1 not done or not all of it, a message says why, 2 wrong options";

/// Name, name of the manual page, and options of each, as people see them.
pub(super) fn commands() -> [(&'static str, &'static str, Command); 9] {
    [
        ("status", "b2fuse-status", status::Options::command()),
        ("list", "b2fuse-list", list::Options::command()),
        ("umount", "b2fuse-umount", umount::Options::command()),
        ("flush", "b2fuse-flush", ask::Flush::command()),
        ("refresh", "b2fuse-refresh", ask::Refresh::command()),
        ("warm", "b2fuse-warm", ask::Warm::command()),
        ("limit", "b2fuse-limit", ask::Limit::command()),
        ("reload", "b2fuse-reload", ask::Reload::command()),
        ("log", "b2fuse-log", ask::Level::command()),
    ]
}

/// Runs the command of that name with the arguments behind it, if it is one of these.
pub(super) fn run(name: &str, arguments: &[OsString]) -> Option<u8> {
    Some(match name {
        "status" => with(name, arguments, status::run),
        "list" => with(name, arguments, list::run),
        "umount" => with(name, arguments, umount::run),
        "flush" => with(name, arguments, ask::flush),
        "refresh" => with(name, arguments, ask::refresh),
        "warm" => with(name, arguments, ask::warm),
        "limit" => with(name, arguments, ask::limit),
        "reload" => with(name, arguments, ask::reload),
        "log" => with(name, arguments, ask::level),
        _ => return None,
    })
}

/// Reads the options, runs the command, and says what has failed.
fn with<O: Parser>(
    name: &str,
    arguments: &[OsString],
    run: impl Fn(&O) -> anyhow::Result<u8>,
) -> u8 {
    let name = OsString::from(format!("b2fuse {name}"));
    let options = match O::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(usage) => return refused(&usage),
    };
    log::start(&log::MessageOptions::default());
    run(&options).unwrap_or_else(|fault| {
        mount::say(&format!("{fault:#}"));
        FAILURE
    })
}

/// Connects to the mount that a path is on; the path relative to it.
fn reach(path: Option<&Path>) -> anyhow::Result<(Connection, String)> {
    let (mount, below) = control::choose(path)?;
    Ok((mount.connect()?, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_are_sound_and_each_name_is_a_command() {
        for (name, page, command) in commands() {
            command.debug_assert();
            assert_eq!(page, format!("b2fuse-{name}"));
            assert_eq!(run(name, &["--help".into()]), Some(0), "{name}");
            assert_eq!(run(name, &["--nonsense".into()]), Some(2), "{name}");
        }
        assert_eq!(run("mount", &[]), None);
    }
}
