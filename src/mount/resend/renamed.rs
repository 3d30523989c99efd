//! Does the rename of a file that B2 has under its old name.

use super::{Sender, Sent};
use crate::b2::{ErrorKind, FileId, FileName, NewFile};
use crate::io::{Covered, Version};
use crate::rescue::{Entry, Kept, Renamed};

use anyhow::anyhow;

impl Sender<'_> {
    /// Has B2 copy it to its new name, with its new attributes.
    pub(super) async fn copy_renamed(
        &self,
        renamed: &Renamed,
        target: &NewFile,
    ) -> anyhow::Result<Sent> {
        let id = FileId::new(&renamed.id);
        let version = match self.client.get_file_info(&id).await {
            Ok(version) => version,
            Err(fault) if fault.kind == ErrorKind::NotFound => {
                log::warn!(
                    "{}: it is not renamed to {}, another client has removed or replaced it meanwhile",
                    renamed.from,
                    target.name
                );
                return Ok(Sent::Pointless);
            }
            Err(fault) => return Err(fault.into()),
        };
        let source = Version {
            id,
            size: version.size,
            sha1: version.whole_sha1(),
        };
        self.io.copy(&source, target, Covered::PutOnTop).await?;
        Ok(Sent::Stored)
    }

    /// Removes the old name, once B2 has the file under its new one; what others have stored there stays.
    pub(super) async fn old_name_goes(
        &self,
        entry: &Entry,
        renamed: &Renamed,
    ) -> anyhow::Result<()> {
        let name = FileName::new(&renamed.from).map_err(|fault| anyhow!("its name: {fault}"))?;
        let id = FileId::new(&renamed.id);
        let before = self.versions(&name).await?;
        if before
            .first()
            .is_none_or(|newest| newest.id.as_ref() != Some(&id))
        {
            return Ok(());
        }
        // The new name has the same content; an older version of the old name must not come to light.
        let needless = entry.kept == Kept::Attributes && before.len() == 1;
        if needless && self.client.account().may("deleteFiles") {
            return match self.client.delete_file_version(&name, &id).await {
                Err(fault) if fault.kind != ErrorKind::NotFound => Err(fault.into()),
                _ => Ok(()),
            };
        }
        let Some(marker) = self.client.hide_file(&name).await? else {
            return Ok(());
        };
        let after = self.versions(&name).await?;
        let mut below = after.iter().map(|row| row.id.as_ref());
        let marked = below.any(|id| id == Some(&marker));
        if marked && below.next().flatten() != Some(&id) {
            // Somebody has stored something in between: that is not what was renamed.
            self.client.delete_file_version(&name, &marker).await?;
        }
        Ok(())
    }
}
