//! A file whose name goes while it is being sent: what is still needed of it, and what is not.

use std::sync::Arc;

use log::warn;

use crate::b2::ErrorKind;
use crate::io::Content;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::state::Why;
use crate::vfs::{Error, Ino, Vfs};

/// A content of which nothing more is sent while its name goes; dropped without `gone`, it is stored after all.
pub(in crate::vfs) struct Halted {
    vfs: Vfs,
    ino: Ino,
    content: Arc<Content>,
    gone: bool,
}

impl Halted {
    /// The name has gone; where nobody can read it, what was unsent has, too.
    pub(super) fn gone(mut self, read: bool) {
        self.gone = true;
        if !read {
            self.content.abandon();
        }
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        if !self.gone {
            self.content.go_on();
            let queue = &self.vfs.shared.queue;
            queue.push(self.ino, Queue::QUIET, Urgency::Closed);
        }
    }
}

impl Vfs {
    /// A file is about to go: what it has unsent need not be sent, but for what makes parts that have left readable
    /// for whoever has it open. `None` when there is nothing unsent.
    pub(super) fn halt(&self, ino: Ino) -> Option<Halted> {
        let content = {
            let tree = self.tree();
            let node = tree.get(ino).ok().filter(|node| node.content_dirty())?;
            node.object()?.content.clone()?
        };
        content.stop(self.is_open_to_read(ino));
        Some(Halted {
            vfs: self.clone(),
            ino,
            content,
            gone: false,
        })
    }

    /// Before the name of a file goes that may be open: parts of it that have left for B2 can be
    /// read again only as a stored version, and there will be no name to store one under.
    pub(in crate::vfs) async fn keep_readable(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let content = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let object = node.object().filter(|_| node.opens > 0);
            object.and_then(|object| object.content.clone())
        };
        let Some(content) = content else {
            return Ok(());
        };
        if !content.hold_parts() {
            return Ok(());
        }
        content.go_on();
        match self.commit_content_at(ino, full, Why::Readable).await {
            Err(Error::B2(error)) if error.kind == ErrorKind::CapExceeded => {
                // Removing must work where storing does not.
                warn!(
                    "{:?} is removed while it is being written; what was sent of it cannot be read any more: {error}",
                    self.within(full)
                );
                Ok(())
            }
            Err(error) => {
                content.release_parts();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The name did not go after all.
    pub(in crate::vfs) fn stays(&self, ino: Ino) {
        if let Ok(object) = self.tree().object_mut(ino)
            && let Some(content) = &object.content
        {
            content.release_parts();
        }
    }
}
