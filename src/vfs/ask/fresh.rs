//! When B2 is asked: before something is used that is not known, or not known freshly enough.
//!
//! What is asked then is `listing`'s, `pages`' and `walk`'s.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::vfs::ask::listing::{RENAMES, renamed_too_fast};
use crate::vfs::names::known::Known;
use crate::vfs::{Error, Ino, Vfs};

/// With `metadata_ttl: 0`, how long what was seen holds for everything but opening.
const MOMENT: Duration = Duration::from_secs(1);

impl Vfs {
    /// Makes sure that all names of a directory are known and fresh.
    pub(in crate::vfs) async fn ensure_listed(&self, dir: Ino) -> Result<(), Error> {
        self.walk_to_listing(dir).await?;
        if self.listing_fresh(dir)? {
            return Ok(());
        }
        let pages = self.pages(dir)?;
        self.more_pages(&pages, usize::MAX).await
    }

    /// A directory is about to be listed: that may be a step of a walk.
    pub(in crate::vfs) async fn walk_to_listing(&self, dir: Ino) -> Result<(), Error> {
        self.pass(dir);
        if self.listing_fresh(dir)? {
            self.refresh_soon(dir);
            return Ok(());
        }
        self.walk(dir, || self.listing_fresh(dir)).await
    }

    /// Makes sure that a directory's own attributes are known: its marker stands in its first page.
    /// Where a walk does not help, neighbours that follow are fetched meanwhile (`ls -l`).
    pub(in crate::vfs) async fn ensure_attributes(&self, ino: Ino) -> Result<(), Error> {
        const AHEAD: usize = 16;
        self.pass(ino);
        if self.attributes_known(ino) {
            self.refresh_soon(ino);
            return Ok(());
        }
        self.walk(ino, || Ok(self.attributes_known(ino))).await?;
        if self.attributes_known(ino) {
            return Ok(());
        }
        let ahead: Vec<Ino> = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            let ttl = self.settings().metadata_ttl;
            let dir = tree.dir(node.parent)?;
            let often = dir.usage().is_some_and(|usage| usage.asked.often());
            let after = (Bound::Excluded(Arc::clone(&node.name)), Bound::Unbounded);
            dir.children
                .range::<Arc<str>, _>(after)
                .map(|(_, child)| *child)
                .filter(|child| tree.dir(*child).is_ok_and(|dir| !dir.attributes_known(ttl)))
                .take(if often { AHEAD } else { 0 })
                .collect()
        };
        for next in ahead {
            let vfs = self.clone();
            self.shared.runtime.spawn(async move {
                // Whoever asks for this one itself is told what went wrong.
                let _ = vfs.fetch_attributes(next).await;
            });
        }
        self.fetch_attributes(ino).await
    }

    async fn fetch_attributes(&self, ino: Ino) -> Result<(), Error> {
        let _one = self.flight_lock(ino)?.lock_owned().await;
        for _ in 0..RENAMES {
            if self.attributes_known(ino) {
                return Ok(());
            }
            let (flight, _under_way) = self.begin(ino)?;
            if self.list_first_page(&flight).await?.is_some() {
                return Ok(());
            }
        }
        Err(renamed_too_fast())
    }

    fn attributes_known(&self, ino: Ino) -> bool {
        let tree = self.tree();
        let Ok(dir) = tree.dir(ino) else { return true };
        ino == Ino::ROOT
            || dir.attributes_known(self.settings().metadata_ttl)
            || tree.path(ino).is_none()
    }

    /// Makes sure that it is known, and freshly so, whether a directory has a name.
    pub(in crate::vfs) async fn ensure_name(&self, dir: Ino, name: &str) -> Result<(), Error> {
        if self.name_fresh(dir, name)? {
            self.refresh_soon(dir);
            return Ok(());
        }
        let _one = self.flight_lock(dir)?.lock_owned().await;
        for _ in 0..RENAMES {
            if self.name_fresh(dir, name)? {
                return Ok(());
            }
            let (flight, _under_way) = self.begin(dir)?;
            if self.list_name(&flight, name).await? {
                return Ok(());
            }
        }
        Err(renamed_too_fast())
    }

    /// Before a file is opened with `metadata_ttl: 0`: whatever others have closed by now is what is
    /// opened (close-to-open). `Stale` when they have given the name to another file: the kernel then looks
    /// it up again. What this mount has replaced meanwhile is opened as it was found.
    pub(in crate::vfs) async fn ask_at_open(&self, ino: Ino) -> Result<(), Error> {
        let ino = ino.hashed().unwrap_or(ino);
        let (parent, name) = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            if !self.settings().metadata_ttl.is_zero() || !node.linked || node.local() {
                return Ok(());
            }
            (node.parent, Arc::clone(&node.name))
        };
        let (found, _noting_removals) = self.begin(parent)?;
        let _one = self.flight_lock(parent)?.lock_owned().await;
        self.ask_for_name(parent, &name).await?;
        let tree = self.tree();
        if tree.known(parent, &name).ino() == Some(ino)
            || tree.removed_since(parent, &name, found.began)
        {
            return Ok(());
        }
        Err(Error::Stale)
    }

    fn name_fresh(&self, dir: Ino, name: &str) -> Result<bool, Error> {
        let tree = self.tree();
        tree.dir(dir)?;
        let known = tree.known(dir, name);
        let ttl = match known {
            // Without a time to live, opening asks anew; until then what was just seen will do, or
            // `ls -l` would cost a call for each file.
            Known::Here { .. } if self.settings().metadata_ttl.is_zero() => MOMENT,
            _ => self.settings().metadata_ttl,
        };
        Ok(known.since().fresh(ttl, Instant::now()))
    }
}
