//! Files that leave in parts while they are written.

use std::time::{Duration, Instant};

use b2fuse::emulator;
use b2fuse::io::Error;
use sha1::{Digest, Sha1};

use super::rig::{MIB, Rig, noise, settings, target};
use super::storing::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_sends_parts_as_long_as_the_account_wants_them() {
    let rig = wanting_more().await;
    for base in [0, 6_000_000, 30_000_000] {
        let name = format!("stream-{base}");
        let file = if base == 0 {
            rig.create(&name)
        } else {
            rig.open(&name, rig.seed(&name, base).await)
        };
        let mut model = file.all().await.expect("read");
        // More than memory holds, so that some leave under pressure.
        for i in 0..80 {
            let data = noise(i, MIB as usize);
            file.write(model.len() as u64, data.clone())
                .await
                .expect("written");
            model.extend_from_slice(&data);
        }
        let cut = model.len() - 1_000;
        file.truncate(cut as u64).await.expect("cut");
        model.truncate(cut);
        file.commit().await.expect("stored").expect("dirty");
        rig.stores(&file, &model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_larger_than_memory_streams_through_it() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("stream");
    let block = noise(2, 128 << 10);
    let mut hash = Sha1::new();
    let begun = Instant::now();
    let count = 300 * MIB / block.len() as u64;
    for i in 0..count {
        hash.update(&block);
        file.write(i * block.len() as u64, block.clone())
            .await
            .expect("written");
    }
    let written = begun.elapsed();
    file.commit().await.expect("stored").expect("dirty");
    println!(
        "300 MiB: written in {written:?}, stored in {:?}",
        begun.elapsed()
    );
    assert!(rig.io.memory_peak() <= 64 * MIB, "{}", rig.io.memory_peak());
    let calls = rig.server.counters().calls;
    assert_eq!(calls.get("b2_start_large_file"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("b2_upload_file"), None);
    let sha1 = file.content.sha1().await.expect("read");
    assert_eq!(sha1.0[..], hash.finalize()[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_slowly_is_hashed_on_the_way() {
    let slow = emulator::Options {
        latency: Duration::from_millis(400),
        ..emulator::Options::default()
    };
    let rig = Rig::with(settings(), Duration::from_secs(60), slow).await;
    let file = rig.create("hashed");
    let mut hash = Sha1::new();
    for i in 0..70 {
        let data = noise(i, MIB as usize);
        hash.update(&data);
        file.write(i * MIB, data).await.expect("written");
    }
    let expected = hash.finalize();
    let committed = file.commit().await.expect("stored").expect("dirty");
    let calls = rig.server.counters().calls;
    assert_eq!(calls.get("b2_start_large_file"), Some(&1), "{calls:?}");
    assert_eq!(committed.sha1.expect("known").0[..], expected[..]);
    assert_eq!(committed.version.whole_sha1(), None, "its start was before");
    // Also for who opens it anew, and without a download.
    let version = file.content.base().expect("stored");
    drop(file);
    let again = rig.open(
        "hashed",
        b2fuse::io::Version {
            sha1: None,
            ..version
        },
    );
    let sha1 = again.content.sha1().await.expect("remembered");
    assert_eq!(sha1.0[..], expected[..]);
    assert_eq!(rig.server.counters().bytes_out, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_last_parts_land_is_stored_by_the_next_commit() {
    let slow = emulator::Options {
        latency: Duration::from_millis(100),
        ..emulator::Options::default()
    };
    let rig = Rig::with(settings(), Duration::from_secs(60), slow).await;
    let file = rig.create("growing");
    let mut model = noise(1, 44 << 20);
    for (i, piece) in model.chunks(1 << 20).enumerate() {
        file.write(i as u64 * MIB, piece.to_vec())
            .await
            .expect("written");
    }
    rig.part_left().await;
    let commit = {
        let file = std::sync::Arc::clone(&file);
        tokio::spawn(async move { file.commit().await })
    };
    while !commit.is_finished() {
        let data = noise(model.len() as u64, 1000);
        file.write(model.len() as u64, data.clone())
            .await
            .expect("written");
        model.extend_from_slice(&data);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    commit.await.expect("no panic").expect("stored");
    assert!(file.content.is_dirty(), "some came after it");
    file.commit().await.expect("stored").expect("dirty");
    assert!(!file.content.is_dirty());
    assert!(file.all().await.expect("read") == model);
    let base = file.content.base().expect("stored");
    assert!(rig.bytes_of(&base.id, base.size).await == model);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_an_appender_copies_the_base() {
    let rig = Rig::new(settings()).await;
    for base in [3_000_000, 60_000_000] {
        let name = format!("append-{base}");
        let version = rig.seed(&name, base).await;
        let mut model = rig.bytes_of(&version.id, base).await;
        rig.server.reset_counters();
        let file = rig.open(&name, version);
        for i in 0..60 {
            let data = noise(i, MIB as usize);
            file.write(model.len() as u64, data.clone())
                .await
                .expect("written");
            model.extend_from_slice(&data);
        }
        let committed = file.commit().await.expect("stored").expect("dirty");
        let counters = rig.server.counters();
        assert!(counters.bytes_out <= 3_000_000, "{counters:?}");
        assert_eq!(counters.calls.get("b2_start_large_file"), Some(&1));
        let id = committed.version.id.expect("an id");
        assert!(rig.bytes_of(&id, model.len() as u64).await == model);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_parts_of_a_stream_go_up_with_the_commit() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("parts");
    let data = noise(4, 40_000_000);
    for (i, piece) in data.chunks(1_000_000).enumerate() {
        if i == 22 {
            rig.server
                .set_faults(&["upload_part:storage-cap"])
                .expect("valid");
        }
        file.write(i as u64 * 1_000_000, piece.to_vec())
            .await
            .expect("written");
    }
    assert!(file.commit().await.is_err());
    assert!(file.content.is_dirty());
    rig.server.set_faults(&[]).expect("valid");
    let committed = file.commit().await.expect("stored").expect("dirty");
    let id = committed.version.id.expect("an id");
    assert!(rig.bytes_of(&id, 40_000_000).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_as_a_part_needs_a_commit_to_be_read_or_changed() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("header");
    let mut data = noise(5, 50_000_000);
    for (i, piece) in data.chunks(1_000_000).enumerate() {
        file.write(i as u64 * 1_000_000, piece.to_vec())
            .await
            .expect("written");
    }
    rig.part_left().await;
    // As a muxer does: the header last.
    let direct = file
        .content
        .write(0, bytes::Bytes::from_static(b"header"))
        .await;
    assert!(matches!(direct, Err(Error::HasLeft)), "{direct:?}");
    file.write(0, b"header".to_vec()).await.expect("written");
    data[..6].copy_from_slice(b"header");
    assert!(file.all().await.expect("read") == data);
    file.commit().await.expect("stored").expect("dirty");
    // Nothing but the first part has been sent twice.
    assert!(rig.server.counters().bytes_in <= 56_000_000);
    let base = file.content.base().expect("stored");
    assert!(rig.bytes_of(&base.id, base.size).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_renamed_while_it_streams_lands_under_its_last_name() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("temporary");
    for i in 0..40 {
        file.write(i * MIB, noise(i, MIB as usize))
            .await
            .expect("written");
    }
    // Its parts are under way under the first name.
    tokio::time::sleep(Duration::from_millis(300)).await;
    file.rename("final");
    let committed = file.commit().await.expect("stored").expect("dirty");
    assert_eq!(committed.version.name.as_str(), "final");
    assert!(!file.content.is_dirty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.versions("temporary").await, []);
    assert_eq!(rig.versions("final").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_others_overtook_becomes_the_newest() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("raced");
    for i in 0..40 {
        file.write(i * MIB, noise(i, MIB as usize))
            .await
            .expect("written");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let other = rig
        .client
        .upload_file(&target("raced"), bytes::Bytes::from_static(b"other").into())
        .await
        .expect("uploaded");
    file.commit().await.expect("stored").expect("dirty");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let base = file.content.base().expect("stored");
    let versions = rig.versions("raced").await;
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(versions[0].1, base.id);
    assert_eq!(Some(&versions[1].1), other.id.as_ref());
}
