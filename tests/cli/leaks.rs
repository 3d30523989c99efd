//! What others could read of keys and tokens: none, wherever they look.

use std::fs;
use std::io::Write;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::WRITER;
use crate::harness::{Account, Place, Running, b2fuse_with, emulator, unmount};

#[test]
fn no_key_and_no_token_is_where_others_could_read_it() {
    let server = emulator();
    let account = Account::of(&server).restricted(WRITER, None);
    let place = Place::new();
    let mut command = b2fuse_with(&account);
    let mut running = Running::mount(
        command.args(["--debug", "--timeout", "4s", "--memory", "64MiB"]),
        &place.mnt(),
    );
    let at = |name: &str| place.mnt().join(name);
    let store = |name: &str, size: usize| {
        let mut file = fs::File::create(at(name))?;
        file.write_all(&vec![7; size])?;
        file.sync_all()
    };
    store("small", 10).expect("stored");
    store("large", 20 << 20).expect("stored");
    // All kinds of calls, and all kinds of failures of them.
    for faults in [
        &["*:503:3"][..],
        &["*:reset:3"],
        &["*:lost-reply:3"],
        &["*:401:2"],
        &["upload:503:2"],
        &["strict-urls", "upload:reset-mid:2"],
        &["upload:storage-cap:1"],
    ] {
        server.set_faults(faults).expect("words of faults");
        let _ = store("small", 10);
        let _ = store("large", 20 << 20);
        let _ = fs::rename(at("small"), at("renamed"));
        let _ = fs::read(at("large"));
        let _ = fs::read(at("absent"));
        let _ = fs::create_dir(at("d"));
        let _ = fs::read_dir(at("d"));
        let _ = fs::remove_dir(at("d"));
        let _ = fs::remove_file(at("renamed"));
    }
    server.set_faults(&["*:503"]).expect("words of faults");
    store("small", 10).expect_err("B2 refuses everything");
    server.set_faults(&[]).expect("no faults");
    running.signal(Signal::SIGUSR1);
    running.signal(Signal::SIGHUP);
    running.hear("SIGHUP: ");
    let process = format!("/proc/{}", running.pid());
    let read = |name: &str| {
        let bytes = fs::read(format!("{process}/{name}")).expect("root may read it");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut places = vec![
        ("its environment", read("environ")),
        ("its arguments", read("cmdline")),
        ("its limits", read("limits")),
    ];
    let core = places[2]
        .1
        .lines()
        .find(|line| line.starts_with("Max core"));
    let core = core.map(|line| {
        line.split_whitespace()
            .nth(4)
            .unwrap_or_default()
            .to_owned()
    });
    assert_eq!(core.as_deref(), Some("0"), "no core is left");
    running.signal(Signal::SIGTERM);
    let (_, said) = running.end();
    assert!(said.contains("b2_upload_part"), "it speaks of calls");
    places.push(("its messages", said));
    // Tokens of the emulator begin like this; the key's id by itself is no secret.
    let token = format!("4_{}_", account.key_id);
    for (place, text) in &places {
        for secret in [&account.key, &token] {
            let found = text.find(secret.as_str());
            let around = found.map(|at| text[at.saturating_sub(80)..at].to_owned());
            assert_eq!(around, None, "{place}");
        }
    }
}

/// Nothing that leaves the process but by its connections to B2: files, pipes, local sockets, and programs that it runs.
#[test]
fn no_key_and_no_token_is_in_what_it_writes_or_hands_to_other_programs() {
    let server = emulator();
    let account = Account::of(&server).restricted(WRITER, None);
    let place = Place::new();
    let trace = place.path().join("trace");
    let log = place.path().join("log");
    let plain = b2fuse_with(&account);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-yy", "-v", "-s", "65536", "-o"])
        .arg(&trace)
        .args(["-e", "trace=execve,write,writev,pwrite64,pwritev,sendto,sendmsg,setxattr,symlink,open,openat"])
        .arg(plain.get_program())
        // fusermount3 mounts it, and waits for its end.
        .args(["--debug", "--allow-other", "--auto-unmount", "--metrics", "127.0.0.1:0", "--timeout", "4s"])
        .args(["--rescue", "off", "--log-file"])
        .arg(&log);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut running = Running::mount(command.current_dir("/"), &place.mnt());
    let file = place.mnt().join("file");
    fs::write(&file, vec![7; 100_000]).expect("stored");
    server
        .set_faults(&["*:401:2", "upload:503:2"])
        .expect("words of faults");
    fs::write(&file, vec![8; 100_000]).expect("stored");
    fs::rename(&file, place.mnt().join("renamed")).expect("renamed");
    let (code, _) = crate::harness::outcome(
        crate::harness::b2fuse()
            .args(["status", "--json"])
            .arg(place.mnt()),
    );
    assert_eq!(code, Some(0));
    unmount(&place.mnt());
    assert_eq!(running.end().0, Some(0), "{}", running.said());
    let traced = fs::read_to_string(&trace).expect("the trace");
    let token = format!("4_{}_", account.key_id);
    let (mut programs, mut others, mut to_b2) = (0, 0, 0);
    for line in traced.lines() {
        if line.contains("<TCP:") || line.contains("<TCPv6:") {
            to_b2 += usize::from(line.contains(&token));
            continue;
        }
        if line.contains(" execve(") {
            programs += 1;
            // With what the test itself has started it.
            if programs == 1 {
                continue;
            }
        }
        others += 1;
        for secret in [&account.key, &token] {
            let found = line.find(secret.as_str());
            let around = found.map(|at| line[at.saturating_sub(200)..at].to_owned());
            assert_eq!(around, None);
        }
    }
    // The look itself sees: programs that were run, writes, and the token where it belongs.
    assert!(
        programs > 1 && others > 50 && to_b2 > 3,
        "{programs} {others} {to_b2}"
    );
    let logged = fs::read_to_string(&log).expect("the log");
    assert!(logged.contains("b2_upload_file"), "it speaks of calls");
}
