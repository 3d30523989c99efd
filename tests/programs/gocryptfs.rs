//! gocryptfs on top of the mount: what is written through it comes back, also from a download.

use std::fs;
use std::path::Path;

use crate::support::place::Place;
use crate::support::stacked::Stacked;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, CONTENT, Compare, EVERYTHING, noise, put};

crate::scenarios! {
    an_encrypted_tree_survives_remounts,
    renames_changes_and_removals_hold,
}

const PASSWORD: [&str; 3] = ["-q", "-extpass", "echo correct horse"];

/// Makes a new one; with a key that is quick to derive.
fn init(encrypted: &Path) {
    fs::create_dir(encrypted).unwrap();
    run(program("gocryptfs")
        .args(["-init", "-scryptn", "10"])
        .args(PASSWORD)
        .arg(encrypted));
}

fn mount(encrypted: &Path) -> Stacked {
    Stacked::mount("gocryptfs", |command| {
        command.arg("-fg").args(PASSWORD).arg(encrypted);
    })
}

/// Decrypts everything, and fails on what is damaged or left over.
fn check(encrypted: &Path) {
    run(program("gocryptfs")
        .arg("-fsck")
        .args(PASSWORD)
        .arg(encrypted));
}

/// What another B2 client downloads is whole, too, but for times and modes, which it does not know.
fn stored_shows(place: &mut dyn Place, expected: &Path) {
    let encrypted = place.stored().join("secret");
    check(&encrypted);
    let mut found = mount(&encrypted);
    tree::same(expected, &found.plain, CONTENT);
    found.unmount();
}

fn an_encrypted_tree_survives_remounts(place: &mut dyn Place) {
    let source = tempfile::tempdir().expect("a temporary directory");
    tree::build(source.path(), 220);
    let long = "long name ".repeat(25);
    put(&source.path().join(&long), &noise(221, 70_000));
    let attribute = "setfattr -n user.note -v 'of this file' \"$1\"";
    shell(attribute, [source.path().join(&long)]);

    let encrypted = place.path().join("secret");
    init(&encrypted);
    let mut secret = mount(&encrypted);
    shell("cp -a \"$1\"/. \"$2\"", [source.path(), &secret.plain]);
    tree::same(source.path(), &secret.plain, EVERYTHING);
    secret.unmount();
    place.remount();
    check(&encrypted);
    let mut secret = mount(&encrypted);
    tree::same(source.path(), &secret.plain, EVERYTHING);
    let read = "getfattr --absolute-names --only-values -n user.note \"$1\"";
    let note = shell(read, [secret.plain.join(&long)]);
    assert_eq!(note, "of this file");
    secret.unmount();
    stored_shows(place, source.path());
    // Links are links to b2fuse alone; others get a file that holds the target.
    let mut secret = mount(&encrypted);
    for root in [&secret.plain, source.path()] {
        shell(
            "cd \"$1\"; ln -s plain.txt link; ln -s no/where dangling",
            [root],
        );
    }
    secret.unmount();
    place.remount();
    let mut secret = mount(&encrypted);
    let untimed = Compare {
        link_times: false,
        ..EVERYTHING
    };
    tree::same(source.path(), &secret.plain, untimed);
    secret.unmount();
}

fn renames_changes_and_removals_hold(place: &mut dyn Place) {
    let twin = tempfile::tempdir().expect("a temporary directory");
    let twin = twin.path();
    let encrypted = place.path().join("secret");
    init(&encrypted);
    let mut secret = mount(&encrypted);
    for root in [&*secret.plain, twin] {
        fs::create_dir_all(root.join("dir/deep")).unwrap();
        put(&root.join("dir/a"), &noise(222, 100_000));
        put(&root.join("dir/deep/b"), &noise(223, 5_000));
        put(&root.join("c"), b"c");
        shell(
            "cd \"$1\"; mv dir moved; mv c moved/deep/; echo more >> moved/a; \
             truncate -s 1234 moved/deep/b; \
             printf xyz | dd of=moved/a bs=1 seek=50001 conv=notrunc status=none; \
             sed -i s/c/C/ moved/deep/c; mkdir empty; rm -r empty; touch moved/zero; mkdir still-empty",
            [root],
        );
    }
    tree::same(twin, &secret.plain, CONTENT);
    secret.unmount();
    place.remount();
    check(&encrypted);
    let mut secret = mount(&encrypted);
    tree::same(twin, &secret.plain, CONTENT);
    for root in [&*secret.plain, twin] {
        shell("rm -rf \"$1\"/moved/deep", [root]);
    }
    tree::same(twin, &secret.plain, CONTENT);
    secret.unmount();
    stored_shows(place, twin);
}
