//! Open files: handles, reading, writing, copying, truncation.
//!
//! All handles of one inode share one `io::Content`. It exists while the file is open or holds
//! unsent bytes; its base version stays pinned while the file is open.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::task::Poll;

use bytes::Bytes;
use futures_util::poll;

use crate::b2::{FileId, NewFile};
use crate::io::{self, Content, CopyError, Cursor, Owner};
use crate::vfs::attr;
use crate::vfs::names::tree::Tree;
use crate::vfs::ops::directory::DirHandle;
use crate::vfs::ops::hashfile::HashHandle;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::Why;
use crate::vfs::{Error, Fh, FileKind, Ino, Invalidation, Opened, Shared, Vfs};

/// Commits that one operation may ask for: others may write to the same file meanwhile.
const TRIES: u32 = 32;
/// A flag of open that the kernel sets when it runs a program (`__FMODE_EXEC`); open(2) lets nobody set it.
const RUNS: i32 = 0x20;
/// Bytes copied by one call: what the kernel's 32 bit of count hold in whole pages.
const COPY_MAX: u64 = u32::MAX as u64 & !4095;

fn too_fast() -> Error {
    Error::Io("the file is changed faster than it can be stored".to_owned())
}

/// What an `Fh` stands for.
pub(in crate::vfs) enum Handle {
    File(Box<FileHandle>),
    Hash(HashHandle),
    Dir(DirHandle),
}

/// An open file.
pub(in crate::vfs) struct FileHandle {
    ino: Ino,
    content: Arc<Content>,
    cursor: Cursor,
    write: bool,
    /// A program is run from it, as long as it is open.
    runs: bool,
    /// Counts the beginnings and ends of writes.
    writes: AtomicU64,
}

impl Handle {
    /// Whether a version is being read by it.
    pub(in crate::vfs) fn reads(&self, id: &FileId) -> bool {
        let content = match self {
            Self::File(file) => &file.content,
            Self::Hash(hash) => &hash.content,
            Self::Dir(_) => return false,
        };
        content.base().is_some_and(|version| version.id == *id)
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
}

impl Vfs {
    /// Opens a file; `flags` as of open(2): access mode, O_TRUNC. Nothing is downloaded.
    pub async fn open(&self, ino: Ino, flags: i32) -> Result<Opened, Error> {
        self.ask_at_open(ino).await?;
        self.open_known(ino, flags).await
    }

    /// The same for a file that was looked up, or made, by the same request.
    pub(in crate::vfs) async fn open_known(&self, ino: Ino, flags: i32) -> Result<Opened, Error> {
        let write = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let truncate = flags & libc::O_TRUNC != 0;
        if let Some(file) = ino.hashed() {
            return self.open_hash(file, write || truncate);
        }
        if write || truncate {
            self.writable()?;
        }
        if truncate && !write && self.is_running(ino) {
            return Err(Error::Running);
        }
        let (content, keep_cache) = {
            let mut tree = self.tree();
            let content = self.content(&mut tree, ino)?;
            let node = tree.get_mut(ino)?;
            node.opens += 1;
            let object = node.object_mut().ok_or(Error::IsDirectory)?;
            object.writers += u32::from(write);
            let keep_cache = std::mem::replace(&mut object.pages_valid, true);
            (content, keep_cache)
        };
        let fh = self.add_handle(Handle::File(Box::new(FileHandle {
            ino,
            content,
            cursor: Cursor::default(),
            write,
            runs: flags & RUNS != 0,
            writes: AtomicU64::new(0),
        })));
        if truncate && let Err(error) = self.truncate_at_open(ino).await {
            self.release(fh);
            return Err(error);
        }
        Ok(Opened { fh, keep_cache })
    }

    /// Whether a program is run from a file. The kernel refuses to open that for writing; but an O_TRUNC
    /// without a right to write reaches b2fuse first, and would empty the file under the program.
    fn is_running(&self, ino: Ino) -> bool {
        let handles = self.shared.handles.lock();
        let handles = handles.unwrap_or_else(PoisonError::into_inner);
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

    /// Reads; short only at the end of the file.
    pub async fn read(&self, fh: Fh, offset: u64, len: u32) -> Result<Vec<Bytes>, Error> {
        let handle = self.handle(fh)?;
        match &*handle {
            Handle::File(file) => {
                let read = || file.content.read(&file.cursor, offset, len);
                let mut reading = pin!(self.retry_after_commit(file.ino, read));
                let reads = &self.shared.reads;
                let mut result = if let Poll::Ready(result) = poll!(reading.as_mut()) {
                    reads.from_memory.fetch_add(1, Relaxed);
                    result
                } else {
                    reads.waited.fetch_add(1, Relaxed);
                    reading.await
                };
                match &mut result {
                    Err(Error::Corrupt(_)) => self.forget_pages(file.ino),
                    // Downloads go by id; a person knows the file by its name.
                    Err(Error::B2(error)) => {
                        if let Some(path) = self.tree().path(file.ino) {
                            error.subject = path;
                        }
                    }
                    _ => {}
                }
                result
            }
            Handle::Hash(hash) => self.read_hash(hash, offset, len).await,
            Handle::Dir(_) => Err(Error::IsDirectory),
        }
    }

    /// Bytes that were handed out before were wrong: the kernel must not serve them from its cache.
    fn forget_pages(&self, ino: Ino) {
        if let Ok(object) = self.tree().object_mut(ino) {
            object.pages_valid = false;
        }
        self.shared.invalidations.push(Invalidation::Inode(ino));
    }

    /// Writes; the bytes are in memory, and visible, when this returns.
    pub async fn write(&self, fh: Fh, offset: u64, data: Bytes) -> Result<u32, Error> {
        self.write_at(fh, Some(offset), data).await
    }

    /// The same at the end, wherever others have put that meanwhile.
    pub async fn append(&self, fh: Fh, data: Bytes) -> Result<u32, Error> {
        self.write_at(fh, None, data).await
    }

    async fn write_at(&self, fh: Fh, offset: Option<u64>, data: Bytes) -> Result<u32, Error> {
        let handle = self.handle(fh)?;
        let Handle::File(file) = &*handle else {
            return Err(Error::BadHandle);
        };
        if !file.write {
            return Err(Error::BadHandle);
        }
        let written = data.len() as u32;
        let write = || async {
            match offset {
                Some(offset) => file.content.write(offset, data.clone()).await,
                None => file.content.append(data.clone()).await,
            }
        };
        file.writes.fetch_add(1, Ordering::Relaxed);
        let result = self.retry_after_commit(file.ino, write).await;
        file.writes.fetch_add(1, Ordering::Relaxed);
        result?;
        self.content_changed(file.ino, Some(fh))?;
        Ok(written)
    }

    /// Runs an operation again after each commit that it asks for.
    pub(in crate::vfs) async fn retry_after_commit<T, F, Fut>(
        &self,
        ino: Ino,
        mut operation: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, io::Error>>,
    {
        for _ in 0..TRIES {
            match operation().await {
                Err(io::Error::NeedsCommit) => self.commit_to_go_on(ino).await?,
                other => return Ok(other?),
            }
        }
        Err(too_fast())
    }

    async fn commit_to_go_on(&self, ino: Ino) -> Result<(), Error> {
        if self.tree().place(ino).is_none() {
            return Err(Error::NoSpace(
                "a removed file has outgrown the memory limit".to_owned(),
            ));
        }
        self.commit_content(ino, Why::Provisional).await
    }

    /// Copies a range between open files, or within one, as copy_file_range(2): what is stored is
    /// copied by B2 when the target is stored, nothing is downloaded for it. Tells how many bytes,
    /// fewer at the source's end and above `COPY_MAX`.
    pub async fn copy_file_range(
        &self,
        from: Fh,
        from_offset: u64,
        to: Fh,
        to_offset: u64,
        len: u64,
    ) -> Result<u32, Error> {
        let (source, target) = (self.handle(from)?, self.handle(to)?);
        let Handle::File(target) = &*target else {
            return Err(Error::BadHandle);
        };
        if !target.write {
            return Err(Error::BadHandle);
        }
        let source = match &*source {
            Handle::File(source) => source,
            // What it says is in no version: the kernel then copies by reading and writing.
            Handle::Hash(_) => return Err(Error::CrossDevice),
            Handle::Dir(_) => return Err(Error::IsDirectory),
        };
        let len = len.min(COPY_MAX);
        for _ in 0..TRIES {
            target.writes.fetch_add(1, Ordering::Relaxed);
            let copy = target
                .content
                .copy_from(&source.content, from_offset, to_offset, len);
            let copied = copy.await;
            target.writes.fetch_add(1, Ordering::Relaxed);
            match copied {
                Ok(0) => return Ok(0),
                Ok(copied) => {
                    self.content_changed(target.ino, Some(to))?;
                    return Ok(copied as u32);
                }
                Err(CopyError::Source(io::Error::NeedsCommit)) => {
                    self.commit_to_go_on(source.ino).await?;
                }
                Err(CopyError::Target(io::Error::NeedsCommit)) => {
                    self.commit_to_go_on(target.ino).await?;
                }
                Err(CopyError::Source(error) | CopyError::Target(error)) => {
                    return Err(error.into());
                }
            }
        }
        Err(too_fast())
    }

    /// Extends a file, or makes a range of it zeros, as fallocate(2) with `mode`. Room for what is not
    /// written yet is there in a bucket anyway, and nothing changes for that: neither content nor times.
    pub async fn fallocate(&self, fh: Fh, offset: u64, len: u64, mode: i32) -> Result<(), Error> {
        const ZEROS: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if mode & !(ZEROS | libc::FALLOC_FL_KEEP_SIZE) != 0 {
            return Err(Error::NotSupported);
        }
        let handle = self.handle(fh)?;
        let Handle::File(file) = &*handle else {
            return Err(Error::BadHandle);
        };
        if !file.write {
            return Err(Error::BadHandle);
        }
        let end = offset.checked_add(len).ok_or(Error::TooLarge)?;
        // Mode 0 is a range of no zeros behind which the file ends at the earliest.
        let start = if mode & ZEROS == 0 { end } else { offset };
        let grow = mode & libc::FALLOC_FL_KEEP_SIZE == 0;
        file.writes.fetch_add(1, Ordering::Relaxed);
        let result = self
            .retry_after_commit(file.ino, || file.content.zero(start..end, grow))
            .await;
        file.writes.fetch_add(1, Ordering::Relaxed);
        if result? {
            self.content_changed(file.ino, Some(fh))?;
        }
        Ok(())
    }

    /// The content was changed just now.
    fn content_changed(&self, ino: Ino, by: Option<Fh>) -> Result<(), Error> {
        let mut tree = self.tree();
        let now = attr::now();
        let node = tree.get_mut(ino)?;
        node.meta.mtime = now;
        node.meta.ctime = now;
        let dirty = node.content_dirty();
        if let Some(object) = node.object_mut() {
            object.state.written(by, dirty);
            if !dirty {
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            }
        }
        if !tree.may_take(ino) {
            return Err(Error::Stale);
        }
        tree.note_pending(ino);
        Ok(())
    }

    pub(in crate::vfs) async fn truncate_open(&self, ino: Ino, size: u64) -> Result<(), Error> {
        let content = {
            let mut tree = self.tree();
            self.content(&mut tree, ino)?
        };
        self.retry_after_commit(ino, || content.truncate(size))
            .await?;
        self.content_changed(ino, None)
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
        if !datasync {
            self.commit_attributes(file.ino).await?;
        }
        Ok(())
    }

    /// Last close of a handle; never fails, never waits for B2.
    pub fn release(&self, fh: Fh) {
        let handle = self
            .shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&fh);
        if let Some(handle) = handle {
            if let Handle::File(file) = &*handle
                && file.write
            {
                self.confirm(file.ino, fh);
            }
            self.closed(match &*handle {
                Handle::File(file) => file.ino,
                Handle::Hash(hash) => hash.file,
                Handle::Dir(dir) => dir.ino,
            });
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
        if object.state.released(fh, dirty) {
            self.store_later(ino);
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
                self.store_later(ino);
            }
        } else {
            if !dirty && let Ok(object) = tree.object_mut(ino) {
                object.content = None;
            }
            // Nothing is written to it any more.
            tree.displaced.remove(&ino);
        }
        tree.free_if_unused(ino);
        drop(tree);
        self.resume_purges();
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes, Error> {
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
        self.shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fh, Arc::new(handle));
        fh
    }

    pub(in crate::vfs) fn handle(&self, fh: Fh) -> Result<Arc<Handle>, Error> {
        self.shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&fh)
            .cloned()
            .ok_or(Error::BadHandle)
    }
}
