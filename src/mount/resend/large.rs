//! Goes on with a large file that a mount had begun: the parts that B2 lacks, then its end.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::{Sender, lasting, read};
use crate::b2::{Action, ErrorKind, FileId, FileVersion, NewFile, Payload, Sha1};
use crate::io::{Covered, Version};
use crate::rescue::{Entry, Piece, Unfinished};

/// Size of the parts that are made here; the last one may be shorter.
const PART: u64 = 16 << 20;

impl Sender<'_> {
    /// The version that a large file has become: by a call whose answer was lost, or by an earlier run.
    pub(super) async fn finished(
        &self,
        unfinished: &Unfinished,
    ) -> anyhow::Result<Option<FileVersion>> {
        let id = FileId::new(&unfinished.id);
        match self.client.get_file_info(&id).await {
            Ok(row) => Ok(Some(row).filter(|row| row.action == Action::Upload)),
            // Unfinished (API §6).
            Err(fault) if fault.status == 400 => Ok(None),
            Err(fault) if fault.kind == ErrorKind::NotFound => bail!(
                "the unfinished large file {id}, which has what was sent of it, is gone from the bucket: \
                 what was not sent is in the rescue directory"
            ),
            Err(fault) => Err(fault.into()),
        }
    }

    /// A version that was finished under a name that the file no longer has must not show there.
    pub(super) async fn withdraw(&self, version: &FileVersion, target: &NewFile) {
        let Some(id) = version.id.as_ref().filter(|_| version.name != target.name) else {
            return;
        };
        if let Err(fault) = self.client.delete_file_version(&version.name, id).await {
            log::warn!(
                "{}: version {id}, which was copied to its place, stays: {fault}",
                version.name
            );
        }
    }

    /// Sends what is missing and makes the version; `pieces` may be of bytes in the file, zeros, and what was sent.
    pub(super) async fn go_on(
        &self,
        entry: &Entry,
        target: &NewFile,
        unfinished: &Unfinished,
        pieces: &[Piece],
        file: Option<&Arc<File>>,
    ) -> anyhow::Result<()> {
        let id = FileId::new(&unfinished.id);
        let mut hashes = Vec::new();
        let mut at = 0u64;
        let mut number = 0;
        for part in &unfinished.parts {
            number += 1;
            let end = at.checked_add(part.size).filter(|end| *end <= entry.size);
            let end = end.context("the list tells of parts behind the end of the file")?;
            let known = part.sha1.as_deref().and_then(Sha1::from_hex);
            hashes.push(match known {
                Some(sha1) => sha1,
                None => self.part(&id, number, at..end, pieces, file).await?,
            });
            at = end;
        }
        // Each number that B2 may know has to be used again (API §6).
        let missing = unfinished.used.saturating_sub(hashes.len()).max(1) as u64;
        let rest = entry.size - at;
        let least = self.client.minimum_part_size();
        let size = if rest.div_ceil(PART) >= missing {
            PART
        } else {
            rest.div_ceil(missing)
        };
        if missing > 1 && size < least {
            bail!("the rest is too short for the parts that B2 has of the large file {id}");
        }
        while at < entry.size {
            number += 1;
            let end = entry.size.min(at + size.max(1));
            hashes.push(self.part(&id, number, at..end, pieces, file).await?);
            at = end;
        }
        let version = self.client.finish_large_file(&id, &hashes).await?;
        if version.size != entry.size {
            bail!("B2 made {} bytes of {} of it", version.size, entry.size);
        }
        self.put_in_place(&version, target).await
    }

    /// A large file has the name, the time and the info of its start: where others have stored something since, or the file
    /// was renamed or given other attributes, a copy of it takes its place.
    async fn put_in_place(&self, version: &FileVersion, target: &NewFile) -> anyhow::Result<()> {
        let id = version.id.clone().context("B2 told no id")?;
        let versions = self.versions(&target.name).await?;
        let shows = versions
            .first()
            .is_some_and(|newest| newest.id.as_ref() == Some(&id));
        if shows && lasting(&version.info) == lasting(&target.info) {
            return Ok(());
        }
        let source = Version {
            id: id.clone(),
            size: version.size,
            sha1: version.whole_sha1(),
        };
        self.io.copy(&source, target, Covered::PutOnTop).await?;
        // What has the right name stays below its copy, as any version does.
        self.withdraw(version, target).await;
        Ok(())
    }

    /// Sends one part.
    async fn part(
        &self,
        large: &FileId,
        number: u32,
        range: std::ops::Range<u64>,
        pieces: &[Piece],
        file: Option<&Arc<File>>,
    ) -> anyhow::Result<Sha1> {
        let mut payload = Payload::default();
        let mut at = 0;
        for piece in pieces {
            let (start, end) = (at, at + piece.len());
            at = end;
            let (from, to) = (start.max(range.start), end.min(range.end));
            if from >= to {
                continue;
            }
            match piece {
                Piece::Data(_) => {
                    let file = file.context("the list names no file with its bytes")?;
                    payload.push(read(file, from, to - from).await?);
                }
                Piece::Zero(_) => payload.push(vec![0; (to - from) as usize].into()),
                Piece::Sent(_) | Piece::Stored(_) => {
                    bail!("bytes {from} to {to} of it are neither here nor in a part that B2 has")
                }
            }
        }
        Ok(self.client.upload_part(large, number, payload).await?.sha1)
    }
}
