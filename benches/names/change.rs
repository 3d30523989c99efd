//! Removal and renaming of directories of small files, until B2 shows no less and no more.

use anyhow::Result;

use super::frame::sample::Contender;
use super::frame::server::{Line, Server, Tally};
use super::frame::table::{Bar, Row, Unit};
use super::source::{SMALL, program, run};
use super::world::{Peer, World, folder, until_stored};

const NOTHING: Tally = Tally { files: 0, bytes: 0 };

/// A directory with 100 files in each of its directories.
fn seed(server: &Server, folder: &str, count: u64) -> Result<Tally> {
    let name = |number| format!("{folder}/{:02}/f{:02}", number / 100, number % 100);
    server.seed_all((0..count).map(name), SMALL)?;
    Ok(Tally {
        files: count,
        bytes: count * SMALL,
    })
}

fn peers(count: u64) -> &'static [Peer] {
    if count > 1000 {
        &Peer::PATIENT
    } else {
        &Peer::WRITERS
    }
}

/// `rm -rf`.
pub(crate) fn remove(world: &World, line: Line, count: u64) -> Result<Row> {
    let server = Server::start(line)?;
    let server = &server;
    let mut contenders = Vec::new();
    for &peer in peers(count) {
        let work = move |round| {
            let gone = folder(peer, round);
            seed(server, &gone, count)?;
            let mount = world.mount(server, peer)?;
            until_stored(server, mount, |mount| {
                run(program("rm").arg("-rf").arg(mount.path(&gone)))?;
                Ok(vec![(format!("{gone}/"), NOTHING)])
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("rm -rf of {count} files, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let bar = Bar::ceiling(results, "b2fuse", "ms a file", 1.0, |m| {
            Some(m.value()? * 1000.0 / count as f64)
        });
        vec![bar.filter(|_| line == Line::LOOPBACK)]
    }))
}

/// `mv` of a directory.
pub(crate) fn rename(world: &World, line: Line, count: u64) -> Result<Row> {
    let server = Server::start(line)?;
    let server = &server;
    let mut contenders = Vec::new();
    for &peer in peers(count) {
        let work = move |round| {
            let (old, new) = (
                format!("{}-old", folder(peer, round)),
                format!("{}-new", folder(peer, round)),
            );
            let all = seed(server, &old, count)?;
            let mount = world.mount(server, peer)?;
            until_stored(server, mount, |mount| {
                run(program("mv").arg(mount.path(&old)).arg(mount.path(&new)))?;
                Ok(vec![(format!("{new}/"), all), (format!("{old}/"), NOTHING)])
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("rename of a directory with {count} files, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let bar = Bar::ceiling(results, "b2fuse", "ms a file", 2.0, |m| {
            Some(m.value()? * 1000.0 / count as f64)
        });
        vec![bar.filter(|_| line == Line::LOOPBACK)]
    }))
}
