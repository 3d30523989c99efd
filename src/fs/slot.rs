//! A reply that two may give: the operation when it has ended, or the watcher of interrupts before that.
//! Whoever takes it out first gives it, so a caller is answered once.

use std::sync::{Arc, Weak};

use fuser::Errno;
use parking_lot::Mutex;

use super::answer::Refuse;

/// Where an operation keeps its reply while it works.
pub(super) struct Slot<R>(Arc<Mutex<Option<R>>>);

impl<R: Refuse> Slot<R> {
    pub(super) fn new(reply: R) -> Self {
        Self(Arc::new(Mutex::new(Some(reply))))
    }

    /// The reply; `None` when the caller was told that it is interrupted.
    pub(super) fn take(&self) -> Option<R> {
        self.0.lock().take()
    }

    /// Puts a reply back that was taken and could not be given yet.
    pub(super) fn put(&self, reply: R) {
        *self.0.lock() = Some(reply);
    }

    /// What a watcher needs; it does not keep the reply from being dropped.
    pub(super) fn caller(&self, thread: u32) -> Caller {
        let reply: Weak<Mutex<Option<R>>> = Arc::downgrade(&self.0);
        Caller {
            thread,
            at_a_fault: false,
            reply,
        }
    }
}

/// The other end of a [`Slot`].
pub(super) trait Interruptible: Send + Sync {
    /// Answers `EINTR`, unless there was an answer.
    fn interrupt(&self) -> bool;
}

impl<R: Refuse> Interruptible for Mutex<Option<R>> {
    fn interrupt(&self) -> bool {
        let reply = self.lock().take();
        reply.map(|reply| reply.refuse(Errno::EINTR)).is_some()
    }
}

/// Who waits for an operation.
#[derive(Clone)]
pub(super) struct Caller {
    /// Its id in our namespace of processes; 0 for one outside of it, or for the kernel itself.
    pub(super) thread: u32,
    /// It may wait because it has touched a page of a mapping: an error is then a SIGBUS.
    pub(super) at_a_fault: bool,
    pub(super) reply: Weak<dyn Interruptible>,
}

impl Caller {
    /// One that may wait for a page of a mapping.
    pub(super) fn or_a_fault(self) -> Self {
        Self {
            at_a_fault: true,
            ..self
        }
    }
}
