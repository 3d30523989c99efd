//! New names: files, symbolic links, device nodes, directories.
//!
//! A created file reaches B2 when it is closed; what nobody will close (mknod, symlink) counts as closed
//! when it is made. A directory is a name only; its marker follows if it stays empty (DESIGN §3).

use std::ffi::OsStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::vfs::attr::{self, Meta};
use crate::vfs::delta::Changed;
use crate::vfs::names::dir::Dir;
use crate::vfs::names::name;
use crate::vfs::names::node::{Body, Need, Object};
use crate::vfs::ops::link::Twin;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::{FileState, Why};
use crate::vfs::{Entry, Error, FileKind, Ino, NewNode, Opened, Vfs};

/// What something new holds.
pub(in crate::vfs::ops) enum Fill {
    Bytes(Bytes),
    /// What another file holds now, and its attributes.
    Copy(Twin),
}

impl Vfs {
    /// Creates and opens a file; without O_EXCL in `flags`, one that is there already is opened.
    pub async fn create(
        &self,
        parent: Ino,
        name: &OsStr,
        new: NewNode,
        flags: i32,
    ) -> Result<(Entry, Opened), Error> {
        let component = self.new_name(parent, name, false)?;
        let ino = match self.find_real(parent, &component).await? {
            Some(_) if flags & libc::O_EXCL != 0 => return Err(Error::Exists),
            Some(ino) => ino,
            None => match self.add(parent, &component, new) {
                Err(Error::Exists) if flags & libc::O_EXCL == 0 => self
                    .find_real(parent, &component)
                    .await?
                    .ok_or(Error::NotFound)?,
                other => other?,
            },
        };
        let opened = self.open_known(ino, flags & !libc::O_EXCL).await?;
        let entry = self.entry(&mut self.tree(), ino);
        match entry {
            Ok(entry) => Ok((entry, opened)),
            Err(error) => {
                self.release(opened.fh);
                Err(error)
            }
        }
    }

    /// Makes an empty file, fifo, socket or device node, and stores it.
    pub async fn mknod(&self, parent: Ino, name: &OsStr, new: NewNode) -> Result<Entry, Error> {
        if matches!(new.kind, FileKind::Directory | FileKind::Symlink) {
            return Err(Error::Invalid);
        }
        self.make_stored(parent, name, new, Fill::Bytes(Bytes::new()))
            .await
    }

    /// Makes a symbolic link, and stores it.
    pub async fn symlink(
        &self,
        parent: Ino,
        name: &OsStr,
        target: &[u8],
        new: NewNode,
    ) -> Result<Entry, Error> {
        let new = NewNode {
            kind: FileKind::Symlink,
            mode: 0o777,
            ..new
        };
        let target = Bytes::copy_from_slice(target);
        self.make_stored(parent, name, new, Fill::Bytes(target))
            .await
    }

    /// Makes a directory. Its marker follows if it is still empty a little later.
    pub async fn mkdir(&self, parent: Ino, name: &OsStr, new: NewNode) -> Result<Entry, Error> {
        let component = self.new_name(parent, name, true)?;
        if self.find_real(parent, &component).await?.is_some() {
            return Err(Error::Exists);
        }
        let ino = self.add(
            parent,
            &component,
            NewNode {
                kind: FileKind::Directory,
                ..new
            },
        )?;
        let mut tree = self.tree();
        let made = tree.get(ino)?.meta;
        let default = Meta::default_for(FileKind::Directory, self.settings(), made.mtime);
        if !made.stored_alike(&default) {
            let dir = tree.dir_mut(ino)?;
            dir.delta().note(Changed::between(&made, &default));
            dir.marker.want(Need::Attributes);
        }
        self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        self.entry(&mut tree, ino)
    }

    /// Makes something that nobody will close, and stores it.
    pub(in crate::vfs::ops) async fn make_stored(
        &self,
        parent: Ino,
        name: &OsStr,
        new: NewNode,
        fill: Fill,
    ) -> Result<Entry, Error> {
        let component = self.new_name(parent, name, false)?;
        if self.find_real(parent, &component).await?.is_some() {
            return Err(Error::Exists);
        }
        let ino = self.add(parent, &component, new)?;
        let holder = {
            let mut tree = self.tree();
            let holder = self.content(&mut tree, ino)?;
            // As if somebody had it open to write: a drain must not take it for complete.
            tree.get_mut(ino)?.opens += 1;
            tree.object_mut(ino)?.writers += 1;
            holder
        };
        let mut result = match fill {
            Fill::Bytes(content) if content.is_empty() => Ok(()),
            Fill::Bytes(content) => {
                self.retry_after_commit(ino, || holder.write(0, content.clone()))
                    .await
            }
            Fill::Copy(twin) => self.fill_with(ino, &holder, &twin).await,
        };
        if let Ok(object) = self.tree().object_mut(ino) {
            object.writers = object.writers.saturating_sub(1);
        }
        if result.is_ok() {
            result = self.store_closed(ino, Why::Closed).await;
        }
        self.closed(ino);
        let mut tree = self.tree();
        // Another try in the background may have stored it meanwhile.
        let unstored = tree.get(ino)?.content_dirty();
        if let Err(error) = result.or_else(|error| if unstored { Err(error) } else { Ok(()) }) {
            // Nobody holds it, so nobody could store it later: it was not made. What a call of unknown outcome may
            // have made of it goes again.
            let lost = tree
                .get(ino)?
                .object()
                .map(|object| object.state.lost().to_vec());
            let place = tree.place(ino);
            tree.detach(ino);
            drop(tree);
            for (lost, place) in lost.into_iter().flatten().zip(place.iter().cycle()) {
                self.forget_copy_later(&self.full(place), lost);
            }
            return Err(error);
        }
        self.entry(&mut tree, ino)
    }

    /// Checks that a name may be made in a directory.
    pub(in crate::vfs::ops) fn new_name(
        &self,
        parent: Ino,
        name: &OsStr,
        directory: bool,
    ) -> Result<Arc<str>, Error> {
        self.writable()?;
        let full = self.directory_name(parent)?;
        let names = self.settings().names;
        name::new_component(name, &full, directory, names).map(Arc::from)
    }

    /// Checks that a file of this name, as B2 has it, may be made in a directory.
    pub(in crate::vfs::ops) fn new_component_in_b2(
        &self,
        parent: Ino,
        name: &str,
    ) -> Result<Arc<str>, Error> {
        self.writable()?;
        let parent = self.directory_name(parent)?;
        name::check_component(name, &parent, false, self.settings().names)?;
        Ok(Arc::from(name))
    }

    /// Makes an inode of something new in a directory.
    pub(in crate::vfs::ops) fn add(
        &self,
        parent: Ino,
        name: &Arc<str>,
        new: NewNode,
    ) -> Result<Ino, Error> {
        let mut tree = self.tree();
        if tree.child(parent, name).is_some() {
            return Err(Error::Exists);
        }
        if tree.path(parent).is_none() {
            return Err(Error::NotFound);
        }
        let new = attr::made_in(new, &tree.get(parent)?.meta);
        let meta = Meta::of_new(new, self.settings());
        let came = attr::came_into(&tree.get(parent)?.meta, meta.mtime);
        let body = if new.kind == FileKind::Directory {
            Body::Dir(Box::new(Dir::made_here()))
        } else {
            Body::Object(Object::new(FileState::made(attr::whole_ms(came)), None))
        };
        let ino = tree.insert(parent, Arc::clone(name), meta, body)?;
        tree.touch(ino);
        tree.note_pending(ino);
        self.gained_child(&mut tree, parent, ino, came);
        Ok(ino)
    }
}
