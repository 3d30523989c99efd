//! A real terminal: what is shown on it, and what happens when it hangs up (its window is closed, or its line has gone).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::*;

/// Starts a mount on a terminal of its own; the other end of that.
fn on_a_terminal(account: &Account, arguments: &[&str], place: &Place) -> (Child, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("its name");
    let terminal = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().expect("UTF-8"))
        .expect("its other end");
    let wanted = b2fuse_with(account);
    // The kernel sends SIGHUP to the leader of the terminal's session.
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(wanted.get_program());
    for (name, value) in wanted.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let end = || terminal.try_clone().expect("a descriptor");
    let child = command
        .args(arguments)
        .arg(place.mnt())
        .current_dir("/")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("setsid is installed (util-linux)");
    drop((command, terminal));
    eventually("it is mounted", || !mounted_on(&place.mnt()).is_empty());
    (child, master)
}

fn end_of(child: &mut Child) -> Option<i32> {
    let mut ended = None;
    eventually("it ends", || {
        ended = child.try_wait().expect("it is ours");
        ended.is_some()
    });
    ended.and_then(|status| status.code())
}

#[test]
fn a_terminal_that_hangs_up_ends_its_mount_which_stores_everything() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let (mut child, master) = on_a_terminal(&account, &["--write-back=1h"], &place);
    fs::write(place.mnt().join("kept"), "content").expect("written");
    assert!(!server.counters().calls.contains_key("b2_upload_file"));
    drop(master);
    assert_eq!(end_of(&mut child), Some(0));
    assert!(mounted_on(&place.mnt()).is_empty());
    let again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let kept = fs::read_to_string(place.mnt().join("kept"));
    assert_eq!(kept.expect("it is stored"), "content");
    drop(again);
}

/// Not with `-q`.
#[test]
fn what_is_on_its_way_is_shown_on_one_line_that_is_renewed() {
    for quiet in [false, true] {
        let server = emulator();
        let account = Account::of(&server);
        let place = Place::new();
        let mut arguments = vec!["--write-back=1h"];
        arguments.extend(quiet.then_some("-q"));
        let (mut child, master) = on_a_terminal(&account, &arguments, &place);
        let shown = Arc::new(Mutex::new(String::new()));
        let reader = {
            let (shown, mut master) = (Arc::clone(&shown), File::from(master));
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // Ends with an error once nobody has the other end.
                while let Ok(length @ 1..) = master.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    shown.lock().expect("no panic").push_str(&text);
                }
            })
        };
        let says = |text: &str| shown.lock().expect("no panic").contains(text);
        fs::write(place.mnt().join("f"), vec![7; 3 << 20]).expect("written");
        if !quiet {
            eventually("a line", || says("\r\x1b[K1 file, 3.0 MiB to store"));
            assert!(says("is mounted on"));
            // Stored, it goes.
            File::open(place.mnt().join("f"))
                .expect("open")
                .sync_all()
                .expect("stored");
            let over = || {
                let shown = shown.lock().expect("no panic");
                shown.rsplit("\r\x1b[K").next() == Some("")
            };
            eventually("no line", over);
        }
        let pid = Pid::from_raw(child.id().cast_signed());
        kill(pid, Signal::SIGTERM).expect("it runs");
        assert_eq!(end_of(&mut child), Some(0));
        reader.join().expect("no panic");
        if quiet {
            assert_eq!(*shown.lock().expect("no panic"), "");
        }
    }
}
