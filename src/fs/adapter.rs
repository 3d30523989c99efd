//! What the session and the requests share.

use super::answer::Refuse;
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

    /// Runs one operation; its result goes into the reply by `answer`, its error by the errno table.
    pub(super) fn serve<T, R: Refuse>(
        &self,
        op: &'static str,
        reply: R,
        answer: impl FnOnce(R, T) + Send + 'static,
        work: impl Future<Output = Result<T, vfs::Error>> + Send + 'static,
    ) where
        T: Send + 'static,
    {
        self.dispatch.run(op, async move {
            match work.await {
                Ok(value) => answer(reply, value),
                Err(error) => reply.refuse(errno::report(op, &error)),
            }
        });
    }
}
