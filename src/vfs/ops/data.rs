//! The bytes of open files: reading, writing, copying, truncation.
//!
//! What does not fit into memory asks for a commit first (`retry_after_commit`); every change is noted in the tree.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use bytes::Bytes;
use futures_util::poll;

use crate::io::{self, CopyError};
use crate::vfs::attr;
use crate::vfs::growth::Change;
use crate::vfs::ops::file::Handle;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::versions::again::{TRIES, too_fast};
use crate::vfs::{Error, Fh, Ino, Vfs};

/// Bytes copied by one call: what the kernel's 32 bit of count hold in whole pages.
const COPY_MAX: u64 = u32::MAX as u64 & !4095;

impl Vfs {
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
                    if offset == 0 {
                        self.foresee(file.ino, false);
                    }
                    result
                } else {
                    reads.waited.fetch_add(1, Relaxed);
                    if offset == 0 {
                        self.foresee(file.ino, true);
                    }
                    reading.await
                };
                if matches!(result, Err(Error::Stale)) && self.goes_on(file.ino).await {
                    result = self.retry_after_commit(file.ino, read).await;
                }
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
            object.kernel_behind = true;
        }
        self.shared.forgets.inode(ino);
    }

    /// Writes; the bytes are in memory, and visible, when this returns.
    pub async fn write(&self, fh: Fh, offset: u64, data: Bytes) -> Result<u32, Error> {
        self.write_at(fh, Some(offset), data).await
    }

    /// Writes at the end, wherever others have put that meanwhile.
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
        let end = file.content.size();
        file.writes.fetch_add(1, Relaxed);
        let result = self.retry_after_commit(file.ino, write).await;
        file.writes.fetch_add(1, Relaxed);
        result?;
        self.content_changed(file.ino, Some(fh))?;
        let elsewhere = offset.is_some_and(|offset| offset != end);
        self.grows(
            file.ino,
            if elsewhere {
                Change::Elsewhere
            } else {
                Change::Appended(written.into())
            },
        );
        Ok(written)
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
            target.writes.fetch_add(1, Relaxed);
            let copy = target
                .content
                .copy_from(&source.content, from_offset, to_offset, len);
            let copied = copy.await;
            target.writes.fetch_add(1, Relaxed);
            match copied {
                Ok(0) => return Ok(0),
                Ok(copied) => {
                    self.content_changed(target.ino, Some(to))?;
                    self.grows(target.ino, Change::Elsewhere);
                    return Ok(copied as u32);
                }
                Err(CopyError::Source(error @ (io::Error::NeedsCommit | io::Error::HasLeft))) => {
                    self.commit_to_go_on(source.ino, &error).await?;
                }
                Err(CopyError::Target(error @ (io::Error::NeedsCommit | io::Error::HasLeft))) => {
                    self.commit_to_go_on(target.ino, &error).await?;
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
        file.writes.fetch_add(1, Relaxed);
        let result = self
            .retry_after_commit(file.ino, || file.content.zero(start..end, grow))
            .await;
        file.writes.fetch_add(1, Relaxed);
        if result? {
            self.content_changed(file.ino, Some(fh))?;
            self.grows(file.ino, Change::Elsewhere);
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
        let before = content.size();
        self.retry_after_commit(ino, || content.truncate(size))
            .await?;
        self.content_changed(ino, None)?;
        match size.cmp(&before) {
            Ordering::Less => self.grows(ino, Change::Cut),
            Ordering::Greater => self.grows(ino, Change::Elsewhere),
            Ordering::Equal => {}
        }
        Ok(())
    }
}
