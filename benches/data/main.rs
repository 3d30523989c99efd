//! The figures of reading and writing, beside curl, rclone and a bare FUSE filesystem: `benches/run`, or
//! `cargo bench --bench data -- [OPTIONS] [ROW]...`. benches/README.md tells what each row measures.

#[path = "../frame/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part of it")]
mod frame;

mod around;
mod many;
mod patch;
mod random;
mod read;
mod world;
mod write;

use anyhow::{Result, bail};
use clap::Parser;

use frame::options::Options;
use frame::server::Line;
use frame::table::{self, Column, Row};
use frame::{MIB, bare};
use world::World;

/// A row: its key on the command line, what it shows, and how.
type Entry = (&'static str, fn(&World) -> Result<Row>);

/// Where one connection does not fill the line, and each call takes its time: B2 as seen from a home.
const HOME: Line = Line::new(50, Some(20));

const ROWS: &[Entry] = &[
    ("read", |world| read::row(world, Line::LOOPBACK)),
    ("read-home", |world| read::row(world, HOME)),
    ("read-20mib", |world| {
        read::row(world, Line::new(0, Some(20)))
    }),
    ("read-50ms", |world| read::row(world, Line::new(50, None))),
    ("write", |world| write::row(world, Line::LOOPBACK)),
    ("write-home", |world| write::row(world, HOME)),
    ("random-4k", |world| random::latency(world, 1)),
    ("random-4k-16", |world| random::latency(world, 16)),
    ("random-128k", random::waste),
    ("random", |world| around::reads(world, Line::LOOPBACK, 1)),
    ("random-home", |world| around::reads(world, HOME, 1)),
    ("random-home-16", |world| around::reads(world, HOME, 16)),
    ("files-home", |world| around::files(world, HOME)),
    ("append", |world| patch::row(world, patch::Change::Append)),
    ("patch", |world| patch::row(world, patch::Change::Patch)),
    ("many", many::row),
];

const COLUMNS: &[Column] = &[
    Column::Median,
    Column::Range,
    Column::First,
    Column::PeakRss,
    Column::CpuPerGib,
    Column::Down,
    Column::Up,
    Column::Calls,
    Column::Bar,
];

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(point) = &options.serve_bare {
        return bare::serve(point, options.size(), options.bare_names);
    }
    if options.list {
        for (key, _) in ROWS {
            println!("{key}");
        }
        return Ok(());
    }
    if let Some(unknown) = options
        .rows
        .iter()
        .find(|row| ROWS.iter().all(|(key, _)| key != row))
    {
        bail!("there is no row {unknown}: --list names them");
    }
    let world = World::new(options)?;
    let mut rows = Vec::new();
    for (key, run) in ROWS {
        if world.options.wants_row(key) {
            eprintln!("{key}");
            rows.push(run(&world)?);
        }
    }
    let (size, rounds) = (world.options.size() / MIB, world.options.rounds());
    println!("Sequential rows move {size} MiB; medians of {rounds} rounds.\n");
    print!("{}", table::markdown(&rows, COLUMNS));
    let mut measured = rows.iter().flat_map(|row| &row.results);
    if measured.any(|m| m.name.starts_with("b2fuse") && m.failure.is_some()) {
        bail!("b2fuse failed in a row");
    }
    Ok(())
}
