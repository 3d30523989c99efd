//! Large files: start, copy parts, finish, cancel (API §6). Parts are sent by `upload`.
//!
//! Neither start nor finish can be repeated blindly. A start whose reply was lost leaves an
//! empty unfinished file behind, which is looked for and cancelled; a finish whose reply was lost
//! is recognised by the file's info.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use serde_json::json;

use super::call::Call;
use super::calls::{Tries, json as write_json};
use super::retry::FailedTry;
use super::wire::Row;
use super::{
    Action, Client, ContentSha1, Error, FileId, FileName, FileVersion, Lost, NewFile, PartDone,
    Sha1,
};

/// The large files that this client has begun, so that it never takes one for a stray.
#[derive(Debug, Default)]
pub(super) struct Started(Mutex<Starts>);

#[derive(Debug, Default)]
struct Starts {
    ours: HashMap<FileId, FileName>,
    /// Starts under way by name: their ids are not known yet.
    waiting: HashMap<FileName, u32>,
}

impl Started {
    fn lock(&self) -> MutexGuard<'_, Starts> {
        self.0.lock()
    }

    fn begin(&self, name: &FileName) -> Waiting<'_> {
        *self.lock().waiting.entry(name.clone()).or_default() += 1;
        Waiting {
            started: self,
            name: name.clone(),
        }
    }

    fn named(&self, id: FileId, name: &FileName) {
        self.lock().ours.insert(id, name.clone());
    }

    /// What messages call it: its name, where this client has begun it.
    pub(super) fn subject(&self, id: &FileId) -> String {
        let starts = self.lock();
        let name = starts.ours.get(id);
        name.map_or_else(|| id.to_string(), |name| name.as_str().to_owned())
    }

    fn ended(&self, id: &FileId) {
        self.lock().ours.remove(id);
    }
}

/// One start under way; gone when it ends or is abandoned.
struct Waiting<'a> {
    started: &'a Started,
    name: FileName,
}

impl Waiting<'_> {
    fn alone(&self) -> bool {
        self.started.lock().waiting.get(&self.name) == Some(&1)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut starts = self.started.lock();
        if let Some(count) = starts.waiting.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                starts.waiting.remove(&self.name);
            }
        }
    }
}

impl Client {
    /// Begins a large file; its name, type and info are final, and its time stamp is now.
    pub async fn start_large_file(&self, file: &NewFile) -> Result<FileVersion, Error> {
        let mut tries = self.tries(Call::StartLargeFile, file.name.as_str());
        let body = write_json(
            &tries,
            &json!({
                "bucketId": self.session().account.bucket_id,
                "fileName": file.name.as_str(),
                "contentType": file.content_type,
                "fileInfo": file.info,
            }),
        )?;
        let waiting = self.shared.started.begin(&file.name);
        let mut lost = false;
        loop {
            match self.call_once::<Row>(&mut tries, &body).await? {
                Ok(row) => {
                    let version = row.into_version();
                    let Some(id) = version.id.clone() else {
                        return Err(tries.error(&FailedTry::Nonsense("no file id".to_owned())));
                    };
                    self.shared.started.named(id, &file.name);
                    if lost && waiting.alone() {
                        self.cancel_stray(file, &version).await;
                    }
                    return Ok(version);
                }
                Err(failure) => {
                    lost |= failure.ambiguous();
                    self.again(&mut tries, &failure).await?;
                }
            }
        }
    }

    /// Cancels what a start with a lost reply left. Cautious: what it takes has our name and info,
    /// is not ours as far as known, and is hardly older than its successor. What it misses costs
    /// nothing but a row among the unfinished files.
    async fn cancel_stray(&self, file: &NewFile, ours: &FileVersion) {
        let oldest = ours
            .uploaded_ms
            .saturating_sub(2 * self.shared.http.waits.call.as_millis() as u64);
        let Ok(unfinished) = self.list_unfinished_large_files(file.name.as_str()).await else {
            return;
        };
        for stray in unfinished {
            let Some(id) = &stray.id else { continue };
            let taken = self.shared.started.lock().ours.contains_key(id);
            if !taken
                && stray.name == file.name
                && stray.has_info(&file.info)
                && !file.info.is_empty()
                && (oldest..=ours.uploaded_ms).contains(&stray.uploaded_ms)
            {
                match self.cancel_large_file(id).await {
                    Ok(()) => log::debug!("stray start of {:?} cancelled", file.name),
                    Err(error) => {
                        log::debug!(
                            "stray start of {:?} cannot be cancelled: {error}",
                            file.name
                        );
                    }
                }
            }
        }
    }

    /// Copies bytes of a stored version into a part, on the server. All parts but the last need
    /// `Account::minimum_part_size` bytes; B2 checks that when the file is finished.
    pub async fn copy_part(
        &self,
        large: &FileId,
        number: u32,
        source: &FileId,
        range: Range<u64>,
    ) -> Result<PartDone, Error> {
        let size = range.end.saturating_sub(range.start);
        let tries = self.tries_to_copy(Call::CopyPart, &self.shared.started.subject(large), size);
        let request = json!({
            "largeFileId": large.to_string(),
            "partNumber": number,
            "sourceFileId": source.to_string(),
            "range": format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
        });
        let ended = tries.within(Call::CopyPart);
        let row: Row = self.call(tries, &request).await?;
        match row.sha1() {
            ContentSha1::Verified(sha1) | ContentSha1::Unverified(sha1) if row.size() == size => {
                Ok(PartDone { number, size, sha1 })
            }
            ContentSha1::None => Err(ended.error(&FailedTry::Nonsense(
                "B2 told no SHA-1 of the part".to_owned(),
            ))),
            _ => Err(ended.error(&FailedTry::Mismatch(format!(
                "asked for a part of {size} bytes, B2 copied {}",
                row.size()
            )))),
        }
    }

    /// `parts` by number from 1 without gaps, at least two.
    pub async fn finish_large_file(
        &self,
        large: &FileId,
        parts: &[Sha1],
    ) -> Result<FileVersion, Error> {
        let mut tries = self.tries(Call::FinishLargeFile, &self.shared.started.subject(large));
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let body = write_json(
            &tries,
            &json!({"fileId": large.to_string(), "partSha1Array": parts}),
        )?;
        let result = self.finish_tried(&mut tries, &body, large).await;
        tries.with_lost(result, || Lost {
            id: Some(large.clone()),
            ..Lost::default()
        })
    }

    async fn finish_tried(
        &self,
        tries: &mut Tries,
        body: &Bytes,
        large: &FileId,
    ) -> Result<FileVersion, Error> {
        loop {
            let failure = match self.call_once::<Row>(tries, body).await? {
                Ok(row) => {
                    self.end_large(large);
                    return Ok(row.into_version());
                }
                Err(failure) => failure,
            };
            // The second 400 of a finish whose first reply was lost says the same as success.
            let repeated = tries.repeated() && failure.status() == 400;
            if failure.ambiguous() || repeated {
                let info = self
                    .call::<Row>(
                        tries.within(Call::GetFileInfo),
                        &json!({"fileId": large.to_string()}),
                    )
                    .await
                    .map(Row::into_version);
                if let Ok(version) = info
                    && version.action == Action::Upload
                {
                    log::info!("b2_finish_large_file of {large}: the reply was lost, it is done");
                    self.end_large(large);
                    return Ok(version);
                }
            }
            self.again(tries, &failure).await?;
        }
    }

    /// Gives up a large file and the parts that were stored.
    pub async fn cancel_large_file(&self, large: &FileId) -> Result<(), Error> {
        self.end_large(large);
        let mut tries = self.tries(Call::CancelLargeFile, &self.shared.started.subject(large));
        let body = write_json(&tries, &json!({"fileId": large.to_string()}))?;
        let mut lost = false;
        loop {
            match self.call_once::<Row>(&mut tries, &body).await? {
                Ok(_) => return Ok(()),
                Err(failure) => {
                    if lost
                        && matches!(&failure, FailedTry::Refused(refusal) if refusal.status == 400)
                    {
                        return Ok(());
                    }
                    lost |= failure.ambiguous();
                    self.again(&mut tries, &failure).await?;
                }
            }
        }
    }

    fn end_large(&self, large: &FileId) {
        self.shared.started.ended(large);
        self.shared.urls.forget(large);
    }
}
