//! Virtual `.sha1` files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn hash_files_tell_the_hash_of_what_is_in_memory() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (_, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(
        get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(),
        b"a9993e364706816aba3e25717850c26c9cd0d89d\n"
    );
    vfs.write(fh, 0, Bytes::from_static(b"abcd")).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    assert_eq!(
        get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(),
        b"81fe8bfe87576c3ecb22426f8e57847382917acf\n"
    );
    let renamed = vfs
        .rename(Ino::ROOT, os("f.sha1"), Ino::ROOT, os("g"), 0)
        .await;
    assert!(matches!(renamed, Err(Error::NotPermitted)));
    put(&vfs, Ino::ROOT, "g", b"real").await;
    vfs.rename(Ino::ROOT, os("g"), Ino::ROOT, os("f.sha1"), 0)
        .await
        .unwrap();
    assert_eq!(get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(), b"real");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_hash_file_gives_way_to_a_real_one_and_else_comes_back() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    put(&vfs, Ino::ROOT, "f", b"abc").await;
    put(&vfs, Ino::ROOT, "g", b"abc").await;
    // As `tar x` does it: exclusive creation, unlink, exclusive creation.
    for name in ["f.sha1", "g.sha1"] {
        vfs.unlink(Ino::ROOT, os(name)).await.unwrap();
        assert!(matches!(
            vfs.lookup(Ino::ROOT, os(name)).await,
            Err(Error::NotFound)
        ));
    }
    put(&vfs, Ino::ROOT, "f.sha1", b"real").await;
    assert_eq!(get(&vfs, Ino::ROOT, "f.sha1").await.unwrap(), b"real");
    for _ in 0..100 {
        if let Ok(text) = get(&vfs, Ino::ROOT, "g.sha1").await {
            assert_eq!(text, b"a9993e364706816aba3e25717850c26c9cd0d89d\n");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the hash file did not come back");
}
