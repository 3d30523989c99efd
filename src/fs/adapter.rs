//! What the session and the requests share.

use bytes::Bytes;
use fuser::ReplyData;

use super::answer::{Granted, Refuse};
use super::slot::{Caller, Slot};
use super::{Dispatch, errno};
use crate::vfs::{self, Vfs};

/// What fuser calls; one per mount.
pub struct Adapter {
    pub(super) vfs: Vfs,
    pub(super) dispatch: Dispatch,
}

impl Adapter {
    /// Serves `vfs` through `dispatch`.
    pub fn new(vfs: Vfs, dispatch: Dispatch) -> Self {
        Self { vfs, dispatch }
    }

    /// Runs one operation of thread `caller`; its result goes into the reply by `answer`, its error by the errno
    /// table. Of one that was interrupted, nobody gets the result, and what it grants is given back.
    pub(super) fn serve<T: Granted, R: Refuse>(
        &self,
        caller: u32,
        op: &'static str,
        reply: R,
        answer: impl FnOnce(R, T) + Send + 'static,
        work: impl Future<Output = Result<T, vfs::Error>> + Send + 'static,
    ) {
        let reply = Slot::new(reply);
        self.serve_caller(reply.caller(caller), op, reply, answer, work);
    }

    /// Runs a read, which the kernel may have asked for because a page of a mapping was touched.
    pub(super) fn serve_reader(
        &self,
        caller: u32,
        reply: ReplyData,
        answer: impl FnOnce(ReplyData, Vec<Bytes>) + Send + 'static,
        work: impl Future<Output = Result<Vec<Bytes>, vfs::Error>> + Send + 'static,
    ) {
        let reply = Slot::new(reply);
        let caller = reply.caller(caller).or_a_fault();
        self.serve_caller(caller, "read", reply, answer, work);
    }

    fn serve_caller<T: Granted, R: Refuse>(
        &self,
        caller: Caller,
        op: &'static str,
        reply: Slot<R>,
        answer: impl FnOnce(R, T) + Send + 'static,
        work: impl Future<Output = Result<T, vfs::Error>> + Send + 'static,
    ) {
        let vfs = self.vfs.clone();
        self.dispatch.run(op, caller, async move {
            let result = work.await;
            match (reply.take(), result) {
                (Some(reply), Ok(value)) => answer(reply, value),
                (Some(reply), Err(error)) => reply.refuse(errno::report(op, &error)),
                (None, Ok(value)) => value.give_back(&vfs),
                (None, Err(error)) => {
                    let _ = errno::report(op, &error);
                }
            }
        });
    }
}
