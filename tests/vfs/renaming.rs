//! Renames of directories: cut off and asked for again, of more than a page.

use super::*;

async fn rename(vfs: &Vfs, from: &str, to: &str) -> Result<(), Error> {
    vfs.rename(Ino::ROOT, os(from), Ino::ROOT, os(to), 0).await
}

async fn files_of(vfs: &Vfs, dir: &str) -> Vec<String> {
    let ino = vfs.lookup(Ino::ROOT, os(dir)).await.unwrap().attr.ino;
    names(vfs, ino).await
}

/// Cuts a rename of `d` to `e` off where the server holds a call.
async fn cut_off(server: &Server, fault: &str) {
    let vfs = mount(server, settings()).await;
    server.set_faults(&[fault]).unwrap();
    let task = tokio::spawn(async move { rename(&vfs, "d", "e").await });
    for _ in 0..1000 {
        if !server.held().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!server.held().is_empty(), "{fault}");
    task.abort();
    assert!(task.await.is_err());
    server.set_faults(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_was_cut_off_is_finished_by_asking_for_it_again() {
    for fault in ["copy_file:hang@7", "hide_file:hang@4"] {
        let server = server();
        seed(&server, (0..20).map(|i| format!("d/s{}/f{i:02}", i % 3)));
        cut_off(&server, fault).await;
        let vfs = mount(&server, settings()).await;
        assert_eq!(names(&vfs, Ino::ROOT).await, ["d", "e"], "{fault}");
        rename(&vfs, "d", "e").await.unwrap();
        assert!(vfs.drain().await.is_empty());
        for vfs in [vfs, mount(&server, settings()).await] {
            assert_eq!(names(&vfs, Ino::ROOT).await, ["e"], "{fault}");
            assert_eq!(files_of(&vfs, "e").await, ["s0", "s1", "s2"]);
            let e = vfs.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
            let mut files = 0;
            for sub in ["s0", "s1", "s2"] {
                let sub = vfs.lookup(e, os(sub)).await.unwrap().attr.ino;
                for file in names(&vfs, sub).await {
                    assert_eq!(get(&vfs, sub, &file).await.unwrap().len(), 3);
                    files += 1;
                }
            }
            assert_eq!(files, 20, "{fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_copy_of_it_is_not_mixed_with_a_rename_that_was_cut_off() {
    let server = server();
    seed(&server, (0..9).map(|i| format!("d/f{i}")));
    cut_off(&server, "copy_file:hang@5").await;
    upload(&client(&server).await, "e/other", b"precious").await;
    let vfs = mount(&server, settings()).await;
    let told = rename(&vfs, "d", "e").await;
    assert!(matches!(told, Err(Error::NotEmpty)), "{told:?}");
    assert_eq!(files_of(&vfs, "d").await.len(), 9);
    // Nor with one of another directory.
    seed(&server, (0..9).map(|i| format!("c/f{i}")));
    let vfs = mount(&server, settings()).await;
    let told = rename(&vfs, "c", "e").await;
    assert!(matches!(told, Err(Error::NotEmpty)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute; tests/run --all"]
async fn a_directory_of_more_than_a_page_is_renamed_page_by_page() {
    let server = server();
    seed(&server, (0..20_500).map(|i| format!("d/f{i:05}")));
    let vfs = mount(&server, settings()).await;
    vfs.lookup(Ino::ROOT, os("d")).await.unwrap();
    rename(&vfs, "d", "e").await.unwrap();
    assert!(vfs.drain().await.is_empty());
    let vfs = mount(&server, settings()).await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["e"]);
    assert_eq!(files_of(&vfs, "e").await.len(), 20_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_a_file_in_a_directory_that_is_being_renamed_waits_for_the_timeout_at_most() {
    let server = server();
    seed(&server, (0..3).map(|i| format!("d/f{i}")));
    let brief = Settings {
        timeout: Duration::from_millis(500),
        ..settings()
    };
    let vfs = mount(&server, brief).await;
    let d = vfs.lookup(Ino::ROOT, os("d")).await.unwrap().attr.ino;
    names(&vfs, d).await;
    let (_, fh) = create(&vfs, d, "new").await;
    vfs.write(fh, 0, Bytes::from_static(b"kept")).await.unwrap();
    server.set_faults(&["copy_file:hang"]).unwrap();
    let renaming = {
        let vfs = vfs.clone();
        tokio::spawn(async move { rename(&vfs, "d", "e").await })
    };
    super::history::held(&server, "b2_copy_file").await;
    // A guard against waiting for ever, no measure: the copies hang for much longer.
    let closed = tokio::time::timeout(Duration::from_secs(10), vfs.flush(fh)).await;
    let closed = closed.expect("close has an end");
    assert!(matches!(closed, Ok(()) | Err(Error::Io(_))), "{closed:?}");
    assert!(!renaming.is_finished(), "the copies hang");
    assert_eq!(read_all(&vfs, fh).await.unwrap(), b"kept");
    // The rename is cut off, and what could not be stored is.
    renaming.abort();
    drop(renaming.await);
    server.set_faults(&[]).unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(get(&vfs, d, "new").await.unwrap(), b"kept");
    let vfs = mount(&server, settings()).await;
    assert_eq!(files_of(&vfs, "d").await, ["f0", "f1", "f2", "new"]);
}
