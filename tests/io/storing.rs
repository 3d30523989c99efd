//! Commits: plans as B2 sees them, streams, failures, memory.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use b2fuse::b2::Payload;
use b2fuse::emulator;
use b2fuse::io::{Covered, Cursor, Error, Settings};

use super::rig::{MIB, Rig, noise, settings, target};

/// The emulator hashes what it copies: gigabytes take it a while.
async fn patient(settings: Settings) -> Rig {
    Rig::with(
        settings,
        Duration::from_secs(240),
        emulator::Options {
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        },
    )
    .await
}

/// An account that wants parts of 7 MB at least.
pub(super) async fn wanting_more() -> Rig {
    const WORDS: [&str; 2] = ["no-md5", "minimum-part=7000000"];
    let options = emulator::Options {
        faults: WORDS.map(str::to_owned).to_vec(),
        ..emulator::Options::default()
    };
    let settings = Settings {
        part_size: 5_000_000,
        ..settings()
    };
    Rig::with(settings, Duration::from_secs(20), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_as_long_as_the_account_wants_parts() {
    let rig = wanting_more().await;
    let version = rig.seed("patched", 60_000_000).await;
    let mut model = rig.bytes_of(&version.id, version.size).await;
    let file = rig.open("patched", version);
    for at in [0, 30_000_000, 59_999_000] {
        rig.server.reset_counters();
        file.write(at as u64, vec![7; 10]).await.expect("written");
        model[at..at + 10].fill(7);
        file.commit().await.expect("stored").expect("dirty");
        let sent = rig.server.counters().bytes_in;
        assert!(sent <= 7_000_000, "{sent}");
        rig.stores(&file, &model).await;
    }
    // As short as one part must be: nothing to gain by parts.
    let short = rig.seed("short", 6_000_000).await;
    let file = rig.open("short", short);
    file.truncate(5_500_000).await.expect("cut");
    file.commit().await.expect("stored").expect("dirty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_just_made_is_stored_once() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("empty");
    assert!(file.content.is_dirty());
    let committed = file.commit().await.expect("stored").expect("dirty");
    assert_eq!((committed.version.size, committed.superseded), (0, None));
    assert!(file.commit().await.expect("clean").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appending_to_more_than_one_copy_takes_downloads_nothing() {
    let rig = patient(settings()).await;
    let size = 5_100_000_000;
    let version = rig.seed("huge", size).await;
    rig.server.reset_counters();
    let file = rig.open("huge", version.clone());
    file.write(size, noise(1, MIB as usize))
        .await
        .expect("written");
    let committed = file.commit().await.expect("stored").expect("dirty");
    assert_eq!(committed.version.size, size + MIB);
    assert_eq!(committed.superseded, Some(version.id));
    let counters = rig.server.counters();
    assert_eq!(counters.bytes_out, 0);
    assert!(counters.bytes_in <= 10_000_000, "{}", counters.bytes_in);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_files_at_once_fit_in_little_memory() {
    let rig = Rig::new(Settings {
        memory: 32 * MIB,
        ..settings()
    })
    .await;
    let mut tasks = Vec::new();
    for i in 0..100u64 {
        let file = rig.create(&format!("many-{i:03}"));
        tasks.push(tokio::spawn(async move {
            let data = noise(i, 1_500_000);
            for (n, piece) in data.chunks(60_000).enumerate() {
                let piece = piece.to_vec();
                file.write(n as u64 * 60_000, piece).await.expect("written");
            }
            file.commit().await.expect("stored");
            (file, data)
        }));
    }
    for task in tasks {
        let (file, data) = task.await.expect("no panic");
        assert!(!file.content.is_dirty());
        let base = file.content.base().expect("stored");
        assert!(rig.bytes_of(&base.id, base.size).await == data);
    }
    assert!(rig.io.memory_peak() <= 32 * MIB, "{}", rig.io.memory_peak());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_keeps_everything_dirty_and_readable() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("failing");
    let data = noise(3, 3_000_000);
    file.write(0, data.clone()).await.expect("written");
    rig.server
        .set_faults(&["upload:storage-cap"])
        .expect("valid");
    assert!(matches!(file.commit().await, Err(Error::B2(_))));
    assert!(file.content.is_dirty());
    assert!(file.all().await.expect("read") == data);
    rig.server.set_faults(&[]).expect("valid");
    file.commit().await.expect("stored").expect("dirty");
    assert!(file.all().await.expect("read") == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_budget_without_b2_ends_in_an_error() {
    let rig = Rig::with(
        Settings {
            memory: 24 * MIB,
            timeout: Duration::from_secs(2),
            ..settings()
        },
        Duration::from_secs(20),
        emulator::Options::default(),
    )
    .await;
    rig.server.set_faults(&["*:storage-cap"]).expect("valid");
    let (one, two) = (rig.create("one"), rig.create("two"));
    for i in 0..11 {
        one.write(i * MIB, noise(i, MIB as usize))
            .await
            .expect("fits");
    }
    let begun = Instant::now();
    let mut failed = None;
    for i in 0..3 {
        if let Err(error) = two.write(i * MIB, noise(i, MIB as usize)).await {
            failed = Some(error);
            break;
        }
    }
    assert!(
        matches!(failed, Some(Error::NoMemory | Error::B2(_))),
        "{failed:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert!(one.asked.load(Ordering::Relaxed) > 0);
    rig.server.set_faults(&[]).expect("valid");
    one.commit().await.expect("stored");
    two.commit().await.expect("stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_discarded_is_cancelled() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("gone");
    for i in 0..40 {
        file.write(i * MIB, noise(i, MIB as usize))
            .await
            .expect("written");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    file.content.discard();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(file.commit().await.expect("nothing to do").is_none());
    let left = rig
        .client
        .list_unfinished_large_files("")
        .await
        .expect("listed");
    assert_eq!(left.len(), 0);
    assert_eq!(rig.io.memory_used(), 0);
}

/// What nothing comes to any more by B2's clock, whatever the clock of the mount said that began it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_is_found_and_cancelled() {
    const QUIET: Duration = Duration::from_secs(2);
    let rig = Rig::new(settings()).await;
    let begin = async |name: &str, begun: Option<u64>| {
        let mut file = target(name);
        if let Some(begun) = begun {
            let begun = begun.to_string();
            file.info.insert("b2fuse_upload".to_owned(), begun);
        }
        let started = rig.client.start_large_file(&file).await.expect("started");
        started.id.expect("an id")
    };
    let (long_ago, in_the_future) = (1000, 1 << 50);
    begin("left/quiet", Some(long_ago)).await;
    begin("left/quiet since the future", Some(in_the_future)).await;
    begin("left/another tool's", None).await;
    let fed = begin("left/fed", Some(long_ago)).await;
    let send = |number: u32| {
        let part = Payload::from(Bytes::from(vec![number as u8; 5_000_000]));
        rig.client.upload_part(&fed, number, part)
    };
    send(1).await.expect("a part");
    tokio::time::sleep(2 * QUIET).await;
    send(2).await.expect("a part");
    begin("left/young", Some(long_ago)).await;
    let cancelled = rig.io.cancel_abandoned("left/", QUIET).await;
    assert_eq!(cancelled.expect("listed"), 2);
    let left = rig.client.list_unfinished_large_files("left/").await;
    let left = left.expect("listed");
    let left: Vec<&str> = left.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        left,
        ["left/another tool's", "left/fed", "left/young"],
        "in the order of their starts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_content_and_takes_the_new_info() {
    let rig = patient(settings()).await;
    let version = rig.seed("source", 30_000_000).await;
    let mut copy = target("copy");
    copy.info.insert("mode".to_owned(), "100600".to_owned());
    let made = rig.io.copy(&version, &copy, Covered::PutOnTop).await;
    let made = made.expect("copied");
    assert_eq!(
        (made.size, made.info.get("mode").map(String::as_str)),
        (30_000_000, Some("100600"))
    );
    let huge = rig.seed("huge", 5_100_000_000).await;
    let made = rig
        .io
        .copy(&huge, &target("huge copy"), Covered::PutOnTop)
        .await
        .expect("copied");
    assert_eq!(made.size, huge.size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_caller_went_away_is_told_to_the_next() {
    let rig = Rig::with(
        settings(),
        Duration::from_secs(20),
        emulator::Options {
            latency: Duration::from_millis(50),
            ..emulator::Options::default()
        },
    )
    .await;
    let file = rig.create("told");
    file.write(0, b"bytes".to_vec()).await.expect("written");
    drop(tokio::time::timeout(Duration::from_millis(5), file.commit()).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.versions("told").await.len(), 1);
    for _ in 0..2 {
        assert!(file.content.is_dirty(), "nobody has recorded the version");
        let told = file.content.commit(&file.target()).await;
        let committed = told.expect("stored").expect("told");
        assert_eq!(committed.version.size, 5);
    }
    file.commit().await.expect("stored").expect("told");
    assert!(!file.content.is_dirty());
    assert_eq!(rig.versions("told").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_can_answer_is_ready_at_once_on_any_thread() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("inline");
    let content = std::sync::Arc::clone(&file.content);
    std::thread::spawn(move || {
        let cursor = Cursor::default();
        for (offset, len) in [(0, 10), (10, 100_000), (100_010, 5)] {
            let write = content.write(offset, vec![1; len].into());
            assert!(matches!(now(write), Some(Ok(()))));
        }
        assert!(matches!(now(content.truncate(100_000)), Some(Ok(()))));
        let read = now(content.read(&cursor, 0, 1 << 20))
            .expect("ready")
            .expect("read");
        assert_eq!(read.concat(), vec![1; 100_000]);
    })
    .join()
    .expect("no panic");
    file.commit().await.expect("stored");
    assert_eq!(file.all().await.expect("read").len(), 100_000);
    let content = std::sync::Arc::clone(&file.content);
    std::thread::spawn(move || {
        let read = now(content.read(&Cursor::default(), 0, 50_000))
            .expect("cached")
            .expect("read");
        assert_eq!(read.concat(), vec![1; 50_000]);
    })
    .join()
    .expect("no panic");
}

/// Polls once, outside a runtime.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_must_wait_may_begin_outside_the_runtime() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let (full, other) = (rig.create("full"), rig.create("other"));
    // Nothing leaves memory before the other one waits, however slow this machine is.
    let faults = ["start_large_file:stall=2:1"];
    rig.server.set_faults(&faults).expect("valid");
    for i in 0..11 {
        full.write(i * MIB, noise(i, MIB as usize))
            .await
            .expect("fits");
    }
    let content = std::sync::Arc::clone(&other.content);
    let waiting = std::thread::spawn(move || {
        let mut write =
            Box::pin(async move { content.write(0, noise(9, 2 * MIB as usize).into()).await });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(write.as_mut().poll(&mut context).is_pending());
        write
    });
    let write = waiting.join().expect("no panic");
    tokio::spawn(write)
        .await
        .expect("no panic")
        .expect("written");
    assert_eq!(other.content.size(), 2 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_cost_no_memory() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("holes");
    file.write(0, b"start".to_vec()).await.expect("written");
    file.write(200 * MIB, b"end".to_vec())
        .await
        .expect("written");
    let cursor = Cursor::default();
    assert!(file.read(&cursor, 100 * MIB, MIB).await.expect("read") == vec![0; MIB as usize]);
    let committed = file.commit().await.expect("stored").expect("dirty");
    assert_eq!(committed.version.size, 200 * MIB + 3);
    assert!(rig.io.memory_peak() < MIB, "{}", rig.io.memory_peak());
    assert_eq!(
        file.read(&cursor, 200 * MIB - 2, 100).await.expect("read"),
        b"\0\0end"
    );
    let sha1 = committed.sha1.expect("hashed before it went up");
    assert_eq!(
        rig.bytes_of(&committed.version.id.expect("an id"), 5).await,
        b"start"
    );
    assert_eq!(file.content.base().expect("stored").sha1, Some(sha1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_moment_between_stored_and_told() {
    let rig = Rig::new(settings()).await;
    for round in 0..5000 {
        let file = rig.create(&format!("f{round}"));
        let content = file.content.clone();
        let committing = tokio::spawn({
            let (content, target) = (content.clone(), file.target());
            async move { content.commit(&target).await }
        });
        // Another thread looks all the time until the commit has ended. The moment was short: it
        // was met once in a thousand rounds.
        let watching = tokio::task::spawn_blocking(move || {
            while !committing.is_finished() {
                assert!(content.is_dirty(), "round {round}: nobody has recorded it");
            }
            committing
        });
        let committed = watching.await.expect("always dirty").await;
        let version = committed
            .expect("no panic")
            .expect("stored")
            .expect("dirty");
        assert!(file.content.is_dirty());
        file.content
            .recorded(version.version.id.as_ref().expect("an id"));
        assert!(!file.content.is_dirty());
    }
}
