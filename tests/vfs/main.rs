//! The filesystem's core without a mount: what it does to the bucket, counted and compared exactly.

#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use b2fuse::b2::{self, Action, Client, ListVersions, NewFile, Payload, Secret};
use b2fuse::emulator::{self, Seed, Server};
use b2fuse::io::{self, Io};
use b2fuse::vfs::{
    Attr, Delete, Entry, Error, Fh, FileKind, HardLinks, HashFiles, Ino, Names, NewNode, Overwrite,
    Permissions, SetAttr, Settings, Undone, Vfs,
};
use bytes::Bytes;

mod attributes;
mod background_renames;
mod closing;
mod content_type;
#[path = "two_writers/created.rs"]
mod created;
mod customer_keys;
#[path = "two_writers/directory_renames.rs"]
mod directory_renames;
#[path = "two_writers/displaced.rs"]
mod displaced;
mod encoded_names;
mod entries;
#[path = "two_writers/file_renames.rs"]
mod file_renames;
mod folder_times;
#[path = "two_writers/following.rs"]
mod following;
mod foreign_info;
mod growing;
mod hashfiles;
mod history;
mod holes;
mod in_flight;
mod keeping;
mod lagging;
mod late_lists;
mod listing;
#[path = "two_writers/long_copies.rs"]
mod long_copies;
#[path = "names.rs"]
mod named;
mod one_name;
mod outgoing;
mod refused_removals;
mod removing;
mod renaming;
mod replaced;
mod streaming;
mod succession;
mod times;
mod two_writers;
mod unknown_outcomes;
mod unseen;
mod walking;
mod warnings;
mod write_back;
mod xattr;

const RDONLY: i32 = libc::O_RDONLY;
const RDWR: i32 = libc::O_RDWR;
const MB: u64 = 1_000_000;

fn server() -> Server {
    Server::start(emulator::Options::default()).unwrap()
}

async fn client(server: &Server) -> Client {
    Client::connect(b2::Options {
        endpoint: server.endpoint(),
        key_id: server.key_id().to_owned(),
        key: Secret::new(server.key()),
        bucket_id: None,
        bucket_name: Some(server.bucket_name().to_owned()),
        timeout: Duration::from_secs(20),
        uploads: 8,
        downloads: 8,
        ..b2::Options::default()
    })
    .await
    .unwrap()
}

fn settings() -> Settings {
    Settings {
        prefix: String::new(),
        metadata_ttl: Duration::from_secs(600),
        delete: Delete::Hide,
        overwrite: Overwrite::Keep,
        drop_versions_within: Duration::ZERO,
        quota: None,
        read_only: false,
        uid: 0,
        gid: 0,
        umask: 0o022,
        permissions: Permissions::Keep,
        hard_links: HardLinks::Refuse,
        names: Names::Refuse,
        hash_files: HashFiles::Unlisted,
        parallel: 8,
        names_max: 1_000_000,
        write_back: None,
        store_open: None,
        timeout: Duration::from_secs(20),
    }
}

/// Every answer is asked from B2 again, and removals are waited for.
fn without_memory() -> Settings {
    Settings {
        metadata_ttl: Duration::ZERO,
        ..settings()
    }
}

/// Objects of three bytes.
fn seed(server: &Server, names: impl Iterator<Item = String>) {
    let seeds: Vec<Seed> = names
        .map(|name| Seed {
            name,
            size: 3,
            ..Seed::default()
        })
        .collect();
    server.seed(server.bucket_name(), &seeds).unwrap();
}

async fn mount(server: &Server, settings: Settings) -> Vfs {
    mount_within(server, settings, 64 << 20).await.0
}

/// With this much memory.
async fn mount_within(server: &Server, settings: Settings, memory: u64) -> (Vfs, Io) {
    mount_by(client(server).await, settings, memory).await
}

async fn mount_by(client: Client, settings: Settings, memory: u64) -> (Vfs, Io) {
    let io = Io::new(
        client.clone(),
        io::Settings {
            memory,
            large_file: 16 << 20,
            part_size: 6 << 20,
            uploads: 4,
            downloads: 4,
            verify_reads: true,
            timeout: Duration::from_secs(20),
        },
    );
    let vfs = Vfs::new(client, io.clone(), settings).await.unwrap();
    (vfs, io)
}

fn new(kind: FileKind) -> NewNode {
    NewNode {
        kind,
        mode: if kind == FileKind::Directory {
            0o755
        } else {
            0o644
        },
        uid: 0,
        gid: 0,
        rdev: 0,
    }
}

fn os(name: &str) -> &OsStr {
    OsStr::new(name)
}

async fn create(vfs: &Vfs, parent: Ino, name: &str) -> (Attr, Fh) {
    let (entry, opened) = vfs
        .create(parent, os(name), new(FileKind::File), RDWR | libc::O_EXCL)
        .await
        .unwrap();
    (entry.attr, opened.fh)
}

async fn put(vfs: &Vfs, parent: Ino, name: &str, content: &[u8]) -> Ino {
    let (attr, fh) = create(vfs, parent, name).await;
    vfs.write(fh, 0, Bytes::copy_from_slice(content))
        .await
        .unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    attr.ino
}

async fn get(vfs: &Vfs, parent: Ino, name: &str) -> Result<Vec<u8>, Error> {
    let mut opened = Err(Error::Stale);
    // As the kernel does: what is stale is looked up once more.
    for _ in 0..2 {
        if matches!(opened, Err(Error::Stale)) {
            let entry = vfs.lookup(parent, os(name)).await?;
            opened = vfs.open(entry.attr.ino, RDONLY).await;
        }
    }
    let opened = opened?;
    let bytes = read_all(vfs, opened.fh).await;
    vfs.release(opened.fh);
    bytes
}

async fn read_all(vfs: &Vfs, fh: Fh) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        let pieces = vfs.read(fh, all.len() as u64, 1 << 20).await?;
        if pieces.is_empty() {
            return Ok(all);
        }
        for piece in pieces {
            all.extend_from_slice(&piece);
        }
    }
}

async fn mkdir(vfs: &Vfs, parent: Ino, name: &str) -> Ino {
    let entry = vfs
        .mkdir(parent, os(name), new(FileKind::Directory))
        .await
        .unwrap();
    entry.attr.ino
}

async fn names(vfs: &Vfs, dir: Ino) -> Vec<String> {
    let fh = vfs.opendir(dir).await.unwrap();
    let mut names = Vec::new();
    let mut offset = 0;
    while let Some(more) = helping(vfs, fh, offset, &mut names).await {
        offset = more;
    }
    vfs.releasedir(fh);
    names.retain(|name| name != "." && name != "..");
    names
}

/// The entries at hand from `offset` on; the offset after them, `None` at the end.
async fn helping(vfs: &Vfs, fh: Fh, offset: u64, names: &mut Vec<String>) -> Option<u64> {
    let mut next = None;
    let mut at = Some(offset);
    while let Some(offset) = at {
        vfs.readdir_fill(fh, offset).await.unwrap();
        at = vfs
            .readdir_emit(fh, offset, false, &mut |entry, _: Option<Entry>| {
                names.push(String::from_utf8_lossy(&entry.name).into_owned());
                next = Some(entry.next);
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    next
}

/// Every version in the bucket, as `name action`, in B2's order.
async fn versions(server: &Server) -> Vec<String> {
    let request = ListVersions {
        max: 1000,
        ..ListVersions::default()
    };
    let page = client(server)
        .await
        .list_file_versions(&request)
        .await
        .unwrap();
    assert!(page.next.is_none());
    page.files
        .iter()
        .map(|row| {
            let action = match &row.action {
                Action::Upload => "upload",
                Action::Hide => "hide",
                other => panic!("unexpected {other:?}"),
            };
            format!("{} {action}", row.name)
        })
        .collect()
}

async fn upload(client: &Client, name: &str, content: &[u8]) {
    let file = NewFile {
        name: b2::FileName::new(name).unwrap(),
        content_type: "b2/x-auto".to_owned(),
        info: b2::FileInfo::new(),
    };
    let body = Payload::from(Bytes::copy_from_slice(content));
    client.upload_file(&file, body).await.unwrap();
}

fn calls(server: &Server, name: &str) -> u64 {
    server.counters().calls.get(name).copied().unwrap_or(0)
}

fn at(seconds: u64) -> SetAttr {
    SetAttr {
        mtime: Some(Some(UNIX_EPOCH + Duration::from_secs(seconds))),
        ..SetAttr::default()
    }
}
