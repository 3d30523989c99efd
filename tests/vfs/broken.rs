//! What a hostile reviewer found: each test fails because the program does what issue 11, DESIGN §2 or `docs/semantics.md`
//! say it never does. The comment on each says which, and where the fault is.

use super::history::*;
use super::*;

/// A mount by a key that may not delete versions.
async fn without_deletion(server: &Server, settings: Settings, timeout: Duration) -> Vfs {
    let (key_id, key) = server
        .create_key(
            &["listFiles", "readFiles", "writeFiles"],
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
        timeout,
        uploads: 8,
        downloads: 8,
    })
    .await
    .unwrap();
    mount_by(client, settings, 64 << 20).await.0
}

/// Issue line 1, mechanism 3, DESIGN 2.1: `close` gave 0, the end says "everything is stored", the bytes are in no version. The kernel
/// forgets an inode without a name after its last close, and `Tree::free_if_unused` (names/tree.rs) discards what a displaced
/// one has unsent. `tests/mounted/broken.rs` shows it on a real mount.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_displaced_file_holds_unsent_outlives_its_last_close_with_write_back() {
    let later = Settings {
        metadata_ttl: Duration::from_nanos(1),
        ..much_later()
    };
    let (server, vfs, b) = sharing("f", b"as B made it", later).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    upload(&b, "f", b"again by B").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"again by B");
    vfs.write(fh, 0, Bytes::from_static(b"AS")).await.unwrap();
    let closed = vfs.flush(fh).await;
    vfs.release(fh);
    vfs.forget(file, 100);
    let left = vfs.drain().await;
    let kept = is_somewhere(&server, b"AS B made it").await;
    assert!(kept || !left.is_empty() || closed.is_err(), "{closed:?}");
}

/// The same where `close` failed: "the bytes stay in memory and are tried again, never dropped silently" (semantics 13, 17).
#[tokio::test(flavor = "multi_thread")]
async fn what_a_displaced_file_could_not_store_is_kept_or_listed_at_the_end() {
    let (server, vfs, b) = sharing("f", b"as B made it", asking()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    upload(&b, "f", b"again by B").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"again by B");
    vfs.write(fh, 0, Bytes::from_static(b"AS")).await.unwrap();
    server.set_faults(&["upload_file:storage-cap"]).unwrap();
    assert!(vfs.flush(fh).await.is_err());
    vfs.release(fh);
    vfs.forget(file, 100);
    over(&server);
    let left = vfs.drain().await;
    let kept = is_somewhere(&server, b"AS B made it").await;
    assert!(kept || !left.is_empty());
}

/// A mount that has seen `d/f`, whose directory was renamed to `e` after B wrote the file again.
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

/// Issue line 2, directory renames: the version that was copied is not the one that the tree knew (`rebase`: `stale`). The node keeps the old
/// one, counts as fresh for the whole ttl, and with purge reads ESTALE.
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

/// The same; what is done next is done to the old version, and the look takes B's content for this mount's own, because the copy of it is
/// (`note_own` in `Engine::copy`).
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

/// The same with purge: the source is purged after the copy, then the copy as one of this mount's own: B's content, never shown here, is in
/// no version.
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

/// The same with an append: it goes to the old content and covers B's without a word.
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

/// Semantics, the table: RENAME_NOREPLACE gives EEXIST and theirs stays. `store_under_new_name` does not look at `noreplace` where the
/// content is unsent.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_file_that_may_not_replace_gives_way_to_what_another_made() {
    let (server, vfs, b) = sharing("other", b"x", settings()).await;
    let file = put(&vfs, Ino::ROOT, "a", b"one").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    write(&vfs, fh, b" two").await;
    upload(&b, "f", b"by B").await;
    let moved = vfs
        .rename(
            Ino::ROOT,
            os("a"),
            Ino::ROOT,
            os("f"),
            libc::RENAME_NOREPLACE,
        )
        .await;
    drop(vfs.flush(fh).await);
    vfs.release(fh);
    drop(vfs.drain().await);
    let shows = shown(&server, "f").await;
    assert!(
        matches!(moved, Err(Error::Exists)),
        "{moved:?} {:?}",
        shows.map(|f| String::from_utf8_lossy(&f).into_owned())
    );
}

/// The copy is there, the look fails, the caller is told an error: nobody takes the copy back (`copy_moved`: `take_back_locked(..).await?`).
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_may_not_replace_and_cannot_look_leaves_one_name() {
    let (server, vfs, _b) = sharing("other", b"x", settings()).await;
    put(&vfs, Ino::ROOT, "a", b"one").await;
    stored(&vfs).await;
    server
        .set_faults(&["list_file_versions:transaction-cap"])
        .unwrap();
    let moved = vfs
        .rename(
            Ino::ROOT,
            os("a"),
            Ino::ROOT,
            os("f"),
            libc::RENAME_NOREPLACE,
        )
        .await;
    assert!(moved.is_err());
    over(&server);
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["a", "other"]);
}

/// Issue line 5: the upload to the new name has worked, its answer is lost: it stays there for good, over what had the name. `send_content`
/// notes it for the file, that is for the old name; `commit_moved` has no `forget_copy_later`.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_file_whose_rename_seemed_to_fail_has_one_name() {
    for existing in [true, false] {
        let server = server();
        let vfs = impatient(&server, settings()).await;
        let file = put(&vfs, Ino::ROOT, "f", b"one").await;
        if existing {
            put(&vfs, Ino::ROOT, "g", b"precious").await;
        }
        stored(&vfs).await;
        let fh = vfs.open(file, RDWR).await.unwrap().fh;
        write(&vfs, fh, b" two").await;
        outage_after(&server, "upload_file");
        let moved = mv(&vfs, "f", "g").await;
        over(&server);
        assert!(moved.is_err());
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        stored(&vfs).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stored(&vfs).await;
        let expected = existing.then(|| b"precious".to_vec());
        assert_eq!(shown(&server, "g").await, expected);
        assert_eq!(shown(&server, "f").await, Some(b"one two".to_vec()));
    }
}

/// The stream ends under the old name (io/commit.rs, `settle`), the copy to the new one fails, and a removal costs no call: `Place::Free` does
/// not know of `misplaced`. The file comes back under the name that it had when it was begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_was_renamed_while_written_and_removed_is_under_no_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (fh, _) = streamed(&server, &vfs, "a").await;
    mv(&vfs, "a", "b").await.unwrap();
    server
        .set_faults(&["copy_file:storage-cap", "start_large_file:storage-cap"])
        .unwrap();
    assert!(vfs.flush(fh).await.is_err());
    rm(&vfs, "b").await.unwrap();
    vfs.release(fh);
    over(&server);
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names_now(&server).await, [""; 0]);
}

/// The same without a failure, where versions cannot be deleted (or are under retention): `Engine::delete_twin` only logs; issue, mechanism 1:
/// "without deleteFiles" it has to be hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_was_renamed_while_written_has_one_name_without_a_right_to_delete() {
    let server = server();
    let vfs = without_deletion(&server, settings(), Duration::from_secs(20)).await;
    let (fh, _) = streamed(&server, &vfs, "a").await;
    mv(&vfs, "a", "b").await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names_now(&server).await, ["b"]);
}

/// `forget_copy` deletes, or gives up after eight tries; it has to hide, or to copy on top what it covers, as `undo` does.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_rename_seemed_to_fail_has_one_name_without_a_right_to_delete() {
    let server = server();
    let vfs = without_deletion(&server, settings(), Duration::from_millis(800)).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    outage_after(&server, "copy_file");
    let moved = mv(&vfs, "f", "g").await;
    over(&server);
    assert!(moved.is_err());
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["f"]);
}

/// Issue line 6 for a rename: 404 for the whole ttl; only `commit_attributes` looks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_renamed_also_when_another_has_just_changed_its_attributes() {
    let (server, vfs, b) = sharing("f", b"content", settings()).await;
    change_mode(&b, "f", 0o640).await;
    let moved = mv(&vfs, "f", "g").await;
    let again = mv(&vfs, "f", "g").await;
    drop(vfs.drain().await);
    assert!(
        moved.is_ok() || again.is_ok(),
        "{moved:?} {again:?} {:?}",
        names_now(&server).await
    );
}

/// A directory's rename that fails, all in it removed, another file made there, and the rename asked for again.
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

/// Copies that `remove_copies` could not take back are unknown to the tree; the next try takes the new name for free and goes in among them.
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

/// The same at a cap, with a key without deleteFiles: copies are left visible instead of hidden.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_between_two_tries_of_a_directory_rename_does_not_come_back_without_a_right_to_delete()
 {
    let server = server();
    let vfs = without_deletion(&server, settings(), Duration::from_secs(20)).await;
    renamed_in_two_tries(&server, vfs, &["copy_file:storage-cap@2"]).await;
}

/// The same of a file that was never stored: it covers B's later, and no line of the log says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsent_file_that_may_not_replace_gives_way_to_what_another_made() {
    let (server, vfs, b) = sharing("other", b"x", much_later()).await;
    put(&vfs, Ino::ROOT, "a", b"by A").await;
    upload(&b, "unsent-noreplace", b"by B").await;
    let moved = vfs
        .rename(
            Ino::ROOT,
            os("a"),
            Ino::ROOT,
            os("unsent-noreplace"),
            libc::RENAME_NOREPLACE,
        )
        .await;
    drop(vfs.drain().await);
    let shows = shown(&server, "unsent-noreplace").await;
    let refused = matches!(moved, Err(Error::Exists));
    assert!(
        refused || said("unsent-noreplace"),
        "{moved:?} {:?}",
        shows.map(|found| String::from_utf8_lossy(&found).into_owned())
    );
}

/// `begin_move` looks only below a directory that is known; copies of a directory's rename are followed by no look. ENOTEMPTY, or a line
/// of the log, is what is promised.
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

/// Semantics, the table: "says so". `remove_page` swallows the `Stale` of `remove_own` and of `purge`.
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

/// Semantics 26, issue line 19: "a listing that lags behind our own write must not revert it". `copy_below` copies what the listing shows, the
/// older version, and the removal of the source hides the newer one that this mount has acknowledged.
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

/// The same with purge: `purge` takes the newer version for one of its own above the one believed in, and deletes it: what was closed with 0
/// is in no version.
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
