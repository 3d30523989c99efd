//! From names to inodes, and what stat(2) shows of them.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use crate::vfs::ask::refresh::kernel_ttl;
use crate::vfs::names::name;
use crate::vfs::names::tree::Tree;
use crate::vfs::{Attr, Entry, Error, FileKind, HashFiles, Ino, Vfs};

impl Vfs {
    /// Finds a name; the kernel then holds one more reference.
    pub async fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Entry, Error> {
        if name == "." || name == ".." {
            return self.by_handle(parent, name == "..").await;
        }
        let ino = self.find(parent, name).await?;
        self.ensure_attributes(ino).await?;
        self.entry(&mut self.tree(), ino)
    }

    /// An inode that the kernel has dropped and has a handle of, or the directory of it. `Stale` where this mount does not know
    /// it any more: its number alone does not tell its name.
    async fn by_handle(&self, ino: Ino, parent: bool) -> Result<Entry, Error> {
        let known = |tree: &Tree| tree.path(ino).is_some();
        if !known(&self.tree()) {
            return Err(Error::Stale);
        }
        self.refresh(ino).await?;
        let mut tree = self.tree();
        if !known(&tree) {
            return Err(Error::Stale);
        }
        let found = if parent { tree.get(ino)?.parent } else { ino };
        self.entry(&mut tree, found)
    }

    /// The kernel gives back references.
    pub fn forget(&self, ino: Ino, count: u64) {
        if ino.hashed().is_some() {
            return;
        }
        let mut tree = self.tree();
        if let Ok(node) = tree.get_mut(ino) {
            node.lookups = node.lookups.saturating_sub(count);
            tree.free_if_unused(ino);
        }
    }

    /// Attributes, and how long they may be believed.
    pub async fn getattr(&self, ino: Ino) -> Result<(Attr, Duration), Error> {
        self.refresh(ino.hashed().unwrap_or(ino)).await?;
        let tree = self.tree();
        Ok((self.attr(&tree, ino)?, self.ttl(&tree, ino)))
    }

    /// Asks B2 for what it has not been asked for within `metadata_ttl`.
    pub(in crate::vfs) async fn refresh(&self, ino: Ino) -> Result<(), Error> {
        let place = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            if node.opens > 0 && node.linked && node.object().is_some() {
                drop(tree);
                self.look_for_growth(ino);
                return Ok(());
            }
            // What has no name is in no listing.
            (ino != Ino::ROOT && node.opens == 0 && node.linked)
                .then(|| (node.parent, std::sync::Arc::clone(&node.name)))
        };
        if let Some((parent, name)) = place {
            self.ensure_name(parent, &name).await?;
            self.ensure_attributes(ino).await?;
        }
        Ok(())
    }

    /// The inode that a name stands for now, a virtual hash file included.
    pub(in crate::vfs) async fn find(&self, parent: Ino, name: &OsStr) -> Result<Ino, Error> {
        self.tree().dir(parent)?;
        let name = &*name::looked_up(name, self.settings().names)?;
        if let Some(ino) = self.find_real(parent, name).await? {
            return Ok(ino);
        }
        if self.settings().hash_files != HashFiles::Off
            && let Some(base) = name::hashed_name(name)
            && let Some(ino) = self.find_real(parent, base).await?
            && self.tree().get(ino)?.meta.kind == FileKind::File
            && !self.shared.unlinked_hashes.contains(ino)
        {
            return Ok(ino.hash_file());
        }
        if name.len() > name::NEW_MAX {
            // Nothing could be made there, and pathconf(3) has said so.
            return Err(Error::NameTooLong);
        }
        Err(Error::NotFound)
    }

    /// Finds a name that is no virtual file; `None` when B2 has no such name.
    pub(in crate::vfs) async fn find_real(
        &self,
        parent: Ino,
        name: &str,
    ) -> Result<Option<Ino>, Error> {
        self.ensure_name(parent, name).await?;
        Ok(self.tree().known(parent, name).ino())
    }

    /// An answer that gives the kernel one more reference.
    pub(in crate::vfs) fn entry(&self, tree: &mut Tree, ino: Ino) -> Result<Entry, Error> {
        let attr = self.attr(tree, ino)?;
        let ttl = self.ttl(tree, ino);
        if ino.hashed().is_none() {
            tree.get_mut(ino)?.lookups += 1;
        }
        Ok(Entry { attr, ttl })
    }

    fn attr(&self, tree: &Tree, ino: Ino) -> Result<Attr, Error> {
        let Some(file) = ino.hashed() else {
            return tree.attr(ino);
        };
        let mut attr = tree.attr(file)?.hash_file();
        if self.settings().uid != 0 {
            // The kernel would not let anybody but root put a real file in its place.
            attr.mode |= 0o200;
        }
        Ok(attr)
    }

    fn ttl(&self, tree: &Tree, ino: Ino) -> Duration {
        if ino.hashed().is_some() {
            // Gone as soon as its file goes or a real object takes the name: always asked for anew.
            return Duration::ZERO;
        }
        let ttl = self.settings().metadata_ttl;
        if ino != Ino::ROOT && tree.dir(ino).is_ok_and(|dir| !dir.attributes_known(ttl)) {
            // A readdir tells the name without a call for each directory; stat(2) has to ask.
            return Duration::ZERO;
        }
        let ttl = self.settings().metadata_ttl;
        kernel_ttl(tree.fresh_for(ino, ttl, Instant::now()), ttl)
    }
}
