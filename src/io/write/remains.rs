//! What there is of an unsent content, for whoever keeps it elsewhere: bytes in memory, and where the rest is.

use bytes::Bytes;

use crate::b2::{FileId, Sha1};
use crate::io::Version;
use crate::io::parts::Streaming;
use crate::io::read::records::{Record, StoredRange};
use crate::io::write::content::{Content, State};
use crate::io::write::extents::Piece;

/// A content at one moment. Holds reference counts, no copies.
#[derive(Debug, Clone)]
pub struct Remains {
    /// Bytes of the whole content.
    pub size: u64,
    /// What it is made of, in order and without gaps.
    pub pieces: Vec<Remain>,
    /// The large file that has what has left memory.
    pub unfinished: Option<UnfinishedLarge>,
}

/// A stretch of a content.
#[derive(Debug, Clone)]
pub enum Remain {
    /// In memory.
    Bytes(Bytes),
    /// So many zeros.
    Zero(u64),
    /// A range of a stored version: where it begins, and how long it is.
    Stored(Version, u64, u64),
    /// So many bytes in the unfinished large file.
    Sent(u64),
}

/// A large file that was begun.
#[derive(Debug, Clone)]
pub struct UnfinishedLarge {
    /// Its id.
    pub id: FileId,
    /// Size of each part from number 1 on, and its SHA-1 where B2 has it.
    pub parts: Vec<(u64, Option<Sha1>)>,
    /// Numbers from 1 to this one may be known to B2.
    pub used: usize,
}

impl Remain {
    /// Bytes that it stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zero(len) | Self::Stored(_, _, len) | Self::Sent(len) => *len,
        }
    }

    /// Whether it stands for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Content {
    /// A number that is another after each change.
    pub fn change(&self) -> u64 {
        self.lock().seq
    }

    /// What there is of it now.
    pub fn remains(&self) -> Remains {
        let state = self.lock();
        let unfinished = match &state.stream {
            Streaming::Running(stream) if !stream.large.is_unused() => {
                let (parts, used) = stream.large.fixed_parts();
                Some(UnfinishedLarge {
                    id: stream.large.id().clone(),
                    parts,
                    used,
                })
            }
            _ => None,
        };
        Remains {
            size: state.size,
            pieces: state.remains(),
            unfinished,
        }
    }
}

impl State {
    fn remains(&self) -> Vec<Remain> {
        let stored = |record: &Record, from, len| Remain::Stored(record.version(), from, len);
        let mut all = Vec::new();
        let mut at = 0;
        for piece in self.overlay.pieces(0..self.size) {
            let end = at + piece.len();
            match piece {
                Piece::Data(bytes) => all.push(Remain::Bytes(bytes)),
                Piece::Sent(len) => all.push(Remain::Sent(len)),
                Piece::Zero(len) => all.push(Remain::Zero(len)),
                Piece::Stored(StoredRange { record, range, .. }) => {
                    all.push(stored(&record, range.start, range.end - range.start));
                }
                Piece::Gap(_) => {
                    let mut from = at;
                    if let Some(base) = &self.base {
                        let base_end = self.base_len.clamp(at, end);
                        if at < base_end {
                            all.push(stored(base, at, base_end - at));
                        }
                        from = base_end;
                    }
                    if from < end {
                        all.push(Remain::Zero(end - from));
                    }
                }
            }
            at = end;
        }
        all
    }
}
