//! A large file to which a little is appended, or in whose middle one byte is changed: what it costs.
//!
//! The emulator hashes what it copies, so its copies take time; B2's do, too, of their own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Measured, Sample, Watch, measure};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::frame::{GIB, MIB};
use super::world::{World, close};

const NAME: &str = "large.bin";
/// A decimal megabyte, as bars count what is sent.
const MB: f64 = 1e6;
const PATIENCE: Duration = Duration::from_secs(1200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// 1 MiB at the end.
    Append,
    /// One byte in the middle.
    Patch,
}

impl Change {
    fn size_after(self, size: u64) -> u64 {
        match self {
            Self::Append => size + MIB,
            Self::Patch => size,
        }
    }
}

pub(crate) fn row(world: &World, change: Change) -> Result<Row> {
    let server = Server::start(Line::LOOPBACK)?;
    let server = &server;
    let (size, peer) = (
        world.options.patched_size(),
        world.options.peer_patched_size(),
    );
    let (name, of_peer) = (named("b2fuse", size), named(Mode::Writes.name(), peer));
    let contenders = vec![
        Contender::new(name.clone(), |_| {
            server.seed(NAME, size, None)?;
            mounted(server, world.b2fuse(server, "")?, size, change, false)
        }),
        // Without a cache it can do neither; `full` does the same as `writes`.
        Contender::new(of_peer, |_| {
            server.seed(NAME, peer, None)?;
            let mount = world.rclone(server, Mode::Writes, RCLONE)?;
            mounted(server, mount, peer, change, true)
        }),
    ];
    let unit = Unit::Seconds;
    // Bytes and calls are always the same, and the copying takes its time.
    let results = measure(&world.options, 1, |v| unit.show(v), contenders);
    let sent = |m: &Measured| m.median(|s| s.traffic.map(|traffic| traffic.up as f64 / MB));
    let fetched = |m: &Measured| m.median(|s| s.traffic.map(|traffic| traffic.down as f64 / MB));
    let most = match change {
        Change::Append => 0.0,
        Change::Patch => 10.0,
    };
    let bars = [
        Bar::ceiling(&results, &name, "MB sent", 10.0, sent),
        Bar::ceiling(&results, &name, "MB downloaded", most, fetched),
    ];
    let title = match change {
        Change::Append => "append 1 MiB to a large file, loopback",
        Change::Patch => "change one byte in the middle of a large file, loopback",
    };
    Ok(Row {
        title: title.to_owned(),
        unit,
        results,
        bars: bars.into_iter().flatten().collect(),
    })
}

fn named(who: &str, size: u64) -> String {
    format!("{who}, {} GiB", size as f64 / GIB as f64)
}

const RCLONE: &[&str] = &[
    "--vfs-write-back=0s",
    "--b2-disable-checksum",
    "--transfers=8",
    "--b2-upload-concurrency=8",
    "--b2-chunk-size=16Mi",
    "--b2-upload-cutoff=32Mi",
];

fn mounted(server: &Server, mount: Mount, size: u64, change: Change, late: bool) -> Result<Sample> {
    let after = change.size_after(size);
    let watch = Watch::begin(Some(server), mount)?;
    let before = newest(server)?;
    let mut asked = 1;
    let started = Instant::now();
    let file = File::options()
        .write(true)
        .append(change == Change::Append)
        .open(watch.mount().path(NAME))?;
    match change {
        Change::Append => {
            let mut file = &file;
            std::io::Write::write_all(&mut file, &vec![1; MIB as usize])?;
        }
        Change::Patch => file.write_all_at(&[1], size / 2)?,
    }
    close(file)?;
    while newest(server)? == before {
        asked += 1;
        if !late || started.elapsed() > PATIENCE {
            bail!("the file was closed and is not in the bucket");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    let found = server.size_of(NAME)?;
    if found != Some(after) {
        bail!("the file in the bucket has {found:?} bytes, not {after}");
    }
    let sample = watch.end(seconds, size, asked + 2)?;
    server.remove(NAME)?;
    Ok(Sample {
        cpu_per_gib: None, // of what?
        ..sample
    })
}

/// The id of the version that the name shows.
fn newest(server: &Server) -> Result<String> {
    server.id_of(NAME)
}
