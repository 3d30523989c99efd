//! Sixteen large files at once, half of them read and half of them written, in a fixed memory.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::frame::MIB;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Measured, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::world::{World, read_through, write_through};

/// Readers, and as many writers.
const PAIRS: u64 = 8;
/// The budget; the program itself may take [`REST`] on top.
const MEMORY: u64 = 256;
const REST: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn row(world: &World) -> Result<Row> {
    let size = world.options.many_size();
    let server = Server::start(Line::LOOPBACK)?;
    for reader in 0..PAIRS {
        server.seed(&read_name(reader), size, None)?;
    }
    let server = &server;
    let name = format!("b2fuse, memory: {MEMORY}MiB");
    let config = format!("memory: {MEMORY}MiB");
    let mut contenders = vec![Contender::new(name.clone(), |_| {
        mounted(world, server, world.b2fuse(server, &config)?, size, false)
    })];
    for mode in [Mode::Off, Mode::Full] {
        contenders.push(Contender::new(mode.name(), move |_| {
            let mount = world.rclone(server, mode, RCLONE)?;
            mounted(world, server, mount, size, mode != Mode::Off)
        }));
    }
    let unit = Unit::MibPerSecond;
    // It moves much and shows a ceiling, not a speed: once is enough.
    let results = measure(&world.options, 1, |v| unit.show(v), contenders);
    let wanted = (MEMORY + REST) as f64;
    let rss = |m: &Measured| m.peak_rss().map(|bytes| bytes as f64 / MIB as f64);
    let bar = Bar::ceiling(&results, &name, "MiB", wanted, rss);
    Ok(Row {
        title: format!(
            "{PAIRS} files read and {PAIRS} written at once, {} MiB each, loopback: all together",
            size / MIB
        ),
        unit,
        results,
        bars: bar.into_iter().collect(),
    })
}

const RCLONE: &[&str] = &[
    "--vfs-write-back=0s",
    "--b2-disable-checksum",
    "--b2-chunk-size=16Mi",
    "--b2-upload-cutoff=32Mi",
    "--transfers=8",
];

fn read_name(reader: u64) -> String {
    format!("many-{reader}.bin")
}

fn written_name(writer: u64) -> String {
    format!("written-{writer}.bin")
}

/// With `late`, the mount uploads after the close, and the time goes on until the objects are there.
fn mounted(world: &World, server: &Server, mount: Mount, size: u64, late: bool) -> Result<Sample> {
    let (content, _) = world.content();
    let watch = Watch::begin(Some(server), mount)?;
    let mount = watch.mount();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for number in 0..PAIRS {
            workers.push(scope.spawn(move || {
                let name = read_name(number);
                read_through(&mount.path(&name), &name, size).map(drop)
            }));
            workers.push(
                scope.spawn(move || {
                    write_through(&mount.path(&written_name(number)), content, size)
                }),
            );
        }
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    let mut asked = 0;
    for writer in (0..PAIRS).filter(|_| late) {
        asked += server.wait_for(&written_name(writer), size, PATIENCE)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let moved = 2 * PAIRS * size;
    let sample = watch.end(Sample::rate(moved, seconds), moved, asked)?;
    for writer in 0..PAIRS {
        server.remove(&written_name(writer))?;
    }
    Ok(sample)
}
