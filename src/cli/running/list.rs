//! `b2fuse list`: the mounts that run.

use clap::Parser;
use serde_json::json;

use super::EXIT_CODES;
use super::words::{amount, plain};
use crate::mount;
use crate::mount::control::{self, Mount, Request, State, Status};

/// Lists the running mounts of this user, for root those of all users, one a line: mountpoint, bucket, process, state,
/// and what waits to be stored.
#[derive(Debug, Parser)]
#[command(name = "b2fuse list", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(in crate::cli) struct Options {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(options: &Options) -> anyhow::Result<u8> {
    let rows: Vec<(Mount, Option<Status>)> = control::all()?
        .into_iter()
        .map(|mount| {
            let asked = mount.connect();
            let status = asked.and_then(|mut to| to.ask(&Request::Status { files: 0 }));
            (mount, status.ok())
        })
        .collect();
    if options.json {
        for (mount, status) in &rows {
            mount::tell(&in_json(mount, status.as_ref()));
        }
        return Ok(0);
    }
    let rows: Vec<[String; 5]> = rows
        .iter()
        .map(|(mount, status)| row(mount, status.as_ref()))
        .collect();
    for line in aligned(&rows) {
        mount::tell(&line);
    }
    Ok(0)
}

fn state(mount: &Mount, status: Option<&Status>) -> &'static str {
    let storing = status.is_some_and(|status| status.state == State::Storing);
    if storing || !mount.mounted {
        "storing"
    } else {
        "mounted"
    }
}

fn row(mount: &Mount, status: Option<&Status>) -> [String; 5] {
    let (bucket, waiting) = match status {
        Some(status) => {
            let place = format!("{}/{}", status.bucket, status.prefix);
            let waiting = format!("{} to store", amount(&status.to_store));
            (plain(place.trim_end_matches('/')), waiting)
        }
        None => ("?".to_owned(), "it does not answer".to_owned()),
    };
    [
        plain(&mount.mountpoint.display().to_string()),
        bucket,
        mount.pid.clone(),
        state(mount, status).to_owned(),
        waiting,
    ]
}

fn in_json(mount: &Mount, status: Option<&Status>) -> String {
    let row = json!({
        "mountpoint": mount.mountpoint.display().to_string(),
        "pid": mount.pid.parse::<u32>().ok(),
        "state": state(mount, status),
        "bucket": status.map(|status| &status.bucket),
        "prefix": status.map(|status| &status.prefix),
        "to_store": status.map(|status| &status.to_store),
    });
    row.to_string()
}

/// Rows in columns.
fn aligned(rows: &[[String; 5]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_columns() {
        let row = |a: &str, b: &str| [a, "photos", "7", b, "nothing to store"].map(str::to_owned);
        let lines = aligned(&[row("/m", "mounted"), row("/longer", "storing")]);
        assert_eq!(lines[0], "/m       photos  7  mounted  nothing to store");
        assert_eq!(lines[1], "/longer  photos  7  storing  nothing to store");
        assert!(aligned(&[]).is_empty());
    }
}
