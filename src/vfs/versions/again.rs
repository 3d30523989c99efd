//! Operations on open files that need a commit before they can go on: what they write does not fit into memory, or what
//! they read has left it.

use std::future::Future;

use crate::io;
use crate::vfs::state::Why;
use crate::vfs::{Error, Ino, Vfs};

/// Commits that one operation may ask for: others may write to the same file meanwhile.
pub(in crate::vfs) const TRIES: u32 = 32;

pub(in crate::vfs) fn too_fast() -> Error {
    Error::Io("the file is changed faster than it can be stored".to_owned())
}

impl Vfs {
    /// Runs an operation again after each commit that it asks for.
    pub(in crate::vfs) async fn retry_after_commit<T, F, Fut>(
        &self,
        ino: Ino,
        mut operation: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, io::Error>>,
    {
        for _ in 0..TRIES {
            match operation().await {
                Err(error @ (io::Error::NeedsCommit | io::Error::HasLeft)) => {
                    self.commit_to_go_on(ino, &error).await?;
                }
                other => return Ok(other?),
            }
        }
        Err(too_fast())
    }

    /// Stores what keeps an operation of an open file from going on.
    pub(in crate::vfs) async fn commit_to_go_on(
        &self,
        ino: Ino,
        why: &io::Error,
    ) -> Result<(), Error> {
        if self.tree().place(ino).is_none() {
            return Err(Error::NoSpace(
                "a removed file has outgrown the memory limit".to_owned(),
            ));
        }
        let why = match why {
            io::Error::HasLeft => Why::Readable,
            _ => Why::Provisional,
        };
        self.commit_content(ino, why).await
    }
}
