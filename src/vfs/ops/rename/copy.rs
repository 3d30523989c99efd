//! The copy of a renamed file on the server: what B2 has to have before the old name may go.

use std::sync::atomic::Ordering;

use crate::b2::{FileId, FileVersion, Lost, NewFile};
use crate::io::{self, Covered, Stamp};
use crate::vfs::ask::look::Hurry;
use crate::vfs::delta::Delta;
use crate::vfs::names::node::AUTO_TYPE;
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::rename::Ends;
use crate::vfs::state::{Leaves, Maker, Stored, Superseded};
use crate::vfs::versions::attributes::is_gone;
use crate::vfs::versions::between::twins_of;
use crate::vfs::versions::commit::lost_of;
use crate::vfs::versions::supersede::{Act, Deed};
use crate::vfs::{Error, Ino, Vfs};

/// What lies under the new name of a file.
pub(super) struct Over {
    pub(super) believed: Option<FileId>,
    /// It goes once the new one is there.
    pub(super) intermediate: Option<FileId>,
    /// What goes because it was replaced.
    pub(super) replaced: Vec<FileId>,
}

impl Over {
    /// What has been done to the new name.
    pub(super) fn deed(self, to: &str, made: FileId, lost: Vec<Lost>) -> Deed {
        Deed {
            full: to.to_owned(),
            act: Act::Content,
            made,
            believed: self.believed.into_iter().collect(),
            lost,
            twin: self.intermediate,
            replaced: self.replaced,
            delta: Delta::default(),
        }
    }
}

/// The version that is believed to lie under a name.
pub(super) fn believed_of(target: &Leaves) -> Option<FileId> {
    match target {
        Leaves::Name(believed) => believed.clone(),
        Leaves::Nothing => None,
    }
}

impl Vfs {
    /// Has B2 hold a stored file under its new name, too. Tells whether the version under the old name lives on there,
    /// or something newer does.
    pub(super) async fn store_under_new_name(
        &self,
        ends: &Ends,
        old: &Stored,
        target: &Leaves,
    ) -> Result<bool, Error> {
        let dirty = self.tree().get(ends.ino)?.content_dirty();
        let mut made = None;
        if dirty {
            // At once: its base lies under the old name.
            let stored = self.commit_moved(ends.ino, &ends.to, ends.came()).await?;
            made = stored.map(|id| (id, None));
        }
        let content_lives_on = made.is_none();
        let (made, twins) = match made {
            Some(made) => made,
            None => self.copy_moved(ends, old).await?,
        };
        let over = Over {
            believed: believed_of(target),
            intermediate: self.intermediate_of(ends.replaced),
            replaced: self.replaced_by_rename(ends.replaced),
        };
        self.check_later(over.deed(&ends.to, made, twins.into_iter().collect()));
        Ok(content_lives_on)
    }

    /// The version of a file that nobody has closed it in: it goes with its last reader.
    pub(super) fn intermediate_of(&self, file: Option<Ino>) -> Option<FileId> {
        let tree = self.tree();
        let stored = tree.get(file?).ok()?.object()?.state.stored()?;
        stored.intermediate().then(|| stored.id.clone())
    }

    /// What is to be stored under the new name; `None` when the file has no name any more.
    pub(super) fn moved_target(&self, tree: &Tree, ends: &Ends, old: &Stored) -> Option<NewFile> {
        let mut target = self.target_at(tree, ends.ino, &ends.to)?;
        Stamp::change(&mut target.info, |stamp| stamp.came = Some(ends.came()));
        let carried = tree.get(ends.ino).ok().and_then(|node| node.carried());
        let chosen = carried.is_some_and(|carried| carried.chosen);
        if extension(&ends.from) != extension(&ends.to) && old.ours() && !chosen {
            // The type was B2's guess from the old name (`.page.html.Xy3` of rsync, say).
            AUTO_TYPE.clone_into(&mut target.content_type);
        }
        Some(target)
    }

    /// One copy under the new name, without attributes that B2 has no room for; `None` when the file has no name any more.
    pub(super) async fn copy_once(
        &self,
        ends: &Ends,
        old: &Stored,
    ) -> Result<Option<FileVersion>, io::Error> {
        let Some(target) = self.moved_target(&self.tree(), ends, old) else {
            return Ok(None);
        };
        let covered = if ends.noreplace {
            Covered::GiveWay
        } else {
            Covered::PutOnTop
        };
        match self.shared.io.copy(&old.version(), &target, covered).await {
            Ok(copy) => Ok(Some(copy)),
            Err(error)
                if !is_gone(&error) && self.gave_attributes_up(ends.ino, &target.info, &error) =>
            {
                Box::pin(self.copy_once(ends, old)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn copy_moved(&self, ends: &Ends, old: &Stored) -> Result<(FileId, Option<Lost>), Error> {
        let copy = match self.copy_once(ends, old).await {
            Ok(copy) => copy.ok_or(Error::NotFound)?,
            Err(io::Error::Covered) if ends.noreplace => {
                let mut tree = self.tree();
                self.shows_again(&mut tree, ends.new_parent, &ends.new_name);
                return Err(Error::Exists);
            }
            Err(error) if is_gone(&error) => {
                self.look_again(ends.ino, &ends.from, old).await?;
                ends.replaced_meanwhile.store(true, Ordering::Relaxed);
                return Err(error.into());
            }
            Err(error) => {
                // Under the old name nothing has changed, and the new one must have nothing of it.
                if let Some(lost) = lost_copy(&error, old) {
                    self.forget_copy_later(&ends.to, lost);
                }
                return Err(error.into());
            }
        };
        let made = copy
            .id
            .clone()
            .ok_or_else(|| Error::Io("B2 made a copy without an id".to_owned()))?;
        if ends.noreplace {
            let deed = Deed {
                full: ends.to.clone(),
                act: Act::Free,
                made: made.clone(),
                believed: Vec::new(),
                lost: Vec::new(),
                twin: None,
                replaced: Vec::new(),
                delta: Delta::default(),
            };
            match self.take_back_locked(&deed, Hurry::Yes).await {
                Ok(false) => {}
                Ok(true) => return Err(Error::Exists),
                Err(error) => {
                    // Nothing is renamed then, so that the copy goes as one that may have been made.
                    let copy = Lost {
                        id: Some(made),
                        ..Lost::default()
                    };
                    self.forget_copy_later(&ends.to, copy);
                    return Err(error);
                }
            }
        }
        self.has_new_name(ends, old, &copy)?;
        Ok((made, twins_of(&copy)))
    }

    /// B2 has the file under its new name.
    pub(super) fn has_new_name(
        &self,
        ends: &Ends,
        old: &Stored,
        copy: &FileVersion,
    ) -> Result<(), Error> {
        let mut tree = self.tree();
        Self::follow_copy(&tree, ends.ino, old, copy)?;
        let mut stored = Stored::of(copy, Maker::Other).ok_or(Error::NotFound)?;
        stored.learn(old.sha1());
        self.note_age(&mut stored, old);
        self.record_by(&mut tree, ends.ino, copy, |state, _| {
            state.renamed_to(stored);
            Superseded::default()
        })?;
        Ok(())
    }
}

/// What a failed copy of this version may have made all the same.
pub(super) fn lost_copy(error: &io::Error, old: &Stored) -> Option<Lost> {
    let mut lost = lost_of(error)?.clone();
    lost.size = Some(old.size);
    lost.sha1 = old.sha1();
    Some(lost)
}

fn extension(name: &str) -> Option<&str> {
    let last = name.rsplit('/').next()?;
    last.rsplit_once('.').map(|(_, extension)| extension)
}
