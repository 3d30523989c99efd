//! Sending parts of a large file while it is still being written.
//!
//! A content that is written in one run (new, cut to nothing, or appended to) starts a large file
//! once the run is long enough, and sends full parts in order of file offset; `large` keeps account of
//! them. What was copied on the server in the middle of a run ends the growth: the rest is for the commit. A part
//! that has landed gives back its memory; one that failed keeps it and is tried again by the commit.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::b2::{Error as B2Error, ErrorKind, FileId, FileName, FileVersion, Sha1};
use crate::io::engine::Engine;
use crate::io::parts::large::Large;
use crate::io::parts::plan::{self, MAX_HEAD, MIN_PART, Run, Sizes, Step};
use crate::io::parts::sum::Sum;
use crate::io::parts::{Stream, Streaming};
use crate::io::read::records::{Record, StoredRange};
use crate::io::write::content::{Content, State};
use crate::io::write::progress::Flights;
use crate::io::write::snapshot::Snapshot;
use crate::io::{Error, Owner};

/// How long a content does without a stream after one could not be started.
const REST: Duration = Duration::from_secs(5);

/// A part about to be sent.
pub(in crate::io) struct Launch {
    pub(in crate::io) large: FileId,
    pub(in crate::io) index: usize,
    pub(in crate::io) step: Step,
    pub(in crate::io) snapshot: Arc<Snapshot>,
    pub(in crate::io) sum: Option<Arc<Sum>>,
}

impl Engine {
    /// Bytes from which on a file is sent while it is being written.
    fn stream_from(&self) -> u64 {
        let memory = self.budget.write_limit() / 2;
        self.settings
            .large_file
            .min(memory)
            .max(self.least_streamed() + 1)
    }

    /// The shortest part that leaves before the end is known.
    fn least_streamed(&self) -> u64 {
        self.sizes().least().max(MIN_PART)
    }

    /// Size of the part after `n` that a stream has sent.
    fn part_size(&self, n: usize) -> u64 {
        let sizes = Sizes::new(self.least_streamed(), self.settings.part_size);
        let memory = self.budget.write_limit();
        plan::streamed(n as u64, sizes, memory, self.settings.uploads)
    }
}

impl Content {
    /// Starts a stream, or parts of it, if there is something to send. With `pressure` somebody
    /// waits for memory: shorter parts and earlier starts.
    pub(in crate::io) fn pump(self: &Arc<Self>, pressure: bool) {
        let mut launches = Vec::new();
        let mut start = None;
        {
            let mut state = self.lock();
            if state.discarded
                || state.held
                || self.may_send().is_err()
                || self.committing.load(Ordering::Acquire)
            {
                return;
            }
            if let Streaming::Running(_) = state.stream {
                while let Some(launch) = self.next_launch(&mut state, pressure) {
                    launches.push(launch);
                }
                if !launches.is_empty() {
                    self.count(&state);
                }
            } else if let Some(owner) = self.may_start(&mut state, pressure) {
                let token = state.seq;
                state.stream = Streaming::Starting(token);
                start = Some((token, owner));
            }
        }
        for launch in launches {
            let this = Arc::clone(self);
            self.engine.rt.spawn(async move { this.fly(launch).await });
        }
        if let Some((token, owner)) = start {
            let this = Arc::clone(self);
            self.engine
                .rt
                .spawn(async move { this.start(token, owner).await });
        }
    }

    fn may_start(&self, state: &mut State, pressure: bool) -> Option<Arc<dyn Owner>> {
        if state.held {
            return None;
        }
        match state.stream {
            Streaming::Off => {}
            Streaming::Resting(until) if until <= Instant::now() => {}
            _ => return None,
        }
        let unsent = state.overlay.unsent();
        if !pressure {
            if state.shy || unsent < state.consider {
                return None;
            }
            // Looking at all extents takes time: not at each write.
            state.consider = (unsent + (1 << 20)).max(self.engine.stream_from());
        }
        let from = if pressure {
            self.engine.least_streamed() + 1
        } else {
            self.engine.stream_from()
        };
        let fits = unsent >= from && state.overlay.is_one_run() && state.head().is_some();
        fits.then(|| state.owner.clone()).flatten()
    }

    async fn start(self: Arc<Self>, token: u64, owner: Arc<dyn Owner>) {
        let engine = &self.engine;
        let started = match owner.target() {
            None => None,
            Some(target) => match engine.start_large(&target, None).await {
                Ok(large) => Some((target.name, large)),
                Err(error) => {
                    engine.failures.fetch_add(1, Ordering::Relaxed);
                    log::warn!("{}: could not start a large file: {error}", target.name);
                    None
                }
            },
        };
        let unwanted = {
            let mut state = self.lock();
            let mine = matches!(state.stream, Streaming::Starting(t) if t == token);
            match started {
                Some((name, large)) if mine && !state.discarded => {
                    state.stream = match self.run_from(&state, name, large.clone()) {
                        Some(stream) => Streaming::Running(Box::new(stream)),
                        None => Streaming::Off,
                    };
                    matches!(state.stream, Streaming::Off).then_some(large)
                }
                started => {
                    if mine {
                        state.stream = Streaming::Resting(Instant::now() + REST);
                    }
                    started.map(|(_, large)| large)
                }
            }
        };
        match unwanted {
            Some(large) => engine.cancel_large(large),
            None => self.pump(false),
        }
    }

    /// A stream for what is written now; `None` when it is not one run behind the base any more.
    fn run_from(&self, state: &State, name: FileName, large: FileId) -> Option<Stream> {
        let (first, head) = state.head()?;
        let sizes = self.engine.sizes();
        // A shorter head is downloaded and sent with the first part.
        let steps = if first >= sizes.least() {
            plan::parts(0, head.into_iter(), sizes, MAX_HEAD, 1)
        } else {
            Vec::new()
        };
        Some(Stream {
            name,
            head: steps.len(),
            large: Large::growing(large, sizes.least(), steps, first),
            sum: (first == 0).then(Arc::default),
            fixed: false,
        })
    }

    fn next_launch(&self, state: &mut State, pressure: bool) -> Option<Launch> {
        let uploads = self.engine.parts_at_once();
        let Streaming::Running(stream) = &mut state.stream else {
            return None;
        };
        if !stream.large.is_growing() || stream.large.flying() >= uploads {
            return None;
        }
        let index = if let Some(index) = stream.large.waiting() {
            index
        } else {
            let range = self.next_range(state, pressure)?;
            let Streaming::Running(stream) = &mut state.stream else {
                return None;
            };
            stream.large.add(range)
        };
        Self::launch(state, index).ok()
    }

    /// Takes what a part holds as it is now, and notes that it is on its way.
    pub(in crate::io) fn launch(state: &mut State, index: usize) -> Result<Launch, Error> {
        let Streaming::Running(stream) = &state.stream else {
            return Err(Error::NeedsCommit);
        };
        let step = stream.large.step(index).ok_or(Error::NeedsCommit)?.clone();
        let range = step.range().clone();
        state.overlay.freeze();
        // Copies take nothing from here; what is sent is held by the snapshot until it landed.
        let spans = state.spans(range.clone())?;
        let snapshot = Snapshot::new(range, state.seq, state.base.clone(), spans);
        let Streaming::Running(stream) = &mut state.stream else {
            return Err(Error::NeedsCommit);
        };
        stream.large.launch(index);
        Ok(Launch {
            large: stream.large.id().clone(),
            index,
            step,
            sum: stream.sum.clone(),
            snapshot: Arc::new(snapshot),
        })
    }

    /// The next part to send, if enough is written.
    fn next_range(&self, state: &State, pressure: bool) -> Option<Range<u64>> {
        let Streaming::Running(stream) = &state.stream else {
            return None;
        };
        if state.shy && !pressure {
            return None;
        }
        let large = &stream.large;
        let issued = large.issued();
        if !large.may_grow() || large.len() as u64 >= plan::most_streamed(issued) {
            return None;
        }
        let written = state.overlay.run_end(issued.max(large.run_start()));
        // One byte at least stays behind, so that the last part is never empty and there are always two.
        let ready = written.saturating_sub(issued + 1);
        let full = self
            .engine
            .part_size(large.len().saturating_sub(stream.head));
        let least = if pressure {
            self.engine.least_streamed()
        } else {
            full
        };
        (ready >= least).then(|| issued..issued + ready.min(full))
    }

    /// Sends a part while the file is being written.
    async fn fly(self: Arc<Self>, launch: Launch) {
        let number = launch.index + 1;
        let large = launch.large.clone();
        let sent = self.send(launch).await;
        // A file that was cut, or has gone, has given up its large file under way.
        let wanted = matches!(&self.lock().stream, Streaming::Running(s) if *s.large.id() == large);
        if let Err(error) = sent
            && wanted
            && self.may_send().is_ok()
        {
            self.engine.failures.fetch_add(1, Ordering::Relaxed);
            log::warn!("part {number} will be tried again: {error}");
        }
        self.pump(false);
    }

    /// Sends a part and notes how that ended, also if it ends in the middle.
    pub(in crate::io) async fn send(self: &Arc<Self>, launch: Launch) -> Result<(), Error> {
        let Launch {
            large,
            index,
            step,
            snapshot,
            sum,
        } = launch;
        let landing = Landing {
            content: self,
            large: &large,
            index,
        };
        let number = index as u32 + 1;
        if let Some(sum) = sum
            && let Some(pieces) = snapshot.in_memory()
        {
            sum.offer(index, pieces);
        }
        let sent = tokio::select! {
            sent = self.engine.send_part(&large, number, &step, &snapshot, &self.flights) => sent,
            // Whether B2 has it by now does not matter: its number is sent again, or given up with the rest.
            stopped = self.broken_off() => Err(stopped),
        };
        drop(snapshot);
        let (sha1, result) = match sent {
            Ok(sha1) => (Some(sha1), Ok(())),
            Err(error) => (None, Err(error)),
        };
        landing.ended(sha1);
        result
    }

    /// Notes how a part ended; gives back the memory of one that B2 has.
    fn part_landed(&self, large: &FileId, index: usize, sha1: Option<Sha1>) {
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            if let Streaming::Running(stream) = &mut state.stream
                && stream.large.id() == large
            {
                if let Some(range) = stream.large.landed(index, sha1) {
                    state.overlay.mark_sent(range);
                }
                self.count(state);
            }
        }
        self.landed.send_modify(|count| *count += 1);
    }
}

/// A part on its way: one whose task ends early, by a panic or at the end of the runtime, has failed.
struct Landing<'a> {
    content: &'a Content,
    large: &'a FileId,
    index: usize,
}

impl Landing<'_> {
    fn ended(self, sha1: Option<Sha1>) {
        self.content.part_landed(self.large, self.index, sha1);
        std::mem::forget(self);
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.content.part_landed(self.large, self.index, None);
    }
}

impl State {
    /// Where the first changed bytes in memory start, and what is before them: nothing, or a
    /// stretch of one version; `None` when it is more than can be copied in one.
    fn head(&self) -> Option<(u64, Vec<Run>)> {
        let first = self.overlay.first_unsent()?;
        let before = Snapshot::new(0..first, self.seq, None, self.spans(0..first).ok()?);
        let head: Vec<Run> = plan::joined(before.runs()).take(2).collect();
        let copied = head.iter().all(|run| run.source.is_stored());
        (copied && head.len() <= 1).then_some((first, head))
    }
}

impl Engine {
    /// Sends or copies one part.
    pub(in crate::io) async fn send_part(
        self: &Arc<Self>,
        large: &FileId,
        number: u32,
        step: &Step,
        snapshot: &Snapshot,
        flights: &Flights,
    ) -> Result<Sha1, Error> {
        let source = match step {
            Step::Copy(range) => snapshot.source(range),
            Step::Send(_) => None,
        };
        let done = if let Some(StoredRange { record, range, .. }) = source {
            self.client
                .copy_part(large, number, &record.id, range)
                .await
                .map_err(|error| source_error(&record, error))?
        } else {
            let range = step.range().clone();
            let payload = snapshot.payload(self, range.clone()).await?;
            flights.note(&payload);
            let learned = async {
                if let Some(proof) = &snapshot.proof {
                    proof.learn(&range, &payload).await;
                }
            };
            let sent = self.client.upload_part(large, number, payload.clone());
            let (sent, ()) = tokio::join!(sent, learned);
            sent?
        };
        let want = step.range().end - step.range().start;
        if done.size != want {
            return Err(Error::Corrupt(format!(
                "part {number} of large file {large}: B2 has {} bytes of {want}",
                done.size
            )));
        }
        Ok(done.sha1)
    }
}

/// What it means that a version could not be copied.
pub(in crate::io) fn source_error(record: &Record, error: B2Error) -> Error {
    if error.kind == ErrorKind::NotFound {
        log::warn!(
            "version {}, which unsent content refers to, was deleted in the bucket",
            record.id
        );
        Error::Stale
    } else {
        Error::B2(error)
    }
}

/// The id of a version that B2 has just made.
pub(in crate::io) fn id_of(version: &FileVersion) -> Result<FileId, Error> {
    version
        .id
        .clone()
        .ok_or_else(|| Error::Corrupt(format!("{}: B2 gave no id for a new version", version.name)))
}
