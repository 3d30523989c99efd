//! A: the core, with the kernel's lookups and reopening, and one file that stays open.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::time::Duration;

use b2fuse::vfs::{Error, Fh, FileKind, Ino, NewNode, SetAttr, Unstored, Vfs};
use bytes::Bytes;

use super::steps::Manner;
use crate::settings::{Making, new_core};
use crate::support::emulator::Emulator;

/// A call of A's ends within this time.
const PATIENCE: Duration = Duration::from_millis(400);
const RDWR: i32 = libc::O_RDWR;

pub(super) type Content = Vec<u8>;

pub(super) struct Mount {
    vfs: Vfs,
    slot: tokio::sync::Mutex<Option<Fh>>,
}

impl Mount {
    pub(super) async fn new(emulator: &Emulator, manner: Manner) -> Self {
        let making = Making {
            prefix: String::new(),
            ttl: manner.ttl,
            delete: manner.delete,
            overwrite: manner.overwrite,
            write_back: manner.write_back,
            store_open: None,
            memory: 16 << 20,
            patience: PATIENCE,
            at_once: 4,
        };
        let vfs = new_core(emulator, making).await;
        Self {
            vfs,
            slot: tokio::sync::Mutex::new(None),
        }
    }

    async fn find(&self, path: &str) -> Result<(Ino, FileKind), Error> {
        let mut here = (Ino::ROOT, FileKind::Directory);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry = self.vfs.lookup(here.0, OsStr::new(name)).await?;
            here = (entry.attr.ino, entry.attr.kind);
        }
        Ok(here)
    }

    async fn parent<'p>(&self, path: &'p str) -> Result<(Ino, &'p OsStr), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.find(parent).await?.0, OsStr::new(name)))
    }

    /// As the kernel does: what is stale is looked up once more, what is absent is made.
    async fn open(&self, path: &str, flags: i32) -> Result<Fh, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let opened = match self.find(path).await {
                Ok((_, FileKind::Directory)) => Err(Error::IsDirectory),
                Ok((ino, _)) => self.vfs.open(ino, flags & !libc::O_CREAT).await,
                Err(Error::NotFound) if flags & libc::O_CREAT != 0 => {
                    let (parent, name) = self.parent(path).await?;
                    let new = node(FileKind::File, 0o644);
                    let made = self.vfs.create(parent, name, new, flags).await;
                    made.map(|(_, opened)| opened)
                }
                Err(error) => Err(error),
            };
            match opened {
                Err(Error::Stale) if tries < 3 => {}
                opened => return Ok(opened?.fh),
            }
        }
    }

    async fn read(&self, fh: Fh) -> Result<Content, Error> {
        let mut all = Vec::new();
        loop {
            let pieces = self.vfs.read(fh, all.len() as u64, 1 << 20).await?;
            if pieces.is_empty() {
                return Ok(all);
            }
            for piece in pieces {
                all.extend_from_slice(&piece);
            }
        }
    }

    /// What A shows under a name.
    pub(super) async fn get(&self, path: &str) -> Result<Content, Error> {
        let fh = self.open(path, libc::O_RDONLY).await?;
        let content = self.read(fh).await;
        self.vfs.release(fh);
        content
    }

    /// Whether anything was changed at all, and what the whole ended with.
    pub(super) async fn put(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let fh = self
            .open(path, RDWR | libc::O_CREAT | libc::O_TRUNC)
            .await?;
        let written = self.vfs.write(fh, 0, Bytes::copy_from_slice(content)).await;
        let closed = self.vfs.flush(fh).await;
        self.vfs.release(fh);
        written.and(closed)
    }

    /// Gives what the file holds afterwards.
    pub(super) async fn append(&self, path: &str, content: &[u8]) -> Result<Content, Error> {
        let fh = self.open(path, RDWR | libc::O_CREAT).await?;
        let written = self.vfs.append(fh, Bytes::copy_from_slice(content)).await;
        let whole = self.read(fh).await;
        let closed = self.vfs.flush(fh).await;
        self.vfs.release(fh);
        written?;
        closed?;
        whole
    }

    /// Closes what was open before; false where there was nothing to open.
    pub(super) async fn open_slot(&self, path: &str) -> Result<(), Error> {
        drop(self.close_slot().await);
        let fh = self.open(path, RDWR).await?;
        *self.slot.lock().await = Some(fh);
        Ok(())
    }

    pub(super) async fn write_slot(&self, content: &[u8]) -> Result<(), Error> {
        let slot = *self.slot.lock().await;
        let fh = slot.ok_or(Error::BadHandle)?;
        let data = Bytes::copy_from_slice(content);
        self.vfs.append(fh, data).await.map(|_| ())
    }

    /// What the open file holds, if `fsync` says that it is stored.
    pub(super) async fn sync_slot(&self) -> Result<Content, Error> {
        let slot = *self.slot.lock().await;
        let fh = slot.ok_or(Error::BadHandle)?;
        let whole = self.read(fh).await;
        self.vfs.fsync(fh, false).await?;
        whole
    }

    /// The same by closing it.
    pub(super) async fn close_slot(&self) -> Result<Content, Error> {
        let slot = self.slot.lock().await.take();
        let fh = slot.ok_or(Error::BadHandle)?;
        let whole = self.read(fh).await;
        let closed = self.vfs.flush(fh).await;
        self.vfs.release(fh);
        closed?;
        whole
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = self.parent(path).await?;
        self.vfs.lookup(parent, name).await?;
        self.vfs.unlink(parent, name).await
    }

    pub(super) async fn rename(&self, from: &str, to: &str, no_replace: bool) -> Result<(), Error> {
        let (old_parent, old) = self.parent(from).await?;
        let (new_parent, new) = self.parent(to).await?;
        self.vfs.lookup(old_parent, old).await?;
        drop(self.vfs.lookup(new_parent, new).await);
        let flags = if no_replace {
            libc::RENAME_NOREPLACE
        } else {
            0
        };
        self.vfs
            .rename(old_parent, old, new_parent, new, flags)
            .await
    }

    pub(super) async fn mkdir(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = self.parent(path).await?;
        let new = node(FileKind::Directory, 0o755);
        self.vfs.mkdir(parent, name, new).await.map(|_| ())
    }

    pub(super) async fn rmdir(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = self.parent(path).await?;
        self.vfs.rmdir(parent, name).await
    }

    pub(super) async fn chmod(&self, path: &str, mode: u32) -> Result<(), Error> {
        let (ino, _) = self.find(path).await?;
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.vfs.setattr(ino, set).await.map(|_| ())
    }

    pub(super) async fn sync_dir(&self, path: &str) -> Result<(), Error> {
        let (ino, _) = self.find(path).await?;
        let fh = self.vfs.opendir(ino).await?;
        let synced = self.vfs.fsyncdir(fh).await;
        self.vfs.releasedir(fh);
        synced
    }

    /// The names in a directory.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let (ino, _) = self.find(path).await?;
        let fh = self.vfs.opendir(ino).await?;
        let mut names = Vec::new();
        let mut at = Some(0);
        let mut failed = None;
        while let Some(offset) = at {
            if let Err(error) = self.vfs.readdir_fill(fh, offset).await {
                failed = Some(error);
                break;
            }
            at = self.vfs.readdir_emit(fh, offset, false, &mut |entry, _| {
                names.push(String::from_utf8_lossy(&entry.name).into_owned());
                ControlFlow::Continue(())
            })?;
        }
        self.vfs.releasedir(fh);
        names.retain(|name| name != "." && name != "..");
        failed.map_or(Ok(names), Err)
    }

    pub(super) async fn drain(&self) -> Vec<Unstored> {
        self.vfs.drain().await
    }
}

fn node(kind: FileKind, mode: u32) -> NewNode {
    NewNode {
        kind,
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
    }
}
