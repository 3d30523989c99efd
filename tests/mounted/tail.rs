//! `tail -f` and `tail -F` of a log that another mount appends to.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::emulator::Emulator;
use crate::support::mount::Mount;

const CONFIG: &str = "metadata_ttl: 1s\nstore_open: 1s\n";

/// A program that prints lines until it is told to end.
struct Tail {
    program: Child,
    said: tempfile::NamedTempFile,
}

impl Tail {
    fn start(how: &str, log: &Path) -> Self {
        let said = tempfile::NamedTempFile::new().expect("a file");
        let out = said.reopen().expect("the same file");
        let program = Command::new("tail")
            .args(["-n", "+1", "-s", "0.1", how])
            .arg(log)
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .expect("tail runs");
        Self { program, said }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.said.path()).expect("what tail has said")
    }

    /// Waits until it has said all of that.
    fn comes_to(&self, text: &str) {
        for _ in 0..300 {
            if self.said() == text {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{:?} instead of {text:?}", self.said());
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn line(text: &mut String, number: u32) -> String {
    let line = format!("line {number} {}\n", "x".repeat(number as usize * 97 % 700));
    text.push_str(&line);
    line
}

/// By a program that closes the file after each line, and by one that never does.
#[test]
fn each_line_is_printed_once() {
    for how in ["-f", "-F"] {
        for closes in [true, false] {
            let emulator = Emulator::start();
            let writer = Mount::with(&emulator, CONFIG);
            let log = writer.path().join("log");
            let mut text = String::new();
            fs::write(&log, line(&mut text, 0)).expect("written");
            let reader = Mount::with(&emulator, CONFIG);
            let tail = Tail::start(how, &reader.path().join("log"));
            tail.comes_to(&text);
            let open = || {
                let mut options = OpenOptions::new();
                options.append(true).open(&log).expect("opened")
            };
            let mut logger: Option<File> = None;
            for round in 0..3 {
                for number in 1..=10 {
                    let new = line(&mut text, 100 * round + number);
                    let file = logger.get_or_insert_with(open);
                    file.write_all(new.as_bytes()).expect("written");
                    if closes {
                        logger = None;
                    }
                }
                tail.comes_to(&text);
            }
        }
    }
}

/// A log that begins anew is another file, of which all is printed.
#[test]
fn a_log_that_is_rotated_is_followed() {
    let emulator = Emulator::start();
    let writer = Mount::with(&emulator, CONFIG);
    let log = writer.path().join("log");
    fs::write(&log, "one\n").expect("written");
    let reader = Mount::with(&emulator, CONFIG);
    let tail = Tail::start("-F", &reader.path().join("log"));
    tail.comes_to("one\n");
    fs::rename(&log, writer.path().join("log.1")).expect("renamed");
    fs::write(&log, "two\n").expect("written");
    tail.comes_to("one\ntwo\n");
    let mut file = OpenOptions::new().append(true).open(&log).expect("opened");
    file.write_all(b"three\n").expect("written");
    drop(file);
    tail.comes_to("one\ntwo\nthree\n");
}
