//! Times and other attributes: what is stored of them, and when.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn attribute_changes_are_merged_and_leave_no_twin() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    for seconds in 0..20 {
        vfs.setattr(ino, at(seconds)).await.unwrap();
    }
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nanoseconds_survive_a_remount() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    let exact = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    let set = SetAttr {
        mtime: Some(Some(exact)),
        ..SetAttr::default()
    };
    vfs.setattr(ino, set).await.unwrap();
    vfs.drain().await;
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let attr = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(attr.mtime, exact);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_opened_while_its_attributes_are_stored_stays_readable() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(100),
        ..emulator::Options::default()
    })
    .unwrap();
    let all_at_once = Settings {
        parallel: 24,
        ..settings()
    };
    let vfs = mount(&server, all_at_once).await;
    let puts = (0..24).map(|i| {
        let vfs = &vfs;
        async move { put(vfs, Ino::ROOT, &format!("f{i}"), b"content").await }
    });
    let files = futures_util::future::join_all(puts).await;
    for ino in &files {
        vfs.setattr(*ino, at(1_000)).await.unwrap();
    }
    let drainer = vfs.clone();
    let draining = tokio::spawn(async move { drainer.drain().await });
    // Each file is copied, and then its older version is deleted; one of them is opened at any time.
    let mut open = Vec::new();
    for ino in &files {
        open.push(vfs.open(*ino, RDONLY).await.unwrap().fh);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(draining.await.unwrap().is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 24);
    assert_eq!(calls(&server, "b2_delete_file_version"), 24);
    for fh in open {
        assert_eq!(read_all(&vfs, fh).await.unwrap(), b"content");
        vfs.release(fh);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_a_file_are_those_that_others_will_see() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let started = SystemTime::now();
    let ino = put(&vfs, Ino::ROOT, "f", b"x").await;
    let here = vfs.getattr(ino).await.unwrap().0;
    assert!(here.mtime >= started);
    let fresh = mount(&server, settings()).await;
    let there = fresh.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(here.mtime, there.mtime);
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}
