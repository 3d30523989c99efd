//! encfs on top of the mount: what is written through it comes back, also from a download.

use std::fs;
use std::path::Path;

use crate::support::place::{Bucket, Place};
use crate::support::stacked::Stacked;
use crate::support::tools::shell;
use crate::support::tree::{self, CONTENT, EVERYTHING, Times, get, noise, put};

crate::scenarios! {
    an_encrypted_tree_survives_remounts,
    renames_and_changes_under_encfs_hold,
}

/// Mounts `encrypted`; sets it up in the standard way when it is new.
fn mount(encrypted: &Path) -> Stacked {
    Stacked::mount("encfs", |command| {
        command
            .args(["-f", "--standard", "--extpass=echo correct horse"])
            .arg(encrypted);
    })
}

/// Downloads the bucket and compares what encfs makes of the download.
fn stored_shows(place: &mut dyn Place, expected: &Path) {
    if place.bucket().is_none() {
        return;
    }
    let download = place.stored();
    let mut encfs = mount(&download);
    tree::same(
        expected,
        &encfs.plain,
        tree::Compare {
            empty_directories: false,
            ..CONTENT
        },
    );
    encfs.unmount();
}

fn an_encrypted_tree_survives_remounts(place: &mut dyn Place) {
    let source = tempfile::tempdir().expect("a temporary directory");
    tree::build(source.path(), 40);
    let mut encfs = mount(place.path());
    shell("cp -a \"$1\"/. \"$2\"", [source.path(), &encfs.plain]);
    tree::same(
        source.path(),
        &encfs.plain,
        EVERYTHING.with_times(Times::Microseconds),
    );
    encfs.unmount();
    place.remount();
    let mut encfs = mount(place.path());
    tree::same(
        source.path(),
        &encfs.plain,
        EVERYTHING.with_times(Times::Microseconds),
    );
    encfs.unmount();
    stored_shows(place, source.path());
}

fn renames_and_changes_under_encfs_hold(place: &mut dyn Place) {
    let twin = tempfile::tempdir().expect("a temporary directory");
    let twin = twin.path();
    let mut encfs = mount(place.path());
    for root in [&encfs.plain, twin] {
        fs::create_dir_all(root.join("dir/deep")).unwrap();
        put(&root.join("dir/a"), &noise(41, 100_000));
        put(&root.join("dir/deep/b"), &noise(42, 5_000));
        put(&root.join("c"), b"c");
        shell(
            "cd \"$1\"; mv dir moved; mv c moved/deep/; echo more >> moved/a; \
             truncate -s 1234 moved/deep/b; \
             printf xyz | dd of=moved/a bs=1 seek=50001 conv=notrunc status=none; \
             sed -i s/c/C/ moved/deep/c; mkdir empty; rm -r empty; touch moved/zero",
            [root],
        );
    }
    tree::same(twin, &encfs.plain, CONTENT);
    encfs.unmount();
    place.remount();
    let mut encfs = mount(place.path());
    tree::same(twin, &encfs.plain, CONTENT);
    shell("rm -rf \"$1\"/moved/deep", [&encfs.plain]);
    fs::remove_dir_all(twin.join("moved/deep")).unwrap();
    tree::same(twin, &encfs.plain, CONTENT);
    encfs.unmount();
    stored_shows(place, twin);
}

#[test]
fn listed_hash_files_are_no_trouble() {
    let place = Bucket::with("list_hashfiles: true\n");
    let mut encfs = mount(place.path());
    put(&encfs.plain.join("file"), &noise(43, 10_000));
    fs::create_dir(encfs.plain.join("dir")).unwrap();
    put(&encfs.plain.join("dir/other"), b"other");
    // Hash files do not decrypt to names, so encfs does not show them.
    assert_eq!(tree::names(&encfs.plain), ["dir", "file"]);
    assert_eq!(get(&encfs.plain.join("file")), noise(43, 10_000));
    shell("rm -r \"$1\"/dir", [&encfs.plain]);
    assert_eq!(tree::names(&encfs.plain), ["file"]);
    encfs.unmount();
}
