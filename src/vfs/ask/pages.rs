//! Listings of whole directories, page by page.
//!
//! Whoever reads a directory gets entries with its first page; the next one is fetched when he comes to
//! it, from the third on while he still reads the one before. Readers who come meanwhile share the
//! pages.

use std::sync::Arc;

use crate::vfs::ask::listing::{RENAMES, renamed_too_fast};
use crate::vfs::names::flight::Covers;
use crate::vfs::names::pages::{Pages, Shown};
use crate::vfs::{Error, Ino, Vfs};

/// Rows of the first page: B2 bills a call by started thousands (API §4.1).
const FIRST: u32 = 1000;
/// Rows of a later page: the most that B2 gives.
const NEXT: u32 = 10_000;

impl Vfs {
    /// The listing that a new reader of a directory joins: one that began freshly enough, or a new one.
    pub(in crate::vfs) fn pages(&self, dir: Ino) -> Result<Arc<Pages>, Error> {
        let ttl = self.settings().metadata_ttl;
        let mut tree = self.tree();
        let usage = tree.usage_mut(dir)?;
        if let Some(pages) = usage.pages.upgrade()
            && pages.began().is_none_or(|at| at.elapsed() < ttl)
        {
            return Ok(pages);
        }
        let pages = Arc::new(Pages::new(dir));
        usage.pages = Arc::downgrade(&pages);
        Ok(pages)
    }

    /// Fetches pages until there are more than `have` entries, or all.
    pub(in crate::vfs) async fn more_pages(&self, pages: &Pages, have: usize) -> Result<(), Error> {
        while pages.len() <= have && !pages.done() {
            self.next_page(pages, have).await?;
        }
        Ok(())
    }

    /// Fetches the page after the present one while that is being read, for who has read `read` entries.
    pub(in crate::vfs) fn page_ahead(&self, pages: &Arc<Pages>, read: usize) {
        let wanted = {
            let state = pages.state();
            !state.done && state.fetched >= 2 && read * 2 > state.entries.len()
        };
        if wanted && pages.turn.try_lock().is_ok() {
            let (vfs, pages, have) = (self.clone(), Arc::clone(pages), pages.len());
            self.shared.runtime.spawn(async move {
                // Whoever needs it is told by his own call what went wrong.
                if let Err(error) = vfs.next_page(&pages, have).await {
                    log::debug!("no page fetched ahead: {error}");
                }
            });
        }
    }

    async fn next_page(&self, pages: &Pages, have: usize) -> Result<(), Error> {
        let _turn = pages.turn.lock().await;
        if pages.len() > have || pages.done() {
            return Ok(());
        }
        let _one = self.flight_lock(pages.dir)?.lock_owned().await;
        let known = pages.began().is_none() && self.listing_fresh(pages.dir)?;
        if known || self.tree().path(pages.dir).is_none() {
            self.finish_pages(pages)?;
            return Ok(());
        }
        for _ in 0..RENAMES {
            if self.fetch_page(pages).await? {
                return Ok(());
            }
        }
        Err(renamed_too_fast())
    }

    /// Fetches one page and takes it over; false when the directory was moved meanwhile.
    async fn fetch_page(&self, pages: &Pages) -> Result<bool, Error> {
        let (flight, _under_way) = self.begin(pages.dir)?;
        let (began, after, start, max) = {
            let mut state = pages.state();
            let began = *state.began.get_or_insert(flight.at);
            let full = |name: &String| format!("{}{name}", flight.prefix);
            let after = state.upto.as_ref().map(full);
            let start = state.next.as_ref().map(full);
            let max = if state.fetched == 0 { FIRST } else { NEXT };
            (began, after, start, max)
        };
        let (rows, next) = self.rows(&flight, start, max).await?;
        // A page may tell a folder again that the one before has told (API §4.1).
        let again = rows
            .first()
            .zip(after.as_ref())
            .is_some_and(|(row, after)| row.name.as_str() <= after.as_str());
        let last = rows.last().map(|row| row.name.as_str().to_owned());
        let upto = next.as_ref().and(last);
        let covers = Covers::Range {
            after,
            upto: upto.clone(),
            next: next.clone(),
            since: began,
        };
        let Some(applied) = self.apply(&flight, rows, &covers) else {
            return Ok(false);
        };
        self.settle().await;
        let within = |name: String| {
            let within = name.strip_prefix(&flight.prefix);
            within.map(ToOwned::to_owned)
        };
        let last = {
            let mut state = pages.state();
            state.fetched += 1;
            state.next = next.and_then(within);
            state.upto = upto.and_then(within);
            state.doubtful.extend(applied.doubtful);
            state.next.is_none()
        };
        if last {
            self.settle_doubts(pages).await?;
            self.finish_pages(pages)?;
        } else {
            self.add_entries(pages, &applied.seen, again);
        }
        Ok(true)
    }

    fn add_entries(&self, pages: &Pages, seen: &[Ino], again: bool) {
        let upto = pages.state().upto.clone().unwrap_or_default();
        let shown = again.then(|| Shown::new(&pages.state().entries));
        let mut entries = Vec::with_capacity(seen.len());
        let tree = self.tree();
        for ino in seen {
            if shown.as_ref().is_some_and(|shown| shown.contains(*ino)) {
                continue;
            }
            let Ok(node) = tree.get(*ino) else { continue };
            // A directory of this name, or a real object with the name of its hash file, may follow:
            // then this comes at the end.
            if node.dir().is_some() || format!("{}/", node.name) <= upto {
                entries.push(*ino);
            }
        }
        drop(tree);
        pages.state().entries.append(&mut entries);
    }

    /// A directory may have become a file of the same name since it was last listed.
    async fn settle_doubts(&self, pages: &Pages) -> Result<(), Error> {
        let doubtful = std::mem::take(&mut pages.state().doubtful);
        for name in doubtful {
            if self.tree().child(pages.dir, &name).is_none() {
                self.ask_for_name(pages.dir, &name).await?;
            }
        }
        Ok(())
    }

    /// What the pages have not shown comes last: what only this mount knows of, or was in doubt.
    pub(in crate::vfs) fn finish_pages(&self, pages: &Pages) -> Result<(), Error> {
        let shown = Shown::new(&pages.state().entries);
        let mut entries: Vec<Ino> = {
            let tree = self.tree();
            let children = tree.dir(pages.dir)?.children.values().copied();
            children.filter(|child| !shown.contains(*child)).collect()
        };
        let mut state = pages.state();
        state.entries.append(&mut entries);
        state.done = true;
        Ok(())
    }
}
