//! The `b2` command line and `rclone`, unmodified, against the emulator: clients that this project did not write.
//!
//! Both are wheels of the Python package index. They are looked for in the directory that `B2FUSE_TEST_BIN` names, else
//! in `PATH`; a test whose program is missing fails.
#![allow(clippy::unwrap_used)]

mod b2;
mod rclone;

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use b2fuse::emulator::{Options, Server};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

/// A server, and a home for the programs' own files.
struct World {
    server: Server,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::start(Options::default()).unwrap(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    fn b2_command(&self, key_id: &str, key: &str) -> Command {
        let mut command = self.command("b2");
        command
            .env("B2_ENVIRONMENT", self.server.endpoint())
            .env("B2_ACCOUNT_INFO", self.path(&format!("b2-{key_id}")))
            .env("B2_APPLICATION_KEY_ID", key_id)
            .env("B2_APPLICATION_KEY", key);
        command
    }

    fn b2<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let mut command = self.b2_command(self.server.key_id(), self.server.key());
        succeed(command.args(args))
    }

    fn rclone<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        succeed(self.rclone_command().args(args))
    }

    /// A remote `emu:` described by the environment.
    fn rclone_command(&self) -> Command {
        let mut command = self.command("rclone");
        command
            .env("RCLONE_CONFIG", self.path("rclone.conf"))
            .env("RCLONE_CONFIG_EMU_TYPE", "b2")
            .env("RCLONE_CONFIG_EMU_ACCOUNT", self.server.key_id())
            .env("RCLONE_CONFIG_EMU_KEY", self.server.key())
            .env("RCLONE_CONFIG_EMU_ENDPOINT", self.server.endpoint())
            .env("RCLONE_RETRIES", "1");
        command
    }

    fn bucket_url(&self, name: &str) -> String {
        format!("b2://{}/{name}", self.server.bucket_name())
    }

    fn remote(&self, name: &str) -> String {
        format!("emu:{}/{name}", self.server.bucket_name())
    }
}

fn find(program: &str) -> PathBuf {
    let given = std::env::var_os("B2FUSE_TEST_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = given.into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is needed: set B2FUSE_TEST_BIN to its directory"))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

fn bytes(len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut all);
    all
}

fn sha1(bytes: &[u8]) -> String {
    let digest = Sha1::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

/// A little tree with awkward names.
fn plant(w: &World, top: &str) -> PathBuf {
    for name in ["a.txt", "d/b c+d%.txt", "d/e/ü", "d/e/empty"] {
        let content = if name.ends_with("empty") { "" } else { name };
        w.write(&format!("{top}/{name}"), content.as_bytes());
    }
    w.path(top)
}

fn same_trees(one: &Path, other: &Path) {
    succeed(Command::new("diff").arg("-r").arg(one).arg(other));
}
