//! fallocate(2) as the kernel hands it over: what it changes of a node, what is refused.

use b2fuse::vfs::{Error, Ino};

use super::{RDONLY, RDWR, at, calls, get, mount, put, read_all, server, settings, versions};

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_stored_by_the_close_that_follows() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"0123456789").await;
    vfs.setattr(file, at(1_000_000_000)).await.unwrap();
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    vfs.fallocate(fh, 2, 3, PUNCH).await.unwrap();
    vfs.fallocate(fh, 8, 4, ZERO | KEEP).await.unwrap();
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"01\0\0\x00567\0\0");
    vfs.fallocate(fh, 7, 4, ZERO).await.unwrap();
    let expected = b"01\0\0\x0056\0\0\0\0";
    assert_eq!(read_all(&vfs, fh).await.unwrap(), expected);
    let attr = vfs.getattr(file).await.unwrap().0;
    assert_eq!(attr.size, 11);
    assert!(attr.mtime > std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000));
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_is_no_change() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"0123456789").await;
    let before = vfs.getattr(file).await.unwrap().0;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    for (offset, len, mode) in [
        (0, 10, 0),
        (0, 1 << 50, KEEP),
        (10, 5, PUNCH),
        (12, 5, ZERO | KEEP),
    ] {
        vfs.fallocate(fh, offset, len, mode).await.unwrap();
    }
    vfs.fsync(fh, false).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(vfs.getattr(file).await.unwrap().0.mtime, before.mtime);
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(calls(&server, "b2_copy_file"), 0);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"0123456789").await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    let refused = vfs.fallocate(fh, 0, 4, PUNCH).await;
    assert!(matches!(refused, Err(Error::BadHandle)), "{refused:?}");
    vfs.release(fh);
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    for mode in [
        libc::FALLOC_FL_COLLAPSE_RANGE,
        libc::FALLOC_FL_INSERT_RANGE,
        libc::FALLOC_FL_UNSHARE_RANGE,
        PUNCH | libc::FALLOC_FL_UNSHARE_RANGE,
    ] {
        let refused = vfs.fallocate(fh, 0, 4, mode).await;
        assert!(matches!(refused, Err(Error::NotSupported)), "{refused:?}");
    }
    for (offset, len) in [(u64::MAX, 2), (0, 20_000_000_000_000)] {
        let refused = vfs.fallocate(fh, offset, len, 0).await;
        assert!(matches!(refused, Err(Error::TooLarge)), "{refused:?}");
    }
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"0123456789");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(versions(&server).await, ["f upload"]);
}
