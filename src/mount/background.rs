//! `--background`: the command returns when the mount stands, with the verdict as its exit code.
//!
//! The process starts itself anew instead of forking, so no thread or lock is ever cut in two: the child
//! leads a session of its own and writes to a pipe what the parent repeats; the verdict is the pipe's last
//! byte. The key travels in the environment or the file, as before, never as an argument. A signal to the waiting parent
//! ends the child, whose outcome is then the parent's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::point;
use super::signals::is_ignored;

/// The hidden option that makes a process the child.
pub const CHILD: &str = "--in-background";

/// Ends what the child says: mounted. No text has it.
const MOUNTED: u8 = 0x06;

/// What has become of the child.
#[derive(Debug)]
pub struct Launched {
    /// What it has said on stdout.
    pub said: Vec<u8>,
    /// The exit code for the parent: 0, it is mounted.
    pub code: u8,
}

/// The parent: starts the child with these arguments (without the program's name), and waits for its verdict.
pub fn launch(arguments: &[OsString]) -> anyhow::Result<Launched> {
    let signals = to_end();
    // The child takes over what is blocked, and unblocks it: none gets lost between the two.
    signals.thread_block().context("cannot hold signals back")?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("b2fuse")
        .arg(CHILD)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;
    let ending = Ending::watch(&child, signals)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut said)
            .context("the background process cannot be heard")?;
    }
    let mounted = said.last() == Some(&MOUNTED);
    if mounted {
        said.pop();
    }
    if mounted && !ending.is_asked() {
        return Ok(Launched { said, code: 0 });
    }
    let status = ending
        .wait(&mut child)
        .context("the background process is lost")?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    let code = code.map_or(1, |code| code as u8);
    // Without a mount there is no success.
    let code = if mounted { code } else { code.max(1) };
    Ok(Launched { said, code })
}

/// The signals that end a process which waits; under nohup(1) a hangup is none, and in a script's background Ctrl-C.
fn to_end() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal as i32))
        .collect()
}

/// Hands signals of the parent on to the child.
struct Ending(Arc<Mutex<To>>);

#[derive(Debug, Clone, Copy)]
struct To {
    /// `None` once it has ended: the number may be another's.
    child: Option<Pid>,
    asked: bool,
}

impl Ending {
    fn watch(child: &Child, signals: SigSet) -> anyhow::Result<Self> {
        let to = Arc::new(Mutex::new(To {
            child: Some(Pid::from_raw(child.id().cast_signed())),
            asked: false,
        }));
        let shared = Arc::clone(&to);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                while let Ok(signal) = signals.wait() {
                    // To the child a hangup would be a wish to read its configuration again.
                    let signal = match signal {
                        Signal::SIGHUP => Signal::SIGTERM,
                        other => other,
                    };
                    let mut to = shared.lock();
                    to.asked = true;
                    if let Some(child) = to.child {
                        let _ = kill(child, signal);
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self(to))
    }

    /// Whether a signal has been handed on.
    fn is_asked(&self) -> bool {
        self.0.lock().asked
    }

    /// Waits for the child's end, handing on what else comes.
    fn wait(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let pid = Pid::from_raw(child.id().cast_signed());
        // It keeps its number until it is asked for its status below.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), flags) {}
        self.0.lock().child = None;
        child.wait()
    }
}

/// The child, first of all: out of the terminal's reach, and without what the caller has left open. Where an autofs waits at
/// the mountpoint, it stays in the process group of its caller until it is mounted: others wait for the mount as soon as
/// they look there (systemd runs mount(8) in its own group therefore).
pub fn begin(mountpoint: Option<&Path>) -> anyhow::Result<()> {
    close_what_was_inherited();
    if mountpoint.and_then(point::under_autofs).is_none() {
        nix::unistd::setsid().context("cannot leave the terminal")?;
    }
    to_end()
        .thread_unblock()
        .context("cannot listen to signals")?;
    Ok(())
}

/// Held on to, a pipe or a lock of the caller's would keep others waiting for the mount's end.
#[allow(unsafe_code, reason = "file descriptors are closed by their numbers")]
fn close_what_was_inherited() {
    // SAFETY: nothing in this process owns a file descriptor beyond the standard streams yet: it has read its arguments, and
    // no more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Before Linux 5.9 one by one; the directory that is read is among them, and closed already.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// The child, once mounted: tells the parent and lets go of its terminal and directory. Messages go on where stderr leads
/// to a file or a socket; else, without a log file, to the journal or syslog.
pub(super) fn detach() {
    // A second time it fails, and changes nothing.
    let _ = nix::unistd::setsid();
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

/// Whether somebody may read there when the caller is gone. Who reads a pipe waits for its end, as `$(...)` and ssh do.
fn is_kept(output: &impl AsFd) -> bool {
    output
        .as_fd()
        .try_clone_to_owned()
        .and_then(|fd| File::from(fd).metadata())
        .is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_file() || kind.is_socket()
        })
}
