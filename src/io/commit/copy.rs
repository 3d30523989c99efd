//! Copies on the server, of any size.
//!
//! What one call copies in seconds goes in one (`b2_copy_file`). More becomes a large file whose parts B2 copies side by
//! side, with all that this means: the outcome of its finish may be unknown, it is given up where it cannot be finished,
//! and its time stamp is that of its start (API §4.3), so that what another client has stored under the name meanwhile
//! lies above it. The caller says what is to become of it then (`Covered`). Callers: `Io`, and commits of what is
//! one stored version from the first byte to the last.

use std::sync::Arc;

use futures_util::{StreamExt, TryFutureExt as _, TryStreamExt};

use crate::b2::{
    CopyMetadata, Error as B2Error, FileId, FileVersion, Lost, NewFile, PartDone, Sha1,
};
use crate::io::commit::remote::{SHA1_KEY, large_target, show, small_target};
use crate::io::commit::stream::{id_of, source_error};
use crate::io::engine::Engine;
use crate::io::parts::plan::{self, COPY_PART, MAX_PART, MAX_PARTS, Run, Source};
use crate::io::read::records::Record;
use crate::io::{Covered, Error, Version};

/// Others may store under the name again and again.
const TRIES: u32 = 3;

impl Engine {
    /// A copy that counts as this mount's own.
    pub(in crate::io) async fn copy(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
        covered: Covered,
    ) -> Result<FileVersion, Error> {
        let version = self.copy_unseen(source, target, covered).await?;
        self.note_own(&id_of(&version)?);
        Ok(version)
    }

    /// Copies what nobody here may have seen: whether the copy counts as own is for the caller to say.
    pub(in crate::io) async fn copy_unseen(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
        covered: Covered,
    ) -> Result<FileVersion, Error> {
        let in_parts = source.size > COPY_PART;
        // B2 knows no hash of what went up in parts, and cannot carry what it does not know.
        let told = target.info.contains_key(SHA1_KEY) || source.size > self.settings.large_file;
        let sha1 = source.sha1.filter(|_| told || in_parts);
        if !in_parts {
            return self.copy_in_one(source, target, sha1).await;
        }
        for _ in 0..TRIES {
            let version = self.copy_in_parts(source, target, sha1).await?;
            let covering = match self.covering(&version).await {
                Ok(None) => return Ok(version),
                Ok(Some(covering)) => covering,
                // It is there, but whether it shows is not known.
                Err(Error::B2(error)) => return Err(Error::B2(maybe(error, &version))),
                Err(error) => return Err(error),
            };
            log::warn!(
                "{}: another version ({}) was made while it was being copied to",
                version.name,
                show(covering.id.as_ref()),
            );
            self.delete_twin(&version, &target.name, None);
            match covered {
                Covered::GiveWay => break,
                // One call takes longer, but its stamp is new.
                Covered::PutOnTop if source.size <= MAX_PART => {
                    return self.copy_in_one(source, target, sha1).await;
                }
                Covered::PutOnTop => {}
            }
        }
        Err(Error::Covered)
    }

    /// What a commit does when all of a content is one version.
    pub(in crate::io) async fn copy_whole(
        self: &Arc<Self>,
        record: &Arc<Record>,
        target: &NewFile,
    ) -> Result<FileVersion, Error> {
        let mut target = small_target(target);
        // It may have gone up in parts.
        if let Some(sha1) = record.sha1().filter(|_| record.size > self.sizes().least()) {
            target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
        }
        let source = record.version();
        let copied = self.copy(&source, &target, Covered::PutOnTop);
        match copied.await {
            Err(Error::B2(error)) => Err(source_error(record, error)),
            answer => answer,
        }
    }

    /// By one call: at most 5 GB.
    async fn copy_in_one(
        &self,
        source: &Version,
        target: &NewFile,
        sha1: Option<Sha1>,
    ) -> Result<FileVersion, Error> {
        let mut target = small_target(target);
        if let Some(sha1) = sha1 {
            target.info.insert(SHA1_KEY.to_owned(), sha1.to_string());
        }
        let metadata = CopyMetadata::Replace {
            content_type: target.content_type,
            info: target.info,
        };
        let copied = self
            .client
            .copy_file(&source.id, source.size, &target.name, &metadata);
        Ok(copied.await?)
    }

    /// As a large file.
    async fn copy_in_parts(
        self: &Arc<Self>,
        source: &Version,
        target: &NewFile,
        sha1: Option<Sha1>,
    ) -> Result<FileVersion, Error> {
        let all = Run {
            source: Source::Stored { version: 0, at: 0 },
            len: source.size,
        };
        let steps = plan::parts(0, [all].into_iter(), self.sizes(), MAX_PARTS, 2);
        let target = large_target(target, sha1);
        let large = Unfinished {
            engine: Arc::clone(self),
            id: self.begin_large(&target).await?,
            ended: false,
        };
        let copies = (1..).zip(&steps).map(|(number, step)| {
            let range = step.range().clone();
            let copied = self.client.copy_part(&large.id, number, &source.id, range);
            copied.map_ok(move |part| (number, part))
        });
        let copies: Vec<_> = copies.collect();
        // In any order: a slow one keeps none of the others waiting.
        let mut parts: Vec<(u32, PartDone)> = futures_util::stream::iter(copies)
            .buffer_unordered(self.settings.uploads.max(1))
            .try_collect()
            .await?;
        parts.sort_by_key(|(number, _)| *number);
        let hashes: Vec<Sha1> = parts.into_iter().map(|(_, part)| part.sha1).collect();
        let lost = Lost {
            id: Some(large.id.clone()),
            size: Some(source.size),
            sha1,
            info: target.info,
        };
        Ok(large.finish(&hashes, lost).await?)
    }
}

/// A copy in parts, given up where it does not come to its end.
struct Unfinished {
    engine: Arc<Engine>,
    id: FileId,
    /// Nothing is left to give up.
    ended: bool,
}

impl Unfinished {
    /// Has B2 finish it; `lost` is what there may be where that is not answered.
    async fn finish(mut self, hashes: &[Sha1], lost: Lost) -> Result<FileVersion, B2Error> {
        let client = &self.engine.client;
        let mut error = match client.finish_large_file(&self.id, hashes).await {
            Ok(version) => {
                self.ended = true;
                return Ok(version);
            }
            Err(error) => error,
        };
        // A refusal, too, may be the answer to an earlier try that has worked.
        if error.lost.is_none() && error.status != 400 {
            return Err(error);
        }
        let may_be_there = match self.engine.outcome(&self.id).await {
            Ok(Some(version)) => {
                self.ended = true;
                return Ok(version);
            }
            // B2 may still do it, unless it can be cancelled before.
            Ok(None) => {
                self.ended = true;
                self.engine
                    .client
                    .cancel_large_file(&self.id)
                    .await
                    .is_err()
            }
            Err(_) => true,
        };
        error.lost = may_be_there.then(|| Box::new(lost));
        Err(error)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.ended {
            self.engine.forget_large(&self.id);
        } else {
            self.engine.cancel_large(self.id.clone());
        }
    }
}

/// The error of a call after which it is not known whether a copy shows.
fn maybe(mut error: B2Error, copy: &FileVersion) -> B2Error {
    error.lost = Some(Box::new(Lost {
        id: copy.id.clone(),
        size: Some(copy.size),
        sha1: copy.whole_sha1(),
        info: copy.info.clone(),
    }));
    error
}
