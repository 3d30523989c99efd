//! Large files whose calls fail: at any step, with any outcome, what was written is stored by a later commit.

use std::sync::Arc;
use std::time::Duration;

use b2fuse::b2::ErrorKind;
use b2fuse::emulator;
use b2fuse::io::{Error, Settings};

use super::rig::{File, MIB, Rig, noise, settings};

/// A client that gives up soon, so that outages outlast it.
async fn hasty() -> Rig {
    Rig::with(
        Settings {
            timeout: Duration::from_millis(600),
            ..settings()
        },
        Duration::from_millis(600),
        emulator::Options {
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        },
    )
    .await
}

async fn append(file: &File, model: &mut Vec<u8>, len: usize) {
    for piece in noise(model.len() as u64, len).chunks(MIB as usize) {
        file.write(model.len() as u64, piece.to_vec())
            .await
            .expect("written");
        model.extend_from_slice(piece);
    }
}

/// As `append`; stops when B2 is needed and fails.
async fn append_what_fits(file: &File, model: &mut Vec<u8>, len: usize) {
    for piece in noise(model.len() as u64, len).chunks(MIB as usize) {
        if file
            .write(model.len() as u64, piece.to_vec())
            .await
            .is_err()
        {
            return;
        }
        model.extend_from_slice(piece);
    }
}

async fn ends_well(rig: &Rig, file: &Arc<File>, model: &[u8]) {
    rig.server.set_faults(&["no-md5"]).expect("valid");
    // On a busy machine the client's time may be up without any fault.
    for _ in 0..20 {
        match file.commit().await {
            Err(Error::B2(error)) if error.kind == ErrorKind::Unavailable => {}
            done => {
                done.expect("stored");
                break;
            }
        }
    }
    assert!(!file.content.is_dirty());
    rig.stores(file, model).await;
    assert!(file.all().await.expect("read") == model);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_commit_failed_is_stored_by_the_next_one() {
    for seed in 0..4 {
        fastrand::seed(seed);
        let rig = hasty().await;
        let file = rig.create("stream");
        let mut model = Vec::new();
        append(&file, &mut model, 34_000_000).await;
        rig.part_left().await;
        rig.server
            .set_faults(&["no-md5", "upload_part:503/0.8"])
            .expect("valid");
        append_what_fits(&file, &mut model, 28_750_000).await;
        for _ in 0..3 {
            // Most tries fail; whether all do is not said.
            drop(file.commit().await);
        }
        rig.server.set_faults(&["no-md5"]).expect("valid");
        append(&file, &mut model, 2_000_000).await;
        ends_well(&rig, &file, &model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_of_a_failed_commit_may_be_written_over() {
    let rig = hasty().await;
    let file = rig.create("tail");
    let mut model = Vec::new();
    append(&file, &mut model, 45_000_000).await;
    rig.part_left().await;
    rig.server
        .set_faults(&["no-md5", "finish_large_file:storage-cap"])
        .expect("valid");
    assert!(file.commit().await.is_err());
    assert!(file.content.is_dirty());
    rig.server.set_faults(&["no-md5"]).expect("valid");
    let at = model.len() - 100;
    file.write(at as u64, vec![7; 50]).await.expect("written");
    model[at..at + 50].fill(7);
    file.truncate(model.len() as u64 - 10).await.expect("cut");
    model.truncate(model.len() - 10);
    ends_well(&rig, &file, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_whose_outcome_is_unknown_is_asked_for() {
    for lost in ["finish_large_file:lost-reply", "finish_large_file:503"] {
        let rig = hasty().await;
        let file = rig.create("finish");
        let mut model = Vec::new();
        append(&file, &mut model, 45_000_000).await;
        rig.part_left().await;
        rig.server
            .set_faults(&["no-md5", lost, "get_file_info:503"])
            .expect("valid");
        for _ in 0..2 {
            assert!(file.commit().await.is_err(), "{lost}");
        }
        assert!(file.content.is_dirty());
        // What comes meanwhile comes on top, whatever was stored.
        append(&file, &mut model, 3_000_000).await;
        // Asked before the last commit: on a busy machine that may run out of time and give up an upload of its own.
        let calls = rig.server.counters().calls;
        assert_eq!(calls.get("b2_start_large_file"), Some(&1), "{calls:?}");
        assert_eq!(calls.get("b2_cancel_large_file"), None, "{calls:?}");
        ends_well(&rig, &file, &model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_of_a_file_in_memory_is_asked_for_too() {
    let rig = hasty().await;
    let file = rig.create("memory");
    // Not in one run, so nothing leaves before the commit.
    let mut model = vec![0; 30_000_000];
    for at in (0..30_000_000).step_by(3_000_000) {
        let piece = noise(at as u64, 2_000_000);
        file.write(at as u64, piece.clone()).await.expect("written");
        model[at..at + piece.len()].copy_from_slice(&piece);
    }
    model.truncate(29_000_000);
    rig.server
        .set_faults(&[
            "no-md5",
            "finish_large_file:lost-reply",
            "get_file_info:503",
        ])
        .expect("valid");
    assert!(file.commit().await.is_err());
    ends_well(&rig, &file, &model).await;
    let versions = rig.versions("memory").await;
    assert_eq!(versions.len(), 1, "stored once: {versions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_file_is_emptied_without_b2() {
    let rig = hasty().await;
    let file = rig.create("emptied");
    let mut model = Vec::new();
    append(&file, &mut model, 40_000_000).await;
    rig.part_left().await;
    rig.server.set_faults(&["no-md5", "*:503"]).expect("valid");
    file.content.truncate(0).await.expect("nothing to ask");
    assert_eq!(file.content.size(), 0);
    model.clear();
    rig.server.set_faults(&["no-md5"]).expect("valid");
    append(&file, &mut model, 1_000_000).await;
    ends_well(&rig, &file, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_append_is_cut_back_to_its_base_without_b2() {
    let rig = hasty().await;
    let version = rig.seed("base", 12_000_000).await;
    let mut model = rig.bytes_of(&version.id, version.size).await;
    let file = rig.open("base", version);
    append(&file, &mut model, 40_000_000).await;
    rig.part_left().await;
    rig.server.set_faults(&["no-md5", "*:503"]).expect("valid");
    file.content
        .truncate(11_000_000)
        .await
        .expect("nothing to ask");
    model.truncate(11_000_000);
    ends_well(&rig, &file, &model).await;
}

/// Random steps, calls that fail or are not answered in any of them, and a model of what was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_everything_is_stored_in_the_end() {
    const FAULTS: [&str; 9] = [
        "upload_part:503/0.7",
        "upload_part:lost-reply/0.5",
        "upload_part:storage-cap/0.5",
        "start_large_file:lost-reply/0.5",
        "finish_large_file:lost-reply",
        "finish_large_file:storage-cap",
        "get_file_info:503",
        "copy_part:503/0.7",
        "list:503",
    ];
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let rig = hasty().await;
        let file = rig.create("any");
        let mut model: Vec<u8> = Vec::new();
        for step in 0..25 {
            match random.u32(0..10) {
                0..5 => {
                    let len = random.usize(1..12_000_000);
                    append_what_fits(&file, &mut model, len).await;
                }
                5 => {
                    let at = random.usize(0..=model.len());
                    let piece = noise(step, random.usize(1..200_000));
                    if file.write(at as u64, piece.clone()).await.is_ok() {
                        let end = at + piece.len();
                        model.resize(model.len().max(end), 0);
                        model[at..end].copy_from_slice(&piece);
                    }
                }
                6 => {
                    let size = random.usize(0..=model.len());
                    if file.truncate(size as u64).await.is_ok() {
                        model.truncate(size);
                    }
                }
                _ => drop(file.commit().await),
            }
            let mut faults = vec!["no-md5"];
            for _ in 0..random.usize(0..3) {
                faults.push(FAULTS[random.usize(0..FAULTS.len())]);
            }
            rig.server.set_faults(&faults).expect("valid");
        }
        ends_well(&rig, &file, &model).await;
        assert!(rig.io.memory_peak() <= 64 * MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_somebody_cancelled_is_said_to_be_gone() {
    let rig = hasty().await;
    let file = rig.create("cancelled");
    let mut model = Vec::new();
    append(&file, &mut model, 45_000_000).await;
    rig.part_left().await;
    let unfinished = rig
        .client
        .list_unfinished_large_files("cancelled")
        .await
        .expect("listed");
    for one in unfinished {
        let id = one.id.expect("an id");
        rig.client.cancel_large_file(&id).await.expect("cancelled");
    }
    for _ in 0..2 {
        let error = file.commit().await.expect_err("nothing to finish");
        assert!(matches!(error, Error::B2(_)), "{error}");
    }
    assert!(file.content.is_dirty());
}
