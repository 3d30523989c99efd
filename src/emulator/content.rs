//! The bytes of objects: blobs that arrived once and never change, and contents made of ranges of them.
//!
//! A server-side copy, a part, a finished large file and a range share the blobs of their source; nothing is copied
//! after arrival. A blob lives in memory, in a file of the emulator's directory, or nowhere: a pattern is computed
//! when read. A file goes when the last content that names it goes, unless the whole server is stopping.

pub(super) mod patterns;
pub(super) mod store;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use md5::Md5;
use sha1::{Digest, Sha1};

use crate::emulator::content::patterns::pattern;

/// Memory is taken in steps of this size, so that a large upload never moves.
pub(super) const SEGMENT: usize = 1 << 20;
/// One read of a file: large enough for throughput, small enough for many connections.
const READ: u64 = 512 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) sha1: [u8; 20],
    pub(super) md5: Option<[u8; 16]>,
}

#[derive(Debug)]
pub(super) enum Source {
    /// Segments of `SEGMENT` bytes, the last one shorter.
    Memory(Vec<Bytes>),
    /// Opened when read: there may be more of them than a process may hold open.
    File {
        path: PathBuf,
        /// Dead when the server stops: then the file stays.
        alive: Weak<()>,
    },
    /// See [`pattern`].
    Pattern(u64),
}

#[derive(Debug)]
pub(super) struct Blob {
    /// Names the file and the journal's references.
    pub(super) number: u64,
    pub(super) source: Source,
    pub(super) len: u64,
    pub(super) hashes: Option<Hashes>,
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Source::File { path, alive, .. } = &self.source
            && alive.upgrade().is_some()
        {
            // A file that stays by mistake is removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A range of a blob.
#[derive(Debug, Clone)]
pub(super) struct BlobRange {
    pub(super) blob: Arc<Blob>,
    pub(super) start: u64,
    pub(super) len: u64,
}

/// An object's bytes: pieces in order.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) pieces: Arc<[BlobRange]>,
}

impl Content {
    pub(super) fn empty() -> Self {
        Self::of(Vec::new())
    }

    pub(super) fn of(pieces: Vec<BlobRange>) -> Self {
        Self {
            pieces: pieces.into(),
        }
    }

    pub(super) fn whole(blob: Arc<Blob>) -> Self {
        let len = blob.len;
        Self::of(vec![BlobRange {
            blob,
            start: 0,
            len,
        }])
    }

    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// The part of it inside `range`, which must lie within the length.
    pub(super) fn slice(&self, range: &Range<u64>) -> Self {
        let mut at = 0;
        let mut pieces = Vec::new();
        for piece in self.pieces.iter() {
            let from = range.start.max(at);
            let to = range.end.min(at + piece.len);
            if from < to {
                pieces.push(BlobRange {
                    blob: piece.blob.clone(),
                    start: piece.start + (from - at),
                    len: to - from,
                });
            }
            at += piece.len;
        }
        Self::of(pieces)
    }

    pub(super) fn join<'a>(contents: impl Iterator<Item = &'a Self>) -> Self {
        Self::of(
            contents
                .flat_map(|content| content.pieces.iter().cloned())
                .collect(),
        )
    }

    /// Hashes that need no reading: those of one whole blob.
    pub(super) fn known_hashes(&self) -> Option<Hashes> {
        match &*self.pieces {
            [piece] if piece.start == 0 && piece.len == piece.blob.len => piece.blob.hashes,
            _ => None,
        }
    }

    /// Reads all of it: for a blocking thread.
    pub(super) fn hash(&self, with_md5: bool) -> io::Result<Hashes> {
        if let Some(hashes) = self.known_hashes() {
            return Ok(hashes);
        }
        if let [piece] = &*self.pieces
            && let Source::Pattern(variant) = piece.blob.source
        {
            let (start, len) = (piece.start, piece.len);
            return patterns::hashes(variant, start..start + len, with_md5, || {
                self.read(with_md5)
            });
        }
        self.read(with_md5)
    }

    fn read(&self, with_md5: bool) -> io::Result<Hashes> {
        let mut hasher = Hasher::new(with_md5);
        let mut reader = self.reader();
        while let Some(bytes) = reader.next()? {
            hasher.update(&bytes);
        }
        Ok(hasher.finish())
    }

    pub(super) fn reader(&self) -> Reader {
        Reader {
            pieces: self.pieces.clone(),
            index: 0,
            offset: 0,
            open: None,
        }
    }
}

/// SHA-1 and, where wanted, MD5 in one pass.
pub(super) struct Hasher {
    sha1: Sha1,
    md5: Option<Md5>,
}

impl Hasher {
    pub(super) fn new(with_md5: bool) -> Self {
        Self {
            sha1: Sha1::new(),
            md5: with_md5.then(Md5::new),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Hashes {
        Hashes {
            sha1: self.sha1.finalize().into(),
            md5: self.md5.map(|md5| md5.finalize().into()),
        }
    }
}

/// Reads a content from its start, in steps.
#[derive(Debug)]
pub(super) struct Reader {
    pieces: Arc<[BlobRange]>,
    index: usize,
    offset: u64,
    /// The file of the piece at `index`.
    open: Option<File>,
}

impl Reader {
    /// The next bytes; `None` at the end. Memory is shared, not copied.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(piece) = self.pieces.get(self.index) else {
            return Ok(None);
        };
        let left = piece.len - self.offset;
        let at = piece.start + self.offset;
        let bytes = match &piece.blob.source {
            Source::Memory(segments) => {
                let segment = &segments[(at / SEGMENT as u64) as usize];
                let from = (at % SEGMENT as u64) as usize;
                let to = segment.len().min(from.saturating_add(left as usize));
                segment.slice(from..to)
            }
            Source::File { path, .. } => {
                let file = match self.open.take() {
                    Some(file) => file,
                    None => File::open(path)?,
                };
                let mut buffer = vec![0; left.min(READ) as usize];
                file.read_exact_at(&mut buffer, at)?;
                self.open = Some(file);
                buffer.into()
            }
            Source::Pattern(variant) => {
                let mut buffer = vec![0; left.min(READ) as usize];
                pattern(*variant, at, &mut buffer);
                buffer.into()
            }
        };
        self.offset += bytes.len() as u64;
        if self.offset == piece.len {
            self.index += 1;
            self.offset = 0;
            self.open = None;
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &[u8]) -> Content {
        Content::whole(Arc::new(Blob {
            number: 0,
            len: bytes.len() as u64,
            source: Source::Memory(bytes.chunks(SEGMENT).map(Bytes::copy_from_slice).collect()),
            hashes: None,
        }))
    }

    fn read(content: &Content) -> Vec<u8> {
        let mut reader = content.reader();
        let mut all = Vec::new();
        while let Some(bytes) = reader.next().expect("memory reads") {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn slices_and_joins_are_those_of_the_bytes() {
        let mut bytes = vec![0; 3 * SEGMENT + 100];
        pattern(7, 0, &mut bytes);
        let content = memory(&bytes);
        for (from, to) in [
            (0, bytes.len()),
            (5, 9),
            (SEGMENT - 1, SEGMENT + 1),
            (SEGMENT, 3 * SEGMENT),
            (17, 3 * SEGMENT + 99),
            (4, 4),
        ] {
            let slice = content.slice(&(from as u64..to as u64));
            assert_eq!(read(&slice), bytes[from..to], "{from}..{to}");
            assert_eq!(slice.len(), (to - from) as u64);
        }
        let parts = [
            content.slice(&(3..50)),
            content.slice(&(40..SEGMENT as u64 + 7)),
        ];
        let joined = Content::join(parts.iter());
        let wanted = [&bytes[3..50], &bytes[40..SEGMENT + 7]].concat();
        assert_eq!(read(&joined), wanted);
        let again = joined.slice(&(40..60));
        assert_eq!(read(&again), wanted[40..60]);
    }
}
