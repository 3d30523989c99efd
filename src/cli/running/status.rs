//! `b2fuse status [PATH]`: how a mount is, and what it is sending.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::screen::Page;
use super::words::{counted, grouped, limit, plain, speed, to_store};
use super::{EXIT_CODES, reach};
use crate::cli::FAILURE;
use crate::mount;
use crate::mount::control::{FileStatus, Request, State, Status};
use crate::mount::{human, span};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// Files that are named for people.
const NAMED: usize = 20;
/// Files that are named in JSON.
const LISTED: usize = 1000;

/// Shows how a mount is: memory, calls to B2, and what is on its way, file by file.
#[derive(Debug, Parser)]
#[command(name = "b2fuse status", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Options {
    /// The mountpoint, or a path below it; may be left out where there is one mount
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// Print all numbers as one line of JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second, in place, until Ctrl-C or the mount's end
    #[arg(long)]
    watch: bool,
}

pub(in crate::cli) fn run(options: &Options) -> anyhow::Result<u8> {
    let (mut connection, _) = reach(options.path.as_deref())?;
    let files = if options.json { LISTED } else { NAMED };
    let mut page = Page::new();
    loop {
        let status: Status = match connection.ask(&Request::Status { files }) {
            Ok(status) => status,
            Err(fault) if options.watch => {
                // Whoever watches sees the end, too.
                mount::say(&format!("{fault:#}"));
                return Ok(0);
            }
            Err(fault) => return Err(fault),
        };
        let text = if options.json {
            serde_json::to_string(&status)?
        } else {
            text(&status)
        };
        if !options.watch {
            mount::tell(&text);
            return Ok(0);
        }
        let shown = if options.json {
            mount::tell(&text);
            Ok(())
        } else {
            page.show(&text)
        };
        if shown.is_err() {
            return Ok(FAILURE);
        }
        std::thread::sleep(EVERY);
    }
}

/// The status for people.
fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: &str| {
        let _ = writeln!(text, "{name:<9} {what}");
    };
    let place = format!("{}/{}", status.bucket, status.prefix);
    let place = place.trim_end_matches('/');
    let state = match (status.state, status.read_only) {
        (State::Storing, _) => "unmounted, storing what is pending",
        (State::Mounted, true) => "mounted read-only",
        (State::Mounted, false) => "mounted",
    };
    line("bucket", &plain(place));
    line("mount", &format!("{} ({state})", plain(&status.mountpoint)));
    line(
        "process",
        &format!(
            "{}, b2fuse {}, up {}",
            status.pid,
            plain(&status.b2fuse),
            span(status.uptime)
        ),
    );
    if let Some(page) = &status.page {
        line("page", &plain(page));
    }
    line(
        "memory",
        &format!(
            "{} of {}, of that {} not stored yet",
            human(status.number("/memory/used")),
            human(status.number("/memory/limit")),
            human(status.number("/memory/unsent"))
        ),
    );
    line(
        "names",
        &format!("{} known", grouped(status.number("/names/known"))),
    );
    line("calls", &by_kind(status, "/b2/calls"));
    let failures = status.numbers("/b2/failures");
    if !failures.is_empty() {
        line("failures", &by_kind(status, "/b2/failures"));
    }
    let limits = status.limits;
    if limits.up.bytes().is_some() || limits.down.bytes().is_some() {
        let both = format!("up {}, down {}", limit(limits.up), limit(limits.down));
        line("limits", &both);
    }
    line("to store", &to_store(&status.to_store));
    if let Some(error) = &status.to_store.last_error {
        let hopeless = match status.to_store.hopeless {
            0 => String::new(),
            some => format!(
                " ({} will not pass by waiting alone)",
                counted(some as u64, "failure")
            ),
        };
        line("error", &format!("{}{hopeless}", plain(error)));
    }
    for file in &status.files {
        let _ = writeln!(text, "  {}", of_file(file));
    }
    let hidden = status.to_store.files.saturating_sub(status.files.len());
    if hidden > 0 && !status.files.is_empty() {
        let _ = writeln!(text, "  and {} more", grouped(hidden as u64));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The sum, and then the most frequent kinds.
fn by_kind(status: &Status, pointer: &str) -> String {
    const SHOWN: usize = 5;
    let mut all: Vec<(String, u64)> = status.numbers(pointer).into_iter().collect();
    all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    let sum: u64 = all.iter().map(|(_, count)| count).sum();
    let mut kinds: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|(name, count)| {
            let name = name.strip_prefix("b2_").unwrap_or(name);
            format!("{} {}", plain(name), grouped(*count))
        })
        .collect();
    if all.len() > SHOWN {
        kinds.push("...".to_owned());
    }
    if kinds.is_empty() {
        return "0".to_owned();
    }
    format!("{} ({})", grouped(sum), kinds.join(", "))
}

/// One file on its way.
fn of_file(file: &FileStatus) -> String {
    let path = plain(&file.path);
    let what = if file.total == 0 {
        "attributes".to_owned()
    } else {
        format!("{} of {}", human(file.sent), human(file.total))
    };
    let state = if file.sending {
        let percent = u128::from(file.sent) * 100 / u128::from(file.total.max(1));
        format!("{percent:>3}%")
    } else if file.error.is_some() {
        "fail".to_owned()
    } else {
        "wait".to_owned()
    };
    let error = file
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {}", plain(error)));
    let speed = speed(file.rate, file.seconds_left);
    format!("{state}  {path} ({what}{speed}){error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "b2fuse": "0.1.0", "bucket": "photos", "prefix": "2026/", "mountpoint": "/mnt/p",
            "read_only": false, "pid": 7, "uptime": 90, "state": "mounted",
            "to_store": {"files": 3, "bytes": 3_145_728, "removals": 0, "rate": 1_048_576, "seconds_left": 3,
                "last_error": "no route"},
            "files": [
                {"path": "a.iso", "sent": 1_048_576, "total": 4_194_304, "sending": true, "rate": 1_048_576,
                    "seconds_left": 3},
                {"path": "b", "sent": 0, "total": 0, "sending": false, "error": "no route"}
            ],
            "limits": {"up": 1_048_576, "down": "off"},
            "stats": {"memory": {"used": 1024, "limit": 2048, "unsent": 0}, "names": {"known": 1234},
                "b2": {"calls": {"b2_upload_file": 2, "b2_list_file_names": 1}, "failures": {"503": 2}}}
        }))
        .expect("a status")
    }

    #[test]
    fn everything_is_told_once() {
        assert_eq!(
            text(&status()),
            "bucket    photos/2026\n\
             mount     /mnt/p (mounted)\n\
             process   7, b2fuse 0.1.0, up 1 min 30 s\n\
             memory    1.0 KiB of 2.0 KiB, of that 0 bytes not stored yet\n\
             names     1,234 known\n\
             calls     3 (upload_file 2, list_file_names 1)\n\
             failures  2 (503 2)\n\
             limits    up 1.0 MiB/s, down off\n\
             to store  3 files, 3.0 MiB, 1.0 MiB/s, 3 s left\n\
             error     no route\n\
             \x20  25%  a.iso (1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left)\n\
             \x20 fail  b (attributes): no route\n\
             \x20 and 1 more"
        );
    }

    #[test]
    fn a_quiet_mount_has_few_lines() {
        let mut status = status();
        status.to_store = mount::control::ToStore::default();
        status.files.clear();
        status.limits.up = None.into();
        status.stats = serde_json::Value::Null;
        let text = text(&status);
        assert!(text.ends_with("calls     0\nto store  nothing"), "{text}");
        assert!(!text.contains("limits") && !text.contains("more"), "{text}");
    }
}
