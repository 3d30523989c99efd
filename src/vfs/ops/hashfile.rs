//! Virtual `.sha1` files: `x.sha1` holds the SHA-1 of `x` (DESIGN §4).
//!
//! They have no node of their own: their inode number is the file's with one bit set, and they
//! exist exactly where no real object has their name.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::io::Content;
use crate::vfs::names::name;
use crate::vfs::names::node::Node;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::{Error, FileKind, Ino, Names, NewNode, Vfs};

/// The name of a node's hash file, as B2 would have it, where it can have one.
pub(in crate::vfs) fn name_for(node: &Node, names: Names) -> Option<String> {
    if node.meta.kind != FileKind::File {
        return None;
    }
    let name = format!("{}{}", node.name, name::HASH_SUFFIX);
    (name::hashed_name(&name).is_some() && name::showable(&name, names)).then_some(name)
}

/// An open hash file: what it says is settled at the first read.
pub(in crate::vfs) struct HashHandle {
    pub(in crate::vfs) file: Ino,
    pub(in crate::vfs) content: Arc<Content>,
    text: OnceCell<bytes::Bytes>,
}

impl HashHandle {
    pub(in crate::vfs) fn new(file: Ino, content: Arc<Content>) -> Self {
        Self {
            file,
            content,
            text: OnceCell::new(),
        }
    }
}

/// Hash files that were unlinked a moment ago. They cannot be deleted, but a program that replaces
/// a file by unlink and an exclusive create (`tar x`) must find the name free, or it would try for
/// ever; what it then creates is a real file.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Unlinked(Mutex<HashMap<Ino, Instant>>);

impl Unlinked {
    /// How long the name stays free.
    const MOMENT: Duration = Duration::from_secs(2);

    pub(in crate::vfs) fn add(&self, file: Ino) {
        let mut all = self.0.lock();
        all.retain(|_, at| at.elapsed() < Self::MOMENT);
        all.insert(file, Instant::now());
    }

    pub(in crate::vfs) fn contains(&self, file: Ino) -> bool {
        let all = self.0.lock();
        all.get(&file).is_some_and(|at| at.elapsed() < Self::MOMENT)
    }
}

impl Vfs {
    /// Somebody empties a hash file to write to it, as `cp` does with what is there already: a real file takes its place.
    /// The kernel is to look its name up again (path_openat in Linux' fs/namei.c does so after ESTALE).
    pub(in crate::vfs) fn replace_hash(&self, file: Ino) -> Error {
        match self.make_real(file) {
            // Somebody was faster.
            Ok(()) | Err(Error::Exists) => Error::LookAgain,
            Err(error) => error,
        }
    }

    fn make_real(&self, file: Ino) -> Result<(), Error> {
        self.writable()?;
        let (parent, name, new) = {
            let tree = self.tree();
            let node = tree.get(file)?;
            let name = name_for(node, self.settings().names)
                .filter(|_| node.linked)
                .ok_or(Error::Access)?;
            let new = NewNode {
                kind: FileKind::File,
                mode: u32::from(node.meta.mode) & 0o666,
                uid: node.meta.uid,
                gid: node.meta.gid,
                rdev: 0,
            };
            (node.parent, name, new)
        };
        let name = self.new_component_in_b2(parent, &name)?;
        let real = self.add(parent, &name, new)?;
        self.shared.queue.push(real, Queue::QUIET, Urgency::Idle);
        Ok(())
    }

    pub(in crate::vfs) async fn read_hash(
        &self,
        handle: &HashHandle,
        offset: u64,
        len: u32,
    ) -> Result<Vec<bytes::Bytes>, Error> {
        let text = handle
            .text
            .get_or_try_init(|| async {
                let sha1 = self
                    .retry_after_commit(handle.file, || handle.content.sha1())
                    .await?;
                self.remember_sha1(handle.file, &handle.content, sha1);
                Ok::<_, Error>(bytes::Bytes::from(format!("{sha1}\n")))
            })
            .await?;
        let from = usize::try_from(offset).map_or(text.len(), |at| at.min(text.len()));
        let to = from.saturating_add(len as usize).min(text.len());
        Ok(if from == to {
            Vec::new()
        } else {
            vec![text.slice(from..to)]
        })
    }

    /// Keeps a computed hash with the version it was computed from.
    fn remember_sha1(&self, file: Ino, content: &Content, sha1: crate::b2::Sha1) {
        if content.is_dirty() {
            return;
        }
        let base = content.base().map(|version| version.id);
        if let Ok(object) = self.tree().object_mut(file)
            && let Some(base) = base
        {
            object.state.learned(&base, sha1);
        }
    }
}
