//! Files of the sizes that the program is for, through a real mount: gigabytes in a few megabytes
//! of memory.
//!
//! A crate of its own, whose tests run one at a time: they are measured in memory and take the
//! machine's disk and processors to themselves.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use support::bucket::Bucket;
use support::emulator::Emulator;
use support::mount::Mount;
use support::pages::{PIECE, Pages, check_seeded};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What the process may hold beside the budget (DESIGN §2.5).
const BESIDE: u64 = 64 * MIB;

/// Held by every test that measures or moves much: two at once would disturb each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn within(mount: &Mount, budget: u64) {
    let peak = mount.peak_memory();
    println!("the process held {} MiB at most", peak / MIB);
    assert!(
        peak <= budget + BESIDE,
        "{} MiB held with a budget of {} MiB",
        peak / MIB,
        budget / MIB
    );
}

#[test]
fn a_mount_cancels_what_a_killed_one_left_behind_a_week_ago() {
    const WEEK: u64 = 7 * 24 * 3600 * 1000;
    let emulator = Emulator::start();
    emulator.faults(&["custom-timestamps"]);
    let bucket = Bucket::open(&emulator);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_millis() as u64;
    // What its maker's clock said does not count.
    let begin = |name: &str, at: u64| {
        bucket.start_large_with(name, &json!({"b2fuse_upload": "1000"}), Some(at))
    };
    begin("of a killed mount", now - WEEK - 60_000);
    begin("perhaps of a living mount", now - WEEK + 3_600_000);
    bucket.start_large_with("of another program", &json!({}), Some(now - 2 * WEEK));
    // What is not under its prefix is not its own to look after.
    begin("dir/of a killed mount", now - WEEK - 60_000);
    begin("dir/perhaps of a living mount", now - WEEK + 3_600_000);
    let slow = begin("dir/of a mount that needs long", now - 4 * WEEK);
    bucket.upload_part(&slow, 1, b"a part of today");
    let mount = Mount::with(&emulator, "prefix: dir\n");
    let left = |count: usize| {
        // The mount takes a minute before it looks.
        for _ in 0..1800 {
            if bucket.unfinished().len() <= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let left = bucket.unfinished().into_iter();
        left.map(|version| version.name).collect::<Vec<_>>()
    };
    let expected = [
        "dir/of a mount that needs long",
        "dir/perhaps of a living mount",
        "of a killed mount",
        "of another program",
        "perhaps of a living mount",
    ];
    assert_eq!(left(5), expected);
    assert_eq!(emulator.calls("b2_cancel_large_file"), 1);
    drop(mount);
}

#[test]
fn five_gibibytes_go_in_and_out_within_64_mib() {
    let _alone = alone();
    let emulator = Emulator::on_disk();
    let mut mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 64MiB\n");
    let path = mount.path().join("large");
    let content = Pages::of(1);
    let size = 5 * GIB;
    content.put(&path, size);
    within(&mount, 64 * MIB);
    let counters = emulator.counters();
    assert_eq!(counters.bytes_in, size, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");

    mount.remount();
    emulator.forget_counters();
    content.same(&path, size);
    within(&mount, 64 * MIB);
    let downloaded = emulator.counters().bytes_out;
    assert!(downloaded <= size + size / 100, "{downloaded}");
    let bucket = Bucket::open(&emulator);
    bucket.has_one_version_of("large");
}

/// Five gibibytes that were never uploaded, mounted.
struct Huge {
    emulator: Emulator,
    mount: Mount,
    file: File,
}

const HUGE: u64 = 5 * GIB;

impl Huge {
    fn new() -> Self {
        let emulator = Emulator::without_md5();
        emulator.seed("huge", HUGE);
        // The emulator reads and hashes what it copies: a part of it may take a while.
        let mount = Mount::with(
            &emulator,
            "list_hashfiles: false\nmemory: 64MiB\ntimeout: 300s\n",
        );
        let path = mount.path().join("huge");
        let file = File::options().read(true).write(true).open(path).unwrap();
        emulator.forget_counters();
        Self {
            emulator,
            mount,
            file,
        }
    }

    /// Stores what has been changed; gives the bytes sent and the bytes downloaded since the last time.
    fn store(&self) -> (u64, u64) {
        self.file.sync_all().unwrap();
        let counters = self.emulator.counters();
        self.emulator.forget_counters();
        (counters.bytes_in, counters.bytes_out)
    }

    /// `len` bytes at `at` through the mount.
    fn piece(&self, at: u64, len: usize) -> Vec<u8> {
        let mut piece = vec![0; len];
        self.file.read_exact_at(&mut piece, at).unwrap();
        piece
    }

    fn unchanged(&self, at: u64, len: usize) {
        check_seeded("huge", at, &self.piece(at, len));
    }

    /// One version of what was there before, one of what has taken its place.
    fn end(self) {
        within(&self.mount, 64 * MIB);
        drop(self.file);
        drop(self.mount);
        let bucket = Bucket::open(&self.emulator);
        let versions = bucket.versions_of("huge");
        let actions: Vec<&str> = versions.iter().map(|version| &*version.action).collect();
        assert_eq!(actions, ["upload", "upload"], "{versions:?}");
    }
}

#[test]
fn an_append_to_five_gibibytes_sends_what_is_appended() {
    let _alone = alone();
    let huge = Huge::new();
    let appended = Pages::of(2);
    appended.write_at(&huge.file, HUGE, 0..MIB);
    let (sent, downloaded) = huge.store();
    assert!(sent <= 10_000_000, "{sent}");
    assert_eq!(downloaded, 0);
    assert_eq!(huge.file.metadata().unwrap().len(), HUGE + MIB);
    huge.unchanged(0, PIECE);
    huge.unchanged(HUGE - MIB, PIECE);
    appended.check(0, &huge.piece(HUGE, PIECE));
    huge.end();
}

#[test]
fn a_byte_in_the_middle_of_five_gibibytes_sends_one_part() {
    let _alone = alone();
    let huge = Huge::new();
    let middle = HUGE / 2;
    huge.file.write_all_at(b"!", middle).unwrap();
    // B2 takes no part below 5 MB, and copies what lies around it.
    let (sent, downloaded) = huge.store();
    assert!(
        sent <= 5_000_000 && downloaded < 5_000_000,
        "{sent} {downloaded}"
    );
    huge.unchanged(0, PIECE);
    huge.unchanged(middle - MIB, PIECE);
    assert_eq!(huge.piece(middle, 1), b"!");
    huge.unchanged(middle + 1, PIECE);
    huge.unchanged(HUGE - MIB, PIECE);
    huge.end();
}

#[test]
fn five_gibibytes_are_cut_and_grown_on_the_server() {
    let _alone = alone();
    let huge = Huge::new();
    let cut = 3 * GIB + 12_345;
    huge.file.set_len(cut).unwrap();
    assert_eq!(huge.store(), (0, 0));
    huge.unchanged(cut - MIB, PIECE);
    assert_eq!(huge.file.metadata().unwrap().len(), cut);

    let grown = cut + 20 * MIB;
    huge.file.set_len(grown).unwrap();
    let (sent, downloaded) = huge.store();
    assert!(sent <= 20 * MIB + 5_000_000, "{sent}");
    // Little more than the piece that was looked at above.
    assert!(downloaded <= 2 * MIB, "{downloaded}");
    huge.unchanged(cut - MIB, PIECE);
    assert!(huge.piece(cut, 20 * PIECE).iter().all(|&byte| byte == 0));
    assert_eq!(huge.file.metadata().unwrap().len(), grown);
    huge.end();
}

#[test]
fn four_writers_and_four_readers_share_128_mib() {
    const WRITTEN: u64 = 200 * MIB;
    const READ: u64 = 300 * MIB;
    let _alone = alone();
    let emulator = Emulator::without_md5();
    for index in 0..4 {
        emulator.seed(&format!("read{index}"), READ);
    }
    let mut mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 128MiB\n");
    let contents: Vec<Pages> = (10..14).map(Pages::of).collect();
    std::thread::scope(|scope| {
        for (index, content) in contents.iter().enumerate() {
            let to = mount.path().join(format!("written{index}"));
            scope.spawn(move || content.put(&to, WRITTEN));
            let name = format!("read{index}");
            let from = mount.path().join(&name);
            scope.spawn(move || {
                let file = File::open(from).unwrap();
                let mut piece = vec![0; PIECE];
                for at in (0..READ).step_by(PIECE) {
                    file.read_exact_at(&mut piece, at).unwrap();
                    check_seeded(&name, at, &piece);
                }
            });
        }
    });
    within(&mount, 128 * MIB);
    let counters = emulator.counters();
    assert!(counters.bytes_in <= 4 * WRITTEN * 11 / 10, "{counters:?}");
    // What was read ahead gives way to unsent bytes; how much of it comes twice is the scheduler's.
    assert!(counters.bytes_out <= 4 * READ * 5 / 4, "{counters:?}");
    mount.remount();
    let bucket = Bucket::open(&emulator);
    for (index, content) in contents.iter().enumerate() {
        let name = format!("written{index}");
        content.same(&mount.path().join(&name), WRITTEN);
        bucket.has_one_version_of(&name);
    }
    within(&mount, 128 * MIB);
}
