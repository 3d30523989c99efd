//! Many files open at once in little memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Barrier, Mutex};

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::{Pages, check_seeded};

const MIB: u64 = 1 << 20;
const FILES: usize = 100;
const PIECE: usize = 64 << 10;
const PIECES: u64 = 16;
/// Every other piece is written, the rest stays as it was.
const SIZE: u64 = 2 * PIECES * PIECE as u64;

fn name(index: usize) -> String {
    format!("f{index:02}")
}

/// What a file must hold in the end.
fn check(file: &File, index: usize, written: &Pages) {
    let mut piece = vec![0; PIECE];
    for at in (0..SIZE).step_by(PIECE) {
        file.read_exact_at(&mut piece, at).unwrap();
        if at % (2 * PIECE as u64) == 0 {
            written.check(at, &piece);
        } else {
            check_seeded(&name(index), at, &piece);
        }
    }
    assert_eq!(file.metadata().unwrap().len(), SIZE);
}

/// The most turns of others between two of one's own, the start and the end included.
fn longest_wait(turns: &[usize], of: usize) -> usize {
    let mut longest = 0;
    let mut last = 0;
    for (at, &whose) in turns.iter().enumerate() {
        if whose == of {
            longest = longest.max(at - last);
            last = at;
        }
    }
    longest
}

#[test]
fn a_hundred_files_open_for_reading_and_writing_all_get_on_in_32_mib() {
    let emulator = Emulator::without_md5();
    for index in 0..FILES {
        emulator.seed(&name(index), SIZE);
    }
    let mut mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 32MiB\n");
    let contents: Vec<Pages> = (0..FILES as u64).map(Pages::of).collect();
    let open = |index| {
        let path = mount.path().join(name(index));
        File::options().read(true).write(true).open(path).unwrap()
    };
    let files: Vec<File> = (0..FILES).map(open).collect();
    let together = Barrier::new(FILES);
    let turns = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (index, (file, content)) in files.iter().zip(&contents).enumerate() {
            let (together, turns) = (&together, &turns);
            scope.spawn(move || {
                let mut piece = vec![0; PIECE];
                together.wait();
                for at in (0..SIZE).step_by(2 * PIECE) {
                    file.read_exact_at(&mut piece, at + PIECE as u64).unwrap();
                    check_seeded(&name(index), at + PIECE as u64, &piece);
                    content.fill(at, &mut piece);
                    file.write_all_at(&piece, at).unwrap();
                    file.read_exact_at(&mut piece, at).unwrap();
                    content.check(at, &piece);
                    turns.lock().unwrap().push(index);
                }
            });
        }
    });
    let turns = turns.into_inner().unwrap();
    assert_eq!(turns.len(), FILES * PIECES as usize);
    let longest = (0..FILES)
        .map(|index| longest_wait(&turns, index))
        .max()
        .unwrap();
    println!("one of {FILES} waited for {longest} turns of the others");
    assert!(
        longest <= turns.len() / 2,
        "a file waited for {longest} of all {} turns",
        turns.len()
    );

    for (index, file) in files.iter().enumerate() {
        check(file, index, &contents[index]);
    }
    drop(files);
    let peak = mount.peak_memory();
    println!("the process held {} MiB at most", peak / MIB);
    assert!(peak <= 96 * MIB, "the process held {} MiB", peak / MIB);
    mount.remount();
    let bucket = Bucket::open(&emulator);
    for (index, content) in contents.iter().enumerate() {
        let name = name(index);
        let file = File::open(mount.path().join(&name)).unwrap();
        check(&file, index, content);
        // What was there before, and what has taken its place: no state in between.
        assert_eq!(bucket.versions_of(&name).len(), 2, "{name}");
    }
    assert_eq!(bucket.unfinished(), []);
}

/// Sizes that differ from turn to turn, the same in each run.
fn steps(seed: u64, most: u64) -> impl Iterator<Item = u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(move || random.u64(1..=most))
}

/// Many one-byte changes, readers here and there, and more writers than memory has room for, all at once.
#[test]
fn whatever_is_done_at_once_the_process_stays_within_its_memory() {
    const BIG: u64 = 200 * MIB;
    let emulator = Emulator::without_md5();
    emulator.seed("big", BIG);
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmemory: 64MiB\n");
    let at = |name: String| mount.path().join(name);
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let path = at("big".to_owned());
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let sizes = steps(reader, 128 << 10);
                for (size, offset) in sizes.zip(steps(reader + 10, BIG - MIB)).take(400) {
                    let mut piece = vec![0; size as usize];
                    file.read_exact_at(&mut piece, offset).unwrap();
                    check_seeded("big", offset, &piece);
                }
            });
        }
        for writer in 0..4 {
            let path = at(format!("changed-{writer}"));
            scope.spawn(move || {
                let file = File::create(path).unwrap();
                file.set_len(50 * MIB).unwrap();
                for offset in steps(writer + 20, 50 * MIB - 1).take(15_000) {
                    file.write_all_at(b"x", offset).unwrap();
                }
            });
        }
        for writer in 0..150 {
            let path = at(format!("written-{writer}"));
            scope.spawn(move || {
                let file = File::create(path).unwrap();
                for piece in 0..2 {
                    let bytes = vec![writer as u8; MIB as usize];
                    file.write_all_at(&bytes, piece * MIB).unwrap();
                }
            });
        }
    });
    for writer in 0..150 {
        let bytes = std::fs::read(at(format!("written-{writer}"))).unwrap();
        assert!(bytes == vec![writer as u8; 2 * MIB as usize], "{writer}");
    }
    let peak = mount.peak_memory();
    println!("the process held {} MiB at most", peak / MIB);
    assert!(peak <= 128 * MIB, "the process held {} MiB", peak / MIB);
}
