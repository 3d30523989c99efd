//! The command as its user meets it: messages and exit codes of every failure, and every way to end.

mod account;
mod background;
mod check;
#[allow(dead_code, reason = "shared with tests/ending")]
mod harness;
mod helper;
mod leaks;
mod logging;
mod metrics;
mod mountpoint;
mod page;
mod reference;
mod reload;
mod running;
mod service;
mod setup;
mod unread;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use harness::*;
use nix::sys::signal::Signal;

const WRITER: &[&str] = &["listFiles", "readFiles", "writeFiles", "deleteFiles"];

#[test]
fn wrong_usage_ends_with_2() {
    for (args, said) in [
        (
            &[][..],
            "the mountpoint is missing: b2fuse [options] <mountpoint>",
        ),
        (&["--nonsense", "/m"], "unexpected argument '--nonsense'"),
        (
            &["--memory", "lots", "/m"],
            "\"lots\" is not a size: write bytes or a unit, 512MiB say",
        ),
        (
            &["--application_key", "K001verysecret", "/m"],
            "the application key is no option",
        ),
        (
            &["--write-back", "soon", "/m"],
            "\"soon\" is not a time: write off, or the time to wait after close, 5s say",
        ),
        (
            &["--endpoint", "http://b2.example", "/m"],
            "would send the key unencrypted",
        ),
    ] {
        let (code, text) = outcome(b2fuse().args(args));
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
        assert!(!text.contains("verysecret"), "{text}");
    }
    let (code, text) = outcome(b2fuse().arg("--version"));
    assert_eq!(
        (code, text.trim()),
        (Some(0), concat!("b2fuse ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn a_broken_configuration_ends_with_2_before_anything_is_mounted() {
    let place = Place::new();
    let config = place.path().join("config.yaml");
    fs::write(
        &config,
        "accountId: a\napplicationKey: K001verysecret\nmemory: lots\n",
    )
    .expect("written");
    let message = "3: memory: \"lots\" is not a size: write bytes or a unit, 512MiB say\n";
    let named = outcome(b2fuse().arg("--config").arg(&config).arg(place.mnt()));
    assert_eq!(
        named,
        (Some(2), format!("b2fuse: {}:{message}", config.display()))
    );
    let beside = outcome(b2fuse().current_dir(place.path()).arg(place.mnt()));
    assert_eq!(beside, (Some(2), format!("b2fuse: config.yaml:{message}")));
    fs::create_dir(place.path().join("b2fuse")).expect("made");
    fs::rename(&config, place.path().join("b2fuse/config.yaml")).expect("moved");
    let of_user = outcome(
        b2fuse()
            .env("XDG_CONFIG_HOME", place.path())
            .arg(place.mnt()),
    );
    let path = place.path().join("b2fuse/config.yaml");
    assert_eq!(
        of_user,
        (Some(2), format!("b2fuse: {}:{message}", path.display()))
    );
    let (code, text) = outcome(b2fuse().arg(place.mnt()));
    assert_eq!(code, Some(2));
    for part in [
        "`b2fuse setup` asks for it",
        "write these lines into /nonexistent/.config/b2fuse/config.yaml (chmod 600):",
        "applicationKey: ",
        "b2fuse --emulator DIR",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(mounted_on(&place.mnt()).is_empty());
}

#[test]
fn a_mountpoint_that_does_not_fit_ends_with_1() {
    let place = Place::new();
    let account = Account::of(&emulator());
    fs::write(place.path().join("file"), "x").expect("written");
    for (point, said) in [
        ("missing", "missing does not exist: make it with: mkdir "),
        ("file", "file is not a directory: name an empty directory"),
        (
            ".",
            "is not empty, the mount would hide what is there: name an empty directory",
        ),
        (
            "/proc",
            "/proc is already a mountpoint (proc of type proc): unmount that first",
        ),
    ] {
        let (code, text) = outcome(b2fuse_with(&account).arg(place.path().join(point)));
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.starts_with("b2fuse: ") && text.contains(said),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_bucket_that_cannot_be_opened_ends_with_1_and_leaves_nothing_mounted() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let wrong_key = Account {
        key: "K001verysecret".into(),
        ..account.clone()
    };
    let unknown_bucket = Account {
        bucket: "no-such-bucket".into(),
        ..account.clone()
    };
    let unlistable = account.restricted(&["readFiles", "writeFiles"], None);
    let unreadable = account.restricted(&["listFiles", "writeFiles"], None);
    let unreachable = Account {
        endpoint: "http://127.0.0.1:1".into(),
        ..account.clone()
    };
    for (account, said) in [
        (wrong_key, "B2 does not accept the key"),
        (
            unknown_bucket,
            "knows no bucket no-such-bucket: check its name",
        ),
        (unlistable, "the key may not listFiles in the bucket"),
        (unreadable, "the key may not readFiles in the bucket"),
        (
            unreachable,
            "cannot reach http://127.0.0.1:1: check network and endpoint",
        ),
    ] {
        let mut command = b2fuse_with(&account);
        let (code, text) = outcome(command.args(["--timeout", "3s"]).arg(place.mnt()));
        assert_eq!(code, Some(1), "{said}: {text}");
        assert!(text.contains(said), "{said}: {text}");
        assert!(!text.contains("verysecret"), "{text}");
        assert!(mounted_on(&place.mnt()).is_empty());
    }
}

#[test]
fn the_emulator_makes_its_mountpoint_and_says_what_to_try() {
    let place = Place::new();
    let point = place.path().join("made");
    let mut running = Running::mount(b2fuse().arg("--emulator"), &point);
    let told: Vec<_> = (0..3).map(|_| running.line()).collect();
    assert!(told[0].contains("vanishes at the end"), "{told:?}");
    assert!(told[1].starts_with("try:   cp "), "{told:?}");
    fs::write(point.join("a"), "b").expect("written");
    assert_eq!(fs::read_to_string(point.join("a")).expect("read"), "b");
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn the_mount_shows_what_it_is_and_hides_the_key() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let point = place.mnt().display().to_string();
    let line = table.lines().find(|l| l.contains(&point)).expect("mounted");
    for part in [
        " fuse.b2fuse ",
        &format!(" b2fuse:{} ", account.bucket),
        "default_permissions",
        "noatime",
        "nosuid",
        "nodev",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("allow_other"), "{line}");
    let other = Place::new();
    let mut shared = b2fuse_with(&account);
    let _shared = Running::mount(shared.arg("--allow_other"), &other.mnt());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let point = other.mnt().display().to_string();
    let line = table.lines().find(|l| l.contains(&point)).expect("mounted");
    assert!(line.contains("allow_other"), "{line}");
    let cmdline = fs::read(format!("/proc/{}/cmdline", running.pid())).expect("it runs");
    assert!(!String::from_utf8_lossy(&cmdline).contains(&account.key));
}

#[test]
fn a_second_mount_on_the_same_place_is_refused() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let _running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    let (code, text) = outcome(b2fuse_with(&account).arg(place.mnt()));
    assert_eq!(code, Some(1));
    let source = format!("(b2fuse:{} of type fuse.b2fuse)", account.bucket);
    assert!(
        text.contains("is already a mountpoint") && text.contains(&source),
        "{text}"
    );
    assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse"]);
}

#[test]
fn a_key_that_may_only_read_mounts_read_only_and_says_so() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    fs::write(place.mnt().join("a"), "b").expect("written");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
    let reader = account.restricted(&WRITER[..2], None);
    let running = Running::mount(&mut b2fuse_with(&reader), &place.mnt());
    running.hear("the key may only read (it lacks writeFiles): mounted read-only");
    assert_eq!(
        fs::read_to_string(place.mnt().join("a")).expect("read"),
        "b"
    );
    let refused = fs::write(place.mnt().join("c"), "d").expect_err("read-only");
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn the_prefix_of_a_restricted_key_is_the_root() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut running = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    fs::create_dir_all(place.mnt().join("team/a")).expect("made");
    fs::write(place.mnt().join("team/a/inside"), "x").expect("written");
    fs::write(place.mnt().join("outside"), "y").expect("written");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
    let key = account.restricted(WRITER, Some("team/a/"));
    // Bound to one bucket, it needs no name of it.
    let key = Account {
        bucket: String::new(),
        ..key
    };
    let _running = Running::mount(&mut b2fuse_with(&key), &place.mnt());
    let names: Vec<_> = fs::read_dir(place.mnt())
        .expect("listed")
        .map(|e| e.expect("an entry").file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".sha1"))
        .collect();
    assert_eq!(names, ["inside"]);
}

#[test]
fn what_is_refused_is_refused_on_purpose() {
    let server = emulator();
    let place = Place::new();
    let _running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let file = place.mnt().join("a");
    fs::write(&file, "content").expect("written");
    let link = fs::hard_link(&file, place.mnt().join("b")).expect_err("no hard links");
    assert_eq!(link.raw_os_error(), Some(libc::EPERM));
    let tool = |line: &str| {
        let text = line.replace("FILE", &file.display().to_string());
        let (code, said) = outcome(Command::new("sh").arg("-c").arg(&text));
        assert!(!said.contains("not implemented"), "{text}: {said}");
        (code, said)
    };
    assert_eq!(tool("cp FILE FILE.copy && cmp FILE FILE.copy").0, Some(0));
    assert_eq!(tool("flock FILE true").0, Some(0));
    assert_eq!(
        tool("fallocate -l 20 FILE && stat -c %s FILE"),
        (Some(0), "20\n".into())
    );
    // What would move bytes within a file.
    for flag in ["--collapse-range", "--insert-range"] {
        let said = tool(&format!("fallocate {flag} -o 0 -l 4096 FILE")).1;
        assert!(said.contains("not supported"), "{flag}: {said}");
    }
}

/// fuser 0.18 hands over fractions before 1970 with the wrong sign.
#[test]
fn times_before_1970_are_kept() {
    let server = emulator();
    let place = Place::new();
    let _running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let file = place.mnt().join("old");
    fs::write(&file, "x").expect("written");
    let touched = Command::new("touch")
        .args(["-d", "@-1.5"])
        .arg(&file)
        .status();
    assert!(touched.expect("touch").success());
    let metadata = file.metadata().expect("there");
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-2, 500_000_000));
    // The earliest second of all overflows in fuser; the mount must live on, whatever the file shows.
    let touched = Command::new("touch")
        .args(["-d", "@-9223372036854775808"])
        .arg(&file)
        .status();
    touched.expect("touch");
    fs::write(&file, "y").expect("it lives");
}

#[test]
fn the_emulator_alone_tells_other_clients_all_they_need() {
    let mut running = Running::start(b2fuse().args(["--emulator-listen", "127.0.0.1:0"]));
    let mut told = String::new();
    while !told.contains("b2fuse <mountpoint>") {
        told.push_str(&running.line());
        told.push('\n');
    }
    let value = |name: &str| {
        let line = told.lines().find(|l| l.starts_with(name)).expect("told");
        line[name.len()..].trim().to_owned()
    };
    let account = Account {
        endpoint: value("endpoint"),
        key_id: value("key id"),
        key: value("key   "),
        bucket: value("bucket"),
    };
    let place = Place::new();
    let mut mount = Running::mount(&mut b2fuse_with(&account), &place.mnt());
    mount.signal(Signal::SIGTERM);
    assert_eq!(mount.end().0, Some(0));
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().0, Some(0));
}

/// Not "Function not implemented", which fuser would let them see.
#[test]
fn programs_are_told_which_extended_attributes_are_not_supported() {
    let server = emulator();
    let place = Place::new();
    let _running = Running::mount(&mut b2fuse_with(&Account::of(&server)), &place.mnt());
    let file = place.mnt().join("a");
    fs::write(&file, "content").expect("written");
    let script = "import os, sys\n\
        for call in (lambda f: os.getxattr(f, 'trusted.x'), lambda f: os.setxattr(f, 'trusted.x', b'1'),\n\
                     lambda f: os.removexattr(f, 'trusted.x')):\n\
        \x20   for again in range(2):\n\
        \x20       try: call(sys.argv[1]); print('done')\n\
        \x20       except OSError as e: print(e.errno)\n";
    let (code, said) = outcome(Command::new("python3").args(["-c", script]).arg(&file));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, format!("{}\n", libc::EOPNOTSUPP).repeat(6));
}

/// The numbers of the mount are an attribute; that must not make the kernel ask for one before each write.
#[test]
fn writes_are_spared_the_question_for_capabilities() {
    let server = emulator();
    let place = Place::new();
    let mut command = b2fuse_with(&Account::of(&server));
    let mut running = Running::mount(command.arg("--debug"), &place.mnt());
    let mut file = fs::File::create(place.mnt().join("f")).expect("created");
    for _ in 0..200 {
        file.write_all(b"one write").expect("written");
    }
    drop(file);
    running.signal(Signal::SIGTERM);
    let (_, said) = running.end();
    let count = |word| said.matches(word).count();
    assert!(count(" WRITE ") >= 200, "requests are in the log");
    assert!(count(" GETXATTR ") <= 3, "{}", count(" GETXATTR "));
}
