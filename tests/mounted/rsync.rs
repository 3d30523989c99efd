//! rsync in every manner that people copy trees with.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::place::{Bucket, Place};
use crate::support::tools::{program, run};
use crate::support::tree::{self, CONTENT, Compare, EVERYTHING, STORED, Times, get, noise, put};

crate::scenarios! {
    rsync_without_permissions_copies_once,
    rsync_a_copies_once,
    only_what_changed_is_copied_again,
    inplace_patches_files,
    delete_removes_what_the_source_lost,
    rsync_copies_out,
}

fn rsync() -> Command {
    program("rsync")
}

/// A path with a slash at its end: the content of the directory, not the directory.
fn inside(path: &Path) -> String {
    format!("{}/", path.to_str().expect("a UTF-8 path"))
}

/// Runs rsync; gives the lines that name something it did.
fn changes(arguments: &[&str], from: &Path, to: &Path) -> Vec<String> {
    run(rsync()
        .args(arguments)
        .args(["--itemize-changes", "--out-format=%i %n"])
        .args([inside(from), inside(to)]))
    .lines()
    .filter(|line| !line.is_empty())
    .filter(|line| !line.starts_with("sending ") && !line.starts_with("sent "))
    .filter(|line| !line.starts_with("total size "))
    .map(str::to_owned)
    .collect()
}

fn source(seed: u64) -> tempfile::TempDir {
    let source = tempfile::tempdir().expect("a temporary directory");
    tree::build(source.path(), seed);
    source
}

/// Gives the root a time that is not by chance in the same second as the mount.
fn date(source: &tempfile::TempDir) {
    let at = std::time::UNIX_EPOCH + std::time::Duration::new(1_111_111_111, 222_222_222);
    tree::set_mtime(source.path(), at);
}

const USUAL: &[&str] = &["-avzh", "--no-perms", "--no-owner", "--no-group"];
const NOTHING: &[String] = &[];

/// Names, contents, times; permissions are not asked for.
const TIMED: Compare = Compare {
    modes: false,
    ..EVERYTHING
};

fn rsync_without_permissions_copies_once(place: &mut dyn Place) {
    let source = source(20);
    changes(USUAL, source.path(), place.path());
    tree::same(source.path(), place.path(), TIMED);
    assert_eq!(changes(USUAL, source.path(), place.path()), NOTHING);
    place.remount();
    assert_eq!(changes(USUAL, source.path(), place.path()), NOTHING);
    assert_eq!(
        changes(
            &["-a", "--no-perms", "--no-owner", "--no-group", "--checksum"],
            source.path(),
            place.path()
        ),
        NOTHING
    );
    tree::same(source.path(), place.path(), TIMED);
    tree::same(source.path(), &place.stored(), STORED);
}

fn rsync_a_copies_once(place: &mut dyn Place) {
    let source = source(21);
    changes(&["-a"], source.path(), place.path());
    tree::same(source.path(), place.path(), EVERYTHING);
    assert_eq!(changes(&["-a"], source.path(), place.path()), NOTHING);
    place.remount();
    assert_eq!(changes(&["-a"], source.path(), place.path()), NOTHING);
    tree::same(source.path(), place.path(), EVERYTHING);
    tree::same(source.path(), &place.stored(), STORED);
}

fn only_what_changed_is_copied_again(place: &mut dyn Place) {
    let source = source(22);
    put(&source.path().join("changes"), b"before");
    put(&source.path().join("touched"), b"same bytes");
    changes(USUAL, source.path(), place.path());
    place.remount();
    put(&source.path().join("changes"), b"after and longer");
    put(&source.path().join("new"), &noise(23, 50_000));
    tree::set_mtime(
        &source.path().join("touched"),
        std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789),
    );
    let mut done: Vec<String> = changes(USUAL, source.path(), place.path())
        .into_iter()
        .filter_map(|line| {
            line.strip_prefix("<f")
                .or(line.strip_prefix(">f"))
                .map(str::to_owned)
        })
        .map(|line| line.split_once(' ').expect("a name").1.to_owned())
        .collect();
    done.sort();
    assert_eq!(done, ["changes", "new", "touched"]);
    tree::same(source.path(), place.path(), TIMED);
    place.remount();
    tree::same(source.path(), place.path(), TIMED);
    tree::same(source.path(), &place.stored(), STORED);
}

fn inplace_patches_files(place: &mut dyn Place) {
    let source = source(24);
    let big = source.path().join("large and patched");
    let mut content = noise(25, 6_000_000);
    put(&big, &content);
    date(&source);
    changes(&["-a"], source.path(), place.path());
    place.remount();
    content[2_000_000..2_000_100].copy_from_slice(&noise(26, 100));
    content.extend_from_slice(&noise(27, 1000));
    put(&big, &content);
    let inplace = ["-a", "--inplace", "--no-whole-file"];
    let done = changes(&inplace, source.path(), place.path());
    assert!(
        done.iter().any(|line| line.ends_with("large and patched")),
        "{done:?}"
    );
    tree::same(source.path(), place.path(), EVERYTHING);
    assert_eq!(changes(&inplace, source.path(), place.path()), NOTHING);
    content.truncate(1_000_001);
    put(&big, &content);
    changes(&inplace, source.path(), place.path());
    tree::same(source.path(), place.path(), EVERYTHING);
    place.remount();
    assert_eq!(changes(&inplace, source.path(), place.path()), NOTHING);
    tree::same(source.path(), &place.stored(), STORED);
}

fn delete_removes_what_the_source_lost(place: &mut dyn Place) {
    let source = source(28);
    fs::create_dir(source.path().join("goes")).unwrap();
    put(&source.path().join("goes/with it"), b"x");
    put(&source.path().join("goes alone"), b"y");
    changes(&["-a"], source.path(), place.path());
    fs::remove_dir_all(source.path().join("goes")).unwrap();
    fs::remove_file(source.path().join("goes alone")).unwrap();
    date(&source);
    put(&place.path().join("stray"), b"not in the source");
    changes(&["-a", "--delete"], source.path(), place.path());
    tree::same(source.path(), place.path(), EVERYTHING);
    place.remount();
    tree::same(source.path(), place.path(), EVERYTHING);
    assert_eq!(
        changes(&["-a", "--delete"], source.path(), place.path()),
        NOTHING
    );
    tree::same(source.path(), &place.stored(), STORED);
}

fn rsync_copies_out(place: &mut dyn Place) {
    let source = source(29);
    changes(&["-a"], source.path(), place.path());
    place.remount();
    let back = tempfile::tempdir().expect("a temporary directory");
    changes(&["-a"], place.path(), back.path());
    tree::same(source.path(), back.path(), EVERYTHING);
    assert_eq!(changes(&["-a"], place.path(), back.path()), NOTHING);
}

#[test]
fn listed_hash_files_do_not_stop_delete() {
    let place = Bucket::with("list_hashfiles: true\n");
    let root = place.mount.path();
    let source = tempfile::tempdir().expect("a temporary directory");
    put(&source.path().join("a"), b"a");
    fs::create_dir(source.path().join("d")).unwrap();
    put(&source.path().join("d/b"), b"b");
    changes(&["-a"], source.path(), root);
    fs::remove_dir_all(source.path().join("d")).unwrap();
    // Removing a hash file succeeds and changes nothing for long, so rsync goes on and ends well.
    changes(&["-a", "--delete"], source.path(), root);
    tree::wait_for(&root.join("a.sha1"));
    assert_eq!(tree::names(root), ["a", "a.sha1"]);
    assert_eq!(get(&root.join("a")), b"a");
}

#[test]
fn copies_out_of_a_mount_with_unlisted_hash_files_hold_no_hash_files() {
    let place = Bucket::new();
    put(&place.path().join("a"), b"a");
    assert_eq!(get(&place.path().join("a.sha1")).len(), 41);
    let back = tempfile::tempdir().expect("a temporary directory");
    changes(&["-a"], place.path(), back.path());
    tree::same(
        place.path(),
        back.path(),
        CONTENT.with_times(Times::Nanoseconds),
    );
    assert_eq!(tree::names(back.path()), ["a"]);
}

#[test]
fn times_of_other_centuries_are_kept() {
    // A disk may not hold such times.
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, at) in [
        ("early", "1500-01-01 12:00:00"),
        ("moon", "1969-07-20 20:17:40.123456789"),
        ("late", "2262-01-01 00:00:00.123456789"),
        ("later", "2300-12-31 23:59:59"),
        ("latest", "9999-01-01 00:00:00"),
    ] {
        put(&source.path().join(name), name.as_bytes());
        run(program("touch")
            .args(["-d", at])
            .arg(source.path().join(name)));
    }
    let mut place = Bucket::with("");
    let to = place.path().join("to");
    let exactly = ["-a", "--modify-window=-1"];
    assert_eq!(changes(&exactly, source.path(), &to).len(), 7);
    for mount in 1..3 {
        let again = changes(&exactly, source.path(), &to);
        assert_eq!(again, Vec::<String>::new(), "mount {mount}");
        place.remount();
    }
}
