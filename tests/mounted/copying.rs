//! Copies from file to file on one mount: B2 makes them, by the emulator's counters.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::copy_file_range;

use crate::support::bucket::{Bucket, sha1_hex};
use crate::support::emulator::Emulator;
use crate::support::forks::undisturbed;
use crate::support::mount::Mount;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{first_difference, get, noise, put};

const QUIET: &str = "list_hashfiles: false\n";

fn copies(emulator: &Emulator) -> (u64, u64) {
    (
        emulator.calls("b2_copy_file"),
        emulator.calls("b2_copy_part"),
    )
}

/// Content up and down.
fn moved(emulator: &Emulator) -> (u64, u64) {
    let counters = emulator.counters();
    (counters.bytes_in, counters.bytes_out)
}

/// Asks the kernel for one range, as a program would that wants no more.
fn copy(from: &File, at: u64, to: &File, to_at: u64, len: usize) -> usize {
    let (mut at, mut to_at) = (at, to_at);
    copy_file_range(from, Some(&mut at), to, Some(&mut to_at), len).unwrap()
}

fn both(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn same(expected: &[u8], path: &Path) {
    assert_eq!(first_difference(expected, &get(path)), None, "{path:?}");
}

/// Polls until it holds; a guard against waiting for ever, no measure.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn cp_moves_no_bytes_whatever_the_size() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, QUIET);
    for (seed, len) in [(200, 1024), (201, 6_000_000), (202, 200_000_000)] {
        let (from, to) = (mount.path().join("from"), mount.path().join("to"));
        put(&from, &noise(seed, len));
        for flag in ["--reflink=auto", "--sparse=never"] {
            emulator.forget_counters();
            run(program("cp").arg(flag).args([&from, &to]));
            assert_eq!(moved(&emulator), (0, 0), "{len} {flag}");
            assert_eq!(copies(&emulator), (1, 0), "{len} {flag}");
        }
        assert_eq!(emulator.calls("b2_upload_file"), 0, "{len}");
        same(&noise(seed, len), &to);
        same(&noise(seed, len), &from);
        mount.remount();
        same(&noise(seed, len), &to);
    }
}

#[test]
fn a_tree_is_copied_by_one_call_a_file() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, QUIET);
    for file in 0..20 {
        fs::create_dir_all(mount.path().join("tree/deep")).unwrap();
        let path = mount.path().join(format!("tree/deep/f{file}"));
        put(&path, &noise(210 + file, 5000));
    }
    emulator.forget_counters();
    shell("cp -r \"$1\"/tree \"$1\"/twin", [mount.path()]);
    assert_eq!(moved(&emulator), (0, 0));
    assert_eq!(copies(&emulator), (20, 0));
    shell("diff -r \"$1\"/tree \"$1\"/twin", [mount.path()]);
}

#[test]
fn a_copy_carries_the_hash_that_b2_cannot_know() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, QUIET);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    let mut content = noise(220, 12_000_000);
    put(&from, &content);
    // Stored in parts from now on.
    both(&from).write_all_at(b"patch", 6_000_000).unwrap();
    content[6_000_000..6_000_005].copy_from_slice(b"patch");
    let digest = String::from_utf8(get(&mount.path().join("from.sha1"))).unwrap();
    assert_eq!(digest.trim(), sha1_hex(&content));
    run(program("cp").args([&from, &to]));
    mount.remount();
    emulator.forget_counters();
    let copied = String::from_utf8(get(&mount.path().join("to.sha1"))).unwrap();
    assert_eq!(copied, digest);
    assert_eq!(moved(&emulator), (0, 0));
}

#[test]
fn a_range_goes_into_the_middle_of_another_file() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, QUIET);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    let (source, mut expected) = (noise(230, 20_000_000), noise(231, 40_000_000));
    put(&from, &source);
    put(&to, &expected);
    emulator.forget_counters();
    let quiet = undisturbed();
    let file = both(&to);
    // Its pages are in the kernel's cache when they change.
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 12_000_000).unwrap();
    assert_eq!(page[..], expected[12_000_000..12_004_096]);
    let downloaded = moved(&emulator).1;
    let part = copy(
        &File::open(&from).unwrap(),
        5_000_001,
        &file,
        10_000_000,
        10_000_000,
    );
    assert_eq!(part, 10_000_000);
    expected[10_000_000..20_000_000].copy_from_slice(&source[5_000_001..15_000_001]);
    drop((file, quiet));
    assert_eq!(moved(&emulator), (0, downloaded));
    assert_eq!(copies(&emulator), (0, 3));
    same(&expected, &to);
    mount.remount();
    same(&expected, &to);
}

#[test]
fn the_kernel_forgets_the_pages_that_were_copied_over() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, QUIET);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    let (source, mut expected) = (noise(232, 300_000), noise(233, 300_000));
    put(&from, &source);
    put(&to, &expected);
    let (reader, source_file) = (File::open(&to).unwrap(), both(&from));
    let mut pages = vec![0; 300_000];
    reader.read_exact_at(&mut pages, 0).unwrap();
    assert_eq!(pages, expected);
    let file = both(&to);
    // What was written just now, on both sides, counts as well; neither end lies on a page's edge.
    source_file
        .write_all_at(b"new in the source", 150_000)
        .unwrap();
    file.write_all_at(b"new in the target", 3).unwrap();
    assert_eq!(copy(&source_file, 100_001, &file, 50_003, 100_000), 100_000);
    expected[3..20].copy_from_slice(b"new in the target");
    expected[50_003..150_003].copy_from_slice(&source[100_001..200_001]);
    expected[100_002..100_019].copy_from_slice(b"new in the source");
    reader.read_exact_at(&mut pages, 0).unwrap();
    assert_eq!(first_difference(&expected, &pages), None);
    drop((file, source_file));
    same(&expected, &to);
}

#[test]
fn files_are_put_together_on_the_server() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, QUIET);
    let parts = [
        noise(240, 7_000_000),
        noise(241, 9_000_000),
        noise(242, 100),
    ];
    let to = mount.path().join("all");
    for (name, part) in ["a", "b", "c"].iter().zip(&parts) {
        put(&mount.path().join(name), part);
    }
    emulator.forget_counters();
    let quiet = undisturbed();
    let all = File::create_new(&to).unwrap();
    let mut end = 0;
    for (name, part) in ["a", "b", "c"].iter().zip(&parts) {
        let from = File::open(mount.path().join(name)).unwrap();
        // More than there is: the end of the source ends it.
        assert_eq!(copy(&from, 0, &all, end, part.len() + 5000), part.len());
        end += part.len() as u64;
        assert_eq!(copy(&from, part.len() as u64, &all, end, 1), 0);
    }
    drop((all, quiet));
    assert_eq!(moved(&emulator), (0, 0));
    assert_eq!(copies(&emulator), (0, 3));
    same(&parts.concat(), &to);
    mount.remount();
    same(&parts.concat(), &to);
}

#[test]
fn bytes_written_behind_a_copy_are_all_that_is_sent() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, QUIET);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    let content = noise(250, 30_000_000);
    put(&from, &content);
    emulator.forget_counters();
    let file = File::create_new(&to).unwrap();
    assert_eq!(
        copy(&File::open(&from).unwrap(), 0, &file, 0, 30_000_000),
        30_000_000
    );
    file.write_all_at(b"tail", 30_000_000).unwrap();
    drop(file);
    assert_eq!(moved(&emulator), (4, 0));
    same(&[&content[..], b"tail"].concat(), &to);
}

#[test]
fn what_is_not_stored_yet_is_copied_as_it_is() {
    let emulator = Emulator::start();
    let config = "list_hashfiles: false\nmemory: 64MiB\nlarge_file: 20MB\npart_size: 5MB\n";
    let mut mount = Mount::with(&emulator, config);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    // More than the memory: parts have left, and the file is still open.
    let mut content = noise(260, 100_000_000);
    let mut writer = File::create_new(&from).unwrap();
    writer.write_all(&content).unwrap();
    run(program("cp").args([&from, &to]));
    same(&content, &to);
    // Changed in memory only; then changed again while it is copied.
    writer.write_all_at(b"patched", 50_000_000).unwrap();
    content[50_000_000..50_000_007].copy_from_slice(b"patched");
    let target = File::create(&to).unwrap();
    let len = copy(&File::open(&from).unwrap(), 0, &target, 0, usize::MAX >> 1);
    assert_eq!(len, content.len());
    writer.write_all_at(b"PATCHED", 50_000_000).unwrap();
    drop(target);
    same(&content, &to);
    drop(writer);
    content[50_000_000..50_000_007].copy_from_slice(b"PATCHED");
    same(&content, &from);
    mount.remount();
    same(&content, &from);
    content[50_000_000..50_000_007].copy_from_slice(b"patched");
    same(&content, &to);
    mount.unmount();
    let versions = Bucket::open(&emulator).versions();
    assert!(versions.iter().all(|version| version.action != "start"));
}

#[test]
fn the_source_may_go_before_the_copy_is_stored() {
    for (config, kept) in [("delete: hide\n", true), ("delete: purge\n", false)] {
        let emulator = Emulator::start();
        let bucket = Bucket::open(&emulator);
        let mut mount = Mount::with(&emulator, &format!("{QUIET}{config}"));
        let path = |name: &str| mount.path().join(name);
        for (name, seed) in [("removed", 270), ("renamed", 271), ("replaced", 272)] {
            put(&path(name), &noise(seed, 6_000_000));
        }
        // A version that is in the bucket only because somebody waited for it.
        let mut written = File::create_new(path("written")).unwrap();
        written.write_all(&noise(273, 6_000_000)).unwrap();
        written.sync_all().unwrap();
        emulator.forget_counters();
        let mut targets = Vec::new();
        for name in ["removed", "renamed", "replaced", "written"] {
            let target = File::create_new(path(&format!("copy of {name}"))).unwrap();
            let from = File::open(path(name)).unwrap();
            assert_eq!(copy(&from, 0, &target, 0, 6_000_000), 6_000_000);
            targets.push(target);
        }
        fs::remove_file(path("removed")).unwrap();
        fs::rename(path("renamed"), path("elsewhere")).unwrap();
        put(&path("replaced"), b"short");
        written.write_all(b" and more").unwrap();
        drop(written);
        assert!(
            !path("removed").exists() && !path("renamed").exists(),
            "{config}"
        );
        eventually("the names go", || {
            let visible = bucket.visible();
            visible
                .iter()
                .all(|name| name != "removed" && name != "renamed")
        });
        // Nobody is told an error, and nothing was lost.
        for target in targets {
            target.sync_all().unwrap();
        }
        assert_eq!(emulator.counters().bytes_out, 0, "{config}");
        for (name, seed) in [
            ("removed", 270),
            ("renamed", 271),
            ("replaced", 272),
            ("written", 273),
        ] {
            same(&noise(seed, 6_000_000), &path(&format!("copy of {name}")));
        }
        // What had to wait for the copies goes then.
        eventually("superseded versions go", || {
            let of = |name: &str| bucket.versions_of(name).len();
            let removed = bucket.versions_of("removed");
            let uploads = removed.iter().filter(|v| v.action == "upload").count();
            of("written") == 1 && uploads == usize::from(kept) && (kept || removed.is_empty())
        });
        mount.unmount();
        let visible = bucket.visible();
        assert!(!visible.contains(&"removed".to_owned()), "{visible:?}");
        assert!(!visible.contains(&"renamed".to_owned()), "{visible:?}");
    }
}

#[test]
fn the_end_of_the_mount_stores_the_copy_and_deletes_what_waited_for_it() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let mut mount = Mount::with(&emulator, &format!("{QUIET}delete: purge\n"));
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    put(&from, &noise(275, 6_000_000));
    let quiet = undisturbed();
    let source = File::open(&from).unwrap();
    let target = File::create_new(&to).unwrap();
    assert_eq!(copy(&source, 0, &target, 0, 6_000_000), 6_000_000);
    drop(source);
    fs::remove_file(&from).unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    assert_eq!(bucket.versions_of("from").len(), 2, "hidden, and kept");
    drop(quiet);
    mount.unmount();
    drop(target);
    assert_eq!(bucket.versions_of("from").len(), 0);
    let stored = bucket.versions_of("to");
    assert_eq!(bucket.download(&stored[0].id), noise(275, 6_000_000));
}

#[test]
fn a_source_deleted_by_somebody_else_fails_the_copy_and_nothing_more() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let mut mount = Mount::with(&emulator, QUIET);
    let (from, to) = (mount.path().join("from"), mount.path().join("to"));
    put(&from, &noise(280, 6_000_000));
    put(&to, b"the old content");
    let quiet = undisturbed();
    let file = both(&to);
    assert_eq!(
        copy(&File::open(&from).unwrap(), 0, &file, 0, 6_000_000),
        6_000_000
    );
    let id = bucket.versions_of("from")[0].id.clone();
    bucket.delete("from", &id);
    let error = file.sync_all().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    mount.hears("the log names the version", |said| said.contains(&id));
    let stored = bucket.versions_of("to");
    assert_eq!(stored.len(), 1);
    assert_eq!(bucket.download(&stored[0].id), b"the old content");
    drop(quiet);
    // Who gives the copy up goes on.
    file.set_len(0).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    mount.unmount();
    assert_eq!(bucket.download(&bucket.versions_of("to")[0].id), b"new");
}

#[test]
fn a_virtual_hash_file_is_copied_by_its_bytes() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, QUIET);
    put(&mount.path().join("f"), b"content");
    shell("cd \"$1\" && cp f.sha1 digest", [mount.path()]);
    let mut text = String::new();
    let mut digest = File::open(mount.path().join("digest")).unwrap();
    digest.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("{}\n", sha1_hex(b"content")));
}

#[test]
fn ranges_of_one_file_are_copied_within_it() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, QUIET);
    let path = mount.path().join("f");
    let mut expected = noise(290, 20_000_000);
    put(&path, &expected);
    emulator.forget_counters();
    let quiet = undisturbed();
    let file = both(&path);
    assert_eq!(copy(&file, 0, &file, 20_000_000, 20_000_000), 20_000_000);
    let mut same_place = 1000;
    let refused = copy_file_range(&file, Some(&mut 0), &file, Some(&mut same_place), 5000);
    assert_eq!(refused.unwrap_err().raw_os_error(), libc::EINVAL);
    drop((file, quiet));
    expected.extend_from_within(..);
    assert_eq!(moved(&emulator), (0, 0));
    assert_eq!(copies(&emulator), (0, 2));
    same(&expected, &path);
    mount.remount();
    same(&expected, &path);
}
