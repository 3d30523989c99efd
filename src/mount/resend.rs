//! `b2fuse rescue DIR`: sends what a mount could not.
//!
//! Each entry becomes a content again, of bytes from the disk and of ranges that B2 has, and is stored as any other. What
//! was sent leaves the directory; each carries the number that it was given when it was written, so that a run that was
//! cut off sends nothing twice. A version that others have put under the name meanwhile stays, below.

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use super::{Options, Outcome, Signals, connect};
use crate::b2::{
    Action, Client, ErrorKind, FileId, FileInfo, FileName, FileVersion, Hasher, ListVersions,
    NewFile, Sha1,
};
use crate::io::{Content, CopyError, Covered, Io, Stamp, Version};
use crate::rescue::{Entry, Kept, Piece, Place, Source};

mod large;
mod renamed;

/// Memory beside what is sent.
const ROOM: u64 = 64 << 20;
/// Bytes read from the disk at once.
const STRIDE: u64 = 1 << 20;

/// Sends everything in the directory; says on stderr what happens.
pub fn resend(options: Options, dir: &Path) -> anyhow::Result<Outcome> {
    let place = Place::open(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("b2fuse")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(options, place));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// What is needed to send an entry.
struct Sender<'a> {
    client: Client,
    io: Io,
    place: &'a Place,
    /// Mebibytes that contents may still take.
    room: Semaphore,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// B2 has it.
    Stored,
    /// B2 had it already.
    Already,
    /// There is nothing that it could be applied to.
    Pointless,
}

/// Bytes of an entry that are in the directory.
fn unsent(entry: &Entry) -> u64 {
    let Kept::Content { pieces, .. } = &entry.kept else {
        return 0;
    };
    let data = pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::Data(_)));
    data.map(Piece::len).sum()
}

fn mebibytes(bytes: u64) -> usize {
    usize::try_from(bytes >> 20)
        .unwrap_or(Semaphore::MAX_PERMITS)
        .min(Semaphore::MAX_PERMITS)
}

async fn run(mut options: Options, mut place: Place) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    let bucket = place.list.bucket.clone();
    if options.b2.bucket_id.is_none() && options.b2.bucket_name.is_none() {
        options.b2.bucket_name = Some(bucket.clone());
    }
    let client = connect::connect(&mut options).await?;
    let account = client.account();
    if account.bucket_name != bucket {
        bail!(
            "{} belongs to the bucket {bucket}, the configuration names {}: write bucketName: {bucket}",
            place.dir().display(),
            account.bucket_name
        );
    }
    if !account.may("writeFiles") {
        bail!("the key may not write: make one with writeFiles");
    }
    let entries = place.list.entries.clone();
    // The mount that has kept it may have had more memory than this one is told to use.
    let largest = entries.iter().map(unsent).max().unwrap_or(0);
    options.io.memory = options.io.memory.max(2 * largest + ROOM);
    let room = options.io.memory / 2;
    let io = Io::new(client.clone(), options.io.clone());
    let mut done: HashSet<usize> = HashSet::new();
    let mut failed = 0;
    let mut stopped = None;
    {
        let sender = Sender {
            client,
            io: io.clone(),
            place: &place,
            // As many at once as fit into memory: none of them gives any back before it is stored.
            room: Semaphore::new(mebibytes(room)),
        };
        let sender = &sender;
        let mut work = stream::iter(entries.iter().enumerate())
            .map(|(number, entry)| async move { (number, entry, sender.send(entry).await) })
            .buffer_unordered(options.vfs.parallel.clamp(1, 8));
        loop {
            let next = tokio::select! {
                next = work.next() => next,
                name = signals.next() => {
                    stopped = Some(name);
                    break;
                }
            };
            let Some((number, entry, result)) = next else {
                break;
            };
            match result {
                Ok(sent) => {
                    match sent {
                        Sent::Stored => log::info!("stored: {}", entry.name),
                        Sent::Already => log::info!("already stored: {}", entry.name),
                        Sent::Pointless => {}
                    }
                    done.insert(number);
                }
                Err(fault) => {
                    failed += 1;
                    log::error!("not stored: {}: {fault:#}", entry.name);
                }
            }
        }
    }
    io.settled().await;
    finish(&mut place, &done)?;
    let left = place.list.entries.len();
    if left == 0 {
        let dir = place.dir().to_owned();
        place
            .remove()
            .with_context(|| format!("{} is sent, but cannot be removed", dir.display()))?;
        log::info!("everything is stored, {} is removed", dir.display());
        return Ok(Outcome::Stored);
    }
    if let Some(name) = stopped {
        log::error!("{name}: stopped");
    }
    log::error!(
        "{left} left in {} ({failed} of them failed): once the cause is mended, again: b2fuse rescue {}",
        place.dir().display(),
        place.dir().display()
    );
    Ok(Outcome::NotStored)
}

/// Takes out what was sent.
fn finish(place: &mut Place, done: &HashSet<usize>) -> anyhow::Result<()> {
    let entries = std::mem::take(&mut place.list.entries);
    for (number, entry) in entries.into_iter().enumerate() {
        match entry.kept {
            Kept::Content {
                file: Some(file), ..
            } if done.contains(&number) => place.give_up(file),
            _ if done.contains(&number) => {}
            _ => place.list.entries.push(entry),
        }
    }
    let dir = place.dir().display().to_string();
    place
        .save()
        .with_context(|| format!("what was sent cannot be taken out of {dir}"))
}

impl Sender<'_> {
    async fn send(&self, entry: &Entry) -> anyhow::Result<Sent> {
        let sent = self.store(entry).await?;
        if let (Some(renamed), Sent::Stored | Sent::Already) = (&entry.renamed, sent) {
            self.old_name_goes(entry, renamed).await?;
        }
        Ok(sent)
    }

    async fn store(&self, entry: &Entry) -> anyhow::Result<Sent> {
        if let Kept::Nothing(why) = &entry.kept {
            bail!(
                "its content was lost: {why} (remove its entry from list.json, or the directory)"
            );
        }
        let target = NewFile {
            name: FileName::new(&entry.name).map_err(|fault| anyhow!("its name: {fault}"))?,
            content_type: entry.content_type.clone(),
            info: entry.info.clone(),
        };
        let versions = self.versions(&target.name).await?;
        let nonce = Stamp::of(&entry.info).nonce;
        let is_ours = |row: &FileVersion| {
            nonce.is_some() && row.action == Action::Upload && Stamp::of(&row.info).nonce == nonce
        };
        if versions.iter().any(is_ours) {
            return Ok(Sent::Already);
        }
        let newest = versions.first();
        // The try that was under way when it was written may have worked.
        if newest.is_some_and(|newest| is_same(entry, newest)) {
            return Ok(Sent::Already);
        }
        let need = (mebibytes(unsent(entry)) + 1)
            .try_into()
            .unwrap_or(u32::MAX);
        let _room = self.room.acquire_many(need).await.context("no room")?;
        let shown = newest
            .filter(|row| row.action == Action::Upload)
            .and_then(|row| row.id.as_ref())
            .map(ToString::to_string);
        let sent = match &entry.kept {
            Kept::Attributes => match &entry.renamed {
                Some(renamed) => self.copy_renamed(renamed, &target).await?,
                None => return self.attributes(entry, &target, newest, shown).await,
            },
            Kept::Content {
                file,
                sha1,
                pieces,
                unfinished,
            } => {
                let bytes = self.bytes(file.as_deref(), sha1, pieces).await?;
                let is_sent = |piece: &Piece| matches!(piece, Piece::Sent(_));
                match unfinished {
                    Some(unfinished) if pieces.iter().any(is_sent) => {
                        if let Some(version) = self.finished(unfinished).await? {
                            // Something may have been changed after its end.
                            let pieces = of_version(pieces, &version, &unfinished.id);
                            let content = self.content(&pieces, bytes.as_ref()).await?;
                            content.commit(&target).await?;
                            self.withdraw(&version, &target).await;
                        } else {
                            self.go_on(entry, &target, unfinished, pieces, bytes.as_ref())
                                .await?;
                        }
                    }
                    unfinished => {
                        let content = self.content(pieces, bytes.as_ref()).await?;
                        content.commit(&target).await?;
                        if let Some(unfinished) = unfinished {
                            // Nothing of it is needed; an answer that it is no unfinished file is as good.
                            let id = FileId::new(&unfinished.id);
                            let _ = self.client.cancel_large_file(&id).await;
                        }
                    }
                }
                Sent::Stored
            }
            Kept::Nothing(_) => Sent::Pointless,
        };
        if sent == Sent::Stored && shown.is_some() && shown != entry.base {
            log::warn!(
                "{}: another version ({}) was stored meanwhile; both are kept, the rescued one shows",
                entry.name,
                shown.unwrap_or_default()
            );
        }
        Ok(sent)
    }

    /// The versions of a name, the newest first; hide markers, too.
    async fn versions(&self, name: &FileName) -> anyhow::Result<Vec<FileVersion>> {
        /// More were hardly made since.
        const LOOK: u32 = 100;
        /// Pages may be short, or empty.
        const PAGES: u32 = 10;
        let mut found = Vec::new();
        let mut start = None;
        for _ in 0..PAGES {
            let page = self
                .client
                .list_file_versions(&ListVersions {
                    prefix: name.as_str().to_owned(),
                    start: start.take(),
                    delimiter: false,
                    max: LOOK,
                })
                .await?;
            let rows = page.files.into_iter();
            found.extend(rows.filter(|row| row.name == *name && row.action != Action::Start));
            start = page.next.filter(|(next, _)| next == name.as_str());
            if start.is_none() || found.len() >= LOOK as usize {
                break;
            }
        }
        Ok(found)
    }

    /// Attributes go to the version that they were given to, and to no other.
    async fn attributes(
        &self,
        entry: &Entry,
        target: &NewFile,
        newest: Option<&FileVersion>,
        shown: Option<String>,
    ) -> anyhow::Result<Sent> {
        let Some(newest) = newest.filter(|_| shown.is_some() && shown == entry.base) else {
            log::warn!(
                "{}: its new attributes are not stored, the file was changed or removed meanwhile",
                entry.name
            );
            return Ok(Sent::Pointless);
        };
        let version = Version {
            id: newest.id.clone().context("B2 told no id")?,
            size: newest.size,
            sha1: newest.whole_sha1(),
        };
        self.io.copy(&version, target, Covered::GiveWay).await?;
        Ok(Sent::Stored)
    }

    /// Opens the file, after all of its bytes were compared with what was written.
    async fn bytes(
        &self,
        file: Option<&str>,
        sha1: &str,
        pieces: &[Piece],
    ) -> anyhow::Result<Option<Arc<std::fs::File>>> {
        let Some(name) = file else {
            if pieces.iter().any(|piece| matches!(piece, Piece::Data(_))) {
                bail!("the list names no file with its bytes");
            }
            return Ok(None);
        };
        let file = Arc::new(self.place.file(name)?);
        let mut hash = Hasher::new();
        let mut at = 0;
        for piece in pieces {
            let end = at + piece.len();
            if let Piece::Data(_) = piece {
                while at < end {
                    let part = read(&file, at, STRIDE.min(end - at)).await?;
                    hash.update(&part);
                    at += part.len() as u64;
                }
            }
            at = end;
        }
        let found = hash.finish().to_string();
        if found != sha1 {
            bail!("{name} does not have the SHA-1 that the list tells: the file was changed");
        }
        Ok(Some(file))
    }

    /// The content that the pieces are.
    async fn content(
        &self,
        pieces: &[Piece],
        file: Option<&Arc<std::fs::File>>,
    ) -> anyhow::Result<Arc<Content>> {
        let content = self.io.empty();
        let mut at = 0;
        for piece in pieces {
            let end = at + piece.len();
            match piece {
                Piece::Data(_) => {
                    let file = file.context("the list names no file with its bytes")?;
                    while at < end {
                        let part = read(file, at, STRIDE.min(end - at)).await?;
                        let len = part.len() as u64;
                        content.write(at, part).await?;
                        at += len;
                    }
                }
                Piece::Zero(_) => {
                    content.zero(at..end, true).await?;
                }
                Piece::Stored(source) => self.copy(&content, at, source).await?,
                Piece::Sent(_) => bail!("the list names no large file that has its bytes"),
            }
            at = end;
        }
        Ok(content)
    }

    async fn copy(&self, content: &Arc<Content>, at: u64, source: &Source) -> anyhow::Result<()> {
        if source
            .from
            .checked_add(source.len)
            .is_none_or(|end| end > source.size)
        {
            bail!(
                "the list names bytes behind the end of version {}",
                source.id
            );
        }
        let id = FileId::new(&source.id);
        // Its absence would else be told late, and by its id only.
        if let Err(fault) = self.client.get_file_info(&id).await {
            if fault.kind == ErrorKind::NotFound {
                bail!(
                    "version {id}, which it changes, is gone from the bucket: what was changed is in the rescue directory"
                );
            }
            return Err(fault.into());
        }
        let version = Version {
            id,
            size: source.size,
            sha1: source.sha1.as_deref().and_then(Sha1::from_hex),
        };
        let from = self.io.stored(version);
        let copied = content.copy_from(&from, source.from, at, source.len).await;
        match copied {
            Ok(copied) if copied == source.len => Ok(()),
            Ok(_) => bail!("version {} is shorter than the list tells", source.id),
            Err(CopyError::Source(fault) | CopyError::Target(fault)) => Err(fault.into()),
        }
    }
}

/// The pieces, with what was sent to a large file as bytes of the version that it has become.
fn of_version(pieces: &[Piece], version: &FileVersion, id: &str) -> Vec<Piece> {
    let mut at = 0;
    let pieces = pieces.iter().map(|piece| {
        let from = at;
        at += piece.len();
        match piece {
            Piece::Sent(len) => Piece::Stored(Source {
                id: id.to_owned(),
                size: version.size,
                sha1: None,
                from,
                len: *len,
            }),
            other => other.clone(),
        }
    });
    pieces.collect()
}

/// What lasts of an info: the time of some write is as good as that of the last, and the stamp is each version's own.
fn lasting(info: &FileInfo) -> FileInfo {
    const FLEETING: [&str; 3] = ["src_last_modified_millis", Stamp::KEY, "large_file_sha1"];
    let mut info = info.clone();
    info.retain(|key, _| !FLEETING.contains(&key.as_str()));
    info
}

/// Whether a version is what the entry would make.
fn is_same(entry: &Entry, version: &FileVersion) -> bool {
    let Kept::Content { sha1, pieces, .. } = &entry.kept else {
        return false;
    };
    let time = "src_last_modified_millis";
    matches!(pieces.as_slice(), [Piece::Data(len)] if *len == version.size)
        && version.action == Action::Upload
        && version
            .whole_sha1()
            .is_some_and(|known| known.to_string() == *sha1)
        && version.info.get(time) == entry.info.get(time)
        && lasting(&version.info) == lasting(&entry.info)
}

/// Bytes of a file, all of them.
async fn read(file: &Arc<std::fs::File>, at: u64, len: u64) -> anyhow::Result<Bytes> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, at)?;
        std::io::Result::Ok(Bytes::from(bytes))
    });
    let bytes = read.await.context("a read ended in a fault")?;
    bytes.context("the rescued file cannot be read")
}
