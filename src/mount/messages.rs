//! Where messages go, by a way on which nobody waits: a terminal that is stopped (Ctrl-S), a pipe that nobody reads or a
//! disk that is slow must freeze neither requests nor the end of the mount. Messages wait in a queue for a thread of their
//! own; what does not fit, or cannot be written, is dropped, counted, and told when messages go through again.
//!
//! `entry` is one message in its forms, `sink` where they go, `kept` the last of them.

mod entry;
mod kept;
mod sink;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use parking_lot::Mutex;

use self::entry::Entry;
pub use self::entry::{Format, Style};
use self::kept::Kept;
use self::sink::Sink;

/// Messages that may wait.
const WAITING: usize = 1024;
/// How long the end waits for those that still do.
const PATIENCE: Duration = Duration::from_secs(1);

enum Message {
    Entry(Entry),
    /// How they look from here on.
    Style(Style),
    /// They go into this file from here on.
    File(PathBuf),
    /// Nobody sees stderr from here on.
    Unseen,
    /// The file was renamed: a new one is begun.
    Reopen,
    /// The line that is renewed in place on a terminal is this one from here on; empty: none.
    Renewed(String),
    /// All messages before have been written: answered.
    Written(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

/// A message of the log; waits for nobody.
pub fn log(record: &log::Record<'_>) {
    send(Message::Entry(Entry::of(record)));
}

/// A message to whoever has called the command: without a word for its weight, and on stderr also where there is a log file.
pub(super) fn say(text: &str) {
    send(Message::Entry(Entry::said(text)));
}

/// How messages look from here on.
pub fn look(style: Style) {
    send(Message::Style(style));
}

/// Messages go into this file from here on, which is made for its owner only. What it does not take goes to stderr.
pub fn to_file(path: PathBuf) {
    send(Message::File(path));
}

/// Nobody sees stderr from here on: without a log file messages go to the journal, or else to syslog.
pub(super) fn to_the_system() {
    send(Message::Unseen);
}

/// Begins a new log file under the name that it was given, where the old one has been renamed.
pub(super) fn reopen() {
    send(Message::Reopen);
}

/// Shows a line on stderr, a terminal, in the place of the one before; messages go above it. Empty: none.
pub(super) fn renew(line: String) {
    send(Message::Renewed(line));
}

/// The last messages, the oldest first, each with its time.
pub(super) fn last() -> Vec<String> {
    KEPT.lock().all()
}

/// Waits until what was said is written, or for a second where nobody takes it.
pub fn drain() {
    let Some(queue) = QUEUE.get() else { return };
    let (written, done) = sync_channel(1);
    if queue.try_send(Message::Written(written)).is_ok() {
        let _ = done.recv_timeout(PATIENCE);
    }
}

fn send(message: Message) {
    put(QUEUE.get_or_init(start), message, &DROPPED);
}

fn put(queue: &SyncSender<Message>, message: Message, dropped: &AtomicU64) {
    if queue.try_send(message).is_err() {
        dropped.fetch_add(1, Relaxed);
    }
}

fn start() -> SyncSender<Message> {
    let (sender, messages) = sync_channel(WAITING);
    // Whoever waits for signals is not this thread.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    // Without the thread the queue is closed, and all messages are dropped.
    let _ = thread::Builder::new()
        .name("messages".to_owned())
        .spawn(move || write_all(&messages, &mut Sink::stderr(), &DROPPED));
    if let Ok(mask) = mask {
        let _ = mask.thread_set_mask();
    }
    sender
}

fn write_all(messages: &Receiver<Message>, sink: &mut Sink, dropped: &AtomicU64) {
    let mut goes_through = true;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Entry(entry) => {
                KEPT.lock().keep(&entry.line(Style::default(), true));
                goes_through = sink.take(&entry);
                if !goes_through {
                    dropped.fetch_add(1, Relaxed);
                }
            }
            Message::Style(style) => sink.style = style,
            Message::File(path) => sink.go_to_file(path),
            Message::Unseen => sink.go_to_the_system(),
            Message::Reopen => sink.reopen(),
            Message::Renewed(line) => sink.renew(line),
            Message::Written(told) => drop(told.try_send(())),
        }
        if !goes_through {
            continue;
        }
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines were dropped here, they could not be written");
            sink.take(&Entry::own(log::Level::Warn, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use log::Level;

    use super::*;

    fn entry(text: &str) -> Message {
        Message::Entry(Entry::own(Level::Info, text.to_owned()))
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let dropped = AtomicU64::new(0);
        let (queue, messages) = sync_channel(2);
        for text in ["one", "two", "three", "four"] {
            put(&queue, entry(text), &dropped);
        }
        drop(queue);
        let mut sink = Sink::stderr();
        sink.go_to_file(path.clone());
        write_all(&messages, &mut sink, &dropped);
        let said = fs::read_to_string(path).expect("the log");
        let said: Vec<&str> = said
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1))
            .collect();
        let lost = "warning: 2 lines were dropped here, they could not be written";
        assert_eq!(said, ["one", lost, "two"]);
    }

    #[test]
    fn a_full_disk_ends_nothing_and_is_told_when_there_is_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let dropped = AtomicU64::new(0);
        let (queue, messages) = sync_channel(9);
        let mut sink = Sink::quiet();
        sink.go_to_file(path.clone());
        put(&queue, entry("lost"), &dropped);
        put(&queue, entry("lost, too"), &dropped);
        drop(queue);
        write_all(&messages, &mut sink, &dropped);
        assert_eq!(dropped.load(Relaxed), 2);
        fs::remove_file(&path).expect("removed");
        let (queue, messages) = sync_channel(9);
        put(&queue, Message::Reopen, &dropped);
        put(&queue, entry("there"), &dropped);
        drop(queue);
        write_all(&messages, &mut sink, &dropped);
        let said = fs::read_to_string(path).expect("the log");
        assert!(said.contains(" there\n"), "{said}");
        assert!(said.contains("2 lines were dropped here"), "{said}");
    }
}
