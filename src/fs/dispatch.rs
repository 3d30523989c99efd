//! Where an operation runs: at once on the session's thread, or in the runtime when it has to wait.
//!
//! An operation is a future that owns its reply. It is polled once where it arrived: what memory can
//! answer costs no change of thread (a wake-up across CPUs costs more than the answer). If it is not
//! ready, the same future moves into the runtime, whose first poll replaces the waker of the first try.
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

/// Runs operations; clones share the gate.
#[derive(Debug, Clone)]
pub struct Dispatch {
    runtime: Handle,
    gate: Arc<Gate>,
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
        Self {
            runtime,
            gate: Arc::default(),
        }
    }

    /// The gate, for the end of the session.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Answers an operation now or later; behind a closed gate it is dropped, and so is its reply.
    pub(super) fn run<F>(&self, op: &'static str, work: F)
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
            self.runtime.spawn(task);
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
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A reply that says how it ended.
    struct Reply(mpsc::Sender<&'static str>, bool);

    impl Reply {
        fn ok(mut self) {
            self.1 = true;
            self.0.send("ok").expect("the test listens");
        }
    }

    impl Drop for Reply {
        fn drop(&mut self) {
            if !self.1 {
                self.0.send("dropped").expect("the test listens");
            }
        }
    }

    fn dispatch() -> (tokio::runtime::Runtime, Dispatch) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let dispatch = Dispatch::new(runtime.handle().clone());
        (runtime, dispatch)
    }

    fn reply() -> (Reply, mpsc::Receiver<&'static str>) {
        let (sender, receiver) = mpsc::channel();
        (Reply(sender, false), receiver)
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_ready_is_answered_on_the_callers_thread() {
        let (_runtime, dispatch) = dispatch();
        let here = thread::current().id();
        let (reply, answer) = reply();
        dispatch.run("test", async move {
            assert_eq!(thread::current().id(), here);
            // The runtime's context is there.
            drop(tokio::time::sleep(Duration::from_secs(1)));
            reply.ok();
        });
        assert_eq!(answer.try_recv(), Ok("ok"));
    }

    #[test]
    fn what_waits_is_answered_by_the_runtime() {
        let (_runtime, dispatch) = dispatch();
        let here = thread::current().id();
        let (reply, answer) = reply();
        let (go, wait) = tokio::sync::oneshot::channel();
        dispatch.run("test", async move {
            wait.await.expect("told to go on");
            assert_ne!(thread::current().id(), here);
            reply.ok();
        });
        assert!(answer.try_recv().is_err());
        go.send(()).expect("it waits");
        assert_eq!(answer.recv_timeout(SOON), Ok("ok"));
    }

    #[test]
    fn a_panic_drops_the_reply_and_nothing_else() {
        let (_runtime, dispatch) = dispatch();
        for late in [false, true] {
            let (reply, answer) = reply();
            dispatch.run("test", async move {
                if late {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let _held = &reply;
                panic!("on purpose");
            });
            assert_eq!(answer.recv_timeout(SOON), Ok("dropped"));
        }
        assert_eq!(dispatch.now("test", || panic!("on purpose")), None::<()>);
        let (reply, answer) = reply();
        dispatch.run("test", async move { reply.ok() });
        assert_eq!(answer.recv_timeout(SOON), Ok("ok"));
    }

    #[test]
    fn a_closed_gate_waits_for_what_runs_and_lets_nothing_in() {
        let (runtime, dispatch) = dispatch();
        let (first, first_answer) = reply();
        let (go, wait) = tokio::sync::oneshot::channel();
        dispatch.run("test", async move {
            wait.await.expect("told to go on");
            first.ok();
        });
        let gate = dispatch.gate();
        let closing = runtime.spawn(async move { gate.close().await });
        while !dispatch.gate.closed.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let (second, second_answer) = reply();
        dispatch.run("test", async move { second.ok() });
        assert_eq!(second_answer.recv_timeout(SOON), Ok("dropped"));
        assert!(!closing.is_finished());
        go.send(()).expect("it waits");
        assert_eq!(first_answer.recv_timeout(SOON), Ok("ok"));
        runtime
            .block_on(async { tokio::time::timeout(SOON, closing).await })
            .expect("in time")
            .expect("no panic");
    }
}
