//! Files that are renamed while they are written, or whose rename seemed to fail, have one name in the end.

use super::history::*;
use super::warnings::*;
use super::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_rename_seemed_to_fail_has_one_name_without_a_right_to_delete() {
    let server = server();
    let vfs = without_deletion(&server, settings(), Duration::from_millis(800)).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    outage_after(&server, "copy_file");
    mv(&vfs, "f", "g").await.unwrap();
    assert!(sync_dir(&vfs, Ino::ROOT).await.is_err());
    over(&server);
    stored(&vfs).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["g"]);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn of_versions_with_one_time_the_first_in_the_list_is_the_file() {
    let server = server();
    server.set_faults(&["stamp-step=3600000"]).unwrap();
    let b = client(&server).await;
    upload(&b, "f", b"one").await;
    upload(&b, "f", b"second").await;
    let vfs = mount(&server, without_memory()).await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"second");
    upload(&b, "f", b"third").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"third");

    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    let truncated = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap();
    let new = Bytes::from_static(b"own");
    vfs.write(truncated.fh, 0, new).await.unwrap();
    vfs.flush(truncated.fh).await.unwrap();
    vfs.release(truncated.fh);
    assert!(vfs.drain().await.is_empty());
    for vfs in [vfs, mount(&server, settings()).await] {
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"own");
    }
}
