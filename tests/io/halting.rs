//! Sending less than everything: what others need again, what is cut off, what is removed.

use std::sync::Arc;
use std::time::Duration;

use b2fuse::emulator;
use b2fuse::io::{Cursor, Settings};

use super::rig::{File, MIB, Rig, noise, settings};

const MB: u64 = 1_000_000;

async fn small_parts(memory: u64) -> Rig {
    Rig::new(Settings {
        memory,
        large_file: 6_000_000,
        part_size: 5_000_000,
        ..settings()
    })
    .await
}

async fn append(file: &File, model: &mut Vec<u8>, len: u64) {
    for piece in noise(model.len() as u64, len as usize).chunks(MIB as usize) {
        let offset = model.len() as u64;
        let written = file.write(offset, piece.to_vec()).await;
        written.expect("written");
        model.extend_from_slice(piece);
    }
}

/// Until the first bytes of a file are in no memory any more.
async fn start_left(file: &File) {
    for _ in 0..10_000 {
        let read = file.content.read(&Cursor::default(), 0, 1).await;
        if matches!(read, Err(b2fuse::io::Error::HasLeft)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("no part ever leaves memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_left_becomes_readable_without_the_rest() {
    let rig = small_parts(512 * MIB).await;
    let file = rig.create("f");
    let mut model = Vec::new();
    append(&file, &mut model, 12 * MB).await;
    start_left(&file).await;
    // From here on nothing leaves early: bytes that had left were asked for.
    append(&file, &mut model, 60 * MB).await;
    let done = file
        .commit_sent()
        .await
        .expect("stored")
        .expect("some of it");
    assert!(done.version.size <= 13 * MB, "{}", done.version.size);
    assert!(rig.server.counters().bytes_in <= 13 * MB);
    assert!(file.content.is_dirty());
    let stored = rig.bytes_of(done.version.id.as_ref().expect("an id"), done.version.size);
    assert!(stored.await == model[..done.version.size as usize]);
    assert!(file.all().await.expect("read") == model);
    assert!(file.commit_sent().await.expect("nothing to do").is_none());
    file.commit().await.expect("stored").expect("the rest");
    rig.stores(&file, &model).await;
    // What was sent before is copied.
    assert!(rig.server.counters().bytes_in <= 78 * MB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_the_version_before_is_stored_with_it() {
    let rig = small_parts(512 * MIB).await;
    let version = rig.seed("f", 40 * MB).await;
    let mut model = rig.bytes_of(&version.id, 40 * MB).await;
    let file = rig.open("f", version);
    for (at, piece) in noise(1, 12_000_000).chunks(MIB as usize).enumerate() {
        let offset = at * MIB as usize;
        file.write(offset as u64, piece.to_vec())
            .await
            .expect("written");
        model[offset..offset + piece.len()].copy_from_slice(piece);
    }
    start_left(&file).await;
    file.commit_sent()
        .await
        .expect("stored")
        .expect("all of it");
    assert!(!file.content.is_dirty());
    rig.stores(&file, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_end_of_what_has_left_stores_no_more_than_that() {
    // It gives up soon, so that outages outlast it.
    let timeout = Duration::from_millis(600);
    let rig = Rig::with(
        Settings {
            timeout,
            large_file: 6_000_000,
            part_size: 5_000_000,
            ..settings()
        },
        timeout,
        emulator::Options {
            faults: vec!["no-md5".to_owned()],
            ..emulator::Options::default()
        },
    )
    .await;
    let file = rig.create("f");
    let mut model = Vec::new();
    append(&file, &mut model, 12 * MB).await;
    start_left(&file).await;
    append(&file, &mut model, 20 * MB).await;
    for fault in [
        "finish_large_file:lost-reply",
        "finish_large_file:storage-cap",
    ] {
        rig.server
            .set_faults(&["no-md5", fault, "get_file_info:503"])
            .expect("valid");
        drop(file.commit_sent().await);
        rig.server.set_faults(&["no-md5"]).expect("valid");
        assert!(file.content.is_dirty());
        assert!(file.all().await.expect("read") == model);
        append(&file, &mut model, 12 * MB).await;
    }
    file.commit().await.expect("stored");
    rig.stores(&file, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_a_recording_costs_few_versions() {
    let rig = small_parts(512 * MIB).await;
    let file = rig.create("f");
    let mut model = Vec::new();
    for _ in 0..30 {
        append(&file, &mut model, 6 * MB).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let read = file.read(&Cursor::default(), 0, 1000).await;
        assert!(read.expect("read") == model[..1000]);
    }
    let calls = rig.server.counters().calls;
    let finished = calls.get("b2_finish_large_file").copied();
    assert!(finished.unwrap_or(0) <= 1, "{finished:?}");
    file.commit().await.expect("stored");
    rig.stores(&file, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_is_cut_off_is_not_sent_to_its_end() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("f");
    file.write(0, b"0123456789".to_vec())
        .await
        .expect("written");
    file.truncate(40_000_000_000).await.expect("grown");
    let sending = {
        let file = Arc::clone(&file);
        tokio::spawn(async move { file.commit().await })
    };
    rig.part_left().await;
    file.truncate(5).await.expect("cut");
    // At most once more, of what is there now.
    sending.await.expect("no panic").expect("stored");
    file.commit().await.expect("stored");
    rig.stores(&file, b"01234").await;
    assert!(rig.server.counters().bytes_in < 4_000_000_000);
    assert!(
        !rig.server
            .counters()
            .calls
            .contains_key("b2_finish_large_file")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_of_a_file_that_is_cut_while_it_is_sent_is_stored() {
    const WHOLE: u64 = 300 * MB;
    for size in [5, 3 * MB, 14 * MB, 90 * MB] {
        let rig = small_parts(512 * MIB).await;
        let file = rig.create("f");
        let mut model = Vec::new();
        append(&file, &mut model, 12 * MB).await;
        file.truncate(WHOLE).await.expect("grown");
        model.resize(WHOLE as usize, 0);
        let sending = {
            let file = Arc::clone(&file);
            tokio::spawn(async move { file.commit().await })
        };
        rig.part_left().await;
        file.truncate(size).await.expect("cut");
        model.truncate(size as usize);
        sending.await.expect("no panic").expect("stored");
        file.commit().await.expect("stored");
        rig.stores(&file, &model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_in_the_middle_of_a_commit_becomes_no_version() {
    let rig = small_parts(512 * MIB).await;
    let file = rig.create("f");
    let mut model = Vec::new();
    // Parts wait while the content goes.
    rig.server
        .set_faults(&["upload_part:stall=2"])
        .expect("valid");
    append(&file, &mut model, 30 * MB).await;
    let sending = {
        let file = Arc::clone(&file);
        tokio::spawn(async move { file.commit().await })
    };
    rig.part_left().await;
    file.content.discard();
    rig.server.set_faults(&[]).expect("valid");
    drop(sending.await.expect("no panic"));
    let calls = rig.server.counters().calls;
    assert!(!calls.contains_key("b2_finish_large_file"), "{calls:?}");
}

/// Else each removal of a file under way would leave a large file behind, which is billed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_and_has_not_left_is_given_up_when_its_name_goes() {
    let rig = small_parts(512 * MIB).await;
    let file = rig.create("f");
    let mut model = Vec::new();
    rig.server.set_faults(&["upload_part:503"]).expect("valid");
    append(&file, &mut model, 30 * MB).await;
    rig.part_left().await;
    assert_eq!(unfinished(&rig).await, 1);
    assert!(!file.content.hold_parts(), "no part is in B2 only");
    for _ in 0..1_000 {
        if unfinished(&rig).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(unfinished(&rig).await, 0);
    rig.server.set_faults(&[]).expect("valid");
    let read = file.content.read(&Cursor::default(), 0, 30_000_000).await;
    assert!(read.expect("in memory").concat() == model);
}

async fn unfinished(rig: &Rig) -> usize {
    let listed = rig.client.list_unfinished_large_files("f").await;
    listed.expect("listed").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_of_terabytes_is_not_hashed_before_it_is_cut_off() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("f");
    let mut model = Vec::new();
    append(&file, &mut model, 3 * MB).await;
    file.truncate(8_000_000_000_000).await.expect("grown");
    let sending = {
        let file = Arc::clone(&file);
        tokio::spawn(async move { file.commit().await })
    };
    rig.part_left().await;
    file.truncate(2 * MB).await.expect("cut");
    model.truncate(2 * MB as usize);
    sending.await.expect("no panic").expect("stored");
    file.commit().await.expect("stored");
    rig.stores(&file, &model).await;
}
