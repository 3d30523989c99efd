//! What lies under a name in B2: its versions, asked for many names at once.
//!
//! Whoever has removed or replaced something looks afterwards whether somebody else came between, and whoever
//! is about to delete a version looks what that would show. Nobody looks alone: names that are asked for within
//! a moment share a page of `b2_list_file_versions`, as far as they are neighbours.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Notify, oneshot};

use crate::b2::{self, Action, FileId, FileVersion, ListVersions};
use crate::vfs::{Error, Vfs};

/// How long a look waits for others to share its page.
const MOMENT: Duration = Duration::from_millis(30);
/// Rows of a page that is shared: B2 bills a call by started thousands (API §4.1).
const SHARED: u32 = 1000;
/// Rows of a page for one name: its newest versions.
const SINGLE: u32 = 25;
/// A shared page that told of fewer names than this is no help: too much else lies between them.
const WORTH: usize = 2;
/// Pages under way at once.
const AT_ONCE: usize = 8;

/// The versions of one name.
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) struct Versions {
    /// Contents and hide markers, newest first; no unfinished large files.
    pub(in crate::vfs) rows: Vec<FileVersion>,
    /// There are no older ones.
    pub(in crate::vfs) complete: bool,
}

impl Versions {
    /// The place of a version among the rows.
    pub(in crate::vfs) fn position(&self, id: &FileId) -> Option<usize> {
        self.rows.iter().position(|row| row.id.as_ref() == Some(id))
    }
}

/// How much a look is worth to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Hurry {
    /// Nobody waits for it.
    No,
    /// Somebody waits for what comes after it, but not for a look at what was done then.
    Look,
    /// Somebody waits until all is seen.
    Yes,
}

type Answer = Result<Arc<Versions>, b2::Error>;

/// Looks that wait for a page.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Looks {
    waiting: Mutex<Waiting>,
    hurried: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    names: BTreeMap<String, Vec<oneshot::Sender<Answer>>>,
    /// A task sees to them.
    served: bool,
}

impl Looks {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Somebody waits for what was asked in no hurry.
    pub(in crate::vfs) fn hurry(&self) {
        if self.waiting().served {
            self.hurried.notify_one();
        }
    }

    /// Those that wait now, or `None` and the end of their task.
    fn take(&self) -> Option<BTreeMap<String, Vec<oneshot::Sender<Answer>>>> {
        let mut waiting = self.waiting();
        if waiting.names.is_empty() {
            waiting.served = false;
            return None;
        }
        Some(std::mem::take(&mut waiting.names))
    }
}

impl Vfs {
    /// The newest versions of a name, as B2 has them at some moment after this was called.
    pub(in crate::vfs) async fn look(
        &self,
        full: &str,
        hurry: Hurry,
    ) -> Result<Arc<Versions>, Error> {
        let (tell, told) = oneshot::channel();
        let begin = {
            let mut waiting = self.shared.looks.waiting();
            waiting.names.entry(full.to_owned()).or_default().push(tell);
            !std::mem::replace(&mut waiting.served, true)
        };
        if begin {
            let vfs = self.clone();
            self.shared
                .runtime
                .spawn(async move { vfs.serve_looks().await });
        }
        if hurry != Hurry::No {
            self.shared.looks.hurried.notify_one();
        }
        match told.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Io("a look at versions ended early".to_owned())),
        }
    }

    /// All versions of a name.
    pub(in crate::vfs) async fn look_at_all(
        &self,
        full: &str,
        hurry: Hurry,
    ) -> Result<Arc<Versions>, Error> {
        let some = self.look(full, hurry).await?;
        if some.complete {
            return Ok(some);
        }
        let mut all = Versions::default();
        let mut start = Some((full.to_owned(), None));
        while let Some(from) = start {
            start = self
                .versions_page(full, from, SHARED, full, &mut all)
                .await?;
        }
        all.complete = true;
        Ok(Arc::new(all))
    }

    async fn serve_looks(&self) {
        loop {
            tokio::select! {
                () = self.shared.looks.hurried.notified() => {}
                () = tokio::time::sleep(MOMENT) => {}
            }
            let Some(names) = self.shared.looks.take() else {
                return;
            };
            let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for full in names.keys() {
                let dir = full.rfind('/').map_or("", |at| &full[..=at]);
                groups.entry(dir.to_owned()).or_default().push(full.clone());
            }
            let names = Mutex::new(names);
            let tell = |full: &str, answer: Answer| {
                let waiting = names.lock().remove(full);
                for one in waiting.into_iter().flatten() {
                    // Whoever asked may have gone.
                    let _ = one.send(answer.clone());
                }
            };
            let tell = &tell;
            stream::iter(groups)
                .for_each_concurrent(AT_ONCE, |(dir, group)| async move {
                    self.look_together(&dir, group, tell).await;
                })
                .await;
        }
    }

    /// Looks at names of one directory, in their order.
    async fn look_together(
        &self,
        dir: &str,
        mut names: Vec<String>,
        tell: &(impl Fn(&str, Answer) + Sync),
    ) {
        while names.len() > 1 {
            let (found, beyond) = match self.look_at_page(dir, &names).await {
                Ok(found) => found,
                Err(error) => {
                    for name in names {
                        tell(&name, Err(error.clone()));
                    }
                    return;
                }
            };
            let rest = names.split_off(beyond);
            for (name, versions) in found {
                tell(&name, Ok(Arc::new(versions)));
            }
            names = rest;
            if beyond < WORTH {
                break;
            }
        }
        stream::iter(names)
            .for_each_concurrent(AT_ONCE, |name| async move {
                tell(&name, self.look_alone(&name).await.map(Arc::new));
            })
            .await;
    }

    /// One page of names of one directory, in their order; tells what it shows of those it covers, and how many these are.
    pub(in crate::vfs) async fn look_at_page(
        &self,
        dir: &str,
        names: &[String],
    ) -> Result<(BTreeMap<String, Versions>, usize), b2::Error> {
        let Some(first) = names.first() else {
            return Ok(Default::default());
        };
        let request = ListVersions {
            prefix: common(names, dir),
            start: Some((first.clone(), None)),
            delimiter: false,
            max: SHARED,
        };
        let page = self.shared.client.list_file_versions(&request).await?;
        let last = page.files.last().map(|row| row.name.as_str());
        let covered = |name: &String| match (&page.next, last) {
            (None, _) => true,
            (Some(_), Some(last)) => name.as_str() < last,
            (Some(_), None) => false,
        };
        let beyond = names.iter().position(|name| !covered(name));
        let beyond = beyond.unwrap_or(names.len());
        let complete = Versions {
            complete: true,
            ..Versions::default()
        };
        let names = names[..beyond].iter();
        let mut found: BTreeMap<String, Versions> =
            names.map(|name| (name.clone(), complete.clone())).collect();
        for row in page.files {
            if row.action != Action::Start
                && let Some(versions) = found.get_mut(row.name.as_str())
            {
                versions.rows.push(row);
            }
        }
        Ok((found, beyond))
    }

    async fn look_alone(&self, full: &str) -> Result<Versions, b2::Error> {
        let mut found = Versions::default();
        let mut start = Some((full.to_owned(), None));
        // A page may be short or empty and still not be the last (API §4.1).
        while let Some(from) = start.take() {
            let next = self
                .versions_page(full, from, SINGLE, full, &mut found)
                .await?;
            found.complete = next.is_none();
            if found.rows.is_empty() {
                start = next;
            }
        }
        Ok(found)
    }

    /// Adds a page's versions of a name; tells where its next ones stand.
    async fn versions_page(
        &self,
        prefix: &str,
        from: (String, Option<FileId>),
        max: u32,
        full: &str,
        found: &mut Versions,
    ) -> Result<Option<(String, Option<FileId>)>, b2::Error> {
        let request = ListVersions {
            prefix: prefix.to_owned(),
            start: Some(from),
            delimiter: false,
            max,
        };
        let page = self.shared.client.list_file_versions(&request).await?;
        let mut others = false;
        for row in page.files {
            if row.name.as_str() != full {
                others = true;
            } else if row.action != Action::Start {
                found.rows.push(row);
            }
        }
        Ok(page
            .next
            .filter(|(name, _)| !others && name.as_str() <= full))
    }
}

/// What all names begin with, at least their directory.
fn common(names: &[String], dir: &str) -> String {
    let (Some(first), Some(last)) = (names.first(), names.last()) else {
        return dir.to_owned();
    };
    // They stand in order: what the first and the last have in common, all have.
    let mut length = first
        .bytes()
        .zip(last.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    while !first.is_char_boundary(length) {
        length -= 1;
    }
    first[..length].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_what_they_begin_with() {
        let names = |all: &[&str]| {
            all.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(common(&names(&["d/f1", "d/f2"]), "d/"), "d/f");
        assert_eq!(common(&names(&["d/a", "d/z"]), "d/"), "d/");
        assert_eq!(common(&names(&["é", "è"]), ""), "");
        assert_eq!(common(&names(&["a", "a"]), ""), "a");
    }
}
