//! `names: encode` beside rclone, which has names that B2 refuses on a Linux disk and in the bucket: what one writes the
//! other sees under the same name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::{rclone, run, shell};
use crate::support::tree::{self, get, put};

/// Linux names, and what stands for them in the bucket.
const TABLE: &[(&[u8], &str)] = &[
    (b"1 Icon\r", "1 Icon\u{240d}"),
    (b"2 \x01\t\n\x1f", "2 \u{2401}\u{2409}\u{240a}\u{241f}"),
    (b"3 \x7f", "3 \u{2421}"),
    (b"4 a\\b", "4 a\u{ff3c}b"),
    (b"5 \xe9t\xe9", "5 \u{201b}E9t\u{201b}E9"),
    (b"6 \xe2\x80", "6 \u{201b}E2\u{201b}80"),
    ("7 Icon\u{240d}".as_bytes(), "7 Icon\u{201b}\u{240d}"),
    (
        "8 \u{2421}\u{ff3c}".as_bytes(),
        "8 \u{201b}\u{2421}\u{201b}\u{ff3c}",
    ),
    ("9 1\u{ff0f}2".as_bytes(), "9 1\u{ff0f}2"),
    ("A 1\u{201b}\u{ff0f}2".as_bytes(), "A 1\u{201b}\u{ff0f}2"),
    (
        "B \u{2400}\u{201b}\u{2400}".as_bytes(),
        "B \u{2400}\u{201b}\u{2400}",
    ),
    (
        "C \u{2420}\u{fffd}\u{85}".as_bytes(),
        "C \u{2420}\u{fffd}\u{85}",
    ),
    (
        "D +%#?&'\"<>|*:; \u{81ea}\u{1f600} ".as_bytes(),
        "D +%#?&'\"<>|*:; \u{81ea}\u{1f600} ",
    ),
    ("\u{ff0e}".as_bytes(), "\u{ff0e}"),
    ("\u{ff0e}\u{ff0e}".as_bytes(), "\u{ff0e}\u{ff0e}"),
    ("\u{201b}\u{ff0e}".as_bytes(), "\u{201b}\u{ff0e}"),
];

/// A quote that quotes nothing: rclone cannot read such a file from a disk, and brings it there with two quotes.
const QUOTE: (&[u8], &str) = ("E quote\u{201b}s".as_bytes(), "E quote\u{201b}\u{201b}s");

fn fill(root: &Path) {
    for (name, _) in TABLE {
        let name = OsStr::from_bytes(name);
        put(&root.join(name), name.as_bytes());
        fs::create_dir(root.join("in").join(name)).unwrap();
        put(&root.join("in").join(name).join(name), name.as_bytes());
    }
}

/// A directory on the disk with all of that.
fn on_disk() -> tempfile::TempDir {
    let disk = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(disk.path().join("in")).unwrap();
    fill(disk.path());
    disk
}

/// That the bucket has these names and, beside markers, no others.
fn has_the_table(bucket: &Bucket) {
    let mut expected = Vec::new();
    for (_, name) in TABLE {
        expected.push((*name).to_owned());
        expected.push(format!("in/{name}/{name}"));
    }
    expected.sort();
    let mut visible = bucket.visible();
    visible.retain(|name| !name.ends_with(".bzEmpty"));
    assert_eq!(visible, expected);
}

fn remote(emulator: &Emulator) -> String {
    format!("b2:{}", emulator.bucket_name())
}

#[test]
fn what_rclone_wrote_is_shown_as_it_was_on_the_disk() {
    let emulator = Emulator::start();
    let disk = on_disk();
    run(rclone(&emulator)
        .arg("copy")
        .arg(disk.path())
        .arg(remote(&emulator)));
    let bucket = Bucket::open(&emulator);
    has_the_table(&bucket);
    let mount = Mount::with(&emulator, "names: encode\n");
    tree::same(
        disk.path(),
        mount.path(),
        tree::CONTENT.with_times(tree::Times::Milliseconds),
    );
    // rclone has nothing to do on the mount either.
    let copied = run(rclone(&emulator)
        .args(["sync", "--stats-one-line", "-v"])
        .arg(disk.path())
        .arg(mount.path()));
    assert!(!copied.contains("Copied"), "{copied}");
    shell("rm -r \"$1\"/*", [mount.path()]);
    drop(mount);
    assert!(bucket.visible().is_empty());
}

#[test]
fn rclone_brings_what_the_mount_wrote_to_the_disk_under_its_name() {
    let emulator = Emulator::start();
    let disk = on_disk();
    let mut mount = Mount::with(&emulator, "names: encode\n");
    shell("cp -a \"$1\"/. \"$2\"", [disk.path(), mount.path()]);
    tree::same(disk.path(), mount.path(), tree::STORED);
    mount.remount();
    tree::same(disk.path(), mount.path(), tree::STORED);
    mount.unmount();
    let bucket = Bucket::open(&emulator);
    has_the_table(&bucket);
    let back = tempfile::tempdir().expect("a temporary directory");
    run(rclone(&emulator)
        .args(["copy", "--exclude", ".bzEmpty"])
        .arg(remote(&emulator))
        .arg(back.path()));
    tree::same(disk.path(), back.path(), tree::CONTENT);
    run(rclone(&emulator)
        .args(["check", "--exclude", ".bzEmpty"])
        .arg(disk.path())
        .arg(remote(&emulator)));
    // By name, too, as rclone shows it, and by its own way to write to it.
    run(rclone(&emulator).args(["moveto"]).args([
        format!("{}/1 Icon\u{240d}", remote(&emulator)),
        format!("{}/1 renamed\u{240a}", remote(&emulator)),
    ]));
    let mount = Mount::with(&emulator, "names: encode\n");
    assert_eq!(get(&mount.path().join("1 renamed\n")), b"1 Icon\r");
    assert!(!mount.path().join("1 Icon\r").exists());
}

#[test]
fn a_quote_in_a_name_comes_back_as_one() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let mut mount = Mount::with(&emulator, "names: encode\n");
    let name = OsStr::from_bytes(QUOTE.0);
    put(&mount.path().join(name), b"q");
    mount.remount();
    assert_eq!(tree::names(mount.path()), [OsString::from(name)]);
    mount.unmount();
    assert_eq!(bucket.visible(), [QUOTE.1]);
    bucket.hide(QUOTE.1);
    // rclone on the command line doubles it, and has the name that one means.
    let theirs = format!("{}/{}", remote(&emulator), QUOTE.1);
    run(rclone(&emulator).args(["touch", &theirs]));
    assert_eq!(bucket.visible(), [QUOTE.1]);
    let mount = Mount::with(&emulator, "names: encode\n");
    assert_eq!(tree::names(mount.path()), [OsString::from(name)]);
}
