//! What is on its way to B2: how far each file is, and what its state says.

use super::history::until;
use super::write_back::{HOUR, later};
use super::*;

const STATE: &str = "user.b2fuse.state";

async fn state(vfs: &Vfs, ino: Ino) -> String {
    let value = vfs.getxattr(ino, os(STATE)).await.unwrap();
    String::from_utf8(value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_file_tells_what_b2_has_and_is_not_listed() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    let f = put(&vfs, Ino::ROOT, "f", b"content").await;
    assert_eq!(state(&vfs, f).await, "pending");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(state(&vfs, f).await, "stored");
    let opened = vfs.open(f, RDWR).await.unwrap();
    vfs.write(opened.fh, 0, Bytes::from_static(b"new"))
        .await
        .unwrap();
    server.set_faults(&["upload_file:storage-cap"]).unwrap();
    vfs.fsync(opened.fh, false).await.unwrap_err();
    let failed = state(&vfs, f).await;
    assert!(
        failed.starts_with("failed: ") && failed.contains("cap"),
        "{failed}"
    );
    assert!(vfs.listxattr(f).await.unwrap().is_empty());
    let set = vfs.setxattr(f, os(STATE), b"stored", 0).await;
    assert!(matches!(set, Err(Error::NotPermitted)));
    assert_eq!(state(&vfs, Ino::ROOT).await, "stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_have_left_are_not_to_be_sent_any_more() {
    const SIZE: u64 = 30 << 20;
    const PART: u64 = 6 << 20;
    let server = server();
    let (vfs, io) = mount_within(&server, later(HOUR), 128 << 20).await;
    server.set_faults(&["upload_part:hang:1@1"]).unwrap();
    let (attr, fh) = create(&vfs, Ino::ROOT, "large").await;
    vfs.write(fh, 0, Bytes::from(vec![7; SIZE as usize]))
        .await
        .unwrap();
    let closing = tokio::spawn({
        let vfs = vfs.clone();
        async move { vfs.fsync(fh, false).await }
    });
    until("all parts but one have left", async || {
        vfs.pending().unsent <= PART
    })
    .await;
    assert!(io.memory_unsent() > 0, "nothing of it is stored yet");
    let outgoing = vfs.outgoing(9);
    let [one] = &outgoing[..] else {
        panic!("{outgoing:?}")
    };
    assert_eq!((one.ino, &*one.path), (attr.ino, "large"));
    assert_eq!(one.progress.total, SIZE);
    let percent = (SIZE - PART) * 100 / SIZE;
    assert!(one.progress.percent() >= percent, "{one:?}");
    let said = state(&vfs, attr.ino).await;
    assert!(said.starts_with("sending "), "{said}");
    closing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_sent_comes_first_and_no_more_than_was_asked_for() {
    let server = server();
    let vfs = mount(&server, later(HOUR)).await;
    for name in ["a", "b", "c"] {
        put(&vfs, Ino::ROOT, name, b"waits").await;
    }
    let (_, fh) = create(&vfs, Ino::ROOT, "d").await;
    vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
    server.set_faults(&["upload_file:hang:1"]).unwrap();
    let storing = tokio::spawn({
        let vfs = vfs.clone();
        async move { vfs.fsync(fh, false).await }
    });
    until("it is being sent", async || {
        vfs.outgoing(2)[0].progress.begun
    })
    .await;
    let outgoing = vfs.outgoing(2);
    assert_eq!(outgoing.len(), 2);
    assert_eq!(outgoing[0].path, "d");
    assert_eq!(vfs.outgoing(99).len(), 4);
    storing.abort();
}
