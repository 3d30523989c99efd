//! The account on disk: one JSON line per change in `journal.jsonl`, contents in `content/`.
//!
//! A change is written before it is made, so a killed emulator comes back with all that it acknowledged. A last line that
//! was cut short is dropped; so are files that no line names. Each start writes the journal anew, without history.
//! All of it is for its owner only: keys are in the journal.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use crate::emulator::account::bucket::Settings;
use crate::emulator::account::change::{Change, Keeper};
use crate::emulator::account::keys::Key;
use crate::emulator::account::version::{Action, Lock, Sha1, Version};
use crate::emulator::account::{Account, Part};
use crate::emulator::content::{Blob, BlobRange, Content, Hashes, Source};
use crate::emulator::encryption::Encryption;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::rules::Info;
use crate::emulator::text::{hex, unhex};

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Account(String),
    Bucket(Settings),
    NoBucket(String),
    Key(Key),
    NoKey(String),
    Version(Box<VersionRecord>),
    NoVersion(u64),
    Part(PartRecord),
}

#[derive(Debug, Serialize, Deserialize)]
struct VersionRecord {
    number: u64,
    bucket: Arc<str>,
    name: String,
    action: Action,
    stamp: u64,
    content_type: String,
    info: Info,
    sha1: String,
    md5: Option<String>,
    encryption: Encryption,
    lock: Option<Lock>,
    pieces: Vec<PieceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartRecord {
    file: u64,
    number: u64,
    stamp: u64,
    sha1: String,
    md5: Option<String>,
    pieces: Vec<PieceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PieceRecord {
    /// Number of the blob, or variant of the pattern.
    blob: u64,
    pattern: bool,
    blob_len: u64,
    sha1: Option<String>,
    md5: Option<String>,
    start: u64,
    len: u64,
}

fn piece_records(content: &Content) -> Vec<PieceRecord> {
    let record = |piece: &BlobRange| {
        let pattern = match piece.blob.source {
            Source::Pattern(variant) => Some(variant),
            _ => None,
        };
        let hashes = piece.blob.hashes;
        PieceRecord {
            blob: pattern.unwrap_or(piece.blob.number),
            pattern: pattern.is_some(),
            blob_len: piece.blob.len,
            sha1: hashes.map(|hashes| hex(&hashes.sha1)),
            md5: hashes.and_then(|hashes| hashes.md5).map(|md5| hex(&md5)),
            start: piece.start,
            len: piece.len,
        }
    };
    content.pieces.iter().map(record).collect()
}

impl VersionRecord {
    fn of(version: &Version) -> Self {
        Self {
            number: version.number,
            bucket: version.bucket.clone(),
            name: version.name.as_ref().to_owned(),
            action: version.action,
            stamp: version.stamp,
            content_type: version.content_type.as_ref().to_owned(),
            info: version.info().clone(),
            sha1: version.sha1.text(),
            md5: version.md5.map(|md5| hex(&md5)),
            encryption: version.encryption.clone(),
            lock: version.lock.as_deref().cloned(),
            pieces: piece_records(&version.content),
        }
    }

    fn version(self, blobs: &mut Blobs) -> Option<Version> {
        let sha1 = match self.sha1.strip_prefix("unverified:") {
            Some(digest) => Sha1::Unverified(unhex(digest)?),
            None if self.sha1 == "none" => Sha1::None,
            None => Sha1::Checked(unhex(&self.sha1)?),
        };
        Some(Version {
            number: self.number,
            bucket: self.bucket,
            name: self.name.into(),
            action: self.action,
            stamp: self.stamp,
            content_type: self.content_type.into(),
            info: (!self.info.is_empty()).then(|| Box::new(self.info)),
            sha1,
            md5: self.md5.as_deref().and_then(unhex),
            encryption: self.encryption,
            lock: self.lock.map(Box::new),
            content: blobs.content(self.pieces),
        })
    }
}

impl PartRecord {
    fn of(file: u64, number: u64, part: &Part) -> Self {
        Self {
            file,
            number,
            stamp: part.stamp,
            sha1: hex(&part.hashes.sha1),
            md5: part.hashes.md5.map(|md5| hex(&md5)),
            pieces: piece_records(&part.content),
        }
    }
}

/// Blobs named so far while the journal is read.
struct Blobs<'a> {
    dir: &'a Path,
    alive: &'a Arc<()>,
    known: HashMap<(bool, u64), Weak<Blob>>,
    last: u64,
}

impl Blobs<'_> {
    fn content(&mut self, pieces: Vec<PieceRecord>) -> Content {
        let pieces = pieces.into_iter().map(|record| BlobRange {
            start: record.start,
            len: record.len,
            blob: self.blob(&record),
        });
        Content::of(pieces.collect())
    }

    fn blob(&mut self, record: &PieceRecord) -> Arc<Blob> {
        let key = (record.pattern, record.blob);
        if let Some(blob) = self.known.get(&key).and_then(Weak::upgrade) {
            return blob;
        }
        let source = if record.pattern {
            Source::Pattern(record.blob)
        } else {
            self.last = self.last.max(record.blob);
            Source::File {
                path: self.dir.join(record.blob.to_string()),
                alive: Arc::downgrade(self.alive),
            }
        };
        let hashes = record.sha1.as_deref().and_then(unhex).map(|sha1| Hashes {
            sha1,
            md5: record.md5.as_deref().and_then(unhex),
        });
        let blob = Arc::new(Blob {
            number: record.blob,
            source,
            len: record.blob_len,
            hashes,
        });
        self.known.insert(key, Arc::downgrade(&blob));
        blob
    }
}

impl Record {
    fn of(change: &Change<'_>) -> Self {
        match *change {
            Change::Bucket(settings) => Self::Bucket(settings.clone()),
            Change::NoBucket(id) => Self::NoBucket(id.to_owned()),
            Change::Key(key) => Self::Key(key.clone()),
            Change::NoKey(id) => Self::NoKey(id.to_owned()),
            Change::Version(version) => Self::Version(Box::new(VersionRecord::of(version))),
            Change::NoVersion(number) => Self::NoVersion(number),
            Change::Part { file, number, part } => Self::Part(PartRecord::of(file, number, part)),
        }
    }
}

/// Appends what changes to the file.
#[derive(Debug)]
struct Journal {
    file: File,
    /// A line may have been cut short: another one behind it would be lost with it.
    broken: bool,
    /// Held while the directory is ours.
    _lock: File,
}

impl Keeper for Journal {
    fn keep(&mut self, change: &Change<'_>) -> Result<()> {
        let mut line = serde_json::to_vec(&Record::of(change))
            .map_err(|error| ApiError::internal(&io::Error::other(error)))?;
        line.push(b'\n');
        if self.broken {
            return Err(ApiError::new(
                500,
                "internal_error",
                "the journal is broken",
            ));
        }
        self.file.write_all(&line).map_err(|error| {
            self.broken = true;
            ApiError::internal(&error)
        })
    }
}

/// An account read from a directory.
pub(super) struct Opened {
    pub(super) account: Account,
    /// The greatest number of a blob in use.
    pub(super) last_blob: u64,
}

/// Reads the account in `dir`, or begins an empty one with a new id.
pub(super) fn open(dir: &Path, new_id: String, alive: &Arc<()>) -> io::Result<Opened> {
    let content = dir.join("content");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&content)?;
    // It may be from before, when others could look into it.
    std::fs::set_permissions(&content, Permissions::from_mode(0o700))?;
    let lock = lock(dir)?;
    let path = dir.join("journal.jsonl");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut blobs = Blobs {
        dir: &content,
        alive,
        known: HashMap::new(),
        last: 0,
    };
    let mut account = Account::new(new_id);
    for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break; // cut short by a kill; nobody was told of it
        }
        let record = serde_json::from_slice(line).map_err(|error| {
            let text = format!("{}, line {}: {error}", path.display(), at + 1);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        replay(&mut account, record, &mut blobs);
    }
    let last_blob = blobs.last;
    let used = |name: &str| {
        name.parse().is_ok_and(|number: u64| {
            let blob = blobs.known.get(&(false, number));
            blob.is_some_and(|blob| blob.strong_count() > 0)
        })
    };
    for entry in std::fs::read_dir(&content)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(used) {
            std::fs::remove_file(entry.path())?;
        }
    }
    account.keep_with(rewrite(&account, &path, lock)?);
    Ok(Opened { account, last_blob })
}

/// Two emulators in one directory would remove each other's content.
fn lock(dir: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{} is in use by another emulator", dir.display()),
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn replay(account: &mut Account, record: Record, blobs: &mut Blobs<'_>) {
    // Without a keeper none of these can fail.
    let _ = match record {
        Record::Account(id) => {
            account.id = id;
            Ok(())
        }
        Record::Bucket(settings) => account.put_bucket(settings),
        Record::NoBucket(id) => account.remove_bucket(&id),
        Record::Key(key) => account.put_key(key).map(drop),
        Record::NoKey(id) => account.remove_key(&id),
        Record::Version(record) => {
            if let Some(version) = record.version(blobs) {
                account.adopt(Arc::new(version));
            }
            Ok(())
        }
        Record::NoVersion(number) => {
            account.forget(number);
            Ok(())
        }
        Record::Part(record) => {
            if let Some(sha1) = unhex(&record.sha1) {
                let part = Part {
                    stamp: record.stamp,
                    hashes: Hashes {
                        sha1,
                        md5: record.md5.as_deref().and_then(unhex),
                    },
                    content: blobs.content(record.pieces),
                };
                account.adopt_part(record.file, record.number, part);
            }
            Ok(())
        }
    };
}

/// Writes what is, without the history, beside the old journal and then in its place.
fn rewrite(account: &Account, path: &Path, lock: File) -> io::Result<Journal> {
    let fresh = path.with_extension("new");
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600) // keys are in it
        .open(&fresh)?;
    let mut out = io::BufWriter::new(file);
    let mut write = |record: &Record| -> io::Result<()> {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")
    };
    write(&Record::Account(account.id.clone()))?;
    for key in account.keys.values() {
        write(&Record::Key(Key::clone(key)))?;
    }
    for bucket in account.buckets.values() {
        write(&Record::Bucket(bucket.settings.clone()))?;
        for version in bucket.names.values().flatten() {
            write(&Record::Version(Box::new(VersionRecord::of(version))))?;
            for (number, part) in account.parts(version.number).into_iter().flatten() {
                write(&Record::Part(PartRecord::of(version.number, *number, part)))?;
            }
        }
    }
    out.flush()?;
    drop(out);
    std::fs::rename(&fresh, path)?;
    let file = File::options().append(true).open(path)?;
    Ok(Journal {
        file,
        broken: false,
        _lock: lock,
    })
}
