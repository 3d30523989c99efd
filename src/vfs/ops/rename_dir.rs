//! Renames of directories: everything below is copied on the server, then the tree is edited, then the sources go.
//!
//! Page by page, so that memory does not grow with the directory. All copies are made before the first removal, and
//! each says of which version it is one and by which rename (`Stamp::moved`): only a source whose copy says so is
//! removed, and a rename that was cut off is finished by asking for it again.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use log::warn;

use super::rename::Ends;
use crate::b2::{FileId, FileInfo, FileVersion};
use crate::io::{Moved, Stamp};
use crate::vfs::ask::look::Hurry;
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::names::node::{Marker, MarkerObject};
use crate::vfs::ops::remove::Departure;
use crate::vfs::pathlock::PathGuard;
use crate::vfs::queue::Urgency;
use crate::vfs::state::{Maker, Stored, Why};
use crate::vfs::versions::removal::Outgoing;
use crate::vfs::{Error, Ino, Vfs};

mod below;
mod copies;
pub(in crate::vfs) mod failed;
mod late;

use below::{Below, PAGE};
use copies::{Copied, Copies, CopyOf};
use failed::FailedMove;

/// One rename of a directory.
struct Move<'a> {
    ends: &'a Ends,
    /// Tells its copies from all others.
    number: u32,
    /// An earlier try has left some copies.
    resumed: bool,
}

/// What the tree has of the copies.
#[derive(Default)]
struct Rebased {
    /// Versions that files had before, which this mount has made.
    own: HashMap<FileId, Stored>,
    /// Copies of other versions than those that were known.
    others: Vec<(Ino, Box<FileVersion>)>,
}

impl Move<'_> {
    fn new_name(&self, row: &FileVersion) -> String {
        let beneath = &row.name.as_str()[self.ends.from.len()..];
        format!("{}{beneath}", self.ends.to)
    }

    /// Whether this is the marker of the directory itself, under its new name.
    fn is_marker(&self, copy: &FileVersion) -> bool {
        let last = copy.name.as_str().strip_prefix(&*self.ends.to);
        last.is_some_and(|last| last.is_empty() || last == MARKER)
    }

    /// Whether a row below the new name is the copy of a version.
    fn is_copy(&self, copy: &FileVersion, source: &FileId) -> bool {
        let wanted = Moved {
            rename: self.number,
            from: mark(source),
        };
        Stamp::of(&copy.info).moved == Some(wanted)
    }
}

/// A short hash of a file id, the same in every run (FNV-1a).
fn mark(id: &FileId) -> u32 {
    let bytes = id.to_string();
    bytes.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

impl Vfs {
    pub(in crate::vfs) async fn rename_directory(
        &self,
        ends: &Ends,
        mut guard: PathGuard,
    ) -> Result<(), Error> {
        let this = self.begin_move(ends).await?;
        self.names_fit(ends)?;
        self.store_below(ends).await?;
        let copies = match self.copy_below(&this).await {
            Ok(copies) => copies,
            Err(error) => {
                if !this.resumed {
                    let failed = FailedMove {
                        from: ends.from.clone(),
                        to: ends.to.clone(),
                        number: this.number,
                    };
                    self.remove_copies(failed).await;
                }
                return Err(error);
            }
        };
        if !copies.marker
            && let Some(replaced) = ends.replaced.filter(|_| !this.resumed)
        {
            // What is in it now implies it; its attributes are those of the directory that goes.
            self.remove_replaced_marker(replaced, &ends.to).await?;
        }
        let Copies {
            known,
            sources,
            late,
            ..
        } = copies;
        let Rebased { own, others } = self.rebase(ends, this.resumed, known)?;
        // The old name leads nowhere now, also for listings that go on showing it.
        let departure = Departure::begin(self, &ends.from);
        self.edit(ends)?;
        self.take_others(others);
        self.keep_alive(ends.ino);
        // From here on the new name is as any other.
        guard.keep_only(&ends.from);
        // Waited for: the old directory is gone, and with it whoever could be told later.
        match self.remove_sources(&this, &own, sources, late).await {
            Ok(()) => {
                departure.ended();
                self.shared.removals.orphan(&ends.from);
                Ok(())
            }
            Err(error) => {
                drop(departure);
                self.both_remain(ends);
                Err(error)
            }
        }
    }

    /// Looks at what has the new name: nothing, an empty directory, or what an earlier try of this rename has left.
    async fn begin_move<'a>(&self, ends: &'a Ends) -> Result<Move<'a>, Error> {
        let new = Move {
            ends,
            number: fastrand::u32(..),
            resumed: false,
        };
        self.remove_copies_left_at(&ends.to).await?;
        let known = match ends.replaced {
            Some(replaced) => self.must_be_empty(replaced).await,
            None => Ok(()),
        };
        let empty = match known {
            Ok(()) => {
                // It may not have been listed, and what Linux cannot show counts, too.
                let marker = format!("{}{MARKER}", ends.to);
                let rows = Below::all(self, &ends.to).short(3).page().await?;
                let rows = rows.unwrap_or_default();
                if ends.replaced.is_none() && !rows.is_empty() {
                    // Somebody else has made it.
                    self.shows_again(&mut self.tree(), ends.new_parent, &ends.new_name);
                    if ends.noreplace {
                        return Err(Error::Exists);
                    }
                }
                let mut names = rows.iter().map(|row| row.name.as_str());
                names.all(|name| name == ends.to || name == marker)
            }
            Err(Error::NotEmpty) => false,
            Err(error) => return Err(error),
        };
        if empty {
            return Ok(new);
        }
        let number = self.cut_off(ends).await?.ok_or(Error::NotEmpty)?;
        log::info!(
            "{:?}: goes on with the rename from {:?} that was cut off",
            self.within(&ends.to),
            self.within(&ends.from)
        );
        Ok(Move {
            ends,
            number,
            resumed: true,
        })
    }

    /// The number of a rename between the two names that was cut off: everything below the new one is a copy that it has
    /// made, and what is still below the old one is what it was made of.
    async fn cut_off(&self, ends: &Ends) -> Result<Option<u32>, Error> {
        let mut number = None;
        let mut others = 0_u64;
        let mut found = HashMap::new();
        let mut copies = Below::all(self, &ends.to);
        while let Some(rows) = copies.page().await? {
            for row in &rows {
                match Stamp::of(&row.info).moved {
                    Some(moved) if number.is_none_or(|number| number == moved.rename) => {
                        number = Some(moved.rename);
                        if found.len() < PAGE as usize {
                            found.insert(row.name.as_str()[ends.to.len()..].to_owned(), moved.from);
                        }
                    }
                    _ => others += 1,
                }
            }
        }
        let sources = Below::all(self, &ends.from).page().await?;
        let same = |row: &FileVersion| {
            let from = found.get(&row.name.as_str()[ends.from.len()..]);
            from.is_some() && from.copied() == row.id.as_ref().map(mark)
        };
        if !sources.unwrap_or_default().iter().any(same) {
            return Ok(None);
        }
        if others > 0 {
            warn!(
                "a rename of {from:?} to {to:?} was cut off, and {others} files below {to:?} are not its copies; put them \
                 elsewhere and do `mv -T {from} {to}` again, or join both: rsync -a --remove-source-files {from} {to}",
                from = self.within(&ends.from),
                to = self.within(&ends.to),
            );
            return Ok(None);
        }
        Ok(number)
    }

    /// Files that are not in B2 yet, and markers, need names that B2 can hold, too.
    fn names_fit(&self, ends: &Ends) -> Result<(), Error> {
        let tree = self.tree();
        for ino in tree.subtree(ends.ino) {
            let node = tree.get(ino)?;
            let Some(path) = tree.path(ino).filter(|_| node.local()) else {
                continue;
            };
            let marker = if node.dir().is_some() { MARKER } else { "" };
            let old = format!("{}{marker}", self.full(&path));
            let new = format!("{}{}", ends.to, &old[ends.from.len()..]);
            let none = FileInfo::new();
            name::check_renamed(&old, &new, node.carried_info().unwrap_or(&none))?;
        }
        Ok(())
    }

    /// Unsent changes of stored files go up before they are copied; files that are not in B2 yet
    /// need nothing, for they will be stored under their new name.
    async fn store_below(&self, ends: &Ends) -> Result<(), Error> {
        let dirty: Vec<(Ino, String)> = {
            let tree = self.tree();
            tree.subtree(ends.ino)
                .into_iter()
                .filter(|ino| {
                    tree.get(*ino).is_ok_and(|node| {
                        let object = node.object();
                        let known = |object: &crate::vfs::names::node::Object| {
                            object.state.leaves() != crate::vfs::state::Leaves::Nothing
                        };
                        node.content_dirty() && object.is_some_and(known)
                    })
                })
                .filter_map(|ino| Some((ino, self.full(&tree.path(ino)?))))
                .collect()
        };
        stream::iter(dirty)
            .map(Ok)
            .try_for_each_concurrent(self.settings().parallel, |(ino, full)| async move {
                self.commit_content_at(ino, &full, Why::Provisional).await
            })
            .await
    }

    async fn remove_replaced_marker(&self, replaced: Ino, full: &str) -> Result<(), Error> {
        let marker = {
            let tree = self.tree();
            tree.dir(replaced)?.marker.stored().cloned()
        };
        let Some(marker) = marker else { return Ok(()) };
        let name = format!("{full}{MARKER}");
        if marker.ours {
            return match self.remove_own(&name, &marker.id, &[], Hurry::Yes).await {
                Err(Error::Stale) => Ok(()), // somebody else has made one
                other => other,
            };
        }
        let leaving = Outgoing {
            believed: Some(marker.id),
            ..Outgoing::default()
        };
        self.hide(&name, &leaving, Hurry::No).await.map(drop)
    }

    /// Points every known file below the directory to its copy.
    fn rebase(
        &self,
        ends: &Ends,
        resumed: bool,
        mut copied: HashMap<String, Copied>,
    ) -> Result<Rebased, Error> {
        let mut rebased = Rebased::default();
        let mut stale = Vec::new();
        let mut tree = self.tree();
        for ino in tree.subtree(ends.ino) {
            tree.touch(ino);
            let Some(path) = tree.path(ino) else { continue };
            let full = self.full(&path);
            let node = tree.get_mut(ino)?;
            if let Some(dir) = node.dir_mut() {
                let marker = copied.remove(&format!("{full}{MARKER}"));
                let Some(Copied {
                    source,
                    copy: CopyOf::Other(copy),
                }) = marker.or_else(|| copied.remove(&full))
                else {
                    continue;
                };
                let known = match &mut dir.marker {
                    Marker::Stored(object) => Some(object),
                    Marker::Wanted { old, .. } => old.as_mut(),
                    Marker::Absent | Marker::Uncertain => None,
                };
                match (known, copy.id.clone()) {
                    (Some(object), Some(id)) if object.id == source => {
                        let ours = copy.name.as_str().ends_with(MARKER);
                        *object = MarkerObject {
                            id,
                            ours,
                            uploaded_ms: copy.uploaded_ms,
                        };
                    }
                    _ => rebased.others.push((ino, copy)),
                }
                continue;
            }
            let Some(object) = node.object_mut() else {
                continue;
            };
            let Some(old) = object.state.stored().cloned() else {
                // Not stored yet, and nothing lies under its name.
                continue;
            };
            let Some(Copied { source, copy }) = copied.remove(&full) else {
                stale.push(ino); // listed, or removed by somebody else, meanwhile
                continue;
            };
            let stored = match copy {
                CopyOf::Shown(stored) => Some(stored).filter(|_| source == old.id),
                // Another client's version was copied.
                CopyOf::Other(copy) if source != old.id => {
                    rebased.others.push((ino, copy));
                    continue;
                }
                CopyOf::Other(copy) => Stored::of(&copy, Maker::Other),
            };
            let Some(mut stored) = stored else {
                stale.push(ino);
                continue;
            };
            stored.learn(old.sha1());
            self.note_age(&mut stored, &old);
            self.shared.io.note_own(&stored.id);
            if let Some(content) = &object.content {
                content.same_content(&old.id, &stored.version());
            }
            object.state.renamed_to(stored);
            if old.ours() {
                rebased.own.insert(old.id.clone(), old);
            }
        }
        for ino in stale {
            tree.distrust(ino);
        }
        if resumed {
            // What an earlier try has moved is not known here.
            for ino in tree.subtree(ends.ino) {
                if let Ok(dir) = tree.dir_mut(ino) {
                    dir.forget_listing();
                }
            }
        }
        Ok(rebased)
    }

    /// Where another client's version was copied, it is what the new name shows. What has unsent bytes keeps its name:
    /// its next version covers the other one, and the log says so.
    fn take_others(&self, others: Vec<(Ino, Box<FileVersion>)>) {
        let mut tree = self.tree();
        for (ino, copy) in others {
            let Ok(node) = tree.get(ino) else { continue };
            if node.dir().is_some() {
                self.apply_marker(&mut tree, ino, &copy);
            } else if !node.local() {
                self.replace_version(&mut tree, ino, &copy);
            }
        }
    }

    /// A renamed directory without anything in B2 still has to exist there.
    fn keep_alive(&self, ino: Ino) {
        let mut tree = self.tree();
        for ino in tree.subtree(ino) {
            let Ok(node) = tree.get(ino) else { continue };
            if node.pending() {
                let delay = self.attributes_delay(node.content_dirty());
                tree.note_pending(ino);
                self.shared.queue.push(ino, delay, Urgency::Idle);
            }
        }
    }
}
