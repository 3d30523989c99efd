//! Random programs against a plain vector.

use std::sync::Arc;
use std::time::Duration;

use b2fuse::io::{Cursor, Error, Settings, Version};

use super::rig::{File, MIB, Rig, noise, settings};

/// What a random program does: sizes, and how often.
struct Scale {
    steps: usize,
    longest: u64,
    largest_write: u64,
    faults: bool,
}

async fn program(rig: &Rig, seed: u64, scale: &Scale) {
    let mut random = fastrand::Rng::with_seed(seed);
    let name = format!("model-{seed}");
    let mut model: Vec<u8> = Vec::new();
    let mut file = if random.bool() {
        let size = random.u64(0..scale.longest);
        let version = rig.seed(&name, size).await;
        model = rig.bytes_of(&version.id, size).await;
        rig.open(&name, version)
    } else {
        rig.create(&name)
    };
    // Something else to copy from, changed now and then.
    let other_name = format!("model-{seed}-other");
    let size = random.u64(1..scale.longest);
    let version = rig.seed(&other_name, size).await;
    let mut other_model = rig.bytes_of(&version.id, size).await;
    let other = rig.open(&other_name, version);
    let cursor = Cursor::default();
    let mut running = None;
    for step in 0..scale.steps {
        let what = random.u32(0..100);
        match what {
            0..30 => {
                let offset = match random.u32(0..3) {
                    0 => model.len() as u64,
                    1 => random.u64(0..=model.len() as u64),
                    _ => random.u64(0..scale.longest),
                };
                let longest = if random.bool() {
                    5000
                } else {
                    scale.largest_write
                };
                let len = random.u64(1..=longest);
                let data = noise(random.u64(..), len as usize);
                file.write(offset, data.clone()).await.expect("written");
                let end = (offset + len) as usize;
                if end > model.len() {
                    model.resize(end, 0);
                }
                model[offset as usize..end].copy_from_slice(&data);
            }
            30..45 => {
                let within = random.u32(0..3) == 0;
                let source = if within { &model } else { &other_model };
                let size = source.len() as u64;
                let from = random.u64(0..=size);
                let len = if random.u32(0..3) == 0 {
                    size
                } else {
                    random.u64(0..=scale.largest_write)
                };
                let bytes = source[from as usize..(from + len).min(size) as usize].to_vec();
                let offset = match random.u32(0..4) {
                    0 => 0,
                    1 => model.len() as u64,
                    _ => random.u64(0..=scale.longest),
                };
                let source = if within { &file } else { &other };
                let copied = file.copy_from(source, from, offset, len).await;
                let place = format!("seed {seed} step {step}: copied to {offset}");
                assert_eq!(copied.expect("copied"), bytes.len() as u64, "{place}");
                let end = offset as usize + bytes.len();
                if !bytes.is_empty() {
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&bytes);
                }
                if random.u32(0..4) == 0 {
                    let len = random.u64(1..=scale.largest_write).min(size.max(1));
                    let data = noise(random.u64(..), len as usize);
                    other.write(0, data.clone()).await.expect("written");
                    other_model.resize(other_model.len().max(data.len()), 0);
                    other_model[..data.len()].copy_from_slice(&data);
                    if random.bool() {
                        other.commit().await.expect("stored");
                    }
                }
            }
            45..51 => {
                let offset = random.u64(0..=scale.longest);
                let end = offset + random.u64(1..=scale.largest_write);
                let grow = random.bool();
                let size = model.len();
                let changed = file.zero(offset..end, grow).await.expect("zeroed");
                if grow {
                    model.resize(size.max(end as usize), 0);
                }
                let within = (offset as usize).min(size)..(end as usize).min(size);
                let place = format!("seed {seed} step {step}: zeros at {offset}");
                assert_eq!(changed, !within.is_empty() || model.len() > size, "{place}");
                model[within].fill(0);
            }
            51..57 => {
                let size = match random.u32(0..4) {
                    0 => 0,
                    1 => random.u64(0..scale.longest),
                    _ => random.u64(0..=model.len() as u64),
                };
                file.truncate(size).await.expect("cut");
                model.resize(size as usize, 0);
            }
            57..85 => {
                let offset = random.u64(0..=model.len() as u64);
                let len = random.u64(1..=MIB);
                let read = file.read(&cursor, offset, len).await.expect("read");
                let end = (offset + len).min(model.len() as u64);
                assert!(
                    read == model[offset as usize..end as usize],
                    "seed {seed} step {step}: read at {offset}"
                );
            }
            85..92 => {
                file.commit().await.expect("stored");
                assert!(!file.content.is_dirty(), "seed {seed} step {step}");
            }
            92..96 => {
                let file = Arc::clone(&file);
                running = Some(tokio::spawn(async move { file.commit().await }));
                tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
            }
            96..97 => {
                file.commit_sent().await.expect("stored");
            }
            97..99 if scale.faults => {
                if let Some(running) = running.take() {
                    running.await.expect("no panic").expect("stored");
                }
                let word = [
                    "upload:storage-cap",
                    "copy_part:storage-cap",
                    "finish_large_file:storage-cap",
                ][random.usize(0..3)];
                rig.server.set_faults(&[word]).expect("a valid word");
                // Either it fails and everything stays, or it never met the fault.
                drop(file.commit().await);
                rig.server.set_faults(&[]).expect("a valid word");
            }
            _ => {
                // The caller goes away in the middle.
                let work = file.commit();
                drop(tokio::time::timeout(Duration::from_millis(1), work).await);
            }
        }
        assert_eq!(
            file.content.size(),
            model.len() as u64,
            "seed {seed} step {step}"
        );
    }
    file.commit().await.expect("stored");
    if let Some(running) = running {
        running.await.expect("no panic").expect("stored");
    }
    check_stored(rig, &file, &model, seed).await;
    other.commit().await.expect("stored");
    check_stored(rig, &other, &other_model, seed).await;
    // Once more as another program would see it.
    let version = file.content.base().expect("stored");
    file = rig.open(&name, version);
    assert!(
        file.all().await.expect("read") == model,
        "seed {seed}: reopened"
    );
}

async fn check_stored(rig: &Rig, file: &File, model: &[u8], seed: u64) {
    assert!(!file.content.is_dirty());
    let base = file.content.base().expect("stored");
    assert_eq!(base.size, model.len() as u64, "seed {seed}");
    let stored = rig.bytes_of(&base.id, base.size).await;
    assert!(stored == model, "seed {seed}: stored");
    let name = file.target().name.to_string();
    let mut newest = rig.versions(&name).await;
    newest.retain(|version| version.0 == name);
    assert_eq!(newest[0].1, base.id, "seed {seed}: what the name shows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_what_was_written() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let scale = Scale {
        steps: 120,
        longest: 300_000,
        largest_write: 200_000,
        faults: false,
    };
    for seed in seeds(0, 25) {
        program(&rig, seed, &scale).await;
    }
    assert_eq!(unsent_left(&rig).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_are_what_was_written() {
    let scale = Scale {
        steps: 60,
        longest: 40_000_000,
        largest_write: 9_000_000,
        faults: true,
    };
    for seed in seeds(1000, 6) {
        // A server each: it keeps every version in memory.
        let rig = Rig::new(Settings {
            memory: 40 * MIB,
            large_file: 6_000_000,
            part_size: 5_000_000,
            ..settings()
        })
        .await;
        program(&rig, seed, &scale).await;
        assert!(rig.io.memory_peak() <= 40 * MIB, "{}", rig.io.memory_peak());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_written_at_once_in_little_memory_are_what_was_written() {
    let rig = Arc::new(
        Rig::new(Settings {
            memory: 24 * MIB,
            large_file: 6_000_000,
            part_size: 5_000_000,
            ..settings()
        })
        .await,
    );
    let programs: Vec<_> = seeds(2000, 6)
        .map(|seed| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move {
                let scale = Scale {
                    steps: 40,
                    longest: 24_000_000,
                    largest_write: 4_000_000,
                    faults: false,
                };
                program(&rig, seed, &scale).await;
            })
        })
        .collect();
    for program in programs {
        program.await.expect("no panic");
    }
    assert!(rig.io.memory_peak() <= 24 * MIB, "{}", rig.io.memory_peak());
    assert_eq!(unsent_left(&rig).await, 0);
}

/// `count` seeds from `first` on; `MODEL_SEEDS` times as many for a long run.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("MODEL_SEEDS").map_or(1, |n| n.parse().expect("a number"));
    first..first + count * times
}

/// What stays reserved when only clean blocks are left.
async fn unsent_left(rig: &Rig) -> u64 {
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.io.memory_unsent()
}

/// While one download in ten is damaged, what is stored holds no wrong byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_downloads_become_no_content() {
    for seed in seeds(3000, 4) {
        let rig = Arc::new(
            // One upload each: B2 then knows the SHA-1 of every version, and what is sent again can be compared.
            Rig::new(Settings {
                memory: 24 * MIB,
                ..settings()
            })
            .await,
        );
        damaged(&rig, seed).await;
        assert_eq!(rig.io.resent_unverified(), 0);
        assert!(rig.io.memory_peak() <= 24 * MIB, "{}", rig.io.memory_peak());
    }
}

async fn damaged(rig: &Arc<Rig>, seed: u64) {
    /// Too short for parts to be copied: one upload each.
    const LONGEST: u64 = 4_000_000;
    let mut random = fastrand::Rng::with_seed(seed);
    let name = format!("damaged-{seed}");
    let mut model = noise(seed, random.usize(1..LONGEST as usize));
    let made = rig.create(&name);
    made.write(0, model.clone()).await.expect("written");
    made.commit().await.expect("stored");
    let version = made.content.base().expect("stored");
    assert!(version.sha1.is_some());
    let file = rig.open(&name, version);
    for step in 0..25 {
        let place = format!("seed {seed} step {step}");
        // Little is in memory of what is to be read.
        for _ in 0..random.u32(1..4) {
            let data = noise(random.u64(..), random.usize(1..200_000));
            let last = model.len().min(LONGEST as usize - data.len());
            let offset = random.u64(0..=last as u64);
            file.write(offset, data.clone()).await.expect("written");
            let end = offset as usize + data.len();
            model.resize(model.len().max(end), 0);
            model[offset as usize..end].copy_from_slice(&data);
        }
        if random.u32(0..4) == 0 {
            let size = random.u64(0..=model.len() as u64);
            file.truncate(size).await.expect("cut");
            model.resize(size as usize, 0);
        }
        let word = [
            "download:corrupt/0.1",
            "download:corrupt:2",
            "download:truncate/0.2",
        ];
        rig.server
            .set_faults(&["no-md5", word[random.usize(0..3)]])
            .expect("valid");
        // Either it fails, and everything stays, or what it stores is right.
        let stored = file.commit().await;
        rig.server.set_faults(&["no-md5"]).expect("valid");
        if stored.is_err() {
            assert!(file.content.is_dirty(), "{place}");
            file.commit().await.expect("stored");
        }
        check_stored(rig, &file, &model, seed).await;
        let version = file.content.base().expect("stored");
        read_at_once_while_damaged(rig, &name, &version, &model).await;
    }
}

/// Several readers of one version, each of all of it: what ends well is right.
async fn read_at_once_while_damaged(rig: &Arc<Rig>, name: &str, version: &Version, model: &[u8]) {
    rig.server
        .set_faults(&["no-md5", "download:corrupt/0.1"])
        .expect("valid");
    let readers = (0..4).map(|_| {
        let file = rig.open(name, version.clone());
        tokio::spawn(async move { file.all().await })
    });
    for reader in readers.collect::<Vec<_>>() {
        match reader.await.expect("no panic") {
            Ok(bytes) => assert!(bytes == model, "{name}: {version:?}"),
            Err(Error::Corrupt(_)) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    rig.server.set_faults(&["no-md5"]).expect("valid");
}
