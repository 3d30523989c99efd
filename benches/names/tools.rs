//! What people use a mount with: rsync, tar, git.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::frame::sample::{Contender, Measured, Watch};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::source::{self, program, run, shell};
use super::world::{LISTS, Peer, World, calls, folder, until_stored};

const UPLOADS: &[&str] = &["upload_file", "upload_part"];
const COPIES: &[&str] = &["copy_file", "copy_part"];
const MOVES: &[&str] = &["upload_file", "upload_part", "copy_file", "copy_part"];

/// `rsync -a` of 1,000 files, and the same again through a new mount, when there is nothing to do.
pub(crate) fn rsync(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1000, 100);
    let server = Server::start(line)?;
    let source = tempfile::tempdir()?;
    source::small_files(source.path(), count, 100)?;
    let (server, source) = (&server, source.path());
    let wanted = source::tally(source)?;
    let name = |peer: Peer, again: bool| {
        let then = if again { ", again" } else { "" };
        format!("{}{then}", peer.name())
    };
    let mut contenders = Vec::new();
    for peer in Peer::WRITERS {
        for again in [false, true] {
            let work = move |round| {
                let to = folder(peer, round);
                let mount = world.mount(server, peer)?;
                until_stored(server, mount, |mount| {
                    let line = r#"rsync -a "$1"/ "$2"/"#;
                    shell(line, &[source, &mount.path(&to)])?;
                    Ok(vec![(format!("{to}/"), wanted)])
                })
            };
            contenders.push(Contender::new(name(peer, again), work).at_most(peer.most()));
        }
    }
    let title = format!("rsync -a of {count} files of 4 KiB, first and again, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let each = |m: &Measured, names| Some(calls(m, names)? / count as f64);
        let (first, back) = (Peer::B2fuse, Peer::WriteBack);
        // Directories have markers for their times.
        let mut bars = vec![
            Bar::ceiling(results, &name(first, false), "uploads a file", 1.05, |m| {
                each(m, UPLOADS)
            }),
            Bar::ceiling(results, &name(first, false), "copies a file", 1.05, |m| {
                each(m, COPIES)
            }),
            Bar::ceiling(
                results,
                &name(back, false),
                "uploads and copies a file",
                1.05,
                |m| each(m, MOVES),
            ),
        ];
        for peer in [first, back] {
            let again = name(peer, true);
            bars.push(Bar::ceiling(results, &again, "transfers", 0.0, |m| {
                calls(m, MOVES)
            }));
            bars.push(Bar::ceiling(results, &again, "lists", 25.0, |m| {
                calls(m, LISTS)
            }));
        }
        bars
    }))
}

/// `tar x` of a source tree.
pub(crate) fn tar(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1000, 100);
    let server = Server::start(line)?;
    let source = tempfile::tempdir()?;
    let (tree, archive) = (source.path().join("tree"), source.path().join("tree.tar"));
    source::sources(&tree, count)?;
    let wanted = source::tally(&tree)?;
    shell(
        r#"tar --sort=name --owner=0 --group=0 -C "$1" -cf "$2" ."#,
        &[&tree, &archive],
    )?;
    let (server, archive) = (&server, &archive);
    let mut contenders = Vec::new();
    for peer in Peer::WRITERS {
        let work = move |round| {
            let to = folder(peer, round);
            let mount = world.mount(server, peer)?;
            until_stored(server, mount, |mount| {
                let line = r#"mkdir "$2"; tar -C "$2" -xf "$1""#;
                shell(line, &[archive, &mount.path(&to)])?;
                Ok(vec![(format!("{to}/"), wanted)])
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("tar x of a source tree of {count} files, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |_| Vec::new()))
}

/// `git clone` of a repository of this machine, and `git status` in the clone while it is still mounted.
pub(crate) fn git(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1000, 100);
    let server = Server::start(line)?;
    let source = tempfile::tempdir()?;
    let repository = source.path().join("repository");
    source::sources(&repository, count)?;
    let commit = r#"cd "$1"; git init -q -b main; git add .
        git -c user.name=bench -c user.email=bench@localhost commit -q -m "All of it""#;
    shell(commit, &[&repository])?;
    let (server, repository) = (&server, &repository);
    let name = |peer: Peer, status: bool| {
        let then = if status { ", status" } else { "" };
        format!("{}{then}", peer.name())
    };
    let mut contenders = Vec::new();
    for peer in Peer::AT_RANDOM {
        let cloning = move |round| {
            let to = folder(peer, round);
            let mount = world.mount(server, peer)?;
            until_stored(server, mount, |mount| {
                clone(repository, &mount.path(&to))?;
                // What git writes depends on what it finds the filesystem able to do.
                let wanted = source::tally(&mount.path(&to))?;
                Ok(vec![(format!("{to}/"), wanted)])
            })
        };
        contenders.push(Contender::new(name(peer, false), cloning).at_most(peer.most()));
        let asking = move |round| {
            let to = format!("{}-status", folder(peer, round));
            let mount = world.mount(server, peer)?;
            clone(repository, &mount.path(&to))?;
            let watch = Watch::begin(Some(server), mount)?;
            let started = Instant::now();
            let place = watch.mount().path(&to);
            let said = run(program("git")
                .arg("-C")
                .arg(place)
                .args(["status", "--porcelain"]))?;
            let seconds = started.elapsed().as_secs_f64();
            if !said.is_empty() {
                bail!("git status found changes: {said}");
            }
            watch.end_uncounted(seconds)
        };
        // The clone before it is what takes the time.
        contenders.push(Contender::new(name(peer, true), asking).at_most(1));
    }
    let title = format!("git clone of {count} source files into the mount, and git status, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |_| Vec::new()))
}

fn clone(repository: &Path, to: &Path) -> Result<()> {
    let line = r#"git clone -q --no-local "file://$1" "$2""#;
    shell(line, &[repository, to]).map(drop)
}
