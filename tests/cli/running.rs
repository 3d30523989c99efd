//! Commands that speak to a mount while it runs, and the socket that they speak over.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use b2fuse::emulator::{Seed, Server};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::*;

/// Stored by nothing but a wish or the end.
const LATER: &str = "--write-back=1h";

/// Runs a command about a path: exit code, stdout and stderr.
fn ask(command: &str, path: &Path, more: &[&str]) -> (Option<i32>, String) {
    outcome(b2fuse().arg(command).arg(path).args(more))
}

#[track_caller]
fn told(command: &str, path: &Path, more: &[&str]) -> String {
    let (code, said) = ask(command, path, more);
    assert_eq!(code, Some(0), "{command}: {said}");
    said
}

#[track_caller]
fn status(path: &Path) -> Value {
    let said = told("status", path, &["--json"]);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn state(path: &Path) -> String {
    let mut command = Command::new("getfattr");
    let command = command.args([
        "--absolute-names",
        "--only-values",
        "-n",
        "user.b2fuse.state",
    ]);
    let (code, said) = outcome(command.arg(path));
    assert_eq!(code, Some(0), "{said}");
    said
}

fn seed(server: &Server, all: &[(&str, u64)]) {
    let seeds: Vec<Seed> = all
        .iter()
        .map(|(name, size)| Seed {
            name: (*name).to_owned(),
            size: *size,
            ..Seed::default()
        })
        .collect();
    server.seed(server.bucket_name(), &seeds).expect("seeded");
}

fn calls(server: &Server, name: &str) -> u64 {
    server.counters().calls.get(name).copied().unwrap_or(0)
}

/// The control socket of a mount.
fn socket(running: &Running) -> PathBuf {
    let uid = nix::unistd::geteuid();
    let mut dirs = vec![
        PathBuf::from("/run/b2fuse"),
        format!("/run/user/{uid}/b2fuse").into(),
        format!("/tmp/b2fuse-{uid}").into(),
    ];
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    dirs.extend(named.map(|dir| dir.join("b2fuse")));
    let end = format!("-{}.sock", running.pid());
    let mut found = dirs
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(&end));
    found.next().expect("it has a socket")
}

#[test]
fn status_shows_what_is_on_its_way_and_umount_waits_for_it_twice() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mnt = place.mnt();
    let mut running = Running::mount(b2fuse_with(&account).arg(LATER), &mnt);
    let idle = status(&mnt);
    assert_eq!(idle["state"], "mounted");
    assert_eq!(idle["bucket"], account.bucket);
    assert_eq!(idle["pid"], running.pid().as_raw());
    assert_eq!(idle["to_store"]["files"], 0);
    assert!(told("status", &mnt, &[]).contains("to store  nothing"));
    assert_eq!(state(&mnt), "stored");

    fs::write(mnt.join("f"), "content").expect("written");
    // A path below it stands for the mount, also where there is nothing.
    let waiting = status(&mnt.join("f/and/on"));
    assert_eq!(waiting["to_store"]["files"], 1);
    assert_eq!(waiting["to_store"]["bytes"], 7);
    assert_eq!(waiting["files"][0]["path"], "f");
    assert_eq!(waiting["files"][0]["total"], 7);
    assert_eq!(state(&mnt.join("f")), "pending");
    let shown = told("status", &mnt, &[]);
    assert!(shown.contains("to store  1 file, 7 bytes"), "{shown}");
    assert!(shown.contains("wait  f (0 bytes of 7 bytes)"), "{shown}");

    // The end takes as long as the bucket is full.
    server
        .set_faults(&["upload_file:storage-cap"])
        .expect("set");
    let (code, said) = ask("umount", &mnt, &["--timeout", "1s"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("goes on"), "{said}");
    assert!(mounted_on(&mnt).is_empty());
    eventually("the failure is told", || {
        status(&mnt)["to_store"]["last_error"].is_string()
    });
    let storing = status(&mnt);
    assert_eq!(storing["state"], "storing");
    assert_eq!(storing["to_store"]["hopeless"], 1);
    assert!(storing["stats"]["b2"]["failures"]["403"].as_u64() > Some(0));
    let (code, listed) = outcome(b2fuse().arg("list"));
    assert_eq!(code, Some(0), "{listed}");
    let point = mnt.display().to_string();
    let line = listed.lines().find(|line| line.starts_with(&point));
    let line = line.unwrap_or_else(|| panic!("{listed}"));
    for part in [&*account.bucket, "storing", "1 file, 7 bytes to store"] {
        assert!(line.contains(part), "{line}");
    }

    let socket = socket(&running);
    server.set_faults(&[]).expect("set");
    assert_eq!(ask("umount", &mnt, &[]).0, Some(0));
    assert_eq!(running.end().0, Some(0));
    assert!(!socket.exists());
    assert!(calls(&server, "b2_upload_file") > 1);
    let (code, said) = ask("status", &mnt, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no b2fuse is mounted on"), "{said}");
    let (code, said) = ask("umount", &mnt, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no b2fuse is mounted on"), "{said}");
}

#[test]
fn umount_has_the_exit_code_of_the_mount() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    let command = command.args([LATER, "--drain-timeout=1s"]);
    let mut running = Running::mount(command, &place.mnt());
    fs::write(place.mnt().join("f"), "content").expect("written");
    server
        .set_faults(&["upload_file:storage-cap"])
        .expect("set");
    let (code, said) = ask("umount", &place.mnt(), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not everything was stored"), "{said}");
    assert_eq!(running.end().0, Some(1));
}

#[test]
fn umount_leaves_what_is_in_use_alone_unless_it_may_detach_it() {
    let server = emulator();
    let place = Place::new();
    let mnt = place.mnt();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &mnt);
    let file = fs::File::create(mnt.join("f")).expect("created");
    let (code, said) = ask("umount", &mnt, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(mounted_on(&mnt), ["fuse.b2fuse"]);
    let (code, said) = ask("umount", &mnt, &["--lazy"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("detached"), "{said}");
    assert!(mounted_on(&mnt).is_empty());
    drop(file);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn flush_stores_what_is_below_a_path_and_names_what_is_not() {
    let server = emulator();
    let place = Place::new();
    let mnt = place.mnt();
    let _running = Running::mount(b2fuse_with(&Account::of(&server)).arg(LATER), &mnt);
    for dir in ["a", "ab"] {
        fs::create_dir(mnt.join(dir)).expect("made");
        fs::write(mnt.join(dir).join("f"), "content").expect("written");
    }
    let mut open = fs::File::create(mnt.join("a/open")).expect("created");
    open.write_all(b"so far").expect("written");
    assert_eq!(told("flush", &mnt.join("a"), &[]), "");
    assert_eq!(state(&mnt.join("a/f")), "stored");
    assert_eq!(state(&mnt.join("a/open")), "stored");
    assert_eq!(state(&mnt.join("ab/f")), "pending");
    server
        .set_faults(&["upload_file:storage-cap"])
        .expect("set");
    assert_eq!(
        told("flush", &mnt.join("a"), &[]),
        "",
        "nothing of it is pending"
    );
    let (code, said) = ask("flush", &mnt, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not stored: ab/f: "), "{said}");
    server.set_faults(&[]).expect("set");
    told("flush", &mnt, &[]);
    assert_eq!(status(&mnt)["to_store"]["files"], 0);
    let (code, said) = ask("flush", &mnt.join("missing"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("missing was not stored"), "{said}");
}

#[test]
fn refresh_shows_at_once_what_others_have_changed() {
    let server = emulator();
    seed(&server, &[("dir/f", 3), ("dir/gone", 3)]);
    let place = Place::new();
    let mnt = place.mnt();
    let mut command = b2fuse_with(&Account::of(&server));
    let _running = Running::mount(command.arg("--metadata-ttl=1h"), &mnt);
    let names = || fs::read_dir(mnt.join("dir")).expect("listed").count();
    let size = || fs::metadata(mnt.join("dir/f")).expect("there").len();
    assert_eq!((names(), size()), (2, 3));
    seed(&server, &[("dir/f", 5), ("dir/new", 1)]);
    assert_eq!((names(), size()), (2, 3), "what is known is believed");
    fs::metadata(mnt.join("dir/new")).expect_err("not known yet");
    let said = told("refresh", &mnt.join("dir"), &[]);
    assert!(said.contains("asked for anew"), "{said}");
    eventually("the kernel has forgotten", || (names(), size()) == (3, 5));
    assert_eq!(fs::metadata(mnt.join("dir/new")).expect("there").len(), 1);
}

#[test]
fn warm_fetches_names_and_contents_as_far_as_memory_goes() {
    let server = emulator();
    seed(
        &server,
        &[("d/a", 1000), ("d/b/c", 2_000_000), ("e/big", 90_000_000)],
    );
    let place = Place::new();
    let mnt = place.mnt();
    let mut command = b2fuse_with(&Account::of(&server));
    let _running = Running::mount(command.args(["--memory=64MiB", "--metadata-ttl=1h"]), &mnt);
    assert_eq!(told("warm", &mnt.join("d"), &["--names"]), "3 names\n");
    assert_eq!(calls(&server, "b2_download_file_by_id"), 0);
    assert_eq!(
        told("warm", &mnt.join("d"), &[]),
        "3 names, 2 files in memory, 1.9 MiB\n"
    );
    let before = calls(&server, "b2_download_file_by_id");
    assert!(before > 0);
    assert_eq!(fs::read(mnt.join("d/a")).expect("read").len(), 1000);
    assert_eq!(fs::read(mnt.join("d/b/c")).expect("read").len(), 2_000_000);
    assert_eq!(calls(&server, "b2_download_file_by_id"), before);
    let said = told("warm", &mnt.join("e"), &[]);
    assert!(said.starts_with("1 name, 0 files in memory, "), "{said}");
    assert!(said.contains("memory holds no more"), "{said}");
}

#[test]
fn limits_and_the_log_are_changed_while_it_runs() {
    let server = emulator();
    let place = Place::new();
    let mnt = place.mnt();
    let mut command = b2fuse_with(&Account::of(&server));
    let running = Running::mount(command.arg("--bandwidth-down=1MiB"), &mnt);
    assert_eq!(told("limit", &mnt, &[]), "up off, down 1.0 MiB/s\n");
    let changed = told("limit", &mnt, &["--up", "2MiB", "--down", "off"]);
    assert_eq!(changed, "up 2.0 MiB/s, down off\n");
    running.hear("limits from now on: up 2097152 bytes/s, down off");
    assert!(told("status", &mnt, &[]).contains("limits    up 2.0 MiB/s, down off"));

    told("log", &mnt, &["debug"]);
    fs::write(mnt.join("f"), "content").expect("written");
    running.hear("b2_upload_file");
    let (code, said) = ask("reload", &mnt, &[]);
    // A key that came in the environment is not there any more.
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the key stays what it was"), "{said}");
    running.hear("reload: the key stays what it was");
}

/// Whatever time it is.
#[test]
fn limits_by_the_clock_hold_from_the_start() {
    let server = emulator();
    let place = Place::new();
    let mnt = place.mnt();
    let mut command = b2fuse_with(&Account::of(&server));
    command
        .arg("--bandwidth-up=00:00,1M 12:00,1M")
        .arg("--bandwidth-down=Mon-00:00,2M");
    let _running = Running::mount(&mut command, &mnt);
    assert_eq!(told("limit", &mnt, &[]), "up 1.0 MiB/s, down 2.0 MiB/s\n");
    let (code, said) = outcome(b2fuse().args(["--bandwidth-up=25:00,1M", "/m"]));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("is no change: write a time and a rate"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let place = Place::new();
    for (line, code, said) in [
        (
            &["status", "/nowhere"][..],
            1,
            "no b2fuse is mounted on /nowhere: b2fuse list shows",
        ),
        (
            &["flush", "/proc/self"],
            1,
            "no b2fuse is mounted on /proc/self",
        ),
        (&["umount"], 2, "required"),
        (&["umount", "/m", "--timeout", "soon"], 2, "is not a time"),
        (&["limit", "--up", "1"], 2, "write off, or 16KiB or more"),
        (
            &["log", "/m", "loud"],
            2,
            "\"loud\" is no level: write one of error, warn, info, debug",
        ),
        (&["warm"], 2, "required"),
        (
            &["status", "--nonsense"],
            2,
            "unexpected argument '--nonsense'",
        ),
    ] {
        let (ended, text) = outcome(b2fuse().args(line));
        assert_eq!(ended, Some(code), "{line:?}: {text}");
        assert!(text.contains(said), "{line:?}: {text}");
    }
    // A mountpoint of such a name.
    let (code, text) = outcome(b2fuse().current_dir(place.path()).arg("./status"));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no account is configured"), "{text}");
}

#[test]
fn the_mount_of_another_user_is_not_asked() {
    let server = emulator();
    let place = Place::new();
    let running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let program = b2fuse().get_program().to_owned();
    let mut other = Command::new("setpriv");
    let other = other
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .arg("status")
        .arg(place.mnt())
        .current_dir("/");
    let (code, said) = outcome(other);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is not yours: the user with the number 0"),
        "{said}"
    );
    let metadata = fs::metadata(socket(&running)).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let dir = socket(&running).parent().expect("a directory").to_owned();
    let dir = fs::metadata(dir).expect("there");
    assert_eq!((dir.permissions().mode() & 0o777, dir.uid()), (0o700, 0));
}

/// One line over the socket; what comes back.
fn exchange(stream: &UnixStream, line: &[u8]) -> Value {
    let mut writer = stream;
    writer.write_all(line).expect("taken");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("answered");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn the_socket_bears_whatever_is_said_to_it() {
    let server = emulator();
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let connect = || UnixStream::connect(socket(&running)).expect("connected");
    let stream = connect();
    for line in [
        &b"nonsense\n"[..],
        b"\n",
        b"\xff\xfe\n",
        b"{\"version\":9,\"command\":\"status\"}\n",
        b"{\"version\":1,\"command\":\"format\"}\n",
    ] {
        let answer = exchange(&stream, line);
        assert_eq!(answer["version"], 1);
        assert_eq!(answer["error"]["kind"], "request", "{answer}");
    }
    // The same connection goes on.
    let request = b"{\"version\":1,\"command\":\"status\",\"more\":\"than known\"}\n";
    let answer = exchange(&stream, request);
    assert_eq!(answer["ok"]["state"], json!("mounted"), "{answer}");
    // Whoever says no more may still hear.
    let mut half = connect();
    half.write_all(request).expect("taken");
    half.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = String::new();
    half.read_to_string(&mut answer).expect("answered");
    assert!(answer.contains("\"mounted\""), "{answer}");
    let long = [&vec![b'x'; 70_000][..], b"\n"].concat();
    let answer = exchange(&connect(), &long);
    assert!(
        answer["error"]["message"]
            .as_str()
            .is_some_and(|said| said.contains("65536 bytes"))
    );

    // Those who say nothing keep others out, and nothing else.
    let silent: Vec<UnixStream> = (0..8).map(|_| connect()).collect();
    eventually("no more are let in", || {
        let mut answer = String::new();
        BufReader::new(connect())
            .read_line(&mut answer)
            .expect("answered");
        answer.contains("\"busy\"")
    });
    fs::write(place.mnt().join("f"), "content").expect("written");
    drop((silent, stream));
    eventually("there is room again", || {
        ask("status", &place.mnt(), &[]).0 == Some(0)
    });
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}
