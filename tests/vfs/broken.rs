//! What a hostile reviewer found: each test fails because the program does what issue 11, DESIGN §2 or `docs/semantics.md`
//! say it never does. The comment on each says which, and where the fault is.

use super::history::*;
use super::warnings::*;
use super::*;

/// Issue, mechanism 1: "never what it has not seen". Nothing is looked at, and nothing logged, when a new file covers B's (`commit_content_at`:
/// no deed where `believed` is none); the purge of it then takes all that lies under the version believed in.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_a_new_file_covers_unseen() {
    let (server, vfs, b) = sharing("other", b"x", purging()).await;
    upload(&b, "new-and-gone", b"new by B").await;
    put(&vfs, Ino::ROOT, "new-and-gone", b"by A").await;
    at_rest(&vfs).await;
    rm(&vfs, "new-and-gone").await.unwrap();
    stored(&vfs).await;
    let kept = is_somewhere(&server, b"new by B").await;
    assert!(
        kept || said("new-and-gone"),
        "{:?}",
        everything(&server).await
    );
}

/// Issue lines 2 and 3: the copy of the old content covers B's version, and before the look undoes that, `purge` deletes every row from
/// `believed` down (versions/purge.rs, `left`), B's among them.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_an_attribute_copy_covers_unseen() {
    let (server, vfs, b) = sharing("f", b"old", purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    upload(&b, "f", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(rm(&vfs, "f").await);
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{:?}",
        everything(&server).await
    );
}

/// Issue line 3: the look at the first copy finds it covered by the second and gives up (`take_back_locked`: `position != Some(0)`); the second
/// one believes in the first. B's new content stays under the old one, and nothing is logged.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_twice_in_a_row_cover_nothing_of_others() {
    let (server, vfs, b) = sharing("twice", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "twice").await;
    upload(&b, "twice", b"new by B").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    chmod_now(&vfs, file, 0o640).await;
    stored(&vfs).await;
    let all = everything(&server).await;
    assert_eq!(
        shown(&server, "twice").await,
        Some(b"new by B".to_vec()),
        "{} {all:?}",
        said("twice")
    );
}

/// The same where B has removed the file: it is back for good.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_twice_in_a_row_bring_nothing_back() {
    let (server, vfs, b) = sharing("twice-gone", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "twice-gone").await;
    hide(&b, "twice-gone").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    chmod_now(&vfs, file, 0o640).await;
    stored(&vfs).await;
    assert_eq!(
        shown(&server, "twice-gone").await,
        None,
        "{}",
        said("twice-gone")
    );
}

/// The same with a rename as the second deed: B's content is hidden, the old one is under the new name, nothing is said (issue line 2).
#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_a_rename_hide_nothing_of_others() {
    let (server, vfs, b) = sharing("chmod-mv", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "chmod-mv").await;
    upload(&b, "chmod-mv", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(mv(&vfs, "chmod-mv", "g").await);
    let told = sync_dir(&vfs, Ino::ROOT).await;
    drop(vfs.drain().await);
    let new = Some(b"new by B".to_vec());
    let (f, g) = (shown(&server, "chmod-mv").await, shown(&server, "g").await);
    assert!(
        f == new || g == new,
        "{told:?} {} {:?}",
        said("chmod-mv"),
        everything(&server).await
    );
}

/// The same with new content as the second deed: it stays on top, but semantics promises a log line that names both.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_content_written_over_others_are_logged() {
    let (server, vfs, b) = sharing("chmod-write", b"old", settings()).await;
    let file = ino(&vfs, Ino::ROOT, "chmod-write").await;
    upload(&b, "chmod-write", b"new by B").await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    write(&vfs, fh, b" by A").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    let shows = shown(&server, "chmod-write").await;
    assert!(
        said("chmod-write"),
        "{shows:?} {:?}",
        everything(&server).await
    );
}

/// The same with a removal as the first deed: neither ESTALE nor a log line tells of B's version under the hide marker (semantics 32).
#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_and_made_anew_covers_nothing_of_others_without_a_word() {
    let (server, vfs, b) = sharing("rm-make", b"old", settings()).await;
    upload(&b, "rm-make", b"new by B").await;
    slow_looks(&server);
    rm(&vfs, "rm-make").await.unwrap();
    put(&vfs, Ino::ROOT, "rm-make", b"by A").await;
    let told = sync_dir(&vfs, Ino::ROOT).await;
    stored(&vfs).await;
    assert!(
        told.is_err() || said("rm-make"),
        "{told:?} {:?}",
        everything(&server).await
    );
}

/// Semantics, the table's first row: "log: names both versions". `commit_content_at` and `store_under_new_name` make no deed where
/// nothing was believed under the name; issue line 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_over_what_another_made_meanwhile_is_logged() {
    for way in ["create", "rename"] {
        let (server, vfs, b) = sharing("other", b"x", settings()).await;
        let name = format!("new-{way}");
        upload(&b, &name, b"by B").await;
        if way == "create" {
            put(&vfs, Ino::ROOT, &name, b"by A").await;
        } else {
            put(&vfs, Ino::ROOT, "tmp", b"by A").await;
            mv(&vfs, "tmp", &name).await.unwrap();
        }
        stored(&vfs).await;
        assert_eq!(shown(&server, &name).await, Some(b"by A".to_vec()));
        assert!(said(&name), "{way}");
    }
}

/// Mechanism 2: `make_stored` detaches what it could not store, and with it what is known of the call of unknown outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_seemed_to_fail_is_not_there_later() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    outage_after(&server, "upload_file");
    let made = vfs
        .symlink(Ino::ROOT, os("l"), b"target", new(FileKind::Symlink))
        .await;
    over(&server);
    assert!(made.is_err());
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stored(&vfs).await;
    let here = names(&vfs, Ino::ROOT).await;
    assert_eq!(names_now(&server).await, here);
}

/// Semantics 32: "that is told by rmdir". `rmdir` waits for removals, but not for the looks that follow them, and `take_over` returns before
/// `tell_of` where the directory is gone: `rm -r d` gives 0, and `d/f` is there.
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

/// Issue line 19: `remove_own` believes a list of versions that does not show the one it is to remove, and removes nothing.
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

/// The same for `purge`: success, no call that removes anything, and the file is back.
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

/// `between` takes "the version made is not listed" for "superseded, and gone": the look is over, and the old content stays over B's.
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

/// Semantics 25: `settle_vanished` applies what it saw without asking whether the file has still the version it asked about: what was closed
/// meanwhile is ENOENT for the whole ttl.
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

/// Version `old`, of long ago and current since then, and B's unseen one over it.
async fn long_ago(settings: Settings) -> (Server, Vfs, Client) {
    let server = server();
    let seed = Seed {
        name: "f".to_owned(),
        size: 3,
        upload_timestamp: Some(1_600_000_000_000),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, settings).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    let b = client(&server).await;
    upload(&b, "f", b"new by B").await;
    (server, vfs, b)
}

/// The same by a rename of a file older than a day: the old content is all that is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_by_rename_deletes_no_version_that_an_attribute_copy_covers_unseen() {
    let (server, vfs, _b) = long_ago(purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    chmod_now(&vfs, file, 0o600).await;
    let moved = mv(&vfs, "f", "g").await;
    let told = sync_dir(&vfs, Ino::ROOT).await;
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{moved:?} {told:?} {:?}",
        everything(&server).await
    );
}

/// The same with content in the place of attributes.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_version_that_new_content_covers_unseen() {
    let (server, vfs, _b) = long_ago(purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDWR | libc::O_TRUNC).await.unwrap().fh;
    write(&vfs, fh, b"by A").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    drop(rm(&vfs, "f").await);
    drop(vfs.drain().await);
    assert!(
        is_somewhere(&server, b"new by B").await,
        "{:?}",
        everything(&server).await
    );
}

/// The same with a rename of its directory.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_stored_and_a_rename_of_the_directory_hide_nothing_of_others() {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, "d/chmod-mvdir", b"old").await;
    let vfs = mount(&server, settings()).await;
    let d = ino(&vfs, Ino::ROOT, "d").await;
    let file = ino(&vfs, d, "chmod-mvdir").await;
    upload(&b, "d/chmod-mvdir", b"new by B").await;
    chmod_now(&vfs, file, 0o600).await;
    drop(mv(&vfs, "d", "e").await);
    drop(vfs.drain().await);
    let new = Some(b"new by B".to_vec());
    let (old_name, new_name) = (
        shown(&server, "d/chmod-mvdir").await,
        shown(&server, "e/chmod-mvdir").await,
    );
    assert!(
        old_name == new || new_name == new,
        "{} {:?}",
        said("chmod-mvdir"),
        everything(&server).await
    );
}

/// The same verdict deletes the twin, although the version that was to replace it is gone: the only copy of an acknowledged content.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_has_become_the_newest_again_is_not_deleted() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    let b = client(&server).await;
    slow_looks(&server);
    chmod_now(&vfs, file, 0o600).await;
    held(&server, "b2_list_file_versions").await;
    // B takes the newest back.
    delete_newest(&b, "f").await;
    stored(&vfs).await;
    assert!(is_somewhere(&server, b"content").await);
}

/// Semantics, 84 and the table: fsync of the directory waits for the look and tells. A look that failed counts as one that found nothing.
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
