//! pjdfstest, which asks for POSIX in some four hundred cases, on a mount. What fails is compared with a
//! kept list that says why of each: a case that newly fails, and one that newly passes, fails the test.
//!
//! The cases change users, so root is needed; `tests/run` installs the program. The suite's original, in
//! C and shell, is run as well where `PJDFSTEST_C` names a built checkout of it.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

mod expected;
mod original;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::emulator::Emulator;
use crate::support::mount::{Mount, Settings};
use crate::support::tools::{both, finish, program, tool};

/// Lines of config.yaml: the cases run as several users.
const CONFIG: &str = "list_hashfiles: false\nallow_other: true\n";

/// How a case ended: `Ok`, or what it said.
type Outcomes = BTreeMap<String, Result<(), String>>;

/// A mount that every user can reach.
fn mount(emulator: &Emulator, folder: &Path) -> Mount {
    assert!(
        nix::unistd::geteuid().is_root(),
        "pjdfstest changes users: it has to be run by root"
    );
    let mount = Mount::start_in(Settings::of(emulator, CONFIG), folder);
    let above = mount.path().parent().expect("the mount's own folder");
    fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
    mount
}

/// What the cases need besides a mount.
struct Suite {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Suite {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        // The helper that mount(8) calls for FUSE can mount only, and the cases cannot say -i.
        let shim = folder.path().join("mount");
        fs::write(
            &shim,
            "#!/bin/sh\nPATH=${PATH#*:} exec mount --internal-only \"$@\"\n",
        )
        .unwrap();
        fs::set_permissions(&shim, Permissions::from_mode(0o755)).unwrap();
        for (name, remounts) in [("with-remounts", true), ("without", false)] {
            // Both users are there on every Debian. A nap has to be longer than what times are counted in,
            // nanoseconds.
            let config = format!(
                "[features]\nposix_fallocate = {{}}\nrename_ctime = {{}}\nutime_now = {{}}\n\
                 utimensat = {{}}\n[settings]\nnaptime = 0.01\nallow_remount = {remounts}\n\
                 [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n"
            );
            fs::write(folder.path().join(name), config).unwrap();
        }
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        Self {
            program: tool("pjdfstest"),
            folder,
        }
    }

    /// Runs the cases whose names hold `pattern`.
    fn run(&self, place: &Path, pattern: &str, config: &str) -> Outcomes {
        let folder = self.folder.path();
        let path = std::env::var("PATH").expect("PATH");
        let output = finish(
            program(&self.program)
                .arg("--configuration-file")
                .arg(folder.join(config))
                .arg("--path")
                .arg(place)
                .arg("--secondary-fs")
                .arg(folder.join("elsewhere"))
                .args(["--", pattern])
                .env("PATH", format!("{}:{path}", folder.display()))
                .env("NO_COLOR", "1")
                .env("RUST_BACKTRACE", "0"),
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let outcomes = outcomes(&said);
        let total = format!("{} total", outcomes.len());
        let complete = said
            .lines()
            .any(|line| line.starts_with("Summary: ") && line.ends_with(&format!(", {total}")));
        assert!(complete, "not {total}:\n{}", both(&output));
        outcomes
    }
}

/// Reads what pjdfstest says: a case and its end in a line, what it has to say about it below, indented.
fn outcomes(said: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut last = None;
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, end] if name.contains("::") && !line.starts_with(char::is_whitespace) => {
                let outcome = match *end {
                    "ok" => Ok(()),
                    other => Err(other.to_owned()),
                };
                assert!(outcomes.insert((*name).to_owned(), outcome).is_none());
                last = Some((*name).to_owned());
            }
            _ => {
                let case = last.as_ref().and_then(|last| outcomes.get_mut(last));
                if let Some(Err(message)) = case {
                    message.push_str("\n    ");
                    message.push_str(line.trim());
                }
            }
        }
    }
    outcomes
}

/// A folder so deep that a whole path of Linux fits below it, although names in B2 end at 1,024 bytes.
fn deep(above: &Path) -> PathBuf {
    const DEEP: usize = 3300;
    let mut path = above.to_owned();
    while path.as_os_str().len() < DEEP {
        path.push("d".repeat(150));
    }
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn pjdfstest_fails_where_it_is_known_to_and_nowhere_else() {
    let suite = Suite::new();
    // Gigabytes are written.
    let emulator = Emulator::on_disk();
    let outer = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).unwrap();
    let shallow = mount(&emulator, outer.path());
    let mut outcomes = suite.run(shallow.path(), "", "without");
    // By a process of its own: the others leave files open, which holds up a remount.
    outcomes.extend(suite.run(shallow.path(), "erofs", "with-remounts"));
    // The others make sockets, whose paths are short.
    let mount = mount(&emulator, &deep(outer.path()));
    outcomes.extend(suite.run(mount.path(), "enametoolong_path", "without"));
    expected::compare(&outcomes, include_str!("expected-failures.txt"));
}

#[test]
fn outcomes_are_read_as_pjdfstest_writes_them() {
    let said = "chmod::a::dir      ok\nlink::b    FAILED\n\tassertion failed\n\nc::d  skipped\n\twhy: no\n\
                Summary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total\n";
    let found = outcomes(said);
    assert_eq!(found.len(), 3);
    assert_eq!(found["chmod::a::dir"], Ok(()));
    let message = found["link::b"].as_ref().unwrap_err();
    assert!(message.contains("assertion failed"), "{message}");
    assert!(found["c::d"].is_err());
}
