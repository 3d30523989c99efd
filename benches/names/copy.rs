//! Small files copied into the mount, until all of them are in B2.

use std::process::Stdio;

use anyhow::{Result, bail};

use super::frame::sample::Contender;
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::source::{self, program, run};
use super::world::{Peer, WRITE_BACK, World, calls, folder, until_stored};

const PROCESSES: u64 = 16;
const UPLOADS: &[&str] = &["upload_file"];

/// One `cp -r` of a folder of files.
pub(crate) fn row(world: &World, line: Line, count: u64) -> Result<Row> {
    let server = Server::start(line)?;
    let source = tempfile::tempdir()?;
    source::small_files(source.path(), count, count)?;
    let (server, source) = (&server, source.path());
    let wanted = source::tally(source)?;
    let mut contenders = Vec::new();
    for peer in Peer::WRITERS {
        let work = move |round| {
            let to = folder(peer, round);
            let mount = world.mount(server, peer)?;
            until_stored(server, mount, |mount| {
                run(program("cp")
                    .arg("-r")
                    .arg(source.join("00"))
                    .arg(mount.path(&to)))?;
                Ok(vec![(format!("{to}/"), wanted)])
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("cp -r of {count} files of 4 KiB, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let latency = line.latency.as_secs_f64();
        let trips = Bar::ceiling(results, "b2fuse", "round trips a file", 1.2, |m| {
            Some(m.value()? / latency / count as f64)
        });
        let back = Peer::WriteBack.name();
        let after = Bar::ceiling(results, back, "s after the wait of 5 s", 3.0, |m| {
            Some((m.value()? - WRITE_BACK as f64).max(0.0))
        });
        vec![
            trips.filter(|_| latency > 0.0),
            after,
            Bar::ceiling(results, "b2fuse", "uploads a file", 1.0, |m| {
                Some(calls(m, UPLOADS)? / count as f64)
            }),
        ]
    }))
}

/// As many at once as there are processes, each with a folder of its own.
pub(crate) fn sixteen(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1000, 160);
    let server = Server::start(line)?;
    let source = tempfile::tempdir()?;
    source::small_files(source.path(), count, count.div_ceil(PROCESSES))?;
    let (server, source) = (&server, source.path());
    let wanted = source::tally(source)?;
    let mut contenders = Vec::new();
    for peer in Peer::WRITERS {
        let work = move |round| {
            let to = folder(peer, round);
            let mount = world.mount(server, peer)?;
            std::fs::create_dir(mount.path(&to))?;
            until_stored(server, mount, |mount| {
                let mut copies = Vec::new();
                for number in 0..PROCESSES {
                    let folder = format!("{number:02}");
                    let mut copy = program("cp");
                    copy.arg("-r")
                        .arg(source.join(&folder))
                        .arg(mount.path(&to))
                        .stderr(Stdio::null());
                    copies.push(copy.spawn()?);
                }
                let mut failed = 0;
                for mut copy in copies {
                    failed += u64::from(!copy.wait()?.success());
                }
                if failed > 0 {
                    bail!("{failed} of {PROCESSES} copies failed");
                }
                Ok(vec![(format!("{to}/"), wanted)])
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("cp -r of {count} files of 4 KiB by {PROCESSES} processes at once, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let bar = Bar::floor(results, "b2fuse", "files/s", 1500.0, |m| {
            Some(count as f64 / m.value()?)
        });
        vec![bar.filter(|_| line == Line::LOOPBACK)]
    }))
}
