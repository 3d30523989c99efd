//! What a service manager is told: sd_notify(3).

use std::fs;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::harness::*;

/// A service manager's socket, and all that was said to it.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self {
            socket,
            heard: String::new(),
        }
    }

    /// Waits for a message with this line; all of it.
    #[track_caller]
    fn hear(&mut self, line: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let Ok(length) = self.socket.recv(&mut buffer) else {
                panic!("no {line:?} in: {}", self.heard);
            };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.push_str(&message);
            if message.lines().any(|said| said == line) {
                return message;
            }
        }
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut manager = Manager::new(&place);
    let mut command = b2fuse_with(&account);
    command
        .env("NOTIFY_SOCKET", place.path().join("notify"))
        .args(["--write-back", "1h"]);
    let mut running = Running::mount(&mut command, &place.mnt());
    let ready = manager.hear("READY=1");
    let status = format!(
        "STATUS={} is mounted on {}",
        account.bucket,
        place.mnt().display()
    );
    assert!(ready.contains(&status), "{ready}");

    running.signal(Signal::SIGHUP);
    assert!(manager.hear("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.hear("READY=1");

    server.set_faults(&["upload_file:503"]).expect("faults");
    fs::write(place.mnt().join("file"), [7; 3000]).expect("written");
    running.signal(Signal::SIGTERM);
    manager.hear("STOPPING=1");
    let status = manager.hear("EXTEND_TIMEOUT_USEC=60000000");
    assert!(
        status.contains("STATUS=1 file, 2.9 KiB to store"),
        "{status}"
    );
    // As long as it goes on.
    manager.hear("EXTEND_TIMEOUT_USEC=60000000");
    server.set_faults(&[]).expect("none");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_service_manager_that_is_gone_changes_nothing() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    command.env("NOTIFY_SOCKET", place.path().join("none"));
    let mut running = Running::mount(&mut command, &place.mnt());
    fs::write(place.mnt().join("file"), "x").expect("written");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}
