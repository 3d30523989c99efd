//! Calls on one existing version or name: hide, delete, info (API §7, §8).
//!
//! Hiding and deleting may be repeated after a lost reply: B2 then says that it is done already.

use serde_json::json;

use super::call::Call;
use super::calls::{Tries, json as write_json};
use super::retry::FailedTry;
use super::wire::Row;
use super::{Action, Client, Error, FileId, FileName, FileVersion};

impl Client {
    /// Tells the marker's id; `None` when the name was hidden before. `NotFound` when there is no
    /// version at all.
    pub async fn hide_file(&self, name: &FileName) -> Result<Option<FileId>, Error> {
        let mut tries = self.tries(Call::HideFile, name.as_str());
        let body = write_json(
            &tries,
            &json!({
                "bucketId": self.session().account.bucket_id,
                "fileName": name.as_str(),
            }),
        )?;
        let mut lost = false;
        loop {
            let failure = match self.call_once::<Row>(&mut tries, &body).await? {
                Ok(row) => return Ok(row.into_version().id),
                Err(failure) => failure,
            };
            if matches!(&failure, FailedTry::Refused(refusal) if refusal.code == "already_hidden") {
                return Ok(if lost {
                    // By the try whose answer was lost.
                    self.marker_on(&tries, name).await
                } else {
                    None
                });
            }
            lost |= failure.ambiguous();
            self.again(&mut tries, &failure).await?;
        }
    }

    /// The hide marker that is the newest version of a name.
    async fn marker_on(&self, tries: &Tries, name: &FileName) -> Option<FileId> {
        let newest = self.newest_row(tries, name).await?;
        newest.id.filter(|_| newest.action == Action::Hide)
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
