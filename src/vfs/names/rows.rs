//! Rows of listings, sorted by the directories that they speak of.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::b2::{Action, FileVersion};
use crate::vfs::Vfs;
use crate::vfs::names::name::{self, Row};

/// Rows of one directory.
#[derive(Default)]
pub(in crate::vfs::names) struct Rows {
    pub(in crate::vfs::names) files: Vec<(Arc<str>, FileVersion)>,
    pub(in crate::vfs::names) folders: HashSet<Arc<str>>,
    pub(in crate::vfs::names) marker: Option<FileVersion>,
    /// Something that Linux cannot show.
    pub(in crate::vfs::names) odd: bool,
}

impl Vfs {
    pub(in crate::vfs::names) fn sort_row(&self, rows: &mut Rows, prefix: &str, row: FileVersion) {
        let names = self.settings().names;
        match name::row(row.name.as_str(), prefix, names) {
            // Two of them (`d/` and `d/.bzEmpty`): the tree has a place for one.
            Row::Marker => rows.odd |= rows.marker.replace(row).is_some(),
            Row::Dir(component) => {
                rows.folders.insert(Arc::from(component));
            }
            Row::File(component) if row.action == Action::Upload => {
                let component = Arc::from(component);
                rows.files.push((component, row));
            }
            Row::File(_) => {}
            Row::Unshowable => {
                rows.odd = true;
                self.shared.warned.unshowable(row.name.as_str(), names);
            }
        }
    }

    pub(in crate::vfs::names) fn sort_deep(
        &self,
        all: &mut BTreeMap<String, Rows>,
        root: &str,
        row: FileVersion,
    ) {
        let full = row.name.as_str();
        let Some(beneath) = full.strip_prefix(root) else {
            return;
        };
        let mut from = root.len();
        for (at, _) in beneath.match_indices('/') {
            let end = root.len() + at + 1;
            let (parent, folder) = (&full[..from], &full[..end]);
            let names = self.settings().names;
            let Row::Dir(component) = name::row(folder, parent, names) else {
                self.shared.warned.unshowable(folder, names);
                all.entry(parent.to_owned()).or_default().odd = true;
                return;
            };
            if !all.contains_key(folder) {
                let component = Arc::from(component);
                all.entry(parent.to_owned())
                    .or_default()
                    .folders
                    .insert(component);
                all.insert(folder.to_owned(), Rows::default());
            }
            from = end;
        }
        let parent = full[..from].to_owned();
        let rows = all.entry(parent.clone()).or_default();
        self.sort_row(rows, &parent, row);
    }
}
