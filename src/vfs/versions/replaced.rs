//! Versions that go because this mount has replaced them, where the user wants that (`overwrite`, `drop_versions_within`).
//!
//! Which ones, `state` says: none before somebody has closed the file as it is stored now. Each was the version that
//! was believed in when it was replaced, and goes by its id once the look that follows every deed has shown it under what this
//! mount has made, with nothing of others between (`in_a_row`); what somebody reads goes later, and is looked at again (`purge`).
//! Where B2 refuses that again and again, nothing more is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use log::{debug, warn};

use super::checks::Chain;
use super::removal::now_ms;
use super::supersede::{Act, Deed};
use crate::b2::{self, Action, FileId};
use crate::vfs::ask::look::{Hurry, Versions};
use crate::vfs::delta::Delta;
use crate::vfs::state::{Leaves, Replacing, Stored};
use crate::vfs::{Error, Ino, Overwrite, Vfs};

/// How often B2 has refused in a row to delete what was replaced.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Refusals(AtomicU32);

impl Refusals {
    /// After so many, it is not asked any more: a rule of the bucket or of the key, not of one file.
    const MOST: u32 = 3;

    /// One more; whether it was the first in a row, and whether it was the last that is borne.
    fn one_more(&self) -> (bool, bool) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before == 0, before + 1 == Self::MOST)
    }

    /// One was deleted.
    pub(super) fn none(&self) {
        if !self.too_many() {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Nothing more is deleted.
    pub(in crate::vfs) fn too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::MOST
    }
}

impl Vfs {
    /// Which versions go once they are replaced.
    pub(in crate::vfs) fn replacing(&self) -> Replacing {
        let settings = self.settings();
        let within_ms = settings.drop_versions_within.as_millis();
        let rule = Replacing {
            all: settings.overwrite == Overwrite::Replace,
            within_ms: u64::try_from(within_ms).unwrap_or(u64::MAX),
            now_ms: now_ms(),
        };
        if !rule.any() || self.shared.refusals.too_many() || !self.shared.client.may("deleteFiles")
        {
            return Replacing::default();
        }
        rule
    }

    /// B2 does not let a replaced version go: told once, and once more when nothing is deleted from now on.
    pub(super) fn deletion_was_refused(&self, full: &str, error: &b2::Error) {
        let full = self.within(full);
        match self.shared.refusals.one_more() {
            (_, true) => warn!(
                "{full:?}: the version that was replaced stays, and so do all others from now on: {error}"
            ),
            (true, _) => warn!("{full:?}: the version that was replaced stays: {error}"),
            _ => debug!("{full:?}: the version that was replaced stays: {error}"),
        }
    }

    /// The versions that go when a file is renamed over another one.
    pub(in crate::vfs) fn replaced_by_rename(&self, replaced: Option<Ino>) -> Vec<FileId> {
        let rule = self.replacing();
        let tree = self.tree();
        let object = replaced.and_then(|replaced| tree.get(replaced).ok()?.object());
        let object = object.filter(|_| rule.any());
        object.map_or_else(Vec::new, |object| object.state.goes_when_replaced(rule))
    }

    /// A file of which B2 has nothing yet is renamed: it is only stored under its last name.
    pub(in crate::vfs) fn moved_unstored(
        &self,
        ino: Ino,
        target: Leaves,
        over: Option<Ino>,
        now: u64,
    ) -> Result<(), Error> {
        let replaced = self.replaced_by_rename(over);
        let mut tree = self.tree();
        tree.object_mut(ino)?.state.moved(target, replaced, now);
        Ok(())
    }

    /// A file was closed for good, and nothing of it is unsent: what the stored version has replaced may go. The tree's lock must
    /// not be held.
    pub(in crate::vfs) fn closed_for_good(&self, ino: Ino) {
        let (full, made, replaced) = {
            let mut tree = self.tree();
            let Some(full) = tree.path(ino).map(|path| self.full(&path)) else {
                return;
            };
            let Ok(object) = tree.object_mut(ino) else {
                return;
            };
            let replaced = object.state.take_replaced();
            let made = object.state.stored().map(|stored| stored.id.clone());
            let Some(made) = made.filter(|_| !replaced.is_empty()) else {
                return;
            };
            (full, made, replaced)
        };
        if self.shared.checks.also_replaces(&full, &made, &replaced) {
            return;
        }
        self.check_later(Deed {
            full,
            act: Act::Content,
            made,
            believed: replaced.clone(),
            lost: Vec::new(),
            twin: None,
            replaced,
            delta: Delta::default(),
        });
    }

    /// Deletes what a chain of deeds has replaced, as far as nobody else came between.
    pub(super) async fn delete_replaced(&self, chain: &Chain, mut seen: Arc<Versions>) {
        if chain.replaced.is_empty() || self.shared.refusals.too_many() {
            return;
        }
        let full = &chain.top.full;
        let unseen = |id: &FileId| seen.position(id).is_none();
        if !seen.complete && chain.replaced.iter().any(unseen) {
            match self.look_at_all(full, Hurry::No).await {
                Ok(all) => seen = all,
                Err(error) => debug!("{full:?}: replaced versions may stay: {error}"),
            }
        }
        let own = |id: &FileId| {
            let made = self.shared.io.is_own(id) || chain.made(id);
            made || self.is_lost_of(&chain.top, &seen, id)
        };
        for id in in_a_row(&seen, chain, own) {
            self.purge_under(full, &id, &chain.top.made);
        }
    }

    /// A copy of a version under another name is no younger than that, where age decides.
    pub(in crate::vfs) fn note_age(&self, copy: &mut Stored, source: &Stored) {
        copy.as_old_as(source, self.replacing());
    }
}

/// What a chain has replaced and lies right under what it has made, with nothing between but versions of this mount, the oldest
/// first, so that nothing of it shows if another client deletes from above meanwhile.
fn in_a_row(seen: &Versions, chain: &Chain, own: impl Fn(&FileId) -> bool) -> Vec<FileId> {
    let Some(made) = seen.position(&chain.top.made) else {
        return Vec::new();
    };
    let ids = seen.rows[made + 1..].iter().map_while(|row| {
        let id = row.id.as_ref().filter(|_| row.action == Action::Upload)?;
        (chain.replaced.contains(id) || own(id)).then_some(id)
    });
    let mut going: Vec<FileId> = ids
        .filter(|id| chain.replaced.contains(*id))
        .cloned()
        .collect();
    going.reverse();
    going
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b2::{ContentSha1, FileInfo, FileName, FileVersion, Sha1};

    fn id(number: u32) -> FileId {
        FileId::new(&format!("4_z1_f{number}"))
    }

    #[test]
    fn only_what_lies_right_under_what_was_made_here_goes() {
        use Action::{Hide, Upload};
        // 100 and above are this mount's; 1 and 2 were replaced.
        let own = |one: &FileId| (100..110).any(|number| *one == id(number));
        let going = |rows: &[(u32, Action)]| {
            let rows = rows.iter().map(|(number, action)| FileVersion {
                id: Some(id(*number)),
                name: FileName::listed("f"),
                action: action.clone(),
                size: 3,
                sha1: ContentSha1::Verified(Sha1([7; 20])),
                content_type: None,
                info: FileInfo::new(),
                uploaded_ms: 1,
                customer_key: false,
                twins: false,
            });
            let seen = Versions {
                rows: rows.collect(),
                complete: true,
            };
            let deed = Deed {
                full: "f".to_owned(),
                act: Act::Content,
                made: id(100),
                believed: vec![id(1)],
                lost: Vec::new(),
                twin: None,
                replaced: vec![id(1), id(2)],
                delta: Delta::default(),
            };
            in_a_row(&seen, &Chain::new(deed), own)
        };
        assert_eq!(going(&[(100, Upload), (1, Upload)]), [id(1)]);
        let all = [
            (100, Upload),
            (2, Upload),
            (101, Upload),
            (1, Upload),
            (7, Upload),
        ];
        assert_eq!(going(&all), [id(1), id(2)]);
        // Another client's version, or removal, came between.
        assert_eq!(
            going(&[(100, Upload), (2, Upload), (7, Upload), (1, Upload)]),
            [id(2)]
        );
        assert!(going(&[(100, Upload), (7, Hide), (1, Upload)]).is_empty());
        // What came later is no matter, but what was made must be there.
        assert_eq!(going(&[(7, Upload), (100, Upload), (1, Upload)]), [id(1)]);
        assert!(going(&[(1, Upload)]).is_empty());
        assert!(going(&[(1, Upload), (100, Upload)]).is_empty());
    }

    #[test]
    fn after_three_refusals_in_a_row_nothing_more_is_asked() {
        let refusals = Refusals::default();
        assert_eq!(refusals.one_more(), (true, false));
        refusals.none();
        assert_eq!(refusals.one_more(), (true, false));
        assert_eq!(refusals.one_more(), (false, false));
        assert!(!refusals.too_many());
        assert_eq!(refusals.one_more(), (false, true));
        refusals.none();
        assert!(refusals.too_many());
    }
}
