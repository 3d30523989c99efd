//! A version in B2 as names need it: who has made it, how it stands, and when it may go because of that.
//!
//! Plain data without clock or socket.

use crate::b2::{FileId, FileVersion, Sha1};
use crate::io::{Stamp, Version};
use crate::vfs::Fh;

/// A file that was current for less than this was a temporary one: once it has been renamed, its old name keeps
/// no version of it.
const TEMPORARY_MS: u64 = 24 * 60 * 60 * 1000;

/// A handle's number, cut to 32 bits to be small; those open at one time do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct Handle32(u32);

impl From<Fh> for Handle32 {
    fn from(fh: Fh) -> Self {
        Self(fh.0 as u32)
    }
}

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

impl Standing {
    /// The content is changed by a handle, or by nobody's.
    pub(super) fn written(self, by: Option<Handle32>) -> Self {
        match self {
            Self::Flushed(flushed) if by == Some(flushed) => Self::Open,
            Self::Flushed(_) => Self::Closed,
            other => other,
        }
    }
}

/// Who has made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Maker {
    /// Another client, or an earlier mount.
    Other,
    /// This mount.
    Us(Standing),
}

/// What is known of a content's SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Hash {
    /// Nothing.
    Unknown,
    /// B2 does not know it: copies have to carry it in `large_file_sha1` (API §6).
    Told(Sha1),
    /// B2 itself knows it.
    ByB2(Sha1),
}

/// A version in B2, as far as names need it.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Stored {
    pub(in crate::vfs) id: FileId,
    /// Bytes.
    pub(in crate::vfs) size: u64,
    pub(in crate::vfs) hash: Hash,
    pub(in crate::vfs) maker: Maker,
    /// Milliseconds since 1970 by B2's clock: when the version was begun.
    pub(in crate::vfs) uploaded_ms: u64,
    /// Seconds before that, since when its content has been current under its name.
    pub(in crate::vfs) older_s: u32,
    /// When the name first got a content.
    pub(in crate::vfs) came: Came,
    /// Its content can neither be read nor copied (API §7).
    pub(in crate::vfs) customer_key: bool,
}

impl Stored {
    /// What a row, or the answer to a call, says; `None` for rows without an id.
    pub(in crate::vfs) fn of(row: &FileVersion, maker: Maker) -> Option<Self> {
        let hash = match (row.sha1.known(), row.whole_sha1()) {
            (Some(sha1), _) => Hash::ByB2(sha1),
            (None, Some(sha1)) => Hash::Told(sha1),
            (None, None) => Hash::Unknown,
        };
        let stamp = Stamp::of(&row.info);
        let since = stamp.since;
        Some(Self {
            id: row.id.clone()?,
            size: row.size,
            hash,
            maker,
            uploaded_ms: row.uploaded_ms,
            older_s: since.map_or(0, |since| {
                let older = row.uploaded_ms.saturating_sub(since).div_ceil(1000);
                u32::try_from(older).unwrap_or(u32::MAX)
            }),
            came: Came::at(stamp.came.or(since).unwrap_or(row.uploaded_ms)),
            customer_key: row.customer_key,
        })
    }

    /// Since when its content has been current under its name: milliseconds since 1970 by B2's clock.
    pub(in crate::vfs) fn since_ms(&self) -> u64 {
        self.uploaded_ms
            .saturating_sub(u64::from(self.older_s) * 1000)
    }

    /// When its name first got a content: milliseconds since 1970.
    pub(in crate::vfs) fn came_ms(&self) -> u64 {
        self.came.ms()
    }

    pub(in crate::vfs) fn sha1(&self) -> Option<Sha1> {
        match self.hash {
            Hash::Unknown => None,
            Hash::Told(sha1) | Hash::ByB2(sha1) => Some(sha1),
        }
    }

    /// Takes in a hash that was computed, or was that of the version this one is a copy of.
    pub(in crate::vfs) fn learn(&mut self, sha1: Option<Sha1>) {
        if let (Hash::Unknown, Some(sha1)) = (self.hash, sha1) {
            self.hash = Hash::Told(sha1);
        }
    }

    pub(in crate::vfs) fn version(&self) -> Version {
        Version {
            id: self.id.clone(),
            size: self.size,
            sha1: self.sha1(),
        }
    }

    pub(in crate::vfs) fn ours(&self) -> bool {
        matches!(self.maker, Maker::Us(_))
    }

    /// Made in the middle of writing: nobody has closed the file in this state.
    pub(in crate::vfs) fn intermediate(&self) -> bool {
        self.maker == Maker::Us(Standing::Open)
    }

    /// Whether it may go from its old name once its content is stored under another one.
    pub(in crate::vfs) fn goes_when_renamed(&self, now_ms: u64, content_lives_on: bool) -> bool {
        let young = now_ms.saturating_sub(self.since_ms()) < TEMPORARY_MS;
        self.intermediate() || (self.ours() && content_lives_on && young)
    }

    /// Whether it goes once this mount has replaced it by a content that somebody has closed.
    pub(in crate::vfs) fn goes_when_replaced(&self, rule: Replacing) -> bool {
        let young = self.ours() && rule.now_ms.saturating_sub(self.since_ms()) < rule.within_ms;
        rule.all || young
    }

    /// It is a copy of that version, under another name: whether it is young is asked of its content. (How long that has been
    /// current under its name is another question, so that no more is noted than the first one needs.)
    pub(in crate::vfs) fn as_old_as(&mut self, source: &Self, rule: Replacing) {
        let age_ms = match source.maker {
            Maker::Us(_) => self.uploaded_ms.saturating_sub(source.since_ms()),
            Maker::Other => u64::MAX,
        };
        let enough = age_ms.min(rule.within_ms).div_ceil(1000);
        self.older_s = self.older_s.max(u32::try_from(enough).unwrap_or(u32::MAX));
    }
}

/// Milliseconds since 1970 in 48 bits: there are as many of these as names, and they have to be small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct Came([u8; 6]);

impl Came {
    pub(in crate::vfs) fn at(ms: u64) -> Self {
        let [bytes @ .., _, _] = ms.min((1 << 48) - 1).to_le_bytes();
        Self(bytes)
    }

    pub(super) fn ms(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }
}

/// Which versions go once this mount has replaced them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::vfs) struct Replacing {
    /// All of them, also those of other clients.
    pub(in crate::vfs) all: bool,
    /// Those that this mount has made within so many milliseconds.
    pub(in crate::vfs) within_ms: u64,
    /// Now, in milliseconds since 1970.
    pub(in crate::vfs) now_ms: u64,
}

impl Replacing {
    /// Whether there are any.
    pub(in crate::vfs) fn any(self) -> bool {
        self.all || self.within_ms > 0
    }
}
