//! One inode: a directory with its children, or an object with its version and content.
//!
//! States only; `tree` holds them together, the other rooms change them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::b2::{FileId, FileInfo, FileVersion, Sha1};
use crate::io::{Content, Version};
use crate::vfs::attr::{self, Meta};
use crate::vfs::names::pages::Pages;
use crate::vfs::names::tree::Tick;
use crate::vfs::{Fh, Ino, Settings};

/// What a version means to those who write the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Standing {
    /// A state that somebody closed: it stays among the versions when it is superseded.
    Closed,
    /// A handle was closed in this state, or a copy of its descriptor: if the handle writes on, nobody
    /// closed the file in this state; if anybody else does, or it is never heard of again, somebody did.
    Flushed(Handle32),
    /// In the middle of writing: the version goes when the next one is there.
    Open,
}

/// A handle's number, cut to 32 bits to be small; those open at one time do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct Handle32(u32);

impl From<Fh> for Handle32 {
    fn from(fh: Fh) -> Self {
        Self(fh.0 as u32)
    }
}

impl Standing {
    /// The content is changed by a handle, or by nobody's.
    pub(in crate::vfs) fn written(self, by: Option<Fh>) -> Self {
        match self {
            Self::Flushed(flushed) if by.map(Handle32::from) == Some(flushed) => Self::Open,
            Self::Flushed(_) => Self::Closed,
            other => other,
        }
    }
}

/// A version in B2, as far as names need it.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Stored {
    pub(in crate::vfs) id: FileId,
    pub(in crate::vfs) size: u64,
    pub(in crate::vfs) sha1: Option<Sha1>,
    /// B2 itself knows the SHA-1; if not, copies have to carry it in `large_file_sha1` (API §6).
    pub(in crate::vfs) hashed_by_b2: bool,
    /// Made by this mount: it may remove the version once it has superseded it without loss.
    pub(in crate::vfs) ours: bool,
    /// When its upload began, by B2's clock, in milliseconds since 1970.
    pub(in crate::vfs) uploaded_ms: u64,
    /// Nothing visible lies under this version: deleting it exposes nothing (API §8).
    pub(in crate::vfs) bare: bool,
    pub(in crate::vfs) standing: Standing,
}

impl Stored {
    pub(in crate::vfs) fn version(&self) -> Version {
        Version {
            id: self.id.clone(),
            size: self.size,
            sha1: self.sha1,
        }
    }
}

/// What the next version of an object has to carry on beside its `Meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::vfs) struct Carried {
    pub(in crate::vfs) content_type: Option<String>,
    /// Extended attributes, and info keys that mean nothing to b2fuse.
    pub(in crate::vfs) info: FileInfo,
}

impl Carried {
    /// What a version says.
    pub(in crate::vfs) fn of_version(version: &FileVersion, settings: &Settings) -> Arc<Self> {
        Self {
            content_type: version.content_type.clone(),
            info: attr::carried_info(&version.info, settings),
        }
        .shared()
    }

    /// The same once for all that have it: most objects of a bucket are of a few types.
    pub(in crate::vfs) fn shared(self) -> Arc<Self> {
        /// More different ones than that are not worth remembering.
        const MAX: usize = 1024;
        static KNOWN: Mutex<Option<HashSet<Arc<Carried>>>> = Mutex::new(None);
        if self.info.keys().any(|key| attr::is_xattr_key(key)) {
            // Such differ from file to file.
            return Arc::new(self);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(same) = known.get(&self) {
            return Arc::clone(same);
        }
        let new = Arc::new(self);
        if known.len() < MAX {
            known.insert(Arc::clone(&new));
        }
        new
    }
}

/// Anything but a directory: one name, one object.
#[derive(Default)]
pub(in crate::vfs) struct Object {
    /// The version in B2; `None` until the first commit.
    pub(in crate::vfs) stored: Option<Stored>,
    /// What the next version takes over; `None`: nothing.
    pub(in crate::vfs) carried: Option<Arc<Carried>>,
    /// Present while the file is open or has unsent bytes.
    pub(in crate::vfs) content: Option<Arc<Content>>,
    /// Attributes differ from those in B2.
    pub(in crate::vfs) attrs_pending: bool,
    /// The mtime was set by utimensat(2), not by writing: it must be stored exactly.
    pub(in crate::vfs) mtime_explicit: bool,
    /// Opening has changed the content (created it, or O_TRUNC), and nothing has since.
    pub(in crate::vfs) only_opened: bool,
    /// The kernel's pages are those of the present content.
    pub(in crate::vfs) pages_valid: bool,
    /// Removed while it was open: what goes from B2 when nobody reads it any more.
    pub(in crate::vfs) leftover: Option<Box<Leftover>>,
    /// Nothing visible lay under the name when the file came to it (see `Stored::bare`).
    pub(in crate::vfs) bare_name: bool,
    /// Handles that may write.
    pub(in crate::vfs) writers: u32,
}

/// What a file that was removed while it was open leaves under its former full name.
#[derive(Debug)]
pub(in crate::vfs) enum Leftover {
    /// Hidden versions that are to be purged.
    All(String),
    /// A version that was only made so that its readers can go on.
    One(String, FileId),
}

/// Whether a directory has its marker object in B2 (DESIGN §3).
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) enum Marker {
    /// None known.
    #[default]
    Absent,
    /// To be written: the directory is empty, or (`attributes`) has attributes of its own.
    Wanted {
        attributes: bool,
        /// The marker it replaces.
        old: Option<MarkerObject>,
    },
    /// In B2.
    Stored(MarkerObject),
}

/// A marker that is in B2.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct MarkerObject {
    pub(in crate::vfs) id: FileId,
    /// Made by this mount; its name then is `.bzEmpty`.
    pub(in crate::vfs) ours: bool,
    /// Nothing visible lies under it: deleting it exposes nothing (API §8).
    pub(in crate::vfs) bare: bool,
}

impl Marker {
    /// Asks for the marker to be written, again if it is there already.
    pub(in crate::vfs) fn want(&mut self, attributes: bool) {
        *self = match std::mem::take(self) {
            Self::Absent => Self::Wanted {
                attributes,
                old: None,
            },
            Self::Wanted {
                attributes: before,
                old,
            } => Self::Wanted {
                attributes: attributes || before,
                old,
            },
            Self::Stored(old) if attributes => Self::Wanted {
                attributes,
                old: Some(old),
            },
            stored @ Self::Stored(_) => stored,
        };
    }

    /// The marker that is in B2, as far as known.
    pub(in crate::vfs) fn stored(&self) -> Option<&MarkerObject> {
        match self {
            Self::Absent => None,
            Self::Wanted { old, .. } => old.as_ref(),
            Self::Stored(object) => Some(object),
        }
    }
}

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
    /// Made by `Tree::usage_mut`, which counts them.
    pub(in crate::vfs::names) usage: Option<Box<Usage>>,
}

/// What there is of a directory that is in use.
#[derive(Default)]
pub(in crate::vfs) struct Usage {
    /// Directories in it that were asked for one by one.
    pub(in crate::vfs) asked: Asked,
    /// The same of directories whose listing was about to expire.
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

/// An `Instant` in eight bytes, also when it may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vfs) struct Moment(NonZeroU64);

impl Moment {
    /// All moments are counted from the first that was noted, in nanoseconds, beginning with 1.
    fn zero(first: impl FnOnce() -> Instant) -> Instant {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        *ZERO.get_or_init(first)
    }

    pub(in crate::vfs) fn instant(self) -> Instant {
        Self::zero(Instant::now) + Duration::from_nanos(self.0.get() - 1)
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let since = at.saturating_duration_since(Self::zero(|| at)).as_nanos();
        let count = u64::try_from(since).unwrap_or(u64::MAX - 1);
        Self(NonZeroU64::MIN.saturating_add(count))
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
}

impl Dir {
    /// A directory that was just made here: everything about it is known.
    pub(in crate::vfs) fn made_here() -> Self {
        Self {
            listed: Some(Instant::now().into()),
            paged: Some(Instant::now().into()),
            marker: Marker::Wanted {
                attributes: false,
                old: None,
            },
            ..Self::default()
        }
    }

    /// Whether its own attributes are known, and freshly so.
    pub(in crate::vfs) fn attributes_known(&self, ttl: Duration) -> bool {
        // At least as long as one path takes to be walked, or `metadata_ttl: 0` would ask twice.
        let ttl = ttl.max(Duration::from_secs(1));
        matches!(self.marker, Marker::Wanted { .. })
            || self.paged().is_some_and(|at| at.elapsed() < ttl)
    }
}

/// What a node is.
pub(in crate::vfs) enum Body {
    Dir(Box<Dir>),
    Object(Object),
}

/// Why something could not be stored; boxed, because few fail.
#[derive(Debug)]
pub(in crate::vfs) struct Failure(pub(in crate::vfs) String);

/// One inode.
pub(in crate::vfs) struct Node {
    pub(in crate::vfs) parent: Ino,
    pub(in crate::vfs) name: Arc<str>,
    /// Still reachable by its name.
    pub(in crate::vfs) linked: bool,
    /// What B2 said of the name when it was last `checked` did not settle what it stands for: the row of a
    /// directory of this name may still follow that of the file, or an older version than the last was shown.
    pub(in crate::vfs::names) unsettled: bool,
    /// References that the kernel holds (`forget` gives them back).
    pub(in crate::vfs) lookups: u64,
    pub(in crate::vfs) opens: u32,
    /// Last local change of the name or of what it means.
    pub(in crate::vfs::names) changed: Tick,
    /// When B2 was last asked for this very name.
    pub(in crate::vfs::names) checked: Option<Moment>,
    pub(in crate::vfs) meta: Meta,
    /// Why the last try to store it failed.
    pub(in crate::vfs) failed: Option<Box<Failure>>,
    pub(in crate::vfs) body: Body,
}

impl Node {
    /// B2 was asked for the name at that moment, and has said what it stands for, or not quite.
    pub(in crate::vfs::names) fn check(&mut self, at: Instant, settled: bool) {
        self.checked = Some(at.into());
        self.unsettled = !settled;
    }

    pub(in crate::vfs) fn object(&self) -> Option<&Object> {
        match &self.body {
            Body::Object(object) => Some(object),
            Body::Dir(_) => None,
        }
    }

    pub(in crate::vfs) fn object_mut(&mut self) -> Option<&mut Object> {
        match &mut self.body {
            Body::Object(object) => Some(object),
            Body::Dir(_) => None,
        }
    }

    pub(in crate::vfs) fn dir(&self) -> Option<&Dir> {
        match &self.body {
            Body::Dir(dir) => Some(dir),
            Body::Object(_) => None,
        }
    }

    pub(in crate::vfs) fn dir_mut(&mut self) -> Option<&mut Dir> {
        match &mut self.body {
            Body::Dir(dir) => Some(dir),
            Body::Object(_) => None,
        }
    }

    pub(in crate::vfs) fn size(&self) -> u64 {
        match &self.body {
            Body::Dir(_) => 0,
            Body::Object(object) => match (&object.content, &object.stored) {
                (Some(content), _) => content.size(),
                (None, Some(stored)) => stored.size,
                (None, None) => 0,
            },
        }
    }

    pub(in crate::vfs) fn writers(&self) -> u32 {
        self.object().map_or(0, |object| object.writers)
    }

    /// What the next version, or the directory's next marker, takes over.
    pub(in crate::vfs) fn carried(&self) -> Option<&Carried> {
        match &self.body {
            Body::Dir(dir) => dir.carried.as_deref(),
            Body::Object(object) => object.carried.as_deref(),
        }
    }

    pub(in crate::vfs) fn carried_mut(&mut self) -> &mut Option<Arc<Carried>> {
        match &mut self.body {
            Body::Dir(dir) => &mut dir.carried,
            Body::Object(object) => &mut object.carried,
        }
    }

    /// The info in it.
    pub(in crate::vfs) fn carried_info(&self) -> Option<&FileInfo> {
        self.carried().map(|carried| &carried.info)
    }

    /// Bytes that B2 has not acknowledged.
    pub(in crate::vfs) fn content_dirty(&self) -> bool {
        self.object()
            .and_then(|object| object.content.as_ref())
            .is_some_and(|content| content.is_dirty())
    }

    /// Something that is not in B2 yet.
    pub(in crate::vfs) fn pending(&self) -> bool {
        match &self.body {
            Body::Dir(dir) => matches!(dir.marker, Marker::Wanted { .. }),
            Body::Object(object) => object.attrs_pending || self.content_dirty(),
        }
    }

    /// What this mount knows better than any listing.
    pub(in crate::vfs) fn local(&self) -> bool {
        match &self.body {
            Body::Dir(_) => self.pending(),
            Body::Object(object) => object.stored.is_none() || self.pending(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_small() {
        assert!(size_of::<Option<Node>>() <= 224);
        // What the kernel refers to stays, so a directory has to be small, too.
        assert!(size_of::<Dir>() <= 144, "{}", size_of::<Dir>());
    }

    #[test]
    fn moments_are_instants() {
        let early = Instant::now();
        let first = Moment::from(early);
        let later = Moment::from(early + Duration::from_secs(5));
        assert_eq!(later.instant() - first.instant(), Duration::from_secs(5));
        assert!(later > first);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
