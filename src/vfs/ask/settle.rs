//! What a listing showed otherwise than this mount has left it a moment ago: another client has come since, or the listing
//! lags behind.
//!
//! The versions of the name tell, and where these may lag, too, the id of what was stored, or hidden, here: as long as B2
//! has that, and nothing newer is seen, what was acknowledged here holds. Ordinary listings cost no further call.

use std::time::Instant;

use log::debug;

use crate::b2::{Action, ErrorKind, FileId, FileVersion, ListNames};
use crate::vfs::ask::look::Hurry;
use crate::vfs::names::lineage;
use crate::vfs::names::name::MARKER;
use crate::vfs::names::tree::{Tree, Unsettled};
use crate::vfs::{Error, Ino, Vfs};

/// What a name shows.
enum Shows {
    /// The version that this mount has stored.
    Ours,
    /// Not that one any more, but another, or nothing.
    Theirs {
        ours: FileId,
        newest: Option<Box<FileVersion>>,
    },
}

/// Which version this mount believes a file to have, or a directory's marker, if it is its own; and when that was made.
fn stored(tree: &Tree, ino: Ino) -> Option<(FileId, u64)> {
    let node = tree.get(ino).ok()?;
    let of_file = node.object().and_then(|object| object.state.stored());
    let of_file = of_file.map(|stored| (stored.id.clone(), stored.uploaded_ms));
    let marker = node.dir().and_then(|dir| dir.marker.stored());
    let marker = marker.filter(|own| own.ours);
    of_file.or_else(|| marker.map(|own| (own.id.clone(), own.uploaded_ms)))
}

impl Vfs {
    /// Asks for all that listings have left unsettled.
    pub(in crate::vfs) async fn settle(&self) {
        let all = std::mem::take(&mut self.tree().unsettled);
        let looks = all.into_iter().map(|one| async move {
            let (full, settled) = match &one {
                Unsettled::Stored(ino) | Unsettled::Marker(ino) => {
                    let Some(full) = self.tree().path(*ino).map(|path| self.full(&path)) else {
                        return;
                    };
                    let marker = matches!(one, Unsettled::Marker(_));
                    let settled = self.settle_stored(*ino, &full, marker).await;
                    (full, settled)
                }
                Unsettled::Grown(ino) => {
                    let Some(full) = self.tree().path(*ino).map(|path| self.full(&path)) else {
                        return;
                    };
                    let settled = self.settle_grown(*ino, &full).await;
                    (full, settled)
                }
                Unsettled::Removed { dir, full } => {
                    (full.clone(), self.settle_removed(*dir, full).await)
                }
            };
            // What was acknowledged here holds, until a listing is asked for again.
            if let Err(error) = settled {
                debug!(
                    "{:?}: whether another client has changed it, or a listing lags behind, is not known yet: {error}",
                    self.within(&full)
                );
            }
        });
        futures_util::future::join_all(looks).await;
    }

    /// The version that is open is gone: whether the file goes on with one that continues it.
    pub(in crate::vfs) async fn goes_on(&self, ino: Ino) -> bool {
        let (full, before) = {
            let tree = self.tree();
            let full = tree.path(ino).map(|path| self.full(&path));
            (full, stored(&tree, ino))
        };
        let (Some(full), Some((before, _))) = (full, before) else {
            return false;
        };
        if let Err(error) = self.settle_grown(ino, &full).await {
            debug!(
                "{:?}: whether it has grown is not known: {error}",
                self.within(&full)
            );
        }
        let tree = self.tree();
        tree.path(ino).is_some() && stored(&tree, ino).is_some_and(|(now, _)| now != before)
    }

    /// A newer version of an open file may continue it: the versions in between tell.
    async fn settle_grown(&self, ino: Ino, full: &str) -> Result<(), Error> {
        let seen = self.look(full, Hurry::Look).await?;
        let Some(newest) = seen.rows.first().filter(|row| row.action == Action::Upload) else {
            return Ok(()); // removed meanwhile: the next listing tells
        };
        let mut tree = self.tree();
        if tree.path(ino).is_none_or(|path| self.full(&path) != full) {
            return Ok(());
        }
        let node = tree.get(ino)?;
        let stored = node.object().and_then(|object| object.state.stored());
        let Some(old) = stored.map(|stored| stored.id.clone()) else {
            return Ok(());
        };
        if node.content_dirty() || newest.id.as_ref() == Some(&old) {
            return Ok(());
        }
        if !(lineage::continues(&seen.rows, &old) && self.has_grown(&mut tree, ino, newest)) {
            self.replace_version(&mut tree, ino, newest);
        }
        Ok(())
    }

    /// `marker`: only that of the directory is in doubt, not whether there is one.
    async fn settle_stored(&self, ino: Ino, full: &str, marker: bool) -> Result<(), Error> {
        let Shows::Theirs { ours, newest } = self.shows(ino, full).await? else {
            return Ok(());
        };
        let mut tree = self.tree();
        if tree.path(ino).is_none_or(|path| self.full(&path) != full) {
            return Ok(());
        }
        if stored(&tree, ino).is_none_or(|(id, _)| id != ours) {
            return Ok(()); // stored anew meanwhile
        }
        if tree.get(ino)?.content_dirty() {
            return Ok(()); // written meanwhile, which is newer than what was looked at
        }
        let directory = tree.get(ino)?.dir().is_some();
        match newest {
            Some(row) if directory => self.apply_marker(&mut tree, ino, &row),
            Some(row) => self.replace_version(&mut tree, ino, &row),
            None if marker || tree.dir(ino).is_ok_and(|dir| !dir.children.is_empty()) => {
                self.lost_marker(&mut tree, ino);
            }
            None => self.forget_entry(&mut tree, ino),
        }
        Ok(())
    }

    async fn shows(&self, ino: Ino, full: &str) -> Result<Shows, Error> {
        let ours = stored(&self.tree(), ino);
        let (id, uploaded_ms) = ours.ok_or(Error::Stale)?;
        let directory = self.tree().dir(ino).is_ok();
        let marker = if directory { MARKER } else { "" };
        let name = format!("{full}{marker}");
        let seen = self.look(&name, Hurry::Look).await?;
        let newest = seen.rows.first();
        if newest.is_some_and(|newest| newest.id.as_ref() == Some(&id)) {
            return Ok(Shows::Ours);
        }
        let newer = newest.is_some_and(|newest| newest.uploaded_ms >= uploaded_ms);
        // Where it is under another name, its directory was renamed, and it was removed before it could be copied.
        if !newer && self.has_version(&id, &name).await? {
            return Ok(Shows::Ours);
        }
        let newest = newest.filter(|row| row.action == Action::Upload);
        Ok(Shows::Theirs {
            ours: id,
            newest: newest.cloned().map(Box::new),
        })
    }

    async fn settle_removed(&self, dir: Ino, full: &str) -> Result<(), Error> {
        let began = self.tree().tick();
        if full.ends_with('/') {
            if self.has_returned_below(full).await? {
                self.is_back(&mut self.tree(), dir, full, None, began);
            }
        } else if let Some(row) = self.has_returned(full).await? {
            self.is_back(&mut self.tree(), dir, full, Some(&row), began);
        }
        Ok(())
    }

    /// The version that is shown by a name although it was removed here.
    async fn has_returned(&self, full: &str) -> Result<Option<FileVersion>, Error> {
        let seen = self.look(full, Hurry::Look).await?;
        let newest = seen.rows.first().filter(|row| row.action == Action::Upload);
        let Some((newest, id)) = newest.and_then(|row| Some((row, row.id.as_ref()?))) else {
            return Ok(None);
        };
        let (doubts, marker) = {
            let tree = self.tree();
            let doubts = tree.gone.doubts(newest, Instant::now());
            (doubts, tree.gone.marker(full))
        };
        if doubts {
            // One that lies under it is of an earlier removal, and hides nothing of it.
            let hides = |marker: &FileId| seen.position(marker).is_none_or(|at| at == 0);
            if let Some(marker) = marker.filter(hides)
                && self.has_version(&marker, full).await?
            {
                return Ok(None);
            }
            // Not hidden (any more): then it is there, or was deleted.
            if !self.has_version(id, full).await? {
                return Ok(None);
            }
        }
        Ok(Some(newest.clone()))
    }

    /// Whether anything is shown in a directory that was removed here, for it came after that.
    async fn has_returned_below(&self, full: &str) -> Result<bool, Error> {
        /// Rows of one call; B2 bills a call by started thousands (API §4.1).
        const PAGE: u32 = 1000;
        /// So many of the names that were removed tell enough.
        const MOST: usize = 64;
        let request = ListNames {
            prefix: full.to_owned(),
            start: None,
            delimiter: false,
            max: PAGE,
        };
        let page = self.shared.client.list_file_names(&request).await?;
        let (doubted, sure): (Vec<FileVersion>, Vec<FileVersion>) = {
            let tree = self.tree();
            let now = Instant::now();
            let rows = page.files.into_iter();
            rows.filter(|row| row.action == Action::Upload)
                .partition(|row| tree.gone.doubts(row, now))
        };
        if !sure.is_empty() {
            return Ok(true);
        }
        let doubted = doubted.iter().take(MOST);
        let looks = doubted.map(|row| self.has_returned(row.name.as_str()));
        let looks = futures_util::future::try_join_all(looks).await?;
        Ok(looks.iter().any(Option::is_some))
    }

    /// Whether B2 has a version, under that name, also if a listing does not show it: these may lag behind.
    pub(in crate::vfs) async fn has_version(&self, id: &FileId, full: &str) -> Result<bool, Error> {
        match self.shared.client.get_file_info(id).await {
            Ok(version) => Ok(version.name.as_str() == full),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
