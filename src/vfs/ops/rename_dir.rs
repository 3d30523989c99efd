//! Renames of directories: everything below is copied on the server, then the tree is edited, then the sources go.
//!
//! Page by page, so that memory does not grow with the directory. All copies are made before the first removal, and
//! each says of which version it is one and by which rename (`Stamp::moved`): only a source whose copy says so is
//! removed, and a rename that was cut off is finished by asking for it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use log::warn;

use super::rename::Ends;
use crate::b2::{Action, FileId, FileInfo, FileName, FileVersion, ListNames, NewFile};
use crate::io::{Moved, Stamp};
use crate::vfs::ask::look::Hurry;
use crate::vfs::attr;
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::names::node::{Marker, MarkerObject};
use crate::vfs::ops::remove::Departure;
use crate::vfs::pathlock::PathGuard;
use crate::vfs::queue::Urgency;
use crate::vfs::state::{Hash, Maker, Stored, Why};
use crate::vfs::versions::removal::{Leaving, Removal};
use crate::vfs::{Error, Ino, Vfs};

/// Copies, and then removals, of one directory's rename at once: as many as the client makes.
const AT_ONCE: usize = 64;
/// Names in a page of what is below a directory.
const PAGE: u32 = 10_000;

/// One rename of a directory.
struct Move<'a> {
    ends: &'a Ends,
    /// Tells its copies from all others.
    number: u32,
    /// An earlier try has left some copies.
    resumed: bool,
}

/// What has been copied.
#[derive(Default)]
struct Copies {
    /// What files that are known here have become: by the version that they had.
    known: HashMap<FileId, FileVersion>,
    /// All sources, where they were one page.
    sources: Option<Vec<FileVersion>>,
}

impl Move<'_> {
    fn new_name(&self, row: &FileVersion) -> String {
        let beneath = &row.name.as_str()[self.ends.from.len()..];
        format!("{}{beneath}", self.ends.to)
    }

    /// Whether a row below the new name is the copy of a version.
    fn is_copy(&self, copy: &FileVersion, source: &FileId) -> bool {
        let wanted = Moved {
            rename: self.number,
            from: mark(source),
        };
        Stamp::of(&copy.info).moved == Some(wanted)
    }
}

/// A short hash of a file id, the same in every run (FNV-1a).
fn mark(id: &FileId) -> u32 {
    let bytes = id.to_string();
    bytes.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

impl Vfs {
    pub(in crate::vfs) async fn rename_directory(
        &self,
        ends: &Ends,
        mut guard: PathGuard,
    ) -> Result<(), Error> {
        let this = self.begin_move(ends).await?;
        self.names_fit(ends)?;
        self.store_below(ends).await?;
        let copies = match self.copy_below(&this).await {
            Ok(copies) => copies,
            Err(error) => {
                if !this.resumed {
                    self.remove_copies(&this).await;
                }
                return Err(error);
            }
        };
        if !Self::has_marker(&copies, ends)
            && let Some(replaced) = ends.replaced.filter(|_| !this.resumed)
        {
            // What is in it now implies it; its attributes are those of the directory that goes.
            self.remove_replaced_marker(replaced, &ends.to).await?;
        }
        let own = self.rebase(ends, this.resumed, &copies)?;
        let sources = copies.sources;
        // The old name leads nowhere now, also for listings that go on showing it.
        let departure = Departure::begin(self, &ends.from);
        self.edit(ends)?;
        self.keep_alive(ends.ino);
        // From here on the new name is as any other.
        guard.keep_only(&ends.from);
        // Waited for: the old directory is gone, and with it whoever could be told later.
        match self.remove_sources(&this, &own, sources).await {
            Ok(()) => {
                departure.ended();
                Ok(())
            }
            Err(error) => {
                drop(departure);
                self.both_remain(ends);
                Err(error)
            }
        }
    }

    /// Looks at what has the new name: nothing, an empty directory, or what an earlier try of this rename has left.
    async fn begin_move<'a>(&self, ends: &'a Ends) -> Result<Move<'a>, Error> {
        let new = Move {
            ends,
            number: fastrand::u32(..),
            resumed: false,
        };
        let Some(replaced) = ends.replaced else {
            return Ok(new);
        };
        let empty = match self.must_be_empty(replaced).await {
            Ok(()) => {
                // It may not have been listed, and what Linux cannot show counts, too.
                let marker = format!("{}{MARKER}", ends.to);
                let rows = self.page_below(&ends.to, None, 3).await?.0;
                let mut names = rows.iter().map(|row| row.name.as_str());
                names.all(|name| name == ends.to || name == marker)
            }
            Err(Error::NotEmpty) => false,
            Err(error) => return Err(error),
        };
        if empty {
            return Ok(new);
        }
        let number = self.cut_off(ends).await?.ok_or(Error::NotEmpty)?;
        log::info!(
            "{:?}: goes on with the rename from {:?} that was cut off",
            self.within(&ends.to),
            self.within(&ends.from)
        );
        Ok(Move {
            ends,
            number,
            resumed: true,
        })
    }

    /// The number of a rename between the two names that was cut off: everything below the new one is a copy that it has
    /// made, and what is still below the old one is what it was made of.
    async fn cut_off(&self, ends: &Ends) -> Result<Option<u32>, Error> {
        let mut number = None;
        let mut others = 0_u64;
        let mut start = None;
        let mut found = HashMap::new();
        loop {
            let (rows, next) = self.page_below(&ends.to, start, PAGE).await?;
            for row in &rows {
                match Stamp::of(&row.info).moved {
                    Some(moved) if number.is_none_or(|number| number == moved.rename) => {
                        number = Some(moved.rename);
                        if found.len() < PAGE as usize {
                            found.insert(row.name.as_str()[ends.to.len()..].to_owned(), moved.from);
                        }
                    }
                    _ => others += 1,
                }
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        let (sources, _) = self.page_below(&ends.from, None, PAGE).await?;
        let same = |row: &FileVersion| {
            let from = found.get(&row.name.as_str()[ends.from.len()..]);
            from.is_some() && from.copied() == row.id.as_ref().map(mark)
        };
        if !sources.iter().any(same) {
            return Ok(None);
        }
        if others > 0 {
            warn!(
                "a rename of {from:?} to {to:?} was cut off, and {others} files below {to:?} are not its copies; put them \
                 elsewhere and do `mv -T {from} {to}` again, or join both: rsync -a --remove-source-files {from} {to}",
                from = self.within(&ends.from),
                to = self.within(&ends.to),
            );
            return Ok(None);
        }
        Ok(number)
    }

    /// Files that are not in B2 yet, and markers, need names that B2 can hold, too.
    fn names_fit(&self, ends: &Ends) -> Result<(), Error> {
        let tree = self.tree();
        for ino in tree.subtree(ends.ino) {
            let node = tree.get(ino)?;
            let Some(path) = tree.path(ino).filter(|_| node.local()) else {
                continue;
            };
            let marker = if node.dir().is_some() { MARKER } else { "" };
            let old = format!("{}{marker}", self.full(&path));
            let new = format!("{}{}", ends.to, &old[ends.from.len()..]);
            let none = FileInfo::new();
            name::check_renamed(&old, &new, node.carried_info().unwrap_or(&none))?;
        }
        Ok(())
    }

    /// Unsent changes of stored files go up before they are copied; files that are not in B2 yet
    /// need nothing, for they will be stored under their new name.
    async fn store_below(&self, ends: &Ends) -> Result<(), Error> {
        let dirty: Vec<(Ino, String)> = {
            let tree = self.tree();
            tree.subtree(ends.ino)
                .into_iter()
                .filter(|ino| {
                    tree.get(*ino).is_ok_and(|node| {
                        let object = node.object();
                        let known = |object: &crate::vfs::names::node::Object| {
                            object.state.leaves() != crate::vfs::state::Leaves::Nothing
                        };
                        node.content_dirty() && object.is_some_and(known)
                    })
                })
                .filter_map(|ino| Some((ino, self.full(&tree.path(ino)?))))
                .collect()
        };
        stream::iter(dirty)
            .map(Ok)
            .try_for_each_concurrent(self.settings().parallel, |(ino, full)| async move {
                self.commit_content_at(ino, &full, Why::Provisional).await
            })
            .await
    }

    /// A page of everything visible below a prefix, what Linux cannot show included, and where the next one starts.
    async fn page_below(
        &self,
        prefix: &str,
        mut start: Option<String>,
        max: u32,
    ) -> Result<(Vec<FileVersion>, Option<String>), Error> {
        loop {
            let request = ListNames {
                prefix: prefix.to_owned(),
                start,
                delimiter: false,
                max,
            };
            let mut page = self.shared.client.list_file_names(&request).await?;
            page.files.retain(|row| row.action == Action::Upload);
            if page.files.is_empty() && page.next.is_some() {
                start = page.next;
                continue;
            }
            return Ok((page.files, page.next));
        }
    }

    /// Copies everything below the old name; tells what files that are known here have become.
    async fn copy_below(&self, this: &Move<'_>) -> Result<Copies, Error> {
        let mut copies = Copies::default();
        let mut start = None;
        let mut pages = 0;
        loop {
            let (rows, next) = self.page_below(&this.ends.from, start, PAGE).await?;
            for row in &rows {
                let carried = attr::carried_info(&row.info, self.settings());
                name::check_renamed(row.name.as_str(), &this.new_name(row), &carried)?;
            }
            let there = if this.resumed {
                self.copies_of(this, &rows).await?
            } else {
                HashMap::new()
            };
            pages += 1;
            let copied = self.copy_page(this, rows, there, &mut copies).await?;
            start = next;
            if start.is_none() {
                copies.sources = (pages == 1).then_some(copied);
                return Ok(copies);
            }
        }
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
                    if self.knows(row.name.as_str()) {
                        copies.known.insert(id, copy);
                    }
                    copied.push(row);
                }
                Ok(None) => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(copied), Err)
    }

    /// Whether there is a node for an object, or for the directory whose marker it is.
    fn knows(&self, full: &str) -> bool {
        let path = self.within(full);
        let path = path.strip_suffix(MARKER).unwrap_or(path);
        let path = path.trim_end_matches('/');
        let tree = self.tree();
        let known = tree
            .locate(path)
            .and_then(|(parent, name)| tree.child(parent, &name));
        known.is_some()
    }

    async fn copy_row(
        &self,
        this: &Move<'_>,
        row: &FileVersion,
        stored: &Stored,
    ) -> Result<FileVersion, Error> {
        let mut info = row.info.clone();
        Stamp::change(&mut info, |stamp| {
            *stamp = Stamp {
                nonce: Some(fastrand::u64(..)),
                mtime_ns: stamp.mtime_ns,
                ctime: stamp.ctime,
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
            name: FileName::listed(&this.new_name(row)),
            content_type: row
                .content_type
                .clone()
                .unwrap_or_else(|| "b2/x-auto".to_owned()),
            info,
        };
        Ok(self.shared.io.copy(&stored.version(), &target).await?)
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
        let last = this.new_name(last);
        let mut start = Some(this.new_name(first));
        while let Some(from) = start {
            let (page, next) = self.page_below(&this.ends.to, Some(from), PAGE).await?;
            for row in page {
                if row.name.as_str() <= last.as_str() {
                    found.insert(row.name.as_str().to_owned(), row);
                }
            }
            start = next.filter(|next| *next <= last);
        }
        Ok(found)
    }

    /// A rename has failed: its copies go again.
    async fn remove_copies(&self, this: &Move<'_>) {
        let mut start = None;
        loop {
            let (rows, next) = match self.page_below(&this.ends.to, start, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    let (from, to) = (self.within(&this.ends.from), self.within(&this.ends.to));
                    warn!(
                        "copies of a rename that failed are left below {to:?}: {error}; `mv -T {from} {to}` makes use of them"
                    );
                    return;
                }
            };
            stream::iter(rows)
                .for_each_concurrent(AT_ONCE, |row| async move {
                    let moved = Stamp::of(&row.info).moved;
                    if moved.is_some_and(|moved| moved.rename == this.number)
                        && let Some(id) = &row.id
                        && !self.delete_version(row.name.as_str(), id).await
                    {
                        warn!("{:?}: left over from a rename that failed", row.name);
                    }
                })
                .await;
            start = next;
            if start.is_none() {
                return;
            }
        }
    }

    fn has_marker(copies: &Copies, ends: &Ends) -> bool {
        let marker = format!("{}{MARKER}", ends.to);
        let mut names = copies.known.values().map(|copy| copy.name.as_str());
        names.any(|name| name == marker || name == ends.to)
    }

    async fn remove_replaced_marker(&self, replaced: Ino, full: &str) -> Result<(), Error> {
        let marker = {
            let tree = self.tree();
            tree.dir(replaced)?.marker.stored().cloned()
        };
        let Some(marker) = marker else { return Ok(()) };
        let name = format!("{full}{MARKER}");
        if marker.ours {
            return match self.remove_own(&name, &marker.id, &[], Hurry::Yes).await {
                Err(Error::Stale) => Ok(()), // somebody else has made one
                other => other,
            };
        }
        let leaving = Leaving {
            believed: Some(marker.id),
            ..Leaving::default()
        };
        self.hide(&name, &leaving, Hurry::No).await.map(drop)
    }

    /// Points every known file below the directory to its copy; tells those versions of this mount's own that they had
    /// before.
    fn rebase(
        &self,
        ends: &Ends,
        resumed: bool,
        copied: &Copies,
    ) -> Result<HashMap<FileId, Stored>, Error> {
        let mut own = HashMap::new();
        let mut stale = Vec::new();
        let mut tree = self.tree();
        for ino in tree.subtree(ends.ino) {
            tree.touch(ino);
            let node = tree.get_mut(ino)?;
            if let Some(dir) = node.dir_mut() {
                let known = match &mut dir.marker {
                    Marker::Stored(object) => Some(object),
                    Marker::Wanted { old, .. } => old.as_mut(),
                    Marker::Absent | Marker::Uncertain => None,
                };
                if let Some(object) = known
                    && let Some(copy) = copied.known.get(&object.id)
                    && let Some(id) = copy.id.clone()
                {
                    let ours = copy.name.as_str().ends_with(MARKER);
                    *object = MarkerObject { id, ours };
                }
                continue;
            }
            let Some(object) = node.object_mut() else {
                continue;
            };
            let Some(old) = object.state.stored().cloned() else {
                // Not stored yet, and nothing lies under its name.
                continue;
            };
            let copy = copied.known.get(&old.id);
            let Some(mut stored) = copy.and_then(|copy| Stored::of(copy, Maker::Other)) else {
                stale.push(node.parent); // listed meanwhile
                continue;
            };
            stored.learn(old.sha1());
            if let Some(content) = &object.content {
                content.same_content(&old.id, &stored.version());
            }
            object.state.renamed_to(stored);
            if old.ours() {
                own.insert(old.id.clone(), old);
            }
        }
        if resumed {
            // What an earlier try has moved is not known here.
            stale = tree.subtree(ends.ino);
        }
        for ino in stale {
            if let Ok(dir) = tree.dir_mut(ino) {
                dir.forget_listing();
            }
        }
        Ok(own)
    }

    /// Removes the sources whose copies are there; `sources`: all of them, where they were one page.
    async fn remove_sources(
        &self,
        this: &Move<'_>,
        own: &HashMap<FileId, Stored>,
        sources: Option<Vec<FileVersion>>,
    ) -> Result<(), Error> {
        if let Some(rows) = sources {
            return self.remove_page(rows, own).await;
        }
        let mut start = None;
        let mut first = None;
        loop {
            let (rows, next) = self.page_below(&this.ends.from, start, PAGE).await?;
            let mut copies = self.copies_of(this, &rows).await?;
            let mut copied = rows;
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
            start = next;
            if start.is_none() {
                return first.map_or(Ok(()), Err);
            }
        }
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
                Err(Error::Stale) => Ok(()),
                other => other,
            }
        });
        let results: Vec<Result<(), Error>> =
            stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect()
    }

    /// A renamed directory without anything in B2 still has to exist there.
    fn keep_alive(&self, ino: Ino) {
        let mut tree = self.tree();
        for ino in tree.subtree(ino) {
            let Ok(node) = tree.get(ino) else { continue };
            if node.pending() {
                let delay = self.attributes_delay(node.content_dirty());
                tree.note_pending(ino);
                self.shared.queue.push(ino, delay, Urgency::Idle);
            }
        }
    }
}
