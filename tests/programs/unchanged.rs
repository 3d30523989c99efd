//! A later mount shows a tree as it was left, numbers and times of change included: programs that know files by
//! these read nothing again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::{program, run, shell};
use crate::support::tree::{self, noise, put, walk};

/// What backups and synchronisers compare.
fn seen(root: &Path) -> Vec<String> {
    let tell = |path: &std::path::PathBuf| {
        let meta = fs::symlink_metadata(path).unwrap();
        let ctime = (meta.ctime(), meta.ctime_nsec());
        let mtime = (meta.mtime(), meta.mtime_nsec());
        if meta.is_dir() {
            // Where nothing but directories is, nothing tells when they came.
            let files = fs::read_dir(path)
                .unwrap()
                .any(|entry| entry.unwrap().path().is_file());
            let mtime = files.then_some(mtime);
            return format!("{} {:?}", path.display(), (mtime, meta.mode()));
        }
        let what = (meta.ino(), ctime, mtime, meta.size(), meta.mode());
        format!("{} {what:?}", path.display())
    };
    walk(root).iter().map(tell).collect()
}

fn mounted(config: &str) -> (Emulator, Mount) {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, config);
    (emulator, mount)
}

/// Files that came there in every way in which programs put them there.
fn fill(at: &Path) {
    let source = tempfile::tempdir().unwrap();
    let from = source.path().join("tree");
    tree::build(&from, 510);
    shell("cp -a \"$1\" \"$2/copied\"", [&from, at]);
    shell("cp -r \"$1\" \"$2/plain\"", [&from, at]);
    shell("rsync -a \"$1/\" \"$2/synced\"", [&from, at]);
    shell(
        "tar -C \"$1\" -c . | { mkdir \"$2/unpacked\"; tar -C \"$2/unpacked\" -x; }",
        [&from, at],
    );
    let steps = r#"
        cd "$1"
        # A synchroniser's second run, an editor's save, a rotated log, a file made anew, a link.
        echo more >> "$2/changed"; echo old > synced/changed
        rsync -a "$2/" synced
        echo 1 > saved; echo 2 > saved~; mv saved~ saved
        echo 1 > log; mv log log.1; echo 2 > log
        echo 1 > again; rm again; echo 2 > again
        ln -s saved link
        # What is renamed with all that is in it, and attributes alone.
        mkdir -p a/b; echo 1 > a/b/f; mv a/b/f a/b/g; mv a moved
        chmod 640 log.1; chmod 640 log.1; touch -d 2001-02-03 saved; chown 12:34 again
        truncate -s 100000 grown
        mv synced/changed synced/to-be-moved; mv synced synced-and-moved
    "#;
    shell(steps, [at, from.as_path()]);
    for n in 0..30 {
        put(&at.join(format!("copied/{n}")), &noise(n, 20_000));
    }
}

fn is_the_same_in_the_next_mount(config: &str) {
    let (_emulator, mut mount) = mounted(config);
    fill(mount.path());
    let before = seen(mount.path());
    assert!(before.len() > 100);
    for _ in 0..2 {
        mount.remount();
        let after = seen(mount.path());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after);
        }
        assert_eq!(before.len(), after.len());
    }
}

#[test]
fn numbers_and_times_are_the_same_in_the_next_mount() {
    is_the_same_in_the_next_mount("");
}

#[test]
fn numbers_and_times_are_the_same_in_the_next_mount_with_write_back() {
    is_the_same_in_the_next_mount("write_back: 1s\n");
}

/// What is read of a symbolic link is its target.
const LINK: u64 = b"saved".len() as u64;

/// Has a program read the tree, and again through the next mount; gives the bytes that this downloads.
fn read_again(mut read: impl FnMut(&Path)) -> u64 {
    let (emulator, mut mount) = mounted("");
    fill(mount.path());
    // Programs that go by times do not trust the newest.
    put(&mount.path().join("zz"), b"last");
    let future = SystemTime::now() + Duration::from_secs(5);
    tree::set_mtime(&mount.path().join("zz"), future);
    read(mount.path());
    mount.remount();
    emulator.forget_counters();
    read(mount.path());
    emulator.counters().bytes_out
}

fn elsewhere() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn restic_reads_nothing_again() {
    let repository = elsewhere();
    let restic = |arguments: &[&str], at: &Path| {
        let mut restic = program("restic");
        restic.args(["--no-cache", "--quiet", "--repo"]);
        restic.arg(repository.path().join("restic"));
        restic
            .env("RESTIC_PASSWORD", "a")
            .env("HOME", "/nonexistent");
        run(restic.args(arguments).current_dir(at));
    };
    restic(&["init"], repository.path());
    let bytes = read_again(|tree| restic(&["backup", "."], tree));
    assert_eq!(bytes, LINK);
}

#[test]
fn borg_reads_nothing_again() {
    let repository = elsewhere();
    let borg = |command: &str, archive: &str, more: &[&str], at: &Path| {
        let place = repository.path().join("borg");
        let mut borg: Command = program("borg");
        borg.env("BORG_BASE_DIR", repository.path());
        borg.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        borg.arg(command);
        borg.arg(format!("{}{archive}", place.display()));
        run(borg.args(more).current_dir(at));
    };
    borg("init", "", &["--encryption", "none"], repository.path());
    let bytes = read_again(|tree| borg("create", "::{now:%H%M%S%f}", &["."], tree));
    assert!(bytes <= LINK + b"last".len() as u64, "{bytes}");
}

#[test]
fn unison_reads_nothing_again() {
    let other = elsewhere();
    let bytes = read_again(|tree| {
        let mut unison = program("unison");
        unison.env("UNISON", other.path().join("archives"));
        unison.arg(tree).arg(other.path().join("replica"));
        run(unison.args(["-batch", "-auto", "-ui", "text", "-silent"]));
    });
    assert_eq!(bytes, LINK);
}

#[test]
fn git_reads_no_file_of_an_unchanged_tree_again() {
    let (emulator, mut mount) = mounted("");
    fill(mount.path());
    let git = |mount: &Mount, line: &str| {
        let mut git = program("sh");
        let line = format!("git -c safe.directory='*' -c user.name=a -c user.email=a {line}");
        git.args(["-c", &line]).current_dir(mount.path());
        run(git.env("HOME", "/nonexistent"))
    };
    git(&mount, "init -q");
    git(&mount, "add .");
    git(&mount, "commit -q -m all");
    git(&mount, "checkout -q -b other");
    git(&mount, "rm -q -r plain");
    git(&mount, "commit -q -m less");
    git(&mount, "checkout -q master || git checkout -q main");
    // git trusts no file of the second in which it wrote its index.
    std::thread::sleep(Duration::from_millis(1100));
    put(&mount.path().join("new"), b"new");
    git(&mount, "add new");
    let status = git(&mount, "status --short");
    assert_eq!(status, "A  new\n");
    mount.remount();
    emulator.forget_counters();
    assert_eq!(git(&mount, "status --short"), status);
    let bytes = emulator.counters().bytes_out;
    let index = fs::metadata(mount.path().join(".git/index")).unwrap().len();
    assert!(
        bytes < index + 20_000,
        "{bytes} of which the index is {index}"
    );
}
