//! Calls on one existing version or name: hide, delete, info (API §7, §8).
//!
//! Hiding and deleting may be repeated after a lost reply: B2 then says that it is done already.

use serde_json::json;

use super::counters::Call;
use super::wire::Row;
use super::{Client, Error, FileId, FileName, FileVersion};

impl Client {
    /// `Ok` also when it is hidden already; `NotFound` when there is no version at all.
    pub async fn hide_file(&self, name: &FileName) -> Result<(), Error> {
        let request = json!({
            "bucketId": self.session().account.bucket_id,
            "fileName": name.as_str(),
        });
        let tries = self.tries(Call::HideFile, name.as_str());
        match self.call::<Row>(tries, &request).await {
            Err(error) if error.code != "already_hidden" => Err(error),
            _ => Ok(()),
        }
    }

    /// `Ok` also when it is gone already.
    pub async fn delete_file_version(&self, name: &FileName, id: &FileId) -> Result<(), Error> {
        let request = json!({"fileName": name.as_str(), "fileId": id.to_string()});
        let tries = self.tries(Call::DeleteFileVersion, name.as_str());
        match self.call::<Row>(tries, &request).await {
            Err(error) if error.code != "file_not_present" => Err(error),
            _ => Ok(()),
        }
    }

    /// What a listing would say of one version; `NotFound` when it is gone.
    pub async fn get_file_info(&self, id: &FileId) -> Result<FileVersion, Error> {
        let tries = self.tries(Call::GetFileInfo, &id.to_string());
        self.call::<Row>(tries, &json!({"fileId": id.to_string()}))
            .await
            .map(Row::into_version)
    }
}
