//! Listings that lag behind what this mount has stored below a directory that is being renamed.
//!
//! What was acknowledged a moment ago is copied although no row shows it, or an older version's does: whether it is
//! still the newest one is asked of the list of versions, and where that lags, too, of the version itself.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::b2::{Action, ErrorKind, FileId, FileVersion};
use crate::vfs::ask::look::Hurry;
use crate::vfs::names::name::MARKER;
use crate::vfs::{Error, Ino, Vfs};

/// Questions at once.
const AT_ONCE: usize = 64;

/// A version that this mount has stored lately.
struct Own {
    id: FileId,
    /// When, by B2's clock in milliseconds since 1970; rows that are older lag behind.
    uploaded_ms: u64,
}

/// What was stored lately, and has not been listed so far.
pub(super) struct Late {
    own: HashMap<String, Own>,
    /// What has been listed in an older version.
    older: Vec<(FileVersion, FileId)>,
}

impl Late {
    /// For everything below a directory.
    pub(super) fn new(vfs: &Vfs, dir: Ino) -> Self {
        let now = Instant::now();
        let tree = vfs.tree();
        let lately = tree.subtree(dir).into_iter().filter_map(|ino| {
            let node = tree.get(ino).ok()?;
            let own = match (node.object(), node.dir()) {
                (Some(object), _) => {
                    let stored = object.state.stored().filter(|stored| stored.ours())?;
                    Own {
                        id: stored.id.clone(),
                        uploaded_ms: stored.uploaded_ms,
                    }
                }
                (None, Some(dir)) => {
                    let marker = dir.marker.stored().filter(|marker| marker.ours)?;
                    Own {
                        id: marker.id.clone(),
                        uploaded_ms: 0,
                    }
                }
                (None, None) => return None,
            };
            if !tree.changed_lately(node, now) {
                return None;
            }
            let marker = if node.dir().is_some() { MARKER } else { "" };
            Some((format!("{}{marker}", vfs.full(&tree.path(ino)?)), own))
        });
        Self {
            own: lately.collect(),
            older: Vec::new(),
        }
    }

    /// Takes rows out that show what was before.
    pub(super) fn sort_out(&mut self, rows: &mut Vec<FileVersion>) {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows.drain(..) {
            match self.own.remove(row.name.as_str()) {
                Some(own)
                    if row.id.as_ref() != Some(&own.id) && row.uploaded_ms < own.uploaded_ms =>
                {
                    self.older.push((row, own.id));
                }
                _ => all.push(row),
            }
        }
        *rows = all;
    }

    /// What the names that were listed late, or not at all, have; in their order.
    pub(super) async fn rows(self, vfs: &Vfs) -> Result<Vec<FileVersion>, Error> {
        let older = self
            .older
            .into_iter()
            .map(|(row, id)| (row.name.as_str().to_owned(), id, Some(row)));
        let unseen = self.own.into_iter().map(|(name, own)| (name, own.id, None));
        let all: Vec<_> = older.chain(unseen).collect();
        let asked = all
            .into_iter()
            .map(|(name, id, listed)| async move { newest(vfs, &name, &id, listed).await });
        let rows = stream::iter(asked).buffer_unordered(AT_ONCE);
        let rows: Vec<Option<FileVersion>> = rows.try_collect().await?;
        let mut rows: Vec<FileVersion> = rows.into_iter().flatten().collect();
        rows.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        Ok(rows)
    }
}

/// What a name shows in truth: version `id`, a newer one, or nothing; `listed` where B2 does not know `id`.
async fn newest(
    vfs: &Vfs,
    full: &str,
    id: &FileId,
    listed: Option<FileVersion>,
) -> Result<Option<FileVersion>, Error> {
    let shown = |row: &FileVersion| row.action == Action::Upload;
    let seen = vfs.look(full, Hurry::Yes).await?;
    if seen.position(id).is_some() {
        return Ok(seen.rows.first().filter(|row| shown(row)).cloned());
    }
    match vfs.shared.client.get_file_info(id).await {
        Ok(row) => Ok(Some(row).filter(shown)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(listed),
        Err(error) => Err(error.into()),
    }
}
