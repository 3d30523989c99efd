//! Files that others have encrypted with a key of their own (SSE-C): they are shown, replaced and removed as any
//! other, but B2 neither sends nor copies their content (API §7). What needs that is refused before it begins.

use crate::b2::FileVersion;
use crate::vfs::{Error, Ino, Vfs};

impl Vfs {
    /// Refuses what reads or copies the stored content of a file, where B2 would refuse it; the log says why, once
    /// for a name. What has unsent bytes was emptied here: its content is known.
    pub(in crate::vfs) fn check_key(&self, ino: Ino) -> Result<(), Error> {
        self.check_key_unless(ino, |_| false)
    }

    /// As [`Self::check_key`], for what empties the file first. One that is empty already would only get a new time,
    /// by a copy.
    pub(in crate::vfs) fn check_key_to_empty(&self, ino: Ino) -> Result<(), Error> {
        self.check_key_unless(ino, |size| size > 0)
    }

    fn check_key_unless(&self, ino: Ino, allowed: impl Fn(u64) -> bool) -> Result<(), Error> {
        let tree = self.tree();
        let node = tree.get(ino)?;
        let stored = node.object().and_then(|object| object.state.stored());
        let sealed = stored.is_some_and(|stored| stored.customer_key && !allowed(stored.size));
        if !sealed || node.content_dirty() {
            return Ok(());
        }
        let path = tree.path(ino).unwrap_or_default();
        Err(self.no_key(&path))
    }

    /// As [`Self::check_key`], of a listed version.
    pub(in crate::vfs) fn check_key_of(&self, row: &FileVersion) -> Result<(), Error> {
        if row.customer_key {
            return Err(self.no_key(self.within(row.name.as_str())));
        }
        Ok(())
    }

    fn no_key(&self, path: &str) -> Error {
        self.shared.warned.customer_key(path);
        Error::Access
    }
}
