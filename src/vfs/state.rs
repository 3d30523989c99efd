//! The state of a file: which version B2 has under its name, what of that is this mount's, what has changed since.
//!
//! Plain data without clock or socket; each method is a transition, and what may be deleted from B2 is decided by
//! them and nowhere else. Two things are never forgotten: a version that this mount has not made is never deleted,
//! and after a call of unknown outcome the name may exist, whatever else is believed.

use crate::b2::{FileId, FileVersion, Lost, Sha1};
use crate::io::{Stamp, Version};
use crate::vfs::Fh;
use crate::vfs::delta::{Changed, Delta};

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
    fn written(self, by: Option<Handle32>) -> Self {
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
    came: Came,
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
}

/// Milliseconds since 1970 in 48 bits: there are as many of these as names, and they have to be small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Came([u8; 6]);

impl Came {
    fn at(ms: u64) -> Self {
        let [bytes @ .., _, _] = ms.min((1 << 48) - 1).to_le_bytes();
        Self(bytes)
    }

    fn ms(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }
}

/// What B2 has at the name of a file, as far as this mount believes.
#[derive(Debug, Clone)]
enum Place {
    /// Nothing: the name was free when the file was made, and nothing was sent.
    Free { came: Came },
    /// The version of another file, which this one was renamed over before it was stored itself.
    Over { id: Option<FileId>, came: Came },
    /// This file's version.
    Holds(Stored),
}

/// What has been done to the content since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// Nothing, or it was written.
    Ordinary,
    /// Opening has created or emptied it, and nothing has happened since.
    OnlyOpened,
}

/// Why a version was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Why {
    /// A state that somebody closed: it stays among the versions when it is superseded.
    Closed,
    /// A descriptor of this handle is being closed; whether it was the last is known at release only.
    Flushed(Fh),
    /// In the middle of writing: the version goes when the next one is there.
    Provisional,
    /// In the middle of writing, and no more than what has left memory, so that it can be read.
    Readable,
}

/// What a new version leaves to be deleted.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Superseded {
    /// The version before, where nothing is lost by it.
    pub(in crate::vfs) old: Option<FileId>,
    /// What calls of unknown outcome may have made.
    pub(in crate::vfs) lost: Vec<Lost>,
}

/// What has to be asked of B2 so that a name goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs) enum Leaves {
    /// Nothing: B2 does not have it.
    Nothing,
    /// A name with this version, as far as known.
    Name(Option<FileId>),
}

/// The state of one file.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct FileState {
    place: Place,
    edit: Edit,
    /// What few files have.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, Default)]
struct More {
    delta: Delta,
    /// Versions that may exist beside the one known.
    lost: Vec<Lost>,
}

impl FileState {
    /// A file that was made here, under a name that was free; `now` in milliseconds since 1970.
    pub(in crate::vfs) fn made(now: u64) -> Self {
        Self {
            place: Place::Free {
                came: Came::at(now),
            },
            edit: Edit::OnlyOpened,
            more: None,
        }
    }

    /// A file that B2 has.
    pub(in crate::vfs) fn listed(stored: Stored) -> Self {
        Self {
            place: Place::Holds(stored),
            edit: Edit::Ordinary,
            more: None,
        }
    }

    /// This file's version in B2; `None` until the first one is acknowledged.
    pub(in crate::vfs) fn stored(&self) -> Option<&Stored> {
        match &self.place {
            Place::Holds(stored) => Some(stored),
            Place::Free { .. } | Place::Over { .. } => None,
        }
    }

    /// When the name first got a content, or gets it: milliseconds since 1970.
    pub(in crate::vfs) fn came_ms(&self) -> u64 {
        match &self.place {
            Place::Free { came } | Place::Over { came, .. } => came.ms(),
            Place::Holds(stored) => stored.came_ms(),
        }
    }

    fn stored_mut(&mut self) -> Option<&mut Stored> {
        match &mut self.place {
            Place::Holds(stored) => Some(stored),
            Place::Free { .. } | Place::Over { .. } => None,
        }
    }

    /// Attributes that B2 does not have yet.
    pub(in crate::vfs) fn delta(&self) -> &Delta {
        static NONE: Delta = Delta::NONE;
        self.more.as_ref().map_or(&NONE, |more| &more.delta)
    }

    fn change_delta(&mut self, change: impl FnOnce(&mut Delta)) {
        change(&mut self.more.get_or_insert_default().delta);
        self.forget_nothing();
    }

    fn take_lost(&mut self) -> Vec<Lost> {
        let lost = self
            .more
            .as_mut()
            .map(|more| std::mem::take(&mut more.lost));
        self.forget_nothing();
        lost.unwrap_or_default()
    }

    /// Gives memory back.
    fn forget_nothing(&mut self) {
        let nothing = |more: &mut Box<More>| more.delta.is_empty() && more.lost.is_empty();
        self.more.take_if(nothing);
    }

    /// Opening has changed the content (created it, or O_TRUNC), and nothing has since.
    pub(in crate::vfs) fn only_opened(&self) -> bool {
        self.edit == Edit::OnlyOpened
    }

    /// Whether B2 may have something under the name.
    pub(in crate::vfs) fn leaves(&self) -> Leaves {
        match &self.place {
            Place::Free { .. } if self.lost().is_empty() => Leaves::Nothing,
            Place::Free { .. } => Leaves::Name(None),
            Place::Over { id, .. } => Leaves::Name(id.clone()),
            Place::Holds(stored) => Leaves::Name(Some(stored.id.clone())),
        }
    }

    /// What calls of unknown outcome may have left.
    pub(in crate::vfs) fn lost(&self) -> &[Lost] {
        self.more.as_ref().map_or(&[], |more| &more.lost)
    }

    /// A hash was computed from a version's bytes.
    pub(in crate::vfs) fn learned(&mut self, id: &FileId, sha1: Sha1) {
        if let Some(stored) = self.stored_mut().filter(|stored| stored.id == *id) {
            stored.learn(Some(sha1));
        }
    }

    /// Emptied by opening it; `written` before that.
    pub(in crate::vfs) fn emptied(&mut self, written: bool) {
        if !written {
            self.edit = Edit::OnlyOpened;
        }
    }

    /// The content was changed; `dirty`: it differs from what is stored, if only by being unsent.
    pub(in crate::vfs) fn written(&mut self, by: Option<Fh>, dirty: bool) {
        self.edit = Edit::Ordinary;
        if dirty {
            // Its time goes with it.
            self.change_delta(|delta| delta.forget(Changed::MTIME));
        } else {
            // Emptied although it was empty: only the time is new.
            self.change_delta(|delta| delta.note(Changed::MTIME));
        }
        if let Some(stored) = self.stored_mut()
            && let Maker::Us(standing) = stored.maker
        {
            stored.maker = Maker::Us(standing.written(by.map(Handle32::from)));
        }
    }

    /// Attributes were changed.
    pub(in crate::vfs) fn set(&mut self, changed: Changed) {
        self.change_delta(|delta| delta.note(changed));
    }

    /// One that was changed is not to be stored.
    pub(in crate::vfs) fn forget(&mut self, one: Changed) {
        self.change_delta(|delta| delta.forget(one));
    }

    /// An extended attribute, kept under this key of file info, was changed.
    pub(in crate::vfs) fn set_info(&mut self, key: &str) {
        self.change_delta(|delta| delta.note_key(key));
    }

    /// Attributes that need not be stored after all.
    pub(in crate::vfs) fn settle(&mut self, differs: impl Fn(&str) -> bool, fields: Changed) {
        self.change_delta(|delta| delta.keep(differs, fields));
    }

    /// What is stored is what a handle was closed with, though something else may have stored it; unless
    /// the handle was written to meanwhile, by another copy of its descriptor.
    pub(in crate::vfs) fn flushed(&mut self, by: Fh, written_on: bool) {
        if let Some(stored) = self.stored_mut()
            && let Maker::Us(standing) = stored.maker
        {
            stored.maker = Maker::Us(match standing {
                Standing::Open if !written_on => Standing::Flushed(by.into()),
                standing if written_on => standing.written(Some(by.into())),
                standing => standing,
            });
        }
    }

    /// A handle that may write was closed for good: what it has stored is a version to keep. True when what
    /// its opening alone has changed is to be stored.
    pub(in crate::vfs) fn released(&mut self, by: Fh, dirty: bool) -> bool {
        if self.only_opened() && dirty {
            return true;
        }
        if let Some(stored) = self.stored_mut()
            && let Maker::Us(standing) = stored.maker
            && (!dirty || standing == Standing::Flushed(by.into()))
        {
            stored.maker = Maker::Us(Standing::Closed);
        }
        false
    }

    /// B2 has acknowledged a version of the content. `writing`: somebody still may write, or has meanwhile.
    pub(in crate::vfs) fn committed(
        &mut self,
        mut stored: Stored,
        why: Why,
        writing: bool,
    ) -> Superseded {
        stored.maker = Maker::Us(match why {
            Why::Flushed(fh) if writing => Standing::Flushed(fh.into()),
            Why::Provisional | Why::Readable if writing => Standing::Open,
            // Whoever closed it last meanwhile could not say so of a version that was not there yet.
            _ => Standing::Closed,
        });
        let old = self
            .stored()
            .filter(|old| old.intermediate() && old.id != stored.id);
        let old = old.map(|old| old.id.clone());
        self.superseded_by(stored, old)
    }

    /// B2 has acknowledged a copy of the version, made to store attributes.
    pub(in crate::vfs) fn copied(&mut self, mut stored: Stored) -> Superseded {
        // Its successor says since when the content is current: nothing of history is lost with the twin.
        let standing = match self.stored().map(|old| old.maker) {
            Some(Maker::Us(standing)) => standing,
            _ => Standing::Closed,
        };
        stored.maker = Maker::Us(standing);
        let old = self
            .stored()
            .filter(|old| old.ours() && old.id != stored.id);
        let old = old.map(|old| old.id.clone());
        self.superseded_by(stored, old)
    }

    fn superseded_by(&mut self, stored: Stored, old: Option<FileId>) -> Superseded {
        let mut lost = self.take_lost();
        lost.retain(|one| one.id.as_ref() != Some(&stored.id));
        self.place = Place::Holds(stored);
        Superseded { old, lost }
    }

    /// A call ended without a clean answer: what it should have made may be there.
    pub(in crate::vfs) fn outcome_unknown(&mut self, lost: Lost) {
        /// More of them tell nothing more.
        const MOST: usize = 16;
        let all = &mut self.more.get_or_insert_default().lost;
        if all.len() < MOST && !all.contains(&lost) {
            all.push(lost);
        }
    }

    /// The file goes to another name, where `target` is what lies: its old name leaves this behind.
    /// A stored version stays this file's until `renamed_to` tells of its successor. `now`: milliseconds since 1970.
    pub(in crate::vfs) fn moved(&mut self, target: Leaves, now: u64) -> Superseded {
        let lost = self.take_lost();
        if self.stored().is_none() {
            let came = Came::at(now);
            self.place = match target {
                Leaves::Nothing => Place::Free { came },
                Leaves::Name(id) => Place::Over { id, came },
            };
        }
        Superseded { old: None, lost }
    }

    /// The version that a file has under its new name.
    pub(in crate::vfs) fn renamed_to(&mut self, mut stored: Stored) {
        stored.maker = Maker::Us(Standing::Closed);
        self.place = Place::Holds(stored);
        // What may lie under the old name is for its removal.
        drop(self.take_lost());
    }

    /// Another client's version takes the place.
    pub(in crate::vfs) fn taken(&mut self, stored: Stored) {
        self.place = Place::Holds(stored);
        drop(self.take_lost());
    }

    /// A removal was refused: something lies under the name that this file has taken meanwhile.
    pub(in crate::vfs) fn covers(&mut self, id: Option<FileId>) {
        if let Place::Free { came } = self.place {
            self.place = Place::Over { id, came };
        }
    }

    /// Changes that need not be stored: the file is no longer under a name of its own.
    pub(in crate::vfs) fn give_up_attributes(&mut self) -> Delta {
        let delta = self
            .more
            .as_mut()
            .map(|more| std::mem::take(&mut more.delta));
        self.forget_nothing();
        delta.unwrap_or_default()
    }

    /// Changes that are to be stored with this version.
    pub(in crate::vfs) fn owe(&mut self, delta: Delta) {
        self.change_delta(|before| before.join(delta));
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
