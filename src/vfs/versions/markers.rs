//! Markers: the objects that keep empty directories, and those with attributes of their own, in B2 (DESIGN §3).

use std::time::Duration;

use crate::b2::{Action, ListNames, NewFile, Payload};
use crate::io::Stamp;
use crate::vfs::ask::look::Hurry;
use crate::vfs::attr::{self, Meta, Nanos};
use crate::vfs::names::name::{self, MARKER};
use crate::vfs::names::node::{Marker, MarkerObject, Need};
use crate::vfs::names::tree::Tree;
use crate::vfs::pathlock::Claim;
use crate::vfs::queue::{Queue, Urgency};
use crate::vfs::versions::commit::UNKNOWN_TYPE;
use crate::vfs::versions::removal::Outgoing;
use crate::vfs::{Delete, Error, Ino, Vfs};

/// How long a moved time of a directory waits for more.
const TIME_QUIET: Duration = Duration::from_secs(60);

impl Vfs {
    /// Writes a directory's marker where it has to have one.
    pub(in crate::vfs) async fn commit_marker(&self, ino: Ino) -> Result<(), Error> {
        if self.tree().dir(ino)?.marker.need() == Some(Need::Time) {
            // Nobody has asked for a new marker: it must not undo what another client has put into it.
            self.look_at_marker(ino).await?;
        }
        let Some((full, _)) = self.wanted_marker(ino)? else {
            return Ok(());
        };
        let claims = vec![Claim::name(full.clone())];
        let _guard = self.shared.paths.lock(claims).await;
        let (file, stored_meta, made) = loop {
            let Some((now, file)) = self.wanted_marker(ino)? else {
                return Ok(());
            };
            if now != full {
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
                return Ok(());
            }
            let stored_meta = self.tree().get(ino)?.meta;
            let upload = self.shared.client.upload_file(&file, Payload::default());
            match upload.await {
                Ok(made) => break (file, stored_meta, made),
                Err(error) if self.gave_up_for(ino, &file.info, &error) => {}
                Err(error) => {
                    if error.lost.is_some()
                        && let Ok(dir) = self.tree().dir_mut(ino)
                    {
                        dir.marker.outcome_unknown();
                    }
                    return Err(error.into());
                }
            }
        };
        let old = {
            let mut tree = self.tree();
            tree.touch(ino);
            let node = tree.get_mut(ino)?;
            node.failed = None;
            let timeless = Meta {
                mtime: stored_meta.mtime,
                ..node.meta
            };
            let moved = node.meta.mtime != stored_meta.mtime;
            let changed = !timeless.stored_alike(&stored_meta);
            let info = node.carried_info().cloned().unwrap_or_default();
            let settings = self.settings();
            let newer = changed
                || attr::carried_info(&file.info, settings) != attr::carried_info(&info, settings);
            let dir = node.dir_mut().ok_or(Error::NotDirectory)?;
            let Some(id) = made.id else {
                return Err(Error::Io("B2 made a marker without an id".to_owned()));
            };
            let old = dir.marker.stored().filter(|old| old.id != id).cloned();
            dir.marker = Marker::Stored(MarkerObject {
                id,
                ours: true,
                uploaded_ms: made.uploaded_ms,
            });
            if newer {
                dir.marker.want(Need::Attributes);
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            } else if moved {
                dir.marker.want(Need::Time);
                self.shared.queue.push(ino, TIME_QUIET, Urgency::Idle);
            } else {
                dir.attributes_stored();
            }
            old.filter(|old| old.ours)
        };
        if let Some(old) = old {
            self.delete_superseded(&full, old.id);
        }
        Ok(())
    }

    /// The marker to write; `None` when there is none to write (any more).
    pub(in crate::vfs) fn wanted_marker(
        &self,
        ino: Ino,
    ) -> Result<Option<(String, NewFile)>, Error> {
        let mut tree = self.tree();
        let Some(path) = tree.path(ino) else {
            return Ok(None);
        };
        let node = tree.get(ino)?;
        let Marker::Wanted { need, .. } = node.dir().ok_or(Error::NotDirectory)?.marker else {
            return Ok(None);
        };
        let mut info = node.meta.to_info(node.carried_info(), self.settings());
        Stamp::change(&mut info, |stamp| stamp.nonce = Some(fastrand::u64(..)));
        let children: Vec<Ino> = tree.dir(ino)?.children.values().copied().collect();
        if need == Need::Place && !children.is_empty() {
            let implied = children.iter().any(|child| {
                tree.get(*child).is_ok_and(|child| match child.object() {
                    Some(object) => object.state.stored().is_some(),
                    None => true, // has a marker of its own, or something below it
                })
            });
            if implied {
                tree.dir_mut(ino)?.marker.not_needed();
                tree.touch(ino);
            } else {
                // A file is on its way; look again when it may have arrived.
                self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            }
            return Ok(None);
        }
        let full = format!("{}{MARKER}", self.full(&path));
        let Ok(name) = name::check_full(&full) else {
            // Made by another client; B2 holds no marker for it. It goes with what is in it.
            log::warn!("{path:?}: its name is too long to be kept without a file in it");
            tree.dir_mut(ino)?.marker.not_needed();
            return Ok(None);
        };
        let file = NewFile {
            name,
            content_type: UNKNOWN_TYPE.to_owned(),
            info,
        };
        Ok(Some((full, file)))
    }

    /// The directory has just lost a child: if it is empty now, it needs a marker to live on.
    pub(in crate::vfs) fn lost_child(&self, tree: &mut Tree, ino: Ino) {
        let now = attr::now();
        let Ok(node) = tree.get_mut(ino) else { return };
        node.meta.changed(now);
        node.meta.mtime = node.meta.ctime;
        let Some(dir) = node.dir_mut() else { return };
        if dir.children.is_empty() && ino != Ino::ROOT {
            let known = dir.marker.stored().is_some();
            dir.marker.want(Need::Place);
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
            if known {
                self.check_marker_later(ino);
            }
        }
        self.store_time_later(tree, ino);
    }

    /// The directory has a new child since then. A file tells others when it came; of a directory nobody could tell later, but
    /// the marker, where there is one: none is made for that, or every copied tree would be full of them.
    pub(in crate::vfs) fn gained_child(&self, tree: &mut Tree, ino: Ino, child: Ino, at: Nanos) {
        let directory = tree.get(child).is_ok_and(|child| child.dir().is_some());
        let Ok(node) = tree.get_mut(ino) else { return };
        node.meta.entry_came(at);
        let marked = node.dir().is_some_and(|dir| dir.marker.stored().is_some());
        if directory && marked {
            self.store_time_later(tree, ino);
        }
    }

    /// A directory's time has moved by something that its entries do not tell: its marker says so, a good while later,
    /// for more may follow.
    fn store_time_later(&self, tree: &mut Tree, ino: Ino) {
        let Ok(dir) = tree.dir_mut(ino) else { return };
        // The bucket itself has no marker; and one that is to be written takes the time along, unless it is for an empty
        // directory, which this is no longer.
        let needed = match dir.marker.need() {
            None => false,
            Some(Need::Place) => dir.children.is_empty(),
            Some(_) => true,
        };
        if ino == Ino::ROOT || needed {
            return;
        }
        dir.marker.want(Need::Time);
        tree.note_pending(ino);
        self.shared.queue.push(ino, TIME_QUIET, Urgency::Idle);
    }

    /// Takes over the marker that a directory has in B2 now.
    async fn look_at_marker(&self, ino: Ino) -> Result<(), Error> {
        let _one = self.flight_lock(ino)?.lock_owned().await;
        let (flight, _under_way) = self.begin(ino)?;
        self.list_first_page(&flight).await?;
        Ok(())
    }

    /// A directory is empty but for a marker that was seen some time ago: another client may have removed it.
    fn check_marker_later(&self, ino: Ino) {
        let vfs = self.clone();
        self.delete_later(async move {
            // With the next change it is looked at again.
            if let Err(error) = vfs.check_marker(ino).await {
                log::debug!("a marker was not looked at: {error}");
            }
        });
    }

    async fn check_marker(&self, ino: Ino) -> Result<(), Error> {
        let known = |tree: &Tree| {
            let dir = tree.dir(ino).ok().filter(|dir| dir.children.is_empty())?;
            let (Marker::Stored(object)
            | Marker::Wanted {
                need: Need::Time,
                old: Some(object),
                ..
            }) = &dir.marker
            else {
                return None;
            };
            Some((self.full(&tree.path(ino)?), object.id.clone()))
        };
        let Some((dir, id)) = known(&self.tree()) else {
            return Ok(());
        };
        for marker in [format!("{dir}{MARKER}"), dir.clone()] {
            let seen = self.look(&marker, Hurry::No).await?;
            if seen
                .rows
                .first()
                .is_some_and(|row| row.action == Action::Upload)
            {
                return Ok(());
            }
        }
        let mut tree = self.tree();
        if known(&tree) == Some((dir, id)) {
            let body = tree.dir_mut(ino)?;
            body.marker = Marker::default();
            body.marker.want(Need::Place);
            tree.note_pending(ino);
            self.shared.queue.push(ino, Queue::QUIET, Urgency::Idle);
        }
        Ok(())
    }

    /// Makes sure that a directory holds nothing. What Linux cannot show counts: it would lose its directory, so
    /// the directory is not empty.
    pub(in crate::vfs) async fn must_be_empty(&self, ino: Ino) -> Result<(), Error> {
        if !self.tree().dir(ino)?.children.is_empty() {
            // Others may have emptied it since it was listed.
            self.ensure_listed(ino).await?;
            if !self.tree().dir(ino)?.children.is_empty() {
                return Err(Error::NotEmpty);
            }
        }
        Ok(())
    }

    /// Makes sure that a directory holds nothing, and removes its markers from B2.
    pub(in crate::vfs) async fn remove_directory(&self, ino: Ino, full: &str) -> Result<(), Error> {
        self.must_be_empty(ino).await?;
        let (known, marker, uncertain) = {
            let tree = self.tree();
            let dir = tree.dir(ino)?;
            let ttl = self.settings().metadata_ttl;
            let fresh = dir.listed().is_some_and(|at| at.elapsed() < ttl);
            let marker = dir.marker.stored().cloned();
            (fresh && !dir.odd, marker, dir.marker.uncertain())
        };
        match marker {
            None if known && !uncertain => {}
            Some(own) if known && own.ours && !uncertain => {
                self.remove_marker(&format!("{full}{MARKER}"), &own).await?;
            }
            marker => self.remove_listed_markers(full, marker).await?,
        }
        // A marker that was still to be written is needed no more.
        self.tree().dir_mut(ino)?.marker = Marker::Absent;
        Ok(())
    }

    /// Asks B2 what is in a directory, and removes its markers when that is all.
    pub(in crate::vfs) async fn remove_listed_markers(
        &self,
        full: &str,
        known: Option<MarkerObject>,
    ) -> Result<(), Error> {
        let marker = format!("{full}{MARKER}");
        let mut markers = Vec::new();
        let mut start = None;
        loop {
            let request = ListNames {
                prefix: full.to_owned(),
                start,
                delimiter: false,
                max: 3,
            };
            let page = self.shared.client.list_file_names(&request).await?;
            for row in page.files {
                if row.name.as_str() != full && row.name.as_str() != marker {
                    return Err(Error::NotEmpty);
                }
                markers.push(row);
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        for row in markers {
            match &known {
                Some(own) if own.ours && row.id.as_ref() == Some(&own.id) => {
                    self.remove_marker(row.name.as_str(), own).await?;
                }
                _ => {
                    let leaving = Outgoing {
                        believed: row.id.clone(),
                        ..Outgoing::default()
                    };
                    self.remove_others_marker(row.name.as_str(), &leaving)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Removes a marker of another client, or of an earlier mount, by the way that the user chose. A content that
    /// somebody has put under such a name is not what was asked to go: it stays recoverable.
    async fn remove_others_marker(&self, full: &str, leaving: &Outgoing) -> Result<(), Error> {
        if self.settings().delete == Delete::Purge {
            let seen = self.look_at_all(full, Hurry::Yes).await?;
            if seen.rows.iter().all(|row| row.size == 0) {
                return self.purge(full, leaving, Hurry::Yes).await;
            }
        }
        self.hide(full, leaving, Hurry::No).await.map(drop)
    }

    /// Removes a marker of this mount's own altogether, but nothing that lies under it.
    async fn remove_marker(&self, name: &str, own: &MarkerObject) -> Result<(), Error> {
        match self.remove_own(name, &own.id, &[], Hurry::Yes).await {
            // Somebody else has made one above it: gone it shall be, that is what was asked for.
            Err(Error::Stale) => {
                let seen = self.look(name, Hurry::Yes).await?;
                let leaving = Outgoing {
                    believed: seen.rows.first().and_then(|row| row.id.clone()),
                    ..Outgoing::default()
                };
                self.remove_others_marker(name, &leaving).await
            }
            other => other,
        }
    }
}
