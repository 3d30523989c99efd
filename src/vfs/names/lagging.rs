//! What a listing that lags behind may not change: what this mount has stored or removed a moment ago.
//!
//! Such rows are not taken over, but noted (`Unsettled`); what B2 has is then asked otherwise (`settle`).

use std::sync::Arc;
use std::time::Instant;

use crate::b2::FileVersion;
use crate::vfs::names::flight::Flight;
use crate::vfs::names::node::Body;
use crate::vfs::names::rows::Rows;
use crate::vfs::names::tree::{Tick, Tree, Unsettled};
use crate::vfs::state::Stored;
use crate::vfs::{Ino, Vfs};

impl Vfs {
    /// Leaves out names that were removed here a moment ago, for the listing may lag behind: whether B2 has them again
    /// is to be asked otherwise.
    pub(in crate::vfs::names) fn drop_gone(tree: &mut Tree, flight: &Flight, rows: &mut Rows) {
        if !tree.gone.any(flight.at) {
            return;
        }
        let mut doubted = Vec::new();
        let free = |name: &str| tree.child(flight.dir, name).is_none();
        rows.files.retain(|(name, row)| {
            let doubt = free(name) && tree.gone.doubts(row, flight.at);
            doubted.extend(doubt.then(|| row.name.as_str().to_owned()));
            !doubt
        });
        rows.folders.retain(|name| {
            let full = format!("{}{name}/", flight.prefix);
            let doubt = free(name) && tree.gone.doubts_directory(&full, flight.at);
            doubted.extend(doubt.then_some(full));
            !doubt
        });
        let dir = flight.dir;
        let doubted = doubted.into_iter();
        let doubted = doubted.map(|full| Unsettled::Removed { dir, full });
        tree.unsettled.extend(doubted);
    }

    /// A name that was removed here is there again: B2 was asked for it otherwise than by a listing, since `began`. `row`:
    /// a file's; a directory has none.
    pub(in crate::vfs) fn is_back(
        &self,
        tree: &mut Tree,
        dir: Ino,
        full: &str,
        row: Option<&FileVersion>,
        began: Tick,
    ) {
        if tree.leaving.overrules(full, began) {
            return; // removed once more meanwhile
        }
        tree.gone.forget(full);
        let Some(path) = tree.path(dir) else { return };
        let prefix = self.full(&path);
        let Some(name) = full.strip_prefix(&prefix) else {
            return; // renamed meanwhile
        };
        let name: Arc<str> = Arc::from(name.trim_end_matches('/'));
        if tree.child(dir, &name).is_some() {
            return; // made meanwhile
        }
        let flight = Flight {
            dir,
            prefix,
            began,
            at: Instant::now(),
        };
        let ino = match row {
            Some(row) => self.apply_file(tree, &flight, &name, row),
            None => self.apply_folder(tree, &flight, &name),
        };
        if ino.is_some() {
            let parent = dir;
            self.shared.forgets.entry(parent, name);
        }
    }

    /// A listing shows the marker of its directory.
    pub(in crate::vfs::names) fn apply_listed_marker(
        &self,
        tree: &mut Tree,
        flight: &Flight,
        row: &FileVersion,
    ) {
        let Ok(node) = tree.get(flight.dir) else {
            return;
        };
        let own = node.dir().and_then(|dir| dir.marker.stored());
        if let Some(own) = own.filter(|own| own.ours && Some(&own.id) != row.id.as_ref()) {
            if node.changed > flight.began {
                return; // made meanwhile
            }
            let lately = tree.changed_lately(node, flight.at);
            if lately && row.uploaded_ms < own.uploaded_ms {
                tree.unsettled.push(Unsettled::Marker(flight.dir));
                return;
            }
        }
        self.apply_marker(tree, flight.dir, row);
    }

    /// What of a node and all below it has versions that this mount has made a moment ago.
    pub(in crate::vfs::names) fn stored_lately(tree: &Tree, ino: Ino, at: Instant) -> Vec<Ino> {
        /// So many tell enough of a directory.
        const MOST: usize = 64;
        let ours = |ino: &Ino| {
            let Ok(node) = tree.get(*ino) else {
                return false;
            };
            let ours = match &node.body {
                Body::Object(object) => object.state.stored().is_some_and(Stored::ours),
                Body::Dir(dir) => dir.marker.stored().is_some_and(|own| own.ours),
            };
            ours && tree.changed_lately(node, at)
        };
        let all = tree.subtree(ino).into_iter().filter(ours);
        all.take(MOST).collect()
    }
}
