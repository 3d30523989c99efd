//! One inode: a directory with its children, or an object with its version and content.
//!
//! States only; `tree` holds them together, the other rooms change them.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::b2::{FileId, FileInfo, FileVersion};
use crate::io::{Content, Progress, Stamp};
use crate::vfs::attr::{self, Meta};
use crate::vfs::delta::{Changed, Delta};
use crate::vfs::names::dir::Dir;
use crate::vfs::names::moment::Moment;
use crate::vfs::names::tree::Tick;
use crate::vfs::state::{FileState, Leaves};
use crate::vfs::{Failure, FileKind, Ino, Prospect, Settings};

/// The type that lets B2 decide by the name's extension (API §5.2).
pub(in crate::vfs) const AUTO_TYPE: &str = "b2/x-auto";

/// What the next version of an object has to carry on beside its `Meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::vfs) struct Carried {
    pub(in crate::vfs) content_type: Option<String>,
    /// Somebody has chosen the type, so that nothing but another choice changes it.
    pub(in crate::vfs) chosen: bool,
    /// Extended attributes, and info keys that mean nothing to b2fuse.
    pub(in crate::vfs) info: FileInfo,
}

impl Carried {
    /// What a version says.
    pub(in crate::vfs) fn of_version(version: &FileVersion, settings: &Settings) -> Arc<Self> {
        Self {
            content_type: version.content_type.clone(),
            chosen: Stamp::of(&version.info)
                .chosen_type
                .is_some_and(|mark| mark != Stamp::mark_of(AUTO_TYPE)),
            info: attr::carried_info(&version.info, settings),
        }
        .shared()
    }

    /// Of another version, with what was changed here and is not stored yet in its place.
    pub(in crate::vfs) fn with_changes(self: Arc<Self>, delta: &Delta, mine: &Self) -> Arc<Self> {
        let info = delta.applied_info(&mine.info, &self.info);
        let chooser = if delta.has(Changed::TYPE) {
            mine
        } else {
            &*self
        };
        let all = Self {
            content_type: chooser.content_type.clone(),
            chosen: chooser.chosen,
            info,
        };
        if all == *self { self } else { all.shared() }
    }

    /// What the stamp of a version says that is sent with this type.
    pub(in crate::vfs) fn type_mark(&self) -> Option<u16> {
        let sent = self.content_type.as_deref()?;
        (self.chosen || sent == AUTO_TYPE).then(|| Stamp::mark_of(sent))
    }

    /// One copy for all that have it: most objects of a bucket are of a few types.
    pub(in crate::vfs) fn shared(self) -> Arc<Self> {
        /// More different ones than that are not worth remembering.
        const MAX: usize = 1024;
        static KNOWN: Mutex<Option<HashSet<Arc<Carried>>>> = Mutex::new(None);
        if self.info.keys().any(|key| attr::is_xattr_key(key)) {
            // Such differ from file to file.
            return Arc::new(self);
        }
        let mut known = KNOWN.lock();
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
pub(in crate::vfs) struct Object {
    /// What B2 has of it, and what it does not have yet.
    pub(in crate::vfs) state: FileState,
    /// What the next version takes over; `None`: nothing.
    pub(in crate::vfs) carried: Option<Arc<Carried>>,
    /// Present while the file is open or has unsent bytes.
    pub(in crate::vfs) content: Option<Arc<Content>>,
    /// The kernel may have pages, or the size, of an earlier content.
    pub(in crate::vfs) kernel_behind: bool,
    /// Handles that may write.
    pub(in crate::vfs) writers: u32,
}

impl Object {
    pub(in crate::vfs) fn new(state: FileState, carried: Option<Arc<Carried>>) -> Self {
        Self {
            state,
            carried,
            content: None,
            kernel_behind: false,
            writers: 0,
        }
    }
}

/// Whether a directory has its marker object in B2 (DESIGN §3).
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) enum Marker {
    /// None known.
    #[default]
    Absent,
    /// To be written.
    Wanted {
        need: Need,
        /// The marker it replaces.
        old: Option<MarkerObject>,
        /// A try has ended without a clean answer: B2 may have it.
        uncertain: bool,
    },
    /// None is needed; but one may be there, by a call of unknown outcome.
    Uncertain,
    /// In B2.
    Stored(MarkerObject),
}

/// What a directory needs its marker for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vfs) enum Need {
    /// It is empty.
    Place,
    /// Its time has moved by something that its entries do not tell. Nobody waits for it.
    Time,
    /// Attributes of its own.
    Attributes,
}

/// A marker that is in B2.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct MarkerObject {
    pub(in crate::vfs) id: FileId,
    /// Made by this mount; its name then is `.bzEmpty`.
    pub(in crate::vfs) ours: bool,
    /// Milliseconds since 1970 by B2's clock.
    pub(in crate::vfs) uploaded_ms: u64,
}

impl Marker {
    /// Asks for the marker to be written, again if it is there already.
    pub(in crate::vfs) fn want(&mut self, need: Need) {
        let wanted = |need, old, uncertain| Self::Wanted {
            need,
            old,
            uncertain,
        };
        *self = match std::mem::take(self) {
            Self::Absent => wanted(need, None, false),
            Self::Uncertain => wanted(need, None, true),
            Self::Wanted {
                need: before,
                old,
                uncertain,
            } => wanted(need.max(before), old, uncertain),
            Self::Stored(old) if need > Need::Place => wanted(need, Some(old), false),
            stored @ Self::Stored(_) => stored,
        };
    }

    /// What it is to be written for.
    pub(in crate::vfs) fn need(&self) -> Option<Need> {
        match self {
            Self::Wanted { need, .. } => Some(*need),
            _ => None,
        }
    }

    /// It need not be written after all.
    pub(in crate::vfs) fn not_needed(&mut self) {
        *self = match std::mem::take(self) {
            Self::Wanted { old: Some(old), .. } => Self::Stored(old),
            Self::Wanted {
                uncertain: true, ..
            }
            | Self::Uncertain => Self::Uncertain,
            stored @ Self::Stored(_) => stored,
            _ => Self::Absent,
        };
    }

    /// Writing it has ended without a clean answer.
    pub(in crate::vfs) fn outcome_unknown(&mut self) {
        match self {
            Self::Wanted { uncertain, .. } => *uncertain = true,
            Self::Absent => *self = Self::Uncertain,
            Self::Uncertain | Self::Stored(_) => {}
        }
    }

    /// Whether B2 may have one although none is known.
    pub(in crate::vfs) fn uncertain(&self) -> bool {
        matches!(
            self,
            Self::Uncertain
                | Self::Wanted {
                    uncertain: true,
                    ..
                }
        )
    }

    /// The marker that is in B2, as far as known.
    pub(in crate::vfs) fn stored(&self) -> Option<&MarkerObject> {
        match self {
            Self::Absent | Self::Uncertain => None,
            Self::Wanted { old, .. } => old.as_ref(),
            Self::Stored(object) => Some(object),
        }
    }
}

/// What a node is.
pub(in crate::vfs) enum Body {
    Dir(Box<Dir>),
    Object(Object),
}

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
            Body::Object(object) => match (&object.content, object.state.stored()) {
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

    /// How many changed bytes of it are in memory only.
    pub(in crate::vfs) fn unsent(&self) -> u64 {
        let content = self.object().and_then(|object| object.content.as_ref());
        content.map_or(0, |content| content.unsent_bytes())
    }

    /// How far its content is on its way.
    pub(in crate::vfs) fn progress(&self) -> Progress {
        let content = self.object().and_then(|object| object.content.as_ref());
        content.map_or_else(Progress::default, |content| content.progress())
    }

    /// Bytes that B2 has not acknowledged.
    pub(in crate::vfs) fn content_dirty(&self) -> bool {
        self.object()
            .and_then(|object| object.content.as_ref())
            .is_some_and(|content| content.is_dirty())
    }

    /// A plain file that was made here and never written, and of which B2 has nothing.
    pub(in crate::vfs) fn only_created(&self) -> bool {
        self.meta.kind == FileKind::File
            && self.object().is_some_and(|object| {
                object.state.only_opened() && object.state.leaves() == Leaves::Nothing
            })
    }

    /// Something that is not in B2 yet.
    pub(in crate::vfs) fn pending(&self) -> bool {
        match &self.body {
            Body::Dir(dir) => matches!(dir.marker, Marker::Wanted { .. }),
            Body::Object(object) => !object.state.delta().is_empty() || self.content_dirty(),
        }
    }

    /// No try can store its content: for some time all have found gone what it was made from.
    pub(in crate::vfs) fn is_past_help(&self) -> bool {
        /// A listing that lags, or a server that errs, is no loss.
        const SURE: Duration = Duration::from_secs(5);
        self.content_dirty()
            && self.failed.as_ref().is_some_and(|failed| {
                failed.prospect == Prospect::Never && failed.since + SURE <= failed.at
            })
    }

    /// Something that whoever wants to be sure of it waits for.
    pub(in crate::vfs) fn pending_now(&self) -> bool {
        self.pending() && !self.dir().is_some_and(Dir::waits_for_time)
    }

    /// What this mount knows better than any listing.
    pub(in crate::vfs) fn local(&self) -> bool {
        match &self.body {
            Body::Dir(dir) => self.pending() && !dir.waits_for_time(),
            // Changed attributes go to whatever version is newest.
            Body::Object(object) => object.state.stored().is_none() || self.content_dirty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_small() {
        assert!(size_of::<Option<Node>>() <= 240);
        // What the kernel refers to stays, so a directory has to be small, too.
        assert!(size_of::<Dir>() <= 144, "{}", size_of::<Dir>());
    }
}
