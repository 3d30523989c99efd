//! The end of a large file: what is missing of it is sent, B2 finishes it, and if B2's answer is lost it is asked for.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::stream::Launch;
use crate::b2::{Action, Error as B2Error, ErrorKind, FileId, FileVersion, Hasher, Lost, Sha1};
use crate::io::Error;
use crate::io::commit::ended_early;
use crate::io::engine::{Engine, STRIDE};
use crate::io::parts::Streaming;
use crate::io::parts::large::End;
use crate::io::parts::plan::{self, MAX_PARTS};
use crate::io::write::content::Content;
use crate::io::write::snapshot::Snapshot;

/// Content in memory up to this size is hashed as a whole: it is sent more slowly than it is hashed, but not a hole of
/// terabytes. A large file's SHA-1 can only be stored at its start (API §6), so what is to be hashed before is the less.
pub(super) const HASH_MOST: u64 = 4 << 30;

impl Content {
    /// Sends the tail while the last parts of the stream land, and what failed of them again;
    /// finishes the large file. With an `end` nothing is sent that is behind it.
    pub(super) async fn finish_stream(
        self: &Arc<Self>,
        end: Option<u64>,
    ) -> Result<(Arc<Snapshot>, FileVersion, Option<Sha1>), Error> {
        let engine = &self.engine;
        let (snapshot, grown, sum) = {
            let mut state = self.lock();
            state.must_be_wanted()?;
            state.low = state.size;
            let issued = match &state.stream {
                Streaming::Running(stream) => stream.large.issued(),
                _ => return Err(Error::NeedsCommit),
            };
            let size = state.size;
            let mut snapshot = state.snapshot(issued..end.unwrap_or(size))?;
            snapshot.complete = snapshot.size == size;
            let Streaming::Running(stream) = &mut state.stream else {
                return Err(Error::NeedsCommit);
            };
            let tail = snapshot.size - snapshot.start;
            let grown = stream.large.len();
            let steps = plan::parts(
                snapshot.start,
                snapshot.runs(),
                engine.sizes().even(tail, engine.settings.uploads),
                MAX_PARTS - grown as u64,
                stream.large.lacking(),
            );
            stream
                .large
                .close(steps, snapshot.size, snapshot.seq, snapshot.complete);
            (Arc::new(snapshot), grown, stream.sum.clone())
        };
        let hashing = async {
            let sum = sum?.of(grown).await?;
            hash_after(sum, &snapshot).await
        };
        // A failure does not wait for a hash that nobody needs then.
        let hashing = async { Ok(hashing.await) };
        let (version, sha1) = tokio::try_join!(self.finish_closed(&snapshot), hashing)?;
        Ok((snapshot, version, sha1))
    }

    /// Sends what is missing of a large file that is closed, and has B2 finish it.
    pub(super) async fn finish_closed(
        self: &Arc<Self>,
        tail: &Arc<Snapshot>,
    ) -> Result<FileVersion, Error> {
        let sent = self.send_missing(tail).await;
        let asked = match sent {
            Ok(()) => match &mut self.lock().stream {
                Streaming::Running(stream) => {
                    let hashes = stream.large.finish();
                    hashes.map(|hashes| (stream.large.id().clone(), hashes))
                }
                _ => None,
            }
            .ok_or(Error::NeedsCommit),
            Err(error) => Err(error),
        };
        let (large, hashes) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                self.reopen();
                return Err(error);
            }
        };
        let error = match self.engine.client.finish_large_file(&large, &hashes).await {
            Ok(version) => {
                self.finished(&large);
                return Ok(version);
            }
            Err(error) => error,
        };
        // A refusal, too, may be the answer to an earlier try that has worked.
        if error.lost.is_none() && error.status != 400 {
            self.reopen();
        } else {
            match self.engine.outcome(&large).await {
                // Which of its ends it has is decided by whoever asks next.
                Ok(Some(version)) if self.earlier_end(version.size).is_some() => self.reopen(),
                Ok(Some(version)) => {
                    self.finished(&large);
                    return Ok(version);
                }
                Ok(None) => self.reopen_in_doubt(),
                Err(_) => {} // asked again by the next commit
            }
        }
        Err(Error::B2(error))
    }

    /// Whether a large file that B2 was asked to finish is finished; `None`: it is not, and is open again.
    pub(super) async fn ask(
        self: &Arc<Self>,
        large: &FileId,
        end: End,
    ) -> Result<Option<(Arc<Snapshot>, FileVersion)>, Error> {
        match self.engine.outcome(large).await {
            Ok(Some(version)) => {
                log::info!(
                    "{}: large file {large} was finished after all",
                    version.name
                );
                let end = self.earlier_end(version.size).unwrap_or(end);
                Ok(Some((self.stored_to(large, end), version)))
            }
            Ok(None) => {
                self.reopen_in_doubt();
                Ok(None)
            }
            Err(mut error) if error.kind == ErrorKind::NotFound => {
                let mut state = self.lock();
                if let Streaming::Running(stream) = &state.stream
                    && stream.fixed
                {
                    // Somebody has cancelled or deleted it; all of it is still here.
                    state.stream = Streaming::Off;
                    return Ok(None);
                }
                error.detail = format!(
                    "somebody else has cancelled or deleted it, and with it what was sent of the file: {}",
                    error.detail
                );
                Err(Error::B2(error))
            }
            Err(mut error) => {
                error.lost = Some(Box::new(Lost {
                    id: Some(large.clone()),
                    ..Lost::default()
                }));
                Err(Error::B2(error))
            }
        }
    }

    /// Whether a large file that could not be ended was finished meanwhile by an earlier call: as what.
    pub(super) async fn ask_doubts(self: &Arc<Self>) -> Option<(Arc<Snapshot>, FileVersion)> {
        let large = match &self.lock().stream {
            Streaming::Running(stream) if stream.large.has_doubts() => stream.large.id().clone(),
            _ => return None,
        };
        let version = self.engine.outcome(&large).await.ok().flatten()?;
        let end = self.earlier_end(version.size)?;
        log::info!(
            "{}: large file {large} was finished after all",
            version.name
        );
        Some((self.stored_to(&large, end), version))
    }

    fn earlier_end(&self, size: u64) -> Option<End> {
        match &self.lock().stream {
            Streaming::Running(stream) => stream.large.earlier(size),
            _ => None,
        }
    }

    /// The large file is a version that has everything up to an end.
    fn stored_to(&self, large: &FileId, end: End) -> Arc<Snapshot> {
        let base = self.lock().base.clone();
        self.finished(large);
        let all = end.size..end.size;
        let mut snapshot = Snapshot::new(all, end.seq, base, Vec::new());
        snapshot.complete = end.complete;
        Arc::new(snapshot)
    }

    /// The large file is a version now.
    fn finished(&self, large: &FileId) {
        self.engine.forget_large(large);
        self.lock().stream = Streaming::Off;
    }

    /// B2 has not finished it, but may still do so.
    fn reopen_in_doubt(&self) {
        if let Streaming::Running(stream) = &mut self.lock().stream {
            stream.large.doubt();
        }
        self.reopen();
    }

    /// A commit has failed: what it has sent is for the next one, or begins anew.
    pub(super) fn reopen(&self) {
        let cancelled = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Streaming::Running(stream) = &mut state.stream else {
                return;
            };
            if stream.fixed {
                match std::mem::take(&mut state.stream) {
                    Streaming::Running(stream) => Some(stream.large.id().clone()),
                    _ => None,
                }
            } else {
                let overlay = &state.overlay;
                let grown = stream.large.len();
                let sent = stream
                    .large
                    .reopen(|range, seq| overlay.changed_since(range, seq));
                if stream.large.len() != grown {
                    stream.sum = None;
                }
                for range in sent {
                    state.overlay.mark_sent(range);
                }
                self.count(state);
                None
            }
        };
        if let Some(large) = cancelled {
            self.engine.cancel_large(large);
        }
    }

    /// Waits for the parts under way and sends what is missing. All that is begun is waited for, so that no part
    /// comes when its number has got another meaning.
    async fn send_missing(self: &Arc<Self>, tail: &Arc<Snapshot>) -> Result<(), Error> {
        let mut landed = self.landed.subscribe();
        let mut sending = FuturesUnordered::new();
        let mut failed = None;
        loop {
            landed.mark_unchanged();
            if failed.is_none() {
                match self.launch_missing(tail) {
                    Ok(launches) => sending.extend(launches.into_iter().map(|launch| {
                        let this = Arc::clone(self);
                        self.engine.rt.spawn(async move { this.send(launch).await })
                    })),
                    Err(error) => failed = Some(error),
                }
            }
            let flying = match &self.lock().stream {
                Streaming::Running(stream) => stream.large.flying(),
                _ => 0,
            };
            if flying == 0 && sending.is_empty() {
                return failed.map_or(Ok(()), Err);
            }
            tokio::select! {
                Some(sent) = sending.next() => {
                    let sent = sent.unwrap_or_else(|error| Err(ended_early(&error)));
                    failed = failed.or(sent.err());
                }
                changed = landed.changed() => {
                    if changed.is_err() {
                        return Err(Error::NeedsCommit);
                    }
                }
            }
        }
    }

    /// As many of the missing parts as may be under way; those of the tail hold what the commit has found.
    fn launch_missing(&self, tail: &Arc<Snapshot>) -> Result<Vec<Launch>, Error> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.must_be_wanted()?;
        self.may_send()?;
        let Streaming::Running(stream) = &state.stream else {
            return Err(Error::NeedsCommit);
        };
        let free = self
            .engine
            .parts_at_once()
            .saturating_sub(stream.large.flying());
        let issued = stream.large.issued();
        let mut missing = stream.large.missing();
        missing.truncate(free);
        let mut launches = Vec::new();
        for index in missing {
            let launch = match &mut state.stream {
                Streaming::Running(stream)
                    if stream
                        .large
                        .step(index)
                        .is_some_and(|step| step.range().start >= issued) =>
                {
                    let step = stream.large.step(index).ok_or(Error::NeedsCommit)?.clone();
                    stream.large.launch(index);
                    Launch {
                        large: stream.large.id().clone(),
                        index,
                        step,
                        snapshot: Arc::clone(tail),
                        sum: None,
                    }
                }
                _ => Self::launch(state, index)?,
            };
            launches.push(launch);
        }
        self.count(state);
        Ok(launches)
    }
}

impl Engine {
    /// The version that a large file has become; `None`: B2 has not finished it, and says so with a status of 400
    /// (API §6).
    pub(super) async fn outcome(&self, large: &FileId) -> Result<Option<FileVersion>, B2Error> {
        match self.client.get_file_info(large).await {
            Ok(version) => Ok(Some(version).filter(|version| version.action == Action::Upload)),
            Err(error) if error.status == 400 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// SHA-1 of what is hashed already and a snapshot that is all in memory and not too large (a hole may be terabytes).
/// Dropped, it ends.
pub(super) async fn hash_after(mut hash: Hasher, snapshot: &Snapshot) -> Option<Sha1> {
    if snapshot.size - snapshot.start > HASH_MOST {
        return None;
    }
    let pieces = snapshot.in_memory()?;
    let wanted = Arc::new(());
    let watched = Arc::downgrade(&wanted);
    let hash = tokio::task::spawn_blocking(move || {
        for slice in pieces
            .iter()
            .flat_map(|piece| piece.chunks(STRIDE as usize))
        {
            if watched.strong_count() == 0 {
                return None;
            }
            hash.update(slice);
        }
        Some(hash.finish())
    });
    let hash = hash.await.ok().flatten();
    drop(wanted);
    hash
}
