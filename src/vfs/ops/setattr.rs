//! Changed attributes: size, mode, owner, times; and who loses set-id bits.
//!
//! A size is a change of content; the rest waits briefly in the inode, to be merged (`commit`).

use std::time::{Duration, SystemTime};

use crate::vfs::attr;
use crate::vfs::delta::Changed;
use crate::vfs::state::Why;
use crate::vfs::{Attr, Error, FileKind, Ino, Permissions, SetAttr, Vfs};

impl Vfs {
    /// Changes size, mode, owner or times. A size changed without an open file is stored as by a close,
    /// for none follows; the others wait briefly to be merged (DESIGN §6).
    pub async fn setattr(&self, ino: Ino, set: SetAttr) -> Result<(Attr, Duration), Error> {
        self.writable()?;
        if ino.hashed().is_some() {
            if set.size.is_some() {
                return Err(Error::Access);
            }
            // As with unlink: nothing changes, and `chmod -R` goes on.
            return self.getattr(ino).await;
        }
        match set.size {
            Some(0) => self.check_key_to_empty(ino)?,
            _ => self.check_key(ino)?,
        }
        if let Some(size) = set.size {
            {
                let mut tree = self.tree();
                let node = tree.get_mut(ino)?;
                if node.dir().is_some() {
                    return Err(Error::IsDirectory);
                }
                node.opens += 1;
            }
            let mut result = self.truncate_open(ino, size).await;
            // Where somebody may write, a close follows; a reader's stores nothing.
            let written = self.tree().get(ino)?.writers() > 0;
            if result.is_ok() && !written {
                result = self.store_closed(ino, Why::Closed).await;
            }
            self.closed(ino);
            result?;
        }
        self.set_meta(ino, &set)?;
        self.getattr(ino).await
    }

    /// Somebody without the right to keep them has changed a file's content: it loses the set-user-id
    /// bit, and the set-group-id bit if the group may execute it (the kernel leaves this to b2fuse).
    pub fn drop_privileges(&self, ino: Ino) {
        let mode = self.tree().get(ino).map(|node| node.meta.mode);
        if let Ok(mode) = mode
            && attr::unprivileged(mode) != mode
        {
            let set = SetAttr {
                mode: Some(attr::unprivileged(mode).into()),
                ..SetAttr::default()
            };
            // The node is there, and that is all that can fail.
            let _ = self.set_meta(ino, &set);
        }
    }

    fn set_meta(&self, ino: Ino, set: &SetAttr) -> Result<(), Error> {
        let now = attr::now();
        let time = |set: Option<SystemTime>| set.map_or(now, attr::to_nanos);
        let mut tree = self.tree();
        if set.atime.is_some() || set.mtime.is_some() {
            // Setting one must not show as a change of the other.
            let atime = set
                .atime
                .map_or_else(|| tree.atime(ino), |set| Ok(time(set)))?;
            tree.set_atime(ino, atime);
        }
        let node = tree.get_mut(ino)?;
        let mut meta = node.meta;
        let ignored = SetAttr {
            mode: None,
            uid: None,
            gid: None,
            ..set.clone()
        };
        let set = match self.settings().permissions {
            Permissions::Keep => set,
            Permissions::Ignore => &ignored,
        };
        if (set.uid.is_some() || set.gid.is_some()) && meta.kind != FileKind::Directory {
            meta.mode = attr::unprivileged(meta.mode);
        }
        meta.mode = set.mode.map_or(meta.mode, attr::permissions);
        meta.uid = set.uid.unwrap_or(meta.uid);
        meta.gid = set.gid.unwrap_or(meta.gid);
        if let Some(mtime) = set.mtime {
            meta.mtime = time(mtime);
        }
        // Also when nothing is different afterwards: chown(-1, -1) arrives as a change of nothing.
        meta.changed(now);
        let mut changed = Changed::between(&meta, &node.meta);
        let alike = changed == Changed::default();
        if set.mtime.is_some() && node.content_dirty() {
            // It was set, not only moved on by writing: it must be stored exactly.
            changed = changed.and(Changed::MTIME);
        }
        node.meta = meta;
        if let Some(object) = node.object_mut() {
            object.state.set(changed);
        } else if let Some(dir) = node.dir_mut() {
            dir.delta().note(changed);
        }
        if alike {
            return Ok(());
        }
        self.store_attributes_later(&mut tree, ino)
    }
}
