//! Lines that are renewed in place on a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use crate::mount::control::ToStore;
use crate::mount::{Quiet, Watcher};

use super::words::{plain, to_store};

/// What a terminal takes that does not tell its size.
const SIZE: (usize, usize) = (80, 24);

/// Columns and rows of the terminal, as many as there are at least.
fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or(SIZE, |(width, height)| {
        (usize::from(width.0).max(20), usize::from(height.0).max(4))
    })
}

/// A text without what goes beyond a width.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// One line on stderr, in place of the one before.
#[derive(Debug)]
pub(super) struct Line {
    /// There is a terminal.
    on: bool,
    shown: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            on: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    pub(super) fn show(&mut self, text: &str) {
        if !self.on {
            return;
        }
        // The last column is left free: some terminals would begin a new line.
        let text = cut(&plain(text), size().0 - 1);
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r{text}\x1b[K");
        let _ = out.flush();
        self.shown = true;
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K");
            let _ = out.flush();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Shows on a terminal how far the end of a mount is, or says elsewhere what is waited for.
#[derive(Debug)]
pub(super) struct Storing {
    line: Line,
    quiet: Quiet,
}

impl Storing {
    pub(super) fn new() -> Self {
        Self {
            line: Line::new(),
            quiet: Quiet::default(),
        }
    }
}

impl Watcher for Storing {
    fn shows(&mut self, all: &ToStore) {
        self.line.show(&storing(all));
    }

    fn waits(&mut self, shown: &str, pid: &str) {
        if !self.line.shown {
            self.quiet.waits(shown, pid);
        }
    }

    fn done(&mut self) {
        self.line.clear();
    }
}

/// What is shown while something is stored.
pub(super) fn storing(all: &ToStore) -> String {
    let mut text = format!("storing: {}", to_store(all));
    if let Some(error) = &all.last_error {
        text.push_str("; last error: ");
        text.push_str(error);
    }
    text
}

/// A page on stdout, in place of the one before where that is a terminal.
#[derive(Debug)]
pub(super) struct Page {
    on: bool,
    /// Lines of the page before.
    lines: usize,
}

impl Page {
    pub(super) fn new() -> Self {
        Self {
            on: std::io::stdout().is_terminal(),
            lines: 0,
        }
    }

    /// Shows it; an error where nobody reads any more.
    pub(super) fn show(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.on {
            let (page, lines) = renewed(text, self.lines, size());
            self.lines = lines;
            out.write_all(page.as_bytes())?;
        } else {
            writeln!(out, "{text}")?;
        }
        out.flush()
    }
}

/// What puts a text in the place of one of so many lines, and how many lines it has. What does not fit is left out: lines
/// that have left the terminal could not be renewed.
fn renewed(text: &str, before: usize, (width, height): (usize, usize)) -> (String, usize) {
    let mut page = String::new();
    if before > 0 {
        let _ = write!(page, "\x1b[{before}F");
    }
    let mut lines = 0;
    for line in text.lines().take(height - 1) {
        page.push_str(&cut(line, width - 1));
        page.push_str("\x1b[K\n");
        lines += 1;
    }
    page.push_str("\x1b[J");
    (page, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_the_place_of_the_one_before_and_fits() {
        let (page, lines) = renewed("one\ntwo", 0, (80, 24));
        assert_eq!((page.as_str(), lines), ("one\x1b[K\ntwo\x1b[K\n\x1b[J", 2));
        let (page, lines) = renewed("longer than that\nb\nc\nd\ne", 2, (7, 4));
        assert_eq!(page, "\x1b[2Flonger\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J");
        assert_eq!(lines, 3);
    }

    #[test]
    fn the_end_tells_what_is_left_and_what_has_failed() {
        let all = ToStore {
            files: 1,
            bytes: 5,
            last_error: Some("no route".into()),
            ..ToStore::default()
        };
        assert_eq!(
            storing(&all),
            "storing: 1 file, 5 bytes; last error: no route"
        );
    }
}
