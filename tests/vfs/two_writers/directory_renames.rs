//! Renames of directories in which another client writes, that a listing shows late, or that have failed before.

use super::history::*;
use super::warnings::*;
use super::*;

async fn renamed_under(settings: Settings) -> (Server, Vfs, Ino) {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, "d/f", b"old").await;
    upload(&b, "d/g", b"more").await;
    let vfs = mount(&server, settings).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    assert_eq!(names(&vfs, d).await, ["f", "g"]);
    upload(&b, "d/f", b"new by B").await;
    mv(&vfs, "d", "e").await.unwrap();
    stored(&vfs).await;
    assert_eq!(shown(&server, "e/f").await, Some(b"new by B".to_vec()));
    let e = ino(&vfs, Ino::ROOT, "e").await;
    (server, vfs, e)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_directory_rename_its_files_can_be_read() {
    for settings in [settings(), purging()] {
        let delete = settings.delete;
        let (server, vfs, e) = renamed_under(settings).await;
        let read = get(&vfs, e, "f").await;
        assert!(
            matches!(&read, Ok(found) if found == b"new by B"),
            "{delete:?} {read:?} {:?}",
            everything(&server).await
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_directory_rename_what_another_wrote_is_not_hidden_by_the_next_rename() {
    let (server, vfs, e) = renamed_under(settings()).await;
    let moved = vfs.rename(e, os("f"), Ino::ROOT, os("x"), 0).await;
    let told = sync_dir(&vfs, e).await;
    drop(vfs.drain().await);
    let new = Some(b"new by B".to_vec());
    let (f, x) = (shown(&server, "e/f").await, shown(&server, "x").await);
    assert!(
        f == new || x == new,
        "{moved:?} {told:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_directory_rename_a_purge_leaves_what_another_wrote() {
    let (server, vfs, e) = renamed_under(purging()).await;
    let moved = vfs.rename(e, os("f"), Ino::ROOT, os("x"), 0).await;
    let removed = vfs.unlink(e, os("f")).await;
    let told = sync_dir(&vfs, e).await;
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{moved:?} {removed:?} {told:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_directory_rename_what_is_appended_to_another_ones_content_is_logged() {
    let (server, vfs, e) = renamed_under(settings()).await;
    let file = ino(&vfs, e, "f").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    write(&vfs, fh, b" and A").await;
    let closed = vfs.flush(fh).await;
    vfs.release(fh);
    drop(vfs.drain().await);
    let shows = shown(&server, "e/f").await.unwrap();
    let told = closed.is_err() || said("e/f");
    assert!(
        told || shows == b"new by B and A",
        "{closed:?} {:?}",
        String::from_utf8_lossy(&shows)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rename_by_a_late_listing_reverts_nothing() {
    for settings in [settings(), purging()] {
        let delete = settings.delete;
        let server = server();
        let seed = Seed {
            name: "d/f".to_owned(),
            size: 3,
            upload_timestamp: Some(1_600_000_000_000),
            ..Seed::default()
        };
        server.seed(server.bucket_name(), &[seed]).unwrap();
        let vfs = mount(&server, settings).await;
        let d = ino(&vfs, Ino::ROOT, "d").await;
        let file = ino(&vfs, d, "f").await;
        let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
        write(&vfs, fh, b"changed").await;
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        stored(&vfs).await;
        server
            .set_faults(&["list_file_names:stale-list=60"])
            .unwrap();
        let moved = mv(&vfs, "d", "e").await;
        drop(vfs.drain().await);
        over(&server);
        let new = Some(b"changed".to_vec());
        let (d, e) = (shown(&server, "d/f").await, shown(&server, "e/f").await);
        assert!(
            d == new || e == new,
            "{delete:?} {moved:?} {:?}",
            everything(&server).await
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_purged_by_a_late_listing_keeps_what_was_written() {
    let server = server();
    let seed = Seed {
        name: "d/f".to_owned(),
        size: 3,
        upload_timestamp: Some(1_600_000_000_000),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, purging()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    let file = ino(&vfs, d, "f").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(&vfs, fh, b"changed").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    server
        .set_faults(&["list_file_names:stale-list=60"])
        .unwrap();
    let moved = mv(&vfs, "d", "e").await;
    drop(vfs.drain().await);
    over(&server);
    assert!(
        is_somewhere(&server, b"changed").await,
        "{moved:?} {:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rename_says_what_another_wrote_during_it() {
    for settings in [settings(), purging()] {
        let delete = settings.delete;
        listen();
        let server = server();
        let b = client(&server).await;
        let vfs = mount(&server, settings).await;
        let d = mkdir(&vfs, Ino::ROOT, "d").await;
        let name = format!("mvdir-log-{delete:?}");
        put(&vfs, d, &name, b"old").await;
        stored(&vfs).await;
        server.set_faults(&["copy_file:late=1:1"]).unwrap();
        let moving = tokio::spawn({
            let vfs = vfs.clone();
            async move { mv(&vfs, "d", "e").await }
        });
        held(&server, "b2_copy_file").await;
        upload(&b, &format!("d/{name}"), b"new by B").await;
        let moved = moving.await.unwrap();
        drop(vfs.drain().await);
        assert!(moved.is_err() || said(&name), "{delete:?} {moved:?}");
    }
}

async fn renamed_in_two_tries(server: &Server, vfs: Vfs, faults: &[&str]) {
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    for name in ["a", "b", "x"] {
        put(&vfs, d, name, b"content").await;
    }
    stored(&vfs).await;
    server.set_faults(faults).unwrap();
    let moved = mv(&vfs, "d", "e").await;
    over(server);
    assert!(moved.is_err());
    for name in ["a", "b", "x"] {
        vfs.unlink(d, os(name)).await.unwrap();
    }
    put(&vfs, d, "last", b"content").await;
    let moved = mv(&vfs, "d", "e").await;
    stored(&vfs).await;
    let fresh = mount(server, settings()).await;
    let name = if moved.is_ok() { "e" } else { "d" };
    let dir = ino(&fresh, Ino::ROOT, name).await;
    assert_eq!(names(&fresh, dir).await, ["last"], "{moved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_between_two_tries_of_a_directory_rename_does_not_come_back() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    let faults = [
        "copy_file:reset@2",
        "delete_file_version:reset",
        "list_file_names:reset@1",
    ];
    renamed_in_two_tries(&server, vfs, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_between_two_tries_of_a_directory_rename_does_not_come_back_without_a_right_to_delete()
 {
    let server = server();
    let vfs = without_deletion(&server, settings(), Duration::from_secs(20)).await;
    renamed_in_two_tries(&server, vfs, &["copy_file:storage-cap@2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_renamed_to_what_another_made_meanwhile_covers_nothing_without_a_word() {
    let (server, vfs, b) = sharing("d/dir-over", b"old", settings()).await;
    let absent = vfs.lookup(Ino::ROOT, os("e")).await;
    assert!(matches!(absent, Err(Error::NotFound)));
    upload(&b, "e/dir-over", b"by B").await;
    let moved = mv(&vfs, "d", "e").await;
    drop(vfs.drain().await);
    assert!(
        moved.is_err() || said("dir-over"),
        "{moved:?} {:?}",
        everything(&server).await
    );
}
