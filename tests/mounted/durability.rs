//! What a crash of the daemon may and may not cost.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::forks;
use crate::support::mount::{Mount, is_mounted};
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, EVERYTHING, get, noise, put};

#[test]
fn after_close_a_crash_costs_nothing() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let small = mount.path().join("small");
    let large = mount.path().join("large");
    let patched = mount.path().join("patched");
    put(&patched, &noise(80, 12_000_000));
    put(&small, b"small");
    put(&large, &noise(81, 12_000_000));
    let line = "printf patch | dd of=\"$1\" bs=1 seek=6000000 conv=notrunc status=none";
    shell(line, [&patched]);
    mount.kill();
    mount.remount();
    assert_eq!(get(&small), b"small");
    assert_eq!(
        tree::first_difference(&noise(81, 12_000_000), &get(&large)),
        None
    );
    let mut expected = noise(80, 12_000_000);
    expected[6_000_000..6_000_005].copy_from_slice(b"patch");
    assert_eq!(tree::first_difference(&expected, &get(&patched)), None);
}

#[test]
fn after_fsync_a_crash_costs_nothing() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let path = mount.path().join("journal");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"committed").unwrap();
    file.sync_all().unwrap();
    file.write_all(b" lost").unwrap();
    mount.kill();
    drop(file);
    mount.remount();
    assert!(get(&path).starts_with(b"committed"));
}

#[test]
fn a_crash_costs_little_of_a_log_that_stays_open() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, "store_open: 1s\n");
    let path = mount.path().join("log");
    let mut log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let bucket = Bucket::open(&emulator);
    for lines in [&b"one\n"[..], b"one\ntwo\n"] {
        log.write_all(&lines[lines.len() - 4..]).unwrap();
        let stored = || {
            let versions = bucket.versions_of("log");
            let newest = versions.first();
            newest.and_then(|newest| bucket.try_download(&newest.id))
        };
        let mut tries = 0;
        while stored().as_deref() != Some(lines) {
            tries += 1;
            assert!(tries < 600, "it is not stored");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    mount.kill();
    drop(log);
    mount.remount();
    assert_eq!(get(&path), b"one\ntwo\n");
}

#[test]
fn after_fsync_times_and_modes_outlive_a_crash() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let source = tempfile::tempdir().expect("a temporary directory");
    put(&source.path().join("f"), b"x");
    shell(
        "chmod 640 \"$1\"; touch -d @1000000000.123456789 \"$1\"",
        [source.path().join("f")],
    );
    shell(
        "cp -p \"$1\"/f \"$2\"/f; sync \"$2\"/f",
        [source.path(), mount.path()],
    );
    mount.kill();
    mount.remount();
    tree::same(source.path(), mount.path(), EVERYTHING);
}

#[test]
fn a_crash_in_the_middle_of_a_write_leaves_the_old_version() {
    for size in [1_000_000, 30_000_000] {
        let emulator = Emulator::start();
        let mut mount = Mount::new(&emulator);
        let path = mount.path().join("f");
        put(&path, b"the old version");
        let writer = Writer::start(&path, size);
        mount.kill();
        drop(writer);
        assert_eq!(Bucket::open(&emulator).visible(), ["f"]);
        mount.remount();
        assert_eq!(get(&path), b"the old version", "{size} bytes written");
        put(&path, b"and it can be written again");
        assert_eq!(get(&path), b"and it can be written again");
    }
}

#[test]
fn a_crash_after_parts_have_left_leaves_the_old_version() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmemory: 64MiB\nlarge_file: 10MB\npart_size: 5MB\n",
    );
    let path = mount.path().join("f");
    let old = noise(84, 12_000_000);
    put(&path, &old);
    emulator.forget_counters();
    // More than the memory holds: some of it must have left.
    let writer = Writer::start(&path, 100_000_000);
    mount.kill();
    drop(writer);
    let parts = emulator.calls("b2_upload_part");
    assert!(parts >= 3, "{parts} parts have left");
    let bucket = Bucket::open(&emulator);
    assert_eq!(bucket.visible(), ["f"]);
    let unfinished = bucket.unfinished();
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");

    mount.remount();
    assert_eq!(tree::names(mount.path()), ["f"]);
    assert_eq!(tree::first_difference(&old, &get(&path)), None);
    put(&path, b"and it can be written again");
    assert_eq!(get(&path), b"and it can be written again");
    // Another mount may be at work on it for all this one knows.
    assert_eq!(bucket.unfinished(), unfinished);
}

/// A process that has replaced a file's content and not closed it. (Not this process: whatever
/// else it starts inherits the descriptor for a moment, and closes it.)
struct Writer(Child);

impl Writer {
    fn start(path: &Path, size: usize) -> Self {
        let script = "import os, sys\n\
                      file = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)\n\
                      left = int(sys.argv[2])\n\
                      while left: left -= os.write(file, os.urandom(min(left, 100000)))\n\
                      print('written', flush=True)\n\
                      sys.stdin.read()\n";
        let mut child = forks::spawn(
            Command::new("python3")
                .args(["-c", script])
                .arg(path)
                .arg(size.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )
        .expect("python3 starts");
        let mut said = [0; 7];
        let stdout = child.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut said).expect("everything is written");
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn termination_stores_what_is_still_open() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let path = mount.path().join("open");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&noise(83, 500_000)).unwrap();
    mount.unmount();
    drop(file);
    mount.remount();
    assert_eq!(
        tree::first_difference(&noise(83, 500_000), &get(&path)),
        None
    );
}

#[test]
fn fusermount_and_umount_end_the_daemon_cleanly() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    for tool in [&["fusermount3", "-u"][..], &["umount"]] {
        put(&mount.path().join("f"), tool[0].as_bytes());
        run(program(tool[0]).args(&tool[1..]).arg(mount.path()));
        mount.ends_cleanly();
        assert!(!is_mounted(mount.path()));
        mount.remount();
        assert_eq!(get(&mount.path().join("f")), tool[0].as_bytes());
    }
}
