//! What is known of a name, and since when: that what others do is seen, and that nothing is believed
//! too long or too early.

use super::*;

fn ttl(millis: u64) -> Settings {
    Settings {
        metadata_ttl: Duration::from_millis(millis),
        ..settings()
    }
}

async fn expired() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

async fn hide(client: &Client, name: &str) {
    client.hide_file(&b2::FileName::listed(name)).await.unwrap();
}

async fn dir(vfs: &Vfs, parent: Ino, name: &str) -> Ino {
    let entry = vfs.lookup(parent, os(name)).await.unwrap();
    assert_eq!(entry.attr.kind, FileKind::Directory, "{name}");
    entry.attr.ino
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_somebody_removed_is_written_again_when_it_is_needed() {
    let server = server();
    let other = client(&server).await;
    upload(&other, "d/.bzEmpty", b"").await;
    upload(&other, "d/last", b"1").await;
    let vfs = mount(&server, ttl(20)).await;
    let d = dir(&vfs, Ino::ROOT, "d").await;
    assert_eq!(names(&vfs, d).await, ["last"]);
    hide(&other, "d/.bzEmpty").await;
    expired().await;
    assert_eq!(names(&vfs, d).await, ["last"]);
    vfs.unlink(d, os("last")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    assert_eq!(names(&fresh, Ino::ROOT).await, ["d"]);
}

/// Its row stands behind a thousand others.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_behind_the_first_page_is_not_taken_for_gone() {
    let server = server();
    seed(&server, (0..1500).map(|f| format!("d/!{f:04}")));
    let vfs = mount(&server, ttl(20)).await;
    let d = dir(&vfs, Ino::ROOT, "d").await;
    let mode = SetAttr {
        mode: Some(0o700),
        ..SetAttr::default()
    };
    vfs.setattr(d, mode).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    for _ in 0..2 {
        expired().await;
        assert_eq!(names(&vfs, d).await.len(), 1500);
        let entry = vfs.lookup(Ino::ROOT, os("d")).await.unwrap();
        assert_eq!(entry.attr.mode, 0o700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_made_here_is_not_lost_to_a_listing_begun_before() {
    let server = server();
    let vfs = mount(&server, ttl(20)).await;
    let d = mkdir(&vfs, Ino::ROOT, "d").await;
    put(&vfs, d, "f", b"1").await;
    assert!(vfs.drain().await.is_empty());
    expired().await;
    server.set_faults(&["list:late=1:1"]).unwrap();
    let lister = {
        let vfs = vfs.clone();
        tokio::spawn(async move { drop(names(&vfs, d).await) })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Has attributes of its own now.
    let mode = SetAttr {
        mode: Some(0o700),
        ..SetAttr::default()
    };
    vfs.setattr(d, mode).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    lister.await.unwrap();
    vfs.unlink(d, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    let entry = fresh.lookup(Ino::ROOT, os("d")).await.unwrap();
    assert_eq!(entry.attr.mode, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_there_while_its_directory_is_renamed() {
    let server = server();
    seed(&server, (0..6).map(|f| format!("d/f{f}")));
    // Two names are more than one page then.
    server.set_faults(&["list:short-page=2"]).unwrap();
    let vfs = mount(&server, settings()).await;
    let d = dir(&vfs, Ino::ROOT, "d").await;
    let lists = calls(&server, "b2_list_file_names");
    server
        .set_faults(&["list:late=3:1", "list:short-page=2"])
        .unwrap();
    let looked = {
        let vfs = vfs.clone();
        tokio::spawn(async move { vfs.lookup(d, os("f5")).await.map(drop) })
    };
    called(&server, lists).await;
    vfs.rename(Ino::ROOT, os("d"), Ino::ROOT, os("e"), 0)
        .await
        .unwrap();
    assert!(!looked.is_finished(), "the answer is still to come");
    looked.await.unwrap().unwrap();
}

/// Waits until the server has been asked for one listing more.
async fn called(server: &Server, before: u64) {
    while calls(server, "b2_list_file_names") == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The row of the directory `a` stands behind those of `a-0000` and so on.
fn file_and_directory(server: &Server) {
    let between = (0..1500).map(|f| format!("c/a-{f:04}"));
    seed(server, ["c/a".to_owned(), "c/a/x".to_owned()].into_iter());
    seed(server, between);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_be_a_directory_is_asked_for() {
    let server = server();
    file_and_directory(&server);
    let vfs = mount(&server, settings()).await;
    let c = dir(&vfs, Ino::ROOT, "c").await;
    let a = dir(&vfs, c, "a").await;
    assert_eq!(names(&vfs, a).await, ["x"]);
    assert_eq!(names(&vfs, c).await.len(), 1501);
    assert_eq!(dir(&vfs, c, "a").await, a);
    // What is settled by the first page costs nothing.
    let lists = calls(&server, "b2_list_file_names");
    vfs.lookup(c, os("a-0007")).await.unwrap();
    assert_eq!(calls(&server, "b2_list_file_names"), lists);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_walk_has_seen_in_part_may_still_be_a_directory() {
    let server = server();
    // The page of the walk ends between the file `a` and what is in the directory `a`.
    let walked = (0..20).map(|d| format!("b{d:02}/f"));
    seed(&server, walked);
    seed(&server, ["c/a".to_owned(), "c/a/x".to_owned()].into_iter());
    seed(&server, (0..11_000).map(|f| format!("c/a-{f:05}")));
    let vfs = mount(&server, settings()).await;
    for d in 0..4 {
        let b = dir(&vfs, Ino::ROOT, &format!("b{d:02}")).await;
        assert_eq!(names(&vfs, b).await, ["f"]);
    }
    let c = dir(&vfs, Ino::ROOT, "c").await;
    let a = dir(&vfs, c, "a").await;
    assert_eq!(names(&vfs, a).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_called_like_the_marker_can_be_used_and_removed() {
    let server = server();
    seed(
        &server,
        ["d/.bzEmpty/x", "d/f"].map(str::to_owned).into_iter(),
    );
    let vfs = mount(&server, settings()).await;
    let d = dir(&vfs, Ino::ROOT, "d").await;
    assert_eq!(names(&vfs, d).await, [".bzEmpty", "f"]);
    let odd = dir(&vfs, d, ".bzEmpty").await;
    assert_eq!(get(&vfs, odd, "x").await.unwrap().len(), 3);
    let made = vfs.mkdir(Ino::ROOT, os(".bzEmpty"), new(FileKind::Directory));
    assert!(matches!(made.await, Err(Error::NotPermitted)));
    assert!(matches!(
        vfs.lookup(Ino::ROOT, os(".bzEmpty")).await,
        Err(Error::NotFound)
    ));
    // As `rm -r d` does.
    vfs.unlink(odd, os("x")).await.unwrap();
    vfs.rmdir(d, os(".bzEmpty")).await.unwrap();
    vfs.unlink(d, os("f")).await.unwrap();
    vfs.rmdir(Ino::ROOT, os("d")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let fresh = mount(&server, settings()).await;
    assert!(names(&fresh, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_the_kernel_holds_lose_what_is_known_of_them() {
    const DIRS: usize = 500;
    let server = server();
    seed(&server, (0..DIRS).map(|d| format!("d{d:03}/f")));
    let few = Settings {
        // Enough for the names alone, but not for all that is known of the directories.
        names_max: 1200,
        ..settings()
    };
    let vfs = mount(&server, few).await;
    let mut held = Vec::new();
    for d in 0..DIRS {
        let ino = dir(&vfs, Ino::ROOT, &format!("d{d:03}")).await;
        assert_eq!(names(&vfs, ino).await, ["f"]);
        held.push(ino);
    }
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if vfs.known_names() < DIRS * 3 / 2 {
            break;
        }
    }
    let left = vfs.known_names();
    assert!(left < DIRS * 3 / 2, "{left} names");
    // They are the same for the kernel, and what is in them is asked for again.
    for (d, ino) in held.iter().enumerate().step_by(50) {
        assert_eq!(dir(&vfs, Ino::ROOT, &format!("d{d:03}")).await, *ino);
        vfs.forget(*ino, 1);
        assert_eq!(names(&vfs, *ino).await, ["f"]);
    }
    for ino in held {
        vfs.forget(ino, 1);
    }
}

/// A listing that shows an older version may lag behind, or another client has deleted ours: the id tells.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_does_right_after_a_version_was_stored_is_seen_as_ever() {
    let server = server();
    let other = client(&server).await;
    for name in ["f", "g", "h"] {
        upload(&other, name, b"old").await;
    }
    let vfs = mount(&server, ttl(20)).await;
    for name in ["f", "g", "h"] {
        let ino = vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.ino;
        let fh = vfs.open(ino, RDWR | libc::O_TRUNC).await.unwrap().fh;
        let content = Bytes::from_static(b"stored here");
        vfs.write(fh, 0, content).await.unwrap();
        vfs.flush(fh).await.unwrap();
        vfs.release(fh);
    }
    let request = ListVersions {
        max: 1,
        ..ListVersions::default()
    };
    let page = other.list_file_versions(&request).await.unwrap();
    let newest = &page.files[0];
    let id = newest.id.clone().unwrap();
    other.delete_file_version(&newest.name, &id).await.unwrap();
    upload(&other, "g", b"newer").await;
    hide(&other, "h").await;
    for _ in 0..2 {
        expired().await;
        assert_eq!(names(&vfs, Ino::ROOT).await, ["f", "g"]);
        let size = async |name| vfs.lookup(Ino::ROOT, os(name)).await.unwrap().attr.size;
        assert_eq!(size("f").await, 3);
        assert_eq!(size("g").await, 5);
    }
}
