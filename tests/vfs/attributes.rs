//! What stat(2) shows: times that are set, times that follow, groups that are inherited, links.

use super::*;

fn mode(mode: u32) -> SetAttr {
    SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    }
}

fn second(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

async fn attr(vfs: &Vfs, ino: Ino) -> Attr {
    vfs.getattr(ino).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_time_that_was_set_is_shown_and_neither_time_moves_the_other() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    for ino in [f, d] {
        let made = attr(&vfs, ino).await;
        let set = SetAttr {
            atime: Some(Some(second(1_900_000_000))),
            ..SetAttr::default()
        };
        let now = vfs.setattr(ino, set).await.unwrap().0;
        assert_eq!((now.atime, now.mtime), (second(1_900_000_000), made.mtime));
        let now = vfs.setattr(ino, at(1_000_000)).await.unwrap().0;
        assert_eq!(now.atime, second(1_900_000_000));
        assert_eq!(now.mtime, second(1_000_000));
    }
    let g = put(&vfs, Ino::ROOT, "g", b"x").await;
    let made = attr(&vfs, g).await;
    vfs.setattr(g, at(1_000_000)).await.unwrap();
    assert_eq!(attr(&vfs, g).await.atime, made.atime);
    // Of all this only the modification times are worth a call.
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_time_costs_no_call() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let set = SetAttr {
        atime: Some(None),
        ..SetAttr::default()
    };
    vfs.setattr(f, set).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 0);
    // It goes with the inode.
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let fresh = attr(&vfs, f).await;
    assert_eq!(fresh.atime, fresh.mtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_attributes_is_a_change_of_ctime_and_only_real_ones_are_stored() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    for ino in [f, d] {
        let mut before = attr(&vfs, ino).await;
        let same = before.mode;
        for set in [mode(same), SetAttr::default()] {
            let after = vfs.setattr(ino, set).await.unwrap().0;
            assert!(after.ctime > before.ctime, "{after:?}");
            assert_eq!((after.mtime, after.mode), (before.mtime, same));
            before = after;
        }
    }
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 0);
}

/// What is listed while attributes are being stored is older than them; what comes after is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_stores_after_a_change_of_attributes_is_seen() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let ino = put(&vfs, Ino::ROOT, "f", b"ours").await;
    vfs.setattr(ino, mode(0o600)).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    let other = client(&server).await;
    upload(&other, "f", b"by another").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"by another");
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_change_is_that_of_the_upload() {
    let server = server();
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let seed = Seed {
        name: "f".to_owned(),
        size: 3,
        upload_timestamp: Some(1_500_000_000_000),
        info: [(
            "src_last_modified_millis".to_owned(),
            "1000000000".to_owned(),
        )]
        .into(),
        ..Seed::default()
    };
    server.seed(server.bucket_name(), &[seed]).unwrap();
    let vfs = mount(&server, settings()).await;
    let f = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    let uploaded = UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    assert_eq!((f.mtime, f.ctime), (old, uploaded));
    let changed = vfs.setattr(f.ino, mode(0o600)).await.unwrap().0;
    assert!(changed.ctime > uploaded);
    assert!(vfs.drain().await.is_empty());
    // Another mount sees that there was a change, though the content has its old time.
    let vfs = mount(&server, settings()).await;
    let f = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr;
    assert_eq!(f.mtime, old);
    assert!(f.ctime > uploaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modification_time_in_the_future_does_not_hold_the_ctime() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    let far = vfs.setattr(f, at(4_000_000_000)).await.unwrap().0;
    assert!(far.ctime < far.mtime);
    let later = vfs.setattr(f, mode(0o600)).await.unwrap().0;
    assert!(later.ctime > far.ctime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_group_id_directory_gives_its_group_to_all_that_is_made_in_it() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    let shared = SetAttr {
        mode: Some(0o2775),
        gid: Some(77),
        ..SetAttr::default()
    };
    vfs.setattr(d, shared).await.unwrap();
    let f = put(&vfs, d, "f", b"x").await;
    let e = mkdir(&vfs, d, "e").await;
    let deep = put(&vfs, e, "f", b"x").await;
    let link = vfs
        .symlink(d, os("l"), b"f", new(FileKind::Symlink))
        .await
        .unwrap();
    for (ino, mode) in [
        (f, 0o644),
        (e, 0o2755),
        (deep, 0o644),
        (link.attr.ino, 0o777),
    ] {
        let found = attr(&vfs, ino).await;
        assert_eq!((found.gid, found.mode), (77, mode), "{found:?}");
    }
    assert!(vfs.drain().await.is_empty());
    drop(vfs);
    let vfs = mount(&server, settings()).await;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr;
    let e = vfs.lookup(d.ino, os("e")).await.unwrap().attr;
    let deep = vfs.lookup(e.ino, os("f")).await.unwrap().attr;
    assert_eq!((d.gid, d.mode), (77, 0o2775));
    assert_eq!((e.gid, e.mode), (77, 0o2755));
    assert_eq!(deep.gid, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_takes_set_id_bits_away_from_all_but_directories() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let owner = SetAttr {
        uid: Some(5),
        ..SetAttr::default()
    };
    for (name, kind, left) in [
        ("f", FileKind::File, 0o755),
        ("p", FileKind::Fifo, 0o755),
        ("d", FileKind::Directory, 0o6755),
    ] {
        let made = if kind == FileKind::Directory {
            vfs.mkdir(Ino::ROOT, os(name), new(kind)).await
        } else {
            vfs.mknod(Ino::ROOT, os(name), new(kind)).await
        };
        let ino = made.unwrap().attr.ino;
        vfs.setattr(ino, mode(0o6755)).await.unwrap();
        let found = vfs.setattr(ino, owner.clone()).await.unwrap().0;
        assert_eq!((found.uid, found.mode), (5, left), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_a_link_for_each_directory_in_it() {
    let server = server();
    let filler = client(&server).await;
    upload(&filler, "there/a/f", b"1").await;
    upload(&filler, "there/f", b"2").await;
    let vfs = mount(&server, settings()).await;
    let links = async |ino| attr(&vfs, ino).await.nlink;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    let e = mkdir(&vfs, Ino::ROOT, "e").await;
    mkdir(&vfs, d, "in").await;
    put(&vfs, d, "f", b"x").await;
    assert_eq!((links(d).await, links(e).await), (3, 2));
    vfs.rename(d, os("in"), e, os("in"), 0).await.unwrap();
    assert_eq!((links(d).await, links(e).await), (2, 3));
    mkdir(&vfs, d, "in").await;
    vfs.rename(d, os("in"), e, os("in"), 0).await.unwrap();
    assert_eq!((links(d).await, links(e).await), (2, 3));
    vfs.rmdir(e, os("in")).await.unwrap();
    assert_eq!(links(e).await, 2);
    let there = vfs.lookup(Ino::ROOT, os("there")).await.unwrap().attr.ino;
    names(&vfs, there).await;
    assert_eq!(links(there).await, 3);
    assert_eq!(links(Ino::ROOT).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loses_its_name_while_it_is_open_has_no_links_and_a_new_ctime() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (removed, first) = create(&vfs, Ino::ROOT, "removed").await;
    let (replaced, second) = create(&vfs, Ino::ROOT, "replaced").await;
    put(&vfs, Ino::ROOT, "other", b"x").await;
    vfs.unlink(Ino::ROOT, os("removed")).await.unwrap();
    vfs.rename(Ino::ROOT, os("other"), Ino::ROOT, os("replaced"), 0)
        .await
        .unwrap();
    for before in [removed, replaced] {
        let after = attr(&vfs, before.ino).await;
        assert_eq!(after.nlink, 0);
        assert!(after.ctime > before.ctime);
        assert_eq!(after.mtime, before.mtime);
    }
    vfs.release(first);
    vfs.release(second);
}
