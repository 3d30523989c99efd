//! Backup programs with their repository on the mount: each backs up, checks every byte, restores, forgets, and
//! goes on after it was killed in the middle.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::held::Held;
use crate::support::place::Place;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, Compare, EVERYTHING, Times, noise, put, walk};

crate::scenarios! {
    restic_backs_up_checks_restores_and_forgets,
    restic_goes_on_after_it_was_killed,
    borg_backs_up_checks_restores_and_forgets,
    borg_goes_on_after_it_was_killed,
    duplicity_backs_up_verifies_restores_and_removes,
    duplicity_goes_on_after_it_was_killed,
}

/// What is backed up: first this, then what `change` makes of it.
fn source() -> TempDir {
    let source = empty();
    let at = source.path().join("tree");
    tree::build(&at, 210);
    shell(
        "cd \"$1\"; ln -s plain.txt link; ln -s no/where dangling",
        [&at],
    );
    source
}

fn change(source: &Path) {
    let at = source.join("tree");
    put(&at.join("new"), &noise(211, 2_000_000));
    fs::remove_file(at.join("dangling")).unwrap();
    put(&at.join("changed"), b"once");
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// As the programs keep it; the time of the top directory is set before its entries are by some.
#[track_caller]
fn restored(source: &Path, found: &Path, how: Compare) {
    tree::same(&source.join("tree"), found, how);
}

/// Sizes of everything below, while a program may be renaming and removing there.
fn size(of: &Path) -> u64 {
    let Ok(meta) = of.symlink_metadata() else {
        return 0;
    };
    let below = meta.is_dir().then(|| fs::read_dir(of).ok()).flatten();
    let below = below.into_iter().flatten().flatten();
    meta.len() + below.map(|entry| size(&entry.path())).sum::<u64>()
}

// --- restic --------------------------------------------------------------------------------------

fn restic(place: &dyn Place) -> Command {
    let mut command = program("restic");
    set_restic(&mut command, place);
    command
}

fn set_restic(command: &mut Command, place: &dyn Place) {
    command
        .args(["--no-cache", "--quiet", "--repo"])
        .arg(place.path().join("restic"))
        .env("RESTIC_PASSWORD", "correct horse")
        .env("HOME", "/nonexistent");
}

fn restic_backs_up_checks_restores_and_forgets(place: &mut dyn Place) {
    let (source, first, second) = (source(), empty(), empty());
    let backup = |place: &dyn Place| {
        run(restic(place)
            .args(["backup", "tree"])
            .current_dir(source.path()));
    };
    let check = |place: &dyn Place| run(restic(place).args(["check", "--read-data"]));
    let restore = |place: &dyn Place, which: &str, to: &Path| {
        run(restic(place).args(["restore", which, "--target"]).arg(to));
    };
    let count = |place: &dyn Place| {
        let listed = run(restic(place).args(["snapshots", "--json"]));
        listed.matches("\"short_id\"").count()
    };
    run(restic(place).arg("init"));
    backup(place);
    place.remount();
    check(place);
    restore(place, "latest", first.path());
    restored(source.path(), &first.path().join("tree"), EVERYTHING);

    change(source.path());
    backup(place);
    assert_eq!(count(place), 2);
    run(restic(place).args(["forget", "--keep-last", "1", "--prune"]));
    place.remount();
    assert_eq!(count(place), 1);
    check(place);
    restore(place, "latest", second.path());
    restored(source.path(), &second.path().join("tree"), EVERYTHING);
    // No locks stay behind, no temporary files.
    assert_eq!(tree::names(&place.path().join("restic/locks")), [""; 0]);
    let mut left = walk(place.path());
    left.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains("tmp"))
    });
    assert!(left.is_empty(), "{left:?}");
    // Another client's download is a repository, too.
    let stored = place.stored();
    shell("mkdir -p \"$1\"/restic/locks", [&stored]);
    run(program("restic")
        .args([
            "--no-cache",
            "--no-lock",
            "--quiet",
            "check",
            "--read-data",
            "--repo",
        ])
        .arg(stored.join("restic"))
        .env("RESTIC_PASSWORD", "correct horse")
        .env("HOME", "/nonexistent"));
}

fn restic_goes_on_after_it_was_killed(place: &mut dyn Place) {
    let source = source();
    run(restic(place).arg("init"));
    run(restic(place)
        .args(["backup", "tree"])
        .current_dir(source.path()));
    let packs = place.path().join("restic/data");
    let before = size(&packs);
    let mut killed = Held::start("restic", |command| {
        set_restic(command, place);
        command.args(["backup", "--stdin", "--pack-size", "4"]);
    });
    killed.feed(&noise(212, 12_000_000));
    killed.wait_until(|| size(&packs) >= before + 4_000_000);
    killed.kill();
    place.remount();
    // The lock of the dead is told from others' by its process; packs without an index harm nobody.
    run(restic(place).arg("unlock"));
    run(restic(place).args(["check", "--read-data"]));
    change(source.path());
    run(restic(place)
        .args(["backup", "tree"])
        .current_dir(source.path()));
    run(restic(place).arg("prune"));
    place.remount();
    run(restic(place).args(["check", "--read-data"]));
    let back = empty();
    run(restic(place)
        .args(["restore", "latest", "--target"])
        .arg(back.path()));
    restored(source.path(), &back.path().join("tree"), EVERYTHING);
}

// --- borg ----------------------------------------------------------------------------------------

fn set_borg(command: &mut Command, place: &dyn Place, home: &Path) {
    command
        .env("BORG_REPO", place.path().join("borg"))
        .env("BORG_PASSPHRASE", "correct horse")
        .env("BORG_BASE_DIR", home)
        .env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
        .env("HOME", home);
}

fn borg(place: &dyn Place, home: &TempDir) -> Command {
    let mut command = program("borg");
    set_borg(&mut command, place, home.path());
    command
}

fn borg_backs_up_checks_restores_and_forgets(place: &mut dyn Place) {
    let (source, first, second, home) = (source(), empty(), empty(), empty());
    let backup = |place: &dyn Place, name: &str| {
        let name = format!("::{name}");
        run(borg(place, &home)
            .args(["create", &name, "tree"])
            .current_dir(source.path()));
    };
    let check = |place: &dyn Place| run(borg(place, &home).args(["check", "--verify-data"]));
    let extract = |place: &dyn Place, name: &str, to: &Path| {
        let name = format!("::{name}");
        run(borg(place, &home)
            .args(["extract", "--numeric-ids", &name])
            .current_dir(to));
    };
    run(borg(place, &home).args(["init", "--encryption=repokey-blake2"]));
    backup(place, "one");
    place.remount();
    check(place);
    extract(place, "one", first.path());
    restored(source.path(), &first.path().join("tree"), EVERYTHING);

    change(source.path());
    backup(place, "two");
    assert_eq!(
        run(borg(place, &home).args(["list", "--short"])),
        "one\ntwo\n"
    );
    run(borg(place, &home).args(["prune", "--keep-last=1"]));
    run(borg(place, &home).args(["compact", "--threshold=0"]));
    place.remount();
    assert_eq!(run(borg(place, &home).args(["list", "--short"])), "two\n");
    check(place);
    extract(place, "two", second.path());
    restored(source.path(), &second.path().join("tree"), EVERYTHING);
    let left: Vec<_> = tree::names(&place.path().join("borg"))
        .into_iter()
        .filter(|name| name.to_string_lossy().starts_with("lock"))
        .collect();
    assert_eq!(left, [""; 0]);
    // Another client's download is a repository, too.
    let stored = place.stored();
    run(borg(place, &home)
        .args(["check", "--verify-data"])
        .env("BORG_REPO", stored.join("borg"))
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes"));
}

fn borg_goes_on_after_it_was_killed(place: &mut dyn Place) {
    let (source, home) = (source(), empty());
    run(borg(place, &home).args(["init", "--encryption=repokey-blake2"]));
    run(borg(place, &home)
        .args(["create", "::one", "tree"])
        .current_dir(source.path()));
    let segments = place.path().join("borg/data");
    let before = size(&segments);
    let mut killed = Held::start("borg", |command| {
        set_borg(command, place, home.path());
        command.args(["create", "::never", "-"]);
    });
    killed.feed(&noise(213, 30_000_000));
    killed.wait_until(|| size(&segments) >= before + 4_000_000);
    killed.kill();
    place.remount();
    // Its lock is still there; it is told by its process's number that nobody holds it.
    run(borg(place, &home).arg("break-lock"));
    assert_eq!(run(borg(place, &home).args(["list", "--short"])), "one\n");
    run(borg(place, &home).args(["check", "--verify-data"]));
    change(source.path());
    run(borg(place, &home)
        .args(["create", "::two", "tree"])
        .current_dir(source.path()));
    run(borg(place, &home).arg("compact"));
    place.remount();
    run(borg(place, &home).args(["check", "--verify-data"]));
    let back = empty();
    run(borg(place, &home)
        .args(["extract", "--numeric-ids", "::two"])
        .current_dir(back.path()));
    restored(source.path(), &back.path().join("tree"), EVERYTHING);
}

// --- duplicity -----------------------------------------------------------------------------------

/// Its times are whole seconds, and links have none.
const DUPLICITY: Compare = Compare {
    times: Times::Seconds,
    link_times: false,
    ..EVERYTHING
};

fn set_duplicity(command: &mut Command, home: &Path, action: &str) {
    command
        .arg(action)
        .args(["--no-encryption", "--volsize=1", "--archive-dir"])
        .arg(home.join("archive"))
        .env("HOME", home);
}

fn duplicity(home: &TempDir, action: &str) -> Command {
    let mut command = program("duplicity");
    set_duplicity(&mut command, home.path(), action);
    command
}

/// duplicity knows its backups by the second in which they began, and fails where two have the same.
fn another_second() {
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

fn duplicity_backs_up_verifies_restores_and_removes(place: &mut dyn Place) {
    let (source, first, home) = (source(), empty(), empty());
    let url = format!("file://{}/duplicity", place.path().display());
    let tree = source.path().join("tree");
    run(duplicity(&home, "full").arg(&tree).arg(&url));
    place.remount();
    run(duplicity(&home, "verify")
        .arg("--compare-data")
        .arg(&url)
        .arg(&tree));
    run(duplicity(&home, "restore")
        .arg(&url)
        .arg(first.path().join("tree")));
    restored(source.path(), &first.path().join("tree"), DUPLICITY);

    change(source.path());
    another_second();
    run(duplicity(&home, "incremental").arg(&tree).arg(&url));
    place.remount();
    restored_elsewhere(&url, &tree);

    let at = place.path().join("duplicity");
    let full = |at: &Path| {
        let names = tree::names(at).into_iter();
        names
            .filter(|name| name.to_string_lossy().contains("full"))
            .count()
    };
    let older = full(&at);
    another_second();
    run(duplicity(&home, "full").arg(&tree).arg(&url));
    assert!(full(&at) > older);
    run(duplicity(&home, "remove-all-but-n-full")
        .args(["1", "--force"])
        .arg(&url));
    place.remount();
    let elsewhere = empty();
    run(duplicity(&elsewhere, "verify")
        .arg("--compare-data")
        .arg(&url)
        .arg(&tree));
    assert!(
        tree::names(&at)
            .iter()
            .all(|name| !name.to_string_lossy().contains("inc"))
    );
}

/// By a machine that has never seen the backup, with nothing but the mount.
fn restored_elsewhere(url: &str, tree: &Path) {
    let (elsewhere, back) = (empty(), empty());
    let back = back.path().join("tree");
    run(duplicity(&elsewhere, "verify")
        .arg("--compare-data")
        .arg(url)
        .arg(tree));
    run(duplicity(&elsewhere, "restore").arg(url).arg(&back));
    restored(tree.parent().unwrap(), &back, DUPLICITY);
}

fn duplicity_goes_on_after_it_was_killed(place: &mut dyn Place) {
    let (source, home) = (source(), empty());
    let tree = source.path().join("tree");
    put(&tree.join("much"), &noise(214, 30_000_000));
    let url = format!("file://{}/duplicity", place.path().display());
    let at = place.path().join("duplicity");
    fs::create_dir(&at).unwrap();
    let mut killed = Held::start("duplicity", |command| {
        set_duplicity(command, home.path(), "full");
        command.arg(&tree).arg(&url);
    });
    killed.wait_until(|| !tree::names(&at).is_empty());
    killed.kill();
    place.remount();
    let manifests = |at: &Path| {
        let names = tree::names(at).into_iter();
        names
            .filter(|name| name.to_string_lossy().ends_with(".manifest"))
            .count()
    };
    assert_eq!(manifests(&at), 0, "it was killed before its end");
    // It goes on where it was.
    run(duplicity(&home, "full").arg(&tree).arg(&url));
    run(duplicity(&home, "cleanup").arg("--force").arg(&url));
    place.remount();
    assert_eq!(manifests(&at), 1);
    restored_elsewhere(&url, &tree);
}
