//! What one mount by itself must keep: across purges, renames, refusals and a kill (the core is dropped without a drain).

use super::history::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_before_what_replaces_it_is_stored() {
    let server = server();
    upload(&client(&server).await, "f", b"OLD").await;
    let settings = Settings {
        delete: Delete::Purge,
        ..much_later()
    };
    let vfs = mount(&server, settings).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    put(&vfs, Ino::ROOT, "tmp", b"NEW").await;
    mv(&vfs, "tmp", "f").await.unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    at_rest(&vfs).await;
    drop(vfs);
    let all = everything(&server).await;
    let kept = all
        .iter()
        .any(|(_, found)| matches!(found.as_deref(), Some(b"OLD" | b"NEW")));
    assert!(kept, "{all:?}");
}

/// Directories, one in the other, whose path has about this many bytes.
async fn deep(vfs: &Vfs, top: &str, len: usize) -> Ino {
    let mut dir = mkdir(vfs, Ino::ROOT, top).await;
    let mut path = top.len();
    while path < len {
        let name = "x".repeat((len - path).clamp(2, 201) - 1);
        path += name.len() + 1;
        dir = mkdir(vfs, dir, &name).await;
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rename_that_makes_an_unsent_name_too_long_moves_nothing() {
    let server = server();
    let vfs = mount(&server, much_later()).await;
    let dir = deep(&vfs, "d", 900).await;
    put(&vfs, dir, &"f".repeat(100), b"content").await;
    let moved = mv(&vfs, "d", &"e".repeat(100)).await;
    assert!(matches!(moved, Err(Error::NameTooLong)), "{moved:?}");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["d"]);
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["d"]);
    assert!(is_somewhere(&server, b"content").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_leaves_what_readers_of_an_earlier_file_of_the_name_have_open() {
    let server = server();
    upload(&client(&server).await, "f", b"first").await;
    let vfs = mount(&server, purging()).await;
    let first = ino(&vfs, Ino::ROOT, "f").await;
    let reader = vfs.open(first, RDONLY).await.unwrap().fh;
    rm(&vfs, "f").await.unwrap();
    put(&vfs, Ino::ROOT, "f", b"second").await;
    rm(&vfs, "f").await.unwrap();
    at_rest(&vfs).await;
    assert_eq!(read_all(&vfs, reader).await.unwrap(), b"first");
    vfs.release(reader);
    until("the purge", async || everything(&server).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_stays_a_version_when_its_successor_gets_another_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let file = put(&vfs, Ino::ROOT, "f", b"V1").await;
    let fh = vfs.open(file, RDWR).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::from_static(b"V2")).await.unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["g"]);
    assert_eq!(shown(&server, "g").await, Some(b"V2".to_vec()));
    assert!(
        is_somewhere(&server, b"V1").await,
        "{:?}",
        everything(&server).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_reads_is_shortened_for_all() {
    for settings in [settings(), much_later()] {
        let server = server();
        upload(&client(&server).await, "f", b"0123456789").await;
        let vfs = mount(&server, settings.clone()).await;
        let file = ino(&vfs, Ino::ROOT, "f").await;
        let reader = vfs.open(file, RDONLY).await.unwrap().fh;
        let size = SetAttr {
            size: Some(3),
            ..SetAttr::default()
        };
        vfs.setattr(file, size).await.unwrap();
        if settings.write_back.is_none() {
            assert_eq!(shown(&server, "f").await, Some(b"012".to_vec()));
        }
        vfs.flush(reader).await.unwrap();
        vfs.release(reader);
        stored(&vfs).await;
        assert_eq!(shown(&server, "f").await, Some(b"012".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_outlives_a_rename_over_it_that_fails() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let a = mkdir(&vfs, Ino::ROOT, "a").await;
    put(&vfs, a, "f", b"content").await;
    mkdir(&vfs, Ino::ROOT, "b").await;
    stored(&vfs).await;
    server.set_faults(&["copy_file:403"]).unwrap();
    assert!(mv(&vfs, "a", "b").await.is_err());
    server.set_faults(&[]).unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["a", "b"]);
    assert_eq!(shown(&server, "a/f").await, Some(b"content".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_outlives_a_rename_over_it_whose_names_are_too_long() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let dir = deep(&vfs, "a", 900).await;
    put(&vfs, dir, &"f".repeat(100), b"content").await;
    let long = "b".repeat(100);
    mkdir(&vfs, Ino::ROOT, &long).await;
    stored(&vfs).await;
    let moved = mv(&vfs, "a", &long).await;
    assert!(matches!(moved, Err(Error::NameTooLong)), "{moved:?}");
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["a", &long]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_fsync_of_its_parent_a_new_directory_outlives_a_kill() {
    for settings in [settings(), much_later()] {
        let server = server();
        let vfs = mount(&server, settings.clone()).await;
        let d = mkdir(&vfs, Ino::ROOT, "d").await;
        mkdir(&vfs, d, "sub").await;
        sync_dir(&vfs, d).await.unwrap();
        drop(vfs);
        let vfs = mount(&server, settings).await;
        let d = ino(&vfs, Ino::ROOT, "d").await;
        assert_eq!(names(&vfs, d).await, ["sub"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_fsync_of_its_directory_a_new_empty_file_outlives_a_kill() {
    for settings in [settings(), much_later()] {
        let server = server();
        let vfs = mount(&server, settings.clone()).await;
        let d = mkdir(&vfs, Ino::ROOT, "d").await;
        // Slow enough for a kill before what happens behind the close.
        server.set_faults(&["upload_file:stall=1:1"]).unwrap();
        let (_, fh) = create(&vfs, d, "e").await;
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        sync_dir(&vfs, d).await.unwrap();
        assert_eq!(shown(&server, "d/e").await, Some(b"".to_vec()));
        drop(vfs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_too_long_for_a_marker_is_given_up_without_an_error() {
    let server = server();
    let path = vec!["d".repeat(203); 5].join("/");
    assert!(path.len() + "/f".len() <= 1024 && path.len() + "/.bzEmpty".len() > 1024);
    upload(&client(&server).await, &format!("{path}/f"), b"x").await;
    let vfs = mount(&server, settings()).await;
    let mut dir = Ino::ROOT;
    for name in path.split('/') {
        dir = ino(&vfs, dir, name).await;
    }
    assert_eq!(names(&vfs, dir).await, ["f"]);
    vfs.unlink(dir, os("f")).await.unwrap();
    stored(&vfs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_and_still_open_is_gone_after_the_end() {
    let server = server();
    upload(&client(&server).await, "f", b"content").await;
    let vfs = mount(&server, purging()).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let reader = vfs.open(file, RDONLY).await.unwrap().fh;
    rm(&vfs, "f").await.unwrap();
    assert_eq!(read_all(&vfs, reader).await.unwrap(), b"content");
    stored(&vfs).await;
    assert_eq!(everything(&server).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_being_written_can_be_removed_at_a_cap() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (fh, _) = streamed(&server, &vfs, "big").await;
    let calls = [
        "upload",
        "start_large_file",
        "finish_large_file",
        "copy_file",
        "copy_part",
    ];
    let caps = calls.map(|call| format!("{call}:storage-cap"));
    let caps: Vec<&str> = caps.iter().map(String::as_str).collect();
    server.set_faults(&caps).unwrap();
    rm(&vfs, "big").await.unwrap();
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    // What nobody can reach by name need not be stored.
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, [""; 0]);
}

/// Writes 30 MiB to a file that nobody reads, and closes it: the close waits for parts that do not move.
async fn close_that_hangs(
    vfs: &Vfs,
    server: &Server,
    ino: Ino,
) -> (Fh, tokio::task::JoinHandle<Result<(), Error>>) {
    server
        .set_faults(&["upload_part:stall=60:1", "no-md5"])
        .unwrap();
    let fh = vfs.open(ino, libc::O_WRONLY).await.unwrap().fh;
    let piece = Bytes::from(vec![7; 1 << 20]);
    for at in 0..30u64 {
        vfs.write(fh, at << 20, piece.clone()).await.unwrap();
    }
    let closing = {
        let vfs = vfs.clone();
        tokio::spawn(async move { vfs.flush(fh).await })
    };
    while calls(server, "b2_start_large_file") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (fh, closing)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_can_read_is_removed_without_being_sent() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let made = create(&vfs, Ino::ROOT, "copy").await;
    vfs.release(made.1);
    stored(&vfs).await;
    let (fh, closing) = close_that_hangs(&vfs, &server, made.0.ino).await;
    let removed = tokio::time::timeout(Duration::from_secs(40), rm(&vfs, "copy")).await;
    removed.expect("it waits for nothing").unwrap();
    closing.await.unwrap().unwrap();
    vfs.release(fh);
    server.set_faults(&["no-md5"]).unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, [""; 0]);
    assert_eq!(calls(&server, "b2_finish_large_file"), 0);
    // Given up in the background.
    let given_up = async {
        while calls(&server, "b2_cancel_large_file") < calls(&server, "b2_start_large_file") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let given_up = tokio::time::timeout(Duration::from_secs(20), given_up).await;
    given_up.expect("every large file");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_somebody_reads_nothing_more_is_sent_when_it_is_removed() {
    let server = server();
    let settings = Settings {
        delete: Delete::Purge,
        ..settings()
    };
    let (vfs, _io) = mount_within(&server, settings, 512 << 20).await;
    let (attr, made) = create(&vfs, Ino::ROOT, "copy").await;
    vfs.release(made);
    stored(&vfs).await;
    let before = server.counters().bytes_in;
    let fh = vfs.open(attr.ino, RDWR).await.unwrap().fh;
    let mut model = Vec::new();
    for at in 0..200u64 {
        let piece = vec![at as u8; 1 << 20];
        let written = vfs.write(fh, at << 20, Bytes::from(piece.clone()));
        written.await.unwrap();
        model.extend_from_slice(&piece);
        if at == 40 {
            // Some of it has left, and is asked for: the rest waits for the close.
            while calls(&server, "b2_upload_part") == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(vfs.read(fh, 0, 1).await.unwrap().concat(), [0]);
        }
    }
    rm(&vfs, "copy").await.unwrap();
    let sent = server.counters().bytes_in - before;
    assert!(sent < 60 << 20, "{sent} bytes were sent");
    at_rest(&vfs).await;
    assert_eq!(names_now(&server).await, [""; 0]);
    assert!(read_all(&vfs, fh).await.unwrap() == model);
    // It can be written to as long as memory holds it.
    vfs.write(fh, 10, Bytes::from_static(b"written"))
        .await
        .unwrap();
    model[10..17].copy_from_slice(b"written");
    vfs.flush(fh).await.unwrap();
    assert!(read_all(&vfs, fh).await.unwrap() == model);
    vfs.release(fh);
    until("the purge", async || everything(&server).await.is_empty()).await;
    assert!(server.counters().bytes_in - before < 60 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_stored_after_all() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let (attr, made) = create(&vfs, Ino::ROOT, "kept").await;
    vfs.release(made);
    stored(&vfs).await;
    let fh = vfs.open(attr.ino, libc::O_WRONLY).await.unwrap().fh;
    write(&vfs, fh, b"content").await;
    server.set_faults(&["hide_file:403"]).unwrap();
    rm(&vfs, "kept").await.unwrap_err();
    assert_eq!(calls(&server, "b2_hide_file"), 1);
    server.set_faults(&[]).unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), vfs.flush(fh)).await;
    closed.expect("it is sent again").unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    let shown = shown(&server, "kept").await;
    assert_eq!(shown.as_deref(), Some(&b"content"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_stays_a_version_also_with_purge() {
    for settings in [
        purging(),
        Settings {
            delete: Delete::Purge,
            ..much_later()
        },
    ] {
        let server = server();
        let vfs = mount(&server, settings).await;
        let file = put(&vfs, Ino::ROOT, "f", b"V1").await;
        stored(&vfs).await;
        let fh = vfs.open(file, RDWR).await.unwrap().fh;
        vfs.write(fh, 0, Bytes::from_static(b"V2")).await.unwrap();
        mv(&vfs, "f", "g").await.unwrap();
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        at_rest(&vfs).await;
        assert_eq!(names_now(&server).await, ["g"]);
        assert_eq!(shown(&server, "g").await, Some(b"V2".to_vec()));
        assert!(is_somewhere(&server, b"V1").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_large_file_was_begun_under_is_gone_at_the_end() {
    let server = server();
    let (vfs, io) = mount_within(&server, much_later(), 64 << 20).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    let mut model = Vec::new();
    while calls(&server, "b2_upload_part") == 0 {
        let piece = vec![model.len() as u8; 1 << 20];
        let offset = model.len() as u64;
        vfs.write(fh, offset, Bytes::from(piece.clone()))
            .await
            .unwrap();
        model.extend_from_slice(&piece);
    }
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    mv(&vfs, "f", "g").await.unwrap();
    // A deletion that takes long is waited for.
    server.set_faults(&["delete_file_version:stall=2"]).unwrap();
    assert!(vfs.drain().await.is_empty());
    drop((vfs, io));
    assert_eq!(names_now(&server).await, ["g"]);
    assert!(shown(&server, "g").await == Some(model));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_can_read_is_replaced_without_being_sent() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, made) = create(&vfs, Ino::ROOT, "copy").await;
    vfs.release(made);
    put(&vfs, Ino::ROOT, "new", b"new").await;
    stored(&vfs).await;
    let (fh, closing) = close_that_hangs(&vfs, &server, attr.ino).await;
    let renamed = tokio::time::timeout(Duration::from_secs(40), mv(&vfs, "new", "copy")).await;
    renamed.expect("it waits for nothing").unwrap();
    closing.await.unwrap().unwrap();
    vfs.release(fh);
    server.set_faults(&["no-md5"]).unwrap();
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["copy"]);
    assert_eq!(shown(&server, "copy").await, Some(b"new".to_vec()));
    assert_eq!(calls(&server, "b2_finish_large_file"), 0);
}

/// What takes long because the line is slow is no reason to give up.
#[tokio::test(flavor = "multi_thread")]
async fn who_needs_a_file_that_is_being_sent_waits_as_long_as_it_moves() {
    let server = Server::start(emulator::Options {
        bandwidth: Some(4 << 20),
        faults: vec!["no-md5".to_owned()],
        ..emulator::Options::default()
    })
    .unwrap();
    let settings = Settings {
        timeout: Duration::from_secs(2),
        ..settings()
    };
    let vfs = mount(&server, settings).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    for at in 0..24u64 {
        let piece = Bytes::from(vec![7; 1 << 20]);
        vfs.write(fh, at << 20, piece).await.unwrap();
    }
    let closing = {
        let vfs = vfs.clone();
        tokio::spawn(async move { vfs.flush(fh).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let other = vfs.open(attr.ino, RDWR).await.unwrap().fh;
    vfs.write(other, 24 << 20, Bytes::from_static(b"end"))
        .await
        .unwrap();
    vfs.fsync(other, false).await.unwrap();
    closing.await.unwrap().unwrap();
    vfs.release(fh);
    vfs.release(other);
}
