//! What the rows share: who is mounted, and how the time until everything is in B2 is taken.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::frame::mount::Mount;
use super::frame::options::Options;
use super::frame::rclone::{self, Mode};
use super::frame::sample::{Contender, Measured, Sample, Watch, measure};
use super::frame::server::{Server, Tally};
use super::frame::table::{Bar, Row, Unit};

/// How long an upload after the last close may take; a guard, no measure.
const PATIENCE: Duration = Duration::from_secs(900);
/// What b2fuse waits after a close before it uploads.
pub(crate) const WRITE_BACK: u64 = 5;

/// Who does the work of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// As it is configured by itself: what is closed is in B2.
    B2fuse,
    /// With `write_back: 5s`, which is what `rclone full` does, too.
    WriteBack,
    Rclone(Mode),
}

impl Peer {
    /// Those for rows that change nothing: rclone's cache of files is no help there.
    pub(crate) const READERS: [Self; 2] = [Self::B2fuse, Self::Rclone(Mode::Off)];
    pub(crate) const WRITERS: [Self; 4] = [
        Self::B2fuse,
        Self::WriteBack,
        Self::Rclone(Mode::Off),
        Self::Rclone(Mode::Full),
    ];
    /// Those for ten thousand removals and renames, which rclone's cache makes no faster and which take it minutes.
    pub(crate) const PATIENT: [Self; 3] = [Self::B2fuse, Self::WriteBack, Self::Rclone(Mode::Off)];
    /// Those who can write a file in another order than from its start to its end.
    pub(crate) const AT_RANDOM: [Self; 3] =
        [Self::B2fuse, Self::WriteBack, Self::Rclone(Mode::Full)];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::B2fuse => "b2fuse",
            Self::WriteBack => "b2fuse, write_back: 5s",
            Self::Rclone(mode) => mode.name(),
        }
    }

    /// Rounds that it may take: rclone leaves 10 ms between calls, so its times are long, and alike.
    pub(crate) fn most(self) -> u64 {
        match self {
            Self::Rclone(_) => 1,
            _ => u64::MAX,
        }
    }
}

/// The same in every row.
pub(crate) struct World {
    pub(crate) options: Options,
    rclone: PathBuf,
}

impl World {
    pub(crate) fn new(options: Options) -> Result<Self> {
        Ok(Self {
            options,
            rclone: rclone::program()?,
        })
    }

    /// The best flags of those tried: as many connections as b2fuse has, what was listed kept as long as a row lasts, and
    /// attributes believed by the kernel as long as b2fuse has them believed.
    pub(crate) fn mount(&self, server: &Server, peer: Peer) -> Result<Mount> {
        // rclone has no hash files that it could list.
        let config = match peer {
            Peer::WriteBack => format!("list_hashfiles: false\nwrite_back: {WRITE_BACK}s"),
            _ => "list_hashfiles: false".to_owned(),
        };
        match peer {
            Peer::B2fuse | Peer::WriteBack => Mount::b2fuse(server, &self.options.config(&config)?),
            Peer::Rclone(mode) => {
                let transfers = format!("--transfers={}", self.options.streams);
                let flags = [
                    transfers.as_str(),
                    "--dir-cache-time=1h",
                    "--attr-timeout=30s",
                    "--no-checksum",
                ];
                rclone::mount(server, &self.rclone, mode, &flags, &self.options)
            }
        }
    }

    /// Takes rounds, names the bars, and puts b2fuse beside rclone where both did the same.
    pub(crate) fn row(
        &self,
        title: String,
        unit: Unit,
        contenders: Vec<Contender<'_>>,
        bars: impl FnOnce(&[Measured]) -> Vec<Option<Bar>>,
    ) -> Row {
        let rounds = self.options.rounds();
        let results = measure(&self.options, rounds, |v| unit.show(v), contenders);
        let mut bars: Vec<Bar> = bars(&results).into_iter().flatten().collect();
        for pair in [Peer::B2fuse, Peer::WriteBack] {
            for mode in [Mode::Off, Mode::Full] {
                let peer = results.iter().find(|m| m.name == mode.name());
                let Some(peer) = peer.and_then(Measured::value) else {
                    continue;
                };
                let what = format!("x {}", mode.name());
                bars.extend(Bar::floor(&results, pair.name(), &what, 1.0, |m| {
                    let own = m.value()?;
                    Some(match unit {
                        Unit::MibPerSecond | Unit::PerSecond => own / peer,
                        _ => peer / own,
                    })
                }));
            }
        }
        Row {
            title,
            unit,
            results,
            bars,
        }
    }
}

/// Prefixes, and what the bucket must show under each.
pub(crate) type Wanted = Vec<(String, Tally)>;

/// Has work done in a fresh mount, which tells what the bucket must show then, and goes on until it does.
pub(crate) fn until_stored(
    server: &Server,
    mount: Mount,
    work: impl FnOnce(&Mount) -> Result<Wanted>,
) -> Result<Sample> {
    let watch = Watch::begin(Some(server), mount)?;
    let started = Instant::now();
    let wanted = work(watch.mount())?;
    let closed = started.elapsed().as_secs_f64();
    for (prefix, tally) in &wanted {
        server.wait_for_tally(prefix, *tally, PATIENCE)?;
    }
    let stored = started.elapsed().as_secs_f64();
    let sample = watch.end_uncounted(stored)?;
    for (prefix, tally) in &wanted {
        let found = server.tally(prefix)?;
        if found != *tally {
            bail!("{found:?} of {tally:?} was in the bucket under {prefix} at the end");
        }
    }
    Ok(Sample {
        closed: Some(closed),
        ..sample
    })
}

/// A directory for one round of one contender.
pub(crate) fn folder(peer: Peer, round: u64) -> String {
    format!("{}-{round}", peer.name().replace([' ', ',', ':'], "-"))
}

/// How often a call was made.
pub(crate) fn calls(measured: &Measured, names: &[&str]) -> Option<f64> {
    let sample = measured.typical()?;
    let count = |name: &&str| sample.by_name.get(*name).copied().unwrap_or(0);
    Some(names.iter().map(count).sum::<u64>() as f64)
}

/// The calls that list.
pub(crate) const LISTS: &[&str] = &["list_file_names", "list_file_versions"];
