//! Where an operation runs: at once on the session's thread, or in the runtime when it has to wait.
//!
//! An operation is a future that owns its reply. It is polled once where it arrived: what memory can
//! answer costs no change of thread (a wake-up across CPUs costs more than the answer). If it is not
//! ready, the same future moves into the runtime, whose first poll replaces the waker of the first try.
//!
//! While it waits, its caller is watched ([`interrupt`](super::interrupt)): one that was killed is not kept waiting.
//!
//! A panic inside an operation is caught and logged; unwinding drops the reply, which makes it `EIO`.
//! The [`Gate`] counts what runs and, once closed, lets nothing new in: the end of a session waits on it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::interrupt::{self, Watch};
use super::slot::Caller;

/// Runs operations; clones share the gate.
#[derive(Clone)]
pub struct Dispatch {
    runtime: Handle,
    gate: Arc<Gate>,
    watch: Arc<Watch>,
}

/// What runs now, and whether more may come.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    running: AtomicUsize,
    idle: Notify,
}

impl Gate {
    /// Refuses all that comes from now on, and waits for what runs.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Counts first and looks then, so that `close` cannot miss an operation that was let in.
    fn enter(self: &Arc<Self>) -> Option<Inside> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(Arc::clone(self));
        (!self.closed.load(Ordering::SeqCst)).then_some(inside)
    }
}

/// Held by each running operation.
struct Inside(Arc<Gate>);

impl Drop for Inside {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Dispatch {
    /// Waiting operations go to `runtime`.
    pub fn new(runtime: Handle) -> Self {
        let watch = Arc::new(Watch::start(interrupt::PERIOD, interrupt::ask));
        Self {
            runtime,
            gate: Arc::default(),
            watch,
        }
    }

    /// The gate, for the end of the session.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Answers an operation now or later; behind a closed gate it is dropped, and so is its reply.
    pub(super) fn run<F>(&self, op: &'static str, caller: Caller, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(inside) = self.gate.enter() else {
            return;
        };
        let mut task = Box::pin(async move {
            let _inside = inside;
            // After a panic the future is not polled again, so no broken state is seen.
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                log::error!(
                    "{op} ended in a fault of b2fuse, its caller gets an input/output error"
                );
            }
        });
        let _context = self.runtime.enter();
        let mut nobody = Context::from_waker(Waker::noop());
        if task.as_mut().poll(&mut nobody).is_pending() {
            let watched = self.watch.enter(op, caller);
            self.runtime.spawn(async move {
                let _watched = watched;
                task.await;
            });
        }
    }

    /// Does what never waits; `None` after a panic.
    pub(super) fn now<T>(&self, op: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        let _context = self.runtime.enter();
        let result = catch_unwind(AssertUnwindSafe(work)).ok();
        if result.is_none() {
            log::error!("{op} ended in a fault of b2fuse");
        }
        result
    }
}

#[cfg(test)]
mod tests;
