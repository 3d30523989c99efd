//! Hard links, as far as B2 can have any: a copy that B2 makes, which is a file of its own from then on.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::io::{Content, CopyError, Error as IoError};
use crate::vfs::attr::{self, Meta};
use crate::vfs::names::node::Carried;
use crate::vfs::ops::create::Fill;
use crate::vfs::versions::again::{TRIES, too_fast};
use crate::vfs::{Entry, Error, HardLinks, Ino, NewNode, Vfs};

/// A file that is to be copied.
pub(in crate::vfs::ops) struct Twin {
    ino: Ino,
    content: Arc<Content>,
    meta: Meta,
    carried: Option<Arc<Carried>>,
}

impl Vfs {
    /// Makes another name for a file, link(2): where that is wanted, by a copy. `NotPermitted` where it is not, and for
    /// directories and virtual hash files.
    pub async fn link(&self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry, Error> {
        self.writable()?;
        if self.settings().hard_links == HardLinks::Refuse || ino.hashed().is_some() {
            return Err(Error::NotPermitted);
        }
        if self.tree().get(ino)?.object().is_none() {
            return Err(Error::NotPermitted);
        }
        // Open, it stays what it is while it is copied.
        let from = self.open(ino, libc::O_RDONLY).await?.fh;
        let made = self.copy_to(ino, parent, name).await;
        self.release(from);
        made
    }

    async fn copy_to(&self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry, Error> {
        let twin = {
            let mut tree = self.tree();
            let content = self.content(&mut tree, ino)?;
            let node = tree.get(ino)?;
            Twin {
                ino,
                content,
                meta: node.meta,
                carried: node.object().and_then(|object| object.carried.clone()),
            }
        };
        let new = NewNode {
            kind: twin.meta.kind,
            mode: u32::from(twin.meta.mode),
            uid: twin.meta.uid,
            gid: twin.meta.gid,
            rdev: twin.meta.rdev,
        };
        self.make_stored(parent, name, new, Fill::Copy(twin)).await
    }

    /// Gives a new file the content and the attributes of another one.
    pub(in crate::vfs::ops) async fn fill_with(
        &self,
        ino: Ino,
        holder: &Arc<Content>,
        twin: &Twin,
    ) -> Result<(), Error> {
        {
            let mut tree = self.tree();
            let node = tree.get_mut(ino)?;
            node.meta = Meta {
                ctime: attr::now(),
                ..twin.meta
            };
            node.carried_mut().clone_from(&twin.carried);
        }
        for _ in 0..TRIES {
            let size = twin.content.size();
            if size == 0 {
                return Ok(());
            }
            match holder.copy_from(&twin.content, 0, 0, size).await {
                Ok(_) => return Ok(()),
                Err(CopyError::Source(error @ (IoError::NeedsCommit | IoError::HasLeft))) => {
                    self.commit_to_go_on(twin.ino, &error).await?;
                }
                Err(CopyError::Target(error @ (IoError::NeedsCommit | IoError::HasLeft))) => {
                    self.commit_to_go_on(ino, &error).await?;
                }
                Err(CopyError::Source(error) | CopyError::Target(error)) => {
                    return Err(error.into());
                }
            }
        }
        Err(too_fast())
    }
}
