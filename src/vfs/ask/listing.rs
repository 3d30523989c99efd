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
        let (flight, _under_way) = self.begin(dir)?;
        self.list_first_page(&flight).await.map(drop)
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
    pub(in crate::vfs) async fn list_first_page(
        &self,
        flight: &Flight,
    ) -> Result<Option<String>, Error> {
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
