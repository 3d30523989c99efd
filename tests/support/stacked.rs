//! A filesystem that another program mounts on top: it keeps encrypted, somewhere, what it shows in the clear.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::forks;
use super::tools::{finish, program};

/// A running one; unmounted when dropped.
pub(crate) struct Stacked {
    name: String,
    child: Option<Child>,
    /// Where it is mounted.
    pub(crate) plain: PathBuf,
    _temporary: TempDir,
}

impl Stacked {
    /// Starts the program, which must stay in the foreground, with these arguments and the mountpoint.
    pub(crate) fn mount(name: &str, arguments: impl FnOnce(&mut Command)) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let plain = temporary.path().join("plain");
        std::fs::create_dir(&plain).expect("a mountpoint");
        let plain = plain.canonicalize().expect("a mountpoint");
        let said = temporary.path().join("said");
        let log = File::create(&said).expect("a file for messages");
        let mut command = Command::new(name);
        arguments(&mut command);
        command
            .arg(&plain)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file for messages"))
            .stderr(log);
        let child = forks::spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot start {name} (tests/run installs it): {error}"));
        let mut mount = Self {
            name: name.to_owned(),
            child: Some(child),
            plain,
            _temporary: temporary,
        };
        while !mount.is_mounted() {
            let child = mount.child.as_mut().expect("a process");
            if let Some(status) = child.try_wait().expect("the process can be asked") {
                let said = std::fs::read_to_string(said).unwrap_or_default();
                panic!("{name} ended with {status} instead of mounting:\n{said}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        mount
    }

    fn is_mounted(&self) -> bool {
        std::fs::read_to_string("/proc/self/mountinfo")
            .expect("/proc/self/mountinfo")
            .lines()
            .any(|line| line.split(' ').nth(4).map(Path::new) == Some(&self.plain))
    }

    pub(crate) fn unmount(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // A process that another test has just started may hold what is open here, until it runs its program.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !finish(program("fusermount3").arg("-u").arg(&self.plain))
            .status
            .success()
        {
            assert!(std::time::Instant::now() < patience, "it stays busy");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let status = child.wait().expect("the process can be waited for");
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

impl Drop for Stacked {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            finish(program("fusermount3").arg("-uz").arg(&self.plain));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
