//! Running other programs: with a bound on time against a hanging filesystem, with their whole
//! output in the message when they fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::emulator::Emulator;
use super::forks;

/// Seconds after which a program is taken for hanging; far above what any test needs.
const HANGS_AFTER: &str = "300";

/// A program from `PATH` that is killed when it hangs.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", HANGS_AFTER])
        .arg(name.as_ref())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// A line of shell with `$1`, `$2`... from `arguments`.
pub(crate) fn shell<S: AsRef<OsStr>>(line: &str, arguments: impl IntoIterator<Item = S>) -> String {
    run(program("bash")
        .args(["-euo", "pipefail", "-c", line, "bash"])
        .args(arguments))
}

/// Runs to success; gives standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = finish(command);
    assert!(
        output.status.success(),
        "{} for {command:?}\n{}",
        output.status,
        both(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs to whatever end.
pub(crate) fn finish(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    forks::spawn(command)
        .and_then(Child::wait_with_output)
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Standard output and standard error as one text.
pub(crate) fn both(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Where `tests/run` has put the `b2` and `rclone` command lines.
fn client(name: &str) -> PathBuf {
    let path = match std::env::var_os("B2FUSE_TEST_BIN") {
        Some(bin) => Path::new(&bin).join(name),
        None => PathBuf::from(name),
    };
    let found = finish(program(&path).arg("version"));
    assert!(
        found.status.success(),
        "no {name} command line ({}): tests/run installs it; to run cargo test by hand, set \
         B2FUSE_TEST_BIN to the folder that holds it",
        both(&found).trim()
    );
    path
}

/// A program that `tests/run` has installed with cargo.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = match std::env::var_os("B2FUSE_TEST_TOOLS") {
        Some(bin) => Path::new(&bin).join(name),
        None => PathBuf::from(name),
    };
    let found = finish(program(&path).arg("--version"));
    assert!(
        found.status.success(),
        "no {name} ({}): tests/run installs it; to run cargo test by hand, set B2FUSE_TEST_TOOLS to \
         the folder that holds it",
        both(&found).trim()
    );
    path
}

/// The `b2` command line, signed in to the emulator.
pub(crate) fn b2(emulator: &Emulator) -> Command {
    let mut command = program(client("b2"));
    command
        .env("B2_ENVIRONMENT", emulator.endpoint())
        .env("B2_APPLICATION_KEY_ID", emulator.key_id())
        .env("B2_APPLICATION_KEY", emulator.key())
        .env("B2_ACCOUNT_INFO", emulator.home().join("b2-account"))
        .env("HOME", emulator.home());
    command
}

/// `rclone` with a remote `b2:` that is the emulator.
pub(crate) fn rclone(emulator: &Emulator) -> Command {
    let mut command = program(client("rclone"));
    command
        .env("RCLONE_CONFIG", emulator.home().join("rclone.conf"))
        .env("RCLONE_CONFIG_B2_TYPE", "b2")
        .env("RCLONE_CONFIG_B2_ACCOUNT", emulator.key_id())
        .env("RCLONE_CONFIG_B2_KEY", emulator.key())
        .env("RCLONE_CONFIG_B2_ENDPOINT", emulator.endpoint())
        .env("HOME", emulator.home());
    command
}

/// Downloads the whole bucket with the `b2` command line; markers of empty directories are left
/// out, since no other tool's users would miss them.
pub(crate) fn b2_download_tree(emulator: &Emulator, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory for the download");
    run(b2(emulator)
        .args(["sync", "--no-progress", "--allow-empty-source"])
        .args(["--exclude-regex", r"(.*/)?\.bzEmpty$"])
        .arg(format!("b2://{}", emulator.bucket_name()))
        .arg(to));
}
