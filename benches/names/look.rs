//! Names that are looked at: the first listing, walks, single names in large directories, memory, small reads.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::frame::bare::NAMES;
use super::frame::mount::Mount;
use super::frame::rclone::Mode;
use super::frame::sample::{Contender, Measured, Sample, Watch};
use super::frame::server::{Line, Server};
use super::frame::table::{Bar, Row, Unit};
use super::source::{SMALL, shell};
use super::world::{LISTS, Peer, World, calls};

const BARE: &str = "bare FUSE";

/// From the start of the program to the end of the first `ls`.
pub(crate) fn mount_and_ls(world: &World, line: Line) -> Result<Row> {
    let many = world.options.count(1_000_000, 20_000);
    let (small, large) = (Server::start(line)?, Server::start(line)?);
    small.seed("d000/f", SMALL, None)?;
    let each = many / 100;
    let name = |number| format!("d{:03}/f{:05}", number / each, number % each);
    large.seed_all((0..many).map(name), SMALL)?;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        for (server, count, entries) in [(&small, 1, 1), (&large, many, 100)] {
            let name = format!("{}, {count} objects", peer.name());
            contenders.push(Contender::new(name, move |_| {
                server.reset_traffic()?;
                let started = Instant::now();
                let mount = world.mount(server, peer)?;
                let found = fs::read_dir(mount.path(""))?.count();
                let seconds = started.elapsed().as_secs_f64();
                if found != entries {
                    bail!("{found} entries of {entries}");
                }
                let usage = mount.usage()?;
                mount.end()?;
                Ok(Sample {
                    value: seconds,
                    peak_rss: usage.peak_rss,
                    cpu: Some(usage.cpu),
                    traffic: Some(server.traffic()?),
                    by_name: server.calls()?,
                    ..Sample::default()
                })
            }));
        }
    }
    let title = format!("mount to the end of the first ls, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let with = |count: u64| format!("b2fuse, {count} objects");
        let one = results.iter().find(|m| m.name == with(1));
        let one = one.and_then(Measured::value);
        let longer = Bar::ceiling(results, &with(many), "x the time with 1", 1.2, |m| {
            Some(m.value()? / one?)
        });
        vec![
            Bar::ceiling(results, &with(many), "lists", 1.0, |m| calls(m, LISTS)),
            // Some milliseconds cannot be compared: mounts are looked for every five.
            longer.filter(|_| line != Line::LOOPBACK),
        ]
    }))
}

/// Who walks over all directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walker {
    Find,
    Du,
}

impl Walker {
    /// Prints how many files there were, or their bytes.
    fn line(self) -> &'static str {
        match self {
            Self::Find => r#"cd "$1"; find $2 -type f | wc -l"#,
            Self::Du => r#"cd "$1"; du --apparent-size -B1 -cs $2 | tail -1 | cut -f1"#,
        }
    }
}

/// 10 files in each of 100 directories in each of 100 directories.
pub(crate) fn walk(world: &World, line: Line, walker: Walker) -> Result<Row> {
    let tops = world.options.count(100, 3);
    let server = Server::start(line)?;
    let files = (0..tops * 1000).map(|number| {
        let (top, inner, file) = (number / 1000, number / 10 % 100, number % 10);
        format!("{top:02}/{inner:02}/f{file}")
    });
    server.seed_all(files, SMALL)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        // On a slow line it takes minutes, and a tenth of them tells as much.
        let part = match peer {
            Peer::Rclone(_) if line != Line::LOOPBACK => (tops / 10).max(1),
            _ => tops,
        };
        let name = if part == tops {
            peer.name().to_owned()
        } else {
            format!("{}, {} directories", peer.name(), part * 100)
        };
        let work = move |_| {
            let folders: Vec<String> = (0..part).map(|top| format!("{top:02}")).collect();
            let watch = Watch::begin(Some(server), world.mount(server, peer)?)?;
            let started = Instant::now();
            let place = watch.mount().path("");
            let said = shell(walker.line(), &[&place, Path::new(&folders.join(" "))])?;
            let seconds = started.elapsed().as_secs_f64();
            let found: u64 = said.trim().parse().context("a count")?;
            let right = match walker {
                Walker::Find => found == part * 1000,
                Walker::Du => found >= part * 1000 * SMALL,
            };
            if !right {
                bail!("{walker:?} found {found}");
            }
            watch.end_uncounted(seconds)
        };
        contenders.push(Contender::new(name, work).at_most(peer.most()));
    }
    let title = format!(
        "{} over {} objects in {} directories, {line}",
        format!("{walker:?}").to_lowercase(),
        tops * 1000,
        tops * 100
    );
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        vec![
            Bar::ceiling(results, "b2fuse", "lists", 25.0, |m| calls(m, LISTS)),
            Bar::ceiling(results, "b2fuse", "s", 5.0, Measured::value),
        ]
    }))
}

fn flat_name(number: u64) -> String {
    format!("{NAMES}/f{number:07}")
}

/// One directory of so many files.
fn flat(line: Line, count: u64) -> Result<Server> {
    let server = Server::start(line)?;
    server.seed_all((0..count).map(flat_name), SMALL)?;
    Ok(server)
}

/// 100 files at random in a large directory, none of whose names is known.
pub(crate) fn stat(world: &World, line: Line) -> Result<Row> {
    const STATS: u64 = 100;
    let count = world.options.count(1_000_000, 20_000);
    let server = flat(line, count)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        let work = move |round| {
            let mut random = fastrand::Rng::with_seed(round);
            let watch = Watch::begin(Some(server), world.mount(server, peer)?)?;
            let started = Instant::now();
            for _ in 0..STATS {
                let path = watch.mount().path(&flat_name(random.u64(0..count)));
                let size = fs::metadata(&path)?.len();
                if size != SMALL {
                    bail!("{} has {size} bytes", path.display());
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            watch.end_uncounted(seconds)
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("stat of {STATS} random files of a directory of {count}, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let each = |m: &_| Some(calls(m, LISTS)? / STATS as f64);
        vec![Bar::ceiling(results, "b2fuse", "lists each", 2.0, each)]
    }))
}

/// The first names of a large directory.
pub(crate) fn ls_head(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1_000_000, 20_000);
    let server = flat(line, count)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        let work = move |_| {
            let watch = Watch::begin(Some(server), world.mount(server, peer)?)?;
            let started = Instant::now();
            let place = watch.mount().path(NAMES);
            // Cut off, ls ends badly, as it should.
            let said = shell(r#"(ls -f "$1" || true) | head | wc -l"#, &[&place])?;
            let seconds = started.elapsed().as_secs_f64();
            if said.trim() != "10" {
                bail!("{} lines of 10", said.trim());
            }
            watch.end_uncounted(seconds)
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("ls -f | head of a directory of {count}, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        vec![Bar::ceiling(results, "b2fuse", "lists", 5.0, |m| {
            calls(m, LISTS)
        })]
    }))
}

/// What the process has grown by when all names of a large directory have been listed.
pub(crate) fn memory_of_names(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1_000_000, 20_000);
    let server = flat(line, count)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        let work = move |_| {
            let watch = Watch::begin(Some(server), world.mount(server, peer)?)?;
            let rss = || watch.mount().usage()?.rss.context("a running process");
            let before = rss()?;
            let started = Instant::now();
            list(&watch.mount().path(NAMES), count)?;
            let seconds = started.elapsed().as_secs_f64();
            let grown = rss()?.saturating_sub(before) as f64 / count as f64;
            let sample = watch.end_uncounted(grown)?;
            Ok(Sample {
                closed: Some(seconds),
                ..sample
            })
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("memory of the names of a directory of {count} after ls -f | wc -l");
    Ok(world.row(title, Unit::BytesPerName, contenders, |results| {
        vec![Bar::ceiling(
            results,
            "b2fuse",
            "B a name",
            300.0,
            Measured::value,
        )]
    }))
}

fn list(place: &Path, count: u64) -> Result<()> {
    let said = shell(r#"ls -f "$1" | wc -l"#, &[place])?;
    let found: u64 = said.trim().parse().context("a count")?;
    if found != count + 2 {
        bail!("{found} names of {count} and two dots");
    }
    Ok(())
}

/// Names and sizes that the filesystem knows already, told to the kernel.
pub(crate) fn known(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(100_000, 10_000);
    let server = flat(line, count)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in Peer::READERS {
        contenders.push(Contender::new(peer.name(), move |_| {
            told_again(Some(server), world.mount(server, peer)?, count)
        }));
    }
    contenders.push(Contender::new(BARE, |_| {
        told_again(None, Mount::bare(0, count)?, count)
    }));
    let title = format!("find -printf %s over {count} names that are known, {line}");
    Ok(world.row(title, Unit::PerSecond, contenders, |results| {
        let limit = Row::best(results, BARE).map(|(name, rate)| (name.to_owned(), rate));
        vec![Bar::share(results, "b2fuse", limit, 0.7)]
    }))
}

fn told_again(server: Option<&Server>, mount: Mount, count: u64) -> Result<Sample> {
    list(&mount.path(NAMES), count)?;
    // The kernel's own memory of them, where it may be cleared.
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
    let watch = Watch::begin(server, mount)?;
    let started = Instant::now();
    let line = r#"find "$1" -type f -printf '%s\n' | uniq -c | tr -s ' '"#;
    let said = shell(line, &[&watch.mount().path(NAMES)])?;
    let seconds = started.elapsed().as_secs_f64();
    if said.trim() != format!("{count} {SMALL}") {
        bail!("count and size were {}", said.trim());
    }
    watch.end_uncounted(count as f64 / seconds)
}

/// Each file of a directory once, one after the other.
pub(crate) fn read_small(world: &World, line: Line) -> Result<Row> {
    let count = world.options.count(1000, 100);
    let server = flat(line, count)?;
    let server = &server;
    let mut contenders = Vec::new();
    for peer in [
        Peer::B2fuse,
        Peer::Rclone(Mode::Off),
        Peer::Rclone(Mode::Full),
    ] {
        let work = move |_| {
            let watch = Watch::begin(Some(server), world.mount(server, peer)?)?;
            let started = Instant::now();
            let mut wanted = vec![0; SMALL as usize];
            for number in 0..count {
                let name = flat_name(number);
                let found = fs::read(watch.mount().path(&name))?;
                b2fuse::emulator::seeded_content(&name, 0, &mut wanted);
                if found != wanted {
                    bail!("{name} has wrong bytes");
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            watch.end_uncounted(seconds)
        };
        contenders.push(Contender::new(peer.name(), work).at_most(peer.most()));
    }
    let title = format!("read of {count} files of 4 KiB by one reader, cold, {line}");
    Ok(world.row(title, Unit::Seconds, contenders, |results| {
        let bar = Bar::floor(results, "b2fuse", "files/s", 1000.0, |m| {
            Some(count as f64 / m.value()?)
        });
        vec![bar.filter(|_| line == Line::LOOPBACK)]
    }))
}
