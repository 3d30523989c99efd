//! unison between a local directory and the mount, both ways.

use std::fs;
use std::path::Path;

use crate::support::place::Place;
use crate::support::tools::{both, finish, program};
use crate::support::tree::{self, CONTENT, STORED, Times, noise, put};

crate::scenarios! {
    changes_and_deletions_travel_both_ways,
    a_large_tree_arrives_and_stays,
}

/// Synchronises without a question; gives what unison said.
fn unison(state: &Path, a: &Path, b: &Path) -> String {
    let output = finish(
        program("unison")
            .args([a, b])
            .args(["-auto", "-perms", "0", "-batch"])
            .env("UNISON", state)
            .env("HOME", state),
    );
    let said = both(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

fn changes_and_deletions_travel_both_ways(place: &mut dyn Place) {
    let state = tempfile::tempdir().expect("a temporary directory");
    let local = tempfile::tempdir().expect("a temporary directory");
    let (a, mount) = (local.path(), place.path().to_owned());
    let go = || unison(state.path(), a, &mount);

    tree::build(&a.join("from here"), 30);
    tree::build(&mount.join("from there"), 31);
    go();
    tree::same(a, &mount, CONTENT);
    assert!(mount.join("from here").exists() && a.join("from there").exists());
    assert!(go().contains("Nothing to do"));

    place.remount();
    let go = || unison(state.path(), a, &mount);
    assert!(go().contains("Nothing to do"));

    // Changes, additions and deletions on both sides at once.
    put(&a.join("from here/changed here"), b"1");
    put(&mount.join("from there/changed there"), b"2");
    go();
    put(&a.join("from here/changed here"), &noise(32, 100_000));
    put(&mount.join("from there/changed there"), &noise(33, 100_000));
    put(&a.join("new here"), b"");
    put(&mount.join("new there"), &noise(34, 2_000_000));
    fs::create_dir(a.join("folder here")).unwrap();
    fs::create_dir(mount.join("folder there")).unwrap();
    let said = go();
    assert!(
        mount.join("new here").exists() && a.join("new there").exists(),
        "{said}"
    );
    assert!(
        mount.join("folder here").is_dir() && a.join("folder there").is_dir(),
        "{said}"
    );

    fs::remove_dir_all(a.join("from there")).unwrap();
    fs::remove_dir_all(mount.join("from here")).unwrap();
    fs::remove_file(a.join("new there")).unwrap();
    fs::remove_file(mount.join("new here")).unwrap();
    fs::rename(a.join("folder there"), a.join("renamed folder")).unwrap();
    go();
    tree::same(a, &mount, CONTENT);
    let left = ["folder here", "renamed folder"];
    assert_eq!(tree::names(a), left);
    assert_eq!(tree::names(&mount), left);

    place.remount();
    tree::same(a, &mount, CONTENT);
    assert!(unison(state.path(), a, &mount).contains("Nothing to do"));
}

fn a_large_tree_arrives_and_stays(place: &mut dyn Place) {
    let state = tempfile::tempdir().expect("a temporary directory");
    let local = tempfile::tempdir().expect("a temporary directory");
    for seed in 35..38 {
        tree::build(&local.path().join(format!("tree {seed}")), seed);
    }
    unison(state.path(), local.path(), place.path());
    tree::same(local.path(), place.path(), CONTENT);
    tree::same(local.path(), &place.stored(), STORED.with_times(Times::No));
    place.remount();
    tree::same(local.path(), place.path(), CONTENT);
    assert!(unison(state.path(), local.path(), place.path()).contains("Nothing to do"));
}
