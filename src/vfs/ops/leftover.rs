//! What is pending at the end, for whoever keeps it elsewhere: under which name, with what info, and which bytes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::b2::{FileId, NewFile};
use crate::io::{Remains, Stamp};
use crate::vfs::state::Leaves;
use crate::vfs::{Ino, Unmoved, Vfs};

/// One thing that is pending.
#[derive(Debug)]
pub struct Leftover {
    /// Path within the mount.
    pub path: String,
    /// How it would be stored now.
    pub target: NewFile,
    /// The version that its name shows, as far as this mount believes.
    pub base: Option<FileId>,
    /// Where B2 has it, when it was renamed since.
    pub unmoved: Option<Unmoved>,
    /// Milliseconds since 1970.
    pub mtime_ms: i64,
    /// Why it could not be stored; empty where it was not tried.
    pub reason: String,
    /// What of it is pending.
    pub what: LeftoverKind,
}

/// What of something is pending.
#[derive(Debug)]
pub enum LeftoverKind {
    /// Content, with all attributes.
    Content(Remains),
    /// Attributes of the version that is stored.
    Attributes,
    /// The empty object that stands for a directory.
    Marker,
}

/// One thing that is pending, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftoverId {
    /// Which one.
    pub ino: Ino,
    /// Another number after each change of it.
    pub change: u64,
    /// Bytes in memory.
    pub unsent: u64,
}

impl Vfs {
    /// What is pending now, the smallest first.
    pub fn leftovers(&self) -> Vec<LeftoverId> {
        let mut all = self.tree().pending();
        all.extend(self.shared.moves.files());
        all.sort_unstable();
        all.dedup();
        let mut found: Vec<LeftoverId> = all
            .into_iter()
            .filter_map(|ino| {
                let (leftover, content, unsent) = self.outline(ino)?;
                let mut hash = DefaultHasher::new();
                let mut info = leftover.target.info;
                Stamp::change(&mut info, |stamp| stamp.nonce = None);
                (
                    leftover.path,
                    info,
                    leftover.base,
                    leftover.unmoved,
                    content,
                )
                    .hash(&mut hash);
                Some(LeftoverId {
                    ino,
                    change: hash.finish(),
                    unsent,
                })
            })
            .collect();
        found.sort_by_key(|one| one.unsent);
        found
    }

    /// All of one of them; `None` once it is stored, or nobody could store it.
    pub fn leftover(&self, ino: Ino) -> Option<Leftover> {
        let (mut leftover, _, _) = self.outline(ino)?;
        if let LeftoverKind::Attributes = leftover.what {
            let content = {
                let tree = self.tree();
                let node = tree.get(ino).ok()?;
                let dirty = node.content_dirty();
                let content = node.object().and_then(|object| object.content.clone());
                content.filter(|_| dirty)
            };
            if let Some(content) = content {
                leftover.what = LeftoverKind::Content(content.remains());
            }
        }
        Some(leftover)
    }

    /// Without bytes; beside it the number of the content's last change, and how much of it is in memory.
    fn outline(&self, ino: Ino) -> Option<(Leftover, Option<u64>, u64)> {
        let directory = self.tree().get(ino).ok()?.dir().is_some();
        let marker = if directory {
            Some(self.wanted_marker(ino).ok()??.1)
        } else {
            None
        };
        let tree = self.tree();
        let path = tree.place(ino)?;
        let node = tree.get(ino).ok()?;
        let content = node.object().and_then(|object| object.content.as_ref());
        let content = content.filter(|content| content.is_dirty());
        let (change, unsent) = (content.map(|content| content.change()), node.unsent());
        let base = match node.object().map(|object| object.state.leaves()) {
            Some(Leaves::Name(id)) => id,
            _ => None,
        };
        let what = match marker {
            Some(_) => LeftoverKind::Marker,
            None => LeftoverKind::Attributes,
        };
        let (target, base, unmoved) = match (marker, self.unmoved(&tree, ino)) {
            (Some(marker), _) => (marker, base, None),
            (None, Some((target, over, unmoved))) => (target, over, Some(unmoved)),
            (None, None) => (self.target_at(&tree, ino, &self.full(&path))?, base, None),
        };
        let failed = node.failed.as_ref();
        let leftover = Leftover {
            path,
            target,
            base,
            unmoved,
            mtime_ms: node.meta.mtime_ms(),
            reason: failed.map_or_else(String::new, |failure| failure.text.clone()),
            what,
        };
        Some((leftover, change, unsent))
    }
}
