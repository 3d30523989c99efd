//! Files larger than the memory that the daemon may use.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::support::bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::{PIECE, Pages};
use crate::support::tools::{program, run, shell};

const MIB: u64 = 1 << 20;
const MEMORY: &str = "list_hashfiles: false\nmemory: 64MiB\n";
/// DESIGN §2.5: the ceiling, and 64 MiB for everything else.
const MOST: u64 = 128 * MIB;

/// Writes `len` bytes that depend on the seed, without holding them.
fn write_noise(to: &Path, seed: u64, len: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut file = File::create(to).unwrap();
    let mut piece = vec![0; MIB as usize];
    for _ in 0..len / MIB {
        rng.fill(&mut piece);
        file.write_all(&piece).unwrap();
    }
    let rest = (len % MIB) as usize;
    rng.fill(&mut piece[..rest]);
    file.write_all(&piece[..rest]).unwrap();
    file.sync_all().unwrap();
}

fn check(mount: &Mount) {
    let peak = mount.peak_memory();
    println!("the daemon held {} MiB at most", peak / MIB);
    assert!(peak <= MOST, "the daemon held {} MiB", peak / MIB);
}

#[test]
fn a_file_of_300_mb_goes_in_and_out_within_64_mib() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, MEMORY);
    let local = tempfile::tempdir().expect("a temporary directory");
    let source = local.path().join("source");
    write_noise(&source, 90, 300_000_007);
    let there = mount.path().join("large");
    shell("cp \"$1\" \"$2\"", [&source, &there]);
    check(&mount);
    mount.remount();
    run(program("cmp").args([&source, &there]));
    check(&mount);

    // Patch, append and cut: only what changed travels, memory stays bounded.
    for path in [&source, &there] {
        shell(
            "printf patched | dd of=\"$1\" bs=1 seek=150000000 conv=notrunc status=none; \
             head -c 1000000 /dev/zero >> \"$1\"; truncate -s -7 \"$1\"",
            [path],
        );
    }
    run(program("cmp").args([&source, &there]));
    check(&mount);
    mount.remount();
    run(program("cmp").args([&source, &there]));
    check(&mount);
    mount.unmount();

    let bucket = bucket::Bucket::open(&emulator);
    let starts = bucket.versions();
    assert!(
        starts.iter().all(|version| version.action != "start"),
        "no unfinished large file is left: {starts:?}"
    );
}

#[test]
fn random_writes_over_a_file_larger_than_memory() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, MEMORY);
    let local = tempfile::tempdir().expect("a temporary directory");
    let twin = local.path().join("twin");
    let there = mount.path().join("f");
    write_noise(&twin, 91, 100 * MIB);
    shell("cp \"$1\" \"$2\"", [&twin, &there]);
    for path in [&twin, &there] {
        use std::os::unix::fs::FileExt;
        let mut rng = fastrand::Rng::with_seed(92);
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut piece = vec![0; 200_000];
        for round in 0..600 {
            let at = rng.u64(..100 * MIB);
            rng.fill(&mut piece);
            file.write_all_at(&piece, at).unwrap();
            if round % 50 == 0 {
                let mut back = vec![0; piece.len()];
                file.read_exact_at(&mut back, at).unwrap();
                assert_eq!(back, piece, "round {round}");
            }
        }
    }
    run(program("cmp").args([&twin, &there]));
    check(&mount);
    mount.remount();
    run(program("cmp").args([&twin, &there]));
}

#[test]
fn several_large_files_at_once_stay_within_the_ceiling() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, MEMORY);
    let local = tempfile::tempdir().expect("a temporary directory");
    let source = local.path().join("source");
    write_noise(&source, 93, 40_000_000);
    shell(
        "cd \"$2\"; all() { pids=(); for i in 1 2 3 4 5 6; do \"$@\" f$i & pids+=($!); done; \
         for pid in ${pids[@]}; do wait $pid; done; }; all cp \"$1\"; all cmp \"$1\"",
        [source.as_path(), mount.path()],
    );
    check(&mount);
}

#[test]
fn a_piece_of_a_large_file_is_read_without_the_rest() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, MEMORY);
    let there = mount.path().join("f");
    write_noise(&there, 94, 60_000_000);
    mount.remount();
    let mut head = vec![0; 10];
    File::open(&there).unwrap().read_exact(&mut head).unwrap();
    let mut expected = vec![0; 10];
    fastrand::Rng::with_seed(94).fill(&mut [0; 0]);
    let mut piece = vec![0; MIB as usize];
    fastrand::Rng::with_seed(94).fill(&mut piece);
    expected.copy_from_slice(&piece[..10]);
    assert_eq!(head, expected);
}

#[test]
fn what_was_just_written_is_read_back_before_and_after_parts_have_left() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmemory: 32MiB\nlarge_file: 10MB\npart_size: 5MB\n",
    );
    let path = mount.path().join("f");
    let content = Pages::of(95);
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    // Past the kernel's page cache, which would answer by itself.
    let other = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECT)
        .open(&path)
        .unwrap();
    let mut rng = fastrand::Rng::with_seed(95);
    let size = 80 * MIB;
    let mut left = false;
    for at in (0..size).step_by(PIECE) {
        content.write(&file, at..at + MIB);
        content.read(&other, at..at + MIB);
        if at % (8 * MIB) == 7 * MIB {
            left |= emulator.calls("b2_upload_part") > 0;
            let place = rng.u64(0..at / MIB) * MIB;
            content.read(&other, place..place + MIB);
            content.read(&file, place..place + MIB);
        }
    }
    assert!(left, "parts have left in between");
    content.read(&other, 0..size);
    drop((file, other));
    check(&mount);
    mount.remount();
    content.same(&path, size);
    let bucket = bucket::Bucket::open(&emulator);
    bucket.has_one_version_of("f");
}
