//! A program that is held at a certain point, and killed there.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::forks;

/// A running program whose words are read line by line; killed (`kill -9`) when dropped.
pub(crate) struct Held {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Held {
    /// Starts it so that it ends with the thread that started it. (Not by `timeout`, as other programs
    /// here: the signal must hit the program itself.)
    pub(crate) fn start(name: impl AsRef<OsStr>, set: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(name)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        set(&mut command);
        let mut child = forks::spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let words = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, words }
    }

    /// A script for python3, with arguments.
    pub(crate) fn python<S: AsRef<OsStr>>(
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::start("python3", |command| {
            command.args(["-c", script]).args(arguments);
        })
    }

    /// The next line that it says, without its end; none when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.words.read_line(&mut line).expect("words in UTF-8");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Gives it something to read; the end of it never comes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(bytes).expect("the program reads");
    }

    /// Waits until something has come about by it.
    pub(crate) fn wait_until(&mut self, mut done: impl FnMut() -> bool) {
        while !done() {
            let ended = self.child.try_wait().expect("the process can be asked");
            assert_eq!(ended, None, "the program has ended before");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, Signal::SIGTERM).expect("the process can be signalled");
        self.child.wait().expect("the process can be waited for");
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}
