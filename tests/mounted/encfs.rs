//! encfs on top of the mount: what is written through it comes back, also from a download.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::place::{Bucket, Place};
use crate::support::tools::{finish, program, run, shell};
use crate::support::tree::{self, CONTENT, EVERYTHING, Times, get, noise, put};

crate::scenarios! {
    an_encrypted_tree_survives_remounts,
    renames_and_changes_under_encfs_hold,
}

/// A running encfs; unmounted when dropped.
struct EncFs {
    child: Option<Child>,
    plain: PathBuf,
    _temporary: TempDir,
}

impl EncFs {
    /// Mounts `encrypted`; sets it up in the standard way when it is new.
    fn mount(encrypted: &Path) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let plain = temporary.path().join("plain");
        fs::create_dir(&plain).expect("a mountpoint");
        let plain = plain.canonicalize().expect("a mountpoint");
        let child = Command::new("encfs")
            .args(["-f", "--standard", "--extpass=echo correct horse"])
            .args([encrypted, &plain])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start encfs (tests/run installs it): {error}"));
        let mut mount = Self {
            child: Some(child),
            plain,
            _temporary: temporary,
        };
        while !mount.is_mounted() {
            let child = mount.child.as_mut().expect("a process");
            if let Some(status) = child.try_wait().expect("the process can be asked") {
                panic!("encfs ended with {status} instead of mounting");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        mount
    }

    fn is_mounted(&self) -> bool {
        fs::read_to_string("/proc/self/mountinfo")
            .expect("/proc/self/mountinfo")
            .lines()
            .any(|line| line.split(' ').nth(4).map(Path::new) == Some(&self.plain))
    }

    fn unmount(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        run(program("umount").arg(&self.plain));
        let status = child.wait().expect("the process can be waited for");
        assert!(status.success(), "encfs ended with {status}");
    }
}

impl Drop for EncFs {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            finish(program("umount").arg("--lazy").arg(&self.plain));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Downloads the bucket and compares what encfs makes of the download.
fn stored_shows(place: &mut dyn Place, expected: &Path) {
    if place.bucket().is_none() {
        return;
    }
    let download = place.stored();
    let mut encfs = EncFs::mount(&download);
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
    let mut encfs = EncFs::mount(place.path());
    shell("cp -a \"$1\"/. \"$2\"", [source.path(), &encfs.plain]);
    tree::same(
        source.path(),
        &encfs.plain,
        EVERYTHING.with_times(Times::Microseconds),
    );
    encfs.unmount();
    place.remount();
    let mut encfs = EncFs::mount(place.path());
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
    let mut encfs = EncFs::mount(place.path());
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
    let mut encfs = EncFs::mount(place.path());
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
    let mut encfs = EncFs::mount(place.path());
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
