//! Reads: what is downloaded for them, and what is believed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use b2fuse::emulator;
use b2fuse::io::{Cursor, Error, Settings, Version};

use super::rig::{MIB, Rig, noise, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_reads_download_little_more_than_they_ask_for() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("random", 1 << 30).await;
    let content = rig.io.stored(version);
    let cursor = Cursor::default();
    let mut random = fastrand::Rng::with_seed(7);
    rig.server.reset_counters();
    let (count, len) = (200, 128 << 10);
    for _ in 0..count {
        let offset = random.u64(1..(1 << 18) - 32) * 4096;
        let data = content.read(&cursor, offset, len).await.expect("read");
        assert_eq!(data.concat().len(), len as usize);
    }
    let factor = rig.server.counters().bytes_out as f64 / f64::from(count * len);
    assert!(factor <= 1.3, "{factor}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_read_once_however_many_read_it() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("shared", 20 * MIB).await;
    let expected = Arc::new(rig.bytes_of(&version.id, version.size).await);
    rig.server.reset_counters();
    let mut tasks = Vec::new();
    for i in 0..8u64 {
        let content = rig.io.stored(version.clone());
        let expected = Arc::clone(&expected);
        tasks.push(tokio::spawn(async move {
            let cursor = Cursor::default();
            let step = (64 + i) << 10;
            let mut offset = 0;
            while offset < expected.len() as u64 {
                let data = content
                    .read(&cursor, offset, step as u32)
                    .await
                    .expect("read");
                let data = data.concat();
                assert!(data == expected[offset as usize..offset as usize + data.len()]);
                offset += step;
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(rig.server.counters().bytes_out, 20 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_stay_within_little_memory() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let mut tasks = Vec::new();
    for i in 0..16 {
        let version = rig.seed(&format!("reader-{i}"), 40 * MIB).await;
        let content = rig.io.stored(version);
        tasks.push(tokio::spawn(async move {
            let cursor = Cursor::default();
            let mut offset = 0;
            while offset < 40 * MIB {
                let data = content
                    .read(&cursor, offset, 128 << 10)
                    .await
                    .expect("read");
                offset += data.concat().len() as u64;
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(rig.io.memory_peak() <= 24 * MIB, "{}", rig.io.memory_peak());
    let out = rig.server.counters().bytes_out;
    assert!(out <= 16 * 40 * MIB * 11 / 10, "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_stops_nobody() {
    let rig = Rig::with(
        settings(),
        Duration::from_secs(20),
        emulator::Options {
            latency: Duration::from_millis(30),
            ..emulator::Options::default()
        },
    )
    .await;
    let version = rig.seed("left", 4 * MIB).await;
    let content = rig.io.stored(version);
    let (one, two) = (Cursor::default(), Cursor::default());
    let first = content.read(&one, 0, 1 << 20);
    drop(tokio::time::timeout(Duration::from_millis(5), first).await);
    rig.server.reset_counters();
    let data = content.read(&two, 0, 1 << 20).await.expect("read");
    assert_eq!(data.concat().len(), 1 << 20);
    drop((one, two));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(rig.io.memory_used() <= 5 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_are_read_again_before_they_are_handed_out() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("small");
    let data = noise(1, 100_000);
    file.write(0, data.clone()).await.expect("written");
    file.commit().await.expect("stored");
    rig.server
        .set_faults(&["download:corrupt:1"])
        .expect("valid");
    assert!(file.all().await.expect("read again") == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_what_was_stored_are_an_error() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("rotten");
    file.write(0, noise(1, 3_000_000)).await.expect("written");
    file.commit().await.expect("stored");
    rig.server.set_faults(&["download:corrupt"]).expect("valid");
    assert!(matches!(file.all().await, Err(Error::Corrupt(_))));
    // Half of it was handed out before the damage was seen: repaired, but not for this reader.
    let file = rig.open("rotten", file.content.base().expect("stored"));
    rig.server.set_faults(&[]).expect("valid");
    assert_eq!(file.all().await.expect("read").len(), 3_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_read_is_checked_although_a_request_came_late() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("checked");
    file.write(0, noise(8, 12 << 20)).await.expect("written");
    let stored = file.commit().await.expect("stored").expect("dirty");
    let version = Version {
        id: stored.version.id.expect("an id"),
        size: stored.version.size,
        sha1: stored.sha1,
    };
    assert!(version.sha1.is_some());
    let content = rig.io.stored(version);
    rig.server
        .set_faults(&["download:corrupt:1"])
        .expect("valid");
    let cursor = Cursor::default();
    let mut failed = None;
    // The first read is too small for read-ahead, which would hide that the second one is late.
    let head = [(0, 4096)];
    let rest = (2..9).map(|at| (at * MIB, 1 << 20));
    let late = [(4096, (1 << 20) - 4096), (MIB, 1 << 20)];
    let end = (9..12).map(|at| (at * MIB, 1 << 20));
    for (at, len) in head.into_iter().chain(rest).chain(late).chain(end) {
        let read = content.read(&cursor, at, len).await;
        failed = failed.or(read.err());
    }
    assert!(matches!(failed, Some(Error::Corrupt(_))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_version_is_stale() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("deleted", MIB).await;
    let content = rig.io.stored(version.clone());
    let name = b2fuse::b2::FileName::new("deleted").expect("valid");
    rig.client
        .delete_file_version(&name, &version.id)
        .await
        .expect("deleted");
    let read = content.read(&Cursor::default(), 0, 100).await;
    assert!(matches!(read, Err(Error::Stale)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_larger_than_memory_is_dropped_behind_its_reader_and_a_smaller_one_kept() {
    for (size, kept) in [(200 * MIB, false), (40 * MIB, true)] {
        // Of its own: what was read twice of another file would stay before what was read once of this.
        let rig = Rig::new(Settings {
            memory: 64 * MIB,
            ..settings()
        })
        .await;
        let version = rig.seed("file", size).await;
        let content = rig.open("file", version);
        for _ in 0..2 {
            let cursor = Cursor::default();
            let mut offset = 0;
            while offset < size {
                offset += content
                    .read(&cursor, offset, MIB)
                    .await
                    .expect("read")
                    .len() as u64;
            }
        }
        let used = rig.io.memory_used();
        let right = if kept {
            used >= 40 * MIB
        } else {
            // What is right behind the reader stays, and what was read twice at the end of the file.
            used < 50 * MIB
        };
        assert!(right, "{used} after {size}");
        let downloaded = rig.server.counters().bytes_out;
        assert_eq!(downloaded == size, kept, "{downloaded} of {size}");
        assert!(downloaded <= 2 * size, "{downloaded} of {size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequential_reading_is_fast() {
    let size = 1u64 << 30;
    for verify_reads in [false, true] {
        let rig = Rig::new(Settings {
            memory: 512 * MIB,
            verify_reads,
            ..settings()
        })
        .await;
        let seeded = rig.seed("fast", size).await;
        let sha1 = verify_reads.then_some(b2fuse::b2::Sha1([0; 20]));
        // With a wrong hash everything but the last block can be read: enough to measure.
        let content = rig.io.stored(Version { sha1, ..seeded });
        let cursor = Cursor::default();
        let begun = Instant::now();
        let mut offset = 0;
        while offset + (1 << 20) < size {
            let data = content
                .read(&cursor, offset, 128 << 10)
                .await
                .expect("read");
            offset += data.iter().map(|piece| piece.len() as u64).sum::<u64>();
        }
        let speed = offset as f64 / begun.elapsed().as_secs_f64() / MIB as f64;
        println!("1 GiB sequential, verify {verify_reads}: {speed:.0} MiB/s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_is_filled_by_parallel_reads() {
    let streams = 8;
    let rig = Rig::with(
        Settings {
            memory: 512 * MIB,
            downloads: streams,
            ..settings()
        },
        Duration::from_secs(60),
        emulator::Options {
            latency: Duration::from_millis(50),
            bandwidth: Some(20 * MIB),
            ..emulator::Options::default()
        },
    )
    .await;
    let size = 1024 * MIB;
    let version = rig.seed("slow", size).await;
    let content = rig.io.stored(version);
    let cursor = Cursor::default();
    let begun = Instant::now();
    let mut half = None;
    let mut offset = 0;
    while offset < size {
        if offset >= size / 2 && half.is_none() {
            half = Some(begun.elapsed());
        }
        let data = content
            .read(&cursor, offset, 128 << 10)
            .await
            .expect("read");
        offset += data.iter().map(|piece| piece.len() as u64).sum::<u64>();
    }
    let half = half.expect("passed");
    let rest = (size / 2) as f64 / begun.elapsed().saturating_sub(half).as_secs_f64() / MIB as f64;
    let speed = size as f64 / begun.elapsed().as_secs_f64() / MIB as f64;
    println!("second half: {rest:.0} MiB/s");
    println!("8 streams of 20 MiB/s, 50 ms: {speed:.0} MiB/s");
    assert_eq!(rig.server.counters().bytes_out, size, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_compared_with_a_hash_is_counted() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("f");
    let content = noise(5, 3_000_000);
    file.write(0, content.clone()).await.expect("written");
    file.commit().await.expect("stored");
    let rig = rig.again(settings());
    let part = rig.open("f", file.content.base().expect("stored"));
    let read = async |offset: u64, len: u32| {
        let cursor = Cursor::default();
        let data = part.content.read(&cursor, offset, len).await;
        assert!(data.expect("read").concat() == content[offset as usize..][..len as usize]);
    };
    // All of it: compared. Some of it: with nothing.
    read(0, 3_000_000).await;
    assert_eq!(
        (rig.io.read_verified(), rig.io.read_unverified()),
        (3_000_000, 0)
    );
    read(1_000_000, 70_000).await;
    assert_eq!(rig.io.read_unverified(), 70_000);
}
