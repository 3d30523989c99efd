//! Sending parts of a large file while it is still being written.
//!
//! A content that is written in one run (new, cut to nothing, or appended to) starts a large file
//! once the run is long enough, and sends full parts in order of file offset. What was copied on the
//! server in the middle of a run ends the stream: the rest is for the commit. What a part holds
//! must not change any more: `issued` is the offset up to which parts were made, and a change
//! before it needs a commit first. A part that has landed gives back its memory; one that failed
//! keeps it and is tried again by the commit. At least one byte stays behind what was issued, so
//! that the last part is never empty and there are always two.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::b2::{Error as B2Error, ErrorKind, FileId, FileVersion, Sha1};
use crate::io::commit::plan::{self, MAX_PART, MIN_PART, Run, Step};
use crate::io::commit::snapshot::Snapshot;
use crate::io::commit::sum::{Sum, UNHURRIED};
use crate::io::engine::Engine;
use crate::io::read::records::{Record, Stored};
use crate::io::write::content::{Content, State};
use crate::io::{Error, Owner};

/// Parts that a stream may make; the rest is for the tail, which may copy 10 TB of base.
const MAX_STREAMED: usize = 7_000;
/// How long a content does without a stream after one could not be started.
const REST: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(in crate::io) enum Streaming {
    #[default]
    Off,
    /// None could be started; not tried again before this moment.
    Resting(Instant),
    /// `start_large_file` is under way; the number tells this start from a later one.
    Starting(u64),
    Running(Stream),
}

pub(in crate::io) struct Stream {
    pub(in crate::io) large: FileId,
    pub(in crate::io) parts: Vec<Part>,
    /// Parts before this one were all launched.
    launched: usize,
    flying: usize,
    flying_bytes: u64,
    failed: usize,
    /// End of the last part made.
    pub(in crate::io) issued: u64,
    /// Where the written run starts; what is stored is copied up to here.
    data_start: u64,
    /// End of what a commit that failed has already sent behind `issued`.
    pub(in crate::io) tail_end: u64,
    /// The hash of everything, when nothing of it comes from a base.
    pub(in crate::io) sum: Option<Arc<Sum>>,
}

pub(in crate::io) struct Part {
    pub(in crate::io) step: Step,
    pub(in crate::io) state: PartState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum PartState {
    Waiting,
    Flying,
    Done(Sha1),
    Failed,
}

/// A part about to fly.
struct Launch {
    large: FileId,
    index: usize,
    step: Step,
    snapshot: Snapshot,
    sum: Option<Arc<Sum>>,
}

impl Stream {
    /// Bytes on their way that give back memory when they land.
    pub(in crate::io) fn flying_bytes(&self) -> u64 {
        self.flying_bytes
    }

    pub(in crate::io) fn is_flying(&self) -> bool {
        self.flying > 0
    }

    fn set(&mut self, index: usize, now: PartState) {
        let Some(part) = self.parts.get_mut(index) else {
            return;
        };
        let bytes = match &part.step {
            Step::Send(range) => range.end - range.start,
            Step::Copy(_) => 0,
        };
        match std::mem::replace(&mut part.state, now) {
            PartState::Flying => {
                self.flying -= 1;
                self.flying_bytes -= bytes;
            }
            PartState::Failed => self.failed -= 1,
            PartState::Waiting | PartState::Done(_) => {}
        }
        match now {
            PartState::Flying => {
                self.flying += 1;
                self.flying_bytes += bytes;
            }
            PartState::Failed => self.failed += 1,
            PartState::Waiting | PartState::Done(_) => {}
        }
    }

    /// The next part that was made and never launched.
    fn waiting(&mut self) -> Option<usize> {
        while self.parts.get(self.launched)?.state != PartState::Waiting {
            self.launched += 1;
        }
        Some(self.launched)
    }

    /// The SHA-1 of every part if all have landed.
    pub(in crate::io) fn hashes(&self) -> Option<Vec<Sha1>> {
        self.parts
            .iter()
            .map(|part| match part.state {
                PartState::Done(sha1) => Some(sha1),
                _ => None,
            })
            .collect()
    }
}

impl Engine {
    /// Bytes from which on a file is sent while it is being written.
    fn stream_from(&self) -> u64 {
        let memory = self.budget.write_limit() / 2;
        self.settings.large_file.min(memory).max(MIN_PART + 1)
    }

    /// Size of part number `n` (from 0): grows so that 10,000 parts suffice, bounded by memory.
    fn part_size(&self, n: usize) -> u64 {
        let memory = self.budget.write_limit() / (self.settings.uploads.max(1) as u64 + 1);
        let wanted = self
            .settings
            .part_size
            .saturating_mul(1 << (n / 1000).min(16));
        wanted.min(memory).clamp(MIN_PART, MAX_PART)
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
            if state.discarded || self.committing.load(Ordering::Acquire) {
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
            MIN_PART + 1
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
                Ok(large) => Some(large),
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
                Some(large) if mine && !state.discarded => {
                    state.stream = match Self::run_from(&state, large.clone()) {
                        Some(stream) => Streaming::Running(stream),
                        None => Streaming::Off,
                    };
                    matches!(state.stream, Streaming::Off).then_some(large)
                }
                started => {
                    if mine {
                        state.stream = Streaming::Resting(Instant::now() + REST);
                    }
                    started
                }
            }
        };
        match unwanted {
            Some(large) => engine.cancel_large(large),
            None => self.pump(false),
        }
    }

    /// A stream for what is written now; `None` when it is not one run behind the base any more.
    fn run_from(state: &State, large: FileId) -> Option<Stream> {
        let (first, head) = state.head()?;
        let mut parts = Vec::new();
        let mut issued = 0;
        // A shorter head is downloaded and sent with the first part.
        if first >= MIN_PART {
            let steps = plan::parts(0, &head, MIN_PART, MAX_STREAMED as u64, 1);
            parts = steps
                .into_iter()
                .map(|step| Part {
                    step,
                    state: PartState::Waiting,
                })
                .collect();
            issued = first;
        }
        Some(Stream {
            large,
            parts,
            launched: 0,
            flying: 0,
            flying_bytes: 0,
            failed: 0,
            issued,
            data_start: first,
            tail_end: 0,
            sum: (first == 0).then(Arc::default),
        })
    }

    fn next_launch(&self, state: &mut State, pressure: bool) -> Option<Launch> {
        let uploads = self.engine.settings.uploads.max(1);
        let Streaming::Running(stream) = &mut state.stream else {
            return None;
        };
        if stream.flying >= uploads {
            return None;
        }
        let waiting = stream.waiting();
        // Copies take nothing from here; what is sent is held by the snapshot until it landed.
        let (index, range, spans) = if let Some(index) = waiting {
            let range = stream.parts[index].step.range().clone();
            let spans = state.spans(range.clone()).ok()?;
            (index, range, spans)
        } else {
            let range = self.next_range(state, pressure)?;
            state.overlay.freeze();
            let spans = state.spans(range.clone()).ok()?;
            let Streaming::Running(stream) = &mut state.stream else {
                return None;
            };
            stream.issued = range.end;
            stream.parts.push(Part {
                step: Step::Send(range.clone()),
                state: PartState::Waiting,
            });
            (stream.parts.len() - 1, range, spans)
        };
        let snapshot = Snapshot {
            start: range.start,
            size: range.end,
            seq: state.seq,
            base: state.base.clone(),
            spans,
        };
        let Streaming::Running(stream) = &mut state.stream else {
            return None;
        };
        stream.set(index, PartState::Flying);
        Some(Launch {
            large: stream.large.clone(),
            index,
            step: stream.parts[index].step.clone(),
            sum: stream.sum.clone(),
            snapshot,
        })
    }

    /// The next part to send, if enough is written.
    fn next_range(&self, state: &State, pressure: bool) -> Option<Range<u64>> {
        let Streaming::Running(stream) = &state.stream else {
            return None;
        };
        if stream.failed > 0 || stream.parts.len() >= MAX_STREAMED {
            return None;
        }
        let written = state.overlay.run_end(stream.issued.max(stream.data_start));
        let ready = written.saturating_sub(stream.issued + 1);
        let full = self.engine.part_size(stream.parts.len());
        let least = if pressure { MIN_PART } else { full };
        (ready >= least).then(|| stream.issued..stream.issued + ready.min(full))
    }

    async fn fly(self: Arc<Self>, launch: Launch) {
        let Launch {
            large,
            index,
            step,
            snapshot,
            sum,
        } = launch;
        let number = index as u32 + 1;
        let sent = {
            let mut sending = pin!(self.engine.send_part(&large, number, &step, &snapshot));
            match (timeout(UNHURRIED, &mut sending).await, &sum) {
                (Ok(sent), Some(sum)) => {
                    sum.give_up();
                    sent
                }
                (Ok(sent), None) => sent,
                (Err(_), sum) => {
                    if let (Some(sum), Some(pieces)) = (sum, snapshot.in_memory()) {
                        sum.offer(index, pieces);
                    }
                    sending.await
                }
            }
        };
        drop(snapshot);
        if let Err(error) = &sent {
            self.engine.failures.fetch_add(1, Ordering::Relaxed);
            log::warn!("part {number} of large file {large} will be tried again: {error}");
        }
        self.part_landed(&large, index, sent.ok());
        self.pump(false);
    }

    /// Notes how a part ended; gives back the memory of one that B2 has.
    pub(in crate::io) fn part_landed(&self, large: &FileId, index: usize, sha1: Option<Sha1>) {
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            if let Streaming::Running(stream) = &mut state.stream
                && stream.large == *large
            {
                stream.set(index, sha1.map_or(PartState::Failed, PartState::Done));
                if let (Step::Send(range), Some(_)) = (&stream.parts[index].step, sha1) {
                    // The base bytes in front of the run can still be read from the base.
                    let from = range.start.max(stream.data_start);
                    state.overlay.mark_sent(from..range.end);
                }
                self.count(state);
            }
        }
        self.landed.send_modify(|count| *count += 1);
    }
}

impl State {
    /// Where the first changed bytes in memory start, and what is before them: nothing, or a
    /// stretch of one version; `None` when it is more than can be copied in one.
    fn head(&self) -> Option<(u64, Vec<Run>)> {
        let first = self.overlay.first_unsent()?;
        let before = Snapshot {
            start: 0,
            size: first,
            seq: self.seq,
            base: None,
            spans: self.spans(0..first).ok()?,
        };
        let head = plan::joined(&before.runs());
        let copied = head.iter().all(|run| run.source.is_stored());
        (copied && head.len() <= 1).then_some((first, head))
    }
}

impl Engine {
    /// Sends or copies one part.
    pub(in crate::io) async fn send_part(
        &self,
        large: &FileId,
        number: u32,
        step: &Step,
        snapshot: &Snapshot,
    ) -> Result<Sha1, Error> {
        let source = match step {
            Step::Copy(range) => snapshot.source(range),
            Step::Send(_) => None,
        };
        let done = if let Some(Stored { record, range, .. }) = source {
            self.client
                .copy_part(large, number, &record.id, range)
                .await
                .map_err(|error| source_error(&record, error))?
        } else {
            let payload = snapshot.payload(self, step.range().clone()).await?;
            self.client.upload_part(large, number, payload).await?
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
