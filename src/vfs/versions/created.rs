//! Files that were created and never written: no reason to cover what another client has stored under the name since.
//!
//! Their maker finds out as late as anybody who opens a file that is there: what it writes then is a new version. It is
//! looked for theirs before they are stored, and once more afterwards (`newly`). One that has lost its name while it was open
//! has nothing to store at all: the name is that of another file, or of none.

use crate::b2::Action;
use crate::vfs::ask::look::Hurry;
use crate::vfs::names::tree::Tree;
use crate::vfs::{Error, Ino, Vfs};

impl Vfs {
    /// Looks whether a file that was only created has to give way to what others have put under its name; then it has
    /// nothing to store.
    pub(in crate::vfs) async fn gives_way(&self, ino: Ino, full: &str) -> Result<bool, Error> {
        let awaited = {
            let mut tree = self.tree();
            let node = tree.get(ino)?;
            if !node.only_created() {
                return Ok(false);
            }
            if self.has_lost(&tree, ino, full) {
                tree.gives_way(ino);
                return Ok(true);
            }
            let content = tree
                .get(ino)?
                .object()
                .and_then(|object| object.content.as_ref());
            content.is_some_and(|content| content.is_awaited())
        };
        if awaited {
            // Where memory is short, many wait for what one of these takes: it is looked at afterwards.
            return Ok(false);
        }
        let seen = self.look(full, Hurry::No).await?;
        let mut tree = self.tree();
        if !tree.get(ino)?.only_created() {
            return Ok(false);
        }
        // Meanwhile, too.
        if self.has_lost(&tree, ino, full) {
            tree.gives_way(ino);
            return Ok(true);
        }
        let Some(theirs) = seen.rows.first() else {
            return Ok(false);
        };
        let own = |id| self.shared.io.is_own(id);
        if theirs.action != Action::Upload || theirs.id.as_ref().is_none_or(own) {
            return Ok(false);
        }
        log::info!(
            "{:?}: another client has stored it since it was created here; nothing was written to it, so theirs stays",
            self.within(full)
        );
        self.replace_version(&mut tree, ino, theirs);
        Ok(true)
    }

    /// Whether an inode does not have this name any more.
    fn has_lost(&self, tree: &Tree, ino: Ino, full: &str) -> bool {
        tree.path(ino).is_none_or(|path| self.full(&path) != full)
    }
}
