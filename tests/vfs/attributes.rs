//! What stat(2) shows: times that are set, times that follow, groups that are inherited, links.

use super::*;

async fn attr(vfs: &Vfs, ino: Ino) -> Attr {
    vfs.getattr(ino).await.unwrap().0
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
