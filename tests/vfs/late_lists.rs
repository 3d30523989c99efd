//! Lists of versions, and looks, that come late: what they do not show is not gone.

use super::history::*;
use super::warnings::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_removes_its_source_although_versions_are_listed_late() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "tmp", b"content").await;
    server
        .set_faults(&["list_file_versions:stale-list=60"])
        .unwrap();
    mv(&vfs, "tmp", "f").await.unwrap();
    stored(&vfs).await;
    over(&server);
    assert_eq!(names_now(&server).await, ["f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_removes_a_name_although_versions_are_listed_late() {
    let server = server();
    let vfs = mount(&server, purging()).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    server
        .set_faults(&["list_file_versions:stale-list=60"])
        .unwrap();
    let removed = rm(&vfs, "f").await;
    let told = sync_dir(&vfs, Ino::ROOT).await;
    drop(vfs.drain().await);
    over(&server);
    let now = names_now(&server).await;
    assert!(
        now.is_empty() || removed.is_err() || told.is_err(),
        "{now:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_late_listing_of_versions_does_not_show_is_looked_at_again() {
    let (server, vfs, b) = sharing("late-look", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "late-look").await;
    upload(&b, "late-look", b"new by B").await;
    server
        .set_faults(&["list_file_versions:stale-list=60:1"])
        .unwrap();
    chmod_now(&vfs, file, 0o600).await;
    stored(&vfs).await;
    assert_eq!(
        shown(&server, "late-look").await,
        Some(b"new by B".to_vec()),
        "{}",
        said("late-look")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_comes_late_takes_nothing_back_that_was_stored_meanwhile() {
    let ttl = Duration::from_secs(3);
    let server = server();
    let b = client(&server).await;
    let brief = Settings {
        metadata_ttl: ttl,
        ..settings()
    };
    let vfs = mount(&server, brief).await;
    let file = put(&vfs, Ino::ROOT, "f", b"one").await;
    stored(&vfs).await;
    hide(&b, "f").await;
    tokio::time::sleep(ttl).await;
    server.set_faults(&["list_file_versions:late=1:1"]).unwrap();
    let listing = tokio::spawn({
        let vfs = vfs.clone();
        async move { names(&vfs, Ino::ROOT).await }
    });
    held(&server, "b2_list_file_versions").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(&vfs, fh, b"two").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(shown(&server, "f").await, Some(b"two".to_vec()));
    drop(listing.await.unwrap());
    // As long as what is known holds, it must be what was stored here last.
    let found = get(&vfs, Ino::ROOT, "f").await;
    assert!(matches!(&found, Ok(found) if found == b"two"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rmdir_tells_of_a_removal_that_met_what_it_had_not_seen() {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, "d/f", b"old").await;
    let vfs = mount(&server, settings()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    assert_eq!(names(&vfs, d).await, ["f"]);
    upload(&b, "d/f", b"new by B").await;
    vfs.unlink(d, os("f")).await.unwrap();
    let removed = vfs.rmdir(Ino::ROOT, os("d")).await;
    drop(vfs.drain().await);
    assert_eq!(shown(&server, "d/f").await, Some(b"new by B".to_vec()));
    let root = sync_dir(&vfs, Ino::ROOT).await;
    assert!(
        removed.is_err() || root.is_err(),
        "{removed:?} {root:?} {:?}",
        names(&vfs, Ino::ROOT).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_of_a_directory_tells_when_it_cannot_know() {
    let (server, vfs, b) = sharing("f", b"old", settings()).await;
    upload(&b, "f", b"new by B").await;
    server
        .set_faults(&["list_file_versions:transaction-cap"])
        .unwrap();
    rm(&vfs, "f").await.unwrap();
    let told = sync_dir(&vfs, Ino::ROOT).await;
    over(&server);
    drop(vfs.drain().await);
    let shows = shown(&server, "f").await;
    assert!(told.is_err(), "{told:?} {shows:?}");
}

/// Only a hide marker that lies above a version tells that it was removed; that of an earlier removal lies under it.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_shows_again_is_there_whatever_was_removed_before() {
    let server = server();
    let b = client(&server).await;
    let vfs = mount(&server, asking()).await;
    put(&vfs, Ino::ROOT, "f", b"by A").await;
    rm(&vfs, "f").await.unwrap();
    stored(&vfs).await;
    upload(&b, "f", b"by B").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"by B");
    // Both remove it; B is first, and brings it back.
    server.set_faults(&["hide_file:stall=1:1"]).unwrap();
    let removing = tokio::spawn({
        let vfs = vfs.clone();
        async move { rm(&vfs, "f").await }
    });
    held(&server, "b2_hide_file").await;
    hide(&b, "f").await;
    removing.await.unwrap().unwrap();
    stored(&vfs).await;
    delete_newest(&b, "f").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"by B");
}
