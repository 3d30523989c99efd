//! One new file written from end to end and closed, until B2 has it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::frame::curl;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::world::{World, write_through};

const NAME: &str = "written.bin";
const BARE: &str = "bare FUSE sink";
/// How long an upload after the close may take; a guard, no measure.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn row(world: &World, line: Line) -> Result<Row> {
    let streams = world.options.streams;
    let server = Server::start(line)?;
    let server = &server;
    let files = world.files()?;
    let unit = Unit::MibPerSecond;

    let mut contenders = vec![Contender::new("b2fuse", |_| {
        mounted(world, Some(server), world.b2fuse(server, "")?, false)
    })];
    if line == Line::LOOPBACK {
        contenders.push(Contender::new(BARE, |_| {
            mounted(world, None, Mount::bare(0, 0)?, false)
        }));
    }
    if line.bandwidth.is_none() {
        contenders.push(Contender::new("curl", |_| {
            curl::upload(server, NAME, files)
        }));
    }
    contenders.push(Contender::new(format!("curl, {streams} parts"), |_| {
        curl::upload_parts(server, NAME, files)
    }));
    for mode in Mode::ALL {
        contenders.push(Contender::new(mode.name(), move |_| {
            let flags = rclone_flags(mode, line, streams);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let mount = world.rclone(server, mode, &flags)?;
            mounted(world, Some(server), mount, mode != Mode::Off)
        }));
    }

    let rounds = world.options.rounds();
    let results = measure(&world.options, rounds, |v| unit.show(v), contenders);
    let curl = Row::best(&results, "curl").map(|(name, rate)| (name.to_owned(), rate));
    let sink = Row::best(&results, BARE).map(|(name, rate)| (name.to_owned(), rate));
    let rate = |bandwidth| Sample::rate(streams * bandwidth, 1.0);
    let bars = match line.bandwidth {
        Some(bandwidth) => {
            let limit = (format!("{:.0} MiB/s", rate(bandwidth)), rate(bandwidth));
            vec![Bar::share(&results, "b2fuse", Some(limit), 0.8)]
        }
        None => vec![
            Bar::share(&results, "b2fuse", curl, 0.8),
            Bar::share(&results, "b2fuse", sink, 0.8),
        ],
    };
    Ok(Row {
        title: format!("sequential write to the end of close, {line}"),
        unit,
        results,
        bars: bars.into_iter().flatten().collect(),
    })
}

/// With `late`, the mount uploads after the close, and the time goes on until the object is there.
fn mounted(world: &World, server: Option<&Server>, mount: Mount, late: bool) -> Result<Sample> {
    let (content, _) = world.content();
    let size = content.len() as u64;
    let watch = Watch::begin(server, mount)?;
    let started = Instant::now();
    write_through(&watch.mount().path(NAME), content, size)?;
    let mut asked = 0;
    if let Some(server) = server.filter(|_| late) {
        asked = server.wait_for(NAME, size, PATIENCE)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    if let Some(server) = server.filter(|_| !late) {
        asked = 1;
        if server.size_of(NAME)? != Some(size) {
            bail!("the file was closed and is not in the bucket");
        }
    }
    let sample = watch.end(Sample::rate(size, seconds), size, asked)?;
    if let Some(server) = server {
        server.remove(NAME)?;
    }
    Ok(sample)
}

/// The best of those tried: without a cache the count of transfers is what bounds the connections; larger chunks cost memory
/// and gain something only for a cache on a slow line.
fn rclone_flags(mode: Mode, line: Line, streams: u64) -> Vec<String> {
    let slow = line.bandwidth.is_some() && mode != Mode::Off;
    let mut flags = vec![
        format!("--transfers={streams}"),
        format!("--b2-upload-concurrency={streams}"),
        format!("--b2-chunk-size={}Mi", if slow { 32 } else { 16 }),
        "--b2-upload-cutoff=32Mi".to_owned(),
    ];
    if mode != Mode::Off {
        // Else it reads the whole file once more before it sends the first byte.
        flags.push("--b2-disable-checksum".to_owned());
        flags.push("--vfs-write-back=0s".to_owned());
    }
    flags
}
