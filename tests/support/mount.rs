//! A mount by the built binary, in a process of its own, as a user starts it.
//!
//! The process gets SIGTERM when the test thread that started it ends, whatever way; a daemon that
//! hangs is killed after some minutes, so that the test fails instead of waiting for ever.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::emulator::Emulator;
use super::forks;

/// How long one mount may live unless it is granted more, and how long it may take to come up or go down; a guard, no measure.
const HANGS_AFTER: Duration = Duration::from_secs(400);

/// How a mount is started; kept for remounts.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Lines of config.yaml besides endpoint and bucket.
    pub(crate) config: String,
    pub(crate) key_id: String,
    pub(crate) key: String,
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
}

impl Settings {
    /// Of the emulator's bucket, with these lines of config.yaml.
    pub(crate) fn of(emulator: &Emulator, config: &str) -> Self {
        Self {
            config: config.to_owned(),
            key_id: emulator.key_id().to_owned(),
            key: emulator.key().to_owned(),
            endpoint: emulator.endpoint(),
            bucket: emulator.bucket_name().to_owned(),
        }
    }
}

/// A running mount; unmounted when dropped.
pub(crate) struct Mount {
    settings: Settings,
    child: Option<Child>,
    mountpoint: PathBuf,
    stderr: PathBuf,
    _temporary: TempDir,
    /// Dropped when the process has ended: calls the watchdog off.
    watched: Option<Sender<()>>,
}

impl Mount {
    /// With hash files served but not listed, so that trees compare equal, and nothing else said.
    pub(crate) fn new(emulator: &Emulator) -> Self {
        Self::with(emulator, "list_hashfiles: false\n")
    }

    /// With these lines of config.yaml.
    pub(crate) fn with(emulator: &Emulator, config: &str) -> Self {
        Self::start(Settings::of(emulator, config))
    }

    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_in(settings, &std::env::temp_dir())
    }

    /// With its mountpoint somewhere below this folder.
    pub(crate) fn start_in(settings: Settings, folder: &Path) -> Self {
        let temporary = tempfile::tempdir_in(folder).expect("a temporary directory");
        let mountpoint = temporary.path().join("mount");
        std::fs::create_dir(&mountpoint).expect("a mountpoint");
        let mountpoint = mountpoint.canonicalize().expect("a mountpoint");
        let mut mount = Self {
            settings,
            child: None,
            stderr: temporary.path().join("stderr"),
            mountpoint,
            _temporary: temporary,
            watched: None,
        };
        mount.spawn();
        mount
    }

    fn spawn(&mut self) {
        let folder = self.mountpoint.parent().expect("the temporary directory");
        let config = folder.join("config.yaml");
        std::fs::write(
            &config,
            format!(
                "endpoint: {}\nbucketName: {}\n{}",
                self.settings.endpoint, self.settings.bucket, self.settings.config
            ),
        )
        .expect("config.yaml is written");
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.stderr)
            .expect("a file for messages");
        let child = forks::spawn(
            Command::new("setpriv")
                .args(["--pdeathsig", "TERM", env!("CARGO_BIN_EXE_b2fuse")])
                .arg("--config")
                .arg(&config)
                .arg(&self.mountpoint)
                .env("B2_APPLICATION_KEY_ID", &self.settings.key_id)
                .env("B2_APPLICATION_KEY", &self.settings.key)
                .env("HOME", folder)
                // Nothing of a test stays on the machine, and no end waits longer than its watchdog.
                .env("B2FUSE_RESCUE", "off")
                .env("B2FUSE_DRAIN_TIMEOUT", "60s")
                .env_remove("XDG_CONFIG_HOME")
                .env("B2_ENDPOINT", &self.settings.endpoint)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file for messages"))
                .stderr(log),
        )
        .expect("setpriv (util-linux) starts b2fuse");
        let pid = Pid::from_raw(child.id() as i32);
        self.child = Some(child);
        self.watched = Some(watchdog(pid, HANGS_AFTER));

        let patience = Instant::now() + HANGS_AFTER;
        while !is_mounted(&self.mountpoint) {
            if let Some(status) = self.ended() {
                panic!(
                    "b2fuse ended with {status} instead of mounting:\n{}",
                    self.messages()
                );
            }
            assert!(
                Instant::now() < patience,
                "b2fuse neither mounts nor ends:\n{}",
                self.messages()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The root of the mounted tree.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// What the process has said so far.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Fails unless it has said so, or does within a while: messages are written beside the answers.
    #[track_caller]
    pub(crate) fn hears(&self, what: &str, said: impl Fn(&str) -> bool) {
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while !said(&self.messages()) {
            assert!(
                std::time::Instant::now() < patience,
                "{what}:\n{}",
                self.messages()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running process").id()
    }

    /// Lets the process that runs now live longer than others before it is taken for hanging.
    pub(crate) fn live_for(&mut self, patience: Duration) {
        self.watched = Some(watchdog(Pid::from_raw(self.pid() as i32), patience));
    }

    /// The most memory that the process ever held, in bytes (`VmHWM`).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM");
        let kib = line.trim().trim_end_matches(" kB");
        kib.parse::<u64>().expect("a number") * 1024
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("the process can be asked")
    }

    /// Ends the daemon with SIGTERM: it must leave with code 0 and nothing mounted.
    pub(crate) fn unmount(&mut self) {
        self.signal(Signal::SIGTERM);
        self.ends_cleanly();
    }

    /// Waits for the end that something else has caused.
    pub(crate) fn ends_cleanly(&mut self) {
        let status = self.wait();
        assert!(
            status.success(),
            "b2fuse ended with {status}:\n{}",
            self.messages()
        );
        assert!(
            !is_mounted(&self.mountpoint),
            "b2fuse ended and left its mount behind:\n{}",
            self.messages()
        );
    }

    fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running process");
        let status = child.wait().expect("the process can be waited for");
        self.watched = None;
        status
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("the process can be signalled");
    }

    /// Ends the daemon as a power cut would, and clears the mountpoint.
    pub(crate) fn kill(&mut self) {
        self.die();
        self.detach();
    }

    /// Ends the daemon as a power cut would; whoever uses the mount is told so.
    pub(crate) fn die(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Clears the mountpoint of what a dead daemon has left.
    pub(crate) fn detach(&self) {
        // On its way to its end it has detached the mount by itself.
        if is_mounted(&self.mountpoint) {
            umount2(&self.mountpoint, MntFlags::MNT_DETACH).expect("a dead mount can be detached");
        }
    }

    /// Whether the process has ended, whatever way.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.ended().is_some()
    }

    /// Ends the daemon properly and starts another with the same settings.
    pub(crate) fn remount(&mut self) {
        if self.child.is_some() {
            self.unmount();
        }
        self.spawn();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let pid = Pid::from_raw(child.id() as i32);
            let failing = std::thread::panicking();
            if failing {
                let messages = self.messages();
                let skip = messages.lines().count().saturating_sub(40);
                for line in messages.lines().skip(skip) {
                    eprintln!("b2fuse: {line}");
                }
                let _ = kill(pid, Signal::SIGKILL);
            } else {
                let _ = kill(pid, Signal::SIGTERM);
            }
            let ended = self.child.as_mut().map(Child::wait);
            self.watched = None;
            while is_mounted(&self.mountpoint) {
                if umount2(&self.mountpoint, MntFlags::MNT_DETACH).is_err() {
                    break;
                }
            }
            if let (false, Some(Ok(status))) = (failing, ended) {
                assert!(
                    status.success(),
                    "b2fuse ended with {status}:\n{}",
                    self.messages()
                );
            }
        }
    }
}

/// Kills a process that outlives every test, so that nothing waits for its filesystem for ever.
fn watchdog(pid: Pid, patience: Duration) -> Sender<()> {
    let (alive, watched) = mpsc::channel();
    std::thread::spawn(move || {
        if watched.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            eprintln!("b2fuse {pid} has run for {patience:?}: taken for hanging, killed");
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    alive
}

/// Whether a b2fuse filesystem is mounted exactly here.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    table.lines().any(|line| {
        let Some((mount, kind)) = line.split_once(" - ") else {
            return false;
        };
        kind.starts_with("fuse.b2fuse ") && mount.split(' ').nth(4).map(Path::new) == Some(path)
    })
}
