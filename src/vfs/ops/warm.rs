//! Fetching ahead what the user will need: names below a path, or contents as far as memory holds them.
//!
//! Reads as any program would, so that what comes is checked and cached as always; nothing is fetched that would push out
//! what was fetched before.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use futures_util::{StreamExt as _, stream};

use crate::vfs::{Error, FileKind, Ino, Vfs};

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warm {
    /// Names and attributes.
    Names,
    /// Contents, too.
    Contents,
}

/// What is in memory now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Names seen.
    pub names: usize,
    /// Files whose whole content was read.
    pub files: usize,
    /// Bytes of contents that were read.
    pub bytes: u64,
    /// Files that could not be read, and directories that could not be listed.
    pub failed: usize,
    /// Memory holds no more: something was left out.
    pub full: bool,
}

/// Bytes asked for at once.
const PIECE: u32 = 1 << 20;
/// What a cached piece of 32 KiB costs beside its bytes.
const BLOCK: u64 = 32 << 10;
const BLOCK_COST: u64 = 256;

/// Memory for contents, taken before they are read.
struct Room(AtomicU64);

impl Room {
    /// Takes what a content of that size needs; where there is less, takes all there is.
    fn take(&self, size: u64) -> u64 {
        let wanted = size + size.div_ceil(BLOCK) * BLOCK_COST;
        let mut given = 0;
        let _ = self.0.fetch_update(Relaxed, Relaxed, |left| {
            given = left.min(wanted);
            Some(left - given)
        });
        if given == wanted {
            size
        } else {
            // Whole blocks only.
            given / (BLOCK + BLOCK_COST) * BLOCK
        }
    }
}

impl Vfs {
    /// Fetches what is at a path and below it.
    pub async fn warm(&self, path: &str, what: Warm) -> Result<Warmed, Error> {
        let top = self.resolve(path).await?;
        let mut warmed = Warmed::default();
        let mut files = Vec::new();
        let mut dirs = Vec::new();
        if self.tree().get(top)?.dir().is_some() {
            dirs.push(top);
        } else {
            files.push(top);
            warmed.names = 1;
        }
        while let Some(dir) = dirs.pop() {
            if self.tree().len() >= self.settings().names_max {
                warmed.full = true;
                break;
            }
            match self.entries_of(dir).await {
                Ok(entries) => {
                    warmed.names += entries.len();
                    for (ino, kind) in entries.into_iter().rev() {
                        match kind {
                            FileKind::Directory => dirs.push(ino),
                            FileKind::File => files.push(ino),
                            _ => {}
                        }
                    }
                }
                // Where the path itself cannot be listed, that is all there is to say.
                Err(error) if dir == top => return Err(error),
                Err(_) => warmed.failed += 1,
            }
        }
        if what == Warm::Contents {
            self.warm_contents(files, &mut warmed).await;
        }
        Ok(warmed)
    }

    async fn warm_contents(&self, files: Vec<Ino>, warmed: &mut Warmed) {
        let room = Room(AtomicU64::new(self.shared.io.cache_room()));
        let (whole, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (failed, left_out) = (AtomicUsize::new(0), AtomicUsize::new(0));
        stream::iter(files)
            .for_each_concurrent(self.settings().parallel, |ino| {
                let (room, whole, bytes) = (&room, &whole, &bytes);
                let (failed, left_out) = (&failed, &left_out);
                async move {
                    let size = match self.tree().get(ino) {
                        Ok(node) => node.size(),
                        Err(_) => return,
                    };
                    let fits = room.take(size);
                    if fits < size {
                        left_out.fetch_add(1, Relaxed);
                    }
                    if fits == 0 && size > 0 {
                        return;
                    }
                    match self.read_through(ino, fits).await {
                        Ok(read) => {
                            bytes.fetch_add(read, Relaxed);
                            whole.fetch_add(usize::from(fits == size), Relaxed);
                        }
                        Err(error) => {
                            log::debug!("inode {}: not fetched: {error}", ino.0);
                            failed.fetch_add(1, Relaxed);
                        }
                    }
                }
            })
            .await;
        warmed.files = whole.into_inner();
        warmed.bytes = bytes.into_inner();
        warmed.failed += failed.into_inner();
        warmed.full |= left_out.into_inner() > 0;
    }

    /// Reads a file up to an offset; how many bytes came.
    async fn read_through(&self, ino: Ino, end: u64) -> Result<u64, Error> {
        let fh = self.open(ino, libc::O_RDONLY).await?.fh;
        let mut at = 0;
        let result = loop {
            let len = PIECE.min(u32::try_from(end - at).unwrap_or(PIECE));
            if len == 0 {
                break Ok(at);
            }
            match self.read(fh, at, len).await {
                Ok(pieces) => {
                    let read: usize = pieces.iter().map(bytes::Bytes::len).sum();
                    if read == 0 {
                        break Ok(at);
                    }
                    at += read as u64;
                }
                Err(error) => break Err(error),
            }
        };
        self.release(fh);
        result
    }

    /// What is in a directory, virtual files left out.
    async fn entries_of(&self, dir: Ino) -> Result<Vec<(Ino, FileKind)>, Error> {
        /// `.` and `..` stand before the entries.
        const FIRST: u64 = 2;
        let fh = self.opendir(dir).await?;
        let mut all = Vec::new();
        let mut offset = 0;
        let result = loop {
            if let Err(error) = self.readdir_fill(fh, offset).await {
                break Err(error);
            }
            let (from, mut next) = (offset.max(FIRST), None);
            let emitted = self.readdir_emit(fh, from, false, &mut |entry, _| {
                next = Some(entry.next);
                if entry.ino.hashed().is_none() {
                    all.push((entry.ino, entry.kind));
                }
                ControlFlow::Continue(())
            });
            match emitted {
                Err(error) => break Err(error),
                Ok(more) => match more.or(next) {
                    Some(further) if further > offset => offset = further,
                    _ => break Ok(all),
                },
            }
        };
        self.releasedir(fh);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_with_its_cost_never_exceeds_the_room() {
        let room = Room(AtomicU64::new(10 * (BLOCK + BLOCK_COST)));
        assert_eq!(room.take(4 * BLOCK), 4 * BLOCK);
        assert_eq!(room.take(1), 1);
        assert_eq!(room.take(100 * BLOCK), 5 * BLOCK);
        assert_eq!(room.take(BLOCK), 0);
        assert_eq!(room.take(0), 0);
    }
}
