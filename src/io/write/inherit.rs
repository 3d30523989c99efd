//! What is known of a base, passed on to the version that is made of it in parts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::snapshot::Snapshot;
use crate::b2::{FileVersion, Payload};
use crate::io::Error;
use crate::io::engine::Engine;
use crate::io::read::cache::{self, BLOCK};
use crate::io::read::check::short_hash;
use crate::io::read::proof::{CHECKED, Proof};
use crate::io::read::records::Record;

/// How long the reads that a proof still needs may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The proof of a version that is being made out of one that was proven, and of bytes in memory. B2 is not told its
/// SHA-1, which would take all of its bytes; but what this mount has made it can check.
#[derive(Debug)]
pub(in crate::io) struct NewProof {
    size: u64,
    blocks: Mutex<Vec<Option<u64>>>,
}

impl NewProof {
    /// For a version of this size made of `base`; `None` where either is larger than what is compared.
    pub(in crate::io) fn begin(size: u64, base: Option<&Arc<Record>>) -> Option<Arc<Self>> {
        base.filter(|base| size <= CHECKED && base.size <= CHECKED)?;
        let blocks = vec![None; size.div_ceil(BLOCK) as usize];
        let blocks = Mutex::new(blocks);
        Some(Arc::new(Self { size, blocks }))
    }

    fn bytes_of(&self, block: u64) -> Range<u64> {
        block * BLOCK..((block + 1) * BLOCK).min(self.size)
    }

    /// A range is being sent: its blocks are known, but for those at its ends of which other parts have the rest.
    pub(in crate::io) async fn learn(&self, range: &Range<u64>, sent: &Payload) {
        for block in cache::blocks_of(range) {
            let bytes = self.bytes_of(block);
            if range.start <= bytes.start && bytes.end <= range.end {
                let within = bytes.start - range.start..bytes.end - range.start;
                let hash = short_hash([&Bytes::from(sent.copy(&within))]);
                self.blocks.lock()[block as usize] = Some(hash);
            }
            // Others are to be served meanwhile.
            tokio::task::yield_now().await;
        }
    }

    /// The proof of the version that was made, if the base was compared: by what was sent, because a block is the base's,
    /// or by what both have of it.
    async fn end(&self, engine: &Arc<Engine>, snapshot: &Snapshot) -> Option<Proof> {
        let base = snapshot.base.as_ref()?;
        // Not compared for this: that takes all of it.
        let proven = base.proof.lock().await.clone()?;
        let learned = self.blocks.lock().clone();
        let mut all = Vec::with_capacity(learned.len());
        for (known, block) in learned.into_iter().zip(0..) {
            let bytes = self.bytes_of(block);
            let same = || {
                let bounds = cache::bytes_of(base, &(block..block + 1)) == bytes;
                let held = bounds && snapshot.holds(base, &bytes);
                held.then(|| proven.0.get(block as usize).copied())
                    .flatten()
            };
            all.push(match known.or_else(same) {
                Some(hash) => hash,
                None if snapshot.only_of(base, &bytes) => {
                    Self::short_of(engine, snapshot, &bytes).await?
                }
                None => return None,
            });
        }
        Some(Proof(all))
    }

    /// The short hash of a block that parts have together; the way may be bad for a while.
    async fn short_of(
        engine: &Arc<Engine>,
        snapshot: &Snapshot,
        block: &Range<u64>,
    ) -> Option<u64> {
        for _ in 0..3 {
            match snapshot.read_little(engine, block).await {
                Ok(whole) => return Some(short_hash([&Bytes::from(whole)])),
                Err(Error::Corrupt(_)) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl Engine {
    /// A version was made of a snapshot: what is known of the version before, and was learned since, holds for it.
    pub(in crate::io) async fn inherit(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        version: &FileVersion,
    ) {
        let whole = |proof: &&Arc<NewProof>| proof.size == version.size;
        let Some(proof) = snapshot.proof.as_ref().filter(whole) else {
            return;
        };
        let id = version.id.as_ref();
        let Some(record) = id.and_then(|id| self.records.known(id)) else {
            return;
        };
        // Only a later commit needs it: nobody waits long for B2 to close a file that is stored.
        let end = tokio::time::timeout(PATIENCE, proof.end(self, snapshot));
        if let Ok(Some(proof)) = end.await {
            *record.proof.lock().await = Some(Arc::new(proof));
        }
    }
}
