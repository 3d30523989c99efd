//! Commands that ask a mount to do something, and say what came of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::Parser;

use super::screen::{Line, storing};
use super::words::{counted, limit as shown, plain};
use super::{EXIT_CODES, reach};
use crate::cli::{FAILURE, USAGE};
use crate::config::Bandwidth;
use crate::mount::control::{
    Connection, Flushed, Limits, Refreshed, Request, Status, Warmed, Width,
};
use crate::mount::{self, human};

/// Stores everything that is pending now, and waits for it.
///
/// Files that programs have open are stored as they are. What cannot be stored is named; it is tried again later as ever.
#[derive(Debug, Parser)]
#[command(name = "b2fuse flush", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Flush {
    /// The mountpoint, or what is to be stored below it; may be left out where there is one mount
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
}

pub(in crate::cli) fn flush(options: &Flush) -> anyhow::Result<u8> {
    let (connection, path) = reach(options.path.as_deref())?;
    let other = reach(options.path.as_deref()).ok();
    let flushed: Flushed = ask_watched(
        connection,
        Request::Flush { path },
        other.map(|(other, _)| other),
    )?;
    for one in &flushed.not_stored {
        let error = if one.error.is_empty() {
            "not tried to the end"
        } else {
            &one.error
        };
        mount::say(&format!(
            "not stored: {}: {}",
            plain(&one.path),
            plain(error)
        ));
    }
    Ok(if flushed.not_stored.is_empty() {
        0
    } else {
        FAILURE
    })
}

/// Asks for what takes its time, and shows meanwhile how far the storing is.
fn ask_watched(
    mut connection: Connection,
    request: Request,
    mut other: Option<Connection>,
) -> anyhow::Result<Flushed> {
    const EVERY: Duration = Duration::from_millis(500);
    let (done, over) = channel();
    std::thread::spawn(move || done.send(connection.ask(&request)));
    let mut line = Line::new();
    loop {
        match over.recv_timeout(EVERY) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("the thread that waits has ended")
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let status = other.as_mut().map(|other| {
            let status = other.ask::<Status>(&Request::Status { files: 0 });
            status.map(|status| status.to_store)
        });
        match status {
            Some(Ok(all)) => line.show(&storing(&all)),
            Some(Err(_)) => other = None,
            None => {}
        }
    }
}

/// Asks B2 anew for the names below a path: what others have changed is seen now, not when metadata_ttl is over.
///
/// Files that are open stay with their versions.
#[derive(Debug, Parser)]
#[command(name = "b2fuse refresh", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Refresh {
    /// The mountpoint, or a path below it; may be left out where there is one mount
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
}

pub(in crate::cli) fn refresh(options: &Refresh) -> anyhow::Result<u8> {
    let (mut connection, path) = reach(options.path.as_deref())?;
    let Refreshed { names } = connection.ask(&Request::Refresh { path })?;
    mount::tell(&format!("{} asked for anew", counted(names as u64, "name")));
    Ok(0)
}

/// Fetches contents below a path into memory, as far as it holds them, so that nobody waits for them later.
#[derive(Debug, Parser)]
#[command(name = "b2fuse warm", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Warm {
    /// The mountpoint, or a path below it
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    path: PathBuf,
    /// Fetch names and attributes only
    #[arg(long)]
    names: bool,
}

pub(in crate::cli) fn warm(options: &Warm) -> anyhow::Result<u8> {
    let (mut connection, path) = reach(Some(&options.path))?;
    let names = options.names;
    let warmed: Warmed = connection.ask(&Request::Warm { path, names })?;
    mount::tell(&came(&warmed, names));
    if warmed.failed > 0 {
        mount::say(&format!(
            "{} could not be read: the log says why with --debug, or after b2fuse log debug",
            counted(warmed.failed as u64, "name")
        ));
        return Ok(FAILURE);
    }
    Ok(0)
}

/// What is in memory now.
fn came(warmed: &Warmed, names: bool) -> String {
    let mut text = counted(warmed.names as u64, "name");
    if !names {
        let files = counted(warmed.files as u64, "file");
        let _ = write!(text, ", {files} in memory, {}", human(warmed.bytes));
    }
    if warmed.full {
        text.push_str("; memory holds no more, the rest was left out");
    }
    text
}

/// Limits the bytes that are sent and received in a second, from now on; shows the limits.
#[derive(Debug, Parser)]
#[command(name = "b2fuse limit", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Limit {
    /// The mountpoint, or a path below it; may be left out where there is one mount
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// Bytes a second that are sent, 2MiB say, or off
    #[arg(long, value_name = "SIZE")]
    up: Option<Bandwidth>,
    /// Bytes a second that are received, or off
    #[arg(long, value_name = "SIZE")]
    down: Option<Bandwidth>,
}

pub(in crate::cli) fn limit(options: &Limit) -> anyhow::Result<u8> {
    let (mut connection, _) = reach(options.path.as_deref())?;
    let limits = Limits {
        up: options.up.map(|up| up.0.into()),
        down: options.down.map(|down| down.0.into()),
    };
    let Width { up, down } = connection.ask(&Request::Limit(limits))?;
    mount::tell(&format!("up {}, down {}", shown(up), shown(down)));
    Ok(0)
}

/// Reads the configuration again, as SIGHUP does: takes another key, begins a new log file, asks for names anew.
#[derive(Debug, Parser)]
#[command(name = "b2fuse reload", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Reload {
    /// The mountpoint, or a path below it; may be left out where there is one mount
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
}

pub(in crate::cli) fn reload(options: &Reload) -> anyhow::Result<u8> {
    let (mut connection, _) = reach(options.path.as_deref())?;
    let said: String = connection.ask(&Request::Reload {})?;
    mount::tell(&said);
    Ok(0)
}

/// Sets what the log of a mount says.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse log",
    version,
    max_term_width = 100,
    override_usage = "b2fuse log [DIR] <LEVEL>",
    after_help = EXIT_CODES
)]
pub(in crate::cli) struct Level {
    /// The mountpoint, or a path below it, which may be left out where there is one mount; then error, warn, info (the
    /// usual) or debug
    #[arg(value_name = "LEVEL", required = true, num_args = 1..=2, value_hint = clap::ValueHint::AnyPath)]
    words: Vec<PathBuf>,
}

/// What a log can say, from the least on.
pub(in crate::cli) const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

pub(in crate::cli) fn level(options: &Level) -> anyhow::Result<u8> {
    let (path, level) = match &options.words[..] {
        [path, level] => (Some(path.as_path()), level),
        [level] => (None, level),
        _ => anyhow::bail!("write: b2fuse log [DIR] LEVEL"),
    };
    let level = level.to_string_lossy().into_owned();
    if !LEVELS.contains(&&*level) {
        mount::say(&format!(
            "{:?} is no level: write one of {}",
            plain(&level),
            LEVELS.join(", ")
        ));
        return Ok(USAGE);
    }
    let (mut connection, _) = reach(path)?;
    let said: String = connection.ask(&Request::Log { level })?;
    mount::tell(&said);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_told() {
        let mut warmed = Warmed {
            names: 3,
            files: 1,
            bytes: 1 << 20,
            ..Warmed::default()
        };
        assert_eq!(came(&warmed, false), "3 names, 1 file in memory, 1.0 MiB");
        assert_eq!(came(&warmed, true), "3 names");
        warmed.full = true;
        assert!(came(&warmed, false).ends_with("; memory holds no more, the rest was left out"));
    }

    #[test]
    fn the_mount_may_be_left_out_before_a_level() {
        let words = |line: &[&str]| {
            let line = [&["b2fuse log"], line].concat();
            Level::try_parse_from(line).map(|level| level.words.len())
        };
        assert_eq!(words(&["debug"]).expect("right"), 1);
        assert_eq!(words(&["/m", "debug"]).expect("right"), 2);
        words(&[]).expect_err("no level");
        words(&["/m", "debug", "more"]).expect_err("too many");
    }
}
