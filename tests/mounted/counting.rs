//! What everyday work costs in calls and bytes, by the emulator's counters.

use std::fs::{self, File};
use std::io::Write;

use crate::calls::seed;
use crate::support::emulator::Emulator;
use crate::support::mount::{Mount, Settings};
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, get, noise, put};

fn lists(emulator: &Emulator) -> u64 {
    emulator.calls("b2_list_file_names") + emulator.calls("b2_list_file_versions")
}

fn uploads(emulator: &Emulator) -> u64 {
    emulator.calls("b2_upload_file") + emulator.calls("b2_upload_part")
}

fn copies(emulator: &Emulator) -> u64 {
    emulator.calls("b2_copy_file") + emulator.calls("b2_copy_part")
}

#[test]
fn mount_and_first_ls_are_an_authorization_and_a_listing() {
    let emulator = Emulator::start();
    let bucket = crate::support::bucket::Bucket::open(&emulator);
    for name in ["a", "b/c", "d/e/f"] {
        bucket.upload(name, b"x");
    }
    let all = ["listFiles", "readFiles", "writeFiles", "deleteFiles"];
    let (key_id, key) = emulator
        .server()
        .create_key(&all, Some(&[emulator.bucket_name()]), None)
        .unwrap();
    emulator.forget_counters();
    let mount = Mount::start(Settings {
        config: "list_hashfiles: false\n".to_owned(),
        key_id,
        key,
        endpoint: emulator.endpoint(),
        bucket: emulator.bucket_name().to_owned(),
    });
    assert_eq!(tree::names(mount.path()), ["a", "b", "d"]);
    let counters = emulator.counters();
    assert_eq!(emulator.calls("b2_authorize_account"), 1, "{counters:?}");
    assert_eq!(lists(&emulator), 1, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");
    // The attributes of files came with the listing, a directory's stand in its own first page.
    run(program("ls").arg("-la").arg(mount.path()));
    assert!(lists(&emulator) <= 3, "{:?}", emulator.counters());
    run(program("ls").arg("-la").arg(mount.path()));
    assert!(lists(&emulator) <= 3, "{:?}", emulator.counters());
}

#[test]
fn a_second_rsync_moves_nothing_at_all() {
    let emulator = Emulator::start();
    let source = tempfile::tempdir().expect("a temporary directory");
    tree::build(source.path(), 100);
    let mut mount = Mount::new(&emulator);
    let line = "rsync -a \"$1\"/ \"$2\"/";
    let places = [source.path().to_owned(), mount.path().to_owned()];
    shell(line, &places);
    mount.remount();
    emulator.forget_counters();
    shell(line, &places);
    let counters = emulator.counters();
    assert_eq!(uploads(&emulator), 0, "{counters:?}");
    assert_eq!(copies(&emulator), 0, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");
}

#[test]
fn rsync_costs_one_upload_and_at_most_one_copy_a_file() {
    let emulator = Emulator::start();
    let source = tempfile::tempdir().expect("a temporary directory");
    for file in 0..100 {
        put(&source.path().join(format!("f{file}")), &noise(file, 4096));
    }
    let mut mount = Mount::new(&emulator);
    shell("rsync -a \"$1\"/ \"$2\"/", [source.path(), mount.path()]);
    mount.unmount();
    let counters = emulator.counters();
    // One marker besides: rsync sets the time of the root.
    assert!(uploads(&emulator) <= 101, "{counters:?}");
    assert!(copies(&emulator) <= 101, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");
}

#[test]
fn copying_small_files_in_is_one_upload_each() {
    let emulator = Emulator::start();
    let source = tempfile::tempdir().expect("a temporary directory");
    for file in 0..50 {
        put(&source.path().join(format!("f{file}")), &noise(file, 4096));
    }
    let mut mount = Mount::new(&emulator);
    emulator.forget_counters();
    shell("cp -r \"$1\"/. \"$2\"/", [source.path(), mount.path()]);
    mount.unmount();
    let counters = emulator.counters();
    assert_eq!(uploads(&emulator), 50, "{counters:?}");
    assert_eq!(copies(&emulator), 0, "{counters:?}");
    assert!(lists(&emulator) <= 2, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");
}

#[test]
fn an_append_to_a_large_file_sends_the_end_and_downloads_nothing() {
    let emulator = Emulator::start();
    let mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nlarge_file: 20MB\npart_size: 5MB\n",
    );
    let path = mount.path().join("f");
    put(&path, &noise(101, 60_000_000));
    emulator.forget_counters();
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&noise(102, 1_000_000)).unwrap();
    drop(file);
    let counters = emulator.counters();
    assert!(counters.bytes_in <= 10_000_000, "{counters:?}");
    assert_eq!(counters.bytes_out, 0, "{counters:?}");
    let expected = [noise(101, 60_000_000), noise(102, 1_000_000)].concat();
    assert_eq!(tree::first_difference(&expected, &get(&path)), None);
}

#[test]
fn replacing_a_file_downloads_nothing() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let path = mount.path().join("f");
    put(&path, &noise(103, 1_000_000));
    mount.remount();
    emulator.forget_counters();
    put(&path, b"new");
    fs::remove_file(&path).unwrap();
    assert_eq!(emulator.counters().bytes_out, 0);
}

#[test]
fn what_was_read_is_not_downloaded_again() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let path = mount.path().join("f");
    put(&path, &noise(104, 5_000_000));
    mount.remount();
    emulator.forget_counters();
    for _ in 0..3 {
        assert_eq!(
            tree::first_difference(&noise(104, 5_000_000), &get(&path)),
            None
        );
    }
    assert_eq!(emulator.counters().bytes_out, 5_000_000);
}

#[test]
fn a_directory_of_2500_files_is_three_pages() {
    let emulator = Emulator::start();
    let bucket = crate::support::bucket::Bucket::open(&emulator);
    for file in 0..2500 {
        bucket.upload(&format!("d/{file}"), b"");
    }
    let mount = Mount::new(&emulator);
    emulator.forget_counters();
    assert_eq!(tree::names(&mount.path().join("d")).len(), 2500);
    assert!(lists(&emulator) <= 4, "{:?}", emulator.counters());
    let before = emulator.counters().calls;
    shell("ls -l \"$1\"/d | wc -l", [mount.path()]);
    assert_eq!(emulator.counters().calls, before);
}

#[test]
fn programs_that_walk_through_thousands_of_directories_make_a_few_calls() {
    let emulator = Emulator::start();
    seed(
        &emulator,
        (0..60).flat_map(|a| (0..60).map(move |b| format!("a{a:02}/b{b:02}/c"))),
    );
    for (walker, lines) in [
        ("find . -type f", 3600),
        ("find . -printf '%s %p\\n'", 3600 + 60 * 60 + 60 + 1),
        ("du -a --apparent-size .", 3600 + 60 * 60 + 60 + 1),
        ("ls -lR . | grep -c ' c$' | xargs seq", 3600),
    ] {
        let mount = Mount::new(&emulator);
        emulator.forget_counters();
        let line = format!("cd \"$1\" && {walker} | wc -l");
        let found = shell(&line, [mount.path()]);
        assert_eq!(found.trim(), lines.to_string(), "{walker}");
        // Six before the walk is recognised, and 3,600 names in one page, or two.
        assert!(
            lists(&emulator) <= 12,
            "{walker}: {:?}",
            emulator.counters()
        );
    }
}

#[test]
fn only_a_directory_that_stays_empty_gets_a_marker_and_a_tree_goes_without_one() {
    let emulator = Emulator::start();
    let bucket = crate::support::bucket::Bucket::open(&emulator);
    let source = tempfile::tempdir().expect("a temporary directory");
    for file in 0..60 {
        let dir = format!("t/a{}/b{}", file % 3, file % 4);
        let dir = source.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        put(&dir.join(format!("f{file}")), &noise(file, 100));
    }
    fs::create_dir(source.path().join("t/empty")).unwrap();
    let mut mount = Mount::new(&emulator);
    emulator.forget_counters();
    shell("cp -r \"$1\"/t \"$2\"/", [source.path(), mount.path()]);
    mount.unmount();
    assert_eq!(uploads(&emulator), 61, "{:?}", emulator.counters());
    let stored = bucket.visible();
    let markers: Vec<_> = stored.iter().filter(|name| name.contains(".bz")).collect();
    assert_eq!(markers, ["t/empty/.bzEmpty"]);

    mount.remount();
    let known = shell("find \"$1\" | wc -l", [mount.path()]);
    assert_eq!(known.trim(), (1 + 1 + 3 + 12 + 1 + 60).to_string());
    emulator.forget_counters();
    shell("rm -rf \"$1\"/t", [mount.path()]);
    mount.unmount();
    let (counters, listed) = (emulator.counters(), emulator.calls("b2_list_file_names"));
    assert!(bucket.visible().is_empty());
    assert_eq!(uploads(&emulator), 0, "{counters:?}");
    // The files, and the marker, which another mount had made: it is looked for.
    assert_eq!(emulator.calls("b2_hide_file"), 61, "{counters:?}");
    assert_eq!(listed, 1, "{counters:?}");
    assert_eq!(emulator.calls("b2_delete_file_version"), 0, "{counters:?}");
}
