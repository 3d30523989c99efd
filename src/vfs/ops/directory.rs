//! Open directories: a handle reads a list of inode numbers that only grows, so that offsets stay valid
//! while entries come and go (telldir, seekdir); what is gone by then is left out.

use parking_lot::{Mutex, MutexGuard};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::vfs::names::pages::Pages;
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::file::Handle;
use crate::vfs::ops::hashfile;
use crate::vfs::{DirEntry, Entry, Error, Fh, FileKind, HashFiles, Ino, Vfs, encoding};

/// An open directory.
pub(in crate::vfs) struct DirHandle {
    pub(in crate::vfs) ino: Ino,
    /// What is being read; `None` before the first read.
    pages: Mutex<Option<Arc<Pages>>>,
}

impl DirHandle {
    fn pages(&self) -> MutexGuard<'_, Option<Arc<Pages>>> {
        self.pages.lock()
    }
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
            pages: Mutex::default(),
        };
        Ok(self.add_handle(Handle::Dir(handle)))
    }

    /// Makes sure that entries from `offset` on are at hand. Offset 0 starts anew (rewinddir).
    pub async fn readdir_fill(&self, fh: Fh, offset: u64) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        let before = dir.pages().clone().filter(|_| offset != 0);
        let pages = match before {
            Some(pages) => pages,
            None => self.begin_reading(dir).await?,
        };
        let first = first_entry(offset);
        self.more_pages(&pages, first).await?;
        self.page_ahead(&pages, first);
        Ok(())
    }

    async fn begin_reading(&self, dir: &DirHandle) -> Result<Arc<Pages>, Error> {
        self.walk_to_listing(dir.ino).await?;
        let pages = if self.listing_fresh(dir.ino)? {
            let pages = Arc::new(Pages::new(dir.ino));
            self.finish_pages(&pages)?;
            pages
        } else {
            self.pages(dir.ino)?
        };
        *dir.pages() = Some(Arc::clone(&pages));
        Ok(pages)
    }

    /// Gives entries from `offset` until `emit` breaks. With `plus`, `emit` gets attributes, and the
    /// kernel's reference count rises for each entry for which it continues, except `.` and `..`.
    ///
    /// When none of the entries at hand is there any more, but others may follow, returns the offset to
    /// fill and go on at.
    pub fn readdir_emit(
        &self,
        fh: Fh,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry, Option<Entry>) -> ControlFlow<()>,
    ) -> Result<Option<u64>, Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        let Some(pages) = dir.pages().clone() else {
            return Ok(Some(0));
        };
        let mut emitted = false;
        let mut emit = |entry, with| {
            emitted = true;
            emit(entry, with)
        };
        if offset < DOTS && self.emit_dots(dir, offset, plus, &mut emit)?.is_break() {
            return Ok(None);
        }
        let mut first = first_entry(offset);
        loop {
            let some = pages.some(first);
            if some.is_empty() {
                let more = !emitted && !pages.done();
                return Ok(more.then_some(offset_of(first)));
            }
            let emitted = self.emit_some(dir, &some, first, offset, plus, &mut emit)?;
            if emitted.is_break() {
                return Ok(None);
            }
            first += some.len();
        }
    }

    fn emit_dots(
        &self,
        dir: &DirHandle,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry, Option<Entry>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let tree = self.tree();
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
                name: Arc::from(name.as_bytes()),
            };
            let with = plus.then_some(Entry {
                attr,
                ttl: std::time::Duration::ZERO,
            });
            if emit(entry, with).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives those of `some`, the entries from `first` on, that stand at `offset` or after it.
    fn emit_some(
        &self,
        dir: &DirHandle,
        some: &[Ino],
        first: usize,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry, Option<Entry>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut tree = self.tree();
        for (at, real) in (first..).zip(some) {
            let Ok(node) = tree.get(*real) else { continue };
            if !node.linked || node.parent != dir.ino {
                continue;
            }
            let kind = node.meta.kind;
            let name = Arc::clone(&node.name);
            let hash = (offset <= offset_of(at))
                .then(|| self.listed_hash_file(&tree, dir.ino, *real))
                .flatten();
            for (entry, next) in [hash, Some((*real, name))]
                .into_iter()
                .zip(offset_of(at) + 1..)
            {
                let Some((ino, name)) = entry else { continue };
                let with = if plus {
                    Some(self.entry(&mut tree, ino)?)
                } else {
                    None
                };
                let entry = DirEntry {
                    ino,
                    next,
                    kind,
                    name: encoding::for_kernel(&name, self.settings().names),
                };
                if emit(entry, with).is_continue() {
                    continue;
                }
                // The reference was counted although the entry did not fit.
                if plus
                    && ino.hashed().is_none()
                    && let Ok(node) = tree.get_mut(ino)
                {
                    node.lookups = node.lookups.saturating_sub(1);
                }
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The hash file of a child, where it has one and a listing shows it.
    fn listed_hash_file(&self, tree: &Tree, dir: Ino, child: Ino) -> Option<(Ino, Arc<str>)> {
        if self.settings().hash_files != HashFiles::Listed {
            return None;
        }
        let name = hashfile::name_for(tree.get(child).ok()?, self.settings().names)?;
        // A real object of that name wins.
        let free = tree.child(dir, &name).is_none() && !self.shared.unlinked_hashes.contains(child);
        free.then(|| (child.hash_file(), Arc::from(name)))
    }

    /// Closes a directory.
    pub fn releasedir(&self, fh: Fh) {
        self.release(fh);
    }

    /// Stores what was made in the directory and closed, its marker, where it has to have one, and pending
    /// attributes in it, with write-back everything closed below; waits for removals in it and for the look
    /// whether others came between, and tells of one that failed.
    pub async fn fsyncdir(&self, fh: Fh) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::Dir(dir) = &*handle else {
            return Err(Error::NotDirectory);
        };
        if self.settings().write_back.is_some() {
            self.store_all_below(dir.ino).await?;
        } else {
            self.store_all_in(dir.ino).await?;
        }
        if self.tree().get(dir.ino)?.pending_now() {
            self.commit_marker(dir.ino).await?;
        }
        self.removed_in(dir.ino).await
    }
}

/// The place among the entries to which an offset belongs: each entry has two, the first for its hash
/// file, which stands before it because `rm -r` removes in this order.
fn first_entry(offset: u64) -> usize {
    usize::try_from(offset.saturating_sub(DOTS) / 2).unwrap_or(usize::MAX)
}

/// The first offset of an entry.
fn offset_of(entry: usize) -> u64 {
    entry as u64 * 2 + DOTS
}
