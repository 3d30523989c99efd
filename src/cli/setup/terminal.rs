//! Questions on the terminal, and answers that are not shown.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, StdinLock, Write as _};

use super::hidden::Hidden;

/// The user has broken it off: Ctrl-C, or the end of input.
#[derive(Debug, thiserror::Error)]
#[error("broken off")]
pub(super) struct Interrupted;

/// The terminal on stdin; questions go to stderr.
pub(super) struct Terminal {
    input: StdinLock<'static>,
}

impl Terminal {
    /// `None` where stdin is no terminal.
    pub(super) fn open() -> Option<Self> {
        let input = io::stdin();
        input.is_terminal().then(|| Self {
            input: input.lock(),
        })
    }

    #[allow(
        clippy::unused_self,
        reason = "there is nobody to be told without a terminal"
    )]
    pub(super) fn say(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// One line, without blanks around it. Ctrl-C ends the program, as everywhere.
    pub(super) fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        prompt(question);
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            prompt("\n");
            return Err(Interrupted.into());
        }
        Ok(line.trim().to_owned())
    }

    /// One line that the terminal does not show. It is shown again whatever happens: also Ctrl-C comes here.
    pub(super) fn ask_hidden(&mut self, question: &str) -> anyhow::Result<String> {
        let hidden = Hidden::begin()?;
        prompt(question);
        let mut line = Vec::new();
        let end = loop {
            let mut byte = [0];
            if self.input.read(&mut byte)? == 0 {
                break Err(Interrupted);
            }
            if !put(&mut line, byte[0])? {
                break Ok(());
            }
        };
        drop(hidden);
        prompt("\n");
        end?;
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

/// Takes a key that was pressed; `false`: the line is complete.
fn put(line: &mut Vec<u8>, key: u8) -> Result<bool, Interrupted> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    match key {
        b'\r' | b'\n' => return Ok(false),
        CTRL_C => return Err(Interrupted),
        CTRL_D if line.is_empty() => return Err(Interrupted),
        CTRL_D => return Ok(false),
        CTRL_U => line.clear(),
        8 | 127 => {
            line.pop();
        }
        other => line.push(other),
    }
    Ok(true)
}

fn prompt(text: &str) {
    let mut out = io::stderr();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_line_can_be_mended_and_broken_off() {
        let typed = |keys: &[u8]| {
            let mut line = Vec::new();
            for &key in keys {
                match put(&mut line, key) {
                    Ok(true) => {}
                    Ok(false) => return Some(line),
                    Err(Interrupted) => return None,
                }
            }
            panic!("not complete");
        };
        for (keys, line) in [
            (&b"K001\n"[..], Some(&b"K001"[..])),
            (b"K00x\x7f1\r", Some(b"K001")),
            (b"\x7fwrong\x15K001\x04", Some(b"K001")),
            (b"K0\x03", None),
            (b"\x04", None),
        ] {
            assert_eq!(typed(keys).as_deref(), line);
        }
    }
}
