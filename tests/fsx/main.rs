//! Random operations of every kind on one file, by fsx: it compares all that it reads with what it
//! has written. Its file is larger than the memory, so parts of it leave in the middle.
//!
//! A seed stands for a row of operations, whatever the filesystem: the same row on a filesystem in
//! memory tells what must be in the file at the end, on the mount, after another mount, and in the
//! bucket. A crate of its own, whose runs take turns.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use support::bucket::Bucket;
use support::emulator::Emulator;
use support::mount::Mount;
use support::tools::{run, tool};
use support::tree::first_difference;

/// When fsx, or the mount, is taken for hanging; the long runs take minutes.
const HANGS_AFTER: Duration = Duration::from_secs(7200);
const MIB: u64 = 1 << 20;
const MEMORY: u64 = 32 * MIB;
/// What the process may hold beside the budget (DESIGN §2.5).
const BESIDE: u64 = 64 * MIB;
const CONFIG: &str = "list_hashfiles: false\nmemory: 32MiB\npart_size: 5MB\nlarge_file: 5MB\n";
const WRITE_BACK: &str = "write_back: 5s\n";
/// None lasts: no operation may fail. Wrong bytes (`corrupt`) are not among them: B2 tells no SHA-1 of a
/// range, and hardly anything here is read from the first byte to the last. Nor is a key that is refused
/// (`*:401` strikes authorizations, too): that lasts a while.
const FAULTS: &[&str] = &[
    "no-md5",
    "upload:503/0.02",
    "upload:reset/0.01",
    "upload:reset-mid/0.02",
    "upload:lost-reply/0.02",
    "upload:late=2/0.005",
    "upload:stall-mid=2/0.005",
    "copy_part:503/0.02",
    "copy_part:lost-reply/0.02",
    "finish_large_file:503/0.02",
    "finish_large_file:lost-reply/0.05",
    "start_large_file:reset/0.02",
    "get_upload_part_url:503/0.02",
    "delete_file_version:lost-reply/0.02",
    "download:503/0.003",
    "download:reset-mid/0.005",
    "download:truncate/0.003",
    "download:late=1/0.002",
    "upload:401/0.001",
    "copy_part:401/0.005",
    "finish_large_file:401/0.005",
    "download:401/0.001",
];

/// What fsx does to a file of at most this size.
struct Exercise {
    operations: u32,
    largest_file: u64,
    largest_operation: u64,
    /// Weight of closes, syncs and synced mappings, each of which stores the file.
    storing: f64,
}

/// Most of what is stored is so because memory is short.
const SHORT_OF_MEMORY: Exercise = Exercise {
    operations: 100_000,
    largest_file: 64 * MIB,
    largest_operation: 64 << 10,
    storing: 0.01,
};
const SHORT_OF_MEMORY_QUICK: Exercise = Exercise {
    operations: 1_500,
    largest_operation: 512 << 10,
    ..SHORT_OF_MEMORY
};
/// Stored again and again, also by each mapping that is written to.
const STORED_OFTEN: Exercise = Exercise {
    operations: 1_000,
    largest_file: 256 << 10,
    largest_operation: 64 << 10,
    storing: 2.0,
};

impl Exercise {
    /// The configuration of fsx: all operations that it has on Linux.
    fn config(&self, path: &Path) {
        let storing = self.storing;
        let unsynced = storing < 1.0;
        let config = format!(
            "flen = {}\n\
             nomsyncafterwrite = {unsynced}\n\
             [opsize]\nmin = 1\nmax = {}\n\
             [weights]\n\
             close_open = {storing}\nfsync = {storing}\nfdatasync = {storing}\n\
             read = 10\nwrite = 10\nmapread = 10\nmapwrite = 10\ninvalidate = 1\n\
             truncate = 0.3\nposix_fallocate = 1\npunch_hole = 3\nsendfile = 3\n\
             posix_fadvise = 3\ncopy_file_range = 3\n",
            self.largest_file, self.largest_operation
        );
        fs::write(path, config).unwrap();
    }

    /// Runs fsx on `file`; what it has to say about a failure comes with the panic.
    fn run(&self, seed: u64, file: &Path, notes: &Path) {
        let config = notes.join("fsx.toml");
        self.config(&config);
        let mut command = Command::new("timeout");
        command
            .arg("--kill-after=5")
            .arg(HANGS_AFTER.as_secs().to_string())
            .arg(tool("fsx"))
            .args(["-N", &self.operations.to_string()])
            .args(["-S", &seed.to_string()])
            .arg("-f")
            .arg(config)
            .arg("-P")
            .arg(notes)
            .arg(file);
        run(&mut command);
    }

    /// What is in the file at the end, by a filesystem in memory.
    fn outcome(&self, seed: u64) -> Vec<u8> {
        let folder = TempDir::new_in("/dev/shm").unwrap();
        let file = folder.path().join("file");
        self.run(seed, &file, folder.path());
        fs::read(file).unwrap()
    }
}

#[track_caller]
fn same(expected: &[u8], found: &[u8], seed: u64, place: &str) {
    let difference = first_difference(expected, found);
    assert_eq!(difference, None, "seed {seed}: {place}");
}

/// Reads past the pages that the kernel has kept.
fn read(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    fs::read(path).unwrap()
}

fn exercise(what: &Exercise, config: &str, faults: &[&str], seeds: &[u64]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for &seed in seeds {
        let begun = Instant::now();
        let expected = what.outcome(seed);
        let emulator = Emulator::on_disk();
        let mut mount = Mount::with(&emulator, &format!("{CONFIG}{config}"));
        mount.live_for(HANGS_AFTER);
        let notes = tempfile::tempdir().unwrap();
        let path = mount.path().join("file");
        if !faults.is_empty() {
            emulator.faults(faults);
        }
        what.run(seed, &path, notes.path());
        same(&expected, &read(&path), seed, "as it was left");
        let peak = mount.peak_memory();
        assert!(peak <= MEMORY + BESIDE, "{} MiB held", peak / MIB);
        emulator.faults(&["no-md5"]);
        mount.remount();
        same(&expected, &read(&path), seed, "after another mount");
        mount.unmount();
        let bucket = Bucket::open(&emulator);
        let versions = bucket.versions_of("file");
        let stored = bucket.download(&versions[0].id);
        same(&expected, &stored, seed, "in the bucket");
        assert_eq!(bucket.unfinished(), [], "seed {seed}");
        println!(
            "seed {seed}: {} operations, {} bytes at the end, {} versions, {} MiB held, {} s",
            what.operations,
            expected.len(),
            versions.len(),
            peak / MIB,
            begun.elapsed().as_secs()
        );
    }
}

/// Seeds of the long runs; `FSX_SEEDS=7,8` names others.
fn seeds(usual: &[u64]) -> Vec<u64> {
    match std::env::var("FSX_SEEDS") {
        Ok(seeds) => seeds.split(',').map(|seed| seed.parse().unwrap()).collect(),
        Err(_) => usual.to_vec(),
    }
}

#[test]
fn a_file_larger_than_memory_stays_what_it_is() {
    exercise(&SHORT_OF_MEMORY_QUICK, "", &[], &[1]);
    exercise(&STORED_OFTEN, "", &[], &[2, 3]);
}

#[test]
fn so_it_does_with_write_back() {
    exercise(&SHORT_OF_MEMORY_QUICK, WRITE_BACK, &[], &[4]);
    exercise(&STORED_OFTEN, WRITE_BACK, &[], &[5, 6]);
}

#[test]
fn so_it_does_when_the_service_fails_now_and_then() {
    exercise(&SHORT_OF_MEMORY_QUICK, "", FAULTS, &[7]);
}

#[test]
fn so_it_does_with_write_back_when_the_service_fails_now_and_then() {
    exercise(&SHORT_OF_MEMORY_QUICK, WRITE_BACK, FAULTS, &[8]);
}

#[test]
#[ignore = "slow: 100,000 operations a seed"]
fn a_file_larger_than_memory_stays_what_it_is_for_long() {
    exercise(&SHORT_OF_MEMORY, "", &[], &seeds(&[11, 12, 13]));
}

#[test]
#[ignore = "slow: 100,000 operations a seed"]
fn so_it_does_with_write_back_for_long() {
    exercise(&SHORT_OF_MEMORY, WRITE_BACK, &[], &seeds(&[14, 15, 16]));
}

#[test]
#[ignore = "slow: 100,000 operations a seed"]
fn so_it_does_when_the_service_fails_for_long() {
    exercise(&SHORT_OF_MEMORY, "", FAULTS, &seeds(&[17, 18, 19]));
}

#[test]
#[ignore = "slow: 100,000 operations a seed"]
fn so_it_does_with_write_back_when_the_service_fails_for_long() {
    exercise(&SHORT_OF_MEMORY, WRITE_BACK, FAULTS, &seeds(&[20, 21, 22]));
}
