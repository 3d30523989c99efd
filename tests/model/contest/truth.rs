//! What must be true, whatever two writers do and however calls end.
//!
//! 1. What A was told is stored, and did not itself overwrite, remove or rename over, is some version's content.
//! 2. What B uploaded and did not itself delete is some version's content; with `delete: purge` or `overwrite: replace` this
//!    holds for what A had not seen when it removed, renamed or replaced it.
//! 3. What A removed, and nobody was told otherwise, no name shows again; what it renamed, not the old name.
//! 4. A name that B has changed last, and that A had nothing left to write to, shows what B made of it.
//!
//! Every write has a token of its own, so contents are never equal by chance.

use std::collections::{BTreeMap, BTreeSet};

use super::mount::Content;
use crate::support::bucket::{Bucket, Version};

/// One version in the bucket; `None` is a hide marker.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) content: Option<Content>,
}

/// Every finished version, in B2's order. A may be deleting some of its own: then it is listed anew.
pub(super) fn rows(bucket: &Bucket) -> Vec<Row> {
    let row = |version: Version| {
        let content = match &*version.action {
            "upload" => Some(bucket.try_download(&version.id)?),
            _ => None,
        };
        let name = version.name;
        Some(Row { name, content })
    };
    loop {
        let mut all = bucket.versions();
        all.retain(|version| version.action != "start");
        if let Some(rows) = all.into_iter().map(row).collect() {
            return rows;
        }
    }
}

#[derive(Debug)]
struct Kept {
    content: Content,
    /// Where it may be: more than one after a rename of unknown outcome.
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct Upload {
    name: String,
    content: Content,
    at: u64,
}

#[derive(Debug)]
struct Removed {
    content: Content,
    parent: String,
    /// The one name that must not show it: it was renamed away from there.
    away_from: Option<String>,
    settled: bool,
}

/// What B did last to a name.
#[derive(Debug)]
enum Last {
    Shows(Content),
    Hidden,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    kept: Vec<Kept>,
    uploads: Vec<Upload>,
    removed: Vec<Removed>,
    last: BTreeMap<String, Last>,
    /// Names that A may still write to by itself: never judged by what B did last.
    ours: BTreeSet<String>,
    /// Contents that may be at several names, or that B has exposed or copied: may show again.
    blurred: BTreeSet<Content>,
    /// Contents that B has deleted a version of: A may be told that they are stored, for they were.
    deleted: BTreeSet<Content>,
    /// When a content came to a name.
    placed: BTreeMap<(String, Content), u64>,
    clock: u64,
}

pub(super) fn words(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

/// The directory that a name is in.
pub(super) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Truth {
    fn place(&mut self, name: &str, content: &[u8]) {
        self.removed
            .retain(|one| one.away_from.as_deref() != Some(name) || one.content != content);
        self.clock += 1;
        self.placed
            .insert((name.to_owned(), content.to_vec()), self.clock);
    }

    /// A does something to a name: what it was told before of that name binds no more.
    pub(super) fn touched(&mut self, name: &str) {
        self.kept.retain(|kept| !kept.names.contains(name));
        self.last.remove(name);
    }

    /// A may write to this name at any time from now on.
    pub(super) fn unsettled(&mut self, name: &str) {
        self.ours.insert(name.to_owned());
    }

    /// A was told that this content is stored.
    pub(super) fn told(&mut self, name: &str, content: Content) {
        self.touched(name);
        self.place(name, &content);
        let names = BTreeSet::from([name.to_owned()]);
        self.kept.push(Kept { content, names });
    }

    /// A's content of a name, stored or not.
    pub(super) fn wrote(&mut self, name: &str, content: &[u8]) {
        self.place(name, content);
    }

    /// A renamed what it showed. Older versions stay where they are, or go with `delete: purge`.
    pub(super) fn renamed(
        &mut self,
        from: &str,
        to: &str,
        content: Option<&Content>,
        purged: bool,
    ) {
        self.kept.retain(|kept| {
            if kept.names.contains(from) {
                !purged || Some(&kept.content) == content
            } else {
                !kept.names.contains(to)
            }
        });
        for kept in &mut self.kept {
            if kept.names.contains(from) && Some(&kept.content) == content {
                kept.names = BTreeSet::from([to.to_owned()]);
            }
        }
        self.rename_ended(from, to);
        let Some(content) = content else { return };
        self.place(to, content);
        if last_by(content, b'A') {
            self.removed.push(Removed {
                content: content.clone(),
                parent: parent(from).to_owned(),
                away_from: Some(from.to_owned()),
                settled: false,
            });
        }
    }

    /// Both, one, or the other may be there now.
    pub(super) fn rename_failed(&mut self, from: &str, to: &str, bucket: &[Row]) {
        self.kept
            .retain(|kept| !kept.names.contains(to) || kept.names.contains(from));
        for kept in &mut self.kept {
            if kept.names.contains(from) {
                kept.names.insert(to.to_owned());
                self.blurred.insert(kept.content.clone());
            }
        }
        for row in bucket
            .iter()
            .filter(|row| row.name == from || row.name == to)
        {
            self.blurred.extend(row.content.clone());
        }
        self.rename_ended(from, to);
    }

    fn rename_ended(&mut self, from: &str, to: &str) {
        for name in [from, to] {
            self.last.remove(name);
            // The copy may be under way.
            self.ours.insert(name.to_owned());
        }
    }

    /// A content that nothing can be said of any more.
    pub(super) fn blur(&mut self, content: Content) {
        self.blurred.insert(content);
    }

    /// A removed a name that it showed this content of.
    pub(super) fn removed(&mut self, name: &str, content: Option<Content>) {
        self.touched(name);
        if let Some(content) = content.filter(|content| last_by(content, b'A')) {
            self.removed.push(Removed {
                content,
                parent: parent(name).to_owned(),
                away_from: None,
                settled: false,
            });
        }
    }

    /// With `delete: purge` what A shows of a name, and what lay under it, may go.
    pub(super) fn may_be_purged(&mut self, name: &str, shown: Option<&Content>) {
        let until = shown.map_or(Some(u64::MAX), |content| {
            self.placed
                .get(&(name.to_owned(), content.clone()))
                .copied()
        });
        let until = until.unwrap_or(u64::MAX);
        self.uploads
            .retain(|upload| upload.name != name || upload.at > until);
    }

    /// All removals in a directory have been waited for; or one of them has failed, and was told.
    pub(super) fn removals_waited_for(&mut self, parent: &str, well: bool) {
        if well {
            for removed in &mut self.removed {
                removed.settled |= removed.parent == parent;
            }
        } else {
            self.removed.retain(|removed| removed.settled);
        }
    }

    /// Everything has been waited for.
    pub(super) fn drained(&mut self) {
        for removed in &mut self.removed {
            removed.settled = true;
        }
    }

    pub(super) fn uploaded(&mut self, name: &str, content: Content) {
        self.place(name, &content);
        self.uploads.push(Upload {
            name: name.to_owned(),
            content: content.clone(),
            at: self.clock,
        });
        self.last.insert(name.to_owned(), Last::Shows(content));
    }

    pub(super) fn hidden(&mut self, name: &str) {
        self.last.insert(name.to_owned(), Last::Hidden);
    }

    /// B copied what a name showed onto it.
    pub(super) fn copied(&mut self, name: &str, content: &Content) {
        self.blurred.insert(content.clone());
        self.place(name, content);
        self.last
            .insert(name.to_owned(), Last::Shows(content.clone()));
    }

    /// B deleted this version of a name: also what lies under it may show again.
    pub(super) fn deleted(&mut self, name: &str, gone: Option<&Content>, bucket: &[Row]) {
        if let Some(gone) = gone {
            self.deleted.insert(gone.clone());
            self.uploads.retain(|upload| upload.content != *gone);
        }
        for row in bucket.iter().filter(|row| row.name == name) {
            self.blurred.extend(row.content.clone());
        }
        self.last.remove(name);
        self.ours.insert(name.to_owned());
    }

    /// What is not as it must be, in words.
    pub(super) fn check(&self, bucket: &[Row]) -> Result<(), String> {
        let exists = |content: &Content| {
            let mut all = bucket.iter();
            all.any(|row| row.content.as_ref() == Some(content))
        };
        let lost = |kept: &&Kept| !exists(&kept.content) && !self.deleted.contains(&kept.content);
        if let Some(kept) = self.kept.iter().find(lost) {
            return Err(format!(
                "A was told that {:?} is stored at {:?}; it is nowhere",
                words(&kept.content),
                kept.names
            ));
        }
        if let Some(upload) = self.uploads.iter().find(|one| !exists(&one.content)) {
            return Err(format!(
                "B uploaded {:?} to {:?}; it is nowhere",
                words(&upload.content),
                upload.name
            ));
        }
        for (name, content) in shown(bucket) {
            let Some(content) = content else { continue };
            let back = |one: &&Removed| {
                let here = one.away_from.as_deref().is_none_or(|from| from == name);
                here && one.settled && one.content == *content
            };
            if self.removed.iter().any(|one| back(&one)) && !self.blurred.contains(content) {
                return Err(format!(
                    "A removed or renamed {:?}; {name:?} shows it again",
                    words(content)
                ));
            }
        }
        let shown = shown(bucket);
        for (name, last) in &self.last {
            if self.ours.contains(name) {
                continue;
            }
            let found = shown.get(&**name).copied().flatten();
            let expected = match last {
                Last::Shows(content) => Some(content),
                Last::Hidden => None,
            };
            if found != expected {
                return Err(format!(
                    "{name:?} shows {:?}; B, who was last, left {:?}",
                    found.map(|found| words(found)),
                    expected.map(|expected| words(expected))
                ));
            }
        }
        Ok(())
    }
}

/// What every name shows.
pub(super) fn shown(bucket: &[Row]) -> BTreeMap<&str, Option<&Content>> {
    let mut found = BTreeMap::new();
    for row in bucket {
        found.entry(&*row.name).or_insert(row.content.as_ref());
    }
    found
}

/// Whether the last token of a content is that writer's.
pub(super) fn last_by(content: &[u8], writer: u8) -> bool {
    let letters = content.iter().rev();
    let mut letters = letters.filter(|byte| byte.is_ascii_alphabetic());
    letters.next() == Some(&writer)
}
