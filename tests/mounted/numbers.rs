//! What the mount tells of itself, and what the kernel leaves to it in return.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;

use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tools::{both, finish, program, run, shell};
use crate::support::tree::{self, get, noise, put};

fn stats(mount: &Mount) -> Value {
    let text = run(program("getfattr")
        .args(["--only-values", "-n", "user.b2fuse.stats"])
        .arg(mount.path()));
    serde_json::from_str(&text).expect("one value in JSON")
}

#[test]
fn the_roots_attribute_counts_what_b2_counts() {
    let emulator = Emulator::start();
    let mut mount = Mount::new(&emulator);
    let file = mount.path().join("f");
    put(&file, &noise(1, 3_000_000));
    mount.remount();
    emulator.forget_counters();
    // Authorized, and the root was listed.
    let before = stats(&mount);
    assert_eq!(get(&file), noise(1, 3_000_000));
    put(&mount.path().join("g"), &noise(2, 1_000));
    fs::remove_file(&file).unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    let after = stats(&mount);
    let grown = |pointer: &str| {
        let of = |value: &Value| value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        of(&after) - of(&before)
    };
    let counters = emulator.counters();
    for (call, count) in &counters.calls {
        assert_eq!(grown(&format!("/b2/calls/{call}")), *count, "{call}");
    }
    assert_eq!(grown("/b2/class_a"), counters.class_a);
    assert_eq!(grown("/b2/class_b"), counters.class_b);
    assert_eq!(grown("/b2/class_c"), counters.class_c);
    assert_eq!(grown("/b2/bytes_up"), 1_000);
    assert_eq!(grown("/b2/bytes_down"), 3_000_000);
    assert!(grown("/reads/waited") > 0, "{after}");
    assert_eq!(after["names"]["known"], 2, "the root and g: {after}");
    assert_eq!(after["memory"]["limit"], 512 << 20);
    assert!(
        after["memory"]["peak"].as_u64() >= Some(3_000_000),
        "{after}"
    );
    assert_eq!(after["queue"]["removals"], 0);
    assert_eq!(after["not_stored"]["count"], 0);
}

#[test]
fn what_is_not_stored_is_named() {
    let emulator = Emulator::start();
    let mount = Mount::with(&emulator, "list_hashfiles: false\nallow_other: true\n");
    let around = mount.path().parent().expect("a temporary directory");
    fs::set_permissions(around, fs::Permissions::from_mode(0o755)).unwrap();
    put(&mount.path().join("goes"), b"1");
    emulator.faults(&["hide_file:stall=2", "upload_file:403"]);
    fs::remove_file(mount.path().join("goes")).unwrap();
    let mut stays = File::create(mount.path().join("stays")).unwrap();
    stays.write_all(b"2").unwrap();
    assert!(stays.sync_all().is_err());
    drop(stays);
    let numbers = stats(&mount);
    assert_eq!(numbers["queue"]["removals"], 1, "{numbers}");
    assert_eq!(numbers["queue"]["files"], 1, "{numbers}");
    assert_eq!(numbers["queue"]["bytes"], 1, "{numbers}");
    assert_eq!(numbers["not_stored"]["count"], 1, "{numbers}");
    assert_eq!(numbers["not_stored"]["first"][0]["path"], "stays");
    let reason = numbers["not_stored"]["first"][0]["reason"].to_string();
    assert!(reason.contains("cap_exceeded"), "{reason}");
    // Others are told how many, and no paths.
    let mut stranger = program("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    stranger.args(["getfattr", "--only-values", "-n", "user.b2fuse.stats"]);
    let told = run(stranger.arg(mount.path()));
    assert!(
        told.contains("\"not_stored\":{\"count\":1,\"first\":[]}"),
        "{told}"
    );
    emulator.faults(&[]);
}

#[test]
fn nothing_that_copies_attributes_meets_it() {
    let emulator = Emulator::start();
    let mount = Mount::new(&emulator);
    put(&mount.path().join("f"), b"content");
    let copies = tempfile::tempdir().expect("a temporary directory");
    let places = [mount.path().to_owned(), copies.path().to_owned()];
    shell("cp -a \"$1\" \"$2\"/copied", &places);
    shell(
        "tar c --xattrs -C \"$1\" . | tar x --xattrs --one-top-level=\"$2\"/unpacked",
        &places,
    );
    for copy in ["copied", "unpacked"] {
        assert_eq!(tree::names(&copies.path().join(copy)), ["f"]);
        let path = copies.path().join(copy);
        let listed = run(program("getfattr").args(["-d", "-m", "-"]).arg(&path));
        assert!(!listed.contains("b2fuse"), "{listed}");
    }
    // Elsewhere there is none, and none can be set.
    for (line, why) in [
        (
            "getfattr -n user.b2fuse.stats \"$1\"/f",
            "No such attribute",
        ),
        ("getfattr -n user.other \"$1\"", "No such attribute"),
        ("setfattr -n user.b2fuse.stats -v x \"$1\"", "not permitted"),
    ] {
        let refused = finish(program("sh").args(["-c", line, "-"]).arg(mount.path()));
        assert!(!refused.status.success(), "{line}");
        let said = both(&refused);
        assert!(said.contains(why), "{line}: {said}");
    }
}

/// What a change does to set-user-id and set-group-id bits, by whoever may keep them and whoever may not.
fn modes_after(folder: &Path) -> Vec<(String, u32)> {
    let mut seen = Vec::new();
    for mode in [0o6777, 0o6767, 0o4766, 0o2777] {
        for (who, line) in [
            ("root", "printf y | dd conv=notrunc status=none of=\"$1\""),
            ("nobody", "printf y | dd conv=notrunc status=none of=\"$1\""),
            ("nobody", "truncate -s 1 \"$1\""),
            ("nobody", ": > \"$1\""),
            ("nobody", "fallocate -l 100000 \"$1\""),
            ("nobody", "fallocate --punch-hole -l 1 \"$1\""),
            ("root", "chown 1234 \"$1\""),
            ("root", "truncate -s 1 \"$1\""),
        ] {
            let file = folder.join(format!("{}", seen.len()));
            put(&file, b"xx");
            // Nobody's group: who is not in it loses set-group-id on Linux in any case, which the
            // kernel does not tell a FUSE filesystem.
            chown(&file, None, Some(65534)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let mut command = program("setpriv");
            if who == "nobody" {
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            }
            run(command.args(["sh", "-c", line, "-"]).arg(&file));
            let after = fs::metadata(&file).unwrap().mode() & 0o7777;
            seen.push((format!("{mode:o} {who}: {line}"), after));
        }
    }
    seen
}

#[test]
fn set_user_id_bits_go_as_linux_takes_them() {
    let emulator = Emulator::start();
    let mut mount = Mount::with(&emulator, "list_hashfiles: false\nallow_other: true\n");
    let plain = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(plain.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let around = mount.path().parent().expect("a temporary directory");
    fs::set_permissions(around, fs::Permissions::from_mode(0o755)).unwrap();
    let expected = modes_after(plain.path());
    let found = modes_after(mount.path());
    assert_eq!(found, expected);
    mount.remount();
    for (number, (what, mode)) in expected.iter().enumerate() {
        let stored = fs::metadata(mount.path().join(number.to_string())).unwrap();
        assert_eq!(stored.mode() & 0o7777, *mode, "{what}");
    }
}
