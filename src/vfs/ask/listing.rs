//! What B2 is asked for: first pages, single names.
//!
//! One listing of a directory at a time (its flight); recursive ones are `walk`'s. What the rows then change is `merge`'s.

use std::sync::Arc;
use std::time::Instant;

use crate::b2::{FileVersion, ListNames, NamesPage};
use crate::vfs::names::flight::{Covers, Flight};
use crate::vfs::{Error, Ino, Vfs};

/// Rows of one call; B2 bills a call by started thousands (API §4.1).
const PAGE: u32 = 1000;

/// How often a directory may be renamed while it is asked for.
pub(in crate::vfs) const RENAMES: u32 = 8;

/// What is said then.
pub(in crate::vfs) fn renamed_too_fast() -> Error {
    Error::Io("the directory is renamed faster than it can be listed".to_owned())
}

/// How far a first page went.
pub(in crate::vfs) enum Upto {
    /// All names of the directory.
    End,
    /// The row of this full name.
    Row(String),
}

/// While it lives, what is removed here is remembered for the rows to come.
pub(in crate::vfs) struct UnderWay<'a>(&'a Vfs);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.tree().end_flight();
    }
}

impl Vfs {
    /// The first page of the root: authorises the whole mount, and is all of a small bucket.
    pub(in crate::vfs) async fn ensure_first_page(&self, dir: Ino) -> Result<(), Error> {
        let _one = self.flight_lock(dir)?.lock_owned().await;
        for _ in 0..RENAMES {
            let (flight, _under_way) = self.begin(dir)?;
            if self.list_first_page(&flight).await?.is_some() {
                return Ok(());
            }
        }
        Err(renamed_too_fast())
    }

    /// Asks for one name, whatever is known of it.
    pub(in crate::vfs) async fn ask_for_name(&self, dir: Ino, name: &str) -> Result<(), Error> {
        for _ in 0..RENAMES {
            let (flight, _under_way) = self.begin(dir)?;
            if self.list_name(&flight, name).await? {
                return Ok(());
            }
        }
        Err(renamed_too_fast())
    }

    pub(in crate::vfs) fn listing_fresh(&self, dir: Ino) -> Result<bool, Error> {
        let tree = self.tree();
        tree.dir(dir)?;
        let ttl = self.settings().metadata_ttl;
        Ok(tree.known_all(dir).fresh(ttl, Instant::now()))
    }

    pub(in crate::vfs) fn flight_lock(
        &self,
        dir: Ino,
    ) -> Result<Arc<tokio::sync::Mutex<()>>, Error> {
        Ok(Arc::clone(&self.tree().usage_mut(dir)?.flight))
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
        Ok(self.shared.client.list_file_names(&request).await?)
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

    /// Returns up to where everything is known; `None` when the directory has moved meanwhile, and has to be
    /// asked for again.
    pub(in crate::vfs) async fn list_first_page(
        &self,
        flight: &Flight,
    ) -> Result<Option<Upto>, Error> {
        let (rows, next) = self.rows(flight, None, PAGE).await?;
        let last = rows.last().map(|row| row.name.as_str().to_owned());
        let upto = next.as_ref().and(last);
        let covers = Covers::Range {
            after: None,
            upto: upto.clone(),
            next,
            since: flight.at,
        };
        let applied = self.apply(flight, rows, &covers);
        self.settle().await;
        Ok(applied.map(|_| upto.map_or(Upto::End, Upto::Row)))
    }

    /// False when the directory has moved meanwhile.
    pub(in crate::vfs) async fn list_name(
        &self,
        flight: &Flight,
        name: &str,
    ) -> Result<bool, Error> {
        let large = self.tree().dir(flight.dir)?.large;
        let full = format!("{}{name}", flight.prefix);
        if !large {
            match self.list_first_page(flight).await? {
                None => return Ok(false),
                Some(Upto::End) => return Ok(true),
                Some(Upto::Row(last)) if format!("{full}/") <= last => return Ok(true),
                Some(Upto::Row(_)) => {}
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
        let applied = self.apply(flight, rows, &Covers::Name(name.to_owned()));
        self.settle().await;
        Ok(applied.is_some())
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
