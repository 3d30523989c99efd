//! Copies on the server that take so long that another client stores something under the name meanwhile: their time stamp
//! is that of their start.

use super::history::*;
use super::*;

const BIG: u64 = 501 * MB;

/// A mount that knows a file which is too large for one copy, and another client.
async fn with_big(name: &str) -> (Server, Vfs, Client) {
    let server = server();
    let seed = Seed {
        name: name.to_owned(),
        size: BIG,
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, settings()).await;
    let b = client(&server).await;
    assert_eq!(names(&vfs, Ino::ROOT).await.len(), 1);
    slow(&server);
    (server, vfs, b)
}

/// From here on the first finish of a large file takes a while.
fn slow(server: &Server) {
    let faults = ["no-md5", "finish_large_file:stall=1:1"];
    server.set_faults(&faults).unwrap();
}

/// B stores something while the copy is about to be finished.
async fn overtake(server: &Server, b: &Client, name: &str) {
    held(server, "b2_finish_large_file").await;
    upload(b, name, b"by B").await;
}

/// The sizes of the versions of a name, newest first.
async fn sizes(b: &Client, name: &str) -> Vec<u64> {
    let request = ListVersions {
        prefix: name.to_owned(),
        max: 100,
        ..ListVersions::default()
    };
    let page = b.list_file_versions(&request).await.unwrap();
    let rows = page.files.iter().filter(|row| row.name.as_str() == name);
    rows.map(|row| row.size).collect()
}

async fn lie_there(b: &Client, name: &str, wanted: &[u64]) {
    until("what should lie there", async || {
        sizes(b, name).await == wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_comes_on_top() {
    let (server, vfs, b) = with_big("big").await;
    let (moved, ()) = tokio::join!(mv(&vfs, "big", "f"), overtake(&server, &b, "f"));
    moved.unwrap();
    stored(&vfs).await;
    lie_there(&b, "f", &[BIG, 4]).await;
    assert_eq!(names_now(&server).await, ["f"]);
    let attr = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(attr.size, BIG);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_replace_gives_way() {
    let (server, vfs, b) = with_big("big").await;
    let noreplace = libc::RENAME_NOREPLACE;
    let moving = vfs.rename(Ino::ROOT, os("big"), Ino::ROOT, os("f"), noreplace);
    let (moved, ()) = tokio::join!(moving, overtake(&server, &b, "f"));
    assert!(matches!(moved, Err(Error::Exists)), "{moved:?}");
    stored(&vfs).await;
    lie_there(&b, "f", &[4]).await;
    assert_eq!(names_now(&server).await, ["big", "f"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"by B");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_go_to_what_was_stored_meanwhile() {
    let (server, vfs, b) = with_big("big").await;
    let file = ino(&vfs, Ino::ROOT, "big").await;
    chmod(&vfs, file, 0o600).await;
    tokio::join!(stored(&vfs), overtake(&server, &b, "big"));
    stored(&vfs).await;
    assert_eq!(mode(&server, "big").await & 0o777, 0o600);
    // A copy of theirs, theirs, and what that has replaced: the copy of that is gone.
    lie_there(&b, "big", &[4, 4, BIG]).await;
    assert_eq!(get(&vfs, Ino::ROOT, "big").await.unwrap(), b"by B");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_with_its_directory_comes_on_top() {
    let (server, vfs, b) = with_big("d/big").await;
    let overtaken = overtake(&server, &b, "e/big");
    let (moved, ()) = tokio::join!(mv(&vfs, "d", "e"), overtaken);
    moved.unwrap();
    stored(&vfs).await;
    lie_there(&b, "e/big", &[BIG, 4]).await;
    assert_eq!(names_now(&server).await, ["e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_copy_that_may_have_been_made_goes_again() {
    let server = server();
    let seed = Seed {
        name: "big".to_owned(),
        size: BIG,
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = impatient(&server, settings()).await;
    let faults = [
        "no-md5",
        "finish_large_file:lost-reply",
        "get_file_info:503",
    ];
    server.set_faults(&faults).unwrap();
    let noreplace = libc::RENAME_NOREPLACE;
    let moved = vfs.rename(Ino::ROOT, os("big"), Ino::ROOT, os("f"), noreplace);
    assert!(moved.await.is_err());
    let b = client(&server).await;
    assert_eq!(sizes(&b, "f").await, [BIG]);
    server.set_faults(&["no-md5"]).unwrap();
    lie_there(&b, "f", &[]).await;
    assert_eq!(names_now(&server).await, ["big"]);
    // One that nobody waits for is tried again, and leaves one copy.
    server.set_faults(&faults).unwrap();
    mv(&vfs, "big", "f").await.unwrap();
    assert!(sync_dir(&vfs, Ino::ROOT).await.is_err());
    server.set_faults(&["no-md5"]).unwrap();
    stored(&vfs).await;
    lie_there(&b, "f", &[BIG]).await;
    assert_eq!(names_now(&server).await, ["f"]);
}
