//! Where messages go: stderr, a file, the journal or syslog. Only the thread of messages is here, and may wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::Level;

use super::entry::{Entry, Style};

/// The native protocol of systemd-journald.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The protocol of syslog(3).
const SYSLOG: &str = "/dev/log";
/// A datagram that is larger may not fit.
const LONGEST: usize = 32 << 10;
/// A file that cannot be opened is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// What takes a line away.
const CLEARED: &str = "\r\x1b[K";

pub(super) struct Sink {
    pub(super) style: Style,
    /// For what a file does not take, and for whoever has called the command.
    stderr: Box<dyn Write + Send>,
    /// The line that is renewed in place there; empty: none.
    renewed: String,
    to: To,
}

enum To {
    Stderr,
    File(LogFile),
    System(System),
}

impl Sink {
    pub(super) fn stderr() -> Self {
        Self {
            style: Style::default(),
            stderr: Box::new(io::stderr()),
            renewed: String::new(),
            to: To::Stderr,
        }
    }

    /// Without stderr.
    #[cfg(test)]
    pub(super) fn quiet() -> Self {
        Self {
            stderr: Box::new(io::sink()),
            ..Self::stderr()
        }
    }

    /// Whether it has gone where it belongs.
    pub(super) fn take(&mut self, entry: &Entry) -> bool {
        let taken = match &mut self.to {
            To::Stderr => {
                self.put_on_stderr(entry);
                return true;
            }
            To::File(file) => file.write(&entry.line(self.style, true)),
            To::System(system) => system.send(entry),
        };
        if taken.is_err() || entry.said {
            self.put_on_stderr(entry);
        }
        taken.is_ok()
    }

    fn put_on_stderr(&mut self, entry: &Entry) {
        // A reader that has gone away is no reason to end.
        let mut line = entry.line(self.style, false);
        if !self.renewed.is_empty() {
            line = format!("{CLEARED}{line}{}", self.renewed);
        }
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Shows a line on a terminal in the place of the one before.
    pub(super) fn renew(&mut self, line: String) {
        let _ = self.stderr.write_all(format!("{CLEARED}{line}").as_bytes());
        let _ = self.stderr.flush();
        self.renewed = line;
    }

    pub(super) fn go_to_file(&mut self, path: PathBuf) {
        let mut file = LogFile::new(path);
        if let Err(error) = file.open() {
            let text = format!(
                "log_file {}: {error}; messages go to stderr until it can be written",
                file.path.display()
            );
            self.put_on_stderr(&Entry::own(Level::Warn, text));
        }
        self.to = To::File(file);
    }

    pub(super) fn go_to_the_system(&mut self) {
        if matches!(self.to, To::Stderr)
            && let Some(system) = System::find(Path::new(JOURNAL), Path::new(SYSLOG))
        {
            self.to = To::System(system);
        }
    }

    pub(super) fn reopen(&mut self) {
        let To::File(file) = &mut self.to else { return };
        if let Err(error) = file.open() {
            let text = format!(
                "log_file {}: {error}; messages go where they went",
                file.path.display()
            );
            self.take(&Entry::own(Level::Warn, text));
        }
    }
}

/// A file that messages are appended to. What cannot be written is an error, and no more than that.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    tried: Option<Instant>,
    /// It ends in the middle of a line.
    torn: bool,
}

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            tried: None,
            torn: false,
        }
    }

    /// Opens what the path leads to now; on an error the file before stays.
    fn open(&mut self) -> io::Result<()> {
        self.tried = Some(Instant::now());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            // A fifo that nobody reads would be waited for.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&self.path)?;
        self.file = Some(file);
        self.torn = false;
        Ok(())
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.file.is_none() && self.tried.is_none_or(|tried| tried.elapsed() > AGAIN) {
            self.open()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What the machine keeps for programs without a terminal.
struct System {
    socket: UnixDatagram,
    path: PathBuf,
    native: bool,
}

impl System {
    /// The journal if it listens, else syslog.
    fn find(journal: &Path, syslog: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        let listens =
            |path: &Path| UnixDatagram::unbound().is_ok_and(|socket| socket.connect(path).is_ok());
        let native = listens(journal);
        if !native && !listens(syslog) {
            return None;
        }
        let path = if native { journal } else { syslog };
        Some(Self {
            socket,
            path: path.to_owned(),
            native,
        })
    }

    fn send(&self, entry: &Entry) -> io::Result<()> {
        let datagram = if self.native {
            for_journal(entry)
        } else {
            for_syslog(entry)
        };
        // By its path each time: it may have been started anew.
        self.socket.send_to(&datagram, &self.path).map(drop)
    }
}

/// As in syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn for_journal(entry: &Entry) -> Vec<u8> {
    let text = shortened(&entry.text);
    let mut datagram = format!(
        "PRIORITY={}\nSYSLOG_IDENTIFIER=b2fuse\nTARGET={}\n",
        severity(entry.level),
        entry.target
    )
    .into_bytes();
    // A value of several lines is told by its length.
    datagram.extend_from_slice(b"MESSAGE\n");
    datagram.extend_from_slice(&(text.len() as u64).to_le_bytes());
    datagram.extend_from_slice(text.as_bytes());
    datagram.push(b'\n');
    datagram
}

fn for_syslog(entry: &Entry) -> Vec<u8> {
    const DAEMON: u8 = 3;
    let priority = DAEMON * 8 + severity(entry.level);
    let text = shortened(&entry.text).replace('\n', " ");
    format!("<{priority}>b2fuse[{}]: {text}", std::process::id()).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(text: &str) -> Entry {
        Entry::own(Level::Warn, text.to_owned())
    }

    #[test]
    fn a_log_file_is_its_owners_and_begun_anew_when_it_was_renamed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut sink = Sink::quiet();
        sink.go_to_file(path.clone());
        assert!(sink.take(&entry("one")));
        let mode = fs::metadata(&path).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::rename(&path, &old).expect("renamed");
        assert!(sink.take(&entry("two")));
        sink.reopen();
        assert!(sink.take(&entry("three")));
        let old = fs::read_to_string(old).expect("read");
        assert!(old.contains("one") && old.contains("two") && !old.contains("three"));
        let new = fs::read_to_string(path).expect("read");
        assert!(new.ends_with(" warning: three\n"), "{new}");
        assert_eq!(new.lines().count(), 1);
    }

    #[test]
    fn messages_go_above_the_line_that_is_renewed() {
        #[derive(Clone, Default)]
        struct Terminal(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);
        impl Write for Terminal {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let terminal = Terminal::default();
        let mut sink = Sink {
            stderr: Box::new(terminal.clone()),
            ..Sink::stderr()
        };
        sink.renew("1 file".to_owned());
        sink.take(&entry("a"));
        sink.renew(String::new());
        sink.take(&entry("b"));
        let shown = String::from_utf8(terminal.0.lock().clone()).expect("UTF-8");
        assert_eq!(
            shown,
            "\r\x1b[K1 file\r\x1b[Kb2fuse: warning: a\n1 file\r\x1b[Kb2fuse: warning: b\n"
        );
    }

    #[test]
    fn where_no_file_can_be_made_the_old_one_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let inside = dir.path().join("d");
        fs::create_dir(&inside).expect("made");
        let mut sink = Sink::quiet();
        sink.go_to_file(inside.join("log"));
        let moved = dir.path().join("moved");
        fs::rename(&inside, &moved).expect("renamed");
        sink.reopen();
        assert!(sink.take(&entry("still here")));
        let said = fs::read_to_string(moved.join("log")).expect("read");
        assert!(said.contains("messages go where they went"), "{said}");
        assert!(said.contains("still here"), "{said}");
    }

    #[test]
    fn a_file_that_cannot_be_made_loses_lines_and_ends_nothing() {
        let mut sink = Sink::quiet();
        sink.go_to_file(PathBuf::from("/nonexistent/log"));
        assert!(!sink.take(&entry("lost")));
        sink.go_to_file(PathBuf::from("/dev/full"));
        assert!(!sink.take(&entry("lost")));
    }

    #[test]
    fn the_journal_comes_before_syslog_and_gets_messages_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal, syslog) = (dir.path().join("journal"), dir.path().join("log"));
        assert!(System::find(&journal, &syslog).is_none());
        let mut buffer = [0; 4096];
        let mut heard = |socket: &UnixDatagram| {
            let length = socket.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };

        let old = UnixDatagram::bind(&syslog).expect("a socket");
        let system = System::find(&journal, &syslog).expect("syslog");
        system.send(&entry("two\nlines")).expect("sent");
        let pid = std::process::id();
        assert_eq!(heard(&old), format!("<28>b2fuse[{pid}]: two lines"));

        let native = UnixDatagram::bind(&journal).expect("a socket");
        let system = System::find(&journal, &syslog).expect("the journal");
        system.send(&entry("two\nlines")).expect("sent");
        let said = heard(&native);
        assert!(said.starts_with("PRIORITY=4\nSYSLOG_IDENTIFIER=b2fuse\nTARGET=b2fuse::"));
        assert!(
            said.ends_with("MESSAGE\n\u{9}\0\0\0\0\0\0\0two\nlines\n"),
            "{said:?}"
        );
        // Nobody listens any more.
        drop(native);
        assert!(system.send(&entry("lost")).is_err());
    }
}
