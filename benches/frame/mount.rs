//! Mounts of the emulator's bucket: b2fuse, rclone, and the bare filesystem that bounds both.
//! Each is a process of its own on a fresh mountpoint, cold.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use super::process::{Process, Usage};
use super::server::Server;

/// How long a mount may take to come up; a guard, no measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted filesystem; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    process: Process,
    point: PathBuf,
    log: PathBuf,
    /// Ends by itself when it is unmounted, and badly when it is terminated.
    ends_unmounted: bool,
    _folder: TempDir,
}

impl Mount {
    /// The built binary with these lines of config.yaml besides endpoint and bucket.
    pub(crate) fn b2fuse(server: &Server, config: &str) -> Result<Self> {
        let folder = folder()?;
        let file = folder.path().join("config.yaml");
        let (endpoint, bucket) = (&server.endpoint, &server.bucket);
        let config = format!("endpoint: {endpoint}\nbucketName: {bucket}\n{config}\n");
        std::fs::write(&file, config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_b2fuse"));
        command
            .arg("--config")
            .arg(&file)
            .arg(folder.path().join("mount"))
            .env("B2_APPLICATION_KEY_ID", &server.key_id)
            .env("B2_APPLICATION_KEY", &server.key)
            .env("B2_ENDPOINT", &server.endpoint);
        Self::start(&command, folder, false)
    }

    /// `rclone mount` with these flags; its cache, if the mode has one, starts empty.
    pub(crate) fn rclone(server: &Server, program: &Path, flags: &[&str]) -> Result<Self> {
        let folder = folder()?;
        let config = folder.path().join("rclone.conf");
        std::fs::write(&config, "")?;
        let mut command = Command::new(program);
        command
            .arg("mount")
            .arg(format!("emu:{}", server.bucket))
            .arg(folder.path().join("mount"))
            .arg("--cache-dir")
            .arg(folder.path().join("cache"))
            .args(flags)
            .env("RCLONE_CONFIG", &config)
            .env("RCLONE_CONFIG_EMU_TYPE", "b2")
            .env("RCLONE_CONFIG_EMU_ACCOUNT", &server.key_id)
            .env("RCLONE_CONFIG_EMU_KEY", &server.key)
            .env("RCLONE_CONFIG_EMU_ENDPOINT", &server.endpoint)
            .env("NO_PROXY", "127.0.0.1")
            .env("HOME", folder.path());
        Self::start(&command, folder, true)
    }

    /// This program again, as the filesystem of [`super::bare`].
    pub(crate) fn bare(size: u64, names: u64) -> Result<Self> {
        let folder = folder()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--serve-bare")
            .arg(folder.path().join("mount"))
            .arg(format!("--size={size}"))
            .arg(format!("--bare-names={names}"));
        Self::start(&command, folder, false)
    }

    fn start(command: &Command, folder: TempDir, ends_unmounted: bool) -> Result<Self> {
        let point = folder.path().join("mount");
        std::fs::create_dir(&point)?;
        let point = point.canonicalize()?;
        let log = folder.path().join("messages");
        let process = Process::start(command, &log)?;
        let mut mount = Self {
            process,
            point,
            log,
            ends_unmounted,
            _folder: folder,
        };
        let started = Instant::now();
        while !is_mounted(&mount.point)? {
            if mount.process.ended()?.is_some() || started.elapsed() > PATIENCE {
                bail!("nothing was mounted: {}", mount.messages());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(mount)
    }

    /// A file or directory in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// What the process has said.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Unmounts and waits until the process has ended.
    pub(crate) fn end(mut self) -> Result<()> {
        let status = if self.ends_unmounted {
            let helper = Command::new("fusermount3")
                .arg("-u")
                .arg(&self.point)
                .status()?;
            if !helper.success() {
                bail!("fusermount3 -u ended with {helper}");
            }
            self.process.wait()?
        } else {
            self.process.terminate()?
        };
        if !status.success() {
            bail!("the mount ended with {status}: {}", self.messages());
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.process.terminate();
        while is_mounted(&self.point).unwrap_or(false) {
            if umount2(&self.point, MntFlags::MNT_DETACH).is_err() {
                break;
            }
        }
    }
}

/// A folder of the machine's temporary directory, where rclone's cache lies, too.
fn folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("b2fuse-bench-")
        .tempdir()
        .context("a temporary directory")
}

fn is_mounted(point: &Path) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let at = |line: &str| line.split(' ').nth(4).map(Path::new) == Some(point);
    Ok(table.lines().any(at))
}
