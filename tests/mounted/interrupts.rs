//! Programs that wait for B2 end when they are told to, and nothing of what they had done is lost.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::bucket::Bucket;
use crate::support::emulator::Emulator;
use crate::support::forks;
use crate::support::mount::Mount;

/// B2 says nothing for so long; then all goes on.
const SILENCE: &str = "*:stall=20";
/// Far less, and far more than it takes.
const SOON: Duration = Duration::from_secs(5);

/// A program with default signals, whatever started the tests.
fn start(words: &[&str], at: &Path) -> Child {
    forks::spawn(
        Command::new("env")
            .args(["--default-signal=INT,TERM,QUIT,HUP"])
            .args(words)
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
    .unwrap()
}

fn ends_soon(child: &mut Child, what: &str) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < SOON, "{what} still waits");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A mount at a server that is silent from here on. Names in the directories `known` were seen before; looking at
/// several directories brings the names in all others, so there are either these or none.
fn silent(known: &[&str]) -> (Emulator, Mount) {
    let emulator = Emulator::without_md5();
    for name in [
        "ls", "stat", "rm", "touch", "cat", "mv", "sync", "cp", "dd", "mmap",
    ] {
        emulator.seed(&format!("{name}/f"), 100_000);
    }
    let mount = Mount::with(
        &emulator,
        "list_hashfiles: false\nmetadata_ttl: 10m\ntimeout: 60s\n",
    );
    for known in known {
        for entry in fs::read_dir(mount.path().join(known)).unwrap() {
            entry.unwrap().metadata().unwrap();
        }
    }
    emulator.faults(&["no-md5", SILENCE]);
    (emulator, mount)
}

/// Starts programs, sees that they wait, and that they end by this signal.
fn all_end(at: &Path, programs: &[&[&str]], signal: Signal) {
    let mut running: Vec<(&str, Child)> = programs
        .iter()
        .map(|words| (words[0], start(words, at)))
        .collect();
    thread::sleep(Duration::from_millis(1500));
    for (what, child) in &mut running {
        assert_eq!(child.try_wait().unwrap(), None, "{what} did not wait");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }
    for (what, child) in &mut running {
        let status = ends_soon(child, what);
        assert_eq!(status.signal(), Some(signal as i32), "{what}: {status}");
    }
}

/// Programs that wait for names.
fn who_asks_for_names_ends(signal: Signal) {
    let (emulator, mount) = silent(&[]);
    let programs: &[&[&str]] = &[
        &["ls", "ls"],
        &["stat", "stat/f"],
        &["rm", "-f", "rm/f"],
        &["touch", "touch/g"],
    ];
    all_end(mount.path(), programs, signal);
    emulator.faults(&["no-md5"]);
}

/// Programs that wait for content, or for what they change.
fn who_reads_or_changes_ends(signal: Signal) {
    let (emulator, mut mount) = silent(&["cat", "mv", "sync", "cp", "dd", "mmap"]);
    let at = mount.path().to_owned();
    let outside = tempfile::tempdir().unwrap();
    let source = outside.path().join("source");
    fs::write(&source, vec![7; 300_000]).unwrap();
    let from = format!("if={}", source.display());
    fs::set_permissions(at.join("sync/f"), fs::Permissions::from_mode(0o600)).unwrap();
    let mapped = "
import mmap
f = open('mmap/f')
mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[0]";
    let mut programs: Vec<&[&str]> = vec![
        &["cat", "cat/f"],
        &["mv", "mv/f", "mv/g"],
        &["sync", "sync/f"],
    ];
    let cp = ["cp", source.to_str().unwrap(), "cp/g"];
    let dd = ["dd", &from, "of=dd/g", "conv=fsync"];
    let python = ["python3", "-c", mapped];
    programs.push(&cp);
    let mut written = vec!["cp/g"];
    if signal == Signal::SIGKILL {
        // Both handle Ctrl-C: dd closes its file then, which waits anew, and python3 would get a SIGBUS.
        programs.extend([&dd[..], &python]);
        written.push("dd/g");
    }
    all_end(&at, &programs, signal);
    emulator.faults(&["no-md5"]);
    // What they had written, or asked for, goes on.
    mount.remount();
    for name in written {
        assert!(
            fs::read(at.join(name)).unwrap() == vec![7; 300_000],
            "{name}"
        );
    }
    let moved = ["mv/f", "mv/g"].map(|name| at.join(name).exists());
    assert_eq!(moved, [false, true]);
    let mode = fs::metadata(at.join("sync/f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn ctrl_c_ends_programs_that_wait_for_names() {
    who_asks_for_names_ends(Signal::SIGINT);
}

#[test]
fn ctrl_c_ends_programs_that_wait() {
    who_reads_or_changes_ends(Signal::SIGINT);
}

#[test]
fn a_kill_ends_programs_that_wait_for_names() {
    who_asks_for_names_ends(Signal::SIGKILL);
}

#[test]
fn a_kill_ends_programs_that_wait() {
    who_reads_or_changes_ends(Signal::SIGKILL);
}

/// It has a handler, which the system calls only when the call has ended.
#[test]
fn a_program_that_handles_ctrl_c_is_told() {
    let emulator = Emulator::without_md5();
    emulator.seed("d/f", 1000);
    let mount = Mount::with(&emulator, "list_hashfiles: false\ntimeout: 60s\n");
    emulator.faults(&["no-md5", SILENCE]);
    let script = "
import os, signal, sys
def told(*_):
    sys.exit(42)
signal.signal(signal.SIGINT, told)
os.stat('d/f')";
    let mut child = start(&["python3", "-c", script], mount.path());
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(ends_soon(&mut child, "python3").code(), Some(42));
    emulator.faults(&["no-md5"]);
}

/// A program that was killed closes its files on its way out.
#[test]
fn a_killed_program_does_not_wait_for_what_it_had_written() {
    let emulator = Emulator::without_md5();
    let mut mount = Mount::with(&emulator, "list_hashfiles: false\ntimeout: 60s\n");
    let at = mount.path().to_owned();
    let script = "
import os, time
os.write(os.open('f', os.O_WRONLY | os.O_CREAT), b'content')
time.sleep(600)";
    let mut child = start(&["python3", "-c", script], &at);
    let begun = Instant::now();
    while fs::read(at.join("f")).unwrap_or_default() != b"content" {
        assert!(begun.elapsed() < SOON * 10, "it writes");
        thread::sleep(Duration::from_millis(10));
    }
    emulator.faults(&["no-md5", SILENCE]);
    child.kill().unwrap();
    ends_soon(&mut child, "python3");
    emulator.faults(&["no-md5"]);
    mount.remount();
    assert_eq!(fs::read(at.join("f")).unwrap(), b"content");
}

/// It waits for its files, as if it had closed them.
#[test]
fn a_program_that_ends_by_itself_waits_until_its_files_are_stored() {
    let emulator = Emulator::without_md5();
    let mount = Mount::with(&emulator, "list_hashfiles: false\ntimeout: 60s\n");
    emulator.faults(&["no-md5", "upload:stall=4"]);
    let mut child = forks::spawn(
        Command::new("sh")
            .args(["-c", "exec 3> f; cat >&3"])
            .current_dir(mount.path())
            .stdin(Stdio::piped()),
    )
    .unwrap();
    child.stdin.take().unwrap().write_all(b"content").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(Bucket::open(&emulator).visible(), ["f"]);
}
