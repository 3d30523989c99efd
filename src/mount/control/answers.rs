//! What is done for a request. Nothing here waits for the one who asks, and whoever goes away ends what was done for them
//! alone.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use log::LevelFilter;
use serde::Serialize;
use serde_json::Value;

use super::protocol::{
    Bandwidth, Fault, FileStatus, Flushed, Kind, Limits, Refreshed, Request, State, Status,
    ToStore, Undone, Warmed,
};
use super::rates::seconds_left;
use super::{Control, Width};
use crate::b2::BANDWIDTH_MIN;
use crate::mount::{messages, notify, reload};
use crate::vfs::{self, Ino, Outgoing, Warm};

/// Files that are named at most, whatever is asked for: an answer must not become a burden.
const FILES_MAX: usize = 1000;
/// What passes between two looks at bytes, where nobody has looked lately.
const LOOK: Duration = Duration::from_millis(500);

impl Control {
    /// Carries a request out.
    pub(super) async fn answer(&self, request: Request) -> Result<Value, Fault> {
        match request {
            Request::Status { files } => {
                let mut status = self.status(files.min(FILES_MAX)).await;
                status.page.clone_from(&self.0.facts.page);
                value(&status)
            }
            Request::Flush { path } => value(&self.flush(&path).await?),
            Request::Refresh { path } => value(&self.refresh(&path).await?),
            Request::Warm { path, names } => value(&self.warm(&path, names).await?),
            Request::Limit(limits) => value(&self.limit(sensible(limits)?)),
            Request::Reload {} => value(&self.reload().await?),
            Request::Log { level } => value(&say(&level)?),
        }
    }

    /// How the mount is, with so many files on their way at most.
    pub(in crate::mount) async fn status(&self, most: usize) -> Status {
        let inner = &self.0;
        let now = || inner.began.elapsed();
        let anything = inner.vfs.pending().files > 0;
        if anything && !inner.rates.lock().is_ready(now()) {
            self.look(&inner.vfs.outgoing(FILES_MAX));
            tokio::time::sleep(LOOK).await;
        }
        let outgoing = inner.vfs.outgoing(FILES_MAX);
        let up = inner.client.counters().bytes_up;
        let (pending, stats) = (inner.vfs.pending(), inner.vfs.stats());
        let (overall, rates) = {
            let rates = inner.rates.lock();
            let now = now();
            let of = |one: &Outgoing| rates.of(one.ino, now, one.progress.sent);
            let each: Vec<u64> = outgoing.iter().map(of).collect();
            (rates.overall(now, up), each)
        };
        self.look(&outgoing);
        let files = outgoing.into_iter().zip(rates).take(most);
        Status {
            b2fuse: env!("CARGO_PKG_VERSION").to_owned(),
            bucket: inner.facts.bucket.clone(),
            prefix: inner.facts.prefix.clone(),
            mountpoint: inner.facts.mountpoint.display().to_string(),
            read_only: inner.facts.read_only,
            page: None,
            pid: std::process::id(),
            uptime: now().as_secs(),
            state: if inner.storing.load(Relaxed) {
                State::Storing
            } else {
                State::Mounted
            },
            to_store: ToStore {
                files: pending.files,
                bytes: pending.unsent,
                removals: pending.removals,
                rate: overall,
                seconds_left: seconds_left(pending.unsent, overall),
                hopeless: pending.hopeless,
                last_error: pending.last.map(|failure| failure.text),
            },
            files: files.map(|(one, rate)| shown(one, rate)).collect(),
            limits: *inner.limits.lock(),
            stats: serde_json::to_value(&stats).unwrap_or_default(),
        }
    }

    /// Takes down how far the files are.
    fn look(&self, outgoing: &[Outgoing]) {
        let inner = &self.0;
        let files: HashMap<Ino, u64> = outgoing
            .iter()
            .map(|one| (one.ino, one.progress.sent))
            .collect();
        let up = inner.client.counters().bytes_up;
        let mut rates = inner.rates.lock();
        rates.note(inner.began.elapsed(), up, files);
    }

    async fn flush(&self, path: &str) -> Result<Flushed, Fault> {
        let unstored = self.0.vfs.store_now(path).await;
        let unstored = unstored.map_err(|error| failed("stored", path, &error))?;
        Ok(Flushed {
            not_stored: unstored
                .into_iter()
                .map(|one| Undone {
                    path: one.path,
                    error: match one.what {
                        vfs::Undone::Removal => format!("not removed: {}", one.error),
                        vfs::Undone::Rename(to) | vfs::Undone::Refused(to) => {
                            format!("not renamed to {to}: {}", one.error)
                        }
                        _ => one.error,
                    },
                })
                .collect(),
        })
    }

    async fn refresh(&self, path: &str) -> Result<Refreshed, Fault> {
        let asked = self.0.vfs.ask_anew_at(path).await;
        let vfs::Asked { names } = asked.map_err(|error| failed("asked for", path, &error))?;
        Ok(Refreshed { names })
    }

    async fn warm(&self, path: &str, names: bool) -> Result<Warmed, Fault> {
        let what = if names { Warm::Names } else { Warm::Contents };
        let warmed = self.0.vfs.warm(path, what).await;
        let vfs::Warmed {
            names,
            files,
            bytes,
            failed,
            full,
        } = warmed.map_err(|error| failed("fetched", path, &error))?;
        Ok(Warmed {
            names,
            files,
            bytes,
            failed,
            full,
        })
    }

    pub(in crate::mount) fn limit(&self, wanted: Limits) -> Width {
        let mut limits = self.0.limits.lock();
        limits.up = wanted.up.unwrap_or(limits.up);
        limits.down = wanted.down.unwrap_or(limits.down);
        if wanted != Limits::default() {
            let (up, down) = (limits.up.bytes(), limits.down.bytes());
            self.0.client.set_bandwidth(up, down);
            let text = |bytes: Option<std::num::NonZeroU64>| {
                bytes.map_or("off".to_owned(), |bytes| format!("{bytes} bytes/s"))
            };
            log::info!("limits from now on: up {}, down {}", text(up), text(down));
        }
        *limits
    }

    /// Begins a new log file, and reads the configuration again.
    pub(in crate::mount) async fn read_again(&self) -> Result<String, String> {
        let inner = &self.0;
        messages::reopen();
        // A service manager that was told of the end must hear of no new beginning.
        let serves = || !inner.storing.load(Relaxed);
        if serves() {
            notify::reloading();
        }
        let (client, vfs) = (inner.client.clone(), inner.vfs.clone());
        let told = reload::reload(inner.reload.clone(), client, vfs).await;
        if serves() {
            notify::ready(&inner.facts.introduction);
        }
        told
    }

    async fn reload(&self) -> Result<String, Fault> {
        // Whoever asks may go away; what was begun is done to its end.
        let this = self.clone();
        let task = tokio::spawn(async move { this.read_again().await });
        match task.await {
            Ok(Ok(said)) => {
                log::info!("reload: {said}");
                Ok(said)
            }
            Ok(Err(why)) => {
                log::warn!("reload: {why}");
                Err(Fault::new(Kind::Failed, why))
            }
            Err(error) => Err(Fault::new(Kind::Failed, error.to_string())),
        }
    }
}

fn shown(one: Outgoing, rate: u64) -> FileStatus {
    FileStatus {
        path: one.path,
        sent: one.progress.sent,
        total: one.progress.total,
        sending: one.progress.begun,
        rate,
        seconds_left: seconds_left(one.progress.left(), rate),
        error: one.error,
    }
}

/// Other details in the log from now on.
fn say(level: &str) -> Result<String, Fault> {
    let filter = match level {
        "error" => LevelFilter::Error,
        "warn" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        _ => {
            return Err(Fault::new(
                Kind::Request,
                format!("{level:?} is no level: write error, warn, info or debug"),
            ));
        }
    };
    log::set_max_level(LevelFilter::Info.max(filter));
    log::info!("the log says {level} and worse from now on");
    log::set_max_level(filter);
    Ok(format!("the log says {level} and worse"))
}

/// Limits of which each is one that the configuration takes, too.
fn sensible(limits: Limits) -> Result<Limits, Fault> {
    let given = [limits.up, limits.down];
    let mut bytes = given.into_iter().flatten().filter_map(Bandwidth::bytes);
    match bytes.find(|bytes| bytes.get() < BANDWIDTH_MIN) {
        Some(low) => Err(Fault::new(
            Kind::Request,
            format!("{low} is out of range: \"off\", or {BANDWIDTH_MIN} or more"),
        )),
        None => Ok(limits),
    }
}

fn failed(what: &str, path: &str, error: &vfs::Error) -> Fault {
    let path = if path.is_empty() { "/" } else { path };
    Fault::new(Kind::Failed, format!("{path} was not {what}: {error}"))
}

fn value(answer: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(answer).map_err(|error| {
        let text = format!("the answer cannot be written as JSON: {error}");
        Fault::new(Kind::Failed, text)
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn limits_below_the_least_are_refused() {
        let up = |bytes| Limits {
            up: Some(NonZeroU64::new(bytes).into()),
            down: None,
        };
        assert_eq!(sensible(up(BANDWIDTH_MIN)), Ok(up(BANDWIDTH_MIN)));
        assert_eq!(sensible(up(0)), Ok(up(0)), "none at all");
        let fault = sensible(up(BANDWIDTH_MIN - 1)).expect_err("too little");
        assert_eq!(fault.kind, Kind::Request);
    }
}
