//! What was just stored is read back without a download, as far as memory allows.

use b2fuse::io::{Covered, Cursor, Settings, Version};

use super::rig::{MIB, Rig, noise, settings, target};

/// Stores a new file and gives its version, which nobody has open any more.
async fn stored(rig: &Rig, name: &str, bytes: &[u8]) -> Version {
    let file = rig.create(name);
    file.write(0, bytes.to_vec()).await.expect("written");
    let done = file.commit().await.expect("stored").expect("dirty");
    Version {
        id: done.version.id.expect("an id"),
        size: bytes.len() as u64,
        sha1: done.sha1,
    }
}

fn downloads(rig: &Rig) -> u64 {
    let calls = rig.server.counters().calls;
    calls
        .iter()
        .filter(|(name, _)| name.contains("download"))
        .map(|(_, count)| count)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_read_back_from_memory() {
    let rig = Rig::new(settings()).await;
    for (seed, size) in [(1, 1), (2, 4096), (3, 100_000), (4, 256 << 10)] {
        let bytes = noise(seed, size);
        let version = stored(&rig, "f", &bytes).await;
        assert_eq!(rig.open("f", version).all().await.expect("read"), bytes);
        assert_eq!(downloads(&rig), 0, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_larger_file_the_end_is_read_back_from_memory() {
    let rig = Rig::new(settings()).await;
    // The second goes in parts while it is written.
    for (seed, size) in [(5, MIB as usize + 5), (6, 30_000_001)] {
        let bytes = noise(seed, size);
        let file = rig.open("f", stored(&rig, "f", &bytes).await);
        let end = file.read(&Cursor::default(), size as u64 - 5, 5).await;
        assert_eq!(end.expect("read"), bytes[size - 5..]);
        assert_eq!(downloads(&rig), 0, "{size}");
        assert_eq!(file.all().await.expect("read"), bytes);
        assert!(downloads(&rig) > 0, "{size}");
        rig.server.reset_counters();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_follows_a_file_to_the_copy_that_takes_its_place() {
    let rig = Rig::new(settings()).await;
    let bytes = noise(7, 50_000);
    let version = stored(&rig, "f", &bytes).await;
    let copy = rig.io.copy(&version, &target("g"), Covered::PutOnTop).await;
    let copy = copy.expect("copied");
    let copy = Version {
        id: copy.id.expect("an id"),
        ..version.clone()
    };
    assert_eq!(rig.open("g", copy).all().await.expect("read"), bytes);
    assert_eq!(downloads(&rig), 0);
    assert_eq!(rig.open("f", version).all().await.expect("read"), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_changed_in_the_middle_is_read_back_from_memory() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("f", 82_000).await;
    let mut bytes = rig.bytes_of(&version.id, 82_000).await;
    let file = rig.open("f", version);
    rig.server.reset_counters();
    for round in 0..5_u8 {
        let at = 20_000 * usize::from(round);
        file.write(at as u64, vec![round; 700])
            .await
            .expect("written");
        bytes[at..at + 700].fill(round);
        file.commit().await.expect("stored");
        assert_eq!(file.all().await.expect("read"), bytes);
    }
    assert!(downloads(&rig) <= 2, "what lay around the first change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_and_has_not_changed_is_not_read_again() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("f", 3_000_001).await;
    let mut bytes = rig.bytes_of(&version.id, 3_000_001).await;
    let file = rig.open("f", version);
    file.all().await.expect("read");
    rig.server.reset_counters();
    file.write(1_000_000, vec![7; 9]).await.expect("written");
    bytes[1_000_000..1_000_009].fill(7);
    file.truncate(2_900_000).await.expect("cut");
    bytes.truncate(2_900_000);
    file.commit().await.expect("stored");
    assert_eq!(file.all().await.expect("read"), bytes);
    // The blocks that hold the change and the new end.
    let out = rig.server.counters().bytes_out;
    assert!(out <= 2 * 32_768, "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_far_into_a_large_file_is_not_read_again() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("f", 200_000_000).await;
    let file = rig.open("f", version);
    let far = |at| 150_000_000 + at * MIB;
    let cursor = Cursor::default();
    let before = file.read(&cursor, far(0), MIB).await.expect("read");
    // Of a version that is copied, too.
    let version = file.content.base().expect("stored");
    let copied = rig.io.copy(&version, &target("g"), Covered::PutOnTop).await;
    let id = copied.expect("copied").id.expect("an id");
    let file = rig.open("g", Version { id, ..version });
    rig.server.reset_counters();
    file.write(far(2), vec![7; 9]).await.expect("written");
    file.commit().await.expect("stored");
    let committed = rig.server.counters().bytes_out;
    let after = file.read(&cursor, far(0), MIB).await.expect("read");
    assert_eq!(before, after);
    assert_eq!(rig.server.counters().bytes_out, committed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_pages_change_again_and_again_is_downloaded_once() {
    let settings = Settings {
        memory: 256 * MIB,
        large_file: 5_000_000,
        part_size: 5_000_000,
        ..settings()
    };
    let rig = Rig::new(settings.clone()).await;
    let mut bytes = noise(1, 10_000_000);
    let file = rig.create("db");
    file.write(0, bytes.clone()).await.expect("written");
    let stored = file.commit().await.expect("stored").expect("dirty");
    // As another mount finds it.
    let version = Version {
        id: stored.version.id.expect("an id"),
        size: 10_000_000,
        sha1: stored.sha1,
    };
    let rig = rig.again(settings);
    let file = rig.open("db", version);
    for round in 0..8_u8 {
        for page in [0, 37, 1500] {
            let at = 4096 * (page + usize::from(round));
            file.write(at as u64, vec![round; 4096])
                .await
                .expect("written");
            bytes[at..at + 4096].fill(round);
        }
        file.commit().await.expect("stored");
        let out = rig.server.counters().bytes_out;
        assert!(out <= 10_000_000, "{out} after {round}");
    }
    assert_eq!(file.all().await.expect("read"), bytes);
    assert!(rig.server.counters().bytes_out <= 10_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_gives_way() {
    let rig = Rig::new(settings()).await;
    let first = noise(8, 200_000);
    let version = stored(&rig, "first", &first).await;
    for seed in 0..400 {
        stored(&rig, "f", &noise(seed, 200_000)).await;
        assert!(rig.io.memory_used() <= rig.io.memory_limit());
    }
    let unsent = rig.create("unsent");
    unsent
        .write(0, noise(9, 10 * MIB as usize))
        .await
        .expect("written");
    assert!(rig.io.memory_unsent() >= 10 * MIB);
    assert!(rig.io.memory_used() <= rig.io.memory_limit());
    let before = downloads(&rig);
    assert_eq!(rig.open("first", version).all().await.expect("read"), first);
    assert!(
        downloads(&rig) > before,
        "80 MB have pushed it out of 64 MiB"
    );
}
