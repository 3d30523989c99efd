//! The mountpoint: what may be mounted on, and which mount is ours.
//!
//! A mount is known by its device number, never by its path alone, because others may mount on the same
//! path before or after. The number is reused, but not while the filesystem lives: ask `session` first.
//! What a killed b2fuse has left is cleared away (`remains`). An autofs that waits at the mountpoint is no mount in the way,
//! but nothing may open the directory before the mount stands: it would wait for the mount.

mod remains;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// One line of mountinfo, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// `major:minor` of the filesystem.
    pub(super) device: String,
    pub(super) point: PathBuf,
    pub(super) kind: String,
    source: String,
    /// The user whose program serves it, of a FUSE filesystem.
    pub(super) owner: Option<u32>,
}

/// The kernel's name of the type of our mounts.
pub(super) const OURS: &str = "fuse.b2fuse";
/// That of a directory where something is mounted as soon as somebody goes there.
const AUTOFS: &str = "autofs";

/// The topmost mount on a path that has no symlinks in it.
pub(super) fn topmost(point: &Path) -> io::Result<Option<Mounted>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    // The kernel lists mounts on one path from the lowest to the topmost.
    Ok(parse(&table).into_iter().rfind(|m| m.point == point))
}

/// Whether this mount is in the table at its place, perhaps under another.
pub(super) fn is_there(mount: &Mounted) -> io::Result<bool> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(parse(&table).contains(mount))
}

/// `id parent major:minor root point options [optional...] - kind source options`.
pub(super) fn parse(table: &[u8]) -> Vec<Mounted> {
    table
        .split(|&b| b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&b| b == b' ');
            let device = text(fields.nth(2)?);
            let point = PathBuf::from(unescaped(fields.nth(1)?));
            let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
            Some(Mounted {
                device,
                point,
                kind: text(rest.next()?),
                source: text(rest.next().unwrap_or_default()),
                owner: text(rest.next().unwrap_or_default())
                    .split(',')
                    .find_map(|option| option.strip_prefix("user_id=")?.parse().ok()),
            })
        })
        .collect()
}

fn text(field: &[u8]) -> String {
    unescaped(field).to_string_lossy().into_owned()
}

/// mountinfo writes blank, tab, newline and backslash as three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(d) = digits {
            out.push(((d[0] - b'0') << 6) | ((d[1] - b'0') << 3) | (d[2] - b'0'));
            rest = &after[3..];
        } else {
            out.push(first);
            rest = after;
        }
    }
    OsString::from_vec(out)
}

/// A mountpoint on which nobody else mounts b2fuse meanwhile: the directory is locked (flock(2)) as long as this lives.
/// Two that start at once would mount on each other, and the lower one be out of reach.
#[derive(Debug)]
pub(super) struct Reserved {
    /// Without symlinks.
    pub(super) path: PathBuf,
    /// An autofs waits here for the mount: nothing may open the directory.
    pub(super) autofs: bool,
    _lock: Option<Flock<File>>,
}

impl Reserved {
    fn new(path: PathBuf, shown: &Path) -> anyhow::Result<Self> {
        let dir = File::open(&path).with_context(|| format!("cannot use {}", shown.display()))?;
        let lock = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Some(lock),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "another b2fuse is about to mount on {}: wait for it, or name another directory",
                shown.display()
            ),
            // Some network filesystems have no locks.
            Err(_) => None,
        };
        Ok(Self {
            path,
            autofs: false,
            _lock: lock,
        })
    }

    /// That nothing was mounted since it was reserved.
    pub(super) fn still_free(&self) -> anyhow::Result<()> {
        free(&self.path, &self.path)
    }
}

fn free(point: &Path, shown: &Path) -> anyhow::Result<()> {
    let mounted = topmost(point).context("cannot read /proc/self/mountinfo")?;
    if let Some(mount) = mounted.filter(|mount| mount.kind != AUTOFS) {
        bail!(
            "{} is already a mountpoint ({} of type {}): unmount that first, or name another directory",
            shown.display(),
            mount.source,
            mount.kind
        );
    }
    Ok(())
}

/// Checks the mountpoint, making it if it is missing and `make` says so, and keeps it from other starts of b2fuse.
pub(super) fn reserve(given: &Path, make: bool) -> anyhow::Result<Reserved> {
    if let Some(path) = under_autofs(given) {
        // Whoever has it mounted keeps others away.
        return Ok(Reserved {
            path,
            autofs: true,
            _lock: None,
        });
    }
    let _turn = remains::clear(given)?;
    let path = check(given, make)?;
    Reserved::new(path, given)
}

/// Its path without symlinks, where an autofs waits for something to be mounted. Found without stat(2), which Rust makes
/// statx(2): that would have it mounted.
pub(super) fn under_autofs(given: &Path) -> Option<PathBuf> {
    let path = given.canonicalize().ok()?;
    let mount = topmost(&path).ok().flatten()?;
    (mount.kind == AUTOFS).then_some(path)
}

/// Its path without symlinks.
pub(super) fn check(given: &Path, make: bool) -> anyhow::Result<PathBuf> {
    let shown = given.display();
    match given.metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            bail!("{shown} is not a directory: name an empty directory")
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound && make => std::fs::create_dir_all(given)
            .with_context(|| format!("cannot make the mountpoint {shown}"))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            bail!("{shown} does not exist: make it with: mkdir {shown}")
        }
        Err(e) => return Err(e).with_context(|| format!("cannot use {shown}")),
    }
    let point = given
        .canonicalize()
        .with_context(|| format!("cannot use {shown}"))?;
    free(&point, given)?;
    let mut entries = std::fs::read_dir(&point).with_context(|| format!("cannot read {shown}"))?;
    if entries.next().is_some() {
        bail!("{shown} is not empty, the mount would hide what is there: name an empty directory");
    }
    if point.as_os_str().as_bytes().contains(&b'\n') {
        bail!("{shown} has a newline in its path: name another directory");
    }
    Ok(point)
}

/// Lets the kernel read ahead as far as one request carries. More would gain little, and a fault in a mapped
/// file reads the whole window. Root only, and worth a try: the default of 128 KiB only costs throughput.
pub(super) fn raise_read_ahead(mount: &Mounted) {
    const KIB: u32 = 1024;
    let path = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    if let Err(e) = std::fs::write(&path, KIB.to_string()) {
        log::debug!("read-ahead of the kernel stays as it is: {path}: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let table = b"22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n\
            90 27 0:51 / /mnt/a\\040b\\134c rw,relatime - fuse.b2fuse b2fuse:photos rw,user_id=0\n\
            91 27 0:52 / /mnt/x rw shared:1 master:2 - tmpfs none rw\n\
            nonsense\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].point, Path::new("/mnt/a b\\c"));
        assert_eq!(mounts[1].kind, "fuse.b2fuse");
        assert_eq!(mounts[1].source, "b2fuse:photos");
        assert_eq!(mounts[1].device, "0:51");
        assert_eq!((mounts[1].owner, mounts[2].owner), (Some(0), None));
        assert_eq!(
            (mounts[2].device.as_str(), mounts[2].kind.as_str()),
            ("0:52", "tmpfs")
        );
    }

    #[test]
    fn one_start_at_a_time_has_a_mountpoint() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = reserve(dir.path(), false).expect("free");
        let refused = reserve(dir.path(), false).expect_err("taken");
        assert!(refused.to_string().contains("another b2fuse"), "{refused}");
        first.still_free().expect("nothing mounted");
        drop(first);
        reserve(dir.path(), false).expect("free again");
    }

    #[test]
    fn what_cannot_be_mounted_on_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let said = |path: &Path, make| {
            let fault = check(path, make).expect_err("refused").to_string();
            fault.replace(&dir.path().display().to_string(), "DIR")
        };
        let missing = dir.path().join("missing");
        assert_eq!(
            said(&missing, false),
            "DIR/missing does not exist: make it with: mkdir DIR/missing"
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("written");
        assert_eq!(
            said(&file, false),
            "DIR/file is not a directory: name an empty directory"
        );
        assert_eq!(
            said(dir.path(), false),
            "DIR is not empty, the mount would hide what is there: name an empty directory"
        );
        assert!(
            said(Path::new("/proc"), true)
                .starts_with("/proc is already a mountpoint (proc of type proc): ")
        );
        let made = dir.path().join("a/b");
        check(&made, true).expect("made");
        assert!(made.is_dir());
    }
}
