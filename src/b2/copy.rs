//! Server-side copies of whole files (API §6.1).

use bytes::Bytes;
use serde_json::json;

use super::call::Call;
use super::calls::{Tries, json as write_json};
use super::wire::Row;
use super::{Client, CopyMetadata, Error, FileId, FileInfo, FileName, FileVersion, Lost};

impl Client {
    /// Copies a version of `size` bytes, at most 5 GB; larger ones go by `copy_part`. A lost reply is
    /// resolved, not blindly asked for again.
    pub async fn copy_file(
        &self,
        source: &FileId,
        size: u64,
        name: &FileName,
        metadata: &CopyMetadata,
    ) -> Result<FileVersion, Error> {
        let mut tries = self.tries_to_copy(Call::CopyFile, name.as_str(), size);
        let mut request = json!({
            "sourceFileId": source.to_string(),
            "fileName": name.as_str(),
            "destinationBucketId": self.session().account.bucket_id,
        });
        match metadata {
            CopyMetadata::Copy => request["metadataDirective"] = json!("COPY"),
            CopyMetadata::Replace { content_type, info } => {
                request["metadataDirective"] = json!("REPLACE");
                request["contentType"] = json!(content_type);
                request["fileInfo"] = json!(info);
            }
        }
        let body = write_json(&tries, &request)?;
        let result = self
            .copy_tried(&mut tries, &body, source, name, metadata)
            .await;
        let info = match metadata {
            CopyMetadata::Copy => FileInfo::new(),
            CopyMetadata::Replace { info, .. } => info.clone(),
        };
        let result = result.map(|version| tries.made(version));
        tries.with_lost(result, || Lost {
            info,
            ..Lost::default()
        })
    }

    async fn copy_tried(
        &self,
        tries: &mut Tries,
        body: &Bytes,
        source: &FileId,
        name: &FileName,
        metadata: &CopyMetadata,
    ) -> Result<FileVersion, Error> {
        loop {
            let failure = match self.call_once::<Row>(tries, body).await? {
                Ok(row) => return Ok(row.into_version()),
                Err(failure) => failure,
            };
            if failure.ambiguous()
                && let Some(version) = self.find_copy(tries, source, name, metadata).await
            {
                return Ok(version);
            }
            self.again(tries, &failure).await?;
        }
    }

    /// The version that a copy with a lost reply has made, if it has: the newest of the name,
    /// another than the source, with the source's bytes and the wanted info.
    async fn find_copy(
        &self,
        tries: &Tries,
        source: &FileId,
        name: &FileName,
        metadata: &CopyMetadata,
    ) -> Option<FileVersion> {
        let newest = self.newest_version(tries, name).await?;
        if newest.id.as_ref() == Some(source) {
            return None;
        }
        let original = self
            .call::<Row>(
                tries.within(Call::GetFileInfo),
                &json!({"fileId": source.to_string()}),
            )
            .await
            .ok()?
            .into_version();
        let info = match metadata {
            CopyMetadata::Copy => &original.info,
            CopyMetadata::Replace { info, .. } => info,
        };
        let whole = original.whole_sha1();
        let found = newest.size == original.size
            && whole.is_some()
            && newest.whole_sha1() == whole
            && newest.has_info(info);
        found.then(|| {
            log::info!("b2_copy_file to {name:?}: the reply was lost, the copy is there");
            newest
        })
    }
}
