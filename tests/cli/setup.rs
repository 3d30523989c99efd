//! `b2fuse setup`: on a terminal, and without one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use crate::WRITER;
use crate::harness::*;

/// A command on a terminal, and what it has said there.
struct Talk {
    child: Child,
    keys: File,
    said: Arc<Mutex<String>>,
    /// Where the last thing that was waited for ends.
    heard: usize,
}

impl Talk {
    fn begin(command: &mut Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master: OwnedFd = openpt(flags).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let terminal = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().expect("UTF-8"))
            .expect("its other end");
        let end = || terminal.try_clone().expect("a descriptor");
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("it starts");
        let keys = File::from(master);
        let mut screen = keys.try_clone().expect("a descriptor");
        let said = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&said);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                shared.lock().expect("no panic").push_str(&text);
            }
        });
        Self {
            child,
            keys,
            said,
            heard: 0,
        }
    }

    /// Waits for a question, and answers.
    fn answer(&mut self, question: &str, keys: &str) {
        let (said, from) = (Arc::clone(&self.said), self.heard);
        let mut end = None;
        eventually(&format!("{question:?}"), || {
            let said = said.lock().expect("no panic");
            end = said[from..]
                .find(question)
                .map(|at| from + at + question.len());
            end.is_some()
        });
        self.heard = end.expect("heard");
        self.keys.write_all(keys.as_bytes()).expect("typed");
    }

    /// Exit code, and all that stood on the terminal.
    fn end(mut self) -> (Option<i32>, String) {
        let mut ended = None;
        eventually("it ends", || {
            ended = self.child.try_wait().expect("it is ours");
            ended.is_some()
        });
        let said = Arc::clone(&self.said);
        // What it said last is on its way.
        let mut before = usize::MAX;
        eventually("it has been heard", || {
            let now = said.lock().expect("no panic").len();
            std::mem::replace(&mut before, now) == now
        });
        let said = self.said.lock().expect("no panic").clone();
        (ended.and_then(|status| status.code()), said)
    }
}

/// A user without any configuration, and where it would be.
fn user(place: &Place) -> (Command, PathBuf) {
    let mut command = b2fuse();
    command.env("XDG_CONFIG_HOME", place.path()).arg("setup");
    (command, place.path().join("b2fuse/config.yaml"))
}

#[test]
fn the_account_is_asked_for_tried_and_written_and_then_mounts() {
    let server = emulator();
    let account = Account::of(&server);
    account.call(
        "b2_create_bucket",
        |id, _| json!({"accountId": id, "bucketName": "another-one", "bucketType": "allPrivate"}),
    );
    let place = Place::new();
    let (mut command, path) = user(&place);
    let mut talk = Talk::begin(command.env("B2_ENDPOINT", &account.endpoint));
    talk.answer("Key id: ", &format!("{}\r", account.key_id));
    talk.answer("Application key (it is not shown): ", "K001mistyped\r");
    talk.answer("B2 does not accept the key", "");
    talk.answer("Key id: ", &format!("{}\r", account.key_id));
    talk.answer(
        "Application key (it is not shown): ",
        &format!("{}x\x7f\r", account.key),
    );
    talk.answer("may list, read, write, delete", "");
    talk.answer("Which bucket (number or name)? ", "9\r");
    talk.answer(
        "Which bucket (number or name)? ",
        &format!("{}\r", account.bucket),
    );
    let (code, said) = talk.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("to mount it: mkdir -p ~/b2 && b2fuse ~/b2"),
        "{said}"
    );
    for hidden in [&*account.key, "mistyped"] {
        assert!(!said.contains(hidden), "{said}");
    }
    assert_eq!(path.metadata().expect("written").mode() & 0o777, 0o600);
    let mut mount = b2fuse();
    mount.env("XDG_CONFIG_HOME", place.path());
    let running = Running::mount(&mut mount, &place.mnt());
    fs::write(place.mnt().join("f"), "x").expect("stored");
    drop(running);
    // Never overwritten without a question, which Enter denies.
    let before = fs::read(&path).expect("read");
    let (mut command, _) = user(&place);
    let mut talk = Talk::begin(&mut command);
    talk.answer("Overwrite it? [y/N] ", "\r");
    let (code, said) = talk.end();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(fs::read(&path).expect("read"), before);
}

/// The command as the owner of its terminal, which sends signals to nobody else.
fn owner(command: &Command) -> Command {
    let mut own = Command::new("setsid");
    own.arg("--ctty")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => own.env(name, value),
            None => own.env_remove(name),
        };
    }
    own
}

#[test]
fn ctrl_c_leaves_nothing() {
    let place = Place::new();
    for at_the_key in [false, true] {
        let (mut command, path) = user(&place);
        command = owner(&command);
        let mut talk = Talk::begin(&mut command);
        if at_the_key {
            talk.answer("Key id: ", "001\r");
            talk.answer("Application key (it is not shown): ", "K0\x03");
        } else {
            talk.answer("Key id: ", "0\x03");
        }
        let (code, said) = talk.end();
        assert_ne!(code, Some(0), "{said}");
        assert!(!path.exists(), "{said}");
        assert!(!place.path().join("b2fuse").exists(), "nothing at all");
    }
}

#[test]
fn a_signal_at_the_key_leaves_a_terminal_that_shows_what_is_typed() {
    let place = Place::new();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let (command, _) = user(&place);
        let mut talk = Talk::begin(&mut owner(&command));
        let modes = |talk: &Talk| tcgetattr(&talk.keys).expect("its modes").local_flags;
        talk.answer("Key id: ", "");
        let before = modes(&talk);
        assert!(before.contains(LocalFlags::ECHO | LocalFlags::ISIG));
        talk.answer("", "001\r");
        talk.answer("Application key (it is not shown): ", "K0");
        assert!(!modes(&talk).contains(LocalFlags::ECHO));
        kill(Pid::from_raw(talk.child.id().cast_signed()), signal).expect("it runs");
        let mut ended = None;
        eventually("it ends", || {
            ended = talk.child.try_wait().expect("it is ours");
            ended.is_some()
        });
        let by = ended.and_then(|status| status.signal());
        assert_eq!(by, Some(signal as i32), "{signal}");
        assert_eq!(modes(&talk), before, "{signal}");
    }
    // Whom a terminal's end is to leave alone, it does.
    let (command, path) = user(&place);
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    deaf.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut talk = Talk::begin(&mut deaf);
    talk.answer("Key id: ", "001\r");
    talk.answer("Application key (it is not shown): ", "K0");
    kill(Pid::from_raw(talk.child.id().cast_signed()), Signal::SIGHUP).expect("it runs");
    talk.answer("", "\x03");
    let (code, said) = talk.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(!path.exists());
}

#[test]
fn a_link_to_a_file_that_is_missing_is_followed_or_refused() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let (command, path) = user(&place);
    let set_up = || {
        let mut with_account = b2fuse_with(&account);
        with_account.args(command.get_args());
        with_account.env("XDG_CONFIG_HOME", place.path());
        outcome(&mut with_account)
    };
    let kept = place.path().join("kept");
    fs::create_dir(path.parent().expect("a directory")).expect("made");
    symlink(kept.join("b2.yaml"), &path).expect("linked");
    let (code, text) = set_up();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("whose directory is not there: make or mount that, or remove the link"),
        "{text}"
    );
    assert!(path.is_symlink() && !kept.exists());
    fs::create_dir(&kept).expect("made");
    let (code, text) = set_up();
    assert_eq!(code, Some(0), "{text}");
    assert!(path.is_symlink());
    let written = fs::read_to_string(kept.join("b2.yaml")).expect("written");
    assert!(written.contains("bucketName: "), "{written}");
}

#[test]
fn without_a_terminal_all_is_named_or_nothing_is_written() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let (mut command, path) = user(&place);
    let (code, text) = outcome(&mut command);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("setup asks on a terminal, and there is none"),
        "{text}"
    );
    // A key that is bound to a bucket needs no name of it.
    let bound = account.restricted(WRITER, None);
    let conf = place.path().join("rclone.conf");
    fs::write(
        &conf,
        format!(
            "[mine]\ntype = b2\naccount = {}\nkey = {}\nendpoint = {}\n",
            bound.key_id, bound.key, bound.endpoint
        ),
    )
    .expect("written");
    let (mut command, _) = user(&place);
    command
        .env("RCLONE_CONFIG", &conf)
        .args(["--from-rclone", "mine"]);
    let (code, text) = outcome(&mut command);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(&bound.key), "{text}");
    let written = fs::read_to_string(&path).expect("written");
    assert!(
        written.contains(&format!("bucketName: {}\n", account.bucket)),
        "{written}"
    );
    let (code, text) = outcome(&mut command);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("exists, and stays as it is"), "{text}");
    let (code, text) = outcome(command.args(["--profile", "second"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("b2fuse --profile second ~/b2"), "{text}");
    assert!(path.with_file_name("second.yaml").exists());
}
