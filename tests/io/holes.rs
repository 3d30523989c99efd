//! Ranges made zeros: what they cost in memory, and what B2 is asked for.

use b2fuse::io::{Cursor, Settings};

use super::rig::{MIB, Rig, noise, settings};

const MB: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_a_stored_file_costs_no_memory_and_sends_itself_only() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let version = rig.seed("f", 400 * MB).await;
    let mut expected = rig.bytes_of(&version.id, 400 * MB).await;
    let file = rig.open("f", version);
    rig.server.reset_counters();
    // More than the memory, in pieces as `fallocate --dig-holes` makes them.
    for at in (100 * MB..200 * MB).step_by(4000) {
        assert!(file.zero(at..at + 4000, false).await.expect("zeroed"));
    }
    assert!(
        rig.io.memory_unsent() < 10_000,
        "{}",
        rig.io.memory_unsent()
    );
    expected[100_000_000..200_000_000].fill(0);
    let read = file.read(&Cursor::default(), 100 * MB - 10, 20).await;
    assert!(read.expect("read") == expected[99_999_990..100_000_010]);
    rig.server.reset_counters();
    file.commit().await.expect("stored");
    let counters = rig.server.counters();
    assert_eq!((counters.bytes_in, counters.bytes_out), (100 * MB, 0));
    assert!(rig.io.memory_peak() <= 24 * MIB);
    rig.stores(&file, &expected).await;
    assert_eq!(rig.io.memory_unsent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_gives_back_the_memory_of_what_it_replaces() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("f");
    file.write(0, noise(60, 10 << 20)).await.expect("written");
    let before = rig.io.memory_unsent();
    assert!(file.zero(MIB..10 * MIB, false).await.expect("zeroed"));
    assert!(rig.io.memory_unsent() + 8 * MIB < before);
    assert_eq!(file.content.size(), 10 * MIB);
    let mut expected = noise(60, 10 << 20);
    expected[MIB as usize..].fill(0);
    assert!(file.all().await.expect("read") == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_holes_in_little_memory_are_stored_in_between() {
    let rig = Rig::new(Settings {
        memory: 24 * MIB,
        ..settings()
    })
    .await;
    let version = rig.seed("f", 400_000).await;
    let mut expected = rig.bytes_of(&version.id, 400_000).await;
    let file = rig.open("f", version);
    // None touches another: each costs its own entry, 32 MB of them in all.
    for at in (0..400_000).step_by(2) {
        file.zero(at..at + 1, false).await.expect("zeroed");
        expected[at as usize] = 0;
    }
    assert!(rig.io.memory_peak() <= 24 * MIB);
    assert!(file.all().await.expect("read") == expected);
    file.commit().await.expect("stored");
    rig.stores(&file, &expected).await;
    assert_eq!(rig.io.memory_unsent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_where_parts_have_left_is_there_and_so_is_the_rest() {
    let rig = Rig::new(settings()).await;
    let file = rig.create("f");
    let mut expected = noise(61, 60_000_000);
    for (i, piece) in expected.chunks(1 << 20).enumerate() {
        let at = i as u64 * MIB;
        file.write(at, piece.to_vec()).await.expect("written");
    }
    rig.part_left().await;
    assert!(file.zero(3 * MB..4 * MB, false).await.expect("zeroed"));
    expected[3_000_000..4_000_000].fill(0);
    assert!(file.all().await.expect("read") == expected);
    file.commit().await.expect("stored");
    rig.stores(&file, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_changes_behind_the_end_unless_the_file_shall_grow() {
    let rig = Rig::new(settings()).await;
    let version = rig.seed("f", 1000).await;
    let mut expected = rig.bytes_of(&version.id, 1000).await;
    let file = rig.open("f", version);
    assert!(!file.zero(1000..2000, false).await.expect("looked at"));
    assert!(!file.zero(500..500, true).await.expect("looked at"));
    assert!(!file.content.is_dirty());
    assert!(file.zero(900..1100, false).await.expect("zeroed"));
    expected[900..].fill(0);
    assert!(file.all().await.expect("read") == expected);
    assert!(file.zero(800..1100, true).await.expect("zeroed"));
    expected[800..].fill(0);
    expected.resize(1100, 0);
    assert!(file.all().await.expect("read") == expected);
}
