//! What a close, or none, leaves in the bucket.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_is_there_after_a_remount() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let dir = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, dir, "f", b"hello").await;
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    assert_eq!(get(&vfs, dir, "f").await.unwrap(), b"hello");
    assert_eq!(versions(&server).await, ["d/f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_that_nobody_closed_leave_no_versions() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    for i in 0..5 {
        vfs.write(fh, i, Bytes::from_static(b"x")).await.unwrap();
        vfs.fsync(fh, false).await.unwrap();
    }
    vfs.write(fh, 5, Bytes::from_static(b"y")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"xxxxxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_close_keeps_the_bytes_and_stores_them_later() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"precious"))
        .await
        .unwrap();
    server.set_faults(&["b2_upload_file:403"]).unwrap();
    let closed = vfs.flush(fh).await;
    assert!(
        matches!(&closed, Err(Error::B2(error)) if error.kind == b2::ErrorKind::CapExceeded),
        "{closed:?}"
    );
    vfs.release(fh);
    assert_eq!(vfs.pending().files, 1);
    assert_eq!(vfs.unstored()[0].path, "f");
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"precious");
    assert_eq!(vfs.drain().await.len(), 1);
    server.set_faults(&[]).unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_copy_of_the_descriptor_before_anything_is_written_stores_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"old").await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    // As a shell does for `echo new > f`.
    let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.flush(fh).await.unwrap();
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    vfs.write(fh, 0, Bytes::from_static(b"new")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 2);
    assert_eq!(versions(&server).await, ["f upload", "f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_only_created_is_stored_after_its_last_close() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "empty").await;
    vfs.flush(fh).await.unwrap();
    assert!(versions(&server).await.is_empty());
    vfs.setattr(attr.ino, at(1_000)).await.unwrap();
    vfs.release(fh);
    for _ in 0..100 {
        if !versions(&server).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(versions(&server).await, ["empty upload"]);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_only_created_and_still_open_is_stored_at_the_end() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "open").await;
    vfs.flush(fh).await.unwrap();
    assert_eq!(vfs.pending().files, 1);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["open upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptying_an_empty_file_stores_its_new_time() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"").await;
    vfs.setattr(ino, at(1_000)).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    let here = vfs.getattr(ino).await.unwrap().0.mtime;
    assert!(here > UNIX_EPOCH + Duration::from_secs(1_000));
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    let there = fresh.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(there.mtime, here);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_background_stores_is_never_seen_as_it_was_before() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(150),
        ..emulator::Options::default()
    })
    .unwrap();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"before"))
        .await
        .unwrap();
    vfs.fsync(fh, true).await.unwrap();
    let emptied = vfs.open(attr.ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
    vfs.release(emptied);
    vfs.release(fh);
    // The upload, and then the removal of the version in between, take a round trip each.
    for _ in 0..200 {
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 0);
        let fh = vfs.open(attr.ino, RDONLY).await.unwrap().fh;
        assert_eq!(read_all(&vfs, fh).await.unwrap(), b"");
        vfs.release(fh);
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().0.size, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(versions(&server).await, ["f upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_in_the_middle_of_writing_leave_no_versions_and_the_last_one_does() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    for round in 0..2 {
        let opened = vfs
            .create(Ino::ROOT, os("log"), new(FileKind::File), RDWR)
            .await
            .unwrap();
        let fh = opened.1.fh;
        // Children that inherited the descriptor end one after another.
        for i in 0..3 {
            let line = Bytes::from(format!("{round}{i}\n"));
            vfs.write(fh, i * 3, line).await.unwrap();
            vfs.flush(fh).await.unwrap();
        }
        vfs.release(fh);
    }
    assert_eq!(get(&vfs, Ino::ROOT, "log").await.unwrap(), b"10\n11\n12\n");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["log upload", "log upload"]);
}

/// Several writers, and a memory so small that they have to wait in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_several_append_at_once_is_all_there_and_whole() {
    let server = server();
    let (vfs, _io) = mount_within(&server, settings(), 12 << 20).await;
    let (ino, first) = {
        let (attr, fh) = create(&vfs, Ino::ROOT, "log").await;
        (attr.ino, fh)
    };
    let writers: Vec<_> = (0..4u8)
        .map(|who| {
            let vfs = vfs.clone();
            tokio::spawn(async move {
                let fh = vfs
                    .open(ino, libc::O_WRONLY | libc::O_APPEND)
                    .await
                    .unwrap()
                    .fh;
                for _ in 0..100 {
                    let record = Bytes::from(vec![who; 70_001]);
                    vfs.append(fh, record).await.unwrap();
                }
                vfs.release(fh);
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let content = read_all(&vfs, first).await.unwrap();
    assert_eq!(content.len(), 4 * 100 * 70_001);
    for record in content.chunks(70_001) {
        assert!(record.iter().all(|byte| *byte == record[0]));
    }
    for who in 0..4 {
        let records = content.chunks(70_001).filter(|record| record[0] == who);
        assert_eq!(records.count(), 100);
    }
    vfs.release(first);
}

/// The kernel tells of the last close only after close(2) has returned: whoever is quick comes in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_stays_a_version_although_the_last_close_is_not_told_yet() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let closed = |name: &'static str| {
        let vfs = vfs.clone();
        async move {
            let (attr, fh) = create(&vfs, Ino::ROOT, name).await;
            vfs.write(fh, 0, Bytes::from_static(b"closed"))
                .await
                .unwrap();
            vfs.flush(fh).await.unwrap();
            (attr.ino, fh)
        }
    };
    let (_, removed) = closed("removed").await;
    vfs.unlink(Ino::ROOT, os("removed")).await.unwrap();
    vfs.release(removed);
    // Stored by fsync already: its close has nothing to send.
    let (_, synced) = create(&vfs, Ino::ROOT, "synced").await;
    vfs.write(synced, 0, Bytes::from_static(b"closed"))
        .await
        .unwrap();
    vfs.fsync(synced, false).await.unwrap();
    vfs.flush(synced).await.unwrap();
    vfs.unlink(Ino::ROOT, os("synced")).await.unwrap();
    vfs.release(synced);
    let (ino, written) = closed("written").await;
    let other = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(other, 0, Bytes::from_static(b"anew"))
        .await
        .unwrap();
    vfs.release(written);
    vfs.flush(other).await.unwrap();
    vfs.release(other);
    let (ino, emptied) = closed("emptied").await;
    let empty = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    vfs.setattr(ino, empty).await.unwrap();
    vfs.release(emptied);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        versions(&server).await,
        [
            "emptied upload",
            "emptied upload",
            "removed hide",
            "removed upload",
            "synced hide",
            "synced upload",
            "written upload",
            "written upload"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_emptied() {
    const RUNS: i32 = 0x20; // as the kernel opens a program
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"program").await;
    let running = vfs.open(ino, RDONLY | RUNS).await.unwrap().fh;
    let refused = vfs.open(ino, RDONLY | libc::O_TRUNC).await;
    assert!(matches!(refused, Err(Error::Running)), "{refused:?}");
    assert_eq!(read_all(&vfs, running).await.unwrap(), b"program");
    vfs.release(running);
    let emptied = vfs.open(ino, RDONLY | libc::O_TRUNC).await.unwrap().fh;
    vfs.release(emptied);
    assert_eq!(vfs.getattr(ino).await.unwrap().0.size, 0);
}

/// Editors try whether they can make a file, and lock by files that live for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_only_created_is_stored_if_it_stays() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    create_closed(&vfs, "4913").await;
    vfs.unlink(Ino::ROOT, os("4913")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 0);
    assert_eq!(calls(&server, "b2_hide_file"), 0);

    // What stays takes its attributes along.
    let (attr, fh) = create(&vfs, Ino::ROOT, "empty").await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    vfs.setattr(attr.ino, at(1_000_000_000)).await.unwrap();
    history::until("it is stored", async || {
        calls(&server, "b2_upload_file") == 1
    })
    .await;
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(calls(&server, "b2_copy_file"), 0);
    assert_eq!(history::shown(&server, "empty").await, Some(Vec::new()));
    // fsync of its directory does not wait for the moment.
    create_closed(&vfs, "at once").await;
    history::sync_dir(&vfs, Ino::ROOT).await.unwrap();
    assert_eq!(history::shown(&server, "at once").await, Some(Vec::new()));
}

async fn create_closed(vfs: &Vfs, name: &str) {
    let (_, fh) = create(vfs, Ino::ROOT, name).await;
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}
