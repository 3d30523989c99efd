//! Messages that nobody reads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Account, PATIENCE, Place, b2fuse_with, emulator};

/// More than a pipe and the queue before it hold.
#[test]
fn a_reader_of_the_log_that_stops_freezes_nothing() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut child = b2fuse_with(&account)
        .args(["--debug", "--list-hashfiles=false"])
        .arg(place.mnt())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut first = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut first).expect("a line");
    assert!(first.contains(" is mounted on "), "{first}");
    for file in 0..1500 {
        let path = place.mnt().join(format!("f{file}"));
        fs::write(&path, "content").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"content");
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGTERM).expect("it runs");
    let patience = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if Instant::now() > patience {
            let _ = child.kill();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0), "{status}");
}
