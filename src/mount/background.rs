//! `--background`: the command returns when the mount stands, with the verdict as its exit code.
//!
//! The process starts itself anew instead of forking, so no thread or lock is ever cut in two: the child
//! leads a session of its own and writes to a pipe what the parent repeats; the verdict is the pipe's last
//! byte. The key travels in the environment or the file, as before, never as an argument.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;

/// The hidden option that makes a process the child.
pub const CHILD: &str = "--in-background";

/// Ends what the child says: mounted. No text has it.
const MOUNTED: u8 = 0x06;

/// The parent: starts the child, repeats what it says, returns its verdict.
pub fn launch() -> anyhow::Result<ExitCode> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("b2fuse")
        .arg(CHILD)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;
    let mut told = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut told)
            .context("the background process cannot be heard")?;
    }
    let mounted = told.last() == Some(&MOUNTED);
    if mounted {
        told.pop();
    }
    let _ = std::io::stdout().lock().write_all(&told);
    if mounted {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("the background process is lost")?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.map_or(1, |code| code as u8).max(1)))
}

/// The child, first of all: out of the terminal's reach.
pub fn begin() -> anyhow::Result<()> {
    nix::unistd::setsid().context("cannot leave the terminal")?;
    Ok(())
}

/// The child, once mounted: tells the parent and lets go of its terminal and directory. Messages go on where stderr leads
/// to a file, a pipe or a socket; else, without a log file, to the journal or syslog.
pub(super) fn detach() {
    let kept = is_kept(&std::io::stderr());
    if !kept {
        super::messages::to_the_system();
    }
    super::messages::drain();
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&[MOUNTED]);
    let _ = out.flush();
    let _ = std::env::set_current_dir("/");
    let Ok(null) = File::options().write(true).open("/dev/null") else {
        return;
    };
    if !kept {
        let _ = nix::unistd::dup2_stderr(&null);
    }
    let _ = nix::unistd::dup2_stdout(&null);
}

/// Whether somebody may read there when the terminal is gone.
fn is_kept(output: &impl AsFd) -> bool {
    output
        .as_fd()
        .try_clone_to_owned()
        .and_then(|fd| File::from(fd).metadata())
        .is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_file() || kind.is_fifo() || kind.is_socket()
        })
}
