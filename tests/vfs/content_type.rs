//! `user.b2.content_type`, which can be set: what B2 has of it, when, and at which price.

use super::history::newest;
use super::*;

const NAME: &str = "user.b2.content_type";

async fn choose(vfs: &Vfs, ino: Ino, value: &str) -> Result<(), Error> {
    vfs.setxattr(ino, os(NAME), value.as_bytes(), 0).await
}

async fn told(vfs: &Vfs, ino: Ino) -> String {
    String::from_utf8(vfs.getxattr(ino, os(NAME)).await.unwrap()).unwrap()
}

async fn is_listed(vfs: &Vfs, ino: Ino) -> bool {
    let names = vfs.listxattr(ino).await.unwrap();
    names
        .split(|byte| *byte == 0)
        .any(|name| name == NAME.as_bytes())
}

/// The type that B2 has of a name.
async fn stored(server: &Server, name: &str) -> String {
    newest(&client(server).await, name)
        .await
        .content_type
        .unwrap()
}

async fn done(vfs: &Vfs) {
    assert!(vfs.drain().await.is_empty());
}

async fn write(vfs: &Vfs, ino: Ino, content: &'static [u8]) {
    let fh = vfs.open(ino, RDWR).await.unwrap().fh;
    vfs.write(fh, 0, Bytes::from_static(content)).await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_set_by_one_copy_with_the_other_attributes() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "page.txt", b"x").await;
    assert!(!is_listed(&vfs, f).await);
    choose(&vfs, f, "text/html; charset=utf-8").await.unwrap();
    vfs.setattr(f, at(7)).await.unwrap();
    // Shown at once, and by listings, so that copies get it.
    assert_eq!(told(&vfs, f).await, "text/html; charset=utf-8");
    assert!(is_listed(&vfs, f).await);
    assert_eq!(stored(&server, "page.txt").await, "text/plain");
    done(&vfs).await;
    assert_eq!(calls(&server, "b2_copy_file"), 1);
    assert_eq!(
        stored(&server, "page.txt").await,
        "text/html; charset=utf-8"
    );
    // What is there already costs nothing.
    choose(&vfs, f, "text/html; charset=utf-8").await.unwrap();
    done(&vfs).await;
    let again = mount(&server, settings()).await;
    let f = again
        .lookup(Ino::ROOT, os("page.txt"))
        .await
        .unwrap()
        .attr
        .ino;
    assert_eq!(told(&again, f).await, "text/html; charset=utf-8");
    choose(&again, f, "text/html; charset=utf-8").await.unwrap();
    assert!(is_listed(&again, f).await);
    done(&again).await;
    assert_eq!(calls(&server, "b2_copy_file"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_was_set_stays_through_writes_and_renames() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    for (name, chosen) in [
        ("a.txt", "text/x-mine"),
        ("b.html", "application/octet-stream"),
    ] {
        let f = put(&vfs, Ino::ROOT, name, b"x").await;
        choose(&vfs, f, chosen).await.unwrap();
        write(&vfs, f, b"new").await;
        done(&vfs).await;
        assert_eq!(stored(&server, name).await, chosen);
        for vfs in [&vfs, &mount(&server, settings()).await] {
            let f = vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.ino;
            write(vfs, f, b"newer").await;
            vfs.rename(Ino::ROOT, os(name), Ino::ROOT, os("other.css"), 0)
                .await
                .unwrap();
            done(vfs).await;
            assert_eq!(stored(&server, "other.css").await, chosen);
            vfs.rename(Ino::ROOT, os("other.css"), Ino::ROOT, os(name), 0)
                .await
                .unwrap();
            done(vfs).await;
            assert_eq!(stored(&server, name).await, chosen);
            vfs.ask_anew();
        }
    }
    // With its directory, too.
    let vfs = mount(&server, settings()).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    vfs.rename(Ino::ROOT, os("a.txt"), d, os("a.txt"), 0)
        .await
        .unwrap();
    vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    let e = vfs.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    vfs.rename(e, os("a.txt"), e, os("a.css"), 0).await.unwrap();
    done(&vfs).await;
    assert_eq!(stored(&server, "e/a.css").await, "text/x-mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_set_before_the_close_goes_with_the_upload() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    let nothing = vfs.getxattr(attr.ino, os(NAME)).await;
    assert!(matches!(nothing, Err(Error::NoData)));
    vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
    choose(&vfs, attr.ino, "text/css").await.unwrap();
    assert_eq!(told(&vfs, attr.ino).await, "text/css");
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    done(&vfs).await;
    assert_eq!(stored(&server, "f").await, "text/css");
    assert_eq!(calls(&server, "b2_copy_file"), 0);
    assert_eq!(versions(&server).await, ["f upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_set_while_parts_leave_is_stored_after_them() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "large").await;
    for piece in 0..20_u64 {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        vfs.write(fh, piece << 20, bytes).await.unwrap();
    }
    // The large file has been started with the name's type: a start that is still under way is not waited for.
    while calls(&server, "b2_upload_part") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    choose(&vfs, attr.ino, "video/x-mine").await.unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    done(&vfs).await;
    assert_eq!(stored(&server, "large").await, "video/x-mine");
    assert_eq!(calls(&server, "b2_copy_file"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_b2_makes_another_of_is_stored_once() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f.html", b"x").await;
    choose(&vfs, f, "text/x-mine").await.unwrap();
    done(&vfs).await;
    for copies in 2..4 {
        // `b2/x-auto` is text/html here; so it is when the attribute is removed.
        if copies == 2 {
            choose(&vfs, f, "b2/x-auto").await.unwrap();
        } else {
            choose(&vfs, f, "text/css").await.unwrap();
            vfs.removexattr(f, os(NAME)).await.unwrap();
        }
        done(&vfs).await;
        done(&vfs).await;
        assert_eq!(calls(&server, "b2_copy_file"), copies);
        assert_eq!(told(&vfs, f).await, "text/html");
        assert_eq!(stored(&server, "f.html").await, "text/html");
        assert!(!is_listed(&vfs, f).await);
    }
    // It is the name's again.
    vfs.rename(Ino::ROOT, os("f.html"), Ino::ROOT, os("f.css"), 0)
        .await
        .unwrap();
    done(&vfs).await;
    assert_eq!(stored(&server, "f.css").await, "text/css");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_type_is_refused_and_flags_are_kept() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"x").await;
    for bad in ["", "text", "text/html\n", "b2/x-other"] {
        assert!(
            matches!(choose(&vfs, f, bad).await, Err(Error::Invalid)),
            "{bad:?}"
        );
    }
    let flagged = async |flags| vfs.setxattr(f, os(NAME), b"text/css", flags).await;
    assert!(matches!(
        flagged(libc::XATTR_CREATE).await,
        Err(Error::Exists)
    ));
    flagged(libc::XATTR_REPLACE).await.unwrap();
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    assert!(matches!(
        choose(&vfs, d, "text/css").await,
        Err(Error::NotPermitted)
    ));
    let read_only = Settings {
        read_only: true,
        ..settings()
    };
    let other = mount(&server, read_only).await;
    let f = other.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    assert!(matches!(
        choose(&other, f, "text/css").await,
        Err(Error::ReadOnly)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_type_goes_to_the_version_that_another_client_has_made() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let f = put(&vfs, Ino::ROOT, "f", b"mine").await;
    choose(&vfs, f, "text/x-mine").await.unwrap();
    upload(&client(&server).await, "f", b"theirs").await;
    done(&vfs).await;
    assert_eq!(stored(&server, "f").await, "text/x-mine");
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_does_not_wait_for_a_type_that_b2_refuses() {
    let server = server();
    let vfs = mount(&server, settings()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f.html").await;
    vfs.write(fh, 0, Bytes::from_static(b"x")).await.unwrap();
    choose(&vfs, attr.ino, "text/x-refused").await.unwrap();
    server.set_faults(&["b2_upload_file:400:1"]).unwrap();
    vfs.flush(fh).await.unwrap();
    vfs.release(fh);
    done(&vfs).await;
    assert_eq!(stored(&server, "f.html").await, "text/html");
}
