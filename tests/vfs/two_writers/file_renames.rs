//! Renames of files to names that another client makes, or of files that it replaces.

use super::history::*;
use super::warnings::*;
use super::*;

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
