//! What reads cost that are not in order: in bytes that come over the line.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::check_seeded;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SIZE: u64 = 1 << 30;

/// Reads and checks `len` bytes at each place; gives what was asked for and what was downloaded.
fn cost(size: u64, len: u64, places: impl IntoIterator<Item = u64>) -> (u64, u64) {
    let emulator = Emulator::without_md5();
    emulator.seed("f", size);
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 64MiB\n");
    let file = File::open(mount.path().join("f")).unwrap();
    let mut piece = vec![0; len as usize];
    let mut asked = 0;
    for at in places {
        file.read_exact_at(&mut piece, at).unwrap();
        check_seeded("f", at, &piece);
        asked += len;
    }
    let downloaded = emulator.counters().bytes_out;
    println!("{asked} bytes asked for, {downloaded} downloaded");
    assert!(downloaded >= asked, "each place is asked for once");
    (asked, downloaded)
}

/// Places of the file, each a multiple of `len`, none twice.
fn places(seed: u64, len: u64, count: usize) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut all: Vec<u64> = (1..SIZE / len).map(|index| index * len).collect();
    rng.shuffle(&mut all);
    all.truncate(count);
    all
}

#[test]
fn random_reads_of_128_kib_download_little_more_than_they_ask_for() {
    let (asked, downloaded) = cost(SIZE, 128 * KIB, places(110, 128 * KIB, 300));
    assert!(downloaded * 10 <= asked * 13, "{downloaded} for {asked}");
}

#[test]
fn a_read_of_4_kib_downloads_a_block_and_no_megabyte() {
    let (asked, downloaded) = cost(SIZE, 4 * KIB, places(111, 4 * KIB, 200));
    assert!(
        downloaded <= asked / 4 * 64 + 512 * KIB,
        "{downloaded} for {asked}: a block or two each, and somewhat more until the line is known"
    );
}

#[test]
fn reading_backwards_downloads_each_byte_about_once() {
    // Neighbours share a block, as no program reads backwards in blocks of ours.
    let len = 100_000;
    let backwards = (0..480).rev().map(|i| i * len);
    let (asked, downloaded) = cost(480 * len, len, backwards);
    assert!(downloaded * 10 <= asked * 11, "{downloaded} for {asked}");
}

#[test]
fn strided_reads_download_little_more_than_they_ask_for() {
    let strided = (1..400).map(|i| i * MIB + 64 * KIB);
    let (asked, downloaded) = cost(SIZE, 64 * KIB, strided);
    assert!(downloaded * 10 <= asked * 13, "{downloaded} for {asked}");
}

/// Past the kernel's page cache, so that it is the program's blocks that are shared.
fn read_directly(path: &Path, step: usize) {
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECT)
        .open(path)
        .unwrap();
    let size = file.metadata().unwrap().len();
    let mut piece = vec![0; step];
    for at in (0..size).step_by(step) {
        let len = (size - at).min(step as u64) as usize;
        file.read_exact_at(&mut piece[..len], at).unwrap();
        check_seeded("f", at, &piece[..len]);
    }
}

#[test]
fn several_readers_of_one_file_download_it_once() {
    let emulator = Emulator::without_md5();
    let size = 40 * MIB;
    emulator.seed("f", size);
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 128MiB\n");
    let path = mount.path().join("f");
    std::thread::scope(|scope| {
        for step in [64 * KIB, 128 * KIB, 256 * KIB, MIB] {
            let path = &path;
            scope.spawn(move || read_directly(path, step as usize));
        }
    });
    assert_eq!(emulator.counters().bytes_out, size);
}
