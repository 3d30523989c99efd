//! The virtual `.sha1` files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use crate::support::bucket::{self, sha1_hex};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::place::{Bucket, Place};
use crate::support::tools::{program, rclone, run, shell};
use crate::support::tree::{self, get, mtime, noise, put};

fn line(content: &[u8]) -> Vec<u8> {
    format!("{}\n", sha1_hex(content)).into_bytes()
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn listing() -> Bucket {
    Bucket::with("list_hashfiles: true\n")
}

#[test]
fn a_hash_file_holds_the_digest_and_a_newline() {
    let mut place = listing();
    let root = place.path().to_owned();
    let content = noise(50, 123_456);
    put(&root.join("file"), &content);
    for _ in 0..2 {
        let hash = root.join("file.sha1");
        let meta = fs::metadata(&hash).unwrap();
        assert_eq!(meta.len(), 41);
        assert_eq!(meta.mode() & 0o7777, 0o444);
        assert!(meta.is_file());
        assert_eq!(mtime(&hash), mtime(&root.join("file")));
        assert_eq!(get(&hash), line(&content));
        place.remount();
    }
    let check = "cd \"$1\"; echo \"$(cat file.sha1)  file\" | sha1sum --check";
    assert_eq!(shell(check, [&root]), "file: OK\n");
}

#[test]
fn hash_files_are_listed_where_the_configuration_says_so() {
    let emulator = Emulator::start();
    let bucket = bucket::Bucket::open(&emulator);
    bucket.upload("a", b"a");
    bucket.upload("d/b", b"b");
    let listing = Mount::with(&emulator, "list_hashfiles: true\n");
    assert_eq!(tree::names(listing.path()), ["a", "a.sha1", "d"]);
    assert_eq!(tree::names(&listing.path().join("d")), ["b", "b.sha1"]);
    let silent = Mount::with(&emulator, "");
    assert_eq!(tree::names(silent.path()), ["a", "d"]);
    assert_eq!(get(&silent.path().join("a.sha1")), line(b"a"));
    assert_eq!(get(&silent.path().join("d/b.sha1")), line(b"b"));
    let off = Mount::with(&emulator, "enable_hashfiles: false\n");
    assert_eq!(tree::names(off.path()), ["a", "d"]);
    assert_eq!(
        errno(fs::metadata(off.path().join("a.sha1"))),
        Some(libc::ENOENT)
    );
    put(&off.path().join("a.sha1"), b"an ordinary file");
    assert_eq!(get(&off.path().join("a.sha1")), b"an ordinary file");
}

#[test]
fn there_are_no_hash_files_of_hash_files_nor_of_directories() {
    let place = listing();
    put(&place.path().join("file"), b"x");
    fs::create_dir(place.path().join("dir")).unwrap();
    for name in ["file.sha1.sha1", "dir.sha1", "nothing.sha1", ".sha1"] {
        assert_eq!(
            errno(fs::metadata(place.path().join(name))),
            Some(libc::ENOENT),
            "{name}"
        );
    }
    assert_eq!(tree::names(place.path()), ["dir", "file", "file.sha1"]);
}

#[test]
fn a_hash_file_cannot_be_written_renamed_or_lost() {
    let place = listing();
    let root = place.path();
    put(&root.join("file"), b"x");
    let hash = root.join("file.sha1");
    let open = fs::File::options().write(true).open(&hash);
    assert_eq!(errno(open), Some(libc::EACCES));
    let open = fs::File::options().append(true).open(&hash);
    assert_eq!(errno(open), Some(libc::EACCES));
    assert_eq!(
        errno(fs::rename(&hash, root.join("moved"))),
        Some(libc::EPERM)
    );
    fs::remove_file(&hash).unwrap();
    tree::wait_for(&hash);
    assert_eq!(get(&hash), line(b"x"));
    assert_eq!(tree::names(root), ["file", "file.sha1"]);
    let names = bucket::Bucket::open(&place.emulator).visible();
    assert_eq!(names, ["file"]);
}

#[test]
fn rm_r_removes_a_folder_with_listed_hash_files() {
    let mut place = listing();
    let root = place.path().to_owned();
    tree::build(&root.join("t"), 51);
    shell("rm -r \"$1\"/t", [&root]);
    assert!(tree::names(&root).is_empty());
    place.remount();
    assert!(tree::names(&root).is_empty());
}

#[test]
fn a_real_object_wins_over_the_virtual_file() {
    let emulator = Emulator::start();
    let bucket = bucket::Bucket::open(&emulator);
    bucket.upload("file", b"content");
    bucket.upload("file.sha1", b"written by someone");
    let mut mount = Mount::with(&emulator, "list_hashfiles: true\n");
    let root = mount.path().to_owned();
    assert_eq!(tree::names(&root), ["file", "file.sha1"]);
    assert_eq!(get(&root.join("file.sha1")), b"written by someone");
    put(&root.join("file.sha1"), b"written here");
    assert_eq!(get(&root.join("file.sha1")), b"written here");
    // The real one gone, the virtual one is back.
    fs::remove_file(root.join("file.sha1")).unwrap();
    assert_eq!(get(&root.join("file.sha1")), line(b"content"));
    mount.remount();
    assert_eq!(get(&root.join("file.sha1")), line(b"content"));
}

#[test]
fn tar_unpacks_a_tree_that_has_hash_files_of_its_own() {
    let mut place = listing();
    let source = tempfile::tempdir().unwrap();
    put(&source.path().join("x"), b"x");
    put(&source.path().join("x.sha1"), b"of somebody else");
    let archive = source.path().join("archive.tar");
    run(program("tar")
        .args(["-cf", "archive.tar", "x", "x.sha1"])
        .current_dir(source.path()));
    run(program("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(place.path()));
    place.remount();
    assert_eq!(get(&place.path().join("x")), b"x");
    assert_eq!(get(&place.path().join("x.sha1")), b"of somebody else");
}

/// `cp` and `>` open a name that is there with O_TRUNC and without O_CREAT or with both.
#[test]
fn cp_and_shells_put_real_files_in_the_place_of_hash_files() {
    let source = tempfile::tempdir().unwrap();
    let steps = "cd \"$1\"; mkdir -p d/e; for f in a d/b d/e/c; do echo $f > $f; md5sum < $f > $f.sha1; done";
    shell(steps, [source.path()]);
    let mut place = Bucket::with("");
    let root = place.path().to_owned();
    for times in 0..2 {
        let tree = root.join(format!("tree{times}"));
        shell(
            "cp -r \"$1\" \"$2\"; cp -r \"$1/.\" \"$2\"",
            [source.path(), &tree],
        );
        tree::same(source.path(), &tree, tree::CONTENT);
    }
    let clone =
        "cd \"$1\"; git init -q; git add .; git -c user.name=a -c user.email=a commit -qm a;
        git clone -q . \"$2/clone\"; rm -r .git \"$2/clone/.git\"";
    shell(clone, [source.path(), &root]);
    tree::same(source.path(), &root.join("clone"), tree::CONTENT);
    put(&root.join("file"), b"content");
    shell(
        "cd \"$1\"; echo 1 > file.sha1; echo 22 > file.sha1",
        [&root],
    );
    for _ in 0..2 {
        assert_eq!(get(&root.join("file.sha1")), b"22\n");
        assert_eq!(get(&root.join("file")), b"content");
        tree::same(source.path(), &root.join("tree1"), tree::CONTENT);
        place.remount();
    }
    fs::remove_file(root.join("file.sha1")).unwrap();
    tree::wait_for(&root.join("file.sha1"));
    assert_eq!(get(&root.join("file.sha1")), line(b"content"));
}

#[test]
fn a_file_may_be_renamed_onto_a_hash_file() {
    let mut place = listing();
    let root = place.path().to_owned();
    put(&root.join("x"), b"x");
    put(&root.join("y"), b"a real one");
    fs::rename(root.join("y"), root.join("x.sha1")).unwrap();
    for _ in 0..2 {
        assert_eq!(get(&root.join("x.sha1")), b"a real one");
        assert_eq!(tree::names(&root), ["x", "x.sha1"]);
        place.remount();
    }
    fs::rename(root.join("x.sha1"), root.join("z")).unwrap();
    assert_eq!(get(&root.join("x.sha1")), line(b"x"));
    assert_eq!(tree::names(&root), ["x", "x.sha1", "z", "z.sha1"]);
}

#[test]
fn a_hash_file_follows_its_file() {
    let mut place = listing();
    let root = place.path().to_owned();
    put(&root.join("a"), b"1");
    assert_eq!(get(&root.join("a.sha1")), line(b"1"));
    put(&root.join("a"), b"22");
    assert_eq!(get(&root.join("a.sha1")), line(b"22"));
    fs::File::options()
        .append(true)
        .open(root.join("a"))
        .unwrap()
        .write_all(b"3")
        .unwrap();
    assert_eq!(get(&root.join("a.sha1")), line(b"223"));
    fs::rename(root.join("a"), root.join("b")).unwrap();
    assert_eq!(errno(fs::metadata(root.join("a.sha1"))), Some(libc::ENOENT));
    assert_eq!(get(&root.join("b.sha1")), line(b"223"));
    place.remount();
    assert_eq!(get(&root.join("b.sha1")), line(b"223"));
    fs::remove_file(root.join("b")).unwrap();
    assert_eq!(errno(fs::metadata(root.join("b.sha1"))), Some(libc::ENOENT));
    assert!(tree::names(&root).is_empty());
}

#[test]
fn unsent_changes_are_hashed_as_they_are_in_memory() {
    let place = listing();
    let root = place.path();
    put(&root.join("f"), b"stored");
    let mut file = fs::File::options()
        .append(true)
        .open(root.join("f"))
        .unwrap();
    file.write_all(b" and more").unwrap();
    assert_eq!(get(&root.join("f.sha1")), line(b"stored and more"));
    file.write_all(b" and more").unwrap();
    assert_eq!(get(&root.join("f.sha1")), line(b"stored and more and more"));
    drop(file);
    assert_eq!(get(&root.join("f.sha1")), line(b"stored and more and more"));
}

#[test]
fn content_without_a_stored_hash_is_hashed_when_asked() {
    let emulator = Emulator::start();
    let bucket = bucket::Bucket::open(&emulator);
    let parts = [noise(52, 5_000_000), noise(53, 1_234)];
    bucket.upload_large("large", &[&parts[0], &parts[1]]);
    bucket.upload_with("unverified", b"as it came", "do_not_verify", &[]);
    bucket.upload_with(
        "streamed",
        b"hash at the end",
        &sha1_hex(b"hash at the end"),
        &[],
    );
    let mount = Mount::with(&emulator, "list_hashfiles: true\n");
    let root = mount.path();
    assert_eq!(fs::metadata(root.join("large.sha1")).unwrap().len(), 41);
    assert_eq!(get(&root.join("large.sha1")), line(&parts.concat()));
    assert_eq!(get(&root.join("unverified.sha1")), line(b"as it came"));
    assert_eq!(get(&root.join("streamed.sha1")), line(b"hash at the end"));
}

#[test]
fn large_files_of_other_tools_show_the_hash_they_gave() {
    let place = listing();
    let local = tempfile::tempdir().expect("a temporary directory");
    let content = noise(54, 11_000_000);
    put(&local.path().join("large"), &content);
    run(rclone(&place.emulator)
        .args(["copy", "--b2-upload-cutoff", "5M", "--b2-chunk-size", "5M"])
        .arg(local.path())
        .arg(format!("b2:{}", place.emulator.bucket_name())));
    let place = {
        let mut place = place;
        place.remount();
        place
    };
    assert_eq!(get(&place.path().join("large.sha1")), line(&content));
}
