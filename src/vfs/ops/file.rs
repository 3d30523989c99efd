//! Open files: handles, opening, closing.
//!
//! All handles of one inode share one `io::Content`. It exists while the file is open or holds
//! unsent bytes; its base version stays pinned while the file is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::b2::{FileId, FileVersion, NewFile};
use crate::io::{Content, Cursor, Owner};
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::directory::DirHandle;
use crate::vfs::ops::hashfile::HashHandle;
use crate::vfs::queue::Urgency;
use crate::vfs::state::Why;
use crate::vfs::{Error, Fh, FileKind, Ino, Opened, Shared, Vfs};

/// A flag of open that the kernel sets when it runs a program (`__FMODE_EXEC`); open(2) lets nobody set it.
const RUNS: i32 = 0x20;

/// What an `Fh` stands for.
pub(in crate::vfs) enum Handle {
    File(Box<FileHandle>),
    Hash(HashHandle),
    Dir(DirHandle),
}

/// An open file.
pub(in crate::vfs) struct FileHandle {
    pub(in crate::vfs::ops) ino: Ino,
    pub(in crate::vfs::ops) content: Arc<Content>,
    pub(in crate::vfs::ops) cursor: Cursor,
    pub(in crate::vfs::ops) write: bool,
    /// It was opened to be read, perhaps to be written, too.
    pub(in crate::vfs::ops) read: bool,
    /// A program is run from it, as long as it is open.
    runs: bool,
    /// Counts the beginnings and ends of writes.
    pub(in crate::vfs::ops) writes: AtomicU64,
}

impl Handle {
    /// Whether a version is being read by it.
    pub(in crate::vfs) fn reads(&self, id: &FileId) -> bool {
        self.base().is_some_and(|base| base == *id)
    }

    /// The version that is being read by it.
    fn base(&self) -> Option<FileId> {
        let content = match self {
            Self::File(file) => &file.content,
            Self::Hash(hash) => &hash.content,
            Self::Dir(_) => return None,
        };
        content.base().map(|version| version.id)
    }
}

/// Tells `io` where a content goes.
struct FileOwner {
    shared: Weak<Shared>,
    ino: Ino,
}

impl Owner for FileOwner {
    fn target(&self) -> Option<NewFile> {
        let vfs = Vfs {
            shared: self.shared.upgrade()?,
        };
        let tree = vfs.tree();
        vfs.target(&tree, self.ino)
    }

    fn please_commit(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared
                .queue
                .push(self.ino, std::time::Duration::ZERO, Urgency::Now);
        }
    }

    fn withdraw(&self, version: &FileVersion) {
        if let Some(shared) = self.shared.upgrade() {
            Vfs { shared }.withdraw_later(version.clone());
        }
    }
}

impl Vfs {
    /// Opens a file; `flags` as of open(2): access mode, O_TRUNC. Nothing is downloaded.
    pub async fn open(&self, ino: Ino, flags: i32) -> Result<Opened, Error> {
        self.ask_at_open(ino).await?;
        self.open_known(ino, flags).await
    }

    /// Opens a file that was looked up, or made, by the same request: B2 is not asked again.
    pub(in crate::vfs) async fn open_known(&self, ino: Ino, flags: i32) -> Result<Opened, Error> {
        let write = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let truncate = flags & libc::O_TRUNC != 0;
        if let Some(file) = ino.hashed() {
            if write && truncate {
                return Err(self.replace_hash(file));
            }
            return self.open_hash(file, write || truncate);
        }
        if write || truncate {
            self.writable()?;
        }
        if truncate && !write && self.is_running(ino) {
            return Err(Error::Running);
        }
        if truncate {
            self.check_key_to_empty(ino)?;
        } else {
            self.check_key(ino)?;
        }
        let (content, behind) = {
            let mut tree = self.tree();
            let content = self.content(&mut tree, ino)?;
            let node = tree.get_mut(ino)?;
            node.opens += 1;
            let object = node.object_mut().ok_or(Error::IsDirectory)?;
            object.writers += u32::from(write);
            (content, object.kernel_behind)
        };
        let fh = self.add_handle(Handle::File(Box::new(FileHandle {
            ino,
            content,
            cursor: Cursor::default(),
            write,
            read: flags & libc::O_ACCMODE != libc::O_WRONLY,
            runs: flags & RUNS != 0,
            writes: AtomicU64::new(0),
        })));
        let keep_cache = !behind || self.bring_kernel_up(ino).await;
        if truncate && let Err(error) = self.truncate_at_open(ino).await {
            self.release(fh);
            return Err(error);
        }
        Ok(Opened { fh, keep_cache })
    }

    /// Whether somebody can read a file by a handle.
    pub(in crate::vfs) fn is_open_to_read(&self, ino: Ino) -> bool {
        let handles = self.shared.handles.lock();
        let mut all = handles.values();
        all.any(|handle| matches!(&**handle, Handle::File(file) if file.ino == ino && file.read))
    }

    /// Whether a program is run from a file. The kernel refuses to open that for writing; but an O_TRUNC
    /// without a right to write reaches b2fuse first, and would empty the file under the program.
    fn is_running(&self, ino: Ino) -> bool {
        let handles = self.shared.handles.lock();
        handles
            .values()
            .any(|handle| matches!(&**handle, Handle::File(file) if file.ino == ino && file.runs))
    }

    async fn truncate_at_open(&self, ino: Ino) -> Result<(), Error> {
        let written = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            node.content_dirty()
                && !node
                    .object()
                    .is_some_and(|object| object.state.only_opened())
        };
        self.truncate_open(ino, 0).await?;
        self.tree().object_mut(ino)?.state.emptied(written);
        Ok(())
    }

    fn open_hash(&self, file: Ino, change: bool) -> Result<Opened, Error> {
        if change {
            return Err(Error::Access);
        }
        let mut tree = self.tree();
        let content = self.content(&mut tree, file)?;
        tree.get_mut(file)?.opens += 1;
        drop(tree);
        let fh = self.add_handle(Handle::Hash(HashHandle::new(file, content)));
        Ok(Opened {
            fh,
            keep_cache: false,
        })
    }

    /// The content of a file, made from its version where nobody has it open.
    pub(in crate::vfs) fn content(&self, tree: &mut Tree, ino: Ino) -> Result<Arc<Content>, Error> {
        let object = tree.object_mut(ino)?;
        if let Some(content) = &object.content {
            return Ok(Arc::clone(content));
        }
        let content = match object.state.stored() {
            Some(stored) => self.shared.io.stored(stored.version()),
            None => self.shared.io.empty(),
        };
        content.set_owner(Arc::new(FileOwner {
            shared: Arc::downgrade(&self.shared),
            ino,
        }));
        object.content = Some(Arc::clone(&content));
        let unstored = object.state.stored().is_none();
        if unstored {
            // It is dirty from now on, although it is empty.
            tree.note_pending(ino);
        }
        Ok(content)
    }

    /// close(2) of one descriptor: when it succeeds, B2 has the bytes, or with write-back gets them soon.
    ///
    /// While nothing has been written, there are none. Shells close a copy of the descriptor before
    /// the command writes (`echo x > f`): storing the emptied file then would lose the old content
    /// to a crash, show others an empty file, and cost an upload. The last close stores it.
    pub async fn flush(&self, fh: Fh) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        match &*handle {
            Handle::File(file) if file.write && !self.only_opened(file.ino) => {
                let before = file.writes.load(Ordering::Relaxed);
                self.store_closed(file.ino, Why::Flushed(fh)).await?;
                let written_on = file.writes.load(Ordering::Relaxed) != before;
                self.flushed(file.ino, fh, written_on);
                Ok(())
            }
            Handle::File(file) if file.write && self.settings().write_back.is_some() => {
                // Thousands of empty files take memory, too.
                self.retry_after_commit(file.ino, || file.content.pay())
                    .await
            }
            _ => Ok(()),
        }
    }

    /// What is stored is what a handle was closed with, though something else may have stored it; unless
    /// the handle was written to meanwhile, by another copy of its descriptor.
    fn flushed(&self, ino: Ino, fh: Fh, written_on: bool) {
        let mut tree = self.tree();
        let Ok(node) = tree.get_mut(ino) else { return };
        // With write-back, what was closed may still be on its way.
        let stored = self.settings().write_back.is_none() || !node.content_dirty();
        if let Some(object) = node.object_mut().filter(|_| stored) {
            object.state.flushed(fh, written_on);
        }
    }

    fn only_opened(&self, ino: Ino) -> bool {
        let tree = self.tree();
        tree.get(ino).is_ok_and(|node| {
            node.object()
                .is_some_and(|object| object.state.only_opened())
        })
    }

    /// Stores content and, without `datasync`, attributes.
    pub async fn fsync(&self, fh: Fh, datasync: bool) -> Result<(), Error> {
        let handle = self.handle(fh)?;
        let Handle::File(file) = &*handle else {
            return Ok(());
        };
        let why = if file.write {
            Why::Provisional
        } else {
            Why::Closed
        };
        self.commit_content(file.ino, why).await?;
        self.has_arrived(file.ino).await?;
        if !datasync {
            self.commit_attributes(file.ino).await?;
        }
        Ok(())
    }

    /// Last close of a handle; never fails, never waits for B2.
    pub fn release(&self, fh: Fh) {
        let handle = self.shared.handles.lock().remove(&fh);
        if let Some(handle) = handle {
            let base = handle.base();
            if let Handle::File(file) = &*handle
                && file.write
            {
                self.confirm(file.ino, fh);
                self.closed_for_good(file.ino);
            }
            self.closed(match &*handle {
                Handle::File(file) => file.ino,
                Handle::Hash(hash) => hash.file,
                Handle::Dir(dir) => dir.ino,
            });
            if let Some(base) = base {
                self.resume_purges(&base);
            }
        }
    }

    /// A writer has closed the file for good: what it has stored is a version to keep, and what its
    /// opening alone has changed is stored as well.
    fn confirm(&self, ino: Ino, fh: Fh) {
        let mut tree = self.tree();
        let Ok(node) = tree.get_mut(ino) else { return };
        let dirty = node.content_dirty();
        let Some(object) = node.object_mut() else {
            return;
        };
        object.writers = object.writers.saturating_sub(1);
        if object.writers == 0 {
            self.shared.growing.closed(ino);
        }
        if object.state.released(fh, dirty) {
            self.store_later(&tree, ino);
        }
    }

    pub(in crate::vfs) fn closed(&self, ino: Ino) {
        let mut tree = self.tree();
        let Ok(node) = tree.get_mut(ino) else { return };
        node.opens = node.opens.saturating_sub(1);
        if node.opens > 0 {
            return;
        }
        let (dirty, failed) = (node.content_dirty(), node.failed.is_some());
        if dirty && tree.place(ino).is_some() {
            // Written after the last flush (mmap), or not stored at close: the queue tries again.
            if !failed {
                self.store_later(&tree, ino);
            }
        } else {
            if !dirty && let Ok(object) = tree.object_mut(ino) {
                object.content = None;
            }
            // Nothing is written to it any more.
            tree.displaced.remove(&ino);
        }
        tree.free_if_unused(ino);
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes, Error> {
        self.check_key(ino)?;
        let (content, len) = {
            let mut tree = self.tree();
            let node = tree.get(ino)?;
            if node.meta.kind != FileKind::Symlink {
                return Err(Error::Invalid);
            }
            let len = node.size().min(libc::PATH_MAX as u64) as u32;
            let content = self.content(&mut tree, ino)?;
            tree.get_mut(ino)?.opens += 1;
            (content, len)
        };
        let cursor = Cursor::default();
        let result = content.read(&cursor, 0, len).await;
        self.closed(ino);
        Ok(Bytes::from(result?.concat()))
    }

    pub(in crate::vfs) fn add_handle(&self, handle: Handle) -> Fh {
        let fh = self.next_fh();
        self.shared.handles.lock().insert(fh, Arc::new(handle));
        fh
    }

    pub(in crate::vfs) fn handle(&self, fh: Fh) -> Result<Arc<Handle>, Error> {
        self.shared
            .handles
            .lock()
            .get(&fh)
            .cloned()
            .ok_or(Error::BadHandle)
    }
}
