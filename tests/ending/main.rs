//! Every way to end a mount: nothing written is lost, nobody else's mount is touched, nobody is left hanging.

#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "shared with tests/cli")]
mod harness;
mod outage;
mod rescue;
mod terminal;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use b2fuse::emulator::{self, Server};
use harness::*;
use nix::sys::signal::Signal;

/// What every orderly end must do.
fn ends_well(stop: impl FnOnce(&Running, &Path)) {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    fs::write(place.mnt().join("kept"), "content").expect("written");
    stop(&running, &place.mnt());
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("everything is stored"), "{said}");
    assert!(said.contains("in all: "), "{said}");
    assert!(mounted_on(&place.mnt()).is_empty());
    let again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    assert_eq!(
        fs::read_to_string(place.mnt().join("kept")).expect("read"),
        "content"
    );
    drop(again);
}

#[test]
fn ctrl_c_unmounts_and_stores() {
    ends_well(|running, _| running.signal(Signal::SIGINT));
}

#[test]
fn sigterm_unmounts_and_stores() {
    ends_well(|running, _| running.signal(Signal::SIGTERM));
}

#[test]
fn fusermount_from_outside_ends_the_program() {
    ends_well(|_, point| {
        let status = Command::new("fusermount3").arg("-u").arg(point).status();
        assert!(status.expect("fusermount3 is installed").success());
    });
}

#[test]
fn umount_from_outside_ends_the_program() {
    ends_well(|_, point| unmount(point));
}

/// fuser 0.18 unmounts by path when its session has ended, and would hit whatever is there then.
#[test]
fn what_others_mount_on_the_path_afterwards_is_left_alone() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    unmount(&place.mnt());
    mount_tmpfs(&place.mnt());
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(mounted_on(&place.mnt()), ["tmpfs"]);
}

#[test]
fn what_others_mount_over_it_is_left_alone() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    mount_tmpfs(&place.mnt());
    running.signal(Signal::SIGTERM);
    let (_, said) = running.end();
    assert!(said.contains("another mount lies on"), "{said}");
    assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse", "tmpfs"]);
}

#[test]
fn a_busy_mount_is_detached_and_what_was_written_is_stored() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let mut open = fs::File::create(place.mnt().join("open")).expect("created");
    open.write_all(b"first").expect("written");
    running.signal(Signal::SIGTERM);
    running.hear("is still in use: detached");
    assert!(mounted_on(&place.mnt()).is_empty());
    // The program may still finish what it does.
    open.write_all(b" second")
        .expect("written after the signal");
    running.hear("programs still have files open");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    // From now on it is told, not left waiting.
    assert!(open.write_all(b" third").is_err());
    drop(open);
    let _again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    assert_eq!(
        fs::read_to_string(place.mnt().join("open")).expect("read"),
        "first second"
    );
}

#[test]
fn a_busy_mount_ends_as_soon_as_its_users_are_gone() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let mut open = fs::File::create(place.mnt().join("open")).expect("created");
    running.signal(Signal::SIGTERM);
    running.hear("is still in use: detached");
    open.write_all(b"late").expect("written after the signal");
    drop(open);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("programs still have files open"), "{said}");
    let _again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    assert_eq!(
        fs::read_to_string(place.mnt().join("open")).expect("read"),
        "late"
    );
}

#[test]
fn the_second_ctrl_c_gives_up_and_says_what_was_not_stored() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let mut open = fs::File::create(place.mnt().join("lost")).expect("created");
    open.write_all(b"content").expect("written");
    drop(server);
    running.signal(Signal::SIGINT);
    running.hear("is still in use: detached");
    thread::sleep(Duration::from_millis(300));
    running.signal(Signal::SIGINT);
    let start = Instant::now();
    let (code, said) = running.end();
    assert!(start.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("SIGINT: gave up"), "{said}");
    assert!(
        said.contains("not stored: ") && said.contains("lost (7 bytes)"),
        "{said}"
    );
}

#[test]
fn two_signals_at_once_leave_no_mount_behind() {
    for _ in 0..10 {
        let server = emulator();
        let place = Place::new();
        let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
        running.signal(Signal::SIGTERM);
        running.signal(Signal::SIGINT);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(mounted_on(&place.mnt()).is_empty(), "{said}");
    }
}

#[test]
fn what_cannot_be_stored_is_listed_and_ends_with_1() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    command.args(["--timeout", "2s", "--drain-timeout", "4s"]);
    let mut running = Running::mount(&mut command, &place.mnt());
    let mut open = fs::File::create(place.mnt().join("lost")).expect("created");
    open.write_all(b"content").expect("written");
    drop(server);
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("drain_timeout of 4s is over"), "{said}");
    assert!(said.contains("lost (7 bytes): "), "{said}");
    assert!(mounted_on(&place.mnt()).is_empty());
}

/// Some files wait for their upload when the signal comes.
fn with_a_full_queue(
    server: Server,
    end: impl FnOnce(&Running, Option<Server>) -> Option<Server>,
) -> (Option<i32>, String) {
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    command.args(["--timeout", "2s", "--write-back", "1h", "--uploads", "2"]);
    command.args(["--drain-timeout", "20s"]);
    let mut running = Running::mount(&mut command, &place.mnt());
    for file in 0..20 {
        fs::write(place.mnt().join(format!("f{file}")), "content").expect("written");
    }
    let server = end(&running, Some(server));
    let ended = running.end();
    assert!(mounted_on(&place.mnt()).is_empty());
    drop(server);
    ended
}

#[test]
fn a_full_queue_is_stored_after_sigterm_with_progress() {
    let server = Server::start(emulator::Options {
        latency: Duration::from_millis(300),
        ..emulator::Options::default()
    })
    .expect("the emulator starts");
    let (code, said) = with_a_full_queue(server, |running, server| {
        running.signal(Signal::SIGTERM);
        running.hear("storing: ");
        server
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("everything is stored"), "{said}");
}

#[test]
fn what_waits_and_cannot_be_stored_is_listed_and_ends_with_1() {
    let (code, said) = with_a_full_queue(harness::emulator(), |running, server| {
        drop(server);
        running.signal(Signal::SIGTERM);
        None
    });
    assert_eq!(code, Some(1), "{said}");
    for file in 0..20 {
        assert!(
            said.contains(&format!("f{file} (7 bytes): ")),
            "{file}: {said}"
        );
    }
}

#[test]
fn a_removal_that_b2_refuses_is_listed_and_ends_with_1() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    fs::write(place.mnt().join("stays"), "content").expect("written");
    server.set_faults(&["hide_file:403"]).expect("faults");
    fs::remove_file(place.mnt().join("stays")).expect("nobody waits for it");
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not removed: stays: "), "{said}");
}

#[test]
fn the_end_waits_for_removals() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    for name in ["a", "b"] {
        fs::write(place.mnt().join(name), "content").expect("written");
    }
    server.set_faults(&["hide_file:stall=2"]).expect("faults");
    for name in ["a", "b"] {
        fs::remove_file(place.mnt().join(name)).expect("nobody waits for it");
    }
    running.signal(Signal::SIGTERM);
    running.hear("2 removals to go");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    let _again = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    assert_eq!(fs::read_dir(place.mnt()).expect("listed").count(), 0);
}

/// A copy into a mount whose way to B2 is slow: it waits in close(2) when the signal comes.
fn waits_in_close(bandwidth: u64, size: usize, check: impl FnOnce(&mut Running)) {
    let server = emulator_with(Some(bandwidth));
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let target = place.mnt().join("copy");
    let mut file = fs::File::create(&target).expect("created");
    file.write_all(&vec![7; size]).expect("written");
    let closer = thread::spawn(move || file.sync_all().is_ok());
    thread::sleep(Duration::from_millis(300));
    assert!(!closer.is_finished(), "it waits");
    running.signal(Signal::SIGTERM);
    running.hear("is still in use: detached");
    running.hear("storing: 1 file");
    check(&mut running);
    let start = Instant::now();
    let stored = closer.join().expect("no panic");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "answered, not left waiting"
    );
    let (code, said) = running.end();
    assert_eq!(code, Some(i32::from(!stored)), "{said}");
}

#[test]
fn a_program_that_waits_for_its_bytes_gets_its_answer_before_the_end() {
    waits_in_close(1 << 20, 4 << 20, |running| {
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
    });
}

#[test]
fn a_program_that_waits_for_its_bytes_is_released_when_the_user_gives_up() {
    waits_in_close(64 << 10, 16 << 20, |running| {
        running.signal(Signal::SIGINT);
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("not stored: ") && said.contains("copy (16.0 MiB)"),
            "{said}"
        );
    });
}

/// Neither a slip of the hand (Ctrl-\\) nor a program that means well ends a mount.
#[test]
fn signals_that_ask_for_no_end_do_not_end_it() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    fs::write(place.mnt().join("f"), "content").expect("written");
    for signal in [Signal::SIGQUIT, Signal::SIGALRM] {
        running.signal(signal);
    }
    running.signal(Signal::SIGUSR1);
    running.hear("SIGUSR1: {\"");
    running.signal(Signal::SIGUSR2);
    running.hear("SIGUSR2: the log says more");
    running.signal(Signal::SIGUSR2);
    running.hear("SIGUSR2: the log says less");
    assert_eq!(fs::read(place.mnt().join("f")).expect("read"), b"content");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}
