//! `--background`: the verdict, what the process in the background holds on to, and signals to the command that waits for it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::*;

/// The processes that serve a mountpoint in the background.
fn serving(point: &Path) -> Vec<Pid> {
    let point = point.to_str().expect("UTF-8");
    let of_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"--in-background".as_slice()) && words.contains(&point.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("processes");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(of_it).map(Pid::from_raw).collect()
}

/// Unmounts, and waits for the end of the process.
fn end(place: &Place) {
    unmount(&place.mnt());
    eventually("the process ends", || serving(&place.mnt()).is_empty());
}

#[test]
fn in_the_background_the_command_returns_with_the_verdict() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut command = b2fuse_with(&account);
    command.arg("--background").arg(place.mnt());
    // Both pipes come to their end: who reads them is not kept waiting.
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" is mounted on "), "{text}");
    assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse"]);
    fs::write(place.mnt().join("a"), "b").expect("written");
    end(&place);
    let (code, text) = outcome(b2fuse_with(&account).arg("--background").arg("/proc"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("already a mountpoint"), "{text}");
}

#[test]
fn in_the_background_nothing_is_held_that_the_caller_had_open() {
    let server = emulator();
    let place = Place::new();
    let held = place.path().join("held");
    fs::write(&held, "").expect("written");
    let script = "exec 7<\"$1\" 63<\"$1\"; exec \"$2\" --background \"$3\"";
    let command = b2fuse_with(&Account::of(&server));
    let program = command.get_program().to_owned();
    let mut shell = Command::new("bash");
    shell.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell.args(["-c", script, "bash"]);
    shell.arg(&held).arg(program).arg(place.mnt());
    shell.stdin(Stdio::null()).stdout(Stdio::null());
    let started = shell.stderr(Stdio::null()).status().expect("it runs");
    assert!(started.success());
    let serving = serving(&place.mnt());
    assert_eq!(serving.len(), 1, "{serving:?}");
    let open = fs::read_dir(format!("/proc/{}/fd", serving[0])).expect("its files");
    let found: Vec<_> = open
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| *path == held)
        .collect();
    end(&place);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn in_the_background_a_file_gets_what_is_said_after_the_mount() {
    let server = emulator();
    let place = Place::new();
    let log = place.path().join("log");
    let mut command = b2fuse_with(&Account::of(&server));
    command.arg("--background").arg(place.mnt());
    let file = fs::File::create(&log).expect("made");
    let started = command.stderr(file).output().expect("it runs");
    assert!(started.status.success());
    let serving = serving(&place.mnt());
    assert_eq!(serving.len(), 1, "{serving:?}");
    kill(serving[0], Signal::SIGUSR2).expect("it runs");
    eventually("it says so", || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        said.contains("SIGUSR2: the log says more")
    });
    end(&place);
}

#[test]
fn a_signal_to_the_command_that_waits_ends_the_process_in_the_background() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let server = emulator();
        let place = Place::new();
        server.set_faults(&["*:hang"]).expect("faults");
        let mut command = b2fuse_with(&Account::of(&server));
        command.arg("--background").arg(place.mnt());
        let mut running = Running::start(&mut command);
        eventually("B2 is asked", || !server.held().is_empty());
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "{signal}: {said}");
        assert!(
            said.contains("ended before anything was mounted"),
            "{signal}: {said}"
        );
        assert!(serving(&place.mnt()).is_empty(), "{signal}");
        assert!(mounted_on(&place.mnt()).is_empty(), "{signal}");
    }
}
