//! Files mapped into memory: read, and written through a shared mapping.

use std::fs::{self, File};

use crate::support::bucket::{Bucket, sha1_hex};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::pages::Pages;
use crate::support::tools::{program, run};
use crate::support::tree;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB;
const CONFIG: &str = "list_hashfiles: false\nmemory: 64MiB\nlarge_file: 10MB\npart_size: 5MB\n";
/// Where every script below writes, and what: the ends, borders of pages and of parts.
const WRITES: &[(usize, &[u8])] = &[
    (0, b"head"),
    (4094, b"across pages"),
    (4_999_999, b"across parts"),
    (17_000_000, b"further in"),
    (SIZE as usize - 4, b"tail"),
];

/// Runs a script that finds the file's path in `path`, and `writes`.
fn python(script: &str, path: &std::path::Path) -> String {
    let writes: Vec<String> = WRITES
        .iter()
        .map(|(at, bytes)| format!("({at}, b'{}')", bytes.escape_ascii()))
        .collect();
    let head = format!(
        "import hashlib, mmap, os, sys\npath = sys.argv[1]\nwrites = [{}]\n",
        writes.join(", ")
    );
    run(program("python3").args(["-c", &(head + script)]).arg(path))
}

fn content() -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    Pages::of(130).fill(0, &mut bytes);
    bytes
}

fn written() -> Vec<u8> {
    let mut bytes = content();
    for (at, new) in WRITES {
        bytes[*at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

/// A mounted bucket with one file, nothing of it in memory.
fn prepared() -> (Emulator, Mount) {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, CONFIG);
    fs::write(mount.path().join("f"), content()).unwrap();
    mount.remount();
    emulator.forget_counters();
    (emulator, mount)
}

#[track_caller]
fn same(expected: &[u8], found: &[u8]) {
    assert_eq!(tree::first_difference(expected, found), None);
}

/// The file through the mount, and after another mount; what was there before is a version.
fn check(emulator: &Emulator, mut mount: Mount) {
    let path = mount.path().join("f");
    same(&written(), &fs::read(&path).unwrap());
    mount.remount();
    same(&written(), &fs::read(&path).unwrap());
    let bucket = Bucket::open(emulator);
    let versions = bucket.versions_of("f");
    assert_eq!(versions.len(), 2, "{versions:?}");
    same(&written(), &bucket.download(&versions[0].id));
    same(&content(), &bucket.download(&versions[1].id));
}

#[test]
fn a_mapped_file_is_read_and_downloaded_once() {
    let (emulator, mount) = prepared();
    let said = python(
        "m = mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ)\n\
         middle = m[12000000:12000100]\n\
         for at in range(len(m) - 4096, 0, -1000003): m[at]\n\
         print(hashlib.sha1(m).hexdigest(), hashlib.sha1(middle).hexdigest())\n",
        &mount.path().join("f"),
    );
    let content = content();
    let expected = [&content[..], &content[12_000_000..12_000_100]];
    assert_eq!(said.trim(), expected.map(sha1_hex).join(" "));
    let downloaded = emulator.counters().bytes_out;
    assert!(downloaded <= SIZE + SIZE / 10, "{downloaded}");
}

#[test]
fn what_is_written_to_a_mapping_is_stored_by_msync() {
    let (emulator, mount) = prepared();
    python(
        "m = mmap.mmap(os.open(path, os.O_RDWR), 0)\n\
         for at, new in writes: m[at:at + len(new)] = new\n\
         m.flush()\n\
         print('flushed', flush=True)\n\
         os._exit(0)\n",
        &mount.path().join("f"),
    );
    check(&emulator, mount);
}

#[test]
fn after_msync_a_crash_costs_nothing() {
    let (_emulator, mut mount) = prepared();
    let path = mount.path().join("f");
    // Held open here, so that no close of the last descriptor stores anything.
    let held = File::options().write(true).open(&path).unwrap();
    python(
        "m = mmap.mmap(os.open(path, os.O_RDWR), 0)\n\
         for at, new in writes: m[at:at + len(new)] = new\n\
         m.flush()\n\
         os.kill(int(open(os.path.dirname(os.path.dirname(path)) + '/pid').read()), 9)\n",
        &{
            let pid = mount.pid().to_string();
            fs::write(mount.path().parent().unwrap().join("pid"), pid).unwrap();
            path.clone()
        },
    );
    mount.kill();
    drop(held);
    mount.remount();
    same(&written(), &fs::read(&path).unwrap());
}

#[test]
fn what_is_written_to_a_mapping_is_stored_without_msync() {
    let (emulator, mount) = prepared();
    python(
        "file = os.open(path, os.O_RDWR)\n\
         m = mmap.mmap(file, 0)\n\
         for at, new in writes: m[at:at + len(new)] = new\n\
         m.close()\n\
         os.close(file)\n",
        &mount.path().join("f"),
    );
    check(&emulator, mount);
}

#[test]
fn a_mapping_outlives_the_last_descriptor() {
    let (emulator, mount) = prepared();
    python(
        "file = os.open(path, os.O_RDWR)\n\
         m = mmap.mmap(file, 0)\n\
         for name in os.listdir('/proc/self/fd'):\n    \
             if os.path.realpath('/proc/self/fd/' + name) == os.path.realpath(path): os.close(int(name))\n\
         for at, new in writes: m[at:at + len(new)] = new\n\
         os._exit(0)\n",
        &mount.path().join("f"),
    );
    check(&emulator, mount);
}

#[test]
fn a_mapping_and_ordinary_reads_and_writes_agree() {
    let (emulator, mount) = prepared();
    python(
        "file = os.open(path, os.O_RDWR)\n\
         m = mmap.mmap(file, 0)\n\
         for i, (at, new) in enumerate(writes):\n    \
             if i % 2:\n        \
                 os.pwrite(file, new, at)\n        \
                 assert m[at:at + len(new)] == new, at\n    \
             else:\n        \
                 m[at:at + len(new)] = new\n        \
                 assert os.pread(file, len(new), at) == new, at\n\
         m.close()\n\
         os.close(file)\n",
        &mount.path().join("f"),
    );
    check(&emulator, mount);
}
