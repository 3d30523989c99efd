//! A real terminal that hangs up: its window is closed, or its line has gone.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::*;

#[test]
fn a_terminal_that_hangs_up_ends_its_mount_which_stores_everything() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
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
    let wanted = b2fuse_with(&account);
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
    let mut child = command
        .arg("--write-back=1h")
        .arg(place.mnt())
        .current_dir("/")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("setsid is installed (util-linux)");
    drop((command, terminal));
    eventually("it is mounted", || !mounted_on(&place.mnt()).is_empty());
    fs::write(place.mnt().join("kept"), "content").expect("written");
    assert!(!server.counters().calls.contains_key("b2_upload_file"));
    drop(master);
    let mut ended = None;
    eventually("it ends", || {
        ended = child.try_wait().expect("it is ours");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    assert!(mounted_on(&place.mnt()).is_empty());
    let again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let kept = fs::read_to_string(place.mnt().join("kept"));
    assert_eq!(kept.expect("it is stored"), "content");
    drop(again);
}
