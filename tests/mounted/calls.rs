//! Exact numbers of calls for names and small files, so that a later change that costs one is seen.
//!
//! A bound instead of a number stands only where what runs at the same time decides.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use b2fuse::emulator::Seed;

use crate::support::emulator::Emulator;
use crate::support::mount::{Mount, Settings};
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, noise, put};

/// What the mounts here are: names live longer than any test, so that no refresh is counted.
const LONG: &str = "list_hashfiles: false\nmetadata_ttl: 1h\n";

const LIST: &str = "b2_list_file_names";
const UPLOAD: &str = "b2_upload_file";
const UPLOAD_URL: &str = "b2_get_upload_url";
const COPY: &str = "b2_copy_file";
const DELETE: &str = "b2_delete_file_version";
const HIDE: &str = "b2_hide_file";
const UNFINISHED: &str = "b2_list_unfinished_large_files";
/// Looks whether another client came between: some for many names, as many as fall into one moment.
const LOOK: &str = "b2_list_file_versions";

/// Objects of 100 bytes.
pub(crate) fn seed(emulator: &Emulator, names: impl Iterator<Item = String>) {
    let seeds: Vec<Seed> = names
        .map(|name| Seed {
            name,
            size: 100,
            ..Seed::default()
        })
        .collect();
    emulator
        .server()
        .seed(emulator.bucket_name(), &seeds)
        .expect("seeded");
}

/// Fails unless these calls were made, and no others.
#[track_caller]
fn cost(emulator: &Emulator, wanted: &[(&str, u64)]) {
    costs_but(emulator, wanted, &[]);
}

/// The same, but for calls whose number depends on what falls into one moment: these are at most so many.
#[track_caller]
fn costs_but(emulator: &Emulator, wanted: &[(&str, u64)], at_most: &[(&str, u64)]) {
    let mut found = emulator.counters().calls;
    // A minute after its start a mount looks once for what others have abandoned; on a busy machine that comes.
    let looked = found.remove(UNFINISHED).unwrap_or(0);
    assert!(looked <= 1, "{UNFINISHED}: {looked}");
    for (name, most) in at_most {
        let count = found.remove(*name).unwrap_or(0);
        assert!(
            (1..=*most).contains(&count),
            "{name}: {count}, not 1 to {most}"
        );
    }
    let wanted: BTreeMap<String, u64> = wanted
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(found, wanted);
}

/// The same once the mount has ended, so that what comes after the last close is in it.
#[track_caller]
fn costs_in_all(emulator: &Emulator, mut mount: Mount, wanted: &[(&str, u64)]) {
    mount.unmount();
    cost(emulator, wanted);
}

/// With looks, at most so many.
#[track_caller]
fn costs_in_all_with_looks(
    emulator: &Emulator,
    mut mount: Mount,
    wanted: &[(&str, u64)],
    looks: u64,
) {
    mount.unmount();
    costs_but(emulator, wanted, &[(LOOK, looks)]);
}

fn sources(count: u64) -> tempfile::TempDir {
    let source = tempfile::tempdir().expect("a temporary directory");
    for file in 0..count {
        put(
            &source.path().join(format!("f{file:03}")),
            &noise(file, 4096),
        );
    }
    source
}

#[test]
fn mount_and_first_ls_cost_the_same_in_a_bucket_of_one_object_and_of_many() {
    for (objects, entries) in [(1, 1), (100_000, 100)] {
        let emulator = Emulator::start();
        seed(
            &emulator,
            (0..objects).map(|file| format!("d{:02}/f{file}", file % 100)),
        );
        let all = ["listFiles", "readFiles", "writeFiles", "deleteFiles"];
        let (key_id, key) = emulator
            .server()
            .create_key(&all, Some(&[emulator.bucket_name()]), None)
            .unwrap();
        let mount = Mount::start(Settings {
            config: LONG.to_owned(),
            key_id,
            key,
            endpoint: emulator.endpoint(),
            bucket: emulator.bucket_name().to_owned(),
        });
        assert_eq!(tree::names(mount.path()).len(), entries);
        costs_in_all(&emulator, mount, &[("b2_authorize_account", 1), (LIST, 1)]);
    }
}

#[test]
fn one_path_in_a_large_directory_costs_its_first_page_and_a_probe() {
    let emulator = Emulator::start();
    seed(&emulator, (0..5000).map(|file| format!("d/f{file:04}")));
    let mount = Mount::with(&emulator, LONG);
    let size = |name: &str| fs::metadata(mount.path().join("d").join(name)).map(|m| m.len());
    emulator.forget_counters();
    assert_eq!(size("f4321").unwrap(), 100);
    cost(&emulator, &[(LIST, 2)]);
    // In the first page.
    assert_eq!(size("f0999").unwrap(), 100);
    cost(&emulator, &[(LIST, 2)]);
    assert_eq!(size("f3210").unwrap(), 100);
    cost(&emulator, &[(LIST, 3)]);
    for _ in 0..3 {
        assert!(size("g").is_err());
        assert_eq!(size("f4321").unwrap(), 100);
        cost(&emulator, &[(LIST, 4)]);
    }
}

#[test]
fn a_whole_small_directory_is_one_call_for_what_is_there_and_what_is_not() {
    let emulator = Emulator::start();
    seed(&emulator, (0..900).map(|file| format!("d/f{file:03}")));
    let mount = Mount::with(&emulator, LONG);
    let path = mount.path().join("d");
    emulator.forget_counters();
    for file in 0..900 {
        assert_eq!(
            fs::metadata(path.join(format!("f{file:03}")))
                .unwrap()
                .len(),
            100
        );
        assert!(!path.join(format!("g{file:03}")).exists());
    }
    assert_eq!(tree::names(&path).len(), 900);
    run(program("ls").arg("-la").arg(&path));
    cost(&emulator, &[(LIST, 1)]);
}

#[test]
fn a_large_directory_is_a_first_page_and_one_for_each_ten_thousand_names() {
    let emulator = Emulator::start();
    seed(&emulator, (0..10_500).map(|file| format!("d/f{file:05}")));
    let mount = Mount::with(&emulator, LONG);
    let path = mount.path().join("d");
    emulator.forget_counters();
    // The first page comes twice: once for the attributes of the directory.
    assert_eq!(fs::read_dir(&path).unwrap().take(5).count(), 5);
    cost(&emulator, &[(LIST, 2)]);
    emulator.forget_counters();
    assert_eq!(tree::names(&path).len(), 10_500);
    let lists = emulator.calls(LIST);
    assert!(
        (1..=2).contains(&lists),
        "{lists}: the first page may be shared"
    );
    run(program("ls").arg("-la").arg(&path));
    assert!(!path.join("absent").exists());
    cost(&emulator, &[(LIST, lists)]);
}

#[test]
fn files_copied_into_a_new_directory_are_an_upload_each() {
    const FILES: u64 = 60;
    let emulator = Emulator::start();
    let source = sources(FILES);
    let mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    let to = mount.path().join("new");
    run(program("cp").arg("-r").arg(source.path()).arg(&to));
    let listed = run(program("ls").arg("-la").arg(&to));
    assert_eq!(listed.matches(" 4096 ").count() as u64, FILES, "{listed}");
    let wanted = [(UPLOAD_URL, 1), (UPLOAD, FILES)];
    // Whether another client has made the same names: a page for all of some seconds.
    costs_in_all_with_looks(&emulator, mount, &wanted, 3);
}

#[test]
fn files_copied_by_many_at_once_share_their_upload_urls() {
    const FILES: u64 = 160;
    let emulator = Emulator::start();
    let source = sources(FILES);
    let mut mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    let to = mount.path().join("new");
    fs::create_dir(&to).unwrap();
    shell(
        "find \"$1\" -type f -print0 | xargs -0 -n 10 -P 16 cp -t \"$2\"",
        [source.path(), &to],
    );
    assert_eq!(tree::names(&to).len() as u64, FILES);
    mount.unmount();
    let urls = emulator.calls(UPLOAD_URL);
    assert!((1..=16).contains(&urls), "{urls} upload URLs");
    let wanted = [(UPLOAD_URL, urls), (UPLOAD, FILES)];
    costs_but(&emulator, &wanted, &[(LOOK, 3)]);
}

#[test]
fn rsync_is_an_upload_and_a_copy_each_and_the_second_time_nothing() {
    const FILES: u64 = 60;
    let emulator = Emulator::start();
    let source = sources(FILES);
    let mut mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    let places = [source.path().to_owned(), mount.path().join("to")];
    // A time of its own, which that of the copy is not by chance.
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_111_111_111);
    tree::set_mtime(source.path(), at);
    shell("rsync -a \"$1\"/ \"$2\"/", &places);
    mount.unmount();
    // Besides the files the marker that keeps the directory's time.
    let wanted = [
        (UPLOAD_URL, 1),
        (UPLOAD, FILES + 1),
        (COPY, FILES),
        (DELETE, FILES),
    ];
    // What lies under each temporary name, before that goes.
    costs_but(&emulator, &wanted, &[(LOOK, FILES)]);
    mount.remount();
    emulator.forget_counters();
    shell("rsync -a \"$1\"/ \"$2\"/", &places);
    costs_in_all(&emulator, mount, &[(LIST, 1)]);
}

#[test]
fn attributes_changed_one_after_the_other_are_one_copy() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, LONG);
    put(&mount.path().join("f"), b"content");
    mount.remount();
    emulator.forget_counters();
    let line = "cd \"$1\"; chmod 600 f; touch -d @1234567890 f; chown 1:2 f; chmod 640 f";
    shell(line, [mount.path()]);
    costs_in_all_with_looks(&emulator, mount, &[(COPY, 1), (HIDE, 0)], 1);
}

#[test]
fn a_renamed_directory_is_a_copy_and_a_removal_each_and_a_list_of_what_it_holds() {
    const FILES: u64 = 50;
    let emulator = Emulator::start();
    seed(&emulator, (0..FILES).map(|file| format!("old/f{file:02}")));
    let mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    fs::rename(mount.path().join("old"), mount.path().join("new")).unwrap();
    assert_eq!(tree::names(&mount.path().join("new")).len() as u64, FILES);
    assert!(!mount.path().join("old").exists());
    // Its own attributes, all that is beneath it, and a look that nothing is under the new name.
    let wanted = [(LIST, 3), (COPY, FILES), (HIDE, FILES)];
    costs_in_all_with_looks(&emulator, mount, &wanted, FILES / 5);
}

#[test]
fn a_removed_tree_is_a_call_each() {
    const FILES: u64 = 100;
    let emulator = Emulator::start();
    seed(&emulator, (0..FILES).map(|file| format!("d/f{file:02}")));
    let mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    run(program("rm").arg("-rf").arg(mount.path().join("d")));
    assert!(!mount.path().join("d").exists());
    costs_in_all_with_looks(&emulator, mount, &[(LIST, 1), (HIDE, FILES)], FILES / 5);
}

#[test]
fn small_files_are_read_by_one_call_each() {
    const FILES: u64 = 100;
    let emulator = Emulator::start();
    seed(&emulator, (0..FILES).map(|file| format!("d/f{file:02}")));
    let mount = Mount::with(&emulator, LONG);
    emulator.forget_counters();
    let read = |root: &Path| {
        for file in 0..FILES {
            let path = root.join(format!("d/f{file:02}"));
            assert_eq!(fs::read(path).unwrap().len(), 100);
        }
    };
    read(mount.path());
    read(mount.path());
    let wanted = [(LIST, 1), ("b2_download_file_by_id", FILES)];
    costs_in_all(&emulator, mount, &wanted);
}
