//! One mountpoint, whoever starts on it and however the mount ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Account, Place, Running, b2fuse_with, emulator, eventually, mounted_on};

#[test]
fn of_many_that_start_at_once_on_one_mountpoint_one_mounts() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut started: Vec<Running> = (0..6)
        .map(|_| Running::start(b2fuse_with(&account).arg(place.mnt())))
        .collect();
    eventually("all but one have ended", || {
        let ended = started.iter_mut().map(Running::has_ended);
        ended.filter(|over| !over).count() <= 1
    });
    let (mut ended, serving): (Vec<_>, Vec<_>) = started
        .into_iter()
        .map(|mut one| (one.has_ended(), one))
        .partition(|(over, _)| *over);
    for (_, one) in &mut ended {
        let (code, said) = one.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("another b2fuse is about to mount")
                || said.contains("already a mountpoint"),
            "{said}"
        );
    }
    let [(_, serving)] = serving.as_slice() else {
        panic!("one serves");
    };
    assert!(serving.line().contains("is mounted on"));
    assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse"]);
}

#[test]
fn with_noexec_no_program_runs_from_the_mount() {
    let server = emulator();
    let account = Account::of(&server);
    for (noexec, runs) in [(false, true), (true, false)] {
        let place = Place::new();
        let mut command = b2fuse_with(&account);
        let _running = Running::mount(command.arg(format!("--noexec={noexec}")), &place.mnt());
        let script = place.mnt().join("script");
        fs::write(&script, "#!/bin/sh\nexit 0\n").expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode set");
        let ran = Command::new(&script).status();
        assert_eq!(ran.is_ok_and(|status| status.success()), runs, "{noexec}");
    }
}

#[test]
fn with_auto_unmount_a_killed_mount_leaves_no_remains() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    for shared in [false, true] {
        let mount = || {
            let mut command = b2fuse_with(&account);
            command.args(["--auto-unmount", &format!("--allow-other={shared}")]);
            Running::mount(&mut command, &place.mnt())
        };
        let mut running = mount();
        fs::write(place.mnt().join("a"), "b").expect("written");
        running.signal(Signal::SIGKILL);
        running.end();
        eventually("it is unmounted", || mounted_on(&place.mnt()).is_empty());
        let mut again = mount();
        assert_eq!(
            fs::read_to_string(place.mnt().join("a")).expect("read"),
            "b"
        );
        again.signal(Signal::SIGTERM);
        assert_eq!(again.end().0, Some(0));
        eventually("it is unmounted", || mounted_on(&place.mnt()).is_empty());
    }
}
