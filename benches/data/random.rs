//! Small reads at random places of a file that is much larger than the memory budget, cold.

use std::fs::File;
use std::time::Instant;

use anyhow::{Context, Result};

use super::frame::GIB;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::world::{World, read_at};

const NAME: &str = "random.bin";
const SIZE: u64 = 10 * GIB;

/// How long one read of 4 KiB takes, in round trips, with so many readers at once.
pub(crate) fn latency(world: &World, readers: u64) -> Result<Row> {
    let line = Line::new(50, None);
    let unit = Unit::RoundTrips;
    let reads = world.options.random_reads().div_ceil(readers).max(4);
    let value = move |seconds: f64, _: &Sample| seconds / reads as f64 / line.latency.as_secs_f64();
    let results = run(
        world,
        line,
        unit,
        Job {
            step: 4096,
            readers,
            reads,
        },
        value,
    )?;
    let each = |m: &super::frame::sample::Measured| m.value();
    let bar = Bar::ceiling(&results, "b2fuse", "round trips", 1.1, each);
    Ok(Row {
        title: format!("random reads of 4 KiB, cold, {line}, {readers} at once: time of each"),
        unit,
        results,
        bars: bar.into_iter().collect(),
    })
}

/// How many bytes are downloaded for each byte that reads of 128 KiB ask for.
pub(crate) fn waste(world: &World) -> Result<Row> {
    let unit = Unit::DownPerAsked;
    let job = Job {
        step: 128 << 10,
        readers: 1,
        reads: world.options.random_reads() * 4,
    };
    let asked = job.asked() as f64;
    let value = move |_: f64, sample: &Sample| {
        sample.traffic.map_or(0.0, |traffic| traffic.down as f64) / asked
    };
    let results = run(world, Line::LOOPBACK, unit, job, value)?;
    let each = |m: &super::frame::sample::Measured| m.value();
    let bar = Bar::ceiling(&results, "b2fuse", "x asked", 1.3, each);
    Ok(Row {
        title: "random reads of 128 KiB, cold: bytes downloaded".to_owned(),
        unit,
        results,
        bars: bar.into_iter().collect(),
    })
}

#[derive(Debug, Clone, Copy)]
struct Job {
    step: u64,
    readers: u64,
    /// Of each reader.
    reads: u64,
}

impl Job {
    fn asked(self) -> u64 {
        self.step * self.readers * self.reads
    }
}

fn run(
    world: &World,
    line: Line,
    unit: Unit,
    job: Job,
    value: impl Fn(f64, &Sample) -> f64,
) -> Result<Vec<super::frame::sample::Measured>> {
    let server = Server::start(line)?;
    server.seed(NAME, SIZE, None)?;
    let (server, value) = (&server, &value);
    let mut contenders = vec![Contender::new("b2fuse", |round| {
        mounted(server, world.b2fuse(server, "")?, job, round, value)
    })];
    for mode in [Mode::Off, Mode::Full] {
        contenders.push(Contender::new(mode.name(), move |round| {
            let mount = world.rclone(server, mode, RCLONE)?;
            mounted(server, mount, job, round, value)
        }));
    }
    let rounds = world.options.rounds();
    Ok(measure(
        &world.options,
        rounds,
        |v| unit.show(v),
        contenders,
    ))
}

/// Without the small chunk it asks for 128 MiB and drops the connection.
const RCLONE: &[&str] = &["--vfs-read-chunk-size=128Ki", "--buffer-size=0"];

fn mounted(
    server: &Server,
    mount: Mount,
    job: Job,
    round: u64,
    value: impl Fn(f64, &Sample) -> f64,
) -> Result<Sample> {
    let files: Vec<File> = (0..job.readers)
        .map(|_| File::open(mount.path(NAME)).context("open"))
        .collect::<Result<_>>()?;
    let watch = Watch::begin(Some(server), mount)?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..)
            .zip(&files)
            .map(|(reader, file)| {
                scope.spawn(move || -> Result<()> {
                    let mut random = fastrand::Rng::with_seed(round << 32 | reader);
                    let mut buffer = vec![0; job.step as usize];
                    for _ in 0..job.reads {
                        let offset = random.u64(1..SIZE / job.step) * job.step;
                        read_at(file, NAME, offset, &mut buffer)?;
                    }
                    Ok(())
                })
            })
            .collect();
        readers.into_iter().try_for_each(|reader| {
            reader
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a reader panicked"))
        })
    })?;
    let seconds = started.elapsed().as_secs_f64();
    drop(files);
    let mut sample = watch.end(0.0, job.asked(), 0)?;
    sample.value = value(seconds, &sample);
    sample.cpu_per_gib = None; // too few bytes for the clock's ticks
    Ok(sample)
}
