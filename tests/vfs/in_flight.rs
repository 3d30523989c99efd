//! What happens to a file while it is being uploaded, and to many that go up at once.

use futures_util::{StreamExt as _, stream};

use super::history::{chmod, held, until};
use super::write_back::*;
use super::*;

/// An upload of `f` that takes a second is under way.
async fn uploading(server: &Server) -> (Vfs, Ino) {
    let vfs = mount(server, later(SOON)).await;
    server.set_faults(&["b2_upload_file:stall=1:1"]).unwrap();
    let ino = put(&vfs, Ino::ROOT, "f", b"in flight").await;
    until("the upload's begin", async || {
        calls(server, "b2_upload_file") == 1
    })
    .await;
    (vfs, ino)
}

/// Waits until every call has been answered: what was under way has taken effect.
async fn settled(server: &Server) {
    until("the last answer", async || {
        let counters = server.counters();
        counters.answers.values().sum::<u64>() == counters.calls.values().sum::<u64>()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_during_the_upload_is_stored_after_it() {
    let server = server();
    let (vfs, ino) = uploading(&server).await;
    rewrite(&vfs, ino, b"later").await.unwrap();
    assert_eq!(get(&vfs, Ino::ROOT, "f").await.unwrap(), b"later");
    until("both uploads", async || vfs.pending().files == 0).await;
    assert_eq!(calls(&server, "b2_upload_file"), 2);
    assert_eq!(seen(&server, "f").await.unwrap(), b"later");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_during_the_upload_stays_removed() {
    let server = server();
    let (vfs, _) = uploading(&server).await;
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    assert!(vfs.drain().await.is_empty());
    settled(&server).await;
    assert_eq!(seen(&server, "f").await, None);
    assert!(names(&vfs, Ino::ROOT).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_during_the_upload_has_one_name() {
    let server = server();
    let (vfs, ino) = uploading(&server).await;
    rename(&vfs, "f", "g").await;
    rewrite(&vfs, ino, b"later").await.unwrap();
    rename(&vfs, "g", "h").await;
    assert!(vfs.drain().await.is_empty());
    settled(&server).await;
    let other = mount(&server, settings()).await;
    assert_eq!(names(&other, Ino::ROOT).await, ["h"]);
    assert_eq!(get(&other, Ino::ROOT, "h").await.unwrap(), b"later");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_during_the_upload_stays_replaced() {
    let server = server();
    let (vfs, _) = uploading(&server).await;
    put(&vfs, Ino::ROOT, "g", b"replacement").await;
    rename(&vfs, "g", "f").await;
    assert!(vfs.drain().await.is_empty());
    settled(&server).await;
    let other = mount(&server, settings()).await;
    assert_eq!(names(&other, Ino::ROOT).await, ["f"]);
    assert_eq!(get(&other, Ino::ROOT, "f").await.unwrap(), b"replacement");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_renamed_during_an_upload_below_it_takes_the_file_along() {
    let server = server();
    let vfs = mount(&server, later(SOON)).await;
    let dir = mkdir(&vfs, Ino::ROOT, "d").await;
    server.set_faults(&["b2_upload_file:stall=1:1"]).unwrap();
    put(&vfs, dir, "f", b"in flight").await;
    until("the upload's begin", async || {
        calls(&server, "b2_upload_file") == 1
    })
    .await;
    put(&vfs, dir, "g", b"behind it").await;
    rename(&vfs, "d", "e").await;
    assert!(vfs.drain().await.is_empty());
    settled(&server).await;
    let other = mount(&server, settings()).await;
    assert_eq!(names(&other, Ino::ROOT).await, ["e"]);
    let e = other.lookup(Ino::ROOT, os("e")).await.unwrap().attr.ino;
    assert_eq!(get(&other, e, "f").await.unwrap(), b"in flight");
    assert_eq!(get(&other, e, "g").await.unwrap(), b"behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_go_up_side_by_side_through_few_urls() {
    const FILES: u64 = 200;
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(20),
        ..emulator::Options::default()
    })
    .unwrap();
    let vfs = mount(&server, later(HOUR)).await;
    for file in 0..FILES {
        put(&vfs, Ino::ROOT, &format!("f{file}"), b"small").await;
    }
    server.reset_counters();
    assert!(vfs.drain().await.is_empty());
    let counters = server.counters();
    assert_eq!(calls(&server, "b2_upload_file"), FILES);
    assert!(calls(&server, "b2_get_upload_url") <= 8, "{counters:?}");
    assert_eq!(calls(&server, "b2_list_file_versions"), 1, "{counters:?}");
    assert_eq!(counters.calls.len(), 3, "{counters:?}");
    assert!(counters.peak_requests >= 6, "{counters:?}");
}

/// Many small files, every other one empty, in a budget that holds a few hundred of them.
#[tokio::test(flavor = "multi_thread")]
async fn closed_files_that_fill_the_memory_make_writers_wait_and_nothing_else() {
    const FILES: u32 = 4000;
    let server = server();
    let (vfs, io) = mount_within(&server, later(HOUR), 24 << 20).await;
    // Open, and never closed: it gives way last.
    let (_, open) = create(&vfs, Ino::ROOT, "open").await;
    vfs.write(open, 0, Bytes::from(vec![1; 1 << 20]))
        .await
        .unwrap();
    stream::iter(0..FILES)
        .for_each_concurrent(16, |file| {
            let vfs = vfs.clone();
            async move {
                let content = if file % 2 == 0 {
                    Vec::new()
                } else {
                    block(file)
                };
                let (_, fh) = create(&vfs, Ino::ROOT, &format!("{file:04}")).await;
                if !content.is_empty() {
                    vfs.write(fh, 0, Bytes::from(content)).await.unwrap();
                }
                vfs.flush(fh).await.unwrap();
                vfs.release(fh);
            }
        })
        .await;
    assert!(io.memory_peak() <= 24 << 20, "{}", io.memory_peak());
    let early = calls(&server, "b2_upload_file");
    assert!(early > 1000, "{early}");
    assert!(
        names_seen(&server).await.iter().all(|name| name != "open"),
        "closed ones first"
    );
    vfs.release(open);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(calls(&server, "b2_upload_file"), u64::from(FILES) + 1);
    assert_eq!(io.memory_unsent(), 0);
    let other = mount(&server, settings()).await;
    assert_eq!(names(&other, Ino::ROOT).await.len() as u32, FILES + 1);
    for file in [0, 1, 2, 1999, FILES - 1] {
        let content = get(&other, Ino::ROOT, &format!("{file:04}")).await.unwrap();
        let wanted = if file % 2 == 0 {
            Vec::new()
        } else {
            block(file)
        };
        assert_eq!(content, wanted);
    }
}

fn block(file: u32) -> Vec<u8> {
    file.to_le_bytes().repeat(1024)
}

async fn names_seen(server: &Server) -> Vec<String> {
    let other = mount(server, settings()).await;
    names(&other, Ino::ROOT).await
}

/// A symbolic link is stored when it is made; whoever stores what is pending at the same time must not take it for complete.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_made_while_all_is_being_stored_are_whole() {
    const LINKS: usize = 200;
    for settings in [settings(), later(Duration::from_millis(1))] {
        let server = server();
        let vfs = mount(&server, settings).await;
        let making = {
            let vfs = vfs.clone();
            tokio::spawn(async move {
                for link in 0..LINKS {
                    let (name, target) = (format!("l{link:03}"), format!("target of {link:03}"));
                    let new = new(FileKind::Symlink);
                    let made = vfs.symlink(Ino::ROOT, os(&name), target.as_bytes(), new);
                    made.await.unwrap();
                }
            })
        };
        while !making.is_finished() {
            drop(vfs.drain().await);
        }
        making.await.unwrap();
        assert!(vfs.drain().await.is_empty());
        // Nothing half made stays as a version.
        let all = versions(&server).await;
        assert_eq!(all.len(), LINKS, "{all:?}");
        for vfs in [vfs, mount(&server, settings_of_a_reader()).await] {
            for link in 0..LINKS {
                let entry = vfs.lookup(Ino::ROOT, os(&format!("l{link:03}"))).await;
                let target = vfs.readlink(entry.unwrap().attr.ino).await.unwrap();
                assert_eq!(target, format!("target of {link:03}"));
            }
        }
    }
}

fn settings_of_a_reader() -> Settings {
    Settings {
        read_only: true,
        ..settings()
    }
}

/// What is written to an open file of that name, which is removed, is stored nowhere.
async fn stays_removed(server: &Server, vfs: &Vfs, fh: Fh) {
    vfs.write(fh, 4, Bytes::from_static(b"two")).await.unwrap();
    vfs.unlink(Ino::ROOT, os("f")).await.unwrap();
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
    assert!(vfs.drain().await.is_empty());
    assert_eq!(seen(server, "f").await, None);
}

/// B2 shows a version before this mount has its answer: it is this mount's own all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_before_its_upload_is_answered_is_no_other_file() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    let ino = attr.ino;
    vfs.write(fh, 0, Bytes::from_static(b"one ")).await.unwrap();
    server.set_faults(&["upload:late=1:1"]).unwrap();
    let storing = tokio::spawn({
        let vfs = vfs.clone();
        async move { vfs.fsync(fh, false).await }
    });
    held(&server, "b2_upload_file").await;
    drop(vfs.lookup(Ino::ROOT, os("another")).await);
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    assert_eq!(vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino, ino);
    assert!(!storing.is_finished(), "the answer is on its way");
    storing.await.unwrap().unwrap();
    assert_eq!(vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino, ino);
    stays_removed(&server, &vfs, fh).await;
}

/// Nor is a copy of it with changed attributes, whoever has it open.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_before_its_attributes_are_acknowledged_is_no_other_file() {
    let server = server();
    let vfs = mount(&server, without_memory()).await;
    let (attr, fh) = create(&vfs, Ino::ROOT, "f").await;
    vfs.write(fh, 0, Bytes::from_static(b"one ")).await.unwrap();
    vfs.fsync(fh, false).await.unwrap();
    server.set_faults(&["copy_file:late=1:1"]).unwrap();
    chmod(&vfs, attr.ino, 0o600).await;
    held(&server, "b2_copy_file").await;
    assert_eq!(names(&vfs, Ino::ROOT).await, ["f"]);
    let found = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    assert_eq!(found, attr.ino);
    until("the copy's answer", async || vfs.pending().files == 0).await;
    let found = vfs.lookup(Ino::ROOT, os("f")).await.unwrap().attr.ino;
    assert_eq!(found, attr.ino);
    stays_removed(&server, &vfs, fh).await;
}
