//! What A shows before it does something that may take it away.

use b2fuse::vfs::Overwrite;

use super::super::mount::Content;
use super::super::steps::{NAMES, Ours};
use super::World;

impl World {
    /// What A shows of the names that a step is about to take away.
    pub(super) fn before(&self, what: &Ours) -> Vec<(String, Option<Content>)> {
        let names: Vec<String> = match what {
            Ours::Remove { name } => vec![(*name).to_owned()],
            Ours::Rename { from, to, .. } => vec![(*from).to_owned(), (*to).to_owned()],
            Ours::RenameDirectory { .. } => NAMES
                .iter()
                .filter(|name| name.contains('/'))
                .map(|name| (*name).to_owned())
                .collect(),
            _ => return self.before_writing(what),
        };
        let show = |name: String| {
            let content = self.runtime.block_on(self.mount.get(&name)).ok();
            (name, content)
        };
        names.into_iter().map(show).collect()
    }

    /// The same of what a write may replace, where that goes: nothing that A does not show.
    fn before_writing(&self, what: &Ours) -> Vec<(String, Option<Content>)> {
        if self.manner.overwrite != Overwrite::Replace {
            return Vec::new();
        }
        let names = match what {
            Ours::Put { name, .. } | Ours::Append { name, .. } | Ours::Open { name } => {
                vec![(*name).to_owned()]
            }
            Ours::Write { .. } | Ours::Sync | Ours::Close => {
                let slot = self.slot.as_ref();
                slot.map_or_else(Vec::new, |slot| slot.names.clone())
            }
            _ => Vec::new(),
        };
        let show = |name: String| {
            let content = self.runtime.block_on(self.mount.get(&name)).ok()?;
            Some((name, Some(content)))
        };
        names.into_iter().filter_map(show).collect()
    }
}
