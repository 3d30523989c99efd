//! One sequence: both writers, the server between them, and what each was told.

mod before;
mod ours;
mod theirs;

use std::time::Duration;

use b2fuse::b2;
use b2fuse::emulator;
use b2fuse::vfs::{Delete, Error, Undone, Unstored};
use serde_json::json;

use super::mount::{Content, Mount};
use super::steps::{DIRECTORIES, Manner, NAMES, Ours, Step, Theirs};
use ours::act;
use theirs::{act_theirs, name_of};

use super::truth::{Row, Truth, last_by, parent, rows, shown, words};
use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;

/// How often A may try to store what is left, each time with no fault in its way: on a busy machine its time limits may
/// strike by themselves.
const LAST_TRIES: usize = 20;

struct World {
    manner: Manner,
    emulator: Emulator,
    runtime: tokio::runtime::Runtime,
    mount: Mount,
    bucket: Bucket,
    truth: Truth,
    slot: Option<Slot>,
    /// B has deleted versions for good.
    deleted: bool,
    /// What A was told, for who reads of a failure.
    told: Vec<String>,
}

pub(super) fn run(manner: Manner, steps: &[Step]) -> Result<(), String> {
    let emulator = Emulator::with(emulator::Options {
        latency: manner.latency,
        ..emulator::Options::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mount = runtime.block_on(Mount::new(&emulator, manner));
    let mut world = World {
        manner,
        bucket: Bucket::open(&emulator),
        emulator,
        runtime,
        mount,
        truth: Truth::default(),
        slot: None,
        deleted: false,
        told: Vec::new(),
    };
    for step in steps {
        world.step(step);
    }
    let outcome = world.end();
    world.runtime.shutdown_background();
    outcome
}

/// What A was told of one of its steps.
#[derive(Debug)]
enum Told {
    Done(Result<(), Error>),
    /// The content of the file that was written.
    Content(Result<Content, Error>),
    Drained(bool),
}

/// What B found when it acted.
enum Found {
    Nothing,
    Newest(Option<Content>),
}

fn ours_token(token: u32) -> Vec<u8> {
    format!("A{token};").into_bytes()
}

fn theirs_token(token: u32) -> Vec<u8> {
    format!("B{token};").into_bytes()
}

/// The file that stays open.
struct Slot {
    /// Its name; more than one after a rename that failed.
    names: Vec<String>,
    /// It may have none of them any more: what it is told is not taken for stored.
    doubtful: bool,
    written: bool,
    /// B has changed its name: who renames it may rename B's file, and this one takes its name again when it is written.
    contested: bool,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Ours { what, faults } => {
                let before = self.before(what);
                let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
                self.emulator.faults(&faults);
                let told = self.runtime.block_on(act(&self.mount, what));
                self.emulator.faults(&[]);
                self.note(what, told, &before);
            }
            Step::Theirs(what) => {
                let found = act_theirs(&self.bucket, what);
                self.note_theirs(what, found);
            }
            Step::Both(ours, theirs) => {
                let before = self.before(ours);
                let (told, found) = std::thread::scope(|scope| {
                    let (runtime, mount) = (&self.runtime, &self.mount);
                    let acting = scope.spawn(move || runtime.block_on(act(mount, ours)));
                    let found = act_theirs(&self.bucket, theirs);
                    (acting.join().expect("A does not panic"), found)
                });
                // Who was first is not known: A may have seen what B did, and may have covered it.
                let concerned = name_of(theirs);
                self.note(ours, told, &before);
                self.note_theirs(theirs, found);
                self.truth.unsettled(concerned);
                if self.manner.deletes() {
                    self.truth.may_be_purged(concerned, None);
                }
            }
        }
    }

    fn slot_is(&self, name: &str) -> bool {
        let slot = self.slot.as_ref();
        slot.is_some_and(|slot| slot.names.iter().any(|at| at == name))
    }

    /// The open file does not have this name, and where it is the one of several that it had, none any more. If B has
    /// changed the name, what was removed or replaced may have been B's file, and this one may take its name again.
    fn slot_leaves(&mut self, name: &str) {
        if let Some(slot) = &mut self.slot {
            if slot.contested {
                slot.doubtful = true;
                return;
            }
            slot.doubtful |= slot.names.len() > 1;
            slot.names.retain(|at| at != name);
            if slot.names.is_empty() {
                self.slot = None;
            }
        }
    }

    /// A removal has failed: the open file may still have this name, or none.
    fn slot_may_leave(&mut self, name: &str) {
        if self.slot_is(name)
            && let Some(slot) = &mut self.slot
        {
            slot.doubtful = true;
        }
    }

    /// What was written to the open file is stored, or may be at any time.
    fn slot_stores(&mut self) {
        let names = self.slot.iter().flat_map(|slot| &slot.names);
        for name in names {
            self.truth.touched(name);
            self.truth.unsettled(name);
        }
    }

    /// A was told that what was written to the open file is stored.
    fn slot_stored(&mut self, content: Content) {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.written) else {
            return;
        };
        slot.written = false;
        if let ([name], false) = (slot.names.as_slice(), slot.doubtful) {
            let name = name.clone();
            self.truth.told(&name, content);
        } else {
            self.slot_stores();
        }
    }

    fn note(&mut self, what: &Ours, told: Told, before: &[(String, Option<Content>)]) {
        self.told.push(format!("{what:?}: {told:?}"));
        if self.manner.deletes() {
            for (name, content) in before {
                // What is stored later may come to lie over what B has uploaded since, which is older then.
                let since = content
                    .as_ref()
                    .filter(|content| self.manner.write_back.is_none() || !last_by(content, b'A'));
                self.truth.may_be_purged(name, since);
            }
        }
        let of = |name: &str| {
            let found = before.iter().find(|(found, _)| found == name);
            found.and_then(|(_, content)| content.clone())
        };
        match (what, told) {
            (Ours::Put { name, token }, Told::Done(done)) => {
                self.wrote(name, &ours_token(*token), done.is_ok());
            }
            (Ours::Append { name, .. }, Told::Content(done)) => match done {
                Ok(content) => self.wrote(name, &content, true),
                Err(_) => self.wrote(name, &[], false),
            },
            (Ours::Open { name }, Told::Done(done)) => {
                self.slot = done.is_ok().then(|| Slot {
                    names: vec![(*name).to_owned()],
                    doubtful: false,
                    written: false,
                    contested: false,
                });
                self.truth.unsettled(name);
            }
            (Ours::Write { .. }, _) => {
                if let Some(slot) = &mut self.slot {
                    slot.written = true;
                }
                self.slot_stores();
            }
            (Ours::Sync, Told::Content(Ok(content))) => self.slot_stored(content),
            (Ours::Close, Told::Content(done)) => {
                if let Ok(content) = done {
                    self.slot_stored(content);
                }
                self.slot = None;
            }
            (Ours::Remove { name }, Told::Done(done)) => match done {
                Ok(()) => {
                    self.truth.removed(name, of(name));
                    self.slot_leaves(name);
                }
                Err(Error::NotFound) => self.slot_leaves(name),
                Err(_) => {
                    self.truth.touched(name);
                    self.truth.removals_waited_for(parent(name), false);
                    self.slot_may_leave(name);
                }
            },
            (Ours::Rename { from, to, .. }, Told::Done(done))
                if from != to && !nothing_done(&done) =>
            {
                self.renamed(from, to, of(from).as_ref(), done.is_ok());
            }
            (Ours::RenameDirectory { from, to }, Told::Done(done)) => {
                if nothing_done(&done) {
                    return;
                }
                for name in NAMES {
                    if let Some(last) = name.strip_prefix(&format!("{from}/")) {
                        let to = format!("{to}/{last}");
                        self.renamed(name, &to, of(name).as_ref(), done.is_ok());
                    }
                }
            }
            (Ours::Rmdir { name }, Told::Done(done)) if !nothing_done(&done) && done.is_err() => {
                self.truth.removals_waited_for(name, false);
            }
            (Ours::SyncDir { name }, Told::Done(done)) if !matches!(done, Err(Error::NotFound)) => {
                self.truth.removals_waited_for(name, done.is_ok());
            }
            (Ours::Drain, Told::Drained(true)) => self.truth.drained(),
            _ => {}
        }
    }

    fn wrote(&mut self, name: &str, content: &[u8], told: bool) {
        let waits = self.manner.write_back.is_some();
        if !told || waits || self.slot_is(name) {
            self.truth.unsettled(name);
        }
        self.truth.touched(name);
        self.truth.wrote(name, content);
        // What is open and written may be stored over it at any time.
        let over = self.slot_is(name) && self.slot.as_ref().is_some_and(|slot| slot.written);
        if told && !over {
            self.truth.told(name, content.to_vec());
        }
    }

    fn renamed(&mut self, from: &str, to: &str, content: Option<&Content>, well: bool) {
        if well {
            let purged = self.manner.delete == Delete::Purge;
            self.truth.renamed(from, to, content, purged);
            self.slot_leaves(to);
            if let Some(slot) = &mut self.slot {
                if slot.contested && slot.names.iter().any(|at| at == from) {
                    slot.names.push(to.to_owned());
                }
                let certain = !slot.contested;
                for name in slot.names.iter_mut().filter(|at| certain && *at == from) {
                    to.clone_into(name);
                }
            }
        } else {
            let all = rows(&self.bucket);
            self.truth.rename_failed(from, to, &all);
            if let Some(content) = content {
                self.truth.blur(content.clone());
            }
            self.truth.removals_waited_for(parent(from), false);
            // With either name, or replaced.
            if (self.slot_is(from) || self.slot_is(to))
                && let Some(slot) = &mut self.slot
            {
                slot.names.push(to.to_owned());
            }
        }
    }

    fn note_theirs(&mut self, what: &Theirs, found: Found) {
        if self.slot_is(name_of(what))
            && let Some(slot) = &mut self.slot
        {
            slot.contested = true;
        }
        let Found::Newest(content) = found else {
            return;
        };
        match what {
            Theirs::Upload { name, token } => self.truth.uploaded(name, theirs_token(*token)),
            Theirs::Hide { name } => self.truth.hidden(name),
            Theirs::DeleteNewest { name } => {
                self.deleted = true;
                let all = rows(&self.bucket);
                self.truth.deleted(name, content.as_ref(), &all);
            }
            Theirs::Copy { name, delete, .. } => {
                self.deleted |= delete;
                if let Some(content) = content {
                    self.truth.copied(name, &content);
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.emulator.faults(&[]);
        let closed = self.runtime.block_on(self.mount.close_slot());
        self.note(&Ours::Close, Told::Content(closed), &[]);
        for name in ["", "d", "e"] {
            let what = Ours::SyncDir { name };
            let told = self.runtime.block_on(act(&self.mount, &what));
            self.note(&what, told, &[]);
        }
        let mut left = Vec::new();
        for _ in 0..LAST_TRIES {
            left = self.runtime.block_on(self.mount.drain());
            // An append to what B has deleted for good cannot be stored, and is told.
            let told = |one: &Unstored| {
                matches!(one.what, Undone::Content(_)) && one.error.contains("is gone")
            };
            left.retain(|one| !(self.deleted && told(one)));
            if left.is_empty() {
                break;
            }
            if left.iter().any(|one| {
                matches!(
                    one.what,
                    Undone::Removal | Undone::Rename(_) | Undone::Refused(_)
                )
            }) {
                self.truth.removals_waited_for("", false);
            }
        }
        if !left.is_empty() {
            return Err(format!("not stored at the end: {left:?}"));
        }
        self.truth.drained();
        let all = rows(&self.bucket);
        let verdict = self
            .truth
            .check(&all)
            .and_then(|()| self.a_new_mount_agrees(&all))
            .and_then(|()| self.the_old_mount_agrees(&all));
        verdict.map_err(|failure| {
            let told = self.told.join("\n  ");
            format!(
                "{failure}\nthe bucket: {}\nA was told:\n  {told}",
                listed(&all)
            )
        })
    }

    /// A mount made now shows the newest version of each name.
    fn a_new_mount_agrees(&self, all: &[Row]) -> Result<(), String> {
        let calm = Manner {
            write_back: None,
            ..self.manner
        };
        let fresh = self.runtime.block_on(Mount::new(&self.emulator, calm));
        self.agrees("a new mount", &fresh, all)
    }

    fn the_old_mount_agrees(&self, all: &[Row]) -> Result<(), String> {
        if self.manner.ttl > Duration::from_secs(1) {
            return Ok(());
        }
        self.agrees("A", &self.mount, all)
    }

    fn agrees(&self, who: &str, mount: &Mount, all: &[Row]) -> Result<(), String> {
        let shown = shown(all);
        for name in NAMES {
            let expected = shown.get(name).copied().flatten();
            let found = self.runtime.block_on(mount.get(name));
            let same = match (&found, expected) {
                (Ok(found), Some(expected)) => found == expected,
                (Err(Error::NotFound), None) => true,
                // What was not stored because B has deleted its base, see `end`.
                (Err(Error::Stale), _) => self.deleted,
                _ => false,
            };
            if !same && !is_slow(&found) {
                return Err(format!(
                    "{who} shows {:?} as {:?}, the bucket has {:?}",
                    name,
                    found.map(|found| words(&found)),
                    expected.map(|expected| words(expected))
                ));
            }
        }
        for directory in DIRECTORIES {
            let Ok(names) = self.runtime.block_on(mount.list(directory)) else {
                continue;
            };
            for name in names {
                let full = format!("{directory}/{name}");
                let unstored = || {
                    self.deleted
                        && matches!(self.runtime.block_on(mount.get(&full)), Err(Error::Stale))
                };
                if shown.get(&*full).copied().flatten().is_none() && !unstored() {
                    return Err(format!(
                        "{who} lists {full:?}, which the bucket does not show"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The machine was too busy for A's time limits.
fn is_slow(found: &Result<Content, Error>) -> bool {
    matches!(found, Err(Error::B2(error)) if error.kind == b2::ErrorKind::Unavailable)
}

/// The kernel, or a look at what is there, has refused it.
fn nothing_done(done: &Result<(), Error>) -> bool {
    matches!(
        done,
        Err(Error::NotFound
            | Error::Exists
            | Error::NotDirectory
            | Error::IsDirectory
            | Error::NotEmpty
            | Error::Invalid)
    )
}

fn listed(all: &[Row]) -> String {
    let row = |row: &Row| {
        let content = row.content.as_deref().map_or("hide".to_owned(), words);
        format!("{} {content}", row.name)
    };
    all.iter().map(row).collect::<Vec<_>>().join(", ")
}
