//! The loop around a call: permit, turn, try, verdict, wait, again.
//!
//! [`Tries`] is the clock and the record of one call; the retry rules are `retry`'s, the turn is `limiter`'s. A permit is
//! held for one try only, never while waiting, so that calls that cannot get through do not keep
//! others out. Waiting for a permit ends with an error only when nothing has moved anywhere in
//! this client for as long as a call may last.
//!
//! Callers: every room that speaks to B2.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::call::{Call, Places};
use super::congestion::Outcome;
use super::counters::Counting;
use super::error::said;
use super::retry::{Decision, FailedTry, Ladder};
use super::times::Timing;
use super::trouble::{PERIOD, Watched};
use super::{Client, Error, ErrorKind, FileVersion, Lost};

/// Bytes that B2 copies in a second at least, or the copy counts as lost. Where it was ever measured it
/// was ten times as fast; other clients wait 20 minutes for 5 GB, which is about the same.
const COPY_RATE: u64 = 5_000_000;

/// One call from its first try to its end.
#[derive(Debug)]
pub(super) struct Tries {
    pub(super) call: Call,
    subject: String,
    /// What B2 has to do takes so long that the answer may come so much later than that of others.
    work: Duration,
    start: Instant,
    ladder: Ladder,
    attempts: u32,
    /// One of the tries may have worked without our being told.
    lost: bool,
    /// This call among those of the client that may be failing, once it has begun.
    watched: Option<Watched>,
    /// Where its times are counted, once it has begun.
    times: Option<Arc<Timing>>,
    /// Which account token the last try carried; see `auth`.
    pub(super) generation: u64,
}

impl Tries {
    pub(super) fn new(call: Call, subject: &str, limit: Duration) -> Self {
        Self {
            call,
            subject: subject.to_owned(),
            work: Duration::ZERO,
            start: Instant::now(),
            ladder: Ladder::new(call.facts().route, limit),
            attempts: 0,
            lost: false,
            watched: None,
            times: None,
            generation: 0,
        }
    }

    /// A call that copies so many bytes on the server: its answer may take that much longer.
    pub(super) fn copying(call: Call, subject: &str, limit: Duration, bytes: u64) -> Self {
        let work = Duration::from_millis(bytes.div_ceil(COPY_RATE / 1000));
        Self {
            work,
            ..Self::new(call, subject, limit + work)
        }
    }

    /// A call that another one needs, within what is left of that one's time.
    pub(super) fn within(&self, call: Call) -> Self {
        Self::new(call, &self.subject, self.remaining())
    }

    pub(super) fn remaining(&self) -> Duration {
        self.ladder.remaining(self.start.elapsed())
    }

    /// A try of an upload has sent for so long.
    pub(super) fn sent_for(&mut self, time: Duration) {
        self.ladder.sent_for(time);
    }

    /// Bytes moved at that moment.
    pub(super) fn progress_at(&mut self, moment: Instant) {
        self.ladder
            .progress(moment.saturating_duration_since(self.start));
    }

    /// Nobody was asked for anything for so long: the caller took its time, or a limit of ours held the call up.
    pub(super) fn queued(&mut self, time: Duration) {
        self.ladder.queued(time);
    }

    /// What a try that has ended says of the load on the server.
    pub(super) fn outcome<T>(&self, outcome: &Result<T, FailedTry>) -> Outcome {
        Outcome::of(self.call, self.attempts, outcome)
    }

    /// To be called as a try begins.
    pub(super) fn begin(&mut self, counting: &Counting) {
        self.attempts += 1;
        counting.call(self.call);
        if self.times.is_none() {
            self.times = Some(Arc::clone(&counting.times));
        }
        let watched = self.watched.get_or_insert_with(|| counting.troubled.call());
        // Nobody need know of a copy that takes its time.
        let work = match self.call.facts().places {
            Places::Long => self.work + PERIOD,
            _ => self.work,
        };
        watched.waits(work, format!("{} {:?}", self.call.name(), self.subject));
    }

    /// Whether this is not the first try.
    pub(super) fn repeated(&self) -> bool {
        self.attempts > 1
    }

    /// Waits as the rules say, or ends the call. True: the account token must be renewed first.
    pub(super) async fn again(
        &mut self,
        counting: &Counting,
        failure: &FailedTry,
    ) -> Result<bool, Error> {
        self.lost |= failure.may_have_worked();
        let decision = self
            .ladder
            .decide(failure, self.start.elapsed(), fastrand::f64());
        let Decision::Retry { wait, renew } = decision else {
            return Err(self.error(failure));
        };
        counting.retry();
        let what = || {
            format!(
                "{} of {:?}: {}",
                self.call.name(),
                self.subject,
                said(failure)
            )
        };
        log::debug!("{}; trying again in {wait:.1?}", what());
        if let Some(watched) = &self.watched {
            watched.failed(wait, what);
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(renew)
    }

    /// The end of the call.
    pub(super) fn error(&self, failure: &FailedTry) -> Error {
        let mut error = Error::failed(
            self.call,
            &self.subject,
            failure,
            self.attempts,
            self.start.elapsed(),
        );
        error.lost = self.lost.then(Box::default);
        error
    }

    /// Notes on a version that the call has made whether an earlier try may have made another one.
    pub(super) fn made(&self, mut version: FileVersion) -> FileVersion {
        version.twins = self.lost && self.repeated();
        version
    }

    /// The end of a call that makes a version: where its outcome is unknown, tells what that may be.
    pub(super) fn with_lost<T>(
        &self,
        result: Result<T, Error>,
        lost: impl FnOnce() -> Lost,
    ) -> Result<T, Error> {
        result.map_err(|mut error| {
            error.lost = self.lost.then(|| Box::new(lost()));
            error
        })
    }

    /// To be called as a try has ended.
    pub(super) fn log<T>(&self, began: Instant, outcome: &Result<T, FailedTry>) {
        if let Some(times) = &self.times {
            times.ended(self.call, began.elapsed(), outcome.as_ref().err());
        }
        if let Some(watched) = &self.watched {
            match outcome {
                Ok(_) => {
                    watched.ended(true);
                    watched.succeeded();
                }
                Err(failure) => watched.ended(matches!(failure, FailedTry::Refused(_))),
            }
        }
        if log::log_enabled!(log::Level::Debug) {
            let result = outcome.as_ref().map_or_else(said, |_| "ok".to_owned());
            log::debug!(
                "{} {:?}: {result} in {:.1?}",
                self.call.name(),
                self.subject,
                began.elapsed()
            );
        }
    }
}

/// When anything last moved in this client.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    origin: Instant,
    millis: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            millis: Arc::default(),
        }
    }

    pub(super) fn beat(&self) {
        self.millis
            .store(self.origin.elapsed().as_millis() as u64, Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.millis.load(Relaxed))
    }
}

impl Client {
    /// A new call, with the full time.
    pub(super) fn tries(&self, call: Call, subject: &str) -> Tries {
        Tries::new(call, subject, self.shared.http.waits.call)
    }

    /// A new call that copies so many bytes on the server.
    pub(super) fn tries_to_copy(&self, call: Call, subject: &str, bytes: u64) -> Tries {
        Tries::copying(call, subject, self.shared.http.waits.call, bytes)
    }

    /// Waits for a place among the calls of a kind; the wait is not taken from the call's time.
    pub(super) async fn admit(&self, tries: &mut Tries) -> Result<OwnedSemaphorePermit, Error> {
        let places = self.shared.places(tries.call.facts().places);
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(permit);
        }
        // Others that have their places may be as long about it.
        let limit = self.shared.http.waits.call + tries.work;
        let began = Instant::now();
        let mut last = began;
        let mut permit = pin!(Arc::clone(places).acquire_owned());
        loop {
            match timeout_at(last + limit, &mut permit).await {
                Ok(permit) => {
                    tries.ladder.queued(began.elapsed());
                    return Ok(permit.expect("semaphores are never closed"));
                }
                Err(_) if self.shared.pulse.last() > last => last = self.shared.pulse.last(),
                Err(_) => {
                    return Err(tries.error(&FailedTry::Network {
                        sent: false,
                        detail: format!("no transfer has moved for {limit:.0?}"),
                    }));
                }
            }
        }
    }

    /// Takes the verdict on a failed try: waits and renews, or ends the call.
    pub(super) async fn again(&self, tries: &mut Tries, failure: &FailedTry) -> Result<(), Error> {
        let renew = tries
            .again(&self.shared.counting, failure)
            .await
            .map_err(|error| error.explained_by(&self.session().account, tries.call))?;
        if renew {
            let remaining = tries.remaining();
            match timeout(remaining, self.renew(tries.generation)).await {
                Ok(renewed) => renewed?,
                Err(_) => return Err(tries.error(failure)),
            }
        }
        Ok(())
    }

    /// One JSON call, repeated as the rules say; for calls that may be made twice.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        tries: Tries,
        request: &impl Serialize,
    ) -> Result<T, Error> {
        self.call_rows(tries, request, 1).await
    }

    /// The same, for an answer of so many rows at most.
    pub(super) async fn call_rows<T: DeserializeOwned>(
        &self,
        mut tries: Tries,
        request: &impl Serialize,
        rows: usize,
    ) -> Result<T, Error> {
        let body = json(&tries, request)?;
        loop {
            match self.call_once_rows(&mut tries, &body, rows).await? {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.again(&mut tries, &failure).await?,
            }
        }
    }

    /// One try of a JSON call. The outer error ends the call without a verdict.
    pub(super) async fn call_once<T: DeserializeOwned>(
        &self,
        tries: &mut Tries,
        body: &Bytes,
    ) -> Result<Result<T, FailedTry>, Error> {
        self.call_once_rows(tries, body, 1).await
    }

    async fn call_once_rows<T: DeserializeOwned>(
        &self,
        tries: &mut Tries,
        body: &Bytes,
        rows: usize,
    ) -> Result<Result<T, FailedTry>, Error> {
        let shared = &self.shared;
        let waits = &shared.http.waits;
        let limit = match tries.call.facts().places {
            Places::Long => waits.long_answer,
            _ => waits.answer,
        };
        let _permit = self.admit(tries).await?;
        let turn = shared.limiter.turn(tries).await?;
        let session = self.session();
        tries.generation = session.generation;
        tries.begin(&shared.counting);
        let began = Instant::now();
        let url = format!("{}/b2api/v4/{}", session.api_url, tries.call.name());
        let limit = (limit + tries.work).min(tries.remaining());
        let sent = match shared.http.post(url) {
            Ok(request) => {
                let request = request
                    .header(AUTHORIZATION, session.token.clone())
                    .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                    .body(body.clone());
                if tries.call.changes_nothing() {
                    shared.http.send_twice(request, limit).await
                } else {
                    shared.http.send(request, limit).await
                }
            }
            Err(failure) => Err(failure),
        };
        let outcome = match sent {
            Ok(response) => shared.http.json(response, rows).await,
            Err(failure) => Err(failure),
        };
        turn.end(tries, &outcome);
        if outcome.is_ok() {
            shared.pulse.beat();
        }
        tries.log(began, &outcome);
        Ok(outcome)
    }
}

/// A request's body, made once for all tries.
pub(super) fn json(tries: &Tries, request: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(request)
        .map(Bytes::from)
        .map_err(|error| {
            Error::refused_here(
                ErrorKind::InvalidArgument,
                tries.call,
                &tries.subject,
                format!("the request cannot be written as JSON: {error}"),
            )
        })
}
