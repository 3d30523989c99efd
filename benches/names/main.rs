//! The figures of names and small files, beside rclone and a bare FUSE filesystem: `benches/run`, or
//! `cargo bench --bench names -- [OPTIONS] [ROW]...`. benches/README.md tells what each row measures.

#[path = "../frame/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part of it")]
mod frame;

mod change;
mod copy;
mod look;
mod source;
mod tools;
mod world;

use anyhow::{Result, bail};
use clap::Parser;

use frame::bare;
use frame::options::Options;
use frame::server::Line;
use frame::table::{self, Column, Row};
use world::World;

/// A row: its key on the command line, the latencies in milliseconds it is measured at, and how.
type Entry = (
    &'static str,
    &'static [u64],
    fn(&World, Line) -> Result<Row>,
);

const ALL: &[u64] = &[0, 20, 50];
/// Where the time at 20 ms would only be what lies between.
const ENDS: &[u64] = &[0, 50];
const LOOPBACK: &[u64] = &[0];

const ROWS: &[Entry] = &[
    ("mount-ls", ALL, look::mount_and_ls),
    ("find", ALL, |world, line| {
        look::walk(world, line, look::Walker::Find)
    }),
    ("du", ENDS, |world, line| {
        look::walk(world, line, look::Walker::Du)
    }),
    ("stat", ALL, look::stat),
    ("ls-head", ENDS, look::ls_head),
    ("rss", LOOPBACK, look::memory_of_names),
    ("known", LOOPBACK, look::known),
    ("cp-1000", ALL, |world, line| {
        copy::row(world, line, world.options.count(1000, 100))
    }),
    ("cp-10000", LOOPBACK, |world, line| {
        copy::row(world, line, world.options.count(10_000, 300))
    }),
    ("cp-16", ALL, copy::sixteen),
    ("read-small", ALL, look::read_small),
    ("rsync", ENDS, tools::rsync),
    ("tar", ENDS, tools::tar),
    ("git", ENDS, tools::git),
    ("rm-1000", ALL, |world, line| {
        change::remove(world, line, world.options.count(1000, 100))
    }),
    ("rm-10000", LOOPBACK, |world, line| {
        change::remove(world, line, world.options.count(10_000, 300))
    }),
    ("rename-1000", ALL, |world, line| {
        change::rename(world, line, world.options.count(1000, 100))
    }),
    ("rename-10000", LOOPBACK, |world, line| {
        change::rename(world, line, world.options.count(10_000, 300))
    }),
];

const COLUMNS: &[Column] = &[
    Column::Median,
    Column::Range,
    Column::Closed,
    Column::PeakRss,
    Column::Cpu,
    Column::Down,
    Column::Up,
    Column::Calls,
    Column::CallsByName,
    Column::Bar,
];

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(point) = &options.serve_bare {
        return bare::serve(point, options.size(), options.bare_names);
    }
    if options.list {
        for (key, ..) in ROWS {
            println!("{key}");
        }
        return Ok(());
    }
    if let Some(unknown) = options
        .rows
        .iter()
        .find(|row| ROWS.iter().all(|(key, ..)| key != row))
    {
        bail!("there is no row {unknown}: --list names them");
    }
    let world = World::new(options)?;
    let mut rows = Vec::new();
    for (key, latencies, run) in ROWS {
        if !world.options.wants_row(key) {
            continue;
        }
        for latency in world.options.latencies(latencies) {
            eprintln!("{key}, {latency} ms");
            rows.push(run(&world, Line::new(latency, None))?);
        }
    }
    let rounds = world.options.rounds();
    println!("Medians of {rounds} rounds, rclone's of one.\n");
    print!("{}", table::markdown(&rows, COLUMNS));
    let mut measured = rows.iter().flat_map(|row| &row.results);
    if measured.any(|m| m.name.starts_with("b2fuse") && m.failure.is_some()) {
        bail!("b2fuse failed in a row");
    }
    Ok(())
}
