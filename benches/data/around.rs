//! Small reads at random places of a file that fits into memory: how many there are in the first ten seconds. And whole small
//! files read one after the other.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::frame::MIB;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Measured, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::world::{World, read_at};

const NAME: &str = "random.bin";
const SIZE: u64 = 256 * MIB;
const STEP: u64 = 4096;
const TIME: Duration = Duration::from_secs(10);
const FILES: u64 = 300;

/// Reads of 4 KiB a second by so many readers, while the file is not there at first.
pub(crate) fn reads(world: &World, line: Line, readers: u64) -> Result<Row> {
    let server = Server::start(line)?;
    server.seed(NAME, SIZE, None)?;
    let server = &server;
    let mut contenders = vec![Contender::new("b2fuse", |round| {
        ten_seconds(server, world.b2fuse(server, "")?, readers, round)
    })];
    let full = move |round| {
        let mount = world.rclone(server, Mode::Full, &[])?;
        ten_seconds(server, mount, readers, round)
    };
    contenders.push(Contender::new(Mode::Full.name(), full));
    Ok(row(
        world,
        format!("random reads of 4 KiB in 256 MiB, {line}, {readers} at once: in the first 10 s"),
        Unit::PerSecond,
        contenders,
        |b2fuse, rclone| b2fuse / rclone,
    ))
}

/// `cp -r` out of the mount.
pub(crate) fn files(world: &World, line: Line) -> Result<Row> {
    let server = Server::start(line)?;
    let names = (0..FILES).map(|n| format!("files/{:02}/{n:04}", n / 100));
    server.seed_all(names, STEP)?;
    let server = &server;
    let mut contenders = vec![Contender::new("b2fuse", |_| {
        copied_out(server, world.b2fuse(server, "")?)
    })];
    let full = move |_| copied_out(server, world.rclone(server, Mode::Full, &[])?);
    contenders.push(Contender::new(Mode::Full.name(), full));
    Ok(row(
        world,
        format!("cp -r of {FILES} files of 4 KiB out of the mount, {line}"),
        Unit::Seconds,
        contenders,
        |b2fuse, rclone| rclone / b2fuse,
    ))
}

/// Beside rclone, which must not be faster.
fn row(
    world: &World,
    title: String,
    unit: Unit,
    contenders: Vec<Contender<'_>>,
    faster: impl Fn(f64, f64) -> f64,
) -> Row {
    let rounds = world.options.rounds();
    let results = measure(&world.options, rounds, |v| unit.show(v), contenders);
    let rclone = results.iter().find(|m| m.name == Mode::Full.name());
    let rclone = rclone.and_then(Measured::value);
    let bar = rclone.and_then(|rclone| {
        Bar::floor(&results, "b2fuse", "x rclone full", 1.0, |m| {
            Some(faster(m.value()?, rclone))
        })
    });
    Row {
        title,
        unit,
        results,
        bars: bar.into_iter().collect(),
    }
}

fn ten_seconds(server: &Server, mount: Mount, readers: u64, round: u64) -> Result<Sample> {
    let file = File::open(mount.path(NAME)).context("open")?;
    let watch = Watch::begin(Some(server), mount)?;
    let started = Instant::now();
    let reads: u64 = std::thread::scope(|scope| {
        let file = &file;
        let readers: Vec<_> = (0..readers)
            .map(|reader| {
                scope.spawn(move || -> Result<u64> {
                    let mut random = fastrand::Rng::with_seed(round << 32 | reader);
                    let mut buffer = vec![0; STEP as usize];
                    let mut reads = 0;
                    while started.elapsed() < TIME {
                        let offset = random.u64(0..SIZE / STEP) * STEP;
                        read_at(file, NAME, offset, &mut buffer)?;
                        reads += 1;
                    }
                    Ok(reads)
                })
            })
            .collect();
        readers.into_iter().try_fold(0, |sum, reader| {
            let reads = reader
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a reader panicked"));
            Ok::<_, anyhow::Error>(sum + reads?)
        })
    })?;
    let seconds = started.elapsed().as_secs_f64();
    drop(file);
    let mut sample = watch.end(reads as f64 / seconds, reads * STEP, 0)?;
    sample.cpu_per_gib = None;
    Ok(sample)
}

fn copied_out(server: &Server, mount: Mount) -> Result<Sample> {
    let out = tempfile::tempdir()?;
    let from = mount.path("files");
    let watch = Watch::begin(Some(server), mount)?;
    let started = Instant::now();
    let done = Command::new("cp")
        .arg("-r")
        .arg(from)
        .arg(out.path())
        .status()?;
    ensure!(done.success(), "cp: {done}");
    let seconds = started.elapsed().as_secs_f64();
    let mut sample = watch.end(seconds, FILES * STEP, 0)?;
    sample.cpu_per_gib = None;
    Ok(sample)
}
