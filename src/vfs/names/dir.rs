//! A directory: its children, how much is known of them, and its marker.
//!
//! Since when something is known is private to this file; `known` makes the answer of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::vfs::Ino;
use crate::vfs::delta::Delta;
use crate::vfs::names::moment::Moment;
use crate::vfs::names::node::{Carried, Marker, Need};
use crate::vfs::names::pages::Pages;

/// A directory's children and how much is known of them.
///
/// Small, because the kernel may hold very many: what only one in use needs stands apart.
#[derive(Default)]
pub(in crate::vfs) struct Dir {
    /// In B2's order of names (API §4.2).
    pub(in crate::vfs) children: BTreeMap<Arc<str>, Ino>,
    /// How many of them are directories.
    subdirectories: u32,
    /// How many children there were when their map was last packed.
    compact: u32,
    /// When the last complete listing began.
    listed: Option<Moment>,
    /// When its first page was last asked for: there the marker with its attributes stands.
    paged: Option<Moment>,
    /// It is being listed anew before it expires.
    pub(in crate::vfs) refreshing: bool,
    /// The last listing did not fit one page: single names are asked for instead.
    pub(in crate::vfs) large: bool,
    /// The last complete listing held what Linux cannot show here.
    pub(in crate::vfs) odd: bool,
    pub(in crate::vfs) marker: Marker,
    /// What the marker's next version takes over; `None`: nothing.
    pub(in crate::vfs) carried: Option<Arc<Carried>>,
    /// Attributes that the marker does not have yet.
    delta: Option<Box<Delta>>,
    /// Made by `Tree::usage_mut`, which counts them.
    pub(in crate::vfs::names) usage: Option<Box<Usage>>,
}

/// What there is of a directory that is in use.
#[derive(Default)]
pub(in crate::vfs) struct Usage {
    /// Directories in it that were asked for one by one.
    pub(in crate::vfs) asked: Asked,
    /// Directories in it that were asked for one by one because their listings were about to expire.
    pub(in crate::vfs) asked_again: Asked,
    /// Names that B2 was asked for one by one and does not have.
    absent: HashMap<Box<str>, Instant>,
    /// The listing that is being read, as long as somebody reads it.
    pub(in crate::vfs) pages: Weak<Pages>,
    /// Serialises the calls that list this directory.
    pub(in crate::vfs) flight: Arc<tokio::sync::Mutex<()>>,
    /// Where a walk goes on once it has come to this directory.
    pub(in crate::vfs) milestone: Option<Box<Milestone>>,
}

impl Usage {
    /// Whether somebody is listing or reading the directory right now.
    pub(in crate::vfs::names) fn busy(&self) -> bool {
        self.pages.strong_count() > 0 || Arc::strong_count(&self.flight) > 1
    }
}

/// How often somebody asked for one of several neighbours, lately.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::vfs) struct Asked {
    count: u32,
    last: Option<Instant>,
    /// Which one that was: the same one again is no neighbour.
    who: Option<Ino>,
    /// Walking was tried, and led nowhere: not again before this moment.
    rests_until: Option<Instant>,
}

impl Asked {
    /// Neighbours asked for by one by one that make a walk.
    const WALK: u32 = 3;
    /// Longer apart than this they have nothing to do with each other.
    const LATELY: Duration = Duration::from_secs(10);

    pub(in crate::vfs) fn note(&mut self, who: Ino, now: Instant) {
        if self.who.replace(who) == Some(who) {
            self.count = self.count.max(1);
            self.last = Some(now);
            return;
        }
        let lately = self.last.is_some_and(|last| now - last < Self::LATELY);
        self.count = if lately {
            self.count.saturating_add(1)
        } else {
            1
        };
        self.last = Some(now);
    }

    /// Whether several have been asked for in a row.
    pub(in crate::vfs) fn often(&self) -> bool {
        self.count >= Self::WALK
    }

    /// Whether somebody walks through the neighbours.
    pub(in crate::vfs) fn walks(&self, now: Instant) -> bool {
        self.often()
            && self.last.is_some_and(|last| now - last < Self::LATELY)
            && self.rests_until.is_none_or(|until| until <= now)
    }

    pub(in crate::vfs) fn rest(&mut self, until: Instant) {
        self.rests_until = Some(until);
    }
}

/// The rest of a walk.
#[derive(Debug)]
pub(in crate::vfs) struct Milestone {
    /// The directory whose recursive listing it is.
    pub(in crate::vfs) root: Ino,
    /// The full name at which it goes on.
    pub(in crate::vfs) start: String,
}

impl Dir {
    /// Most single absent names that are remembered per directory.
    const ABSENT_MAX: usize = 1024;

    /// What only a directory in use has.
    pub(in crate::vfs) fn usage(&self) -> Option<&Usage> {
        self.usage.as_deref()
    }

    /// When the last complete listing began.
    pub(in crate::vfs) fn listed(&self) -> Option<Instant> {
        self.listed.map(Moment::instant)
    }

    /// When its first page was last asked for.
    pub(in crate::vfs) fn paged(&self) -> Option<Instant> {
        self.paged.map(Moment::instant)
    }

    /// B2 was asked for its first page.
    pub(in crate::vfs::names) fn note_page(&mut self, at: Instant) {
        self.paged = Some(at.into());
    }

    /// A complete listing of it, which began at `since`, has arrived.
    pub(in crate::vfs::names) fn note_listing(&mut self, since: Instant) {
        self.listed = Some(since.into());
        if let Some(usage) = &mut self.usage {
            usage.absent = HashMap::new();
        }
    }

    /// Not all names are known any more.
    pub(in crate::vfs) fn forget_listing(&mut self) {
        self.listed = None;
    }

    /// Attributes that the marker does not have yet.
    pub(in crate::vfs) fn delta(&mut self) -> &mut Delta {
        self.delta.get_or_insert_default()
    }

    /// They are stored.
    pub(in crate::vfs) fn attributes_stored(&mut self) {
        self.delta = None;
    }

    /// B2 may have a name that it was believed not to have.
    pub(in crate::vfs) fn doubt(&mut self, name: &str) {
        self.listed = None;
        self.no_more_absent(name);
    }

    /// Since when B2 is known not to have a name that it was asked for.
    pub(in crate::vfs::names) fn absent(&self, name: &str) -> Option<Instant> {
        self.usage.as_ref()?.absent.get(name).copied()
    }

    pub(in crate::vfs::names) fn remember_absent(&mut self, name: &str, began: Instant) {
        // Nobody uses it any more otherwise.
        let Some(usage) = &mut self.usage else { return };
        if usage.absent.len() >= Self::ABSENT_MAX {
            usage.absent.clear();
        }
        usage.absent.insert(name.into(), began);
    }

    fn no_more_absent(&mut self, name: &str) {
        if let Some(usage) = &mut self.usage {
            usage.absent.remove(name);
        }
    }

    /// Adds a name that nobody has.
    pub(in crate::vfs::names) fn add(&mut self, name: Arc<str>, child: Ino, directory: bool) {
        self.no_more_absent(&name);
        self.children.insert(name, child);
        self.subdirectories += u32::from(directory);
    }

    /// Takes a name out, if it is this child's.
    pub(in crate::vfs::names) fn remove(&mut self, name: &str, child: Ino, directory: bool) {
        if self.children.get(name) == Some(&child) {
            self.children.remove(name);
            self.subdirectories = self.subdirectories.saturating_sub(u32::from(directory));
        }
    }

    /// What stat(2) shows as the count of links: one from above, one for `.`, and the `..` of each directory
    /// in it. One, which no directory has, where they are not known.
    pub(in crate::vfs) fn links(&self) -> u32 {
        if self.listed.is_some() {
            self.subdirectories.saturating_add(2)
        } else {
            1
        }
    }

    /// Names have come: in order, as B2 lists them, they leave a B-tree half empty. Done whenever there
    /// are twice as many as the last time, because it takes memory itself.
    pub(in crate::vfs) fn compact(&mut self) {
        const LARGE: usize = 1000;
        let len = self.children.len();
        self.compact = self.compact.min(len as u32);
        if len >= LARGE.max(2 * self.compact as usize) {
            self.children = std::mem::take(&mut self.children).into_iter().collect();
            self.compact = len as u32;
        }
    }

    /// A directory that was just made here: everything about it is known.
    pub(in crate::vfs) fn made_here() -> Self {
        Self {
            listed: Some(Instant::now().into()),
            paged: Some(Instant::now().into()),
            marker: Marker::Wanted {
                need: Need::Place,
                old: None,
                uncertain: false,
            },
            ..Self::default()
        }
    }

    /// Whether its marker is to be written for its time only: without one, it would be there all the same.
    pub(in crate::vfs) fn waits_for_time(&self) -> bool {
        let there = !self.children.is_empty() || self.marker.stored().is_some();
        self.marker.need() == Some(Need::Time) && there
    }

    /// Whether its own attributes are known, and freshly so.
    pub(in crate::vfs) fn attributes_known(&self, ttl: Duration) -> bool {
        // At least as long as one path takes to be walked, or `metadata_ttl: 0` would ask twice.
        let ttl = ttl.max(Duration::from_secs(1));
        (self.marker.need().is_some() && !self.waits_for_time())
            || self.paged().is_some_and(|at| at.elapsed() < ttl)
    }
}
