//! Attributes that were changed here and are not in B2 yet: which ones, so that they can be applied to whatever
//! version is newest when they are stored. Their values are those that the inode shows.

use crate::b2::FileInfo;
use crate::vfs::attr::Meta;

/// A set of attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::vfs) struct Changed(u8);

impl Changed {
    pub(in crate::vfs) const MODE: Self = Self(1);
    pub(in crate::vfs) const UID: Self = Self(2);
    pub(in crate::vfs) const GID: Self = Self(4);
    pub(in crate::vfs) const MTIME: Self = Self(8);
    /// The content type; no part of `Meta`.
    pub(in crate::vfs) const TYPE: Self = Self(16);
    const EACH: [Self; 4] = [Self::MODE, Self::UID, Self::GID, Self::MTIME];

    pub(in crate::vfs) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(in crate::vfs) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    /// Those in which two differ.
    pub(in crate::vfs) fn between(one: &Meta, other: &Meta) -> Self {
        let mut changed = Self::default();
        for (differ, which) in [
            (one.mode != other.mode, Self::MODE),
            (one.uid != other.uid, Self::UID),
            (one.gid != other.gid, Self::GID),
            (one.mtime != other.mtime, Self::MTIME),
        ] {
            if differ {
                changed = changed.and(which);
            }
        }
        changed
    }
}

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::vfs) struct Delta {
    fields: Changed,
    /// Keys of file info that hold extended attributes.
    keys: Vec<String>,
}

impl Delta {
    pub(in crate::vfs) const NONE: Self = Self {
        fields: Changed(0),
        keys: Vec::new(),
    };

    pub(in crate::vfs) fn is_empty(&self) -> bool {
        self.fields == Changed::default() && self.keys.is_empty()
    }

    pub(in crate::vfs) fn has(&self, one: Changed) -> bool {
        self.fields.has(one)
    }

    pub(in crate::vfs) fn note(&mut self, changed: Changed) {
        self.fields = self.fields.and(changed);
    }

    pub(in crate::vfs) fn forget(&mut self, one: Changed) {
        self.fields.0 &= !one.0;
    }

    pub(in crate::vfs) fn note_key(&mut self, key: &str) {
        if !self.keys.iter().any(|known| known == key) {
            self.keys.push(key.to_owned());
        }
    }

    /// The keys of file info in it, in the order in which they were changed first.
    pub(in crate::vfs) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Takes another one in.
    pub(in crate::vfs) fn join(&mut self, other: Self) {
        self.note(other.fields);
        for key in other.keys {
            self.note_key(&key);
        }
    }

    /// Keeps what still differs from what is stored.
    pub(in crate::vfs) fn keep(&mut self, differs: impl Fn(&str) -> bool, fields: Changed) {
        self.fields.0 &= fields.0;
        self.keys.retain(|key| differs(key));
    }

    /// The attributes of another version, with those changed here in their place.
    pub(in crate::vfs) fn applied(&self, mine: &Meta, theirs: &Meta) -> Meta {
        let mut meta = *theirs;
        for one in Changed::EACH.into_iter().filter(|one| self.has(*one)) {
            match one {
                Changed::MODE => meta.mode = mine.mode,
                Changed::UID => meta.uid = mine.uid,
                Changed::GID => meta.gid = mine.gid,
                _ => meta.mtime = mine.mtime,
            }
        }
        if !self.is_empty() {
            meta.ctime = mine.ctime;
        }
        meta
    }

    /// File info of another client's version with the changes of this mount.
    pub(in crate::vfs) fn applied_info(&self, mine: &FileInfo, theirs: &FileInfo) -> FileInfo {
        let mut info = theirs.clone();
        for key in &self.keys {
            match mine.get(key) {
                Some(value) => info.insert(key.clone(), value.clone()),
                None => info.remove(key),
            };
        }
        info
    }
}
