//! The filesystem's core without a mount: what it does to the bucket, counted and compared exactly.

#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use b2fuse::b2::{self, Action, Client, ListVersions, NewFile, Payload, Secret};
use b2fuse::emulator::{self, Seed, Server};
use b2fuse::io::{self, Io};
use b2fuse::vfs::{
    Attr, Delete, Entry, Error, Fh, FileKind, HashFiles, Ino, NewNode, Permissions, SetAttr,
    Settings, Vfs,
};
use bytes::Bytes;

#[path = "vfs/attributes.rs"]
mod attributes;
#[path = "vfs/two_writers/directory_renames.rs"]
mod directory_renames;
#[path = "vfs/two_writers/displaced.rs"]
mod displaced;
#[path = "vfs/two_writers/file_renames.rs"]
mod file_renames;
#[path = "vfs/history.rs"]
mod history;
#[path = "vfs/holes.rs"]
mod holes;
#[path = "vfs/keeping.rs"]
mod keeping;
#[path = "vfs/lagging.rs"]
mod lagging;
#[path = "vfs/late_lists.rs"]
mod late_lists;
#[path = "vfs/listing.rs"]
mod listing;
#[path = "vfs/two_writers/long_copies.rs"]
mod long_copies;
#[path = "vfs/names.rs"]
mod named;
#[path = "vfs/one_name.rs"]
mod one_name;
#[path = "vfs/removing.rs"]
mod removing;
#[path = "vfs/renaming.rs"]
mod renaming;
#[path = "vfs/two_writers.rs"]
mod two_writers;
#[path = "vfs/unknown_outcomes.rs"]
mod unknown_outcomes;
#[path = "vfs/unseen.rs"]
mod unseen;
#[path = "vfs/warnings.rs"]
mod warnings;
#[path = "vfs/write_back.rs"]
mod write_back;
#[path = "vfs/xattr.rs"]
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
    })
    .await
    .unwrap()
}

fn settings() -> Settings {
    Settings {
        prefix: String::new(),
        metadata_ttl: Duration::from_secs(600),
        delete: Delete::Hide,
        read_only: false,
        uid: 0,
        gid: 0,
        umask: 0o022,
        permissions: Permissions::Keep,
        hash_files: HashFiles::Unlisted,
        parallel: 8,
        names_max: 1_000_000,
        write_back: None,
        timeout: Duration::from_secs(20),
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
                names.push(entry.name.to_string());
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_is_there_after_a_remount() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let dir = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, dir, "f", b"hello").await;
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    assert_eq!(get(&vfs, dir, "f").await.unwrap(), b"hello");
    assert_eq!(versions(&server).await, ["d/f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mount_and_first_listing_take_one_list_call() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "a", b"1").await;
    upload(&filler, "b/c", b"2").await;
    let before = calls(&server, "b2_list_file_names");
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a", "b"]);
    vfs.lookup(Ino::ROOT, os("a")).await.unwrap();
    assert!(matches!(
        vfs.lookup(Ino::ROOT, os("absent")).await,
        Err(Error::NotFound)
    ));
    assert_eq!(calls(&server, "b2_list_file_names") - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_costs_one_upload_and_one_copy_a_file() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, ".f.html.Xy3", b"page").await;
    vfs.setattr(ino, at(1_000_000)).await.unwrap();
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    vfs.setattr(ino, mode).await.unwrap();
    vfs.rename(Ino::ROOT, os(".f.html.Xy3"), Ino::ROOT, os("f.html"), 0)
        .await
        .unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(versions(&server).await, ["f.html upload"]);
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let attr = vfs.lookup(Ino::ROOT, os("f.html")).await.unwrap().attr;
    assert_eq!(attr.mode, 0o600);
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::from_secs(1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn attribute_changes_are_merged_and_leave_no_twin() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    for seconds in 0..20 {
        vfs.setattr(ino, at(seconds)).await.unwrap();
    }
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nanoseconds_survive_a_remount() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    let exact = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    let set = SetAttr {
        mtime: Some(Some(exact)),
        ..SetAttr::default()
    };
    vfs.setattr(ino, set).await.unwrap();
    vfs.drain().await;
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let attr = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(attr.mtime, exact);
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_hides_and_never_exposes_an_older_version() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"oldest").await;
    upload(&filler, "f", b"old").await;
    let vfs = mount(&server, settings()).await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f hide", "f upload", "f upload"]);
    let fresh = mount(&server, settings()).await;
    assert!(names(&fresh, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_leaves_no_version() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"oldest").await;
    upload(&filler, "f", b"old").await;
    upload(&filler, "f2", b"another").await;
    let purge = Settings {
        delete: Delete::Purge,
        ..settings()
    };
    let vfs = mount(&server, purge).await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f2 upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_purged_while_open_is_read_to_its_end() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"still here").await;
    let purge = Settings {
        delete: Delete::Purge,
        ..settings()
    };
    let vfs = mount(&server, purge).await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"still here");
    vfs.release(fh);
    for _ in 0..200 {
        if versions(&server).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the versions were not purged after the last close");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_gets_its_marker_only_where_it_stays_empty() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let full = mkdir(&vfs, Ino::ROOT, "full").await;
    put(&vfs, full, "f", b"").await;
    mkdir(&vfs, Ino::ROOT, "empty").await;
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        versions(&server).await,
        ["empty/.bzEmpty upload", "full/f upload"]
    );
    vfs.unlink(full, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["empty", "full"]);
    let full = vfs.lookup(Ino::ROOT, os("full")).await.unwrap().attr.ino;
    assert!(names(&vfs, full).await.is_empty());
    for name in ["empty", "full"] {
        vfs.rmdir(Ino::ROOT, os(name)).await.unwrap();
    }
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_made_and_removed_at_once_leaves_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    mkdir(&vfs, Ino::ROOT, "d").await;
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert!(versions(&server).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_filled_is_not_removed() {
    for late in ["d//odd", "d/even"] {
        let server = server();
        let brief = Settings {
            metadata_ttl: Duration::from_millis(1),
            ..settings()
        };
        let vfs = mount(&server, brief).await;
        mkdir(&vfs, Ino::ROOT, "d").await;
        upload(&client(&server).await, late, b"precious").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let removed = vfs.rmdir(Ino::ROOT, os("d")).await;
        assert!(matches!(removed, Err(Error::NotEmpty)), "{removed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_file_keeps_its_version_while_others_replace_it() {
    let server = server();
    let always = Settings {
        metadata_ttl: Duration::ZERO,
        ..settings()
    };
    let vfs = mount(&server, always).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    upload(&client(&server).await, "f", b"second, longer").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"second, longer");
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"first");
    let now = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    assert_ne!(now, ino);
    vfs.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_open_keeps_its_inode_when_others_replace_it() {
    let server = server();
    let always = Settings {
        metadata_ttl: Duration::ZERO,
        ..settings()
    };
    let vfs = mount(&server, always).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"first").await;
    upload(&client(&server).await, "f", b"second").await;
    let opened = vfs.open(ino, RDONLY).await.unwrap();
    vfs.release(opened.fh);
    let attr = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!((attr.ino, attr.size), (ino, 6));
    assert_eq!(
        vfs.next_invalidation().await,
        b2fuse::vfs::Invalidation::Inode(ino)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_shadows_a_file_of_its_name_and_never_touches_it() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "a", b"file").await;
    upload(&filler, "a/b", b"below").await;
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a"]);
    let a = vfs.lookup(Ino::ROOT, os("a")).await.unwrap().attr;
    assert_eq!(a.kind, FileKind::Directory);
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("z"), 0)
        .await
        .unwrap();
    vfs.drain().await;
    assert_eq!(
        versions(&server).await,
        ["a upload", "a/b hide", "a/b upload", "z/b upload"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_takes_everything_along() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "d/x/foreign", b"1").await;
    upload(&filler, "d//odd", b"2").await;
    let vfs = mount(&server, settings()).await;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    put(&vfs, d, "own", b"3").await;
    let (_, unsent) = create(&vfs, d, "unsent").await;
    vfs.write(unsent, 0, Bytes::from_static(b"4"))
        .await
        .unwrap();
    mkdir(&vfs, d, "empty").await;
    vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    vfs.flush(unsent).await.unwrap();
    vfs.release(unsent);
    assert!(vfs.drain().await.is_empty());
    let e = vfs.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    assert_eq!(e, d);
    assert_eq!(names(&vfs, e).await, ["empty", "own", "unsent", "x"]);
    assert_eq!(
        versions(&server).await,
        [
            "d//odd hide",
            "d//odd upload",
            "d/x/foreign hide",
            "d/x/foreign upload",
            "e//odd upload",
            "e/empty/.bzEmpty upload",
            "e/own upload",
            "e/unsent upload",
            "e/x/foreign upload",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_over_a_file_keeps_the_replaced_content_as_a_version() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "a", b"new").await;
    put(&vfs, Ino::ROOT, "b", b"old").await;
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    assert_eq!(get(&vfs, Ino::ROOT, "b").await.unwrap(), b"new");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["b upload", "b upload"]);
    // The file now lies over an older version: a rename must not expose that.
    vfs.rename(Ino::ROOT, os("b"), Ino::ROOT, os("c"), 0)
        .await
        .unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["b hide", "b upload", "c upload"]);
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["c"]);
    assert_eq!(get(&fresh, Ino::ROOT, "c").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_while_it_is_written_is_stored_under_its_last_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "a").await;
    vfs.write(fh, 0, Bytes::from_static(b"one")).await.unwrap();
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    vfs.write(fh, 3, Bytes::from_static(b" two")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(versions(&server).await, ["b upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "b").await.unwrap(), b"one two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_renamed_while_open_takes_its_changes_along() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "a", b"0123456789").await;
    let ino = vfs.lookup(Ino::ROOT, os("a")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 2, Bytes::from_static(b"XX")).await.unwrap();
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    vfs.write(fh, 8, Bytes::from_static(b"YY")).await.unwrap();
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"01XX4567YY");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["b"]);
    assert_eq!(get(&fresh, Ino::ROOT, "b").await.unwrap(), b"01XX4567YY");
}

#[tokio::test(flavor = "multi_thread")]
async fn states_that_nobody_closed_leave_no_versions() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    for i in 0..5 {
        vfs.write(fh, i, Bytes::from_static(b"x")).await.unwrap();
        vfs.fsync(fh, false).await.unwrap();
    }
    vfs.write(fh, 5, Bytes::from_static(b"y")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"xxxxxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_close_keeps_the_bytes_and_stores_them_later() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"precious"))
        .await
        .unwrap();
    server.set_faults(&["b2_upload_file:403"]).unwrap();
    let closed = vfs.flush(fh).await;
    assert!(
        matches!(&closed, Err(Error::B2(error)) if error.kind == b2::ErrorKind::CapExceeded),
        "{closed:?}"
    );
    vfs.release(fh);
    assert_eq!(vfs.pending().files, 1);
    assert_eq!(vfs.unstored()[0].path, "f");
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"precious");
    assert_eq!(vfs.drain().await.len(), 1);
    server.set_faults(&[]).unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_files_tell_the_hash_of_what_is_in_memory() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(
        get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(),
        b"a9993e364706816aba3e25717850c26c9cd0d89d\n"
    );
    vfs.write(fh, 0, Bytes::from_static(b"abcd")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(
        get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(),
        b"81fe8bfe87576c3ecb22426f8e57847382917acf\n"
    );
    let renamed = vfs
        .rename(Ino::ROOT, os("f.sha1"), Ino::ROOT, os("g"), 0)
        .await;
    assert!(matches!(renamed, Err(Error::NotPermitted)));
    put(&vfs, Ino::ROOT, "g", b"real").await;
    vfs.rename(Ino::ROOT, os("g"), Ino::ROOT, os("f.sha1"), 0)
        .await
        .unwrap();
    assert_eq!(get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(), b"real");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_hash_file_gives_way_to_a_real_one_and_else_comes_back() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"abc").await;
    put(&vfs, Ino::ROOT, "g", b"abc").await;
    // As `tar x` does it: exclusive creation, unlink, exclusive creation.
    for name in ["f.sha1", "g.sha1"] {
        vfs.unlink(Ino::ROOT, os(name)).await.unwrap();
        assert!(matches!(
            vfs.lookup(Ino::ROOT, os(name)).await,
            Err(Error::NotFound)
        ));
    }
    put(&vfs, Ino::ROOT, "f.sha1", b"real").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(), b"real");
    for _ in 0..100 {
        if let Ok(text) = get(&vfs, Ino::ROOT, "g.sha1").await {
            assert_eq!(text, b"a9993e364706816aba3e25717850c26c9cd0d89d\n");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the hash file did not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_copy_of_the_descriptor_before_anything_is_written_stores_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"old").await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    // As a shell does for `echo new > f`.
    let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.flush(fh).await.unwrap();
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    vfs.write(fh, 0, Bytes::from_static(b"new")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 2);
    assert_eq!(versions(&server).await, ["f upload", "f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_only_created_is_stored_after_its_last_close() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "empty").await;
    vfs.flush(fh).await.unwrap();
    assert!(versions(&server).await.is_empty());
    vfs.setattr(attr.ino, at(1_000)).await.unwrap();
    vfs.release(fh);
    for _ in 0..100 {
        if !versions(&server).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(versions(&server).await, ["empty upload"]);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_only_created_and_still_open_is_stored_at_the_end() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "open").await;
    vfs.flush(fh).await.unwrap();
    assert_eq!(vfs.pending().files, 1);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["open upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptying_an_empty_file_stores_its_new_time() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"").await;
    vfs.setattr(ino, at(1_000)).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    let here = vfs.getattr(ino).await.unwrap().0.mtime;
    assert!(here > UNIX_EPOCH + Duration::from_secs(1_000));
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    let there = fresh.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(there.mtime, here);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_background_stores_is_never_seen_as_it_was_before() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(150),
        ..emulator::Options::default()
    })
    .unwrap();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"before"))
        .await
        .unwrap();
    vfs.fsync(fh, true).await.unwrap();
    let emptied = vfs.open(attr.ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.release(emptied);
    vfs.release(fh);
    // The upload, and then the removal of the version in between, take a round trip each.
    for _ in 0..200 {
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 0);
        let fh = vfs.open(attr.ino, RDONLY).await.unwrap().fh;
        assert_eq!(read_all(&vfs, fh).await.unwrap(), b"");
        vfs.release(fh);
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_opened_while_its_attributes_are_stored_stays_readable() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(100),
        ..emulator::Options::default()
    })
    .unwrap();
    let all_at_once = Settings {
        parallel: 24,
        ..settings()
    };
    let vfs = mount(&server, all_at_once).await;
    let puts = (0..24).map(|i| {
        let vfs = &vfs;
        async move { put(vfs, Ino::ROOT, &format!("f{i}"), b"content").await }
    });
    let files = futures_util::future::join_all(puts).await;
    for ino in &files {
        vfs.setattr(*ino, at(1_000)).await.unwrap();
    }
    let drainer = vfs.clone();
    let draining = tokio::spawn(async move { drainer.drain().await });
    // Each file is copied, and then its older version is deleted; one of them is opened at any time.
    let mut open = Vec::new();
    for ino in &files {
        open.push(vfs.open(*ino, RDONLY).await.unwrap().fh);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(draining.await.unwrap().is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 24);
    assert_eq!(calls(&server, "b2_delete_file_version"), 24);
    for fh in open {
        assert_eq!(read_all(&vfs, fh).await.unwrap(), b"content");
        vfs.release(fh);
    }
}

/// Writes to a new file until parts of it are in B2 and in no memory, and tells what it holds.
async fn stream_into(vfs: &Vfs, io: &Io, server: &Server, fh: Fh) -> Vec<u8> {
    let mut content = Vec::new();
    while calls(server, "b2_upload_part") == 0 {
        assert!(content.len() < 400 << 20, "no part ever leaves");
        let piece: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(1 << 20)
            .collect();
        let data = Bytes::copy_from_slice(&piece);
        vfs.write(fh, content.len() as u64, data).await.unwrap();
        content.extend(piece);
    }
    history::until("a part is there", async || {
        io.memory_unsent() < content.len() as u64
    })
    .await;
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_while_its_parts_leave_is_read_to_its_end() {
    for (delete, left) in [(Delete::Hide, vec!["big hide"]), (Delete::Purge, vec![])] {
        let server = server();
        let settings = Settings {
            delete,
            ..settings()
        };
        let (vfs, io) = mount_within(&server, settings, 64 << 20).await;
        let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
        let mut content = stream_into(&vfs, &io, &server, fh).await;
        vfs.unlink(Ino::ROOT, os("big")).await.unwrap();
        assert!(matches!(
            vfs.lookup(Ino::ROOT, os("big")).await,
            Err(Error::NotFound)
        ));
        assert!(read_all(&vfs, fh).await.unwrap() == content);
        let end = content.len() as u64;
        vfs.write(fh, end, Bytes::from_static(b"and on"))
            .await
            .unwrap();
        vfs.write(fh, 7, Bytes::from_static(b"over")).await.unwrap();
        content.extend(b"and on");
        content[7..11].copy_from_slice(b"over");
        vfs.flush(fh).await.unwrap();
        assert!(read_all(&vfs, fh).await.unwrap() == content);
        vfs.release(fh);
        for _ in 0..200 {
            if versions(&server).await == left {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(versions(&server).await, left);
        assert!(vfs.drain().await.is_empty());
        assert_eq!(calls(&server, "b2_start_large_file"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_while_its_parts_leave_is_read_to_its_end() {
    let server = server();
    let (vfs, io) = mount_within(&server, settings(), 64 << 20).await;
    put(&vfs, Ino::ROOT, "new", b"new").await;
    let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
    let content = stream_into(&vfs, &io, &server, fh).await;
    vfs.rename(Ino::ROOT, os("new"), Ino::ROOT, os("big"), 0)
        .await
        .unwrap();
    assert!(read_all(&vfs, fh).await.unwrap() == content);
    assert_eq!(get(&vfs, Ino::ROOT, "big").await.unwrap(), b"new");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    for _ in 0..200 {
        if versions(&server).await == ["big upload"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(versions(&server).await, ["big upload"]);
    let again = mount(&server, settings()).await;
    assert_eq!(get(&again, Ino::ROOT, "big").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_in_the_middle_of_writing_leave_no_versions_and_the_last_one_does() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    for round in 0..2 {
        let opened = vfs
            .create(Ino::ROOT, os("log"), new(FileKind::File), RDWR)
            .await
            .unwrap();
        let fh = opened.1.fh;
        // Children that inherited the descriptor end one after another.
        for i in 0..3 {
            let line = Bytes::from(format!("{round}{i}\n"));
            vfs.write(fh, i * 3, line).await.unwrap();
            vfs.flush(fh).await.unwrap();
        }
        vfs.release(fh);
    }
    assert_eq!(get(&vfs, Ino::ROOT, "log").await.unwrap(), b"10\n11\n12\n");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["log upload", "log upload"]);
}

/// Several writers, and a memory so small that they have to wait in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_several_append_at_once_is_all_there_and_whole() {
    let server = server();
    let (vfs, _io) = mount_within(&server, settings(), 12 << 20).await;
    let (ino, first) = {
        let (attr, fh) = create(&vfs, Ino::ROOT, "log").await;
        (attr.ino, fh)
    };
    let writers: Vec<_> = (0..4u8)
        .map(|who| {
            let vfs = vfs.clone();
            tokio::spawn(async move {
                let fh = vfs
                    .open(ino, libc::O_WRONLY | libc::O_APPEND)
                    .await
                    .unwrap()
                    .fh;
                for _ in 0..100 {
                    let record = Bytes::from(vec![who; 70_001]);
                    vfs.append(fh, record).await.unwrap();
                }
                vfs.release(fh);
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let content = read_all(&vfs, first).await.unwrap();
    assert_eq!(content.len(), 4 * 100 * 70_001);
    for record in content.chunks(70_001) {
        assert!(record.iter().all(|byte| *byte == record[0]));
    }
    for who in 0..4 {
        let records = content.chunks(70_001).filter(|record| record[0] == who);
        assert_eq!(records.count(), 100);
    }
    vfs.release(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_asked_for_single_names() {
    let server = server();
    let filler = client(&server).await;
    for i in 0..1100 {
        upload(&filler, &format!("d/{i:04}"), b"").await;
    }
    upload(&filler, "d/0500/below", b"x").await;
    upload(&filler, "d/1050/below", b"x").await;
    let vfs = mount(&server, settings()).await;
    let before = calls(&server, "b2_list_file_names");
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    let kind = async |name: &str| vfs.lookup(d, os(name)).await.map(|entry| entry.attr.kind);
    assert_eq!(kind("1099").await.unwrap(), FileKind::File);
    assert_eq!(kind("0001").await.unwrap(), FileKind::File);
    assert_eq!(kind("0500").await.unwrap(), FileKind::Directory);
    assert_eq!(kind("1050").await.unwrap(), FileKind::Directory);
    assert!(matches!(kind("absent").await, Err(Error::NotFound)));
    assert!(matches!(kind("absent").await, Err(Error::NotFound)));
    assert!(calls(&server, "b2_list_file_names") - before <= 8);
    assert_eq!(names(&vfs, d).await.len(), 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_the_memory_limit_goes_through() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "big").await;
    let piece = |i: u64| Bytes::from(vec![(i % 251) as u8; 1_000_000]);
    for i in 0..150 {
        vfs.write(fh, i * MB, piece(i)).await.unwrap();
    }
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    let entry = vfs.lookup(Ino::ROOT, os("big")).await.unwrap();
    assert_eq!(entry.attr.size, 150 * MB);
    let fh = vfs.open(entry.attr.ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 75 * MB + 5, Bytes::from_static(b"patch"))
        .await
        .unwrap();
    let before = server.counters();
    vfs.flush(fh).await.unwrap();
    let after = server.counters();
    assert!(after.bytes_in - before.bytes_in < 12 * MB);
    let all = read_all(&vfs, fh).await.unwrap();
    vfs.release(fh);
    let mut expected: Vec<u8> = (0..150).flat_map(piece).collect();
    expected[75_000_005..75_000_010].copy_from_slice(b"patch");
    assert!(all == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_a_file_are_those_that_others_will_see() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let started = SystemTime::now();
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    let here = vfs.getattr(ino).await.unwrap().0;
    assert!(here.mtime >= started);
    let fresh = mount(&server, settings()).await;
    let there = fresh.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(here.mtime, there.mtime);
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}

/// The kernel tells of the last close only after close(2) has returned: whoever is quick comes in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_stays_a_version_although_the_last_close_is_not_told_yet() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let closed = |name: &'static str| {
        let vfs = vfs.clone();
        async move {
            let (attr, fh) = create(&vfs, Ino::ROOT, name).await;
            vfs.write(fh, 0, Bytes::from_static(b"closed"))
                .await
                .unwrap();
            vfs.flush(fh).await.unwrap();
            (attr.ino, fh)
        }
    };
    let (_, removed) = closed("removed").await;
    vfs.unlink(Ino::ROOT, os("removed")).await.unwrap();
    vfs.release(removed);
    // Stored by fsync already: its close has nothing to send.
    let (_, synced) = create(&vfs, Ino::ROOT, "synced").await;
    vfs.write(synced, 0, Bytes::from_static(b"closed"))
        .await
        .unwrap();
    vfs.fsync(synced, false).await.unwrap();
    vfs.flush(synced).await.unwrap();
    vfs.unlink(Ino::ROOT, os("synced")).await.unwrap();
    vfs.release(synced);
    let (ino, written) = closed("written").await;
    let other = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(other, 0, Bytes::from_static(b"anew"))
        .await
        .unwrap();
    vfs.release(written);
    vfs.flush(other).await.unwrap();
    vfs.release(other);
    let (ino, emptied) = closed("emptied").await;
    let empty = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    vfs.setattr(ino, empty).await.unwrap();
    vfs.release(emptied);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        versions(&server).await,
        [
            "emptied upload",
            "emptied upload",
            "removed hide",
            "removed upload",
            "synced hide",
            "synced upload",
            "written upload",
            "written upload"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_emptied() {
    const RUNS: i32 = 0x20; // as the kernel opens a program
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"program").await;
    let running = vfs.open(ino, RDONLY | RUNS).await.unwrap().fh;
    let refused = vfs.open(ino, RDONLY | libc::O_TRUNC).await;
    assert!(matches!(refused, Err(Error::Running)), "{refused:?}");
    assert_eq!(read_all(&vfs, running).await.unwrap(), b"program");
    vfs.release(running);
    let emptied = vfs.open(ino, RDONLY | libc::O_TRUNC).await.unwrap().fh;
    vfs.release(emptied);
    assert_eq!(vfs.getattr(ino).await.unwrap().0.size, 0);
}
