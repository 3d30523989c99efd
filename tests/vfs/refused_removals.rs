//! Removals that B2 refuses: the name is there again, and somebody is told.

use super::removing::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_fails_brings_the_name_back_and_rmdir_tells_why() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"1").await;
    put(&vfs, d, "g", b"2").await;
    server.set_faults(&["hide_file:403"]).unwrap();
    unlink(&vfs, d, "f").await.unwrap();
    let told = rmdir(&vfs, "d").await;
    assert!(refused(&told), "{told:?}");
    assert_eq!(names(&vfs, d).await, ["f", "g"]);
    assert_eq!(get(&vfs, d, "f").await.unwrap(), b"1");
    // Told once, and from now on by the removal itself.
    let full = rmdir(&vfs, "d").await;
    assert!(matches!(full, Err(Error::NotEmpty)), "{full:?}");
    let hides = calls(&server, "b2_hide_file");
    let told = unlink(&vfs, d, "g").await;
    assert!(refused(&told), "{told:?}");
    assert_eq!(calls(&server, "b2_hide_file"), hides + 1);
    assert_eq!(names(&vfs, d).await, ["f", "g"]);
    // One that was waited for and went well, and the next is not waited for.
    server.set_faults(&[]).unwrap();
    unlink(&vfs, d, "f").await.unwrap();
    assert_eq!(
        versions(&server).await,
        ["d/f hide", "d/f upload", "d/g upload"]
    );
    server.set_faults(&["hide_file:stall=1:1"]).unwrap();
    unlink(&vfs, d, "g").await.unwrap();
    assert_eq!(vfs.pending().removals, 1);
    rmdir(&vfs, "d").await.unwrap();
    assert_eq!(vfs.pending().removals, 0);
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_fails_is_told_by_fsync_of_the_directory_or_at_the_end() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"1").await;
    put(&vfs, Ino::ROOT, "top", b"2").await;
    server
        .set_faults(&["hide_file:stall=1:2", "hide_file:403"])
        .unwrap();
    unlink(&vfs, d, "f").await.unwrap();
    unlink(&vfs, Ino::ROOT, "top").await.unwrap();
    let given_up: Vec<_> = vfs.unstored();
    let given_up: Vec<_> = given_up
        .iter()
        .filter(|one| one.what == Undone::Removal)
        .collect();
    assert_eq!(given_up.len(), 2);
    // The stalled ones go on; what comes next is refused.
    sync_dir(&vfs, d).await.unwrap();
    sync_dir(&vfs, Ino::ROOT).await.unwrap();
    assert_eq!(vfs.pending().removals, 0);
    put(&vfs, d, "f", b"1").await;
    put(&vfs, Ino::ROOT, "top", b"2").await;
    unlink(&vfs, d, "f").await.unwrap();
    unlink(&vfs, Ino::ROOT, "top").await.ok();
    let told = sync_dir(&vfs, d).await;
    assert!(refused(&told), "{told:?}");
    sync_dir(&vfs, d).await.unwrap();
    // Waits for the other one; it is told here, unless it was waited for.
    sync_dir(&vfs, Ino::ROOT).await.ok();
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "top"]);
    server.set_faults(&[]).unwrap();
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_fails_and_is_told_to_nobody_is_told_at_the_end() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"1").await;
    server.set_faults(&["hide_file:403"]).unwrap();
    unlink(&vfs, Ino::ROOT, "f").await.unwrap();
    let left = vfs.drain().await;
    assert_eq!(left.len(), 1);
    assert!(
        left[0].what == Undone::Removal && left[0].path == "f" && left[0].error.contains("cap")
    );
    // Gone after all, so that there is nothing to tell any more.
    server.set_faults(&[]).unwrap();
    unlink(&vfs, Ino::ROOT, "f").await.unwrap();
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_made_anew_over_a_failed_removal_is_removed_with_what_lies_under_it() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"old").await;
    server.set_faults(&["hide_file:403:1"]).unwrap();
    unlink(&vfs, Ino::ROOT, "f").await.unwrap();
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    removed(&vfs).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"");
    unlink(&vfs, Ino::ROOT, "f").await.unwrap();
    vfs.release(fh);
    removed(&vfs).await;
    assert_eq!(versions(&server).await, ["f hide", "f upload"]);
    assert!(vfs.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_a_directory_that_cannot_remove_the_old_name_leaves_both() {
    let server = server();
    seed(&server, (0..100).map(|i| format!("d/f{i:03}")));
    let vfs = mount(&server, settings()).await;
    vfs.lookup(Ino::ROOT, os("d")).await.unwrap();
    server.set_faults(&["hide_file:403:1"]).unwrap();
    let told = vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0).await;
    assert!(refused(&told), "{told:?}");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "e"]);
    let of = async |name: &str| {
        let dir = vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.ino;
        names(&vfs, dir).await.len()
    };
    assert_eq!((of("d").await, of("e").await), (1, 100));
    // A copy that fails takes all the others back.
    server.set_faults(&["copy_file:403:1"]).unwrap();
    let told = vfs.rename(Ino::ROOT, os("e"), Ino::ROOT, os("x"), 0).await;
    assert!(refused(&told), "{told:?}");
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_hide_is_told_at_once() {
    let server = server();
    seed(&server, ["d/f".to_owned()].into_iter());
    let (key_id, key) = server
        .create_key(
            &["listFiles", "readFiles"],
            Some(&[server.bucket_name()]),
            None,
        )
        .unwrap();
    let client = Client::connect(b2::Options {
        endpoint: server.endpoint(),
        key_id,
        key: Secret::new(&key),
        bucket_id: None,
        bucket_name: None,
        timeout: Duration::from_secs(20),
        uploads: 8,
        downloads: 8,
        ..b2::Options::default()
    })
    .await
    .unwrap();
    let vfs = mount_by(client, settings(), 64 << 20).await.0;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    for told in [
        unlink(&vfs, d, "f").await,
        rmdir(&vfs, "d").await,
        vfs.rename(d, os("f"), d, os("g"), 0).await,
    ] {
        assert!(matches!(told, Err(Error::Access)), "{told:?}");
    }
    assert_eq!(names(&vfs, d).await, ["f"]);
    assert_eq!(calls(&server, "b2_hide_file"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_of_a_removed_directory_tells_what_was_met_in_it() {
    let server = server();
    let b = client(&server).await;
    let vfs = mount(&server, settings()).await;
    let top = mkdir(&vfs, Ino::ROOT, "top").await;
    let d = mkdir(&vfs, top, "d").await;
    put(&vfs, d, "f", b"by A").await;
    put(&vfs, top, "other", b"by A").await;
    upload(&b, "top/d/f", b"by B").await;
    unlink(&vfs, d, "f").await.unwrap();
    // The look takes its time.
    server.set_faults(&["list_file_versions:stall=1"]).unwrap();
    vfs.rmdir(top, os("d")).await.unwrap();
    let told = sync_dir(&vfs, top).await;
    assert!(matches!(told, Err(Error::Stale)), "{told:?}");
    assert!(sync_dir(&vfs, top).await.is_ok(), "once");
}
