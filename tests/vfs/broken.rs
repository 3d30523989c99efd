//! What a hostile reviewer found: each test fails because the program does what issue 11, DESIGN §2 or `docs/semantics.md`
//! say it never does. The comment on each says which, and where the fault is.

use std::sync::Mutex;

use super::history::*;
use super::*;

/// What the program has logged as a warning, by all tests of this binary: names are unique to a test.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            SAID.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn listen() {
    if log::set_boxed_logger(Box::new(Listener)).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Whether a warning names this file.
fn said(name: &str) -> bool {
    let said = SAID.lock().unwrap();
    said.iter().any(|line| line.contains(name))
}

/// A mount that has seen `name`, which B made, and B.
async fn sharing(name: &str, content: &[u8], settings: Settings) -> (Server, Vfs, Client) {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, name, content).await;
    let vfs = mount(&server, settings).await;
    drop(names(&vfs, Ino::ROOT).await);
    (server, vfs, b)
}

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

/// `chmod`, and the copy that stores it, as `fsync` does.
async fn chmod_now(vfs: &Vfs, file: Ino, mode: u32) {
    chmod(vfs, file, mode).await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
}

fn outage_after(server: &Server, call: &str) {
    let first = format!("{call}:lost-reply:1");
    let faults = [
        &*first,
        "upload:reset",
        "copy_file:reset",
        "hide_file:reset",
        "delete_file_version:reset",
        "get_file_info:reset",
        "list:reset",
    ];
    server.set_faults(&faults).unwrap();
}

fn over(server: &Server) {
    server.set_faults(&[]).unwrap();
}

/// Holds the looks at versions up, so that what follows a deed comes before the look at it.
fn slow_looks(server: &Server) {
    server
        .set_faults(&["list_file_versions:stall=1:1"])
        .unwrap();
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
