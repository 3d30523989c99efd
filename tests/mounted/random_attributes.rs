//! Random calls that make, change, move and remove names as several users, in the place and in a plain
//! directory beside it: whatever Linux shows there, it shows here (`random_attributes.py`).

use std::ffi::OsStr;
use std::fs;

use crate::support::place::{Bucket, Directory, Place};
use crate::support::tools::{program, run};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/mounted/random_attributes.py"
);
const SEEDS: std::ops::Range<u32> = 100..106;
const STEPS: u32 = 1000;

fn script<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    run(program("python3").arg(SCRIPT).args(arguments))
}

fn random_calls_show_what_they_show_in_a_plain_directory(place: &mut dyn Place) {
    let mut kept = Vec::new();
    for seed in SEEDS {
        let twin = tempfile::tempdir().unwrap();
        let folder = place.path().join(seed.to_string());
        fs::create_dir(&folder).unwrap();
        let (seed, steps) = (seed.to_string(), STEPS.to_string());
        script([
            OsStr::new("run"),
            seed.as_ref(),
            steps.as_ref(),
            folder.as_ref(),
            twin.path().as_ref(),
        ]);
        kept.push((script([OsStr::new("list"), folder.as_ref()]), folder));
    }
    place.remount();
    for (before, folder) in kept {
        let after = script([OsStr::new("list"), folder.as_ref()]);
        assert_eq!(before, after, "{folder:?} after the remount");
    }
}

#[test]
fn on_a_mount() {
    // Only root can be several users, and they need to be let in.
    let several = if nix::unistd::geteuid().is_root() {
        "allow_other: true\n"
    } else {
        ""
    };
    let config = format!("list_hashfiles: false\n{several}");
    random_calls_show_what_they_show_in_a_plain_directory(&mut Bucket::with(&config));
}

#[test]
fn on_a_plain_directory() {
    random_calls_show_what_they_show_in_a_plain_directory(&mut Directory::new());
}
