//! One file read from end to end, cold: a new mount for each round.

use anyhow::Result;

use super::frame::bare::FILE;
use super::frame::curl;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::world::{World, read_through};

/// b2fuse as it is configured by itself.
const CHECKED: &str = "b2fuse";
const UNCHECKED: &str = "b2fuse, verify_reads: false";
const BARE: &str = "bare FUSE";

pub(crate) fn row(world: &World, line: Line) -> Result<Row> {
    let size = world.options.size();
    let streams = world.options.streams;
    let server = world.server_with_file(line)?;
    let server = &server;
    let unit = Unit::MibPerSecond;

    let mut contenders = vec![Contender::new(CHECKED, |_| {
        mounted(Some(server), world.b2fuse(server, "")?, size)
    })];
    if line == Line::LOOPBACK {
        contenders.push(Contender::new(UNCHECKED, |_| {
            let mount = world.b2fuse(server, "verify_reads: false")?;
            mounted(Some(server), mount, size)
        }));
        contenders.push(Contender::new(BARE, |_| {
            mounted(None, Mount::bare(size, 0)?, size)
        }));
    }
    if line.bandwidth.is_none() {
        contenders.push(Contender::new("curl", |_| {
            curl::download(server, FILE, size, 1)
        }));
    }
    contenders.push(Contender::new(format!("curl, {streams} ranges"), |_| {
        curl::download(server, FILE, size, streams)
    }));
    // For a file that is only read, `writes` does what `off` does: once is enough to show it.
    let all = Mode::ALL.into_iter();
    for mode in all.filter(|mode| line == Line::LOOPBACK || *mode != Mode::Writes) {
        contenders.push(Contender::new(mode.name(), move |_| {
            let flags = rclone_flags(line, streams);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            mounted(Some(server), world.rclone(server, mode, &flags)?, size)
        }));
    }

    let rounds = world.options.rounds();
    let results = measure(&world.options, rounds, |v| unit.show(v), contenders);
    let curl = Row::best(&results, "curl").map(|(name, rate)| (name.to_owned(), rate));
    let bars = if line == Line::LOOPBACK {
        let bare = Row::best(&results, BARE).map(|(name, rate)| (name.to_owned(), rate));
        let limit = [curl, bare].into_iter().flatten();
        let limit = limit.min_by(|a, b| a.1.total_cmp(&b.1));
        vec![
            Bar::share(&results, CHECKED, limit.clone(), 0.6),
            Bar::share(&results, UNCHECKED, limit, 0.8),
        ]
    } else {
        // Without a bandwidth there is no limit to name but what curl reached.
        let rate = |bandwidth| Sample::rate(streams * bandwidth, 1.0);
        let limit = match line.bandwidth {
            Some(bandwidth) => Some((format!("{:.0} MiB/s", rate(bandwidth)), rate(bandwidth))),
            None => curl,
        };
        let wanted = if line.bandwidth.is_some() { 0.9 } else { 0.6 };
        vec![Bar::share(&results, CHECKED, limit, wanted)]
    };
    Ok(Row {
        title: format!("sequential cold read, {line}"),
        unit,
        results,
        bars: bars.into_iter().flatten().collect(),
    })
}

fn mounted(server: Option<&Server>, mount: Mount, size: u64) -> Result<Sample> {
    let watch = Watch::begin(server, mount)?;
    let (first, total) = read_through(&watch.mount().path(FILE), FILE, size)?;
    let sample = watch.end(Sample::rate(size, total), size, 0)?;
    Ok(Sample {
        first: Some(first),
        ..sample
    })
}

/// The best of those tried. One connection fills the loopback, if rclone waits for the kernel's requests, which come
/// out of order, instead of opening another. Elsewhere chunks of 8 MiB beat 4, 16 and 32.
fn rclone_flags(line: Line, streams: u64) -> Vec<String> {
    if line == Line::LOOPBACK {
        vec![
            "--buffer-size=16Mi".to_owned(),
            "--vfs-read-wait=200ms".to_owned(),
        ]
    } else {
        vec![
            "--buffer-size=32Mi".to_owned(),
            format!("--vfs-read-chunk-streams={streams}"),
            "--vfs-read-chunk-size=8Mi".to_owned(),
        ]
    }
}
