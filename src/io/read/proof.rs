//! Stored bytes that are sent again as part of new content.
//!
//! A damaged byte of a base would get a fresh SHA-1 with the next commit, and nobody could ever notice. So a version of
//! up to [`CHECKED`] bytes is compared with its stored SHA-1 as a whole before any byte of it is sent again; a short hash
//! of each block is kept from that, by which later reads are checked without all of it, and which what is made of it
//! here inherits. Of larger versions, and of those
//! whose SHA-1 nobody has stored, as much as possible is copied on the server; what must be sent again all the same is
//! counted (`Engine::unchecked`).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use crate::b2::{Hasher, Sha1};
use crate::io::Error;
use crate::io::engine::{Engine, trim};
use crate::io::read::cache::{self, BLOCK};
use crate::io::read::check::short_hash;
use crate::io::read::fetch::read_error;
use crate::io::read::records::Record;

/// Versions up to this size are compared as a whole before they are sent again.
pub(in crate::io) const CHECKED: u64 = 64 << 20;

/// Downloads until one is right: the way may be bad for a while.
const TRIES: u32 = 3;

/// A short hash of each block of a version that was right as a whole.
#[derive(Debug)]
pub(in crate::io) struct Proof(pub(in crate::io) Vec<u64>);

/// What a pass over all of a version keeps.
struct Kept {
    wanted: Vec<(Range<u64>, Vec<u8>)>,
    blocks: Vec<u64>,
    block: Vec<u8>,
    hash: Hasher,
    at: u64,
}

impl Kept {
    fn new(record: &Record, wanted: &[Range<u64>]) -> Self {
        let empty = |range: &Range<u64>| {
            let len = (range.end - range.start) as usize;
            (range.clone(), Vec::with_capacity(len))
        };
        Self {
            wanted: wanted.iter().map(empty).collect(),
            blocks: Vec::with_capacity(record.size.div_ceil(BLOCK) as usize),
            block: Vec::with_capacity(BLOCK as usize),
            hash: Hasher::new(),
            at: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        self.hash.update(bytes);
        for (range, kept) in &mut self.wanted {
            let from = range.start.max(self.at);
            let to = range.end.min(self.at + bytes.len() as u64);
            if from < to {
                kept.extend_from_slice(&bytes[(from - self.at) as usize..(to - self.at) as usize]);
            }
        }
        self.at += bytes.len() as u64;
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK as usize - self.block.len());
            self.block.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.block.len() == BLOCK as usize {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK as usize));
        self.blocks.push(short_hash([&Bytes::from(block)]));
    }

    fn end(mut self) -> (Sha1, Proof, Vec<Vec<u8>>) {
        if !self.block.is_empty() {
            self.end_block();
        }
        let wanted = self.wanted.into_iter().map(|(_, bytes)| bytes).collect();
        (self.hash.finish(), Proof(self.blocks), wanted)
    }
}

impl Engine {
    /// Ranges of one version, in order, compared with what is stored as far as that is possible.
    pub(in crate::io) async fn read_checked(
        self: &Arc<Self>,
        record: &Arc<Record>,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Vec<u8>>, Error> {
        // Others who need the same wait for this one's result.
        let mut proof = record.proof.lock().await;
        if let Some(known) = proof.clone() {
            drop(proof);
            let mut parts = Vec::with_capacity(ranges.len());
            for range in ranges {
                parts.push(self.read_proven(record, &known, range).await?);
            }
            return Ok(parts);
        }
        let Some(stored) = record.sha1().filter(|_| record.size <= CHECKED) else {
            drop(proof);
            let mut parts = Vec::with_capacity(ranges.len());
            for range in ranges {
                self.unchecked.fetch_add(range.end - range.start, Relaxed);
                parts.push(self.read_plain(record, range.clone()).await?.concat());
            }
            return Ok(parts);
        };
        let (found, parts) = self.prove(record, stored, ranges).await?;
        *proof = Some(Arc::new(found));
        Ok(parts)
    }

    /// Fetches a version into the cache, in several parts at once, as far as there is room for it without anybody waiting.
    async fn fetch_whole(self: &Arc<Self>, record: &Arc<Record>) {
        const PIECE: u64 = 2 << 20;
        let mut fetches = Vec::new();
        for start in (0..record.size).step_by(PIECE as usize) {
            let piece = start..(start + PIECE).min(record.size);
            let Some(begun) = self.read_ahead(record, piece) else {
                break;
            };
            fetches.extend(begun);
        }
        for fetch in fetches {
            fetch.over().await;
        }
    }

    /// Reads all of a version; keeps what is wanted if all of it is right.
    async fn prove(
        self: &Arc<Self>,
        record: &Arc<Record>,
        stored: Sha1,
        ranges: &[Range<u64>],
    ) -> Result<(Proof, Vec<Vec<u8>>), Error> {
        let mut cached = self.cached(record, 0..record.size);
        if cached.is_none() && record.size <= self.budget.write_limit() / 4 {
            self.fetch_whole(record).await;
            cached = self.cached(record, 0..record.size);
        }
        let mut downloads = 0;
        loop {
            let mut kept = Kept::new(record, ranges);
            if let Some(blocks) = cached.take() {
                for block in blocks {
                    kept.take(&block);
                    tokio::task::yield_now().await;
                }
            } else {
                downloads += 1;
                let download = self.client.download(&record.id, 0..record.size).await;
                let mut download = download.map_err(read_error)?;
                while let Some(chunk) = download.chunk().await.map_err(read_error)? {
                    kept.take(&chunk);
                }
            }
            let (found, proof, parts) = kept.end();
            if found == stored {
                return Ok((proof, parts));
            }
            self.cache.forget(record);
            if downloads == TRIES {
                return Err(damaged(record, Some(stored)));
            }
            log::warn!(
                "{}: SHA-1 is {found}, stored is {stored}; reading it again before bytes of it are sent as new content",
                record.id
            );
        }
    }

    /// Reads a range of a version whose blocks are known.
    async fn read_proven(
        &self,
        record: &Arc<Record>,
        proof: &Proof,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let blocks = cache::blocks_of(range);
        let all = cache::bytes_of(record, &blocks);
        for _ in 0..TRIES {
            let bytes = Bytes::from(self.read_plain(record, all.clone()).await?.concat());
            let mut pieces = blocks.clone().zip(bytes.chunks(BLOCK as usize));
            let right = pieces.all(|(block, piece)| {
                let piece = Bytes::copy_from_slice(piece);
                proof.0.get(block as usize) == Some(&short_hash([&piece]))
            });
            if right {
                let part = trim(vec![bytes], all.start, range.clone());
                return Ok(part.concat());
            }
            log::warn!("{}: damaged on its way; reading it again", record.id);
            self.cache.forget(record);
        }
        Err(damaged(record, record.sha1()))
    }

    /// A range as it comes: from the cache if all of it is there, else past it and without memory of the budget.
    pub(in crate::io) async fn read_plain(
        &self,
        record: &Arc<Record>,
        range: Range<u64>,
    ) -> Result<Vec<Bytes>, Error> {
        if let Some(cached) = self.cached(record, range.clone()) {
            return Ok(cached);
        }
        let mut data = Vec::new();
        let download = self.client.download(&record.id, range).await;
        let mut download = download.map_err(read_error)?;
        while let Some(chunk) = download.chunk().await.map_err(read_error)? {
            data.push(chunk);
        }
        Ok(data)
    }
}

fn damaged(record: &Record, stored: Option<Sha1>) -> Error {
    let stored = stored.map_or_else(String::new, |sha1| format!("; its stored SHA-1 is {sha1}"));
    Error::Corrupt(format!(
        "{}: the content is not what was stored, also after reading it again{stored}, and nothing that holds bytes of it \
         is sent",
        record.id
    ))
}
