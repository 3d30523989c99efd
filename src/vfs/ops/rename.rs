//! Renames of files: a copy on the server, then removal of the source (API §17.1), so that an interrupted rename leaves
//! both names, never neither. A file that is not in B2 yet is simply stored under its last name. Directories are
//! `rename_dir`'s.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;

use crate::b2::Action;
use crate::vfs::ask::look::Hurry;
use crate::vfs::attr::{self, Nanos};
use crate::vfs::names::name;
use crate::vfs::ops::halt::Halted;
use crate::vfs::ops::remove::{Departure, Gone};
use crate::vfs::pathlock::{Claim, PathGuard};
use crate::vfs::state::{Leaves, Why};
use crate::vfs::versions::removal::{Outgoing, Removal};
use crate::vfs::{Error, Ino, Vfs};

mod copy;
mod later;
pub(in crate::vfs) mod moves;

/// Both ends of a rename, looked up and locked.
pub(in crate::vfs) struct Ends {
    pub(in crate::vfs) ino: Ino,
    pub(in crate::vfs) replaced: Option<Ino>,
    /// Nothing may be replaced.
    pub(in crate::vfs) noreplace: bool,
    parent: Ino,
    pub(in crate::vfs) new_parent: Ino,
    pub(in crate::vfs) new_name: Arc<str>,
    /// Full names; a directory's ends with `/`.
    pub(in crate::vfs) from: String,
    pub(in crate::vfs) to: String,
    /// The version that was to be copied was gone, and what has its name now is known.
    replaced_meanwhile: AtomicBool,
    /// When it is done.
    at: Nanos,
}

impl Ends {
    /// When the new name gets its content: milliseconds since 1970.
    fn came(&self) -> u64 {
        attr::whole_ms(self.at)
    }

    fn old_name(&self) -> Arc<str> {
        let name = self.from.trim_end_matches('/').rsplit('/').next();
        Arc::from(name.unwrap_or_default())
    }
}

impl Vfs {
    /// Renames; `flags` as of renameat2(2): RENAME_NOREPLACE is honoured, others are refused.
    pub async fn rename(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<(), Error> {
        /// Others may replace the file again and again.
        const TRIES: u32 = 8;
        self.writable()?;
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(Error::Invalid);
        }
        self.may_remove()?;
        let noreplace = flags & libc::RENAME_NOREPLACE != 0;
        let mut tries = 0;
        loop {
            let found = self.ends(parent, name, new_parent, new_name, noreplace);
            let Some(ends) = found.await?.map(Arc::new) else {
                return Ok(());
            };
            let directory = ends.from.ends_with('/');
            let claims = if directory {
                vec![
                    Claim::subtree(ends.from.clone()),
                    Claim::subtree(ends.to.clone()),
                ]
            } else {
                vec![Claim::name(ends.from.clone()), Claim::name(ends.to.clone())]
            };
            // What is being sent of a file that is replaced is not waited for.
            let halted = ends.replaced.and_then(|replaced| self.halt(replaced));
            let moving = self.shared.moves.of(ends.ino);
            let guard = if directory || noreplace {
                self.lock_settled(claims).await
            } else {
                self.shared.paths.lock(claims).await
            };
            if !self.still_so(&ends) {
                self.rename_held(ends.ino, moving.as_deref())?;
                continue;
            }
            let result = if directory {
                self.rename_directory(&ends, guard).await
            } else {
                self.rename_file(&ends, guard, halted).await
            };
            tries += 1;
            if result.is_err() && ends.replaced_meanwhile.load(Ordering::Relaxed) && tries < TRIES {
                continue;
            }
            return result;
        }
    }

    /// Looks both names up and refuses what cannot be; `None` when both are the same.
    async fn ends(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        noreplace: bool,
    ) -> Result<Option<Ends>, Error> {
        let ino = self.find(parent, name).await?;
        if ino.hashed().is_some() {
            return Err(Error::NotPermitted);
        }
        let directory = self.tree().get(ino)?.dir().is_some();
        let new_parent_full = self.directory_name(new_parent)?;
        let names = self.settings().names;
        let component = name::new_component(new_name, &new_parent_full, directory, names)?;
        let component: Arc<str> = Arc::from(component);
        let replaced = self.find_real(new_parent, &component).await?;
        if noreplace && replaced.is_some() {
            return Err(Error::Exists);
        }
        if replaced == Some(ino) {
            return Ok(None);
        }
        self.check_key(ino)?;
        let tree = self.tree();
        if directory && tree.is_below(new_parent, ino) {
            return Err(Error::Invalid);
        }
        if let Some(replaced) = replaced {
            match (directory, tree.get(replaced)?.dir().is_some()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => {}
            }
        }
        let from = self.full(&tree.path(ino).ok_or(Error::NotFound)?);
        let slash = if directory { "/" } else { "" };
        let to = format!("{new_parent_full}{component}{slash}");
        if let Some(carried) = tree.get(ino)?.carried_info() {
            name::check_renamed(&from, &to, carried)?;
        }
        Ok(Some(Ends {
            ino,
            replaced,
            noreplace,
            parent,
            new_parent,
            to,
            new_name: component,
            from,
            replaced_meanwhile: AtomicBool::new(false),
            at: attr::came_into(&tree.get(new_parent)?.meta, attr::now()),
        }))
    }

    fn still_so(&self, ends: &Ends) -> bool {
        let tree = self.tree();
        let path = |ino| tree.path(ino).map(|path| self.full(&path));
        let slash = if ends.from.ends_with('/') { "/" } else { "" };
        path(ends.ino).as_ref() == Some(&ends.from)
            && path(ends.new_parent)
                .is_some_and(|parent| format!("{parent}{}{slash}", ends.new_name) == ends.to)
            && tree.child(ends.new_parent, &ends.new_name) == ends.replaced
    }

    async fn rename_file(
        &self,
        ends: &Arc<Ends>,
        guard: PathGuard,
        halted: Option<Halted>,
    ) -> Result<(), Error> {
        let is_read = |replaced| halted.is_none() || self.is_open_to_read(replaced);
        let read = ends.replaced.filter(|replaced| is_read(*replaced));
        if let Some(replaced) = read {
            self.keep_readable(replaced, &ends.to).await?;
        }
        let before = self.changes_now(ends.ino)?;
        let result = self.rename_file_over(ends, before, guard).await;
        if result.is_err() {
            self.has_not_changed(ends.ino, before);
        }
        let remains = ends
            .replaced
            .is_some_and(|replaced| self.tree().path(replaced).is_some());
        match (halted, ends.replaced) {
            // Dropped, it is sent after all.
            (_, Some(replaced)) if remains => self.stays(replaced),
            (Some(halted), _) => halted.gone(read.is_some()),
            (None, _) => {}
        }
        result
    }

    /// A rename is a change of the file. Its time is set before the file is stored under the new name, so that B2 has the
    /// one that is shown.
    fn changes_now(&self, ino: Ino) -> Result<(Nanos, Nanos), Error> {
        let now = attr::now();
        let mut tree = self.tree();
        let before = std::mem::replace(&mut tree.get_mut(ino)?.meta.ctime, now);
        Ok((before, now))
    }

    fn has_not_changed(&self, ino: Ino, (before, set): (Nanos, Nanos)) {
        if let Ok(node) = self.tree().get_mut(ino)
            && node.meta.ctime == set
        {
            node.meta.ctime = before;
        }
    }

    async fn rename_file_over(
        &self,
        ends: &Arc<Ends>,
        times: (Nanos, Nanos),
        guard: PathGuard,
    ) -> Result<(), Error> {
        if ends.noreplace {
            self.prepare_to_give_way(ends).await?;
        }
        let (state, target) = {
            let tree = self.tree();
            let object = tree.get(ends.ino)?.object().ok_or(Error::IsDirectory)?;
            // What lies under the new name from now on, for later removals.
            let target = match ends.replaced {
                None => Leaves::Nothing,
                Some(replaced) => {
                    let replaced = tree.get(replaced)?.object().ok_or(Error::IsDirectory)?;
                    replaced.state.leaves()
                }
            };
            (object.state.clone(), target)
        };
        if let Some(place) = self.rename_place(ends).await {
            return self.rename_later(ends, &target, times, guard, place);
        }
        if let Some(old) = state.stored() {
            let content_lives_on = self.store_under_new_name(ends, old, &target).await?;
            let removal = Removal::Renamed {
                stored: old.clone(),
                content_lives_on,
                lost: state.lost().to_vec(),
            };
            return self.leave(ends, removal, guard).await;
        }
        let Leaves::Name(believed) = state.leaves() else {
            self.moved_unstored(ends.ino, target, ends.replaced, ends.came())?;
            return self.edit(ends);
        };
        // It was renamed over a stored file before it was stored itself, or may be stored although nobody has said
        // so: its old name must not come back when it leaves. But what goes is replaced first.
        if self
            .commit_moved(ends.ino, &ends.to, ends.came())
            .await?
            .is_none()
        {
            self.moved_unstored(ends.ino, target, ends.replaced, ends.came())?;
        }
        let removal = Removal::Name(Outgoing {
            believed,
            lost: state.lost().to_vec(),
            ..Outgoing::default()
        });
        self.leave(ends, removal, guard).await
    }

    /// Nothing may be replaced, also nothing that was not seen here. What is unsent is stored under the old name, for a
    /// copy can be taken back; what B2 has nothing of costs a look at the new name.
    async fn prepare_to_give_way(&self, ends: &Ends) -> Result<(), Error> {
        let (leaves, dirty) = {
            let tree = self.tree();
            let node = tree.get(ends.ino)?;
            let object = node.object().ok_or(Error::IsDirectory)?;
            (object.state.leaves(), node.content_dirty())
        };
        if leaves != Leaves::Nothing {
            if dirty {
                let why = Why::Provisional;
                self.commit_content_at(ends.ino, &ends.from, why).await?;
            }
            return Ok(());
        }
        let seen = self.look(&ends.to, Hurry::Yes).await?;
        let top = seen.rows.first();
        if top.is_some_and(|top| top.action == Action::Upload) {
            let mut tree = self.tree();
            self.shows_again(&mut tree, ends.new_parent, &ends.new_name);
            return Err(Error::Exists);
        }
        Ok(())
    }

    /// Moves a file in the tree and has its old name removed from B2, in the background unless a removal has failed
    /// lately.
    async fn leave(
        &self,
        ends: &Ends,
        removal: Removal,
        mut guard: PathGuard,
    ) -> Result<(), Error> {
        let place = self.removal_place().await;
        let departure = Departure::begin(self, &ends.from);
        self.edit(ends)?;
        if let Some(place) = place {
            departure.goes_on();
            guard.keep_only(&ends.from);
            let gone = Gone {
                parent: ends.parent,
                name: ends.old_name(),
                full: ends.from.clone(),
                removal,
                guard,
            };
            self.remove_later(gone, place);
            return Ok(());
        }
        match self.carry_out(&ends.from, &removal, Hurry::Yes).await {
            Ok(()) => {}
            Err(Error::Stale) => {
                // What was renamed has its new name; the old one is another client's, and stays.
                drop(departure);
                let full = self.within(&ends.from);
                warn!(
                    "{full:?}: another client has written it meanwhile; its version was not removed"
                );
                self.shared
                    .removals
                    .failures
                    .tell_of(&ends.from, Error::Stale);
                self.shows_again(&mut self.tree(), ends.parent, &ends.old_name());
                return Ok(());
            }
            Err(error) => {
                drop(departure);
                self.both_remain(ends);
                return Err(error);
            }
        }
        departure.ended();
        self.shared.removals.failures.recovered(&ends.from);
        Ok(())
    }

    /// The rename in the tree.
    pub(in crate::vfs) fn edit(&self, ends: &Ends) -> Result<(), Error> {
        let mut tree = self.tree();
        if let Some(replaced) = ends.replaced {
            self.withdraw_misplaced(&tree, replaced);
        }
        tree.relocate(ends.ino, ends.new_parent, Arc::clone(&ends.new_name))?;
        let node = tree.get_mut(ends.ino)?;
        if node.dir().is_some() {
            node.meta.ctime = attr::now();
        }
        tree.note_pending(ends.ino);
        self.lost_child(&mut tree, ends.parent);
        self.gained_child(&mut tree, ends.new_parent, ends.ino, ends.at);
        Ok(())
    }

    /// The copies are there but the source could not be removed: B2 has both names, which the
    /// kernel, told of an error, would not expect.
    pub(in crate::vfs) fn both_remain(&self, ends: &Ends) {
        for (parent, name) in [
            (ends.parent, ends.old_name()),
            (ends.new_parent, Arc::clone(&ends.new_name)),
        ] {
            if let Ok(dir) = self.tree().dir_mut(parent) {
                dir.forget_listing();
            }
            self.shared.forgets.entry(parent, name);
        }
    }
}
