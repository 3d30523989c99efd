//! Versions that go because the mount has replaced them, as programs replace files.

use serde_json::json;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::shell;
use crate::support::tree::{get, put};

/// Appends sixty times, and has rsync overwrite files three times, in both of its manners.
const WORK: &str = r#"
    cd "$1"
    for i in $(seq 60); do echo $i >> log; done
    for round in 1 2 3; do
        for name in a b c; do echo "$name in round $round" > "$2/$name"; done
        touch -d "2001-01-0$round" "$2"/[abc]
        rsync -a "$2/" renamed/
        rsync -a --inplace --no-whole-file "$2/" inplace/
    done
"#;

#[test]
fn what_programs_replace_leaves_one_version_of_each_file() {
    for option in ["overwrite: replace\n", "drop_versions_within: 1h\n"] {
        let emulator = Emulator::start();
        let mut mount = Mount::with(&emulator, option);
        let source = tempfile::tempdir().expect("a temporary directory");
        shell(WORK, [mount.path(), source.path()]);
        let lines: Vec<String> = (1..=60).map(|line| format!("{line}\n")).collect();
        let lines = lines.concat();
        assert_eq!(get(&mount.path().join("log")), lines.as_bytes());
        mount.unmount();
        let bucket = Bucket::open(&emulator);
        for name in ["log", "renamed/a", "renamed/c", "inplace/a", "inplace/c"] {
            let versions = bucket.versions_of(name);
            assert_eq!(versions.len(), 1, "{option}{name}: {versions:?}");
        }
        mount.remount();
        assert_eq!(get(&mount.path().join("inplace/b")), b"b in round 3\n");
    }
}

#[test]
fn a_default_retention_keeps_every_version_which_is_said_once() {
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let lock = json!({
        "accountId": bucket.account_id,
        "bucketId": bucket.id,
        "fileLockEnabled": true,
        "defaultRetention": {"mode": "governance", "period": {"duration": 1, "unit": "days"}},
    });
    bucket.call("b2_update_bucket", &lock);
    let mut mount = Mount::with(&emulator, "overwrite: replace\n");
    for content in ["1", "2", "3", "4", "5"] {
        put(&mount.path().join("f"), content.as_bytes());
    }
    mount.unmount();
    assert_eq!(bucket.versions_of("f").len(), 5);
    assert_eq!(emulator.calls("b2_delete_file_version"), 0);
    let said = mount.messages();
    let lines = said
        .lines()
        .filter(|line| line.contains("all versions stay"));
    assert_eq!(lines.count(), 1, "{said}");
}
