//! What a recursive listing says of the directories that it passes.

use std::collections::BTreeMap;

use crate::b2::FileVersion;
use crate::vfs::names::flight::{Covers, Flight};
use crate::vfs::names::rows::Rows;
use crate::vfs::names::tree::Tree;
use crate::vfs::{Ino, Vfs};

/// What the paths of all directories of one page may take. A name may have 512 levels (API §10): a page of 10,000 such
/// names would come to gigabytes.
const PATHS: usize = 16 << 20;

/// Cuts off what of a page (in B2's order) speaks of too many directories; tells where it would go on.
pub(in crate::vfs) fn cut_page(
    rows: &mut Vec<FileVersion>,
    next: Option<String>,
) -> Option<String> {
    let mut before = "";
    let mut paths = 0;
    let too_many = rows.iter().position(|row| {
        let name = row.name.as_str();
        let both = name.bytes().zip(before.bytes());
        let common = both.take_while(|(one, other)| one == other).count();
        let ends = name.match_indices('/').map(|(at, _)| at + 1);
        let new = ends.filter(|end| *end > common);
        paths += new.sum::<usize>();
        before = name;
        paths > PATHS
    });
    // One row is always taken: else nobody would get on.
    match too_many.filter(|at| *at > 0) {
        Some(at) => rows.drain(at..).next().map(|row| row.name.to_string()),
        None => next,
    }
}

impl Vfs {
    /// Takes over rows of a recursive listing, which began at the name `start` and would go on at
    /// `next`. Returns the directories that are known completely now, in B2's order, and the one
    /// where it is best to go on.
    pub(in crate::vfs) fn apply_walk(
        &self,
        flight: &Flight,
        start: &str,
        rows: Vec<FileVersion>,
        next: Option<&str>,
    ) -> (Vec<Ino>, Option<String>) {
        // Directories before what is in them.
        let mut all: BTreeMap<String, Rows> = BTreeMap::new();
        for row in rows {
            self.sort_deep(&mut all, &flight.prefix, row);
        }
        let complete = |prefix: &str| {
            start <= prefix && next.is_none_or(|next| prefix < next && !next.starts_with(prefix))
        };
        let mut known = Vec::new();
        for (prefix, rows) in all {
            // In steps: others want the tree, too.
            let mut tree = self.tree();
            let Some(dir) = self.directory_at(&tree, flight, &prefix) else {
                continue;
            };
            if tree
                .dir(dir)
                .is_ok_and(|dir| dir.listed().is_some_and(|at| at >= flight.at))
            {
                continue;
            }
            let whole = complete(&prefix);
            let covers = if whole {
                Covers::all(flight.at)
            } else {
                Covers::Part {
                    next: next.map(ToOwned::to_owned),
                }
            };
            let here = Flight {
                dir,
                prefix,
                ..*flight
            };
            self.apply_rows(&mut tree, &here, rows, &covers);
            if whole {
                known.push(dir);
            }
        }
        let on = next.and_then(|next| {
            // The first directory that is known in part: whoever walks will ask for all of it.
            let tree = self.tree();
            let beneath = next.strip_prefix(&flight.prefix)?;
            let mut ends = beneath.match_indices('/').map(|(at, _)| at + 1);
            ends.find_map(|end| {
                let prefix = &next[..flight.prefix.len() + end];
                let dir = self.directory_at(&tree, flight, prefix)?;
                let unknown = tree
                    .dir(dir)
                    .is_ok_and(|dir| dir.listed().is_none_or(|at| at < flight.at));
                (prefix > start && unknown).then(|| prefix.to_owned())
            })
        });
        (known, on)
    }

    /// The directory that has a full name now, if it is the one that the listing speaks of.
    fn directory_at(&self, tree: &Tree, flight: &Flight, prefix: &str) -> Option<Ino> {
        let root = tree.path(flight.dir).map(|path| self.full(&path));
        let beneath = prefix.strip_prefix(root.as_ref()?)?;
        if root.as_ref() != Some(&flight.prefix) {
            return None;
        }
        let mut here = flight.dir;
        for component in beneath.split_terminator('/') {
            let child = tree.child(here, component)?;
            // Made, or moved here, after the listing began.
            if tree.get(child).ok()?.changed > flight.began {
                return None;
            }
            here = child;
        }
        tree.dir(here).ok().map(|_| here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b2::{Action, ContentSha1, FileInfo, FileName};

    fn row(name: &str) -> FileVersion {
        FileVersion {
            action: Action::Upload,
            id: None,
            name: FileName::listed(name),
            size: 1,
            sha1: ContentSha1::None,
            content_type: None,
            info: FileInfo::new(),
            uploaded_ms: 5,
            customer_key: false,
            twins: false,
        }
    }

    #[test]
    fn a_page_of_many_levels_is_cut_and_goes_on_there() {
        let deep = |number| format!("{number:06}/{}f", "d/".repeat(500));
        let paths: usize = (3..500).map(|level| 2 * level).sum();
        let mut rows: Vec<_> = (0..200).map(|number| row(&deep(number))).collect();
        let next = cut_page(&mut rows, Some("later".to_owned()));
        assert!(rows.len() <= PATHS / paths && rows.len() > PATHS / paths / 2);
        assert_eq!(next, Some(deep(rows.len())));
        // Directories that several names are in count once.
        let mut rows: Vec<_> = (0..10_000)
            .map(|number| row(&format!("{}{number:06}", deep(0))))
            .collect();
        assert_eq!(cut_page(&mut rows, None), None);
        assert_eq!(rows.len(), 10_000);
    }
}
