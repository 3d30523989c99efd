//! Two mounts of one bucket, as two machines would have.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::bucket::{self, Bucket};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tree::{self, get, noise, put};

const SOON: &str = "list_hashfiles: false\nmetadata_ttl: 1s\n";

/// Polls until it holds; a guard against waiting for ever, no measure.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn two() -> (Emulator, Mount, Mount) {
    let emulator = Emulator::start();
    let (a, b) = (Mount::with(&emulator, SOON), Mount::with(&emulator, SOON));
    (emulator, a, b)
}

fn reads(path: &Path, content: &[u8]) -> bool {
    fs::read(path).is_ok_and(|found| found == content)
}

#[test]
fn what_one_writes_the_other_sees() {
    let (_emulator, a, b) = two();
    let (a, b) = (a.path(), b.path());
    assert!(tree::names(b).is_empty());
    put(&a.join("new"), b"1");
    fs::create_dir(a.join("dir")).unwrap();
    put(&a.join("dir/in"), &noise(60, 200_000));
    eventually("a new file is seen", || reads(&b.join("new"), b"1"));
    eventually("a new directory is seen", || {
        reads(&b.join("dir/in"), &noise(60, 200_000))
    });
    eventually("listings agree", || tree::names(a) == tree::names(b));

    put(&a.join("new"), b"22");
    eventually("a change is seen", || reads(&b.join("new"), b"22"));
    eventually("the size is seen", || {
        fs::metadata(b.join("new")).unwrap().len() == 2
    });
    put(&a.join("new"), b"33");
    eventually("a change of the same length is seen", || {
        reads(&b.join("new"), b"33")
    });

    fs::rename(a.join("new"), a.join("renamed")).unwrap();
    eventually("a rename is seen", || {
        !b.join("new").exists() && reads(&b.join("renamed"), b"33")
    });
    fs::remove_dir_all(a.join("dir")).unwrap();
    eventually("a deletion is seen", || !b.join("dir").exists());
    put(&b.join("back"), b"4");
    eventually("the other way too", || reads(&a.join("back"), b"4"));
    assert_eq!(tree::names(a), ["back", "renamed"]);
}

#[test]
fn a_name_that_was_not_there_appears() {
    let (_emulator, a, b) = two();
    assert!(!b.path().join("later").exists());
    put(&a.path().join("later"), b"x");
    eventually("absence is not believed for ever", || {
        b.path().join("later").exists()
    });
}

#[test]
fn an_open_file_never_mixes_versions() {
    let (_emulator, a, b) = two();
    let (old, new) = (noise(61, 3_000_000), noise(62, 3_000_000));
    put(&a.path().join("f"), &old);
    eventually("the file is seen", || b.path().join("f").exists());
    let mut file = fs::File::open(b.path().join("f")).unwrap();
    let mut head = vec![0; 100_000];
    file.read_exact(&mut head).unwrap();
    put(&a.path().join("f"), &new);
    eventually("the new version is seen by name", || {
        reads(&b.path().join("f"), &new)
    });
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).unwrap();
    assert_eq!(tree::first_difference(&old, &[head, tail].concat()), None);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut again = Vec::new();
    file.read_to_end(&mut again).unwrap();
    assert_eq!(tree::first_difference(&old, &again), None);
}

/// The size that the kernel knows, and the pages it has, must be of the version that a reader gets.
#[test]
fn a_file_that_is_opened_when_others_have_replaced_it_never_mixes_versions() {
    const VERSIONS: usize = 400;
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    // Shorter and longer in turns; each eight bytes tell the version.
    let content = |version: usize| {
        let times = [1, 501, 1025, 2][version % 4];
        format!("{version:08}").repeat(times).into_bytes()
    };
    bucket.upload("f", &content(0));
    bucket.upload("other", b"x");
    let mount = Mount::with(&emulator, "list_hashfiles: false\nmetadata_ttl: 20ms\n");
    let path = mount.path().join("f");
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Sees that the file has changed, while the kernel does not.
        scope.spawn(|| {
            while !written.load(Ordering::Relaxed) {
                fs::metadata(mount.path().join("other")).unwrap();
            }
        });
        for pause in [0, 1, 3] {
            let (path, written) = (&path, &written);
            scope.spawn(move || {
                let mut last = 0;
                while !written.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(pause));
                    let found = match fs::read(path) {
                        // Replaced twice while it was being opened.
                        Err(error) if error.raw_os_error() == Some(libc::ESTALE) => continue,
                        found => found.unwrap(),
                    };
                    let version: usize = String::from_utf8_lossy(&found[..8]).parse().unwrap();
                    assert!(
                        found == content(version),
                        "{} bytes, {version} at first, {:?} at last",
                        found.len(),
                        String::from_utf8_lossy(&found[found.len() - 8..])
                    );
                    assert!(version >= last, "{version} after {last}");
                    last = version;
                }
            });
        }
        for version in 1..VERSIONS {
            bucket.upload("f", &content(version));
            std::thread::sleep(Duration::from_millis(7));
        }
        written.store(true, Ordering::Relaxed);
    });
}

#[test]
fn both_writers_of_one_name_are_kept_as_versions() {
    let (emulator, a, b) = two();
    put(&a.path().join("f"), b"base");
    eventually("the file is seen", || reads(&b.path().join("f"), b"base"));
    let open = |mount: &Mount| {
        fs::File::options()
            .write(true)
            .open(mount.path().join("f"))
            .unwrap()
    };
    let (mut from_a, mut from_b) = (open(&a), open(&b));
    from_a.write_all(b"AAAA").unwrap();
    from_b.write_all(b"BBBB").unwrap();
    drop(from_a);
    drop(from_b);
    let bucket = bucket::Bucket::open(&emulator);
    let contents: Vec<Vec<u8>> = bucket
        .versions_of("f")
        .iter()
        .map(|version| bucket.download(&version.id))
        .collect();
    assert!(contents.contains(&b"AAAA".to_vec()), "{contents:?}");
    assert!(contents.contains(&b"BBBB".to_vec()), "{contents:?}");
    assert_eq!(
        contents[0], b"BBBB",
        "the newest writer's content is the current one"
    );
    eventually("both mounts agree", || {
        reads(&a.path().join("f"), b"BBBB") && reads(&b.path().join("f"), b"BBBB")
    });
    b.hears(
        "the log names the file that another had changed meanwhile",
        |said| said.contains("\"f\"") || said.contains(" f"),
    );
}

#[test]
fn a_new_file_of_the_same_name_on_both_sides_loses_nobodys_bytes() {
    let (emulator, a, b) = two();
    assert!(!a.path().join("f").exists());
    assert!(!b.path().join("f").exists());
    put(&a.path().join("f"), b"from a");
    put(&b.path().join("f"), b"from b");
    let bucket = bucket::Bucket::open(&emulator);
    let contents: Vec<Vec<u8>> = bucket
        .versions_of("f")
        .iter()
        .map(|version| bucket.download(&version.id))
        .collect();
    assert_eq!(contents, [b"from b".to_vec(), b"from a".to_vec()]);
    eventually("a sees the newer one", || {
        reads(&a.path().join("f"), b"from b")
    });
}

#[test]
fn removal_by_one_does_not_remove_what_the_other_wrote_since() {
    let (emulator, a, b) = two();
    put(&a.path().join("f"), b"old");
    eventually("the file is seen", || reads(&b.path().join("f"), b"old"));
    put(&b.path().join("f"), b"new");
    fs::remove_file(a.path().join("f")).unwrap();
    let bucket = bucket::Bucket::open(&emulator);
    let kept: Vec<Vec<u8>> = bucket
        .versions_of("f")
        .iter()
        .filter(|version| version.action == "upload")
        .map(|version| bucket.download(&version.id))
        .collect();
    assert!(kept.contains(&b"new".to_vec()), "{kept:?}");
}

#[test]
fn a_ttl_of_zero_asks_at_every_open() {
    let emulator = Emulator::start();
    let config = "list_hashfiles: false\nmetadata_ttl: 0s\n";
    let (a, b) = (
        Mount::with(&emulator, config),
        Mount::with(&emulator, config),
    );
    for round in 0..5 {
        let content = format!("round {round}");
        put(&a.path().join("f"), content.as_bytes());
        assert_eq!(get(&b.path().join("f")), content.as_bytes());
    }
    fs::remove_file(b.path().join("f")).unwrap();
    assert!(fs::File::open(a.path().join("f")).is_err());
}

#[test]
fn what_is_written_after_another_replaced_the_file_is_stored_with_write_back() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    bucket.upload("f", b"as B made it");
    let config = "list_hashfiles: false\nmetadata_ttl: 1s\nwrite_back: 3s\n";
    let mut mount = Mount::with(&emulator, config);
    let path = mount.path().join("f");
    let mut file = fs::File::options()
        .read(true)
        .append(true)
        .open(&path)
        .unwrap();
    bucket.upload("f", b"again by B");
    let patience = Instant::now() + Duration::from_secs(60);
    while fs::read(&path).unwrap() != b"again by B" {
        assert!(Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(100));
    }
    file.write_all(b", and A").unwrap();
    nix::unistd::close(file).unwrap();
    // Long enough for the kernel to forget the inode.
    std::thread::sleep(Duration::from_secs(1));
    mount.unmount();
    let stored: Vec<Vec<u8>> = bucket
        .versions_of("f")
        .iter()
        .map(|version| bucket.download(&version.id))
        .collect();
    assert!(
        stored.contains(&b"as B made it, and A".to_vec()),
        "{stored:?}\n{}",
        mount.messages()
    );
}

/// Linux repeats a call by a path by itself where it is told `ESTALE`: what was refused must not be done by that.
#[test]
fn what_a_removal_and_a_rename_may_not_touch_survives_the_kernel_too() {
    for delete in ["hide", "purge"] {
        let emulator = Emulator::start();
        let bucket = Bucket::open(&emulator);
        let config = format!("list_hashfiles: false\nmetadata_ttl: 0s\ndelete: {delete}\n");
        let mount = Mount::with(&emulator, &config);
        let at = |name: &str| mount.path().join(name);
        for name in ["removed", "renamed", "dirty"] {
            put(&at(name), b"by A");
        }
        fs::create_dir(at("e")).unwrap();
        let theirs = bucket.upload("removed", b"by B");
        let removed = fs::remove_file(at("removed")).unwrap_err();
        assert_eq!(removed.raw_os_error(), Some(libc::EBUSY), "{delete}");
        assert_eq!(get(&at("removed")), b"by B");
        assert_eq!(bucket.download(&theirs), b"by B");

        let theirs = bucket.upload("renamed", b"by B");
        fs::rename(at("renamed"), at("e/renamed")).unwrap();
        assert_eq!(get(&at("e/renamed")), b"by A");
        assert_eq!(get(&at("renamed")), b"by B");
        assert_eq!(bucket.download(&theirs), b"by B");

        let mut file = fs::File::options().append(true).open(at("dirty")).unwrap();
        file.write_all(b" and more").unwrap();
        let theirs = bucket.upload("dirty", b"by B");
        fs::rename(at("dirty"), at("e/dirty")).unwrap();
        drop(file);
        assert_eq!(get(&at("e/dirty")), b"by A and more");
        assert_eq!(get(&at("dirty")), b"by B");
        assert_eq!(bucket.download(&theirs), b"by B");
        for name in ["renamed", "dirty"] {
            mount.hears("the log names the file", |said| {
                said.contains(&format!("\"{name}\": another client"))
            });
        }
    }
}
