//! Random writes by `fio`, which stamps every block and verifies it.

use std::path::Path;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::Pages;
use crate::support::tools::{program, run};

const MIB: u64 = 1 << 20;
/// Three times the memory.
const SIZE: u64 = 96 * MIB;

fn fio(path: &Path, arguments: &[&str]) -> String {
    run(program("fio")
        .arg("--name=job")
        .arg(format!("--filename={}", path.display()))
        .arg(format!("--size={SIZE}"))
        .args(["--rw=randwrite", "--verify=crc32c", "--verify_fatal=1"])
        .args(["--fallocate=none", "--end_fsync=1", "--verify_state_save=0"])
        .args(arguments))
}

/// Random writes over a whole file larger than the memory; right at once, and in another mount.
fn verified(arguments: &[&str]) {
    let emulator = Emulator::without_md5();
    let mut mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmemory: 32MiB\nlarge_file: 10MB\npart_size: 5MB\n",
    );
    let path = mount.path().join("f");
    Pages::of(140).put(&path, SIZE);
    let bucket = Bucket::open(&emulator);
    bucket.has_one_version_of("f");
    let said = fio(&path, arguments);
    assert!(said.contains("err= 0"), "{said}");
    let peak = mount.peak_memory();
    println!("the process held {} MiB at most", peak / MIB);
    assert!(peak <= 96 * MIB, "the process held {} MiB", peak / MIB);
    mount.remount();
    let mut again = arguments.to_vec();
    again.push("--verify_only=1");
    let said = fio(&path, &again);
    assert!(said.contains("err= 0"), "{said}");
    assert_eq!(bucket.visible(), ["f"]);
    assert_eq!(bucket.unfinished(), []);
    // What was there before fio came, and what it left: no state in between.
    let versions = bucket.versions_of("f");
    assert_eq!(versions.len(), 2, "{versions:?}");
}

#[test]
fn small_random_writes_verify() {
    verified(&["--ioengine=psync", "--bs=4k"]);
}

#[test]
fn random_writes_of_all_sizes_at_once_verify() {
    verified(&[
        "--ioengine=libaio",
        "--iodepth=16",
        "--direct=1",
        "--bsrange=4k-256k",
    ]);
}

#[test]
fn random_writes_from_several_places_verify() {
    verified(&["--ioengine=posixaio", "--iodepth=8", "--bs=64k"]);
}

#[test]
fn random_writes_to_a_mapping_verify() {
    verified(&["--ioengine=mmap", "--bs=16k"]);
}
