//! Walks: whoever asks for one neighbouring directory after the other (`find`, `du`, `rsync`,
//! `ls -lR`) gets recursive pages of the bucket, each of which fills all directories it passes.
//!
//! A walk has no beginning and no end of its own: the directory asked for tells where a page starts,
//! and from the middle of what a page has filled the next page is fetched. Guessed wrong, that is at
//! most two pages in vain: the one that was asked for, and the next.

use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;

use crate::b2::ListNames;
use crate::vfs::names::deep::cut_page;
use crate::vfs::names::dir::{Dir, Milestone};
use crate::vfs::names::flight::Flight;
use crate::vfs::{Error, Ino, Vfs};

/// Rows of a page: the most that B2 gives (API §4.1).
const PAGE: u32 = 10_000;
/// A page that filled fewer directories than this was no help: they are large, or few.
const WORTH: usize = 2;
/// How long one does without walking after that.
const REST: Duration = Duration::from_secs(60);

/// Walks under way, by the directory whose recursive listing they read.
#[derive(Default)]
pub(in crate::vfs) struct Walks(Mutex<HashMap<Ino, Arc<Turns>>>);

/// Those who walk beneath the same directory: one page at a time, the first in the order of names first.
#[derive(Default)]
struct Turns {
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<BTreeSet<String>>,
}

impl Walks {
    fn of(&self, root: Ino) -> Arc<Turns> {
        let mut all = self.0.lock();
        all.retain(|ino, turns| *ino == root || Arc::strong_count(turns) > 1);
        Arc::clone(all.entry(root).or_default())
    }
}

impl Turns {
    fn waiting(&self) -> parking_lot::MutexGuard<'_, BTreeSet<String>> {
        self.waiting.lock()
    }
}

/// Stands in the line of those who wait for a page.
struct Waiting<'a>(&'a Turns, String);

impl<'a> Waiting<'a> {
    fn new(turns: &'a Turns, prefix: String) -> Self {
        turns.waiting().insert(prefix.clone());
        Self(turns, prefix)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

impl Vfs {
    /// Notes that a directory is asked for, and if that looks like a walk, fetches what comes from
    /// there on. Whether the directory is known afterwards is for the caller to see.
    pub(in crate::vfs) async fn walk(
        &self,
        dir: Ino,
        known: impl Fn() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Some((root, prefix)) = self.walk_root(dir) else {
            return Ok(());
        };
        let turns = self.shared.walks.of(root);
        let waiting = Waiting::new(&turns, prefix);
        let _one = turns.turn.lock().await;
        for _ in 0..2 {
            if known()? {
                return Ok(());
            }
            let first = turns.waiting().first().cloned();
            let start = first.unwrap_or_else(|| waiting.1.clone());
            // Whoever else waits for it finds it filled, or asks for itself.
            turns.waiting().remove(&start);
            let own = start == waiting.1;
            self.walk_page(root, &start).await?;
            if own {
                break;
            }
        }
        Ok(())
    }

    /// The topmost directory above whose neighbours are being asked for, and the full name of `dir`.
    fn walk_root(&self, dir: Ino) -> Option<(Ino, String)> {
        if dir == Ino::ROOT || self.settings().metadata_ttl.is_zero() {
            return None;
        }
        let now = Instant::now();
        let mut tree = self.tree();
        let parent = tree.get(dir).ok()?.parent;
        tree.usage_mut(parent).ok()?.asked.note(dir, now);
        let mut root = None;
        let mut at = dir;
        while at != Ino::ROOT {
            at = tree.get(at).ok()?.parent;
            let usage = tree.dir(at).ok()?.usage();
            if usage.is_some_and(|usage| usage.asked.walks(now)) {
                root = Some(at);
            }
        }
        Some((root?, self.full(&tree.path(dir)?)))
    }

    /// Somebody has come to this directory: goes on with the walk that has set a milestone here.
    pub(in crate::vfs) fn pass(&self, dir: Ino) {
        let milestone = {
            let mut tree = self.tree();
            let here = tree.dir(dir).ok().and_then(Dir::usage);
            if here.is_none_or(|usage| usage.milestone.is_none()) {
                return;
            }
            let usage = tree.usage_mut(dir).ok();
            usage.and_then(|usage| usage.milestone.take())
        };
        if let Some(milestone) = milestone {
            let vfs = self.clone();
            self.shared.runtime.spawn(async move {
                let turns = vfs.shared.walks.of(milestone.root);
                let _one = turns.turn.lock().await;
                // Whoever needs it is told by his own call what went wrong.
                if let Err(error) = vfs.walk_page(milestone.root, &milestone.start).await {
                    debug!("no names fetched ahead: {error}");
                }
            });
        }
    }

    async fn walk_page(&self, root: Ino, start: &str) -> Result<(), Error> {
        let (flight, _under_way) = self.begin(root)?;
        if !start.starts_with(&flight.prefix) {
            return Ok(()); // renamed meanwhile
        }
        let request = ListNames {
            prefix: flight.prefix.clone(),
            start: Some(start.to_owned()),
            delimiter: false,
            max: PAGE,
        };
        let mut page = self.shared.client.list_file_names(&request).await?;
        let next = cut_page(&mut page.files, page.next);
        let (known, on) = self.apply_walk(&flight, start, page.files, next.as_deref());
        self.settle().await;
        self.after_page(&flight, &known, on, next.is_none());
        Ok(())
    }

    fn after_page(&self, flight: &Flight, known: &[Ino], on: Option<String>, last: bool) {
        let mut tree = self.tree();
        if known.len() < WORTH {
            if let Ok(root) = tree.usage_mut(flight.dir)
                && !last
            {
                root.asked.rest(Instant::now() + REST);
            }
            return;
        }
        if let (Some(middle), Some(start)) = (known.get(known.len() / 2), on)
            && let Ok(dir) = tree.usage_mut(*middle)
        {
            dir.milestone = Some(Box::new(Milestone {
                root: flight.dir,
                start,
            }));
        }
    }
}
