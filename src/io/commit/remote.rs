//! What happens in the bucket beside plain content: copies on the server, large files begun and
//! given up, and whether another client was faster.
//!
//! A large file's timestamp is that of its start (API §4.3), so one that took long may be older
//! than another client's version although it was finished later: `is_newest` asks. Every large
//! file begun here says when (`stamp`), by which a later mount finds what a crash has left.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::b2::{Action, CopyMetadata, FileId, FileName, FileVersion, ListVersions, NewFile, Sha1};
use crate::io::commit::plan::{self, MAX_PART, MAX_PARTS, Sizes};
use crate::io::commit::snapshot::{Snapshot, Span};
use crate::io::commit::stream::{id_of, source_error};
use crate::io::engine::Engine;
use crate::io::read::records::{Record, Stored};
use crate::io::stamp::Stamp;
use crate::io::{Error, Version};

/// The convention for the SHA-1 of a large file (API §6).
const SHA1_KEY: &str = "large_file_sha1";
/// Versions of one name looked at in a conflict check.
const LOOK: u32 = 100;

/// The target of changed content: what its info says of an earlier content is gone.
pub(in crate::io) fn small_target(target: &NewFile) -> NewFile {
    let mut target = target.clone();
    target.info.remove(SHA1_KEY);
    Stamp::change(&mut target.info, |stamp| stamp.begun = None);
    target
}

fn large_target(target: &NewFile, sha1: Option<Sha1>) -> NewFile {
    let mut target = small_target(target);
    if let Some(sha1) = sha1 {
        target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
    }
    Stamp::change(&mut target.info, |stamp| stamp.begun = Some(now_ms()));
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
        let started = self
            .client
            .start_large_file(&large_target(target, sha1))
            .await?;
        let id = id_of(&started)?;
        self.large
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone());
        Ok(id)
    }

    /// A large file was finished.
    pub(in crate::io) fn forget_large(&self, large: &FileId) {
        self.large
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(large);
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

    /// Cancels large files under `prefix` that were begun by an earlier mount at least
    /// `older_than` ago; tells how many.
    pub(in crate::io) async fn cancel_abandoned(
        &self,
        prefix: &str,
        older_than: Duration,
    ) -> Result<usize, Error> {
        let limit = now_ms().saturating_sub(older_than.as_millis() as u64);
        let mut cancelled = 0;
        for file in self.client.list_unfinished_large_files(prefix).await? {
            let begun = Stamp::of(&file.info).begun;
            let (Some(id), Some(begun)) = (file.id, begun) else {
                continue;
            };
            let ours = self
                .large
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&id);
            if !ours && begun <= limit {
                self.client.cancel_large_file(&id).await?;
                log::info!("{}: cancelled the abandoned large file {id}", file.name);
                cancelled += 1;
            }
        }
        Ok(cancelled)
    }

    /// A server-side copy of any size; it counts as this mount's own.
    pub(in crate::io) async fn copy(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
    ) -> Result<FileVersion, Error> {
        let version = self.copy_unseen(source, target).await?;
        self.note_own(&id_of(&version)?);
        Ok(version)
    }

    /// The same of what nobody here may have seen: whether the copy counts as own is for the caller to say.
    pub(in crate::io) async fn copy_unseen(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
    ) -> Result<FileVersion, Error> {
        let by_parts = source.size > MAX_PART;
        let told = target.info.contains_key(SHA1_KEY) || source.size > self.settings.large_file;
        let sha1 = source.sha1.filter(|_| told || by_parts);
        let version = if by_parts {
            self.copy_by_parts(source, target, sha1).await?
        } else {
            let mut target = small_target(target);
            if let Some(sha1) = sha1 {
                target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
            }
            let metadata = CopyMetadata::Replace {
                content_type: target.content_type,
                info: target.info,
            };
            self.client
                .copy_file(&source.id, source.size, &target.name, &metadata)
                .await?
        };
        Ok(version)
    }

    /// What a commit does when all of a content is one version.
    pub(in crate::io) async fn copy_whole(
        self: &Arc<Self>,
        record: &Arc<Record>,
        target: &NewFile,
    ) -> Result<FileVersion, Error> {
        let mut target = small_target(target);
        // B2 knows no hash of what went up in parts, and cannot carry what it does not know.
        if let Some(sha1) = record.sha1().filter(|_| record.size > self.sizes().least()) {
            target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
        }
        match self.copy(&record.version(), &target).await {
            Err(Error::B2(error)) => Err(source_error(record, error)),
            answer => answer,
        }
    }

    async fn copy_by_parts(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
        sha1: Option<Sha1>,
    ) -> Result<FileVersion, Error> {
        let record = self.records.intern(source.clone());
        let all = Span::Stored(Stored::new(&record, 0..source.size));
        let snapshot = Snapshot::new(0..source.size, 0, None, vec![all]);
        let steps = plan::parts(0, &snapshot.runs(), self.sizes(), MAX_PARTS, 2);
        let large = self.start_large(target, sha1).await?;
        let copied = async {
            let hashes = self.send_parts(&large, 1, &steps, &snapshot).await?;
            Ok(self.client.finish_large_file(&large, &hashes).await?)
        };
        match copied.await {
            Ok(version) => {
                self.forget_large(&large);
                Ok(version)
            }
            Err(error) => {
                self.cancel_large(large);
                Err(error)
            }
        }
    }

    /// Whether a version just finished is what its name shows.
    pub(in crate::io) async fn is_newest(&self, version: &FileVersion) -> Result<bool, Error> {
        let rows = self.versions_of(&version.name).await?;
        Ok(match rows.first() {
            Some(newest) if newest.id != version.id => {
                log::warn!(
                    "{}: another version ({}) was made while {} was being uploaded; both are \
                     kept, the one uploaded last becomes the newest",
                    version.name,
                    show(newest.id.as_ref()),
                    show(version.id.as_ref()),
                );
                false
            }
            _ => true,
        })
    }

    /// Removes a version that was made here and has been copied to its place, `to`, as soon as nobody
    /// refers to it. Under another name it must not show, also where it cannot be deleted.
    pub(in crate::io) fn delete_twin(self: &Arc<Self>, version: &FileVersion, to: &FileName) {
        let Some(id) = version.id.clone() else { return };
        let (engine, name) = (Arc::clone(self), version.name.clone());
        let runtime = self.rt.clone();
        let elsewhere = name != *to;
        let held = id.clone();
        let delete = move || {
            runtime.spawn(async move {
                let Err(error) = engine.client.delete_file_version(&name, &id).await else {
                    return;
                };
                log::warn!("{name}: the copied version {id} stays in the bucket: {error}");
                if elsewhere && let Err(error) = engine.hide_shown(&name, &id).await {
                    log::warn!("{name}: it is still shown there beside its new name: {error}");
                }
            });
        };
        if !self.records.when_free(&held, delete.clone()) {
            delete();
        }
    }

    /// Hides a name as long as it shows this version.
    async fn hide_shown(&self, name: &FileName, id: &FileId) -> Result<(), Error> {
        let rows = self.versions_of(name).await?;
        if rows.first().is_some_and(|row| row.id.as_ref() == Some(id)) {
            self.client.hide_file(name).await?;
        }
        Ok(())
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

fn show(id: Option<&FileId>) -> String {
    id.map_or_else(|| "a folder".to_owned(), FileId::to_string)
}
