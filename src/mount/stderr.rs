//! A way to stderr on which nobody waits: a terminal that is stopped (Ctrl-S), or a pipe that nobody reads, must freeze
//! neither requests nor the end of the mount. Lines wait in a queue for a thread of their own; what does not fit is
//! dropped, counted, and told when lines go through again.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait.
const LINES: usize = 1024;
/// How long the end waits for those that still do.
const PATIENCE: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// All lines before have been written: answered.
    Written(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// For a logger: each write is a line.
#[derive(Debug, Clone, Copy)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(QUEUE.get_or_init(start), line.to_vec(), &DROPPED);
        Ok(line.len())
    }

    /// Waits for nobody; see [`drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until what was said is written, or for a second where nobody takes it.
pub fn drain() {
    let Some(queue) = QUEUE.get() else { return };
    let (written, done) = sync_channel(1);
    if queue.try_send(Message::Written(written)).is_ok() {
        let _ = done.recv_timeout(PATIENCE);
    }
}

fn put(queue: &SyncSender<Message>, line: Vec<u8>, dropped: &AtomicU64) {
    if queue.try_send(Message::Line(line)).is_err() {
        dropped.fetch_add(1, Relaxed);
    }
}

fn start() -> SyncSender<Message> {
    let (sender, lines) = sync_channel(LINES);
    // Without the thread the queue is closed, and all lines are dropped.
    let _ = thread::Builder::new()
        .name("stderr".to_owned())
        .spawn(move || write_all(&lines, &mut io::stderr(), &DROPPED));
    sender
}

fn write_all(lines: &Receiver<Message>, out: &mut impl Write, dropped: &AtomicU64) {
    while let Ok(message) = lines.recv() {
        match message {
            // A reader that has gone away is no reason to end.
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Written(told) => drop(told.try_send(())),
        }
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let _ = writeln!(
                out,
                "b2fuse: warning: {lost} lines were dropped here, nobody was reading"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let dropped = AtomicU64::new(0);
        let (queue, lines) = sync_channel(2);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            put(&queue, line.into(), &dropped);
        }
        drop(queue);
        let mut out = Vec::new();
        write_all(&lines, &mut out, &dropped);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "one\nb2fuse: warning: 2 lines were dropped here, nobody was reading\ntwo\n"
        );
    }
}
