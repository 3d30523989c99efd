//! Times of directories: what others see of them, and a mount made later.

use super::history::*;
use super::*;

/// The modification time that a mount made now shows, in nanoseconds since 1970.
async fn later(server: &Server, dir: &str) -> i64 {
    let vfs = mount(server, settings()).await;
    shown_by(&vfs, dir).await
}

async fn shown_by(vfs: &Vfs, dir: &str) -> i64 {
    let ino = ino(vfs, Ino::ROOT, dir).await;
    let (attr, _) = vfs.getattr(ino).await.unwrap();
    let since = attr.mtime.duration_since(UNIX_EPOCH).unwrap();
    since.as_nanos() as i64
}

async fn mkdir(vfs: &Vfs, parent: Ino, name: &str) -> Ino {
    let made = vfs.mkdir(parent, os(name), new(FileKind::Directory));
    made.await.unwrap().attr.ino
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_as_old_as_what_came_last() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "a", b"1").await;
    stored(&vfs).await;
    pause().await;
    put(&vfs, d, "b", b"2").await;
    let shown = shown_by(&vfs, "d").await;
    stored(&vfs).await;
    assert_eq!(later(&server, "d").await, shown);
    pause().await;

    // Neither an attribute nor new content of a file there is a change of the folder.
    let a = ino(&vfs, d, "a").await;
    chmod(&vfs, a, 0o600).await;
    stored(&vfs).await;
    let fh = vfs.open(a, RDWR).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::from_static(b"more")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(shown_by(&vfs, "d").await, shown);
    assert_eq!(later(&server, "d").await, shown);
    pause().await;

    // What is renamed into it is.
    put(&vfs, Ino::ROOT, "c", b"3").await;
    vfs.rename(Ino::ROOT, os("c"), d, os("c"), 0).await.unwrap();
    let after = shown_by(&vfs, "d").await;
    assert!(after > shown);
    stored(&vfs).await;
    assert_eq!(later(&server, "d").await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_was_set_holds_until_something_comes() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "a", b"1").await;
    vfs.setattr(d, at(1_000_000_000)).await.unwrap();
    stored(&vfs).await;
    let set = 1_000_000_000 * 1_000_000_000;
    assert_eq!(shown_by(&vfs, "d").await, set);
    assert_eq!(later(&server, "d").await, set);
    pause().await;
    let other = mount(&server, settings()).await;
    let theirs = ino(&other, Ino::ROOT, "d").await;
    put(&other, theirs, "b", b"2").await;
    let came = shown_by(&other, "d").await;
    stored(&other).await;
    assert!(came > set);
    assert_eq!(later(&server, "d").await, came);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_and_folders_that_come_are_told_by_the_marker() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "d/a", b"1").await;
    upload(&other, "d/b", b"1").await;
    upload(&other, "e/a", b"1").await;
    let vfs = mount(&server, settings()).await;
    let before = shown_by(&vfs, "d").await;
    assert_eq!(later(&server, "d").await, before, "the same in every mount");
    pause().await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    let e = ino(&vfs, Ino::ROOT, "e").await;
    chmod(&vfs, e, 0o700).await;
    stored(&vfs).await;
    pause().await;
    vfs.unlink(d, os("b")).await.unwrap();
    mkdir(&vfs, e, "sub").await;
    let shown = [shown_by(&vfs, "d").await, shown_by(&vfs, "e").await];
    assert!(shown[0] > before);
    // Nobody waits for it.
    sync_dir(&vfs, d).await.unwrap();
    assert_eq!(calls(&server, "b2_upload_file"), 4);
    // What another client has put into the marker meanwhile is kept.
    let their = mount(&server, settings()).await;
    let theirs = ino(&their, Ino::ROOT, "d").await;
    chmod(&their, theirs, 0o700).await;
    stored(&their).await;
    stored(&vfs).await;
    for (dir, shown) in ["d", "e"].iter().zip(shown) {
        assert_eq!(later(&server, dir).await, shown, "{dir}");
    }
    assert_eq!(mode(&server, "d").await & 0o777, 0o700);
    assert_eq!(names(&vfs, d).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_tree_costs_no_markers() {
    let server = server();
    let other = client(&server).await;
    for n in 0..5 {
        upload(&other, &format!("d/s/f{n}"), b"1").await;
    }
    let vfs = mount(&server, settings()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    let s = ino(&vfs, d, "s").await;
    for name in names(&vfs, s).await {
        vfs.unlink(s, os(&name)).await.unwrap();
    }
    vfs.rmdir(d, os("s")).await.unwrap();
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    stored(&vfs).await;
    assert_eq!(calls(&server, "b2_upload_file"), 5);
    assert_eq!(names_now(&server).await, [""; 0]);
}

/// Its marker was to be written for its time; without it, it would be gone with the last name in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_gets_empty_is_kept_by_fsync() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "d/a", b"1").await;
    upload(&other, "d/b", b"1").await;
    let vfs = mount(&server, asking()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    vfs.unlink(d, os("a")).await.unwrap();
    vfs.unlink(d, os("b")).await.unwrap();
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d"]);
    sync_dir(&vfs, d).await.unwrap();
    assert_eq!(names_now(&server).await, ["d"]);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d"]);
}
