//! Files that somebody has encrypted with a key of their own (SSE-C): shown, replaced and removed, but neither read nor
//! copied, for b2fuse does not have the key.

use super::warnings::{listen, times_said};
use super::*;

/// A server with one such file, and a mount of it.
async fn sealed(name: &str, size: u64) -> (Server, Vfs) {
    listen();
    let server = server();
    let seed = Seed {
        name: name.to_owned(),
        size,
        upload_timestamp: Some(1_700_000_000_000),
        customer_key_md5: Some("dnF5x6K/8ZZRzpfSlMMM+w==".to_owned()),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, settings()).await;
    (server, vfs)
}

async fn attr(vfs: &Vfs, name: &str) -> Attr {
    vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr
}

async fn rename(vfs: &Vfs, from: &str, to: &str) -> Result<(), Error> {
    vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0).await
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Access))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_customers_key_is_shown_and_not_read() {
    let (server, vfs) = sealed("sealed-read", 7).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["sealed-read"]);
    let shown = attr(&vfs, "sealed-read").await;
    let uploaded = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!((shown.size, shown.mtime), (7, uploaded));
    for flags in [RDONLY, RDWR, libc::O_WRONLY] {
        assert!(is_refused(&vfs.open(shown.ino, flags).await), "{flags}");
    }
    assert_eq!(calls(&server, "b2_download_file_by_id"), 0);
    let line =
        "\"sealed-read\" is encrypted with a customer's key (SSE-C), which b2fuse does not have";
    assert_eq!(times_said(line), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_a_file_with_a_customers_key_changes_nothing() {
    let (server, vfs) = sealed("d/sealed-rename", 7).await;
    seed(&server, ["d/other".to_owned()].into_iter());
    let before = ["d/other upload", "d/sealed-rename upload"];
    // The directory as a whole, and the file alone.
    assert!(is_refused(&rename(&vfs, "d", "e").await));
    let d = attr(&vfs, "d").await.ino;
    let moved = vfs
        .rename(d, os("sealed-rename"), Ino::ROOT, os("b"), 0)
        .await;
    assert!(is_refused(&moved));
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, before);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d"]);
    assert_eq!(times_said("\"d/sealed-rename\" is encrypted"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_attributes_of_a_file_with_a_customers_key_changes_nothing() {
    let (server, vfs) = sealed("sealed-chmod", 7).await;
    let shown = attr(&vfs, "sealed-chmod").await;
    let chmod = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let size = SetAttr {
        size: Some(3),
        ..SetAttr::default()
    };
    for set in [chmod, at(5), size] {
        assert!(is_refused(&vfs.setattr(shown.ino, set).await));
    }
    let set = vfs.setxattr(shown.ino, os("user.x"), b"1", 0).await;
    assert!(is_refused(&set));
    assert!(vfs.drain().await.is_empty());
    let after = attr(&vfs, "sealed-chmod").await;
    assert_eq!(
        (after.mode, after.mtime, after.size),
        (shown.mode, shown.mtime, 7)
    );
    assert_eq!(calls(&server, "b2_copy_file"), 0);
    assert_eq!(versions(&server).await, ["sealed-chmod upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_customers_key_is_replaced_and_removed_as_any_other() {
    let (server, vfs) = sealed("sealed-replace", 7).await;
    let ino = attr(&vfs, "sealed-replace").await.ino;
    let truncated = vfs.open(ino, libc::O_WRONLY | libc::O_TRUNC).await.unwrap();
    let new = Bytes::from_static(b"new");
    vfs.write(truncated.fh, 0, new).await.unwrap();
    vfs.flush(truncated.fh).await.unwrap();
    vfs.release(truncated.fh);
    assert_eq!(
        get(&vfs, Ino::ROOT, "sealed-replace").await.unwrap(),
        b"new"
    );

    let (other, vfs) = sealed("sealed-remove", 7).await;
    vfs.unlink(Ino::ROOT, os("sealed-remove")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        versions(&other).await,
        ["sealed-remove hide", "sealed-remove upload"]
    );
    drop(server);
}
