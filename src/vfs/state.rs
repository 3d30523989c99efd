//! The state of a file: which version B2 has under its name, what of that is this mount's, what has changed since.
//!
//! Plain data without clock or socket; each method is a transition, and what may be deleted from B2 is decided by
//! them and nowhere else. Two things are never forgotten: a version that this mount has not made is never deleted,
//! and after a call of unknown outcome the name may exist, whatever else is believed.

mod stored;

pub(in crate::vfs) use stored::{Came, Handle32, Hash, Maker, Replacing, Standing, Stored};

use crate::b2::{FileId, Lost, Sha1};
use crate::vfs::Fh;
use crate::vfs::delta::{Changed, Delta};

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
    /// Versions that the user does not want to keep once they are replaced: they go only where they lie right under what this
    /// mount has made.
    pub(in crate::vfs) replaced: Vec<FileId>,
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
    /// Versions that go with the next state that somebody has closed for good.
    replaced: Vec<FileId>,
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
        let nothing = |more: &mut Box<More>| {
            more.delta.is_empty() && more.lost.is_empty() && more.replaced.is_empty()
        };
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
        rule: Replacing,
    ) -> Superseded {
        stored.maker = Maker::Us(match why {
            Why::Flushed(fh) if writing => Standing::Flushed(fh.into()),
            Why::Provisional | Why::Readable if writing => Standing::Open,
            // Whoever closed it last meanwhile could not say so of a version that was not there yet.
            _ => Standing::Closed,
        });
        let before = self.stored().filter(|old| old.id != stored.id);
        let (old, replaced) = match before {
            Some(old) if old.intermediate() => (Some(old.id.clone()), None),
            Some(old) if old.goes_when_replaced(rule) => (None, Some(old.id.clone())),
            _ => (None, None),
        };
        self.replaces(replaced);
        let mut superseded = self.superseded_by(stored, old);
        superseded.replaced = self.take_replaced();
        superseded
    }

    /// B2 has acknowledged a copy of the version, made to store attributes.
    pub(in crate::vfs) fn copied(&mut self, mut stored: Stored, rule: Replacing) -> Superseded {
        // Its successor says since when the content is current: nothing of history is lost with the twin.
        let standing = match self.stored().map(|old| old.maker) {
            Some(Maker::Us(standing)) => standing,
            _ => Standing::Closed,
        };
        stored.maker = Maker::Us(standing);
        let before = self.stored().filter(|old| old.id != stored.id);
        let (old, replaced) = match before {
            Some(old) if old.ours() => (Some(old.id.clone()), None),
            // The content lives on, though it was another client who had stored it.
            Some(old) if rule.all => (None, Some(old.id.clone())),
            _ => (None, None),
        };
        self.replaces(replaced);
        let mut superseded = self.superseded_by(stored, old);
        superseded.replaced = self.take_replaced();
        superseded
    }

    /// These versions go when a state that somebody has closed for good succeeds them.
    fn replaces(&mut self, versions: impl IntoIterator<Item = FileId>) {
        /// Of a file that is kept open for ever, more of them stay.
        const MOST: usize = 64;
        let mut versions = versions.into_iter().peekable();
        if versions.peek().is_none() {
            return;
        }
        let all = &mut self.more.get_or_insert_default().replaced;
        all.extend(versions);
        all.truncate(MOST);
    }

    /// What has been replaced by now: nothing before somebody has closed the file as it is stored.
    pub(in crate::vfs) fn take_replaced(&mut self) -> Vec<FileId> {
        let closed = |stored: &Stored| stored.maker == Maker::Us(Standing::Closed);
        if !self.stored().is_some_and(closed) {
            return Vec::new();
        }
        let more = self.more.as_mut();
        let replaced = more.map(|more| std::mem::take(&mut more.replaced));
        self.forget_nothing();
        replaced.unwrap_or_default()
    }

    /// The versions that go when a content succeeds this one under its name.
    pub(in crate::vfs) fn goes_when_replaced(&self, rule: Replacing) -> Vec<FileId> {
        let stored = self.stored();
        let stored = stored.filter(|old| !old.intermediate() && old.goes_when_replaced(rule));
        let before = self.more.iter().flat_map(|more| more.replaced.iter());
        stored
            .map(|stored| &stored.id)
            .into_iter()
            .chain(before)
            .cloned()
            .collect()
    }

    fn superseded_by(&mut self, stored: Stored, old: Option<FileId>) -> Superseded {
        let mut lost = self.take_lost();
        lost.retain(|one| one.id.as_ref() != Some(&stored.id));
        self.place = Place::Holds(stored);
        Superseded {
            old,
            lost,
            ..Superseded::default()
        }
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

    /// The file goes to another name, where `target` is what lies, of which `replaced` goes: its old name leaves this behind.
    /// A stored version stays this file's until `renamed_to` tells of its successor. `now`: milliseconds since 1970.
    pub(in crate::vfs) fn moved(
        &mut self,
        target: Leaves,
        replaced: Vec<FileId>,
        now: u64,
    ) -> Superseded {
        let lost = self.take_lost();
        self.keep_replaced();
        self.replaces(replaced);
        if self.stored().is_none() {
            let came = Came::at(now);
            self.place = match target {
                Leaves::Nothing => Place::Free { came },
                Leaves::Name(id) => Place::Over { id, came },
            };
        }
        Superseded {
            lost,
            ..Superseded::default()
        }
    }

    /// It has another name, or another client's version, now: what it would have replaced stays.
    fn keep_replaced(&mut self) {
        if let Some(more) = &mut self.more {
            more.replaced.clear();
        }
        self.forget_nothing();
    }

    /// The version that a file has under its new name.
    pub(in crate::vfs) fn renamed_to(&mut self, mut stored: Stored) {
        stored.maker = Maker::Us(Standing::Closed);
        self.place = Place::Holds(stored);
        // What may lie under the old name is for its removal.
        drop(self.take_lost());
        self.keep_replaced();
    }

    /// Another client's version takes the place.
    pub(in crate::vfs) fn taken(&mut self, stored: Stored) {
        self.place = Place::Holds(stored);
        drop(self.take_lost());
        self.keep_replaced();
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
