//! The other end, in the process of a command: which mounts run, which of them is meant, and asking it.
//!
//! Blocking throughout. A mount is meant by its mountpoint or a path below it; one that the kernel has let go and that still
//! stores is known by its mountpoint as well.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

use super::protocol::{Kind, Request, answer_of, request_line};
use crate::mount::point::{self, Mounted, OURS};
use crate::mount::served::{self, Living};

/// Bytes of an answer that are taken at most.
const ANSWER_MAX: u64 = 16 << 20;
/// What is answered out of memory comes within a moment.
const SOON: Duration = Duration::from_secs(30);

/// A running b2fuse with a mount, or with one that it had and still stores for.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it is, or was, mounted.
    pub mountpoint: PathBuf,
    /// Its process.
    pub pid: String,
    /// Whether the kernel has it.
    pub mounted: bool,
    socket: PathBuf,
}

impl Mount {
    fn of(living: &Living, table: &[Mounted]) -> Self {
        let mounted = table
            .iter()
            .find(|mount| mount.kind == OURS && mount.device == living.device);
        Self {
            // The table has it without loss where its name is no text.
            mountpoint: mounted.map_or_else(
                || PathBuf::from(&living.mountpoint),
                |mount| mount.point.clone(),
            ),
            pid: living.pid.clone(),
            mounted: mounted.is_some(),
            socket: living.socket.clone(),
        }
    }

    /// Connects to its control socket.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        let shown = self.mountpoint.display();
        let stream = UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
                "the b2fuse of {shown} (process {}) has no control socket: it is of an older version, or is ending",
                self.pid
            ),
            io::ErrorKind::PermissionDenied => {
                anyhow!("{shown} is not yours: only the user who has mounted it, and root, may ask")
            }
            _ => anyhow!("cannot reach the b2fuse of {shown}: {error}"),
        })?;
        Ok(Connection {
            shown: shown.to_string(),
            stream: BufReader::new(stream),
        })
    }
}

/// A connection to a mount.
#[derive(Debug)]
pub struct Connection {
    shown: String,
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Asks, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> anyhow::Result<T> {
        let shown = self.shown.clone();
        let line = self
            .exchange(request)
            .with_context(|| format!("the b2fuse of {shown} gives no answer"))?;
        if line.is_empty() {
            bail!("the b2fuse of {shown} has ended");
        }
        let answer = answer_of(&line)
            .with_context(|| format!("the answer of the b2fuse of {shown} makes no sense"))?;
        answer.map_err(|fault| match fault.kind {
            Kind::Request => anyhow!(
                "the b2fuse of {shown} does not know how to do that, it is of another version: {}",
                fault.message
            ),
            Kind::Access | Kind::Busy => anyhow!("{shown}: {}", fault.message),
            Kind::Failed => anyhow!("{}", fault.message),
        })
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let limit = match request {
            Request::Flush { .. } | Request::Warm { .. } => None,
            Request::Refresh { .. } | Request::Reload {} => Some(10 * SOON),
            Request::Status { .. } | Request::Limit(_) | Request::Log { .. } => Some(SOON),
        };
        let stream = self.stream.get_mut();
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(Some(SOON))?;
        stream.write_all(&request_line(request)?)?;
        let mut line = Vec::new();
        let mut taken = self.stream.by_ref().take(ANSWER_MAX);
        taken.read_until(b'\n', &mut line)?;
        Ok(line)
    }
}

/// The mounts of this user; of all users for root. The first mountpoint in order comes first.
pub fn all() -> anyhow::Result<Vec<Mount>> {
    let all = all_living(&table()?);
    Ok(all.into_iter().map(|(mount, _)| mount).collect())
}

fn all_living(table: &[Mounted]) -> Vec<(Mount, Living)> {
    let mut all: Vec<(Mount, Living)> = users(table)
        .into_iter()
        .flat_map(served::living)
        .map(|living| (Mount::of(&living, table), living))
        .collect();
    all.sort_by(|(a, _), (b, _)| (&a.mountpoint, &a.pid).cmp(&(&b.mountpoint, &b.pid)));
    all
}

/// The b2fuse that stores for a mountpoint which the kernel has let go.
pub(in crate::mount) fn storing(path: &Path) -> anyhow::Result<Option<(Mount, Living)>> {
    let mut all = all_living(&table()?);
    all.retain(|(mount, _)| !mount.mounted && path.starts_with(&mount.mountpoint));
    Ok(all.pop())
}

/// The mount that a path is on, or the only one; and the path relative to its mountpoint.
pub fn choose(given: Option<&Path>) -> anyhow::Result<(Mount, String)> {
    let Some(given) = given else {
        return Ok((only(all()?)?, String::new()));
    };
    let table = table()?;
    let path = place(given, &table)?;
    let shown = given.display();
    if let Some(mount) = covering(&table, &path).filter(|mount| mount.kind == OURS) {
        let user = nix::unistd::geteuid();
        let owner = mount.owner.unwrap_or(0);
        if owner != user.as_raw() && !user.is_root() {
            bail!("{shown} is not yours: the user with the number {owner} has mounted it");
        }
        let living = served::living(owner)
            .into_iter()
            .filter(|living| living.device == mount.device)
            .max_by_key(|living| living.began)
            .ok_or_else(|| {
                anyhow!(
                    "no process is known that serves {shown}: it is of an older version, or was killed (then: fusermount3 -u {})",
                    mount.point.display()
                )
            })?;
        let below = relative(&path, &mount.point, &shown.to_string())?;
        return Ok((Mount::of(&living, &table), below));
    }
    // The kernel has let go; it may still store.
    match storing(&path)? {
        Some((mount, _)) => {
            let below = relative(&path, &mount.mountpoint, &shown.to_string())?;
            Ok((mount, below))
        }
        None => bail!("no b2fuse is mounted on {shown}: b2fuse list shows where there is one"),
    }
}

fn only(mut all: Vec<Mount>) -> anyhow::Result<Mount> {
    match (all.pop(), all.len()) {
        (Some(mount), 0) => Ok(mount),
        (None, _) => bail!("there is no mount: no b2fuse of this user is running"),
        (Some(last), _) => {
            let names: Vec<String> = all
                .iter()
                .chain([&last])
                .map(|mount| mount.mountpoint.display().to_string())
                .collect();
            bail!("there are several mounts, name one: {}", names.join(", "))
        }
    }
}

fn relative(path: &Path, point: &Path, shown: &str) -> anyhow::Result<String> {
    let below = path.strip_prefix(point).unwrap_or(Path::new(""));
    let below = below.to_str().ok_or_else(|| {
        anyhow!("{shown} is no text in UTF-8: name a directory above it that is one")
    })?;
    Ok(below.to_owned())
}

fn table() -> anyhow::Result<Vec<Mounted>> {
    let table =
        std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(point::parse(&table))
}

/// A path without symlinks. A mountpoint is not touched: its b2fuse may be busy, or dead.
fn place(given: &Path, table: &[Mounted]) -> anyhow::Result<PathBuf> {
    let plain =
        std::path::absolute(given).with_context(|| format!("cannot use {}", given.display()))?;
    if table.iter().any(|mount| mount.point == plain) {
        return Ok(plain);
    }
    Ok(given.canonicalize().unwrap_or(plain))
}

/// The mount that a path is on.
fn covering<'a>(table: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    let above = table.iter().filter(|mount| path.starts_with(&mount.point));
    // Of several on one place, the last is the topmost.
    above.max_by_key(|mount| mount.point.as_os_str().len())
}

/// Whose mounts are looked at.
fn users(table: &[Mounted]) -> Vec<u32> {
    let own = nix::unistd::geteuid();
    let mut users = vec![own.as_raw()];
    if own.is_root() {
        users.extend(table.iter().filter_map(|mount| mount.owner));
        users.extend(served::users());
    }
    users.sort_unstable();
    users.dedup();
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Mounted> {
        point::parse(
            b"1 0 0:1 / / rw - ext4 disk rw\n\
              2 1 0:2 / /m rw - fuse.b2fuse a rw,user_id=7\n\
              3 2 0:3 / /m/in rw - tmpfs none rw\n\
              4 1 0:4 / /m rw - fuse.b2fuse b rw,user_id=7\n",
        )
    }

    #[test]
    fn a_path_is_on_the_nearest_and_topmost_mount() {
        let table = table();
        let device = |path: &str| covering(&table, Path::new(path)).map(|m| m.device.as_str());
        assert_eq!(device("/m"), Some("0:4"));
        assert_eq!(device("/m/a/b"), Some("0:4"));
        assert_eq!(device("/m/in/a"), Some("0:3"));
        assert_eq!(device("/mine"), Some("0:1"));
    }

    #[test]
    fn a_mount_that_is_not_named_must_be_the_only_one() {
        let mount = |name: &str| Mount {
            mountpoint: name.into(),
            pid: "1".into(),
            mounted: true,
            socket: PathBuf::new(),
        };
        let said = only(Vec::new()).expect_err("none").to_string();
        assert!(said.contains("no mount"), "{said}");
        let found = only(vec![mount("/a")]).expect("one");
        assert_eq!(found.mountpoint, Path::new("/a"));
        let said = only(vec![mount("/a"), mount("/b")]).expect_err("two");
        assert!(said.to_string().ends_with("name one: /a, /b"), "{said}");
    }

    #[test]
    fn paths_are_told_relative_to_the_mountpoint() {
        let of = |path: &str| relative(Path::new(path), Path::new("/m"), path).expect("text");
        assert_eq!((of("/m").as_str(), of("/m/a/b").as_str()), ("", "a/b"));
    }
}
