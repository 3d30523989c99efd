//! Write-back on a real mount: programs do not wait, and the end of the mount, however it comes, does.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::support::bucket::{Bucket, Version};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, EVERYTHING, noise, put};

const LATER: &str = "list_hashfiles: false\nwrite_back: 1h\n";

fn uploads(emulator: &Emulator) -> u64 {
    emulator.calls("b2_upload_file") + emulator.calls("b2_upload_part")
}

/// What is stored of files. (Markers of directories do not wait as long as files do.)
fn stored_files(emulator: &Emulator) -> Vec<Version> {
    let mut all = Bucket::open(emulator).versions();
    all.retain(|version| !version.name.ends_with(".bzEmpty"));
    all
}

/// Each of so many files was sent once, and the directories, which have times of their own, have a marker each. (One is
/// sent again where its directory changed after it was.)
fn sent_once(emulator: &Emulator, files: usize) {
    let counters = emulator.counters();
    let markers = 8;
    assert_eq!(stored_files(emulator).len(), files, "{counters:?}");
    let replaced = emulator.calls("b2_delete_file_version");
    assert_eq!(
        uploads(emulator),
        files as u64 + markers + replaced,
        "{counters:?}"
    );
    for call in ["b2_copy_file", "b2_hide_file"] {
        assert_eq!(emulator.calls(call), 0, "{counters:?}");
    }
}

/// A tree of some hundred small files.
fn source(files: u64) -> tempfile::TempDir {
    let source = tempfile::tempdir().expect("a temporary directory");
    for file in 0..files {
        let folder = source.path().join(format!("d{}", file % 7));
        fs::create_dir_all(&folder).expect("a directory");
        put(
            &folder.join(format!("f{file}")),
            &noise(file, file as usize * 37 % 9000),
        );
    }
    // Not by chance the second in which they are copied: then nobody would set it.
    let at = UNIX_EPOCH + Duration::new(1_111_111_111, 222_222_222);
    for folder in 0..7 {
        tree::set_mtime(&source.path().join(format!("d{folder}")), at);
    }
    tree::set_mtime(source.path(), at);
    source
}

/// What another mount, which has never seen the files, makes of the bucket.
fn stored(emulator: &Emulator, source: &Path) {
    let other = Mount::new(emulator);
    tree::same(source, other.path(), EVERYTHING);
}

/// Copies a tree in, ends the mount, and compares.
fn ends_well(end: impl FnOnce(&Mount)) {
    let emulator = Emulator::start();
    let source = source(300);
    let mut mount = Mount::with(&emulator, LATER);
    shell(
        "cp -r --preserve=all \"$1\"/. \"$2\"/",
        [source.path(), mount.path()],
    );
    tree::same(source.path(), mount.path(), EVERYTHING);
    assert_eq!(stored_files(&emulator), []);
    end(&mount);
    mount.ends_cleanly();
    sent_once(&emulator, 300);
    stored(&emulator, source.path());
}

#[test]
fn unmounting_stores_what_was_copied_in() {
    ends_well(|mount| {
        run(program("fusermount3").arg("-u").arg(mount.path()));
    });
}

#[test]
fn sigterm_stores_what_was_copied_in() {
    ends_well(|mount| mount.signal(Signal::SIGTERM));
}

#[test]
fn sigint_stores_what_was_copied_in() {
    ends_well(|mount| mount.signal(Signal::SIGINT));
}

#[test]
fn rsync_costs_one_upload_a_file_and_nothing_else() {
    let emulator = Emulator::start();
    let source = source(200);
    let mut mount = Mount::with(&emulator, LATER);
    emulator.forget_counters();
    shell("rsync -a \"$1\"/ \"$2\"/", [source.path(), mount.path()]);
    assert_eq!(stored_files(&emulator), []);
    mount.unmount();
    sent_once(&emulator, 200);
    stored(&emulator, source.path());
    // And again: nothing is moved.
    emulator.forget_counters();
    let again = Mount::with(&emulator, LATER);
    shell("rsync -a \"$1\"/ \"$2\"/", [source.path(), again.path()]);
    drop(again);
    assert_eq!(uploads(&emulator), 0, "{:?}", emulator.counters());
    assert_eq!(emulator.calls("b2_copy_file"), 0);
}

/// The kernel forwards fsync(2) of files and directories, but neither sync(2) nor syncfs(2).
#[test]
fn fsync_reaches_the_bucket_and_sync_does_not() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, LATER);
    for name in ["one", "two"] {
        put(&mount.path().join(name), b"content");
    }
    run(program("sync").arg("-f").arg(mount.path()));
    assert_eq!(uploads(&emulator), 0, "{:?}", emulator.counters());
    run(program("sync").arg(mount.path().join("one")));
    assert_eq!(Bucket::open(&emulator).visible(), ["one"]);
    run(program("sync").arg(mount.path()));
    assert_eq!(Bucket::open(&emulator).visible(), ["one", "two"]);
    File::open(mount.path())
        .expect("a directory")
        .sync_all()
        .expect("nothing is left to do");
    assert_eq!(uploads(&emulator), 2, "{:?}", emulator.counters());
}

#[test]
fn a_full_memory_makes_programs_wait_and_is_kept_to() {
    const FILES: u64 = 6000;
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, &format!("{LATER}memory: 32MiB\n"));
    for folder in 0..4 {
        fs::create_dir(mount.path().join(format!("{folder}"))).expect("a directory");
    }
    std::thread::scope(|scope| {
        for folder in 0..4u64 {
            let root = mount.path().join(format!("{folder}"));
            scope.spawn(move || {
                for file in (folder..FILES).step_by(4) {
                    put(&root.join(format!("{file}")), &noise(file, 4096));
                }
            });
        }
    });
    // The least that b2fuse may take beside `memory`, whatever it holds.
    let peak = mount.peak_memory();
    assert!(peak < (32 + 64) << 20, "{peak}");
    assert!(uploads(&emulator) > FILES / 4, "{:?}", emulator.counters());
    mount.unmount();
    assert!(uploads(&emulator) <= FILES + 4, "{:?}", emulator.counters());
    let bucket = Bucket::open(&emulator);
    assert_eq!(bucket.visible().len() as u64, FILES);
    drop(bucket);
    mount.remount();
    for file in [0, 1, 2, 3, FILES / 2, FILES - 1] {
        let path = mount.path().join(format!("{}/{file}", file % 4));
        assert_eq!(fs::read(path).expect("read"), noise(file, 4096));
    }
}

#[test]
fn what_is_removed_before_it_is_stored_gives_its_memory_back() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, LATER);
    let unsent = || -> u64 {
        let text = run(program("getfattr")
            .args(["--only-values", "-n", "user.b2fuse.stats"])
            .arg(mount.path()));
        let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        stats["memory"]["unsent"].as_u64().expect("a number")
    };
    for file in 0..100 {
        put(
            &mount.path().join(format!("f{file}")),
            &noise(file, 100_000),
        );
    }
    assert!(unsent() >= 10_000_000);
    shell(
        "cd \"$1\"; for i in {0..49}; do mv f$i f$((i + 50)); done; rm f*",
        [mount.path()],
    );
    // The kernel tells a moment later that it knows them no more.
    let left = (0..200).map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        unsent()
    });
    assert!(left.into_iter().any(|bytes| bytes == 0), "{}", unsent());
    assert_eq!(uploads(&emulator), 0);
}
