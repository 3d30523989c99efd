//! Ends the wait of a program that wants to end: its operation is answered `EINTR` while it still works.
//!
//! The kernel waits for the answer to a request that was handed out, whatever signal comes, and fuser passes no
//! FUSE_INTERRUPT on. But a request says which thread has made it. One watcher looks every half second at the
//! signals of those that have waited for as long (`/proc/THREAD/status`), and takes the reply of an operation out
//! of its [`Slot`](super::slot::Slot). **The operation goes on**: it may hold locks, or be half done; what it would
//! have given to its caller it gives back at its end.
//!
//! The watcher is a thread of its own, because a file of `/proc` may keep its reader waiting for the very process that
//! waits for us (`stat` does, `syscall` while a program is started): that delays other interrupts, and no operation.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::slot::Caller;

/// How long an operation waits before somebody looks, and how often: soon for a person, rare for a machine.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// Signals by which people and service managers end programs.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// What a thread wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To go on waiting.
    None,
    /// To handle a signal.
    Handle,
    /// It is dead as soon as it is answered.
    Die,
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// What the text of `/proc/THREAD/status` says. Where a signal ends the program by default, the kernel adds a
/// SIGKILL by itself, but for SIGQUIT, which leaves a core. Others say nothing: Go's SIGURG comes all the time. What has
/// killed a program stays pending while it closes its files on its way out; one that ends by itself has nothing pending,
/// and waits until its files are stored, as if it had closed them.
pub(super) fn of_status(status: &str) -> Wish {
    let mask = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    let (Some(own), Some(shared), Some(blocked), Some(ignored)) = (
        mask("SigPnd"),
        mask("ShdPnd"),
        mask("SigBlk"),
        mask("SigIgn"),
    ) else {
        return Wish::None;
    };
    let pending = own | shared;
    let ending = ENDING.iter().fold(0, |all, signal| all | bit(*signal));
    if pending & bit(libc::SIGKILL) != 0 {
        Wish::Die
    } else if pending & ending & !blocked & !ignored != 0 {
        Wish::Handle
    } else {
        Wish::None
    }
}

/// Whether the text of `/proc/THREAD/syscall` says that it reads, and so can be told of an error. Page faults have
/// no number, and one in the middle of another call has that call's.
pub(super) fn is_reading(syscall: &str) -> bool {
    const READING: [i64; 7] = [
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_readv,
        libc::SYS_preadv,
        libc::SYS_preadv2,
        libc::SYS_sendfile,
        libc::SYS_splice,
    ];
    let number = syscall.split_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .is_some_and(|number| READING.contains(&number))
}

fn read(thread: u32, file: &str) -> String {
    // A name is no UTF-8 by law.
    std::fs::read(format!("/proc/{thread}/{file}")).map_or_else(
        |_| String::new(),
        |text| String::from_utf8_lossy(&text).into_owned(),
    )
}

/// What a thread of this machine wants, and whether it reads.
pub(super) fn ask(thread: u32) -> (Wish, bool) {
    match of_status(&read(thread, "status")) {
        Wish::None => (Wish::None, false),
        Wish::Handle => (Wish::Handle, is_reading(&read(thread, "syscall"))),
        Wish::Die => (Wish::Die, false),
    }
}

/// Watches, until it is dropped.
pub(super) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Somebody waits, or nobody watches any longer.
    news: Condvar,
}

/// Everybody who waits.
#[derive(Default)]
struct Waiting {
    next: u64,
    all: HashMap<u64, One>,
    over: bool,
}

struct One {
    op: &'static str,
    since: Instant,
    caller: Caller,
}

/// Held by an operation that waits.
pub(super) struct Watched {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shared.waiting.lock().all.remove(&self.number);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.waiting.lock().over = true;
        self.0.news.notify_all();
    }
}

impl Watch {
    /// Looks every `period`, as long as somebody waits; `ask` says what a thread wants, and whether it reads.
    pub(super) fn start(
        period: Duration,
        ask: impl Fn(u32) -> (Wish, bool) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let watching = Arc::clone(&shared);
        let started = thread::Builder::new()
            .name("interrupts".to_owned())
            .spawn(move || {
                while watching.wait(period) {
                    watching.look(period, &ask);
                }
            });
        if let Err(error) = started {
            log::warn!("no thread for interrupts, programs wait until `timeout`: {error}");
        }
        Self(shared)
    }

    /// An operation begins to wait; `None` where nobody could be asked.
    pub(super) fn enter(&self, op: &'static str, caller: Caller) -> Option<Watched> {
        if caller.thread == 0 {
            return None;
        }
        let mut waiting = self.0.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        let since = Instant::now();
        if waiting.all.is_empty() {
            self.0.news.notify_one();
        }
        waiting.all.insert(number, One { op, since, caller });
        drop(waiting);
        Some(Watched {
            shared: Arc::clone(&self.0),
            number,
        })
    }

    /// Whether anybody waits.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        !self.0.waiting.lock().all.is_empty()
    }
}

impl Shared {
    /// Until somebody waits, and then for a while; false when it is over.
    fn wait(&self, period: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.all.is_empty() && !waiting.over {
            self.news.wait(&mut waiting);
        }
        if !waiting.over {
            let until = Instant::now() + period;
            while !waiting.over && !self.news.wait_until(&mut waiting, until).timed_out() {}
        }
        !waiting.over
    }

    fn look(&self, period: Duration, ask: &impl Fn(u32) -> (Wish, bool)) {
        let mut due = Vec::new();
        for one in self.waiting.lock().all.values() {
            if one.since.elapsed() >= period {
                due.push((one.op, one.caller.clone()));
            }
        }
        // Threads read ahead, many requests each.
        let mut wishes = HashMap::new();
        for (op, caller) in due {
            let (wish, reads) = *wishes
                .entry(caller.thread)
                .or_insert_with(|| ask(caller.thread));
            let ends = match wish {
                Wish::None => false,
                Wish::Handle => reads || !caller.at_a_fault,
                Wish::Die => true,
            };
            if ends && caller.reply.upgrade().is_some_and(|r| r.interrupt()) {
                log::debug!(
                    "{op}: its caller, thread {}, waits no longer",
                    caller.thread
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
