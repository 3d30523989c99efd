//! Renames of stored files that return before B2 knows: what is seen, what is sent, and what happens when it fails.

use super::history::*;
use super::removing::refused;
use super::*;

const BOTH_REFUSED: [&str; 2] = ["copy_file:storage-cap", "start_large_file:storage-cap"];

/// Calls made since, by name.
fn since(server: &Server, calls: &[&str]) -> Vec<u64> {
    let counted = |call: &&str| super::calls(server, call);
    calls.iter().map(counted).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_returns_at_once_and_takes_a_later_chmod_along() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    mv(&vfs, "f", "g").await.unwrap();
    chmod(&vfs, file, 0o600).await;
    assert_eq!(since(&server, &["b2_copy_file"]), [0]);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["g"]);
    assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), b"content");
    assert!(vfs.lookup(Ino::ROOT, os("f")).await.is_err());
    stored(&vfs).await;
    assert_eq!(since(&server, &["b2_copy_file"]), [1]);
    assert_eq!(mode(&server, "g").await & 0o777, 0o600);
    assert_eq!(history(&server, "f").await, []);
    assert_eq!(history(&server, "g").await, [Some(b"content".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_of_the_file_or_a_directory_of_it_waits_for_b2() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    vfs.mkdir(Ino::ROOT, os("d"), new(FileKind::Directory))
        .await
        .unwrap();
    let d = ino(&vfs, Ino::ROOT, "d").await;
    for how in ["file", "source's directory", "target's directory"] {
        put(&vfs, Ino::ROOT, "f", b"content").await;
        let file = ino(&vfs, Ino::ROOT, "f").await;
        vfs.rename(Ino::ROOT, os("f"), d, os("g"), 0).await.unwrap();
        match how {
            "file" => {
                let fh = vfs.open(file, RDONLY).await.unwrap().fh;
                vfs.fsync(fh, false).await.unwrap();
                vfs.release(fh);
            }
            "target's directory" => sync_dir(&vfs, d).await.unwrap(),
            _ => {
                sync_dir(&vfs, Ino::ROOT).await.unwrap();
                assert_eq!(shown(&server, "f").await, None);
            }
        }
        assert_eq!(
            shown(&server, "d/g").await,
            Some(b"content".to_vec()),
            "{how}"
        );
        vfs.unlink(d, os("g")).await.unwrap();
        stored(&vfs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_copy_brings_the_old_name_back() {
    for existing in [false, true] {
        let server = server();
        let vfs = mount(&server, settings()).await;
        put(&vfs, Ino::ROOT, "f", b"content").await;
        if existing {
            put(&vfs, Ino::ROOT, "g", b"what was there").await;
        }
        stored(&vfs).await;
        let file = ino(&vfs, Ino::ROOT, "f").await;
        let before = vfs.getattr(file).await.unwrap().0;
        server.set_faults(&BOTH_REFUSED).unwrap();
        mv(&vfs, "f", "g").await.unwrap();
        let told = sync_dir(&vfs, Ino::ROOT).await;
        assert!(refused(&told), "{told:?}");
        assert!(sync_dir(&vfs, Ino::ROOT).await.is_ok(), "told once");
        server.set_faults(&[]).unwrap();
        let all: &[&str] = if existing { &["f", "g"] } else { &["f"] };
        assert_eq!(names(&vfs, Ino::ROOT).await, all);
        let after = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
        assert_eq!((after.ino, after.ctime), (file, before.ctime));
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"content");
        if existing {
            assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), b"what was there");
        }
        // After one that failed, the next one is waited for.
        mv(&vfs, "f", "g").await.unwrap();
        assert_eq!(shown(&server, "g").await, Some(b"content".to_vec()));
        stored(&vfs).await;
        assert_eq!(names_now(&server).await, ["g"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_for_now_is_tried_again() {
    let server = server();
    let vfs = impatient(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    server.set_faults(&["copy_file:503"]).unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    assert!(sync_dir(&vfs, Ino::ROOT).await.is_err());
    let file = ino(&vfs, Ino::ROOT, "g").await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    assert!(vfs.fsync(fh, false).await.is_err());
    assert_eq!(names(&vfs, Ino::ROOT).await, ["g"]);
    assert_eq!(shown(&server, "f").await, Some(b"content".to_vec()));
    let unstored = vfs.unstored();
    assert_eq!(unstored.len(), 1, "{unstored:?}");
    server.set_faults(&[]).unwrap();
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
    assert_eq!(shown(&server, "g").await, Some(b"content".to_vec()));
    stored(&vfs).await;
    assert_eq!(names_now(&server).await, ["g"]);
    assert_eq!(everything(&server).await.len(), 1);
}

/// What is written after the rename is the new name's, whatever becomes of the copy.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_after_a_refused_rename_is_stored_under_the_new_name() {
    for base in ["goes", "is kept in part"] {
        let server = server();
        let vfs = mount(&server, settings()).await;
        let file = put(&vfs, Ino::ROOT, "f", b"content").await;
        stored(&vfs).await;
        server.set_faults(&["copy_file:storage-cap"]).unwrap();
        mv(&vfs, "f", "g").await.unwrap();
        let flags = match base {
            "goes" => libc::O_WRONLY | libc::O_TRUNC,
            _ => libc::O_WRONLY,
        };
        let fh = vfs.open(file, flags).await.unwrap().fh;
        vfs.write(fh, 0, Bytes::from_static(b"NEW")).await.unwrap();
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        let expected: &[u8] = match base {
            "goes" => b"NEW",
            _ => b"NEWtent",
        };
        stored(&vfs).await;
        assert_eq!(names(&vfs, Ino::ROOT).await, ["g"], "base {base}");
        assert_eq!(shown(&server, "g").await, Some(expected.to_vec()));
        assert_eq!(names_now(&server).await, ["g"]);
        // The old content stays recoverable.
        let below = history(&server, "f").await;
        assert_eq!(below, [None, Some(b"content".to_vec())]);
        assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), expected);
    }
}

/// Nobody has asked for either directory: it is said once what it was, a rename.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_rename_that_nobody_asked_for_is_listed_as_one() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = vfs.mkdir(Ino::ROOT, os("d"), new(FileKind::Directory));
    let d = d.await.unwrap().attr.ino;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    stored(&vfs).await;
    server.set_faults(&BOTH_REFUSED).unwrap();
    vfs.rename(Ino::ROOT, os("f"), d, os("g"), 0).await.unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    while names(&vfs, Ino::ROOT).await != ["d", "f"] {
        assert!(
            std::time::Instant::now() < patience,
            "it has its old name again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unstored = vfs.unstored();
    assert_eq!(unstored.len(), 1, "{unstored:?}");
    assert_eq!(unstored[0].path, "f");
    assert_eq!(unstored[0].what, Undone::Refused("d/g".to_owned()));
    assert!(unstored[0].error.contains("cap"), "{unstored:?}");
}

/// A kill must leave the old or the new name with the content: nothing may lie over the old one before.
#[tokio::test(flavor = "multi_thread")]
async fn what_gets_the_old_name_is_stored_after_the_copy() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    stored(&vfs).await;
    server.set_faults(&["copy_file:hang:1"]).unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    let writer = vfs.clone();
    let writing = tokio::spawn(async move { put(&writer, Ino::ROOT, "f", b"second").await });
    held(&server, "b2_copy_file").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(history(&server, "f").await, [Some(b"first".to_vec())]);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g"]);
    server.set_faults(&[]).unwrap();
    writing.await.unwrap();
    assert_eq!(shown(&server, "g").await, Some(b"first".to_vec()));
    assert_eq!(shown(&server, "f").await, Some(b"second".to_vec()));
    stored(&vfs).await;
    assert_eq!(everything(&server).await.len(), 2);
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"second");
    assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), b"first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_copy_waits_where_another_file_has_the_old_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    stored(&vfs).await;
    server.set_faults(&BOTH_REFUSED).unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"second"))
        .await
        .unwrap();
    let told = sync_dir(&vfs, Ino::ROOT).await;
    assert!(refused(&told), "{told:?}");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g"]);
    assert_eq!(shown(&server, "f").await, Some(b"first".to_vec()));
    server.set_faults(&[]).unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    stored(&vfs).await;
    assert_eq!(shown(&server, "f").await, Some(b"second".to_vec()));
    assert_eq!(shown(&server, "g").await, Some(b"first".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listing_undoes_a_rename_that_b2_does_not_know_yet() {
    let server = server();
    let other = client(&server).await;
    let vfs = mount(&server, asking()).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    put(&vfs, Ino::ROOT, "g", b"old").await;
    stored(&vfs).await;
    let file = ino(&vfs, Ino::ROOT, "f").await;
    server.set_faults(&["copy_file:hang:1"]).unwrap();
    mv(&vfs, "f", "g").await.unwrap();
    upload(&other, "x", b"1").await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["g", "x"]);
    assert_eq!(ino(&vfs, Ino::ROOT, "g").await, file);
    assert!(vfs.lookup(Ino::ROOT, os("f")).await.is_err());
    assert_eq!(get(&vfs, Ino::ROOT, "g").await.unwrap(), b"content");
    server.set_faults(&[]).unwrap();
    stored(&vfs).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["g", "x"]);
    assert_eq!(ino(&vfs, Ino::ROOT, "g").await, file);
    let versions = [Some(b"content".to_vec()), Some(b"old".to_vec())];
    assert_eq!(history(&server, "g").await, versions);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_has_taken_from_the_old_name_is_not_renamed() {
    let server = server();
    let other = client(&server).await;
    let vfs = mount(&server, settings()).await;
    for replaced in [false, true] {
        put(&vfs, Ino::ROOT, "f", b"content").await;
        stored(&vfs).await;
        names(&vfs, Ino::ROOT).await;
        delete_newest(&other, "f").await;
        if replaced {
            upload(&other, "f", b"theirs").await;
        }
        mv(&vfs, "f", "g").await.unwrap();
        assert!(sync_dir(&vfs, Ino::ROOT).await.is_err());
        let left: &[&str] = if replaced { &["f"] } else { &[] };
        assert_eq!(names(&vfs, Ino::ROOT).await, left);
        assert_eq!(names_now(&server).await, left);
        if replaced {
            assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
        }
        // One that is waited for shows that it can be done again.
        put(&vfs, Ino::ROOT, "a", b"1").await;
        mv(&vfs, "a", "b").await.unwrap();
        rm(&vfs, "b").await.unwrap();
        stored(&vfs).await;
    }
}

/// As editors and databases save: a temporary name, fsync, rename over the file.
#[tokio::test(flavor = "multi_thread")]
async fn saving_by_a_temporary_name_waits_for_one_call() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"0").await;
    stored(&vfs).await;
    names(&vfs, Ino::ROOT).await;
    for content in [b"1", b"2", b"3"] {
        let calls = || since(&server, &["b2_upload_file", "b2_copy_file"]);
        let before = calls();
        let (_, fh) = create(&vfs, Ino::ROOT, "f~").await;
        vfs.write(fh, 0, Bytes::from_static(content)).await.unwrap();
        vfs.fsync(fh, false).await.unwrap();
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
        server.set_faults(&["copy_file:hang:1"]).unwrap();
        mv(&vfs, "f~", "f").await.unwrap();
        assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), content);
        server.set_faults(&[]).unwrap();
        stored(&vfs).await;
        assert_eq!(calls(), [before[0] + 1, before[1] + 1]);
    }
    assert_eq!(names_now(&server).await, ["f"]);
    assert_eq!(history(&server, "f~").await, []);
    assert_eq!(history(&server, "f").await.len(), 4);
}

/// A version that shows nothing when it goes holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_name_can_be_used_again_while_its_version_is_deleted() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f~", b"1").await;
    server.set_faults(&["delete_file_version:hang:1"]).unwrap();
    mv(&vfs, "f~", "f").await.unwrap();
    let file = ino(&vfs, Ino::ROOT, "f").await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
    held(&server, "b2_delete_file_version").await;
    put(&vfs, Ino::ROOT, "f~", b"2").await;
    assert_eq!(shown(&server, "f~").await, Some(b"2".to_vec()));
    server.set_faults(&[]).unwrap();
    stored(&vfs).await;
    assert_eq!(history(&server, "f~").await, [Some(b"2".to_vec())]);
    assert_eq!(get(&vfs, Ino::ROOT, "f~").await.unwrap(), b"2");
    assert_eq!(names_now(&server).await, ["f", "f~"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_must_see_at_once_is_waited_for() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    put(&vfs, Ino::ROOT, "f", b"content").await;
    mv(&vfs, "f", "g").await.unwrap();
    assert_eq!(names_now(&server).await, ["g"]);
    let vfs = mount(&server, settings()).await;
    let how = libc::RENAME_NOREPLACE;
    vfs.rename(Ino::ROOT, os("g"), Ino::ROOT, os("h"), how)
        .await
        .unwrap();
    assert_eq!(shown(&server, "h").await, Some(b"content".to_vec()));
    stored(&vfs).await;
}

/// While the version under the old name still goes, B2 shows it.
#[tokio::test(flavor = "multi_thread")]
async fn what_still_goes_is_neither_moved_along_nor_in_the_way() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = vfs
        .mkdir(Ino::ROOT, os("d"), new(FileKind::Directory))
        .await;
    let d = d.unwrap().attr.ino;
    put(&vfs, d, "b", b"1").await;
    put(&vfs, Ino::ROOT, "x", b"2").await;
    vfs.rename(d, os("b"), d, os("a"), 0).await.unwrap();
    mv(&vfs, "d", "e").await.unwrap();
    mv(&vfs, "x", "y").await.unwrap();
    let how = libc::RENAME_NOREPLACE;
    vfs.rename(Ino::ROOT, os("y"), Ino::ROOT, os("x"), how)
        .await
        .unwrap();
    let e = ino(&vfs, Ino::ROOT, "e").await;
    vfs.rename(e, os("a"), Ino::ROOT, os("a"), 0).await.unwrap();
    vfs.rmdir(Ino::ROOT, os("e")).await.unwrap();
    stored(&vfs).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a", "x"]);
    assert_eq!(names_now(&server).await, ["a", "x"]);
}

/// Whoever goes on with a file by its new name must not meet the one that had it before.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_rename_that_is_refused_touches_nothing_else() {
    for (next, delete) in [("mv", Delete::Hide), ("rm", Delete::Purge)] {
        let server = server();
        let settings = Settings {
            delete,
            ..settings()
        };
        let vfs = mount(&server, settings).await;
        for name in ["a", "b", "c"] {
            put(&vfs, Ino::ROOT, name, name.as_bytes()).await;
        }
        stored(&vfs).await;
        server
            .set_faults(&["copy_file:storage-cap:1", "start_large_file:storage-cap"])
            .unwrap();
        mv(&vfs, "a", "b").await.unwrap();
        let then = match next {
            "mv" => mv(&vfs, "b", "c").await,
            _ => rm(&vfs, "b").await,
        };
        assert!(refused(&then), "{next}: {then:?}");
        server.set_faults(&[]).unwrap();
        stored(&vfs).await;
        for name in ["a", "b", "c"] {
            let content = Some(name.as_bytes().to_vec());
            assert_eq!(history(&server, name).await, [content], "{next}");
            assert_eq!(get(&vfs, Ino::ROOT, name).await.unwrap(), name.as_bytes());
        }
    }
}
