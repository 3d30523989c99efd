//! Where messages go, and in which form.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;

fn has(log: &Path, text: &str) {
    eventually(text, || {
        fs::read_to_string(log).is_ok_and(|said| said.contains(text))
    });
}

#[test]
fn a_log_file_is_its_owners_and_a_new_one_is_begun_at_sighup() {
    let server = emulator();
    let place = Place::new();
    let (log, old) = (place.path().join("log"), place.path().join("log.1"));
    let mut command = b2fuse_with(&Account::of(&server));
    let mut running = Running::mount(command.arg("--log-file").arg(&log), &place.mnt());
    running.signal(Signal::SIGUSR2);
    has(&log, "Z SIGUSR2: the log says more");
    running.signal(Signal::SIGUSR2);
    has(&log, "the log says less");
    let mode = fs::metadata(&log).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::rename(&log, &old).expect("renamed");
    running.signal(Signal::SIGHUP);
    has(&log, "SIGHUP: ");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end(), (Some(0), String::new()));
    assert!(!fs::read_to_string(old).expect("read").contains("SIGHUP"));
}

#[test]
fn json_is_one_object_a_line() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    command.env("B2FUSE_LOG_FORMAT", "json");
    let mut running = Running::mount(&mut command, &place.mnt());
    running.signal(Signal::SIGUSR1);
    running.hear("SIGUSR1");
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    for line in said.lines() {
        let told: Value = serde_json::from_str(line).expect(line);
        let told = told.as_object().expect("an object");
        let keys: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "message", "target", "time"], "{line}");
        assert!(told["time"].as_str().expect("a text").ends_with('Z'));
        assert_eq!(told["level"], "info", "{line}");
    }
    assert!(said.contains("\"target\":\"b2fuse::mount\""), "{said}");
    let (code, text) = outcome(b2fuse().args(["--log-format", "xml", "/m"]));
    assert_eq!(code, Some(2));
    assert!(text.contains("write text or json"), "{text}");
}

#[test]
fn a_log_that_cannot_be_written_ends_no_mount() {
    let server = emulator();
    let account = Account::of(&server);
    for (log, said) in [
        ("/dev/full", "No space left on device"),
        ("/nonexistent/log", "No such file or directory"),
    ] {
        let place = Place::new();
        let mut command = b2fuse_with(&account);
        let mut running = Running::mount(command.args(["--log-file", log]), &place.mnt());
        fs::write(place.mnt().join("a"), "b").expect("written");
        running.signal(Signal::SIGUSR2);
        // What the file does not take goes to stderr.
        running.hear("the log says more");
        if log != "/dev/full" {
            assert!(running.said().contains(said), "{}", running.said());
        }
        running.signal(Signal::SIGTERM);
        assert_eq!(running.end().0, Some(0));
    }
}

#[test]
fn what_ends_the_command_is_said_on_stderr_and_in_the_log_file() {
    let place = Place::new();
    let log = place.path().join("log");
    let mut command = b2fuse_with(&Account::of(&emulator()));
    command.arg("--log-file").arg(&log).arg("/proc");
    let (code, text) = outcome(command.stdin(Stdio::null()));
    assert_eq!(code, Some(1));
    assert!(
        text.starts_with("b2fuse: /proc is already a mountpoint"),
        "{text}"
    );
    has(&log, "Z error: /proc is already a mountpoint");
}
