//! Where the application key comes from: written out, in a file, from a command, or from systemd (`LoadCredential=`).
//!
//! Each source names it in one way, and only the one that counts is read: a command that is overruled is not run. All
//! is read again at SIGHUP. No message holds a key.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::file::Source;
use super::{Environment, Error, KeyCommand, KeyFile, KeySecret, Layer};
use crate::b2::Secret;

/// A password manager may have to ask its user something; what hangs must not keep a machine from starting.
const TIME: Duration = Duration::from_secs(30);
/// Of what a command says, more is no key.
const OUTPUT_MAX: usize = 64 << 10;
/// Characters of a command's complaint that are told.
const COMPLAINT: usize = 300;
/// The name of systemd's credential.
const CREDENTIAL: &str = "b2fuse.key";

impl Layer {
    /// Whether it says in any way what the key is.
    pub(super) fn names_a_key(&self) -> bool {
        !self.ways().is_empty()
    }

    /// The keys of config.yaml in which it says what the key is.
    fn ways(&self) -> Vec<&'static str> {
        let ways = [
            (self.key.is_some(), "applicationKey"),
            (self.key_file.is_some(), "applicationKeyFile"),
            (self.key_command.is_some(), "applicationKeyCommand"),
        ];
        let named = ways.into_iter().filter(|(named, _)| *named);
        named.map(|(_, way)| way).collect()
    }

    /// Refuses a source that says in two ways what the key is; `source` is for the message.
    pub(super) fn has_one_key(&self, source: &str) -> Result<(), Error> {
        match self.ways()[..] {
            [one, other, ..] => Err(Error(format!(
                "{source}: {one} and {other} both say what the key is: keep one of them"
            ))),
            _ => Ok(()),
        }
    }

    /// Takes the key out of the joined layers: reads the file, or runs the command.
    pub(super) fn take_key(
        &mut self,
        environment: &Environment<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Secret>, Error> {
        if let Some(KeySecret(key)) = self.key.take() {
            return Ok(Some(key));
        }
        if let Some(KeyFile(path)) = self.key_file.take() {
            return in_file("applicationKeyFile", &path, Some(warnings)).map(Some);
        }
        if let Some(command) = self.key_command.take() {
            return said_by(&command, TIME).map(Some);
        }
        // systemd lets nobody else read it, by means that the file's mode does not show.
        credential(environment).map_or(Ok(None), |path| in_file(CREDENTIAL, &path, None).map(Some))
    }
}

/// The key that systemd hands over, if it does.
pub(super) fn credential(environment: &Environment<'_>) -> Option<PathBuf> {
    let directory = environment("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty())?;
    let path = PathBuf::from(directory).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// The only word of a file. Where there are `warnings`, others that may read it are told there.
fn in_file(what: &str, path: &Path, warnings: Option<&mut Vec<String>>) -> Result<Secret, Error> {
    let Error(fault) = match Source::open(path) {
        Ok(source) => {
            let shown = path.display();
            if source.others_may_write() {
                return Err(Error(format!(
                    "{shown}: others may write the application key (mode {:o}): chmod go-w {shown}",
                    source.mode()
                )));
            }
            if let Some(warnings) = warnings.filter(|_| source.mode() & 0o044 != 0) {
                warnings.push(format!(
                    "{shown} is the application key and can be read by others (mode {:o}): chmod 600 {shown}",
                    source.mode()
                ));
            }
            match source.text.parse::<KeySecret>() {
                Ok(KeySecret(key)) => return Ok(key),
                Err(wrong) => Error(format!(
                    "{shown}: {wrong}: it is to hold nothing but the key"
                )),
            }
        }
        Err(fault) => fault,
    };
    Err(Error(format!("{what}: {fault}")))
}

/// The first line that a command of the shell says within that time.
fn said_by(KeyCommand(command): &KeyCommand, time: Duration) -> Result<Secret, Error> {
    let failed = |how: &str| Error(format!("applicationKeyCommand {how}"));
    let mut child = Command::new("sh")
        .args([OsString::from("-c"), command.into()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What it has started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed(&format!("cannot be run by sh: {e}")))?;
    let heard = (
        listen(child.stdout.take(), true),
        listen(child.stderr.take(), false),
    );
    let end = Instant::now() + time;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                kill(&mut child);
                let complaint = complaint(&heard.1, "");
                return Err(failed(&format!(
                    "has not ended within {} seconds{complaint}",
                    time.as_secs()
                )));
            }
            Err(e) => return Err(failed(&format!("cannot be waited for: {e}"))),
        }
    };
    let said = heard.0.text();
    let first = said.lines().next().unwrap_or_default().trim();
    if !status.success() {
        let complaint = complaint(&heard.1, first);
        return Err(failed(&format!("failed ({status}){complaint}")));
    }
    match first.parse::<KeySecret>() {
        Ok(KeySecret(key)) => Ok(key),
        Err(_) if first.is_empty() => Err(failed(&format!(
            "said nothing: its first line is to be the key{}",
            complaint(&heard.1, first)
        ))),
        Err(wrong) => Err(failed(&format!(
            "said something else than a key: its first line {wrong}"
        ))),
    }
}

/// What a pipe has brought so far.
struct Heard {
    said: Arc<Mutex<Vec<u8>>>,
    enough: mpsc::Receiver<()>,
}

impl Heard {
    /// All of it, or where a program that was left running holds the pipe, what came until then.
    fn text(&self) -> String {
        let _ = self.enough.recv_timeout(Duration::from_secs(1));
        String::from_utf8_lossy(&self.said.lock()).into_owned()
    }
}

/// Listens beside: to all, or to the `first_line` only. What goes beyond is read and forgotten, so that nobody waits.
fn listen<R: Read + Send + 'static>(pipe: Option<R>, first_line: bool) -> Heard {
    let (sender, enough) = mpsc::sync_channel(1);
    let said = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&said);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let Some(mut pipe) = pipe else { return };
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            let mut said = shared.lock();
            if said.len() < OUTPUT_MAX {
                said.extend_from_slice(&buffer[..len]);
            }
            if first_line && said.contains(&b'\n') {
                let _ = sender.try_send(());
            }
        }
    });
    Heard { said, enough }
}

fn kill(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    if killpg(group, Signal::SIGKILL).is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
}

/// What the command has said on stderr, for a message, without what may be the key.
fn complaint(heard: &Heard, key: &str) -> String {
    let said = heard.text();
    let said = match key {
        "" => said,
        key => said.replace(key, "(withheld)"),
    };
    let words: Vec<&str> = said.split_whitespace().collect();
    let plain = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(COMPLAINT)
        .collect::<String>();
    if plain.is_empty() {
        plain
    } else {
        format!(": {plain}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("b2fuse.key");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("mode set");
        (dir, path)
    }

    #[test]
    fn a_file_of_the_key_holds_nothing_else_and_nobody_else_may_write_it() {
        for (text, mode, said) in [
            ("K001verysecret\n", 0o600, Ok(0)),
            ("  K001verysecret", 0o400, Ok(0)),
            ("K001verysecret\n", 0o640, Ok(1)),
            (
                "K001verysecret\n",
                0o646,
                Err("others may write the application key (mode 646)"),
            ),
            (
                "K001verysecret\nmore\n",
                0o600,
                Err("it is to hold nothing but the key"),
            ),
            ("\n", 0o600, Err("empty")),
        ] {
            let (_dir, path) = file(text, mode);
            let mut warnings = Vec::new();
            match (
                in_file("applicationKeyFile", &path, Some(&mut warnings)),
                said,
            ) {
                (Ok(key), Ok(warned)) => {
                    assert_eq!(key.expose(), "K001verysecret");
                    assert_eq!(warnings.len(), warned, "{mode:o}: {warnings:?}");
                }
                (Err(Error(fault)), Err(said)) => {
                    assert!(fault.contains(said), "{fault}");
                    assert!(!fault.contains("verysecret"), "{fault}");
                }
                (other, _) => panic!("{text:?} {mode:o}: {other:?}"),
            }
        }
        let missing = in_file("applicationKeyFile", Path::new("/nonexistent/key"), None);
        let Error(fault) = missing.expect_err("missing");
        assert!(
            fault.starts_with("applicationKeyFile: /nonexistent/key: cannot be read"),
            "{fault}"
        );
    }

    #[test]
    fn a_command_says_the_key_in_its_first_line_or_why_it_cannot() {
        for (command, said) in [
            ("echo K001verysecret; echo more", Ok("K001verysecret")),
            ("printf ' K001verysecret '", Ok("K001verysecret")),
            ("sleep 9 & echo K001verysecret", Ok("K001verysecret")),
            ("yes K001verysecret | head -n 100000", Ok("K001verysecret")),
            (
                "echo no such entry >&2; exit 3",
                Err("failed (exit status: 3): no such entry"),
            ),
            (
                "echo K001verysecret; echo K001verysecret >&2; false",
                Err("(withheld)"),
            ),
            ("kill -9 $$", Err("failed (signal: 9")),
            ("true", Err("said nothing: its first line is to be the key")),
            (
                "echo locked >&2",
                Err("said nothing: its first line is to be the key: locked"),
            ),
            ("echo two verysecret words", Err("must be one word")),
            ("/nonexistent/verysecret", Err("failed (exit status: 127)")),
        ] {
            let command = command.parse().expect("a command");
            let long = Duration::from_secs(3600);
            match (said_by(&command, long), said) {
                (Ok(key), Ok(wanted)) => assert_eq!(key.expose(), wanted),
                (Err(Error(fault)), Err(said)) => {
                    assert!(fault.starts_with("applicationKeyCommand "), "{fault}");
                    assert!(fault.contains(said), "{fault}");
                    assert!(!fault.contains("K001verysecret"), "{fault}");
                }
                (other, _) => panic!("{other:?} but {said:?}"),
            }
        }
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_has_started() {
        let command = "echo waiting >&2; sleep 1000 | sleep 1000"
            .parse()
            .expect("a command");
        let Error(fault) = said_by(&command, Duration::ZERO).expect_err("ended");
        assert!(
            fault.starts_with("applicationKeyCommand has not ended within 0 seconds"),
            "{fault}"
        );
    }

    #[test]
    fn two_ways_to_say_the_key_are_one_too_many() {
        let layer = Layer {
            key_file: Some("/k".parse().expect("a path")),
            key_command: Some("pass".parse().expect("a command")),
            ..Layer::default()
        };
        assert_eq!(
            layer.has_one_key("c.yaml").expect_err("ambiguous").0,
            "c.yaml: applicationKeyFile and applicationKeyCommand both say what the key is: keep one of them"
        );
    }

    #[test]
    fn systemds_credential_is_the_last_resort() {
        let (dir, _path) = file("K001credential\n", 0o440);
        let directory = dir.path().as_os_str().to_owned();
        let environment =
            move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.clone());
        let mut warnings = Vec::new();
        let mut layer = Layer::default();
        let key = layer.take_key(&environment, &mut warnings).expect("read");
        assert_eq!(key.expect("there").expose(), "K001credential");
        assert!(warnings.is_empty(), "{warnings:?}");
        layer.key_command = Some("echo K001command".parse().expect("a command"));
        let key = layer.take_key(&environment, &mut warnings).expect("run");
        assert_eq!(key.expect("there").expose(), "K001command");
        let none = Layer::default().take_key(&|_| None, &mut warnings);
        assert_eq!(none.expect("nothing asked"), None);
    }
}
