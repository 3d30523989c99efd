//! Files that have lost their names to other clients while somebody writes them.

use super::history::*;
use super::warnings::*;
use super::*;

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
