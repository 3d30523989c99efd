//! Open directories: a handle keeps a snapshot of inode numbers, so that offsets stay valid while
//! entries come and go (telldir, seekdir); what is gone by then is left out.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::file::Handle;
use super::{DirEntry, Entry, Error, Fh, FileKind, Ino, Vfs};

/// An open directory.
pub(super) struct DirHandle {
    pub(super) ino: Ino,
    /// Inode numbers in the order of offsets, after `.` and `..`; `None` before the first read.
    snapshot: Mutex<Option<Arc<[Ino]>>>,
}

/// Offsets of `.` and `..` come first.
const DOTS: u64 = 2;

impl Vfs {
    /// Opens a directory; nothing is listed yet.
    #[allow(clippy::unused_async, reason = "opening may have to ask B2 one day")]
    pub async fn opendir(&self, ino: Ino) -> Result<Fh, Error> {
        {
            let mut tree = self.tree();
            tree.dir(ino)?;
            tree.get_mut(ino)?.opens += 1;
        }
        let handle = DirHandle {
            ino,
            snapshot: Mutex::new(None),
        };
        Ok(self.add_handle(Handle::Dir(handle)))
    }

    /// Makes sure that entries from `offset` on are at hand. Offset 0 starts anew (rewinddir).
    pub async fn readdir_fill(&self, fh: Fh, offset: u64) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        let have = dir
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if have && offset != 0 {
            return Ok(());
        }
        self.ensure_listed(dir.ino).await?;
        let entries = self.snapshot(dir.ino)?;
        *dir.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(entries);
        Ok(())
    }

    fn snapshot(&self, ino: Ino) -> Result<Arc<[Ino]>, Error> {
        let tree = self.tree();
        let dir = tree.dir(ino)?;
        let hashes = self.settings().enable_hashfiles && self.settings().list_hashfiles;
        let mut entries = Vec::with_capacity(dir.children.len() * if hashes { 2 } else { 1 });
        for (name, child) in &dir.children {
            // Before its file: `rm -r` removes in this order, and with the file its hash file is gone.
            if hashes
                && tree
                    .get(*child)
                    .is_ok_and(|node| node.meta.kind == FileKind::File)
                && has_hash_file(name)
                && !dir.children.contains_key(hash_name(name).as_str())
            {
                entries.push(child.hash_file());
            }
            entries.push(*child);
        }
        Ok(entries.into())
    }

    /// Gives entries from `offset` until `emit` breaks. With `plus`, `emit` gets attributes, and the
    /// kernel's reference count rises for each entry for which it continues, except `.` and `..`.
    pub fn readdir_emit(
        &self,
        fh: Fh,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry, Option<Entry>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        let snapshot = dir
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_default();
        let mut tree = self.tree();
        let parent = tree.get(dir.ino)?.parent;
        for (at, (ino, name)) in [(dir.ino, "."), (parent, "..")].into_iter().enumerate() {
            if (at as u64) < offset {
                continue;
            }
            let attr = tree.attr(ino).or_else(|_| tree.attr(Ino::ROOT))?;
            let entry = DirEntry {
                ino,
                next: at as u64 + 1,
                kind: FileKind::Directory,
                name: Arc::from(name),
            };
            let with = plus.then_some(Entry {
                attr,
                ttl: std::time::Duration::ZERO,
            });
            if emit(entry, with).is_break() {
                return Ok(());
            }
        }
        let first = usize::try_from(offset.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        for (at, ino) in snapshot.iter().enumerate().skip(first) {
            let real = ino.hashed().unwrap_or(*ino);
            let Ok(node) = tree.get(real) else { continue };
            if !node.linked || node.parent != dir.ino {
                continue;
            }
            let kind = node.meta.kind;
            let name = if ino.hashed().is_some() {
                let name = hash_name(&node.name);
                if self.shared.unlinked_hashes.contains(real)
                    || tree.child(dir.ino, &name).is_some()
                {
                    continue; // a real object of that name has come meanwhile, and wins
                }
                Arc::from(name)
            } else {
                Arc::clone(&node.name)
            };
            let entry = DirEntry {
                ino: *ino,
                next: at as u64 + DOTS + 1,
                kind,
                name,
            };
            if !plus {
                if emit(entry, None).is_break() {
                    return Ok(());
                }
                continue;
            }
            let with = self.entry(&mut tree, *ino)?;
            if emit(entry, Some(with)).is_break() {
                // The reference was counted although the entry did not fit.
                if ino.hashed().is_none()
                    && let Ok(node) = tree.get_mut(*ino)
                {
                    node.lookups = node.lookups.saturating_sub(1);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Closes a directory.
    pub fn releasedir(&self, fh: Fh) {
        self.release(fh);
    }

    /// Stores the directory's marker, where it has to have one, and pending attributes in it; waits
    /// for removals in it, and tells of one that failed.
    pub async fn fsyncdir(&self, fh: Fh) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        self.commit_marker(dir.ino).await?;
        let children: Vec<Ino> = {
            let tree = self.tree();
            let children = tree.dir(dir.ino)?.children.values().copied();
            children
                .filter(|child| tree.get(*child).is_ok_and(super::node::Node::pending))
                .collect()
        };
        for child in children {
            self.commit_attributes(child).await?;
        }
        self.removed_in(dir.ino).await
    }
}

fn has_hash_file(name: &str) -> bool {
    super::name::hashed_name(&hash_name(name)).is_some()
        && hash_name(name).len() <= super::name::NAME_MAX
}

fn hash_name(name: &str) -> String {
    format!("{name}{}", super::name::HASH_SUFFIX)
}
