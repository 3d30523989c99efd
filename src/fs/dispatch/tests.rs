use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fuser::Errno;

use super::*;
use crate::fs::answer::Refuse;
use crate::fs::interrupt::Wish;
use crate::fs::slot::Slot;

/// A reply that says which errno it was given.
struct Answer(mpsc::Sender<i32>);

impl Refuse for Answer {
    fn refuse(self, errno: Errno) {
        self.0.send(errno.into()).expect("the test listens");
    }
}

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

/// A caller outside of this machine.
fn nobody() -> Caller {
    Slot::new(Answer(mpsc::channel().0)).caller(0)
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn what_is_ready_is_answered_on_the_callers_thread() {
    let (_runtime, dispatch) = dispatch();
    let here = thread::current().id();
    let (reply, answer) = reply();
    dispatch.run("test", nobody(), async move {
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
    dispatch.run("test", nobody(), async move {
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
        dispatch.run("test", nobody(), async move {
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
    dispatch.run("test", nobody(), async move { reply.ok() });
    assert_eq!(answer.recv_timeout(SOON), Ok("ok"));
}

#[test]
fn a_closed_gate_waits_for_what_runs_and_lets_nothing_in() {
    let (runtime, dispatch) = dispatch();
    let (first, first_answer) = reply();
    let (go, wait) = tokio::sync::oneshot::channel();
    dispatch.run("test", nobody(), async move {
        wait.await.expect("told to go on");
        first.ok();
    });
    let gate = dispatch.gate();
    let closing = runtime.spawn(async move { gate.close().await });
    while !dispatch.gate.closed.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    let (second, second_answer) = reply();
    dispatch.run("test", nobody(), async move { second.ok() });
    assert_eq!(second_answer.recv_timeout(SOON), Ok("dropped"));
    assert!(!closing.is_finished());
    go.send(()).expect("it waits");
    assert_eq!(first_answer.recv_timeout(SOON), Ok("ok"));
    runtime
        .block_on(async { tokio::time::timeout(SOON, closing).await })
        .expect("in time")
        .expect("no panic");
}

/// A dispatch that takes every thread for one with this wish, and looks often.
fn watched(wish: Wish, reads: bool) -> (tokio::runtime::Runtime, Dispatch) {
    let (runtime, mut dispatch) = dispatch();
    let period = Duration::from_millis(20);
    dispatch.watch = Arc::new(Watch::start(period, move |_| (wish, reads)));
    (runtime, dispatch)
}

/// Runs an operation that waits until it is told to go on; then it says whether it had its reply still.
fn begin(
    dispatch: &Dispatch,
    caller: impl FnOnce(Caller) -> Caller,
    thread: u32,
) -> (
    mpsc::Receiver<i32>,
    tokio::sync::oneshot::Sender<()>,
    mpsc::Receiver<bool>,
) {
    let (given, answer) = mpsc::channel();
    let (go, wait) = tokio::sync::oneshot::channel();
    let (ended, end) = mpsc::channel();
    let slot = Slot::new(Answer(given));
    let caller = caller(slot.caller(thread));
    dispatch.run("test", caller, async move {
        wait.await.expect("told to go on");
        ended.send(slot.take().is_some()).expect("the test listens");
    });
    (answer, go, end)
}

#[test]
fn one_that_was_killed_is_answered_and_its_operation_goes_on_without_a_reply() {
    for wish in [Wish::Handle, Wish::Die] {
        let (_runtime, dispatch) = watched(wish, false);
        let (answer, go, end) = begin(&dispatch, |caller| caller, 7);
        assert_eq!(answer.recv_timeout(SOON), Ok(libc::EINTR));
        assert!(end.try_recv().is_err(), "it works on");
        assert_eq!(dispatch.gate.running.load(Ordering::SeqCst), 1);
        go.send(()).expect("it waits");
        assert_eq!(end.recv_timeout(SOON), Ok(false));
    }
}

#[test]
fn who_wants_nothing_or_cannot_be_asked_waits() {
    for (wish, thread) in [(Wish::None, 7), (Wish::Die, 0)] {
        let (_runtime, dispatch) = watched(wish, true);
        let (answer, go, end) = begin(&dispatch, |caller| caller, thread);
        assert!(answer.recv_timeout(Duration::from_millis(200)).is_err());
        go.send(()).expect("it waits");
        assert_eq!(end.recv_timeout(SOON), Ok(true));
    }
}

#[test]
fn a_page_of_a_mapping_is_given_up_for_the_dead_only() {
    for (wish, reads, ends) in [
        (Wish::Handle, false, false),
        (Wish::Handle, true, true),
        (Wish::Die, false, true),
    ] {
        let (_runtime, dispatch) = watched(wish, reads);
        let (answer, go, end) = begin(&dispatch, Caller::or_a_fault, 7);
        if ends {
            assert_eq!(answer.recv_timeout(SOON), Ok(libc::EINTR));
        } else {
            assert!(answer.recv_timeout(Duration::from_millis(200)).is_err());
        }
        go.send(()).expect("it waits");
        assert_eq!(end.recv_timeout(SOON), Ok(!ends));
    }
}

#[test]
fn what_has_ended_is_watched_no_longer() {
    let (_runtime, dispatch) = watched(Wish::None, false);
    let (_answer, go, end) = begin(&dispatch, |caller| caller, 7);
    go.send(()).expect("it waits");
    assert_eq!(end.recv_timeout(SOON), Ok(true));
    let start = std::time::Instant::now();
    while dispatch.watch.is_busy() {
        assert!(start.elapsed() < SOON, "it is forgotten");
        thread::yield_now();
    }
}

/// `/proc` may keep its reader waiting for a process that waits for us.
#[test]
fn a_watcher_that_hangs_keeps_nobody_from_an_answer() {
    let (_runtime, mut dispatch) = dispatch();
    let (asked, asks) = mpsc::channel();
    let (free, hangs) = mpsc::channel::<()>();
    dispatch.watch = Arc::new(Watch::start(Duration::from_millis(5), move |_| {
        let _ = asked.send(());
        let _ = hangs.recv();
        (Wish::None, false)
    }));
    let (_answer, go, end) = begin(&dispatch, |caller| caller, 7);
    asks.recv_timeout(SOON).expect("it looks");
    go.send(()).expect("it waits");
    assert_eq!(end.recv_timeout(SOON), Ok(true));
    let (_answer, go, end) = begin(&dispatch, |caller| caller, 7);
    go.send(()).expect("it waits");
    assert_eq!(end.recv_timeout(SOON), Ok(true));
    drop(free);
}
