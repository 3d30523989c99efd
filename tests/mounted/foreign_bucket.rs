//! Buckets that other tools have filled, with everything that they may hold: shown as far as
//! Linux can show it, and nothing harmed.

use std::fs;

use crate::support::bucket::{Bucket, Version, sha1_hex};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::{b2, rclone, run};
use crate::support::tree::{self, CONTENT, STORED, Times, get, noise, put};

/// Walks, stats and reads everything that the mount shows.
fn look_at_all(mount: &Mount) -> Vec<String> {
    tree::walk(mount.path())
        .iter()
        .map(|path| {
            if path.is_file() {
                get(path);
            }
            tree::b2_name(path.strip_prefix(mount.path()).expect("under the root"))
        })
        .collect()
}

/// Fills the bucket with what no filesystem would write; gives what Linux can show of it.
fn fill_strangely(emulator: &Emulator, bucket: &Bucket) -> Vec<&'static str> {
    let put = |name: &str| {
        bucket.upload(name, name.as_bytes());
    };
    // Shown.
    put("file");
    put("dir/file");
    put("dir/sub/deep");
    // Cannot be shown: empty, dotted and too long segments.
    put("double//slash");
    put("/leading slash");
    put("dir//inner");
    let long = "l".repeat(300);
    // B2 makes none of these today.
    emulator.seed(&long, 5);
    emulator.seed(&format!("dir/{long}/below"), 5);
    for dotted in [
        "./here",
        "../up",
        "dir/./here",
        "dir/../up",
        "dir/.",
        "dir/..",
    ] {
        // Whether B2 takes these is not documented; whatever got in is left alone.
        let _ = bucket.try_upload(dotted, b"dots", &sha1_hex(b"dots"), &[]);
    }
    // A file beside a directory of the same name: the directory wins.
    put("both");
    put("both/child");
    // Hidden, hidden and back, hidden without a version to show beneath.
    put("hidden");
    bucket.hide("hidden");
    put("hidden folder/a");
    bucket.hide("hidden folder/a");
    put("back");
    bucket.hide("back");
    put("back");
    // Several versions.
    bucket.upload("versions", b"old");
    bucket.upload("versions", b"newer");
    // Unfinished large files: alone, and over an existing file.
    bucket.start_large("unfinished", Some(&noise(70, 5_000_000)));
    bucket.start_large("unfinished folder/x", None);
    put("started");
    bucket.start_large("started", Some(b"one part"));
    // Without a SHA-1, and with one that B2 has not checked.
    bucket.upload_large("no hash", &[&noise(71, 5_000_000), b"tail"]);
    bucket.upload_with("unverified", b"unverified", "do_not_verify", &[]);
    // Markers of empty directories.
    bucket.upload("web folder/.bzEmpty", b"");
    bucket.upload("s3 folder/", b"");
    bucket.upload("s3 folder with content/", b"");
    put("s3 folder with content/file");
    // File info that means nothing to a filesystem, or nonsense.
    bucket.upload_with(
        "odd info",
        b"x",
        &sha1_hex(b"x"),
        &[
            ("src_last_modified_millis", "not a number"),
            ("mode", "rwxr-xr-x"),
            ("uid", "-7"),
            ("anything", "else"),
        ],
    );
    bucket.upload_with(
        "far future",
        b"x",
        &sha1_hex(b"x"),
        &[("src_last_modified_millis", "99999999999999999999")],
    );
    vec![
        "back",
        "both",
        "both/child",
        "dir",
        "dir/file",
        "dir/sub",
        "dir/sub/deep",
        "double",
        "far future",
        "file",
        "no hash",
        "odd info",
        "s3 folder",
        "s3 folder with content",
        "s3 folder with content/file",
        "started",
        "unverified",
        "versions",
        "web folder",
    ]
}

fn strange() -> (Emulator, Bucket, Vec<&'static str>, Vec<Version>) {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let shown = fill_strangely(&emulator, &bucket);
    let before = bucket.versions();
    (emulator, bucket, shown, before)
}

#[test]
fn a_strange_bucket_is_shown_as_far_as_linux_can() {
    let (emulator, bucket, shown, before) = strange();
    let mut mount = Mount::new(&emulator);
    let mut found = look_at_all(&mount);
    found.sort();
    assert_eq!(found, shown);
    assert_eq!(get(&mount.path().join("versions")), b"newer");
    assert_eq!(get(&mount.path().join("started")), b"started");
    assert_eq!(get(&mount.path().join("unverified")), b"unverified");
    let expected = [noise(71, 5_000_000), b"tail".to_vec()].concat();
    assert_eq!(get(&mount.path().join("no hash")), expected);
    assert!(mount.path().join("both").is_dir());
    assert!(!mount.path().join("hidden").exists());
    assert!(!mount.path().join("hidden folder").exists());
    assert!(!mount.path().join("unfinished").exists());
    mount.unmount();
    assert_eq!(bucket.versions(), before, "looking changes nothing");
    let messages = mount.messages();
    assert!(
        messages.contains("double"),
        "a warning names what is not shown:\n{messages}"
    );
}

#[test]
fn work_beside_strange_objects_harms_none_of_them() {
    let (emulator, bucket, _, before) = strange();
    let mut mount = Mount::new(&emulator);
    let root = mount.path().to_owned();
    put(&root.join("mine"), b"1");
    put(&root.join("dir/mine"), b"2");
    fs::create_dir(root.join("new")).unwrap();
    fs::rename(root.join("mine"), root.join("new/mine")).unwrap();
    put(&root.join("s3 folder/mine"), b"3");
    fs::remove_file(root.join("s3 folder/mine")).unwrap();
    assert!(
        root.join("s3 folder").is_dir(),
        "an emptied directory stays"
    );
    put(&root.join("web folder/mine"), b"4");
    // A directory that looks empty and is not.
    let _ = fs::remove_dir(root.join("double"));
    let _ = fs::remove_dir_all(root.join("dir/sub"));
    fs::remove_file(root.join("dir/mine")).unwrap();
    mount.unmount();
    let after = bucket.versions();
    for version in before {
        let marker = version.name.ends_with(".bzEmpty") || version.name == "s3 folder/";
        assert!(marker || after.contains(&version), "{version:?} is gone");
    }
}

#[test]
fn a_name_taken_by_an_unshown_object_can_be_used_beside_it() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    bucket.upload("both", b"file");
    bucket.upload("both/child", b"child");
    let mount = Mount::new(&emulator);
    let root = mount.path();
    assert_eq!(tree::names(root), ["both"]);
    fs::remove_file(root.join("both/child")).unwrap();
    // The directory was emptied by this mount, so it stays until it is removed.
    assert!(root.join("both").is_dir());
    let visible = bucket.visible();
    assert!(visible.contains(&"both".to_owned()), "{visible:?}");
    assert_eq!(bucket.download(&bucket.versions_of("both")[0].id), b"file");
}

#[test]
fn hidden_names_can_be_used_again() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let old = bucket.upload("name", b"old");
    bucket.hide("name");
    let mount = Mount::new(&emulator);
    put(&mount.path().join("name"), b"new");
    fs::remove_file(mount.path().join("name")).unwrap();
    assert!(!mount.path().join("name").exists());
    fs::File::open(mount.path()).unwrap().sync_all().unwrap();
    assert!(
        bucket.visible().is_empty(),
        "deleting does not bring back an older version"
    );
    assert_eq!(
        bucket.download(&old),
        b"old",
        "what was there before stays recoverable"
    );
}

#[test]
fn deleting_a_file_with_many_versions_brings_none_back() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    for version in 0..5 {
        bucket.upload("f", format!("version {version}").as_bytes());
    }
    let mut mount = Mount::new(&emulator);
    fs::remove_file(mount.path().join("f")).unwrap();
    mount.remount();
    assert!(tree::names(mount.path()).is_empty());
    assert!(bucket.visible().is_empty());
    let uploads = bucket.versions_of("f");
    let uploads = uploads.iter().filter(|version| version.action == "upload");
    assert_eq!(uploads.count(), 5, "hiding keeps every version");
}

#[test]
fn purge_removes_every_version() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    for version in 0..5 {
        bucket.upload("f", format!("version {version}").as_bytes());
    }
    bucket.upload("f2", b"a neighbour");
    let mut mount = Mount::with(&emulator, "delete: purge\n");
    fs::remove_file(mount.path().join("f")).unwrap();
    assert!(!mount.path().join("f").exists());
    mount.unmount();
    assert_eq!(bucket.versions_of("f"), []);
    assert_eq!(bucket.versions().len(), 1);
}

#[test]
fn what_rclone_and_b2_uploaded_is_shown_and_kept() {
    let emulator = Emulator::start();
    let local = tempfile::tempdir().expect("a temporary directory");
    let (by_b2, by_rclone) = (local.path().join("by b2"), local.path().join("by rclone"));
    // (The b2 command line refuses to upload backslashes.)
    let mut names = tree::ODD_NAMES.to_vec();
    names.retain(|name| !name.contains('\\'));
    tree::build_of(&by_b2, 72, &names);
    tree::build(&by_rclone, 73);
    let bucket_name = emulator.bucket_name().to_owned();
    run(b2(&emulator)
        .args(["sync", "--no-progress"])
        .arg(&by_b2)
        .arg(format!("b2://{bucket_name}/by b2")));
    // rclone writes look-alikes for characters that some backends refuse; compare what it shows.
    run(rclone(&emulator)
        .args(["copy", "--b2-encoding", "Slash"])
        .arg(&by_rclone)
        .arg(format!("b2:{bucket_name}/by rclone")));
    let bucket = Bucket::open(&emulator);
    let before = bucket.versions();
    let mut mount = Mount::new(&emulator);
    let files = tree::Compare {
        empty_directories: false,
        ..CONTENT
    };
    tree::same(
        &by_b2,
        &mount.path().join("by b2"),
        files.with_times(Times::Milliseconds),
    );
    tree::same(
        &by_rclone,
        &mount.path().join("by rclone"),
        files.with_times(Times::Milliseconds),
    );
    mount.unmount();
    assert_eq!(bucket.versions(), before);
}

#[test]
fn rclone_finds_nothing_to_complain_about() {
    let emulator = Emulator::start();
    let source = tempfile::tempdir().expect("a temporary directory");
    tree::build(source.path(), 74);
    let mut mount = Mount::new(&emulator);
    run(crate::support::tools::program("cp")
        .arg("-a")
        .arg(source.path().join("."))
        .arg(mount.path()));
    mount.unmount();
    // (Compares sizes and the SHA-1 that B2 holds.)
    run(rclone(&emulator)
        .args(["check", "--b2-encoding", "Slash", "--exclude", ".bzEmpty"])
        .arg(source.path())
        .arg(format!("b2:{}", emulator.bucket_name())));
    let download = tempfile::tempdir().expect("a temporary directory");
    run(rclone(&emulator)
        .args(["copy", "--b2-encoding", "Slash", "--exclude", ".bzEmpty"])
        .arg(format!("b2:{}", emulator.bucket_name()))
        .arg(download.path()));
    tree::same(source.path(), download.path(), STORED);
}

#[test]
fn a_prefix_is_mounted_as_the_root() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    bucket.upload("outside", b"o");
    bucket.upload("in/a", b"a");
    bucket.upload("in/d/b", b"b");
    bucket.upload("inner", b"no");
    let before = bucket.versions();
    for prefix in ["in", "in/"] {
        let mount = Mount::with(
            &emulator,
            &format!("list_hashfiles: false\nprefix: {prefix}\n"),
        );
        assert_eq!(look_at_all(&mount), ["a", "d", "d/b"]);
    }
    let mut mount = Mount::with(&emulator, "prefix: in/d\n");
    put(&mount.path().join("c"), b"c");
    fs::remove_file(mount.path().join("b")).unwrap();
    mount.unmount();
    assert_eq!(bucket.visible(), ["in/a", "in/d/c", "inner", "outside"]);
    for version in before {
        assert!(bucket.versions().contains(&version), "{version:?} is gone");
    }
}
