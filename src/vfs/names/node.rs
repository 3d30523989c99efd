//! One inode: a directory with its children, or an object with its version and content.
//!
//! States only; `tree` holds them together, the other rooms change them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::b2::{FileId, FileInfo, FileVersion, Sha1};
use crate::io::{Content, Version};
use crate::vfs::attr::{self, Meta};
use crate::vfs::names::dir::Dir;
use crate::vfs::names::moment::Moment;
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
}
