//! Bytes that are damaged on their way: never stored again, never given out as right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::{Cursor, Error, Settings, Version};

use super::rig::{File, MIB, Rig, noise, settings};

async fn rig(memory: u64) -> Rig {
    Rig::with(
        Settings {
            memory,
            ..settings()
        },
        Duration::from_secs(20),
        emulator::Options {
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        },
    )
    .await
}

/// A stored version whose SHA-1 is known, of which nothing is cached.
async fn stored(rig: &Rig, name: &str, size: usize) -> (Version, Vec<u8>) {
    let bytes = noise(size as u64, size);
    // By another client, so that nothing of it is kept here.
    let payload = b2fuse::b2::Payload::from(bytes::Bytes::from(bytes.clone()));
    let target = super::rig::target(name);
    let version = rig
        .client
        .upload_file(&target, payload)
        .await
        .expect("stored");
    let version = Version {
        id: version.id.expect("an id"),
        size: size as u64,
        sha1: version.sha1.known(),
    };
    assert!(version.sha1.is_some());
    (version, bytes)
}

/// Changes of a stored file, each of which has bytes of it sent again.
async fn change(file: &File, model: &mut Vec<u8>, how: usize) {
    let size = model.len();
    match how {
        0 => {
            file.write(size as u64, vec![1; 1000])
                .await
                .expect("written");
            model.extend_from_slice(&[1; 1000]);
        }
        1 => {
            let at = size / 2;
            file.write(at as u64, vec![2; 1000]).await.expect("written");
            model[at..at + 1000].fill(2);
        }
        _ => {
            file.truncate(size as u64 - 100).await.expect("cut");
            file.write(10, vec![3; 10]).await.expect("written");
            model.truncate(size - 100);
            model[10..20].fill(3);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_damaged_on_its_way_is_never_stored() {
    for size in [5_000, 300_000, 8_000_000, 40_000_000] {
        for how in 0..3 {
            let rig = rig(64 * MIB).await;
            let (version, mut model) = stored(&rig, "base", size).await;
            let base = version.id.clone();
            let file = rig.open("base", version);
            rig.server
                .set_faults(&["no-md5", "download:corrupt"])
                .expect("valid");
            change(&file, &mut model, how).await;
            let sent = file.commit().await;
            if sent.is_ok() {
                // All of it was copied on the server, or was in memory.
                rig.server.set_faults(&["no-md5"]).expect("valid");
                rig.stores(&file, &model).await;
                continue;
            }
            assert!(matches!(sent, Err(Error::Corrupt(_))), "{sent:?}");
            assert!(file.content.is_dirty());
            let mut finished = rig.versions("base").await;
            finished.retain(|(_, _, size)| *size > 0); // parts may have left
            assert_eq!(finished.len(), 1, "nothing was stored: {finished:?}");
            assert_eq!(finished[0].1, base);
            // Once the way is good again.
            rig.server.set_faults(&["no-md5"]).expect("valid");
            file.commit().await.expect("stored");
            rig.stores(&file, &model).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_way_is_tried_again_and_part_by_part() {
    let rig = rig(64 * MIB).await;
    let (version, mut model) = stored(&rig, "base", 30_000_000).await;
    let file = rig.open("base", version);
    rig.server
        .set_faults(&["no-md5", "download:corrupt:1"])
        .expect("valid");
    for at in [100, 11_000_000, 22_000_000] {
        file.write(at, vec![9; 100]).await.expect("written");
        model[at as usize..at as usize + 100].fill(9);
    }
    file.commit().await.expect("the second try is right");
    rig.stores(&file, &model).await;
    // All of it once for the comparison and once more; then only what the other parts need.
    let read = rig.server.counters().bytes_out - model.len() as u64;
    assert!(read < 80_000_000, "{read}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_damaged_bytes_is_not_stored() {
    let rig = rig(64 * MIB).await;
    let (version, _) = stored(&rig, "source", 300_000).await;
    let source = rig.open("source", version);
    let copy = rig.create("copy");
    copy.copy_from(&source, 1000, 0, 200_000)
        .await
        .expect("noted");
    rig.server
        .set_faults(&["no-md5", "download:corrupt"])
        .expect("valid");
    let error = copy.commit().await.expect_err("damaged");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    let hash = copy.content.sha1().await.expect_err("damaged");
    assert!(matches!(hash, Error::Corrupt(_)), "{hash}");
    assert!(rig.versions("copy").await.is_empty());
}

/// Reads all of a file as the kernel does: requests side by side, answered in any order.
async fn read_as_the_kernel_does(
    file: &Arc<File>,
    cursor: &Arc<Cursor>,
    size: u64,
    step: u64,
    at_once: usize,
) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; size as usize];
    let mut coming = std::collections::VecDeque::new();
    let mut at = 0;
    while at < size || !coming.is_empty() {
        while at < size && coming.len() < at_once {
            let (file, cursor) = (Arc::clone(file), Arc::clone(cursor));
            let from = at;
            let mut read = Box::pin(async move { file.read(&cursor, from, step).await });
            // They come in order, as from the kernel; what is answered first is another matter.
            let first = futures_util::poll!(&mut read);
            let rest = async move {
                match first {
                    std::task::Poll::Ready(done) => done,
                    std::task::Poll::Pending => read.await,
                }
            };
            coming.push_back((from, tokio::spawn(rest)));
            at += step;
        }
        let (from, read) = coming.pop_front().expect("one is coming");
        let read = read.await.expect("no panic")?;
        bytes[from as usize..from as usize + read.len()].copy_from_slice(&read);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_whole_read_ends_well_with_a_wrong_byte() {
    let cases = [
        (32, 8, 128 << 10, 8),
        (24, 8, 128 << 10, 4),
        (64, 3, 256 << 10, 16),
        (64, 4, 1 << 20, 4),
    ];
    let (wrong, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for (memory, readers, step, at_once) in cases {
        let rig = Arc::new(rig(memory * MIB).await);
        let size = 9_000_000;
        let mut files = Vec::new();
        for reader in 0..readers {
            files.push(stored(&rig, &format!("f{reader}"), size + reader).await);
        }
        rig.server
            .set_faults(&["no-md5", "download:corrupt/0.1"])
            .expect("valid");
        let mut tasks = Vec::new();
        for (reader, (version, model)) in files.into_iter().enumerate() {
            let (rig, wrong, refused) =
                (Arc::clone(&rig), Arc::clone(&wrong), Arc::clone(&refused));
            tasks.push(tokio::spawn(async move {
                let file = rig.open(&format!("f{reader}"), version.clone());
                for _ in 0..3 {
                    let cursor = Arc::new(Cursor::default());
                    match read_as_the_kernel_does(&file, &cursor, version.size, step, at_once).await
                    {
                        Ok(bytes) => {
                            wrong.fetch_add(u64::from(bytes != model), Ordering::Relaxed);
                        }
                        Err(Error::Corrupt(_)) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert!(rig.io.memory_peak() <= memory * MIB);
    }
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    assert!(refused.load(Ordering::Relaxed) > 0, "no damage was met");
}

/// What was given out before its turn is read again for the comparison. Where that fails, nobody knows whether it was right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_any_more_does_not_end_well() {
    for _ in 0..100 {
        if was_compared_no_more().await {
            return;
        }
    }
    panic!("what lies between was fetched again each time");
}

/// False where a busy machine has let readers wait so long that more was fetched than they asked for.
async fn was_compared_no_more() -> bool {
    let rig = rig(24 * MIB).await;
    let (version, model) = stored(&rig, "f", 3 * MIB as usize).await;
    let file = rig.open("f", version);
    let cursor = Cursor::default();
    let piece = |n: u64| &model[(n * MIB) as usize..((n + 1) * MIB) as usize];
    // The second request of three is answered first.
    let second = file.read(&cursor, MIB, MIB).await.expect("read");
    assert!(second == piece(1));
    // Others need the memory that it is cached in; then the first and the third are cached.
    for other in 0..3 {
        let (version, model) = stored(&rig, &format!("other{other}"), 10_000_000 + other).await;
        let other = rig.open("other", version);
        assert!(other.all().await.expect("read") == model);
    }
    rig.server.reset_counters();
    for at in (0..MIB).chain(2 * MIB..3 * MIB).step_by(32 << 10) {
        // Each by another reader: none of them reads ahead.
        file.read(&Cursor::default(), at, 32 << 10)
            .await
            .expect("read");
    }
    if rig.server.counters().bytes_out != 2 * MIB {
        return false;
    }
    rig.server
        .set_faults(&["no-md5", "download:download-cap"])
        .expect("valid");
    let first = file.read(&cursor, 0, MIB).await.expect("cached");
    assert!(first == piece(0));
    let third = file.read(&cursor, 2 * MIB, MIB).await;
    assert!(
        matches!(third, Err(Error::B2(_))),
        "{:?}",
        third.map(|_| ())
    );
    // That was told; the next whole reading is another one.
    rig.server.set_faults(&["no-md5"]).expect("valid");
    assert!(file.all().await.expect("read") == model);
    true
}

/// B2 knows no SHA-1 of a large file that was changed; this mount knows what it has made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_again_and_again_is_compared_each_time() {
    let rig = Rig::with(
        Settings {
            large_file: 6_000_000,
            part_size: 5_000_000,
            ..settings()
        },
        Duration::from_secs(20),
        emulator::Options {
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        },
    )
    .await;
    let (version, mut model) = stored(&rig, "f", 30_000_000).await;
    let file = rig.open("f", version);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..12 {
        for _ in 0..random.u32(1..4) {
            let at = random.usize(0..model.len() + 100);
            let data = noise(random.u64(..), random.usize(1..50_000));
            file.write(at as u64, data.clone()).await.expect("written");
            model.resize(model.len().max(at + data.len()), 0);
            model[at..at + data.len()].copy_from_slice(&data);
        }
        let word = ["download:corrupt/0.2", "download:corrupt:2"][round % 2];
        rig.server.set_faults(&["no-md5", word]).expect("valid");
        let mut committed = file.commit().await;
        rig.server.set_faults(&["no-md5"]).expect("valid");
        if committed.is_err() {
            committed = file.commit().await;
        }
        committed.expect("stored");
        assert_eq!(rig.io.resent_unverified(), 0, "round {round}");
        rig.stores(&file, &model).await;
    }
}
