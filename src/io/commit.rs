//! Storing what is dirty: one commit at a time per content, in a task of its own.
//!
//! A commit takes a snapshot, stores it by the cheapest plan (or ends the stream that has begun),
//! and then makes the new version the base: exactly the changes that are in the snapshot leave
//! the overlay, later ones stay on top. Until B2 has acknowledged everything nothing changes, so
//! a failed commit, or one whose caller went away, leaves the content as it was.

pub(in crate::io) mod copy;
pub(in crate::io) mod finish;
pub(in crate::io) mod halt;
pub(in crate::io) mod keep;
pub(in crate::io) mod remote;
pub(in crate::io) mod stream;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::b2::{Error as B2Error, ErrorKind, FileId, FileVersion, Hasher, Lost, NewFile, Sha1};
use crate::io::commit::finish::hash_after;
use crate::io::commit::remote::{small_target, without_ancestors};
use crate::io::commit::stream::id_of;
use crate::io::parts::large::{End, Large};
use crate::io::parts::plan::{self, Limits, Plan};
use crate::io::parts::{Stream, Streaming};
use crate::io::stamp::Stamp;
use crate::io::write::content::{Content, Misplaced, State};
use crate::io::write::inherit::NewProof;
use crate::io::write::snapshot::Snapshot;
use crate::io::{Committed, Error, Version};

/// How much of a content a commit stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Scope {
    All,
    /// What has left memory, so that it can be read again.
    Sent,
}

/// What an earlier call, or an earlier commit, has left of a large file.
enum Begun {
    Nothing,
    /// Started, and B2 has no part of it.
    Unused(FileId),
    Growing,
    Closed,
    /// B2 was asked to finish it.
    Asked(FileId, End),
}

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
        self.commit_in(target, Scope::All).await
    }

    pub(in crate::io) async fn commit_in(
        self: &Arc<Self>,
        target: &NewFile,
        scope: Scope,
    ) -> Result<Option<Committed>, Error> {
        if !self.is_dirty() {
            return Ok(None);
        }
        let (this, target) = (Arc::clone(self), target.clone());
        let task = self
            .engine
            .rt
            .spawn(async move { this.commit_now(&target, scope).await });
        let outcome = task.await.unwrap_or_else(|error| Err(ended_early(&error)));
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

    async fn commit_now(
        self: &Arc<Self>,
        target: &NewFile,
        scope: Scope,
    ) -> Result<Option<Committed>, Error> {
        let (_turn, outcome) = loop {
            let turn = self.turn.lock().await;
            let outcome = {
                let _committing = Committing::begin(self);
                self.store(target, scope).await
            };
            match outcome {
                // The next turn is that of whoever has interrupted it.
                Err(Error::Anew) => drop(turn),
                outcome => break (turn, outcome),
            }
            tokio::task::yield_now().await;
        };
        let abandoned = {
            let mut state = self.lock();
            state.discarded.then(|| std::mem::take(&mut state.stream))
        };
        if let Some(stream) = abandoned {
            self.give_up(stream);
            return outcome.or(Ok(None));
        }
        if matches!(outcome, Ok(_) | Err(Error::Stopped)) {
            self.asked.store(0, Ordering::Relaxed);
        } else {
            // Not asked again at once by those who wait for memory.
            self.asked
                .store(self.engine.now_ms().max(1), Ordering::Relaxed);
            self.engine.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn store(
        self: &Arc<Self>,
        target: &NewFile,
        scope: Scope,
    ) -> Result<Option<Committed>, Error> {
        // What has left in parts is not compared with what it was based on.
        let (whole, target) = (target, &without_ancestors(target));
        loop {
            let (begun, end) = {
                let mut state = self.lock();
                if !state.is_dirty() || state.discarded {
                    return Ok(None);
                }
                // Only a large file under way has anything that is in no memory.
                if scope == Scope::Sent && !matches!(state.stream, Streaming::Running(_)) {
                    return Ok(None);
                }
                self.may_send()?;
                let end = match scope {
                    Scope::All => None,
                    Scope::Sent => state.sent_end(target),
                };
                let begun = match &mut state.stream {
                    Streaming::Running(stream) => {
                        let large = &stream.large;
                        match large.finishing() {
                            Some(end) => Begun::Asked(large.id().clone(), end),
                            None if large.is_closing() => Begun::Closed,
                            // Nothing has left yet: the ordinary way is as short.
                            None if large.is_unused() => Begun::Unused(large.id().clone()),
                            None => Begun::Growing,
                        }
                    }
                    _ => Begun::Nothing,
                };
                (begun, end)
            };
            match begun {
                Begun::Asked(large, end) => {
                    if let Some((snapshot, version)) = self.ask(&large, end).await? {
                        let done = self.settle(target, &snapshot, &version, None).await?;
                        if !self.lock().is_dirty() {
                            return Ok(Some(done));
                        }
                        // What has changed since is for this commit, too.
                    }
                }
                // A commit that ended in the middle, by a panic say.
                Begun::Closed => self.reopen(),
                Begun::Unused(large) => {
                    self.lock().stream = Streaming::Off;
                    self.engine.cancel_large(large);
                }
                Begun::Nothing => {
                    self.lock().stream = Streaming::Off;
                    return self.store_plain(whole).await.map(Some);
                }
                Begun::Growing => {
                    let (snapshot, version, sha1) = match self.finish_stream(end).await {
                        Ok(finished) => finished,
                        Err(error) => {
                            let (snapshot, version) = self.ask_doubts().await.ok_or(error)?;
                            let done = self.settle(target, &snapshot, &version, None).await?;
                            if !self.lock().is_dirty() {
                                return Ok(Some(done));
                            }
                            continue;
                        }
                    };
                    if !snapshot.complete {
                        // Whether it shows is of no account: what is complete will come above it, or the name goes.
                        return self.apply(&snapshot, &version, sha1).map(Some);
                    }
                    return self
                        .settle(target, &snapshot, &version, sha1)
                        .await
                        .map(Some);
                }
            }
        }
    }

    /// Stores a snapshot that nothing has left of yet.
    async fn store_plain(self: &Arc<Self>, target: &NewFile) -> Result<Committed, Error> {
        let engine = &self.engine;
        let mut snapshot = {
            let mut state = self.lock();
            state.must_be_wanted()?;
            state.low = state.size;
            let all = 0..state.size;
            state.snapshot(all)?
        };
        let continued = Stamp::of(&target.info).ancestors.last();
        let plain;
        let target = match continued {
            Some(mark) if !snapshot.continues(mark) => {
                plain = without_ancestors(target);
                &plain
            }
            _ => target,
        };
        if let Some(source) = snapshot.whole() {
            let version = engine.copy_whole(&source.record, target).await?;
            return self.apply(&snapshot, &version, source.record.sha1());
        }
        let limits = Limits {
            large_file: engine.settings.large_file.min(plan::MAX_PART),
            sizes: engine.sizes(),
        };
        match plan::plan(snapshot.runs(), limits) {
            Plan::Upload => {
                let payload = snapshot.payload(engine, 0..snapshot.size).await?;
                self.flights.note(&payload);
                let version = engine
                    .client
                    .upload_file(&small_target(target), payload.clone())
                    .await?;
                let committed = self.apply(&snapshot, &version, None)?;
                engine.keep(&snapshot, &version, |range| Some(payload.copy(range)));
                Ok(committed)
            }
            Plan::Parts(steps) => {
                let sha1 = tokio::select! {
                    sha1 = hash_after(Hasher::new(), &snapshot) => sha1,
                    stopped = self.broken_off() => return Err(stopped),
                };
                let id = engine.start_large(target, sha1).await?;
                let mut large = Large::growing(id.clone(), limits.sizes.least(), Vec::new(), 0);
                large.close(steps, snapshot.size, snapshot.seq, true);
                let wanted = {
                    let mut state = self.lock();
                    if state.discarded {
                        false
                    } else {
                        state.stream = Streaming::Running(Box::new(Stream {
                            name: target.name.clone(),
                            large,
                            head: 0,
                            sum: None,
                            fixed: true,
                        }));
                        true
                    }
                };
                if !wanted {
                    engine.cancel_large(id);
                    return Err(Error::Stale);
                }
                snapshot.proof = NewProof::begin(snapshot.size, snapshot.base.as_ref());
                let snapshot = Arc::new(snapshot);
                let version = self.finish_closed(&snapshot).await?;
                let done = self.settle(target, &snapshot, &version, sha1).await?;
                if done.version.id == version.id {
                    engine.inherit(&snapshot, &done.version).await;
                }
                Ok(done)
            }
        }
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
            state.overlay.drop_stored(snapshot.size, snapshot.seq);
            if snapshot.complete {
                state.stored = state.stored.max(snapshot.seq);
            }
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
            let owner = self.lock().owner.clone();
            engine.delete_twin(&misplaced.version, &version.name, owner);
        }
        Ok(committed)
    }
}

/// A task of a commit has panicked, or the runtime is ending.
fn ended_early(error: &tokio::task::JoinError) -> Error {
    Error::B2(B2Error {
        kind: ErrorKind::Unavailable,
        call: "commit",
        subject: String::new(),
        status: 0,
        code: String::new(),
        detail: format!("the task ended early: {error}"),
        attempts: 1,
        elapsed: std::time::Duration::ZERO,
        lost: None,
    })
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
