//! Names: made, listed, renamed, removed, and what that costs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn mount_and_first_listing_take_one_list_call() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "a", b"1").await;
    upload(&filler, "b/c", b"2").await;
    let before = calls(&server, "b2_list_file_names");
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a", "b"]);
    vfs.lookup(Ino::ROOT, os("a")).await.unwrap();
    assert!(matches!(
        vfs.lookup(Ino::ROOT, os("absent")).await,
        Err(Error::NotFound)
    ));
    assert_eq!(calls(&server, "b2_list_file_names") - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_costs_one_upload_and_one_copy_a_file() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let ino = put(&vfs, Ino::ROOT, ".f.html.Xy3", b"page").await;
    vfs.setattr(ino, at(1_000_000)).await.unwrap();
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    vfs.setattr(ino, mode).await.unwrap();
    vfs.rename(Ino::ROOT, os(".f.html.Xy3"), Ino::ROOT, os("f.html"), 0)
        .await
        .unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), 1);
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(versions(&server).await, ["f.html upload"]);
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let attr = vfs.lookup(Ino::ROOT, os("f.html")).await.unwrap().attr;
    assert_eq!(attr.mode, 0o600);
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::from_secs(1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_hides_and_never_exposes_an_older_version() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"oldest").await;
    upload(&filler, "f", b"old").await;
    let vfs = mount(&server, settings()).await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f hide", "f upload", "f upload"]);
    let fresh = mount(&server, settings()).await;
    assert!(names(&fresh, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_leaves_no_version() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"oldest").await;
    upload(&filler, "f", b"old").await;
    upload(&filler, "f2", b"another").await;
    let purge = Settings {
        delete: Delete::Purge,
        ..settings()
    };
    let vfs = mount(&server, purge).await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["f2 upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_purged_while_open_is_read_to_its_end() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "f", b"still here").await;
    let purge = Settings {
        delete: Delete::Purge,
        ..settings()
    };
    let vfs = mount(&server, purge).await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"still here");
    vfs.release(fh);
    for _ in 0..200 {
        if versions(&server).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the versions were not purged after the last close");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_gets_its_marker_only_where_it_stays_empty() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let full = mkdir(&vfs, Ino::ROOT, "full").await;
    put(&vfs, full, "f", b"").await;
    mkdir(&vfs, Ino::ROOT, "empty").await;
    assert!(vfs.drain().await.is_empty());
    assert_eq!(
        versions(&server).await,
        ["empty/.bzEmpty upload", "full/f upload"]
    );
    vfs.unlink(full, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["empty", "full"]);
    let full = vfs.lookup(Ino::ROOT, os("full")).await.unwrap().attr.ino;
    assert!(names(&vfs, full).await.is_empty());
    for name in ["empty", "full"] {
        vfs.rmdir(Ino::ROOT, os(name)).await.unwrap();
    }
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_made_and_removed_at_once_leaves_nothing() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    mkdir(&vfs, Ino::ROOT, "d").await;
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert!(versions(&server).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_filled_is_not_removed() {
    for late in ["d//odd", "d/even"] {
        let server = server();
        let brief = Settings {
            metadata_ttl: Duration::from_millis(1),
            ..settings()
        };
        let vfs = mount(&server, brief).await;
        mkdir(&vfs, Ino::ROOT, "d").await;
        upload(&client(&server).await, late, b"precious").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let removed = vfs.rmdir(Ino::ROOT, os("d")).await;
        assert!(matches!(removed, Err(Error::NotEmpty)), "{removed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_file_keeps_its_version_while_others_replace_it() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    put(&vfs, Ino::ROOT, "f", b"first").await;
    let ino = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDONLY).await.unwrap().fh;
    upload(&client(&server).await, "f", b"second, longer").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"second, longer");
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"first");
    let now = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    assert_ne!(now, ino);
    vfs.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_open_keeps_its_inode_when_others_replace_it() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"first").await;
    upload(&client(&server).await, "f", b"second").await;
    let opened = vfs.open(ino, RDONLY).await.unwrap();
    vfs.release(opened.fh);
    let attr = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!((attr.ino, attr.size), (ino, 6));
    assert_eq!(vfs.next_stale_inode().await.ino, ino);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_shadows_a_file_of_its_name_and_never_touches_it() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "a", b"file").await;
    upload(&filler, "a/b", b"below").await;
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["a"]);
    let a = vfs.lookup(Ino::ROOT, os("a")).await.unwrap().attr;
    assert_eq!(a.kind, FileKind::Directory);
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("z"), 0)
        .await
        .unwrap();
    vfs.drain().await;
    assert_eq!(
        versions(&server).await,
        ["a upload", "a/b hide", "a/b upload", "z/b upload"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_takes_everything_along() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "d/x/foreign", b"1").await;
    upload(&filler, "d//odd", b"2").await;
    let vfs = mount(&server, settings()).await;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    put(&vfs, d, "own", b"3").await;
    let (_, unsent) = create(&vfs, d, "unsent").await;
    vfs.write(unsent, 0, Bytes::from_static(b"4"))
        .await
        .unwrap();
    mkdir(&vfs, d, "empty").await;
    vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    vfs.flush(unsent).await.unwrap();
    vfs.release(unsent);
    assert!(vfs.drain().await.is_empty());
    let e = vfs.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    assert_eq!(e, d);
    assert_eq!(names(&vfs, e).await, ["empty", "own", "unsent", "x"]);
    assert_eq!(
        versions(&server).await,
        [
            "d//odd hide",
            "d//odd upload",
            "d/x/foreign hide",
            "d/x/foreign upload",
            "e//odd upload",
            "e/empty/.bzEmpty upload",
            "e/own upload",
            "e/unsent upload",
            "e/x/foreign upload",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_over_a_file_keeps_the_replaced_content_as_a_version() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "a", b"new").await;
    put(&vfs, Ino::ROOT, "b", b"old").await;
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    assert_eq!(get(&vfs, Ino::ROOT, "b").await.unwrap(), b"new");
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["b upload", "b upload"]);
    // The file now lies over an older version: a rename must not expose that.
    vfs.rename(Ino::ROOT, os("b"), Ino::ROOT, os("c"), 0)
        .await
        .unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(versions(&server).await, ["b hide", "b upload", "c upload"]);
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["c"]);
    assert_eq!(get(&fresh, Ino::ROOT, "c").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_while_it_is_written_is_stored_under_its_last_name() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "a").await;
    vfs.write(fh, 0, Bytes::from_static(b"one")).await.unwrap();
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    vfs.write(fh, 3, Bytes::from_static(b" two")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(versions(&server).await, ["b upload"]);
    assert_eq!(get(&vfs, Ino::ROOT, "b").await.unwrap(), b"one two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_renamed_while_open_takes_its_changes_along() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "a", b"0123456789").await;
    let ino = vfs.lookup(Ino::ROOT, os("a")).await.unwrap().attr.ino;
    let fh = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 2, Bytes::from_static(b"XX")).await.unwrap();
    vfs.rename(Ino::ROOT, os("a"), Ino::ROOT, os("b"), 0)
        .await
        .unwrap();
    vfs.write(fh, 8, Bytes::from_static(b"YY")).await.unwrap();
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"01XX4567YY");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["b"]);
    assert_eq!(get(&fresh, Ino::ROOT, "b").await.unwrap(), b"01XX4567YY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_asked_for_single_names() {
    let server = server();
    let filler = client(&server).await;
    for i in 0..1100 {
        upload(&filler, &format!("d/{i:04}"), b"").await;
    }
    upload(&filler, "d/0500/below", b"x").await;
    upload(&filler, "d/1050/below", b"x").await;
    let vfs = mount(&server, settings()).await;
    let before = calls(&server, "b2_list_file_names");
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    let kind = async |name: &str| vfs.lookup(d, os(name)).await.map(|entry| entry.attr.kind);
    assert_eq!(kind("1099").await.unwrap(), FileKind::File);
    assert_eq!(kind("0001").await.unwrap(), FileKind::File);
    assert_eq!(kind("0500").await.unwrap(), FileKind::Directory);
    assert_eq!(kind("1050").await.unwrap(), FileKind::Directory);
    assert!(matches!(kind("absent").await, Err(Error::NotFound)));
    assert!(matches!(kind("absent").await, Err(Error::NotFound)));
    assert!(calls(&server, "b2_list_file_names") - before <= 8);
    assert_eq!(names(&vfs, d).await.len(), 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sleep_nothing_is_believed_that_was_known_before() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "d/f", b"before").await;
    let vfs = mount(&server, settings()).await;
    let dir = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    assert_eq!(names(&vfs, dir).await, ["f"]);
    upload(&other, "d/f", b"meanwhile").await;
    upload(&other, "d/g", b"new").await;
    assert_eq!(names(&vfs, dir).await, ["f"], "known for ten minutes");
    vfs.after_sleep();
    assert_eq!(names(&vfs, dir).await, ["f", "g"]);
    assert_eq!(get(&vfs, dir, "f").await.unwrap(), b"meanwhile");
    let lists = calls(&server, "b2_list_file_names");
    assert_eq!(names(&vfs, dir).await, ["f", "g"]);
    assert_eq!(
        calls(&server, "b2_list_file_names"),
        lists,
        "known again from then on"
    );
}
