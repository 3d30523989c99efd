//! The least that a FUSE filesystem can do: one file that is read from memory, files whose bytes are
//! thrown away when they are written, and a directory of any number of names. What the machine's `/dev/fuse` allows, and so the limit of every mount.
//!
//! Kernel settings and threads are those of b2fuse (`src/fs/init.rs`, `src/mount/session.rs`). It runs in a
//! process of its own, this program with `--serve-bare`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr,
    Request, WriteFlags,
};
use nix::sys::signal::{SigSet, Signal};

/// The file that is there from the start.
pub(crate) const FILE: &str = "read.bin";
/// The directory of names.
pub(crate) const NAMES: &str = "names";

const TTL: Duration = Duration::from_secs(30);
const FILE_INODE: INodeNo = INodeNo(2);
const NAMES_INODE: INodeNo = INodeNo(3);
/// Inodes of the names in it come from here on.
const FIRST_NAME: u64 = 1 << 32;
/// Size of each of them.
pub(crate) const NAMED_SIZE: u64 = 4096;

struct Bare {
    content: Vec<u8>,
    names: Vec<String>,
    /// Names and inodes of what was created.
    made: Mutex<HashMap<OsString, INodeNo>>,
}

fn attributes(ino: INodeNo, size: u64) -> FileAttr {
    let directory = ino == INodeNo::ROOT || ino == NAMES_INODE;
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if directory {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: if directory { 0o755 } else { 0o644 },
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Bare {
    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<OsString, INodeNo>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self, ino: INodeNo) -> u64 {
        if ino == FILE_INODE {
            self.content.len() as u64
        } else if ino.0 >= FIRST_NAME {
            NAMED_SIZE
        } else {
            0
        }
    }

    /// What is in the directory of names from `offset` on: inode, next offset, name.
    fn named(&self, offset: u64) -> impl Iterator<Item = (INodeNo, u64, &str)> {
        let dots = [(NAMES_INODE, 1, "."), (INodeNo::ROOT, 2, "..")];
        let names = self.names.iter().enumerate();
        let from = offset.saturating_sub(2) as usize;
        let names = names.skip(from).map(|(index, name)| {
            let index = index as u64;
            (INodeNo(FIRST_NAME + index), index + 3, name.as_str())
        });
        dots.into_iter().skip(offset.min(2) as usize).chain(names)
    }
}

impl Filesystem for Bare {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_background(64);
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            let _ = config.add_capabilities(wanted);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let ino = if parent == NAMES_INODE {
            let at = self
                .names
                .binary_search_by(|other| OsStr::new(other).cmp(name));
            at.ok().map(|at| INodeNo(FIRST_NAME + at as u64))
        } else if name == FILE {
            Some(FILE_INODE)
        } else if name == NAMES {
            Some(NAMES_INODE)
        } else {
            self.made().get(name).copied()
        };
        match ino {
            Some(ino) => reply.entry(&TTL, &attributes(ino, self.size(ino)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino, self.size(ino)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut made = self.made();
        let ino = INodeNo(NAMES_INODE.0 + 1 + made.len() as u64);
        made.insert(name.to_owned(), ino);
        let attr = attributes(ino, 0);
        reply.created(
            &TTL,
            &attr,
            Generation(0),
            FileHandle(0),
            FopenFlags::empty(),
        );
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let from = (offset as usize).min(self.content.len());
        let to = (from + size as usize).min(self.content.len());
        reply.data(&self.content[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino == NAMES_INODE {
            for (ino, next, name) in self.named(offset) {
                if reply.add(ino, next, attributes(ino, 0).kind, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        if ino == NAMES_INODE {
            for (ino, next, name) in self.named(offset) {
                let attributes = attributes(ino, self.size(ino));
                if reply.add(ino, next, name, &TTL, &attributes, Generation(0)) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
}

/// Serves until SIGTERM. The file holds the seeded content of its name.
pub(crate) fn serve(point: &Path, size: u64, names: u64) -> Result<()> {
    let mut content = vec![0; size as usize];
    b2fuse::emulator::seeded_content(FILE, 0, &mut content);
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?; // before there are other threads, which inherit it
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::DefaultPermissions,
        MountOption::FSName("bare".to_owned()),
        MountOption::NoAtime,
    ];
    config.n_threads =
        Some(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)));
    let bare = Bare {
        content,
        names: (0..names).map(|name| format!("f{name:07}")).collect(),
        made: Mutex::new(HashMap::new()),
    };
    let session = fuser::Session::new(bare, point, &config)
        .context("cannot mount the bare filesystem")?
        .spawn()?;
    raise_read_ahead(point);
    ends.wait()?;
    session.umount_and_join()?;
    Ok(())
}

/// As b2fuse does, where root runs it.
fn raise_read_ahead(point: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let fields = |line: &str| -> Option<(String, String)> {
        let mut fields = line.split(' ');
        Some((fields.nth(2)?.to_owned(), fields.nth(1)?.to_owned()))
    };
    let mut mounts = table.lines().filter_map(fields);
    let device = mounts.rfind(|(_, at)| Path::new(at) == point);
    if let Some((device, _)) = device {
        let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
        let _ = std::fs::write(path, "1024");
    }
}
