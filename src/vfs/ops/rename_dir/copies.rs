//! What B2 does for the rename of a directory, page by page: copies of everything below the old name, then the removal
//! of what was copied, or of the copies where the rename has failed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use log::warn;

use super::below::Below;
use super::late::Late;
use super::{Move, mark};
use crate::b2::{FileId, FileName, FileVersion, NewFile};
use crate::io::{Covered, Moved, Stamp};
use crate::vfs::ask::look::Hurry;
use crate::vfs::attr;
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::state::{Hash, Maker, Stored};
use crate::vfs::versions::removal::Removal;
use crate::vfs::{Error, Ino, Vfs};

/// Copies, and then removals, of one directory's rename at once: as many as the client makes.
pub(super) const AT_ONCE: usize = 64;

/// What has been copied.
#[derive(Default)]
pub(super) struct Copies {
    /// What names that are known here have become: by the full names that they had.
    pub(super) known: HashMap<String, Copied>,
    /// Whether the directory's own marker is among them.
    pub(super) marker: bool,
    /// All sources, where they were one page.
    pub(super) sources: Option<Vec<FileVersion>>,
    /// Sources besides, of which the listing did not show what this mount has stored.
    pub(super) late: Vec<FileVersion>,
}

/// A version, and its copy.
pub(super) struct Copied {
    pub(super) source: FileId,
    pub(super) copy: CopyOf,
}

/// What is kept of a copy until the whole directory has moved: as little as will do, for there may be a million.
pub(super) enum CopyOf {
    /// Of the version that a file here shows.
    Shown(Stored),
    /// Of another one, or of a marker.
    Other(Box<FileVersion>),
}

impl Vfs {
    /// Copies everything below the old name; tells what files that are known here have become.
    pub(super) async fn copy_below(&self, this: &Move<'_>) -> Result<Copies, Error> {
        let mut copies = Copies::default();
        let mut late = Late::new(self, this.ends.ino);
        let mut below = Below::all(self, &this.ends.from);
        let mut pages = 0;
        while let Some(mut rows) = below.page().await? {
            late.sort_out(&mut rows);
            pages += 1;
            let copied = self.copy_rows(this, rows, &mut copies).await?;
            copies.sources = (pages == 1).then_some(copied);
        }
        let rows = late.rows(self).await?;
        copies.late = self.copy_rows(this, rows, &mut copies).await?;
        Ok(copies)
    }

    /// Copies rows, unless an earlier try has done so; tells those whose copies are there.
    async fn copy_rows(
        &self,
        this: &Move<'_>,
        rows: Vec<FileVersion>,
        copies: &mut Copies,
    ) -> Result<Vec<FileVersion>, Error> {
        for row in &rows {
            self.check_key_of(row)?;
            let carried = attr::carried_info(&row.info, self.settings());
            name::check_renamed(row.name.as_str(), &this.new_name(row), &carried)?;
        }
        let there = if this.resumed {
            self.copies_of(this, &rows).await?
        } else {
            HashMap::new()
        };
        self.copy_page(this, rows, there, copies).await
    }

    async fn copy_page(
        &self,
        this: &Move<'_>,
        rows: Vec<FileVersion>,
        mut there: HashMap<String, FileVersion>,
        copies: &mut Copies,
    ) -> Result<Vec<FileVersion>, Error> {
        let failed = AtomicBool::new(false);
        // One that has begun is never given up: B2 would make the copy, and nobody would know of it.
        let failed = &failed;
        let work = rows.into_iter().map(|row| {
            let made = there.remove(&this.new_name(&row));
            async move {
                let Some(stored) = Stored::of(&row, Maker::Other) else {
                    return Ok(None);
                };
                if failed.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let result = match made.filter(|copy| this.is_copy(copy, &stored.id)) {
                    Some(copy) => Ok(copy),
                    None => self.copy_row(this, &row, &stored).await,
                };
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                result.map(|copy| Some((row, stored.id, copy)))
            }
        });
        let mut copying = stream::iter(work).buffer_unordered(AT_ONCE);
        let mut copied = Vec::new();
        let mut first = None;
        while let Some(result) = copying.next().await {
            match result {
                Ok(Some((row, id, copy))) => {
                    // Only what is known here has to follow; all else is listed when somebody asks.
                    if let Some(known) = self.known(row.name.as_str()) {
                        copies.marker |= this.is_marker(&copy);
                        let shown = self.version_of(known);
                        let same = shown.as_ref() == Some(&id);
                        // Nobody here has seen that it was overwritten, so nobody has decided that it may go.
                        if let Some(shown) = shown.filter(|_| !same) {
                            self.shared.contested.add(&shown);
                        }
                        let short = Stored::of(&copy, Maker::Other).filter(|_| same);
                        let copy =
                            short.map_or_else(|| CopyOf::Other(Box::new(copy)), CopyOf::Shown);
                        let name = row.name.as_str().to_owned();
                        copies.known.insert(name, Copied { source: id, copy });
                    }
                    copied.push(row);
                }
                Ok(None) => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(copied), Err)
    }

    /// The node of an object, or of the directory whose marker it is.
    fn known(&self, full: &str) -> Option<Ino> {
        let path = self.within(full);
        let path = path.strip_suffix(MARKER).unwrap_or(path);
        let path = path.trim_end_matches('/');
        let tree = self.tree();
        let (parent, name) = tree.locate(path)?;
        tree.child(parent, &name)
    }

    fn version_of(&self, known: Ino) -> Option<FileId> {
        let tree = self.tree();
        let stored = tree.get(known).ok()?.object()?.state.stored()?;
        Some(stored.id.clone())
    }

    async fn copy_row(
        &self,
        this: &Move<'_>,
        row: &FileVersion,
        stored: &Stored,
    ) -> Result<FileVersion, Error> {
        let mut info = row.info.clone();
        let new = this.new_name(row);
        let number = {
            let stored = Stamp::of(&info).number;
            self.tree()
                .number_after_move(stored, row.name.as_str(), &new)
        };
        Stamp::change(&mut info, |stamp| {
            *stamp = Stamp {
                nonce: Some(fastrand::u64(..)),
                mtime_ns: stamp.mtime_ns,
                ctime: stamp.ctime,
                came: Some(stored.came_ms()),
                chosen_type: stamp.chosen_type,
                number,
                moved: Some(Moved {
                    rename: this.number,
                    from: mark(&stored.id),
                }),
                ..Stamp::default()
            };
        });
        if let Hash::Told(sha1) = stored.hash {
            info.insert("large_file_sha1".to_owned(), sha1.to_string());
        }
        let target = NewFile {
            name: FileName::listed(&new),
            content_type: row
                .content_type
                .clone()
                .unwrap_or_else(|| "b2/x-auto".to_owned()),
            info,
        };
        // It may be what another client has written: it is this mount's own once a file here has become it.
        let source = stored.version();
        let io = &self.shared.io;
        let copy = io.copy_unseen(&source, &target, Covered::PutOnTop);
        Ok(copy.await?)
    }

    /// Rows below the new name that stand for these below the old one, by their full names.
    async fn copies_of(
        &self,
        this: &Move<'_>,
        rows: &[FileVersion],
    ) -> Result<HashMap<String, FileVersion>, Error> {
        let mut found = HashMap::new();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(found);
        };
        let (first, last) = (this.new_name(first), this.new_name(last));
        let mut copies = Below::all(self, &this.ends.to).between(first, last);
        while let Some(page) = copies.page().await? {
            found.extend(
                page.into_iter()
                    .map(|row| (row.name.as_str().to_owned(), row)),
            );
        }
        Ok(found)
    }

    /// Removes the sources whose copies are there; `sources`: all of them but the `late` ones, where they were one page.
    pub(super) async fn remove_sources(
        &self,
        this: &Move<'_>,
        own: &HashMap<FileId, Stored>,
        sources: Option<Vec<FileVersion>>,
        late: Vec<FileVersion>,
    ) -> Result<(), Error> {
        let names: HashSet<FileName> = late.iter().map(|row| row.name.clone()).collect();
        let mut first = self.remove_page(late, own).await.err();
        if let Some(rows) = sources {
            let done = self.remove_page(rows, own).await;
            return first.map_or(done, Err);
        }
        let mut left = Below::all(self, &this.ends.from);
        while let Some(rows) = left.page().await? {
            let mut copies = self.copies_of(this, &rows).await?;
            let mut copied = rows;
            copied.retain(|row| !names.contains(&row.name));
            copied.retain(|row| {
                let copy = copies.remove(&this.new_name(row));
                let same = row.id.as_ref().zip(copy);
                let same = same.is_some_and(|(id, copy)| this.is_copy(&copy, id));
                if !same {
                    warn!(
                        "{:?}: another client has written it while its directory was renamed to {:?}; it stays there",
                        self.within(row.name.as_str()),
                        self.within(&this.ends.to)
                    );
                }
                same
            });
            if let Err(error) = self.remove_page(copied, own).await {
                first = first.or(Some(error));
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn remove_page(
        &self,
        rows: Vec<FileVersion>,
        own: &HashMap<FileId, Stored>,
    ) -> Result<(), Error> {
        let work = rows.into_iter().map(|row| async move {
            let Some(source) = Stored::of(&row, Maker::Other) else {
                return Ok(());
            };
            let removal = Removal::Renamed {
                stored: own.get(&source.id).cloned().unwrap_or(source),
                content_lives_on: true,
                lost: Vec::new(),
            };
            match self
                .carry_out(row.name.as_str(), &removal, Hurry::Look)
                .await
            {
                // Another client's version: it was not asked to go.
                Err(Error::Stale) => {
                    warn!(
                        "{:?}: another client has written it while its directory was renamed; its version stays there",
                        self.within(row.name.as_str())
                    );
                    Ok(())
                }
                other => other,
            }
        });
        let results: Vec<Result<(), Error>> =
            stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect()
    }
}
