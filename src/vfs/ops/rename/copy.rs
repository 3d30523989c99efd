//! The copy of a renamed file on the server: what B2 has to have before the old name may go.

use std::sync::atomic::Ordering;

use crate::b2::{FileId, Lost};
use crate::io::{self, Covered};
use crate::vfs::ask::look::Hurry;
use crate::vfs::delta::Delta;
use crate::vfs::ops::rename::Ends;
use crate::vfs::state::{Leaves, Maker, Stored, Superseded};
use crate::vfs::versions::attributes::is_gone;
use crate::vfs::versions::between::twins_of;
use crate::vfs::versions::commit::lost_of;
use crate::vfs::versions::supersede::{Act, Deed};
use crate::vfs::{Error, Vfs};

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
            let stored = self.commit_moved(ends.ino, &ends.to).await?;
            made = stored.map(|id| (id, None));
        }
        let content_lives_on = made.is_none();
        let made = match made {
            Some(made) => made,
            None => self.copy_moved(ends, old).await?,
        };
        let believed = match target {
            Leaves::Name(believed) => believed.clone(),
            Leaves::Nothing => None,
        };
        let twins = made.1;
        // What nobody has closed it in goes with its last reader.
        let intermediate = ends.replaced.and_then(|replaced| {
            let tree = self.tree();
            let stored = tree.get(replaced).ok()?.object()?.state.stored()?;
            stored.intermediate().then(|| stored.id.clone())
        });
        self.check_later(Deed {
            full: ends.to.clone(),
            act: Act::Content,
            made: made.0,
            believed: believed.into_iter().collect(),
            lost: twins.into_iter().collect(),
            twin: intermediate,
            delta: Delta::default(),
        });
        Ok(content_lives_on)
    }

    async fn copy_moved(&self, ends: &Ends, old: &Stored) -> Result<(FileId, Option<Lost>), Error> {
        let new_file = {
            let tree = self.tree();
            let mut target = self
                .target_at(&tree, ends.ino, &ends.to)
                .ok_or(Error::NotFound)?;
            if extension(&ends.from) != extension(&ends.to) && old.ours() {
                // The type was B2's guess from the old name (`.page.html.Xy3` of rsync, say).
                "b2/x-auto".clone_into(&mut target.content_type);
            }
            target
        };
        let covered = if ends.noreplace {
            Covered::GiveWay
        } else {
            Covered::PutOnTop
        };
        let source = old.version();
        let copied = self.shared.io.copy(&source, &new_file, covered);
        let copy = match copied.await {
            Ok(copy) => copy,
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
            Err(error) if self.gave_attributes_up(ends.ino, &new_file.info, &error) => {
                return Box::pin(self.copy_moved(ends, old)).await;
            }
            Err(error) => {
                // Under the old name nothing has changed, and the new one must have nothing of it.
                if let Some(lost) = lost_of(&error) {
                    let mut lost = lost.clone();
                    lost.size = Some(old.size);
                    lost.sha1 = old.sha1();
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
        let mut tree = self.tree();
        Self::follow_copy(&tree, ends.ino, old, &copy)?;
        let mut stored = Stored::of(&copy, Maker::Other).ok_or(Error::NotFound)?;
        stored.learn(old.sha1());
        self.record_by(&mut tree, ends.ino, &copy, |state, _| {
            state.renamed_to(stored);
            Superseded::default()
        })?;
        Ok((made, twins_of(&copy)))
    }
}

fn extension(name: &str) -> Option<&str> {
    let last = name.rsplit('/').next()?;
    last.rsplit_once('.').map(|(_, extension)| extension)
}
