//! Reads here and there: what is fetched around them, and when nobody wants it any more.

use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::{Cursor, Settings};

use super::rig::{MIB, Rig, settings};

/// A line as people have it.
async fn far_away(memory: u64) -> Rig {
    let settings = Settings {
        memory,
        downloads: 8,
        verify_reads: false,
        ..settings()
    };
    let options = emulator::Options {
        latency: Duration::from_millis(50),
        bandwidth: Some(20 * MIB),
        ..emulator::Options::default()
    };
    Rig::with(settings, Duration::from_secs(20), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_fits_is_fetched_once_while_it_is_read_here_and_there() {
    let rig = far_away(512 * MIB).await;
    let size = 64 * MIB;
    let version = rig.seed("random", size).await;
    let expected = rig.bytes_of(&version.id, size).await;
    let content = rig.io.stored(version);
    rig.server.reset_counters();
    let cursor = Cursor::default();
    let mut random = fastrand::Rng::with_seed(7);
    let mut reads = 0;
    while rig.server.counters().bytes_out < size {
        let offset = random.u64(0..size / 4096) * 4096;
        let data = content.read(&cursor, offset, 4096).await.expect("read");
        let at = offset as usize;
        assert!(data.concat() == expected[at..at + 4096], "at {offset}");
        reads += 1;
        assert!(reads < 2_000_000, "it is never all there");
    }
    for _ in 0..10_000 {
        let offset = random.u64(0..size / 4096) * 4096;
        content.read(&cursor, offset, 4096).await.expect("read");
    }
    assert_eq!(rig.server.counters().bytes_out, size, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reads_far_apart_stay_small() {
    let rig = far_away(512 * MIB).await;
    let version = rig.seed("large", 4 << 30).await;
    let content = rig.io.stored(version);
    let cursor = Cursor::default();
    for at in 0..10 {
        let offset = at * 400 * MIB + 12_345;
        content.read(&cursor, offset, 4096).await.expect("read");
    }
    drop(cursor);
    let out = rig.server.counters().bytes_out;
    assert!(out <= 10 * (256 << 10), "{out}: the file does not fit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_more_is_fetched_once_the_reader_has_gone() {
    let rig = far_away(512 * MIB).await;
    let version = rig.seed("left", 256 * MIB).await;
    let content = rig.io.stored(version);
    let cursor = Cursor::default();
    // Together they have waited long enough for all of the file.
    let reads = (0..48).map(|at| content.read(&cursor, at * 37 % 256 * MIB, 4096));
    for read in futures_util::future::join_all(reads).await {
        read.expect("read");
    }
    let read = rig.server.counters().bytes_out;
    drop(cursor);
    // What was on its way comes.
    let mut before = u64::MAX;
    while before != rig.server.counters().bytes_out {
        before = rig.server.counters().bytes_out;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let after = before - read;
    assert!(after <= 64 * MIB, "{after} of the file's 256 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_comes_in_one_call_however_it_is_read() {
    let rig = far_away(64 * MIB).await;
    let version = rig.seed("small", 200_000).await;
    let content = rig.io.stored(version);
    rig.server.reset_counters();
    let cursor = Cursor::default();
    for step in 0..=48 {
        content
            .read(&cursor, step * 4096, 4096)
            .await
            .expect("read");
    }
    let counters = rig.server.counters();
    assert_eq!(counters.bytes_out, 200_000);
    assert_eq!(counters.calls["b2_download_file_by_id"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_bytes_of_a_large_file_bring_few_others() {
    let rig = far_away(512 * MIB).await;
    for len in [16 << 10, 128 << 10, 1 << 20] {
        for start in [0, 200 * MIB] {
            let version = rig.seed(&format!("film-{len}-{start}"), 1 << 30).await;
            let content = rig.io.stored(version);
            rig.server.reset_counters();
            let cursor = Cursor::default();
            content.read(&cursor, start, len).await.expect("read");
            // What is fetched ahead comes.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let out = rig.server.counters().bytes_out;
            let most = 4 * u64::from(len) + (256 << 10);
            assert!(out <= most, "{out} for {len} at {start}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_bytes_that_stand_in_line_gets_them_before_those_ahead() {
    let rig = Rig::new(Settings {
        memory: 512 * MIB,
        downloads: 1,
        verify_reads: false,
        ..settings()
    })
    .await;
    let version = rig.seed("bulk", 1 << 30).await;
    let content = rig.io.stored(version);
    let (reader, other) = (Cursor::default(), Cursor::default());
    let len = 1 << 20;
    content.read(&other, 2 * MIB, len).await.expect("read");
    for at in 0..2 {
        content.read(&reader, at * MIB, len).await.expect("read");
    }
    // The third read is answered from memory, and asks for two ranges ahead: one hangs, the other stands in line behind it.
    rig.server.set_faults(&["download:hang:1"]).expect("valid");
    content.read(&reader, 2 * MIB, len).await.expect("read");
    while rig.server.held().is_empty() {
        tokio::task::yield_now().await;
    }
    // In the second of the two, 640 KiB each.
    content.read(&other, 4 * MIB, 64 << 10).await.expect("read");
    assert_eq!(rig.server.held().len(), 1, "the one before it has not come");
}
