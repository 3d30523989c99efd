//! B2 fails while the mount ends: what could be stored later is stored later.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

/// So many small files that wait for their upload.
const FILES: usize = 20;

/// A mount with files in memory only, in which each call that fails gives up soon.
fn with_files_in_memory(account: &Account, place: &Place, more: &[&str]) -> Running {
    let mut command = b2fuse_with(account);
    command.args(["--timeout", "2s", "--write-back", "1h", "--uploads", "4"]);
    let running = Running::mount(command.args(more), &place.mnt());
    for file in 0..FILES {
        fs::write(
            place.mnt().join(format!("f{file}")),
            format!("content {file}"),
        )
        .expect("written");
    }
    running
}

/// Another mount shows all of them.
fn all_are_stored(account: &Account, place: &Place) {
    let _again = Running::mount(&mut b2fuse_with(account), &place.mnt());
    for file in 0..FILES {
        let content = fs::read_to_string(place.mnt().join(format!("f{file}")));
        assert_eq!(content.expect("stored"), format!("content {file}"));
    }
}

fn outlasts(faults: &[&str], failed: &str) {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = with_files_in_memory(&account, &place, &[]);
    server.set_faults(faults).expect("faults");
    running.signal(Signal::SIGTERM);
    running.hear(failed);
    // Longer than every file takes to fail once.
    thread::sleep(Duration::from_secs(6));
    assert!(!running.said().contains("everything is stored"));
    server.set_faults(&[]).expect("no faults");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("everything is stored"), "{said}");
    assert!(said.contains("20 files"), "{said}");
    all_are_stored(&account, &place);
}

#[test]
fn uploads_that_are_refused_for_a_while_are_stored() {
    outlasts(&["upload:503", "get_upload_url:503"], "last error: b2_");
}

#[test]
fn a_network_that_is_down_for_a_while_loses_nothing() {
    outlasts(&["*:reset"], "last error: b2_");
}

#[test]
fn a_server_that_asks_to_wait_long_loses_nothing() {
    outlasts(&["upload:429=120"], "asks to wait 120 s");
}

#[test]
fn a_server_that_stops_answering_loses_nothing() {
    outlasts(&["upload:hang"], "last error: b2_");
}

/// What fails for good keeps nothing else from being stored, is said, and is ended by a second signal.
#[test]
fn what_waiting_does_not_mend_is_said_and_holds_nothing_else() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = with_files_in_memory(&account, &place, &[]);
    // As many as are tried at once, so that those that are tried first all fail.
    server
        .set_faults(&["upload_file:storage-cap:4"])
        .expect("faults");
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "a cap was raised meanwhile: {said}");
    all_are_stored(&account, &place);

    let refused = Place::new();
    let mut running = with_files_in_memory(&account, &refused, &["--prefix", "below"]);
    server
        .set_faults(&["upload_file:storage-cap"])
        .expect("faults");
    running.signal(Signal::SIGINT);
    running.hear("this does not pass by waiting alone");
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("SIGINT: gave up"), "{said}");
    assert!(said.contains("raise it on the Caps page"), "{said}");
}

/// Who writes for ever into a mount that was detached does not hold its end for ever.
#[test]
fn a_program_that_never_stops_writing_does_not_hold_the_end() {
    use std::io::Write;
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let mut open = fs::File::create(place.mnt().join("log")).expect("created");
    let writer = thread::spawn(move || {
        let mut lines = 0;
        while writeln!(open, "line {lines}").is_ok() {
            lines += 1;
            thread::sleep(Duration::from_millis(2));
        }
    });
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    writer.join().expect("it got an error at last");
}

/// In the background, what is going on stands in the log.
#[test]
fn in_the_background_the_log_has_the_progress() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let log = place.path().join("log");
    let mut command = b2fuse_with(&account);
    let file = fs::File::create(&log).expect("a log");
    command
        .args(["--background", "--timeout", "2s", "--write-back", "1h"])
        .arg(place.mnt())
        .stderr(file);
    assert!(command.status().expect("it starts").success());
    fs::write(place.mnt().join("f"), "content").expect("written");
    server.set_faults(&["upload:503"]).expect("faults");
    let unmounted = std::process::Command::new("fusermount3")
        .arg("-u")
        .arg(place.mnt())
        .status();
    assert!(unmounted.expect("fusermount3 is installed").success());
    hears(&log, "last error: b2_");
    server.set_faults(&[]).expect("no faults");
    hears(&log, "everything is stored");
}

fn hears(log: &Path, text: &str) {
    let start = std::time::Instant::now();
    loop {
        let said = fs::read_to_string(log).expect("the log");
        if said.contains(text) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "no {text:?} in: {said}");
        thread::sleep(Duration::from_millis(20));
    }
}
