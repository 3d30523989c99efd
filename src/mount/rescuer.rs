//! What cannot be stored at the end is written to this machine, and taken out again when it could be stored after all.
//!
//! [`RescueTo`] says where. A [`Rescuer`] goes over what is pending again and again, in a thread that may wait for the
//! disk: what has changed is written anew, what was stored leaves, the smallest come first, and the list is saved now
//! and then, so that a kill in the middle costs little. The format is `crate::rescue`'s.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::io::{Remain, Remains};
use crate::rescue::{
    self, Entry, Kept, List, Piece, Place, Renamed, Source, Unfinished, UnfinishedPart,
};
use crate::vfs::{Ino, Leftover, LeftoverId, LeftoverKind, Vfs};

mod whereto;

pub use whereto::RescueTo;
pub(super) use whereto::root;

/// Writes what is pending; one round at a time.
#[derive(Debug)]
pub(super) struct Rescuer {
    /// `None`: off.
    root: Option<PathBuf>,
    bucket: String,
    place: Option<Place>,
    held: BTreeMap<Ino, Held>,
    /// What the last round could not write, and why.
    lost: Vec<(String, String)>,
    hurry: Hurry,
}

/// One thing that is written.
#[derive(Debug)]
struct Held {
    change: u64,
    entry: Entry,
}

/// When a round has to end, for whoever is in a hurry meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Hurry(Arc<Mutex<Option<Instant>>>);

impl Hurry {
    /// Rounds end at that moment.
    pub(super) fn until(&self, end: Instant) {
        *self.0.lock() = Some(end);
    }

    fn over(&self) -> bool {
        self.0.lock().is_some_and(|end| Instant::now() >= end)
    }
}

impl Rescuer {
    /// Bytes and things written between two saves of the list.
    const SAVE_BYTES: u64 = 64 << 20;
    const SAVE_THINGS: usize = 256;

    pub(super) fn new(root: Option<PathBuf>, bucket: &str) -> Self {
        Self {
            root,
            bucket: bucket.to_owned(),
            place: None,
            held: BTreeMap::new(),
            lost: Vec::new(),
            hurry: Hurry::default(),
        }
    }

    pub(super) fn hurry(&self) -> Hurry {
        self.hurry.clone()
    }

    pub(super) fn is_on(&self) -> bool {
        self.root.is_some()
    }

    /// Brings the directory up to date; nothing is made where nothing is pending.
    pub(super) fn round(&mut self, vfs: &Vfs) {
        if self.root.is_none() {
            return;
        }
        let pending = vfs.leftovers();
        self.lost.clear();
        self.release(&pending);
        let mut unsaved = (0, 0);
        for id in &pending {
            let known = self.held.get(&id.ino);
            if known.is_some_and(|held| held.change == id.change) {
                continue;
            }
            let Some(leftover) = vfs.leftover(id.ino) else {
                continue;
            };
            let path = leftover.path.clone();
            if self.hurry.over() {
                self.lost.push((path, "there was no time".to_owned()));
                continue;
            }
            match self.keep(id, leftover) {
                Ok(true) => {}
                Ok(false) => self.lost.push((path, "there was no time".to_owned())),
                Err(fault) => self.lost.push((path, fault.to_string())),
            }
            unsaved = (unsaved.0 + id.unsent, unsaved.1 + 1);
            if unsaved.0 >= Self::SAVE_BYTES || unsaved.1 >= Self::SAVE_THINGS {
                unsaved = (0, 0);
                // What fails now is told by the last save.
                let _ = self.save();
            }
        }
        if let Err(fault) = self.save() {
            let why = format!("the list could not be written: {fault}");
            let held = self.held.values();
            self.lost
                .extend(held.map(|held| (held.entry.name.clone(), why.clone())));
        }
    }

    /// What was stored meanwhile leaves.
    fn release(&mut self, pending: &[LeftoverId]) {
        let pending: HashSet<Ino> = pending.iter().map(|id| id.ino).collect();
        let gone: Vec<Ino> = self.held.keys().copied().collect();
        for ino in gone.iter().filter(|ino| !pending.contains(ino)) {
            if let (Some(held), Some(place)) = (self.held.remove(ino), &mut self.place) {
                give_up(place, held);
            }
        }
    }

    /// Writes one thing in the place of what was written of it before; `false` when time is over.
    fn keep(&mut self, id: &LeftoverId, leftover: Leftover) -> Result<bool, rescue::Error> {
        let hurry = self.hurry.clone();
        let place = self.place()?;
        let Leftover {
            path,
            target,
            base,
            unmoved,
            mtime_ms,
            reason,
            what,
        } = leftover;
        let (size, kept) = match what {
            LeftoverKind::Attributes => (0, Kept::Attributes),
            LeftoverKind::Marker => (
                0,
                Kept::Content {
                    file: None,
                    sha1: String::new(),
                    pieces: Vec::new(),
                    unfinished: None,
                },
            ),
            LeftoverKind::Content(remains) => {
                let size = remains.size;
                let (pieces, bytes, unfinished) = taken_apart(remains);
                let (file, sha1) = if bytes.is_empty() {
                    (None, String::new())
                } else {
                    let end = bytes.last().map_or(0, |(at, last)| at + last.len() as u64);
                    match place.write(&path, end, &bytes, &|| !hurry.over())? {
                        Ok((file, sha1)) => (Some(file), sha1),
                        Err(rescue::Stopped) => return Ok(false),
                    }
                };
                let content = Kept::Content {
                    file,
                    sha1,
                    pieces,
                    unfinished,
                };
                (size, content)
            }
        };
        let entry = Entry {
            name: target.name.as_str().to_owned(),
            content_type: target.content_type,
            info: target.info,
            size,
            mtime_ms,
            base: base.map(|id| id.to_string()),
            renamed: unmoved.map(|unmoved| Renamed {
                from: unmoved.from,
                id: unmoved.id.to_string(),
            }),
            reason,
            kept,
        };
        let held = Held {
            change: id.change,
            entry,
        };
        let before = self.held.insert(id.ino, held);
        if let (Some(before), Some(place)) = (before, &mut self.place) {
            give_up(place, before);
        }
        Ok(true)
    }

    fn place(&mut self) -> Result<&mut Place, rescue::Error> {
        /// Mounts of one bucket that end in the same second.
        const MOST: u32 = 100;
        if self.place.is_none() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default();
            let root = self.root.clone().unwrap_or_default().join(&self.bucket);
            let time = whereto::stamp(now.as_secs());
            let mut number = 1;
            self.place = loop {
                let name = match number {
                    1 => time.clone(),
                    number => format!("{time}-{number}"),
                };
                let list = List::new(&self.bucket, now.as_millis() as u64);
                match Place::create(&root.join(name), list) {
                    Ok(place) => break Some(place),
                    Err(rescue::Error::Disk(_, fault))
                        if fault.kind() == std::io::ErrorKind::DirectoryNotEmpty
                            && number < MOST =>
                    {
                        number += 1;
                    }
                    Err(fault) => return Err(fault),
                }
            };
        }
        Ok(self.place.as_mut().expect("it was made above"))
    }

    fn save(&mut self) -> Result<(), rescue::Error> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if self.held.is_empty() && self.lost.is_empty() {
            return match self.place.take() {
                Some(place) => place.remove(),
                None => Ok(()),
            };
        }
        place.list.entries = self.held.values().map(|held| held.entry.clone()).collect();
        let lost = self.lost.iter().map(|(path, why)| Entry {
            name: path.clone(),
            content_type: String::new(),
            info: BTreeMap::new(),
            size: 0,
            mtime_ms: 0,
            base: None,
            renamed: None,
            reason: String::new(),
            kept: Kept::Nothing(why.clone()),
        });
        place.list.entries.extend(lost);
        place.save()
    }

    /// Where it is and how many things are in it, if any.
    pub(super) fn kept(&self) -> Option<(&Path, usize)> {
        let place = self.place.as_ref()?;
        (!self.held.is_empty()).then(|| (place.dir(), self.held.len()))
    }

    /// What is lost: its path, or name, and why.
    pub(super) fn lost(&self) -> &[(String, String)] {
        &self.lost
    }
}

fn give_up(place: &mut Place, held: Held) {
    if let Kept::Content {
        file: Some(file), ..
    } = held.entry.kept
    {
        place.give_up(file);
    }
}

/// The words of the list, and the bytes with their offsets.
fn taken_apart(remains: Remains) -> (Vec<Piece>, Vec<(u64, Bytes)>, Option<Unfinished>) {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut bytes = Vec::new();
    let mut at = 0;
    for remain in remains.pieces {
        let len = remain.len();
        let piece = match remain {
            Remain::Bytes(data) => {
                bytes.push((at, data));
                Piece::Data(len)
            }
            Remain::Zero(len) => Piece::Zero(len),
            Remain::Sent(len) => Piece::Sent(len),
            Remain::Stored(version, from, len) => Piece::Stored(Source {
                id: version.id.to_string(),
                size: version.size,
                sha1: version.sha1.map(|sha1| sha1.to_string()),
                from,
                len,
            }),
        };
        at += len;
        // A list of hundred thousand writes in a row would help nobody.
        match (pieces.last_mut(), &piece) {
            (Some(Piece::Data(last)), Piece::Data(more))
            | (Some(Piece::Zero(last)), Piece::Zero(more))
            | (Some(Piece::Sent(last)), Piece::Sent(more)) => *last += more,
            _ => pieces.push(piece),
        }
    }
    let unfinished = remains.unfinished.map(|large| Unfinished {
        id: large.id.to_string(),
        parts: large
            .parts
            .into_iter()
            .map(|(size, sha1)| UnfinishedPart {
                size,
                sha1: sha1.map(|sha1| sha1.to_string()),
            })
            .collect(),
        used: large.used,
    });
    (pieces, bytes, unfinished)
}

/// The rescue directory must not be where the mount will hide it, or write into itself.
pub(super) fn check(root: &Path, point: &Path) -> anyhow::Result<()> {
    // What is missing will be made below what is there.
    let there = root
        .ancestors()
        .find_map(|above| Some((above, above.canonicalize().ok()?)));
    let real = there.map_or_else(
        || root.to_owned(),
        |(above, real)| real.join(root.strip_prefix(above).unwrap_or(Path::new(""))),
    );
    if real.starts_with(point) {
        bail!(
            "rescue: {} is below the mountpoint, what is written there would be lost with it: name another directory, or write rescue: off",
            root.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_below_the_mountpoint_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().canonicalize().expect("it is there");
        let point = dir.join("mnt");
        std::fs::create_dir(&point).expect("made");
        std::os::unix::fs::symlink(&point, dir.join("link")).expect("linked");
        for below in ["mnt", "mnt/a/b", "link/a"] {
            let fault = check(&dir.join(below), &point).expect_err(below);
            assert!(
                fault.to_string().contains("is below the mountpoint"),
                "{fault}"
            );
        }
        for beside in ["mnt2", "a/mnt", ""] {
            check(&dir.join(beside), &point).expect(beside);
        }
    }

    #[test]
    fn bytes_that_follow_one_another_are_one_piece() {
        let bytes = |text: &'static str| Remain::Bytes(Bytes::from_static(text.as_bytes()));
        let remains = Remains {
            size: 9,
            pieces: vec![bytes("ab"), bytes("c"), Remain::Zero(3), bytes("def")],
            unfinished: None,
        };
        let (pieces, bytes, unfinished) = taken_apart(remains);
        assert_eq!(pieces, [Piece::Data(3), Piece::Zero(3), Piece::Data(3)]);
        let offsets: Vec<u64> = bytes.iter().map(|(at, _)| *at).collect();
        assert_eq!(offsets, [0, 2, 6]);
        assert_eq!(unfinished, None);
    }
}
