//! Write-back: close returns at once, what remains a little later is what B2 gets, and nothing is lost.

use std::collections::BTreeMap;

use super::history::until;
use super::*;

/// Longer than any test: only fsync, memory and the end of the mount store something.
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// At once, but in the background.
pub(super) const SOON: Duration = Duration::from_millis(1);

pub(super) fn later(delay: Duration) -> Settings {
    Settings {
        write_back: Some(delay),
        ..settings()
    }
}

/// What other clients see under a name.
pub(super) async fn seen(server: &Server, name: &str) -> Option<Vec<u8>> {
    let other = mount(server, settings()).await;
    get(&other, Ino::ROOT, name).await.ok()
}

pub(super) async fn rename(vfs: &Vfs, from: &str, to: &str) {
    vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0)
        .await
        .unwrap();
}

pub(super) async fn rewrite(vfs: &Vfs, ino: Ino, content: &[u8]) -> Result<(), Error> {
    let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::copy_from_slice(content)).await?;
    let closed = vfs.flush(fh).await;
    vfs.release(fh);
    closed
}

/// The calls since `before`.
fn since(server: &Server, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut calls = server.counters().calls;
    for (name, count) in before {
        *calls.entry(name.clone()).or_default() -= count;
    }
    calls.retain(|_, count| *count > 0);
    calls
}

fn counted(calls: &[(&str, u64)]) -> BTreeMap<String, u64> {
    calls
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn close_returns_before_the_upload_and_the_end_stores_it() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    let (_, fh) = create(&vfs, Ino::ROOT, "empty").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(calls(&server, "b2_upload_file"), 0);
    assert_eq!(vfs.pending().files, 2);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"content");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["empty upload", "f upload"]);
    assert_eq!(seen(&server, "f").await.unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_is_stored_by_itself() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    let (_, fh) = create(&vfs, Ino::ROOT, "empty").await;
    vfs.release(fh);
    until("the upload", async || vfs.pending().files == 0).await;
    assert_eq!(versions(&server).await, ["empty upload", "f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_happens_to_a_new_file_is_one_upload_of_what_remains() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    let before = server.counters().calls;
    let ino = put(&vfs, Ino::ROOT, ".f.html.Xy3", b"page").await;
    rename(&vfs, ".f.html.Xy3", "f.html").await;
    let mode = SetAttr {
        mode: Some(0o600),
        ..at(1_000_000)
    };
    vfs.setattr(ino, mode).await.unwrap();
    rewrite(&vfs, ino, b"another page").await.unwrap();
    vfs.setattr(ino, at(2_000_000)).await.unwrap();
    rename(&vfs, "f.html", "g.html").await;
    assert_eq!(since(&server, &before), counted(&[]));
    assert!(vfs.drain().await.is_empty());
    let once = [
        ("b2_get_upload_url", 1),
        // Whether another client has made it meanwhile.
        ("b2_list_file_versions", 1),
        ("b2_upload_file", 1),
    ];
    assert_eq!(since(&server, &before), counted(&once));
    assert_eq!(versions(&server).await, ["g.html upload"]);
    let vfs = mount(&server, settings()).await;
    let attr = vfs.lookup(Ino::ROOT, os("g.html")).await.unwrap().attr;
    assert_eq!((attr.mode, attr.size), (0o600, 12));
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::from_secs(2_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_temporary_file_costs_nothing_at_all() {
    let server = server();
    let (vfs, io) = mount_within(&server, later(HOUR), 64 << 20).await;
    let before = server.counters().calls;
    let inodes = [
        put(&vfs, Ino::ROOT, "t", &vec![7; 100_000]).await,
        put(&vfs, Ino::ROOT, "u", b"replaced").await,
        put(&vfs, Ino::ROOT, "v", b"replacement").await,
    ];
    rename(&vfs, "v", "u").await;
    assert!(io.memory_unsent() > 100_000);
    for name in ["t", "u"] {
        vfs.unlink(Ino::ROOT, os(name)).await.unwrap();
    }
    // The kernel lets go of an inode as soon as its name has gone and nobody is about to open it.
    for ino in inodes {
        vfs.forget(ino, 1);
    }
    assert_eq!(io.memory_unsent(), 0);
    assert_eq!(vfs.pending().files, 0);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(since(&server, &before), counted(&[]));
}

/// The kernel has looked the name up, and somebody else is faster than its open: that finds what the name
/// stood for, and neither an empty file nor an older version.
#[tokio::test(flavor = "multi_thread")]
async fn what_loses_its_name_before_it_is_stored_can_be_opened_until_the_kernel_forgets_it() {
    let server = server();
    upload(&client(&server).await, "f", b"old").await;
    let (vfs, io) = mount_within(&server, later(HOUR), 64 << 20).await;
    let unsent = put(&vfs, Ino::ROOT, "new", b"never stored").await;
    let stored = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    rewrite(&vfs, stored, b"never stored").await.unwrap();
    put(&vfs, Ino::ROOT, "other", b"other").await;
    rename(&vfs, "other", "new").await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    let closed = {
        let (attr, fh) = create(&vfs, Ino::ROOT, "open").await;
        vfs.unlink(Ino::ROOT, os("open")).await.unwrap();
        vfs.write(fh, 0, Bytes::from_static(b"never stored"))
            .await
            .unwrap();
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        attr.ino
    };
    for ino in [unsent, stored, closed] {
        for _ in 0..2 {
            let fh = vfs.open(ino, RDWR).await.unwrap().fh;
            assert_eq!(read_all(&vfs, fh).await.unwrap(), b"never stored");
            vfs.flush(fh).await.unwrap();
            vfs.release(fh);
        }
        assert_eq!(vfs.getattr(ino).await.unwrap().0.nlink, 0);
        vfs.forget(ino, 1);
        assert!(matches!(vfs.open(ino, RDWR).await, Err(Error::Stale)));
    }
    assert_eq!(get(&vfs, Ino::ROOT, "new").await.unwrap(), b"other");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(io.memory_unsent(), 0);
    assert_eq!(
        versions(&server).await,
        ["f hide", "f upload", "new upload"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_over_a_stored_one_is_one_upload_and_not_seen_before() {
    let server = server();
    upload(&client(&server).await, "f", b"old").await;
    let vfs = mount(&server, later(HOUR)).await;
    let before = server.counters().calls;
    put(&vfs, Ino::ROOT, "f.tmp", b"new").await;
    rename(&vfs, "f.tmp", "f").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"new");
    assert_eq!(since(&server, &before), counted(&[]));
    assert_eq!(seen(&server, "f").await.unwrap(), b"old");
    let before = server.counters().calls;
    assert!(vfs.drain().await.is_empty());
    let once = [
        ("b2_get_upload_url", 1),
        // Whether it lies right over what it was renamed over.
        ("b2_list_file_versions", 1),
        ("b2_upload_file", 1),
    ];
    assert_eq!(since(&server, &before), counted(&once));
    assert_eq!(seen(&server, "f").await.unwrap(), b"new");
    assert_eq!(versions(&server).await, ["f upload", "f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_unsent_file_was_renamed_over_does_not_come_back() {
    let server = server();
    let filler = client(&server).await;
    for name in ["d/f", "d/g", "d/h", "d/stays"] {
        upload(&filler, name, b"old").await;
    }
    let vfs = mount(&server, later(HOUR)).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    for name in ["f", "g", "h"] {
        put(&vfs, dir, "tmp", b"new").await;
        vfs.rename(dir, os("tmp"), dir, os(name), 0).await.unwrap();
    }
    vfs.unlink(dir, os("f")).await.unwrap();
    rename(&vfs, "d", "e").await;
    vfs.unlink(dir, os("g")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let other = mount(&server, settings()).await;
    assert_eq!(names(&other, Ino::ROOT).await, ["e"]);
    let e = other.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    assert_eq!(names(&other, e).await, ["h", "stays"]);
    assert_eq!(get(&other, e, "h").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_waits_and_close_then_has_nothing_left_to_do() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"content"))
        .await
        .unwrap();
    vfs.fsync(fh, false).await.unwrap();
    assert_eq!(seen(&server, "f").await.unwrap(), b"content");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    // Also of a file that was closed before.
    let ino = put(&vfs, Ino::ROOT, "g", b"closed").await;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
    assert_eq!(vfs.pending().files, 0);
    assert_eq!(versions(&server).await, ["f upload", "g upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_of_a_directory_stores_what_is_closed_below_it() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    let dir = mkdir(&vfs, Ino::ROOT, "d").await;
    let deep = mkdir(&vfs, dir, "e").await;
    put(&vfs, deep, "f", b"content").await;
    put(&vfs, Ino::ROOT, "elsewhere", b"content").await;
    let (_, open) = create(&vfs, deep, "open").await;
    vfs.write(open, 0, Bytes::from_static(b"half"))
        .await
        .unwrap();
    let fh = vfs.opendir(dir).await.unwrap();
    vfs.fsyncdir(fh).await.unwrap();
    assert_eq!(versions(&server).await, ["d/e/f upload"]);
    server.set_faults(&["b2_upload_file:403"]).unwrap();
    put(&vfs, deep, "g", b"content").await;
    assert!(vfs.fsyncdir(fh).await.is_err());
    server.set_faults(&[]).unwrap();
    vfs.fsyncdir(fh).await.unwrap();
    vfs.releasedir(fh);
    vfs.release(open);
    assert_eq!(versions(&server).await, ["d/e/f upload", "d/e/g upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_of_a_directory_waits_for_the_removals_in_it_and_tells_of_one_that_failed() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    let dir = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, dir, "f", b"content").await;
    put(&vfs, dir, "g", b"content").await;
    let fh = vfs.opendir(dir).await.unwrap();
    vfs.fsyncdir(fh).await.unwrap();
    server.set_faults(&["hide_file:stall=1:1"]).unwrap();
    vfs.unlink(dir, os("f")).await.unwrap();
    vfs.fsyncdir(fh).await.unwrap();
    assert_eq!(
        versions(&server).await,
        ["d/f hide", "d/f upload", "d/g upload"]
    );
    server.set_faults(&["hide_file:403"]).unwrap();
    vfs.unlink(dir, os("g")).await.unwrap();
    assert!(vfs.fsyncdir(fh).await.is_err());
    server.set_faults(&[]).unwrap();
    vfs.releasedir(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_closes_waits_as_well() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "cut", b"0123456789").await;
    let vfs = mount(&server, later(HOUR)).await;
    let before = server.counters().calls;
    let link = new(FileKind::Symlink);
    vfs.symlink(Ino::ROOT, os("link"), b"target", link)
        .await
        .unwrap();
    vfs.mknod(Ino::ROOT, os("fifo"), new(FileKind::Fifo))
        .await
        .unwrap();
    let cut = vfs.lookup(Ino::ROOT, os("cut")).await.unwrap().attr.ino;
    let size = SetAttr {
        size: Some(4),
        ..SetAttr::default()
    };
    vfs.setattr(cut, size).await.unwrap();
    assert_eq!(since(&server, &before), counted(&[]));
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 4);
    assert_eq!(seen(&server, "cut").await.unwrap(), b"0123");
    let other = mount(&server, settings()).await;
    let link = other.lookup(Ino::ROOT, os("link")).await.unwrap().attr.ino;
    assert_eq!(other.readlink(link).await.unwrap(), "target");
    let fifo = other.lookup(Ino::ROOT, os("fifo")).await.unwrap().attr;
    assert_eq!(fifo.kind, FileKind::Fifo);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_is_told_by_the_next_fsync_and_close() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    server.set_faults(&["b2_upload_file:403"]).unwrap();
    let ino = put(&vfs, Ino::ROOT, "f", b"precious").await;
    until("a try that fails", async || {
        vfs.unstored().iter().any(|one| !one.error.is_empty())
    })
    .await;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    assert!(matches!(vfs.fsync(fh, false).await, Err(Error::B2(_))));
    vfs.release(fh);
    let closed = rewrite(&vfs, ino, b"precious too").await;
    assert!(matches!(closed, Err(Error::B2(_))), "{closed:?}");
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"precious too");
    assert_eq!(vfs.drain().await.len(), 1, "the exit code tells");
    server.set_faults(&[]).unwrap();
    let tried = calls(&server, "b2_upload_file");
    rewrite(&vfs, ino, b"stored").await.unwrap();
    assert_eq!(calls(&server, "b2_upload_file"), tried + 1, "by this close");
    assert_eq!(seen(&server, "f").await.unwrap(), b"stored");
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_is_tried_again_by_itself() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    server.set_faults(&["b2_upload_file:403:1"]).unwrap();
    put(&vfs, Ino::ROOT, "f", b"precious").await;
    until("the second try", async || vfs.pending().files == 0).await;
    assert_eq!(seen(&server, "f").await.unwrap(), b"precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_again_when_it_is_due_waits_for_its_close() {
    let delay = Duration::from_millis(300);
    let server = server();
    let vfs = mount(&server, later(delay)).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"first").await;
    let fh = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::from_static(b"again"))
        .await
        .unwrap();
    tokio::time::sleep(delay * 2).await;
    vfs.write(fh, 5, Bytes::from_static(b" and more"))
        .await
        .unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    until("the upload", async || vfs.pending().files == 0).await;
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(seen(&server, "f").await.unwrap(), b"again and more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_closes_again_does_not_keep_what_was_closed_for_ever() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"first").await;
    let fh = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::from_static(b"again"))
        .await
        .unwrap();
    until("an upload", async || {
        seen(&server, "f").await == Some(b"again".to_vec())
    })
    .await;
    vfs.release(fh);
    // A reader keeps nothing back at all.
    let reader = vfs.open(ino, RDONLY).await.unwrap().fh;
    rewrite(&vfs, ino, b"third").await.unwrap();
    until("the upload", async || vfs.pending().files == 0).await;
    vfs.release(reader);
    assert_eq!(seen(&server, "f").await.unwrap(), b"third");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_somebody_closed_are_kept_also_while_others_read() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"first").await;
    let reader = vfs.open(ino, RDONLY).await.unwrap().fh;
    until("the upload", async || vfs.pending().files == 0).await;
    rewrite(&vfs, ino, b"second").await.unwrap();
    until("the upload", async || vfs.pending().files == 0).await;
    rewrite(&vfs, ino, b"third").await.unwrap();
    until("the upload", async || vfs.pending().files == 0).await;
    vfs.release(reader);
    assert_eq!(versions(&server).await, ["f upload"; 3]);
}
