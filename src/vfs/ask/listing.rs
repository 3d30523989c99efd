//! What B2 is asked for, and when: whole directories, first pages, single names.
//!
//! One listing of a directory at a time (its flight); recursive ones are `walk`'s. What the rows then change is `merge`'s.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

use crate::b2::{FileVersion, ListNames, NamesPage};
use crate::vfs::names::tree::Tick;
use crate::vfs::{Error, Ino, Vfs};

/// Rows of one call; B2 bills a call by started thousands (API §4.1).
const PAGE: u32 = 1000;

/// With `metadata_ttl: 0`, how long what was seen holds for everything but opening.
const MOMENT: Duration = Duration::from_secs(1);

/// Names that were warned of, so that each is named once.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Warned(Mutex<HashSet<String>>);

impl Warned {
    /// Most names remembered; beyond that nothing more is said.
    const MAX: usize = 10_000;

    pub(in crate::vfs) fn unshowable(&self, name: &str) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!("{name:?}: Linux cannot show this name; it is left alone");
        }
    }

    pub(in crate::vfs) fn shadowed(&self, name: &str) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() < Self::MAX && set.insert(name.to_owned()) {
            warn!("{name:?}: a directory of the same name hides this file; it is left alone");
        }
    }
}

/// A listing under way: what of the tree it may overrule.
pub(in crate::vfs) struct Flight {
    pub(in crate::vfs) dir: Ino,
    /// Full name of the directory, empty or ending with `/`.
    pub(in crate::vfs) prefix: String,
    pub(in crate::vfs) began: Tick,
    pub(in crate::vfs) at: Instant,
}

/// While it lives, what is removed here is remembered for the rows to come.
pub(in crate::vfs) struct UnderWay<'a>(&'a Vfs);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.tree().end_flight();
    }
}

/// Which names a set of rows speaks for: those it does not hold do not exist.
pub(in crate::vfs) enum Covers {
    /// Names whose rows would stand after one full name and up to another; without them, from the
    /// directory's first name, and to its last. A name may have been in an earlier part of the same
    /// listing, which began at `since`.
    Range {
        after: Option<String>,
        upto: Option<String>,
        since: Instant,
    },
    /// One name.
    Name(String),
    /// No other names than those of the rows.
    Rows,
}

impl Covers {
    /// Everything in the directory, by a listing that began at `since`.
    pub(in crate::vfs) fn all(since: Instant) -> Self {
        Self::Range {
            after: None,
            upto: None,
            since,
        }
    }

    /// Whether a row of this full name would be among the rows, or have been in an earlier part.
    pub(in crate::vfs) fn reach(&self, row: &str) -> bool {
        match self {
            Self::Range { upto, .. } => upto.as_deref().is_none_or(|upto| row <= upto),
            Self::Name(_) => true,
            Self::Rows => false,
        }
    }
}

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

    /// The first page of the root: authorises the whole mount, and is all of a small bucket.
    pub(in crate::vfs) async fn ensure_first_page(&self, dir: Ino) -> Result<(), Error> {
        let _one = self.flight_lock(dir)?.lock_owned().await;
        let (flight, _under_way) = self.begin(dir)?;
        self.list_first_page(&flight).await.map(drop)
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
            let after = (Bound::Excluded(Arc::clone(&node.name)), Bound::Unbounded);
            dir.children
                .range::<Arc<str>, _>(after)
                .map(|(_, child)| *child)
                .filter(|child| tree.dir(*child).is_ok_and(|dir| !dir.attributes_known(ttl)))
                .take(if dir.asked.often() { AHEAD } else { 0 })
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
        if self.attributes_known(ino) {
            return Ok(());
        }
        let (flight, _under_way) = self.begin(ino)?;
        self.list_first_page(&flight).await.map(drop)
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
        if self.name_fresh(dir, name)? {
            return Ok(());
        }
        let (flight, _under_way) = self.begin(dir)?;
        self.list_name(&flight, name).await
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
        let (flight, _under_way) = self.begin(parent)?;
        self.list_name(&flight, &name).await?;
        let tree = self.tree();
        if tree.child(parent, &name) == Some(ino) || tree.removed_since(parent, &name, found.began)
        {
            return Ok(());
        }
        Err(Error::Stale)
    }

    pub(in crate::vfs) fn listing_fresh(&self, dir: Ino) -> Result<bool, Error> {
        let tree = self.tree();
        if tree.path(dir).is_none() {
            return Ok(true); // removed: what it holds is what memory says
        }
        let ttl = self.settings().metadata_ttl;
        let listed = tree.dir(dir)?.listed;
        Ok(listed.is_some_and(|at| at.elapsed() < ttl))
    }

    fn name_fresh(&self, dir: Ino, name: &str) -> Result<bool, Error> {
        if self.listing_fresh(dir)? {
            return Ok(true);
        }
        let tree = self.tree();
        let ttl = self.settings().metadata_ttl;
        let now = Instant::now();
        let node = tree.dir(dir)?;
        Ok(match node.children.get(name) {
            // Without a time to live, opening asks anew; until then what was just seen will do, or
            // `ls -l` would cost a call for each file.
            Some(child) if ttl.is_zero() => !tree.fresh_for(*child, MOMENT, now).is_zero(),
            Some(child) => !tree.fresh_for(*child, ttl, now).is_zero(),
            None => node
                .absent
                .get(name)
                .is_some_and(|at| now.saturating_duration_since(*at) < ttl),
        })
    }

    pub(in crate::vfs) fn flight_lock(
        &self,
        dir: Ino,
    ) -> Result<Arc<tokio::sync::Mutex<()>>, Error> {
        Ok(Arc::clone(&self.tree().dir(dir)?.flight))
    }

    /// A listing begins, until the guard is dropped.
    pub(in crate::vfs) fn begin(&self, dir: Ino) -> Result<(Flight, UnderWay<'_>), Error> {
        let mut tree = self.tree();
        let path = tree.path(dir).ok_or(Error::NotFound)?;
        tree.dir(dir)?;
        let began = tree.begin_flight();
        let flight = Flight {
            dir,
            prefix: self.full(&path),
            began,
            at: Instant::now(),
        };
        Ok((flight, UnderWay(self)))
    }

    async fn page(
        &self,
        prefix: &str,
        start: Option<String>,
        max: u32,
    ) -> Result<NamesPage, Error> {
        let request = ListNames {
            prefix: prefix.to_owned(),
            start,
            delimiter: true,
            max,
        };
        let page = self.shared.client.list_file_names(&request).await?;
        if page.next.is_some() && page.next <= request.start {
            let where_to = page.next.unwrap_or_default();
            return Err(Error::Io(format!(
                "B2 lists {prefix:?} in circles: it goes on at {where_to:?} again"
            )));
        }
        Ok(page)
    }

    /// One page of a directory's rows, and where the next one starts.
    pub(in crate::vfs) async fn rows(
        &self,
        flight: &Flight,
        mut start: Option<String>,
        max: u32,
    ) -> Result<(Vec<FileVersion>, Option<String>), Error> {
        loop {
            let page = self.page(&flight.prefix, start, max).await?;
            // A page may be short or empty and still not be the last (API §4.1).
            if page.files.is_empty() && page.next.is_some() {
                start = page.next;
                continue;
            }
            return Ok((page.files, page.next));
        }
    }

    /// Returns up to which full name everything is known; `None` when that is everything.
    async fn list_first_page(&self, flight: &Flight) -> Result<Option<String>, Error> {
        let (rows, next) = self.rows(flight, None, PAGE).await?;
        let last = rows.last().map(|row| row.name.as_str().to_owned());
        let upto = next.and(last);
        let covers = Covers::Range {
            after: None,
            upto: upto.clone(),
            since: flight.at,
        };
        self.apply(flight, rows, &covers);
        Ok(upto)
    }

    pub(in crate::vfs) async fn list_name(&self, flight: &Flight, name: &str) -> Result<(), Error> {
        let large = self.tree().dir(flight.dir)?.large;
        let full = format!("{}{name}", flight.prefix);
        if !large {
            match self.list_first_page(flight).await? {
                None => return Ok(()),
                Some(last) if format!("{full}/") <= last => return Ok(()),
                Some(_) => {}
            }
        }
        // Names such as `a-b` and `a.txt` stand between the rows of the file `a` and of the
        // directory `a/` (API §17.11), so one page may show the file only.
        let folder = format!("{full}/");
        let mut rows = Vec::new();
        let mut start = Some(full.clone());
        let mut complete = false;
        while rows.is_empty() && !complete {
            let mut page = self.page(&full, start, PAGE).await?;
            rows.append(&mut page.files);
            start = page.next;
            complete = start.is_none();
        }
        let known = complete
            || rows
                .last()
                .is_some_and(|row| row.name.as_str() >= folder.as_str());
        rows.retain(|row| row.name.as_str() == full || row.name.as_str() == folder);
        if !known {
            rows.extend(self.folder_row(&folder).await?);
        }
        self.apply(flight, rows, &Covers::Name(name.to_owned()));
        Ok(())
    }

    /// A folder row for a prefix under which anything is visible.
    async fn folder_row(&self, folder: &str) -> Result<Option<FileVersion>, Error> {
        let parent = folder.trim_end_matches('/');
        let mut start = Some(folder.to_owned());
        loop {
            let page = self.page(parent, start, 1).await?;
            if let Some(row) = page.files.into_iter().next() {
                return Ok((row.name.as_str() == folder).then_some(row));
            }
            if page.next.is_none() {
                return Ok(None);
            }
            start = page.next;
        }
    }
}
