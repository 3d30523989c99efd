//! What stat(2) shows: times that are set, times that follow, groups that are inherited, links.

use super::*;

async fn attr(vfs: &Vfs, ino: Ino) -> Attr {
    vfs.getattr(ino).await.unwrap().0
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
