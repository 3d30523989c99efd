//! Storing what is dirty: one commit at a time per content, in a task of its own.
//!
//! A commit takes a snapshot, stores it by the cheapest plan (or ends the stream that has begun),
//! and then makes the new version the base: exactly the changes that are in the snapshot leave
//! the overlay, later ones stay on top. Until B2 has acknowledged everything nothing changes, so
//! a failed commit, or one whose caller went away, leaves the content as it was.

pub(in crate::io) mod plan;
pub(in crate::io) mod remote;
pub(in crate::io) mod snapshot;
pub(in crate::io) mod stream;
pub(in crate::io) mod sum;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use sha1::{Digest, Sha1 as Hasher};

use crate::b2::{Error as B2Error, ErrorKind, FileId, FileVersion, Lost, NewFile, Sha1};
use crate::io::commit::plan::{Limits, MAX_PARTS, Plan, Step};
use crate::io::commit::remote::small_target;
use crate::io::commit::snapshot::Snapshot;
use crate::io::commit::stream::{PartState, Streaming, id_of};
use crate::io::engine::{Engine, STRIDE};
use crate::io::write::content::{Content, Misplaced, State};
use crate::io::{Committed, Error, Version};

/// Content in memory up to this size is hashed before it goes up in parts, because a large
/// file's SHA-1 can only be stored at its start (API §6).
const HASH_FIRST: u64 = 4 << 30;

/// Marks a content as committing, whatever happens.
struct Committing<'a>(&'a Content);

impl<'a> Committing<'a> {
    fn begin(content: &'a Content) -> Self {
        content.committing.store(true, Ordering::Release);
        Self(content)
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.committing.store(false, Ordering::Release);
    }
}

impl Content {
    /// Stores what is dirty under `target`; `None` when nothing was. On error everything stays.
    /// A file just created is dirty although it is empty.
    ///
    /// The content counts as dirty until the owner has said `recorded`: it must not be taken for
    /// stored while the owner's own records still name the version before.
    ///
    /// Goes on when the caller is dropped; the next commit then tells what was done.
    pub async fn commit(self: &Arc<Self>, target: &NewFile) -> Result<Option<Committed>, Error> {
        if !self.is_dirty() {
            return Ok(None);
        }
        let (this, target) = (Arc::clone(self), target.clone());
        let task = self
            .engine
            .rt
            .spawn(async move { this.commit_now(&target).await });
        let outcome = task.await.unwrap_or_else(|error| {
            Err(Error::B2(B2Error {
                kind: ErrorKind::Unavailable,
                call: "commit",
                subject: String::new(),
                status: 0,
                code: String::new(),
                detail: format!("the task ended early: {error}"),
                attempts: 1,
                elapsed: std::time::Duration::ZERO,
                lost: None,
            }))
        });
        let committed = outcome?;
        Ok(committed.or_else(|| self.lock().unrecorded.clone()))
    }

    /// The owner has taken down what `commit` told it.
    pub fn recorded(&self, id: &FileId) {
        let mut state = self.lock();
        let told = state.unrecorded.as_ref();
        if told.is_some_and(|told| told.version.id.as_ref() == Some(id)) {
            state.unrecorded = None;
        }
    }

    async fn commit_now(self: &Arc<Self>, target: &NewFile) -> Result<Option<Committed>, Error> {
        let _turn = self.turn.lock().await;
        let outcome = {
            let _committing = Committing::begin(self);
            self.store(target).await
        };
        let abandoned = {
            let mut state = self.lock();
            state.discarded.then(|| std::mem::take(&mut state.stream))
        };
        if let Some(stream) = abandoned {
            if let Streaming::Running(stream) = stream {
                self.engine.cancel_large(stream.large);
            }
            return outcome.or(Ok(None));
        }
        if outcome.is_ok() {
            self.asked.store(0, Ordering::Relaxed);
        } else {
            // Not asked again at once by those who wait for memory.
            self.asked
                .store(self.engine.now_ms().max(1), Ordering::Relaxed);
            self.engine.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn store(self: &Arc<Self>, target: &NewFile) -> Result<Option<Committed>, Error> {
        let abandoned = {
            let mut state = self.lock();
            if !state.is_dirty() || state.discarded {
                return Ok(None);
            }
            match &state.stream {
                // Nothing has left yet: the ordinary way is as short.
                Streaming::Running(stream) if stream.parts.is_empty() => {
                    match std::mem::take(&mut state.stream) {
                        Streaming::Running(stream) => Some(stream.large),
                        _ => None,
                    }
                }
                Streaming::Running(_) => None,
                _ => {
                    state.stream = Streaming::Off;
                    None
                }
            }
        };
        if let Some(large) = abandoned {
            self.engine.cancel_large(large);
        }
        let streaming = matches!(self.lock().stream, Streaming::Running(_));
        if !streaming {
            return self.store_plain(target).await.map(Some);
        }
        let (snapshot, version, sha1) = self.finish_stream().await?;
        self.settle(target, &snapshot, &version, sha1)
            .await
            .map(Some)
    }

    /// Stores a snapshot that nothing has left of yet.
    async fn store_plain(self: &Arc<Self>, target: &NewFile) -> Result<Committed, Error> {
        let engine = &self.engine;
        let snapshot = {
            let mut state = self.lock();
            state.must_be_wanted()?;
            state.low = state.size;
            state.snapshot(0)?
        };
        if let Some(source) = snapshot.whole() {
            let version = engine.copy_whole(&source.record, target).await?;
            return self.apply(&snapshot, &version, source.record.sha1());
        }
        let limits = Limits {
            large_file: engine.settings.large_file.min(plan::MAX_PART),
            part_size: engine.settings.part_size,
        };
        match plan::plan(&snapshot.runs(), limits) {
            Plan::Upload => {
                let payload = snapshot.payload(engine, 0..snapshot.size).await?;
                let version = engine
                    .client
                    .upload_file(&small_target(target), payload.clone())
                    .await?;
                let committed = self.apply(&snapshot, &version, None)?;
                engine.keep(&snapshot, &version, |range| Some(payload.copy(range)));
                Ok(committed)
            }
            Plan::Parts(steps) => {
                let sha1 = hash_in_memory(&snapshot).await;
                let large = engine.start_large(target, sha1).await?;
                let stored = async {
                    let hashes = engine.send_parts(&large, 1, &steps, &snapshot).await?;
                    Ok(engine.client.finish_large_file(&large, &hashes).await?)
                };
                let version = match stored.await {
                    Ok(version) => version,
                    Err(error) => {
                        engine.cancel_large(large);
                        return Err(error);
                    }
                };
                engine.forget_large(&large);
                self.settle(target, &snapshot, &version, sha1).await
            }
        }
    }

    /// Sends the tail while the last parts of the stream land, and what failed of them again;
    /// finishes the large file.
    async fn finish_stream(
        self: &Arc<Self>,
    ) -> Result<(Snapshot, FileVersion, Option<Sha1>), Error> {
        let engine = &self.engine;
        let (large, snapshot, parts, sum) = {
            let mut state = self.lock();
            state.must_be_wanted()?;
            state.low = state.size;
            let size = state.size;
            let Streaming::Running(stream) = &mut state.stream else {
                return Err(Error::NeedsCommit);
            };
            stream.tail_end = stream.tail_end.max(size);
            let (large, issued) = (stream.large.clone(), stream.issued);
            let (parts, sum) = (stream.parts.len(), stream.sum.clone());
            (large, state.snapshot(issued)?, parts, sum)
        };
        let tail = snapshot.size - snapshot.start;
        let steps = plan::parts(
            snapshot.start,
            &snapshot.runs(),
            plan::even(tail, engine.settings.part_size, engine.settings.uploads),
            MAX_PARTS - parts as u64,
            1,
        );
        let landing = async {
            let hashes = self.land(&large).await?;
            let sum = async { hash_after(sum?.of(parts).await?, &snapshot).await };
            Ok((hashes, sum.await))
        };
        let sending = engine.send_parts(&large, parts as u32 + 1, &steps, &snapshot);
        let ((mut hashes, sha1), tail) = futures_util::future::try_join(landing, sending).await?;
        hashes.extend(tail);
        let version = engine.client.finish_large_file(&large, &hashes).await?;
        engine.forget_large(&large);
        self.lock().stream = Streaming::Off;
        Ok((snapshot, version, sha1))
    }

    /// Waits for the parts under way and sends those again that failed; the hashes of all of them.
    async fn land(self: &Arc<Self>, large: &FileId) -> Result<Vec<Sha1>, Error> {
        let mut landed = self.landed.subscribe();
        let missing = loop {
            landed.mark_unchanged();
            {
                let mut state = self.lock();
                state.must_be_wanted()?;
                let Streaming::Running(stream) = &state.stream else {
                    return Err(Error::NeedsCommit);
                };
                if !stream.is_flying() {
                    let missing: Vec<(usize, Step)> = stream
                        .parts
                        .iter()
                        .enumerate()
                        .filter(|(_, part)| !matches!(part.state, PartState::Done(_)))
                        .map(|(index, part)| (index, part.step.clone()))
                        .collect();
                    let seq = state.seq;
                    state.overlay.freeze();
                    let with_bytes = missing.into_iter().map(|(index, step)| {
                        let range = step.range().clone();
                        let snapshot = Snapshot {
                            start: range.start,
                            size: range.end,
                            seq,
                            base: state.base.clone(),
                            spans: state.spans(range)?,
                        };
                        Ok((index, step, snapshot))
                    });
                    break with_bytes.collect::<Result<Vec<_>, Error>>()?;
                }
            }
            if landed.changed().await.is_err() {
                return Err(Error::NeedsCommit);
            }
        };
        self.send_missing(large, missing).await?;
        match &self.lock().stream {
            Streaming::Running(stream) => stream.hashes().ok_or(Error::NeedsCommit),
            _ => Err(Error::NeedsCommit),
        }
    }

    async fn send_missing(
        self: &Arc<Self>,
        large: &FileId,
        missing: Vec<(usize, Step, Snapshot)>,
    ) -> Result<(), Error> {
        let sends: Vec<BoxFuture<'static, Result<(), Error>>> = missing
            .into_iter()
            .map(|(index, step, snapshot)| {
                let (this, large) = (Arc::clone(self), large.clone());
                async move {
                    let number = index as u32 + 1;
                    let sha1 = this
                        .engine
                        .send_part(&large, number, &step, &snapshot)
                        .await?;
                    drop(snapshot);
                    this.part_landed(&large, index, Some(sha1));
                    Ok(())
                }
                .boxed()
            })
            .collect();
        futures_util::stream::iter(sends)
            .buffer_unordered(self.engine.settings.uploads.max(1))
            .try_collect()
            .await
    }

    /// Takes over a finished large file; if it is not what its name shows (started under another
    /// name, or before another client's version), makes it so by a copy on the server.
    fn settle<'a>(
        self: &'a Arc<Self>,
        target: &'a NewFile,
        snapshot: &'a Snapshot,
        version: &'a FileVersion,
        sha1: Option<Sha1>,
    ) -> BoxFuture<'a, Result<Committed, Error>> {
        async move {
            let newest = if version.name == target.name {
                self.engine.is_newest(version).await
            } else {
                Ok(false)
            };
            let committed = self.apply(snapshot, version, sha1)?;
            if let Ok(true) = newest {
                self.engine
                    .keep(snapshot, version, |range| snapshot.bytes(range));
                return Ok(committed);
            }
            {
                let mut state = self.lock();
                state.misplaced = Some(Misplaced {
                    version: version.clone(),
                    superseded: committed.superseded,
                });
                // Dirty until it is in its place, which is what will be told.
                state.seq += 1;
                state.unrecorded = None;
            }
            if let Err(Error::B2(mut error)) = newest {
                // It is there, but whether it shows is not known: the next commit puts it on top.
                error.lost = Some(Box::new(Lost {
                    id: version.id.clone(),
                    ..Lost::default()
                }));
                return Err(Error::B2(error));
            }
            newest?;
            self.store_plain(target).await
        }
        .boxed()
    }

    /// The snapshot is stored as `version`: it becomes the base, later changes stay on top.
    fn apply(
        &self,
        snapshot: &Snapshot,
        version: &FileVersion,
        sha1: Option<Sha1>,
    ) -> Result<Committed, Error> {
        let id = id_of(version)?;
        if version.size != snapshot.size {
            return Err(Error::Corrupt(format!(
                "{}: B2 stored {} bytes of {} as {id}",
                version.name, version.size, snapshot.size
            )));
        }
        let engine = &self.engine;
        engine.note_own(&id);
        let sha1 = sha1.or_else(|| version.whole_sha1());
        let record = engine.records.intern(Version {
            id,
            size: snapshot.size,
            sha1,
        });
        if let Some(sha1) = sha1 {
            engine.records.learn(&record, sha1);
        }
        let (before, misplaced, committed) = {
            let mut state = self.lock();
            let before = state.base.replace(record);
            state.base_len = snapshot.size.min(state.low);
            state.overlay.drop_stored(snapshot.seq);
            state.stored = state.stored.max(snapshot.seq);
            state.consider = 0;
            if !state.is_dirty() {
                state.overhead = None;
            }
            self.count(&state);
            let misplaced = state.misplaced.take();
            let superseded = match &misplaced {
                Some(misplaced) => misplaced.superseded.clone(),
                None => before.as_ref().map(|before| before.id.clone()),
            };
            let committed = Committed {
                version: version.clone(),
                sha1,
                superseded,
            };
            if !state.discarded {
                // In one step with the rest: in between it would be taken for stored and let go, while
                // its owner still names the version before.
                state.unrecorded = Some(committed.clone());
            }
            (before, misplaced, committed)
        };
        drop(before);
        if let Some(misplaced) = misplaced {
            engine.delete_twin(&misplaced.version);
        }
        Ok(committed)
    }
}

impl Engine {
    /// Sends and copies the parts of a snapshot, `first` and following; their hashes in order.
    pub(in crate::io) async fn send_parts(
        self: &Arc<Self>,
        large: &FileId,
        first: u32,
        steps: &[Step],
        snapshot: &Snapshot,
    ) -> Result<Vec<Sha1>, Error> {
        let snapshot = Arc::new(snapshot.clone());
        let sends: Vec<BoxFuture<'static, Result<Sha1, Error>>> = (first..)
            .zip(steps.iter().cloned())
            .map(|(number, step)| {
                let (engine, large) = (Arc::clone(self), large.clone());
                let snapshot = Arc::clone(&snapshot);
                async move { engine.send_part(&large, number, &step, &snapshot).await }.boxed()
            })
            .collect();
        futures_util::stream::iter(sends)
            .buffered(self.settings.uploads.max(1))
            .try_collect()
            .await
    }
}

impl State {
    /// Discarded content is not there any more: what would be stored are zeros.
    fn must_be_wanted(&self) -> Result<(), Error> {
        if self.discarded {
            Err(Error::Stale)
        } else {
            Ok(())
        }
    }
}

/// SHA-1 of a snapshot that is all in memory and not too large.
async fn hash_in_memory(snapshot: &Snapshot) -> Option<Sha1> {
    if snapshot.size > HASH_FIRST {
        return None;
    }
    hash_after(Hasher::new(), snapshot).await
}

/// SHA-1 of what is hashed already and a snapshot that is all in memory.
async fn hash_after(mut hash: Hasher, snapshot: &Snapshot) -> Option<Sha1> {
    let pieces = snapshot.in_memory()?;
    let hash = tokio::task::spawn_blocking(move || {
        for slice in pieces
            .iter()
            .flat_map(|piece| piece.chunks(STRIDE as usize))
        {
            hash.update(slice);
        }
        Sha1(hash.finalize().into())
    });
    hash.await.ok()
}
