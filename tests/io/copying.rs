//! Copies between contents: what is paid for, what leaves, what B2 is asked for.

use b2fuse::io::{Cursor, Settings};

use super::rig::{File, MIB, Rig, noise, settings};

const MB: u64 = 1_000_000;

async fn copy(to: &File, source: &File, from: u64, offset: u64, len: u64) {
    let copied = to.copy_from(source, from, offset, len).await;
    assert_eq!(copied.expect("copied"), len);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_two_files_share_are_paid_for_once() {
    let rig = Rig::new(settings()).await;
    let (a, b) = (rig.create("a"), rig.create("b"));
    let bytes = noise(50, 10 << 20);
    a.write(0, bytes.clone()).await.expect("written");
    let once = rig.io.memory_unsent();
    copy(&b, &a, 0, 0, 10 * MIB).await;
    let twice = rig.io.memory_unsent();
    assert!(twice - once < 10_000, "{once} {twice}");
    // What one has stored is still held by the other.
    a.commit().await.expect("stored");
    assert!(rig.io.memory_unsent() >= 10 * MIB);
    b.commit().await.expect("stored");
    assert_eq!(rig.io.memory_unsent(), 0);
    assert!(b.all().await.expect("read") == bytes);
    // Small writes are gathered in a buffer; who copies from it shares that.
    let (c, d) = (rig.create("c"), rig.create("d"));
    c.write(0, noise(56, 1000)).await.expect("written");
    copy(&d, &c, 0, 0, 1000).await;
    c.commit().await.expect("stored");
    assert!(rig.io.memory_unsent() >= 1000);
    d.commit().await.expect("stored");
    assert_eq!(rig.io.memory_unsent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_what_changes_later_keeps_what_it_copied() {
    let rig = Rig::new(settings()).await;
    let (a, b) = (rig.create("a"), rig.create("b"));
    a.write(0, noise(51, 1000)).await.expect("written");
    copy(&b, &a, 0, 0, 1000).await;
    // In the same buffer as before, had it stayed open.
    a.write(0, noise(52, 1000)).await.expect("written");
    a.truncate(500).await.expect("cut");
    assert!(b.all().await.expect("read") == noise(51, 1000));
    assert!(a.all().await.expect("read") == noise(52, 1000)[..500]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_references_than_memory_holds_are_stored_in_between() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let version = rig.seed("source", 200_000).await;
    let bytes = rig.bytes_of(&version.id, 200_000).await;
    let source = rig.open("source", version);
    let file = rig.create("target");
    // None continues the one before: each costs its own entry, 45 MB of them in all.
    let mut expected = Vec::new();
    for i in 0..100_000u64 {
        let from = i * 7919 % 200_000;
        copy(&file, &source, from, i, 1).await;
        expected.push(bytes[from as usize]);
    }
    assert!(rig.io.memory_peak() <= 24 * MIB);
    assert!(file.all().await.expect("read") == expected);
    file.commit().await.expect("stored");
    rig.stores(&file, &expected).await;
    assert_eq!(rig.io.memory_unsent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_behind_a_copy_streams_through_little_memory() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("source", 30 * MB).await;
    let head = rig.bytes_of(&version.id, 30 * MB).await;
    let source = rig.open("source", version);
    let file = rig.create("target");
    rig.server.reset_counters();
    copy(&file, &source, 0, 0, 30 * MB).await;
    let tail = noise(53, 120_000_000);
    for (i, piece) in tail.chunks(1 << 20).enumerate() {
        let at = 30 * MB + i as u64 * MIB;
        file.write(at, piece.to_vec()).await.expect("written");
    }
    // It left while it was written, and no version was made for that.
    assert_eq!(file.content.base().map(|base| base.size), None);
    file.commit().await.expect("stored");
    let counters = rig.server.counters();
    assert_eq!((counters.bytes_in, counters.bytes_out), (120 * MB, 0));
    assert_eq!(counters.calls.get("b2_finish_large_file"), Some(&1));
    assert!(rig.io.memory_peak() <= 64 * MIB);
    rig.stores(&file, &[head, tail].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_behind_parts_that_have_left_is_copied_at_the_end() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("source", 30 * MB).await;
    let middle = rig.bytes_of(&version.id, 30 * MB).await;
    let source = rig.open("source", version);
    let file = rig.create("target");
    rig.server.reset_counters();
    let written = noise(54, 60_000_000);
    for (i, piece) in written.chunks(1 << 20).enumerate() {
        let at = i as u64 * MIB;
        file.write(at, piece.to_vec()).await.expect("written");
    }
    copy(&file, &source, 0, 60 * MB, 30 * MB).await;
    file.write(90 * MB, noise(55, 1000)).await.expect("written");
    let expected = [written, middle, noise(55, 1000)].concat();
    let near = file.read(&Cursor::default(), 80 * MB, 20 * MB).await;
    assert!(near.expect("read") == expected[80_000_000..]);
    let read = rig.server.counters().bytes_out;
    file.commit().await.expect("stored");
    let counters = rig.server.counters();
    assert_eq!(counters.calls.get("b2_finish_large_file"), Some(&1));
    // The last written part was filled up from the source, unless it was long enough.
    assert!(counters.bytes_in < 60 * MB + 1000 + 5 * MB, "{counters:?}");
    assert!(counters.bytes_out - read < 5 * MB, "{counters:?}");
    rig.stores(&file, &expected).await;
}
