//! What happens in the bucket beside plain content: large files begun and given up, versions that go, and whether
//! another client was faster.
//!
//! A large file's timestamp is that of its start (API §4.3), so one that took long may be older
//! than another client's version although it was finished later: `is_newest` asks. Every large
//! file begun here says when (`stamp`), by which a later mount finds what a crash has left.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::b2::{Action, FileId, FileName, FileVersion, ListVersions, NewFile, Sha1};
use crate::io::commit::stream::id_of;
use crate::io::engine::Engine;
use crate::io::parts::plan::Sizes;
use crate::io::stamp::{Ancestors, Stamp};
use crate::io::{Error, Owner};

/// The convention for the SHA-1 of a large file (API §6).
pub(in crate::io) const SHA1_KEY: &str = "large_file_sha1";
/// Versions of one name looked at in a conflict check.
const LOOK: u32 = 100;

/// The target of changed content: what its info says of an earlier content is gone.
pub(in crate::io) fn small_target(target: &NewFile) -> NewFile {
    let mut target = target.clone();
    target.info.remove(SHA1_KEY);
    Stamp::change(&mut target.info, |stamp| stamp.begun = None);
    target
}

/// What a large file that begins now is to be stored under: with its SHA-1, where that is known, and the time.
pub(in crate::io) fn large_target(target: &NewFile, sha1: Option<Sha1>) -> NewFile {
    let mut target = small_target(target);
    if let Some(sha1) = sha1 {
        target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
    }
    Stamp::change(&mut target.info, |stamp| stamp.begun = Some(now_ms()));
    target
}

/// The target of a content that does not continue an earlier one, or of which that is not known.
pub(in crate::io) fn without_ancestors(target: &NewFile) -> NewFile {
    let mut target = target.clone();
    if Stamp::of(&target.info).ancestors.last().is_some() {
        Stamp::change(&mut target.info, |stamp| {
            stamp.ancestors = Ancestors::default();
        });
    }
    target
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

impl Engine {
    /// Sizes of parts, as the account wants them.
    pub(in crate::io) fn sizes(&self) -> Sizes {
        Sizes::new(self.client.minimum_part_size(), self.settings.part_size)
    }

    /// Begins a large file.
    pub(in crate::io) async fn start_large(
        &self,
        target: &NewFile,
        sha1: Option<Sha1>,
    ) -> Result<FileId, Error> {
        self.begin_large(&large_target(target, sha1)).await
    }

    /// Starts a large file under what `large_target` has made.
    pub(in crate::io) async fn begin_large(&self, target: &NewFile) -> Result<FileId, Error> {
        let began = Instant::now();
        let started = self.client.start_large_file(target).await?;
        self.meter.answered(began.elapsed());
        let id = id_of(&started)?;
        self.large.lock().insert(id.clone());
        Ok(id)
    }

    /// A large file was finished.
    pub(in crate::io) fn forget_large(&self, large: &FileId) {
        self.large.lock().remove(large);
    }

    /// Gives up a large file, in the background.
    pub(in crate::io) fn cancel_large(&self, large: FileId) {
        self.forget_large(&large);
        let client = self.client.clone();
        self.rt.spawn(async move {
            if let Err(error) = client.cancel_large_file(&large).await {
                log::warn!("an unfinished large file stays in the bucket: {error}");
            }
        });
    }

    /// Cancels large files under `prefix` that were begun by an earlier mount and to which nothing
    /// has come for `older_than`; tells how many.
    pub(in crate::io) async fn cancel_abandoned(
        &self,
        prefix: &str,
        older_than: Duration,
    ) -> Result<usize, Error> {
        let mut cancelled = 0;
        for file in self.client.list_unfinished_large_files(prefix).await? {
            let (Some(id), Some(_)) = (&file.id, Stamp::of(&file.info).begun) else {
                continue;
            };
            let ours = self.large.lock().contains(id);
            if !ours && self.is_abandoned(&file, id, older_than).await? {
                self.client.cancel_large_file(id).await?;
                log::info!("{}: cancelled the abandoned large file {id}", file.name);
                cancelled += 1;
            }
        }
        Ok(cancelled)
    }

    /// Whether nothing has come to an unfinished large file for so long. B2's times and B2's clock only: a mount whose
    /// clock is wrong, or that needs a month for a file, loses nothing to another one.
    async fn is_abandoned(
        &self,
        file: &FileVersion,
        id: &FileId,
        for_so_long: Duration,
    ) -> Result<bool, Error> {
        let quiet = |since: u64| {
            let now = self.client.server_now_ms()?;
            Some(u128::from(now.checked_sub(since)?) >= for_so_long.as_millis())
        };
        if quiet(file.uploaded_ms) != Some(true) {
            return Ok(false);
        }
        let newest = self.client.newest_part_ms(id).await?;
        Ok(quiet(newest.unwrap_or(file.uploaded_ms)) == Some(true))
    }

    /// Whether a version just finished is what its name shows.
    pub(in crate::io) async fn is_newest(&self, version: &FileVersion) -> Result<bool, Error> {
        let Some(newest) = self.covering(version).await? else {
            return Ok(true);
        };
        log::warn!(
            "{}: another version ({}) was made while {} was being uploaded; both are \
             kept, the one uploaded last becomes the newest",
            version.name,
            show(newest.id.as_ref()),
            show(version.id.as_ref()),
        );
        Ok(false)
    }

    /// What lies above a version just finished.
    pub(in crate::io) async fn covering(
        &self,
        version: &FileVersion,
    ) -> Result<Option<FileVersion>, Error> {
        let rows = self.versions_of(&version.name).await?;
        Ok(above(rows, version))
    }

    /// Removes a version that was made here and has been copied to its place, `to`, as soon as nobody
    /// refers to it. Under another name it must not show, also where it cannot be deleted: its owner sees to that.
    pub(in crate::io) fn delete_twin(
        self: &Arc<Self>,
        version: &FileVersion,
        to: &FileName,
        owner: Option<Arc<dyn Owner>>,
    ) {
        let Some(id) = version.id.clone() else { return };
        let (engine, version) = (Arc::clone(self), version.clone());
        let elsewhere = owner.filter(|_| version.name != *to);
        let held = id.clone();
        let shared = Arc::clone(self);
        let delete = move || {
            let task = shared.rt.spawn(async move {
                let name = &version.name;
                if let Err(error) = engine.client.delete_file_version(name, &id).await {
                    log::warn!("{name}: the copied version {id} stays in the bucket: {error}");
                    if let Some(owner) = elsewhere {
                        owner.withdraw(&version);
                    }
                }
            });
            let mut all = shared.deletions.lock();
            all.retain(|task| !task.is_finished());
            all.push(task);
        };
        if !self.records.when_free(&held, delete.clone()) {
            delete();
        }
    }

    /// Waits for `delete_twin`.
    pub(in crate::io) async fn settled(&self) {
        loop {
            let all = std::mem::take(&mut *self.deletions.lock());
            if all.is_empty() {
                return;
            }
            for task in all {
                // One that ended in a panic has said so.
                drop(task.await);
            }
        }
    }

    /// What was stored or hidden under a name, newest first.
    async fn versions_of(&self, name: &FileName) -> Result<Vec<FileVersion>, Error> {
        let page = self
            .client
            .list_file_versions(&ListVersions {
                prefix: name.as_str().to_owned(),
                start: Some((name.as_str().to_owned(), None)),
                delimiter: false,
                max: LOOK,
            })
            .await?;
        Ok(page
            .files
            .into_iter()
            .filter(|row| row.name == *name && row.action != Action::Start)
            .collect())
    }
}

/// The first of the rows, newest first, that lies above a version. Where B2 does not list that yet, what began
/// after it does.
fn above(rows: Vec<FileVersion>, version: &FileVersion) -> Option<FileVersion> {
    let listed = rows.iter().any(|row| row.id == version.id);
    let first = rows.into_iter().next()?;
    let covers = if listed {
        first.id != version.id
    } else {
        first.uploaded_ms > version.uploaded_ms
    };
    covers.then_some(first)
}

pub(in crate::io) fn show(id: Option<&FileId>) -> String {
    id.map_or_else(|| "a folder".to_owned(), FileId::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b2::{ContentSha1, FileInfo};

    fn row(name: &str, uploaded_ms: u64) -> FileVersion {
        FileVersion {
            action: Action::Upload,
            id: Some(FileId::new(name)),
            name: FileName::listed("f"),
            size: 1,
            sha1: ContentSha1::None,
            content_type: None,
            info: FileInfo::new(),
            uploaded_ms,
            customer_key: false,
            twins: false,
        }
    }

    #[test]
    fn what_is_listed_above_a_version_covers_it() {
        let ours = row("ours", 5);
        let covering = |rows: &[(&str, u64)]| {
            let rows = rows.iter().map(|(name, ms)| row(name, *ms)).collect();
            above(rows, &ours).and_then(|row| row.id)
        };
        let theirs = Some(FileId::new("theirs"));
        assert_eq!(covering(&[("ours", 5), ("old", 1)]), None);
        assert_eq!(covering(&[("theirs", 7), ("ours", 5)]), theirs);
        assert_eq!(covering(&[("ours", 5), ("theirs", 5)]), None, "by place");
        assert_eq!(covering(&[("theirs", 5), ("ours", 5)]), theirs);
        // Listed late.
        assert_eq!(covering(&[]), None);
        assert_eq!(covering(&[("old", 1)]), None);
        assert_eq!(covering(&[("theirs", 6), ("old", 1)]), theirs);
    }
}
