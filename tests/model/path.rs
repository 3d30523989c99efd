//! The filesystem under a path: a mounted bucket, or a plain directory of this machine.

use std::fs::{self, File};
use std::io::{Error, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{
    FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::PathBuf;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;
use rustix::fs::{
    FallocateFlags, XattrFlags, copy_file_range, fallocate, getxattr, listxattr, removexattr,
    setxattr,
};
use tempfile::TempDir;

use crate::backend::Backend;
use crate::operation::{Operation, Range, SLOTS};
use crate::reference::{Answer, Kind, Outcome, Stat, Xattrs};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;

/// Operations by system calls below a root.
struct Calls {
    root: PathBuf,
    /// Zeros are written where the filesystem has none to give (tmpfs).
    writes_zeros: bool,
    slots: [Option<(File, bool)>; SLOTS],
}

fn errno(error: &Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Calls {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            writes_zeros: false,
            slots: Default::default(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }

    /// For opening: a fifo would wait for somebody at its other end.
    fn open(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.at(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.file_type().is_fifo() => Err(Error::from_raw_os_error(libc::ENXIO)),
            _ => Ok(path),
        }
    }

    fn slot(&self, slot: usize) -> Result<&(File, bool), Error> {
        let open = self.slots[slot].as_ref();
        open.ok_or_else(|| Error::from_raw_os_error(libc::EBADF))
    }

    fn allocate(&self, file: &File, range: Range, offset: u64, len: u64) -> Result<(), Error> {
        let flags = FallocateFlags::from_bits_truncate(range.mode() as u32);
        match fallocate(file, flags, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP) if self.writes_zeros => {
                if range == Range::Zero {
                    fallocate(file, FallocateFlags::empty(), offset, len)?;
                }
                let punch = Range::Punch.mode() as u32;
                fallocate(file, FallocateFlags::from_bits_truncate(punch), offset, len)?;
                Ok(())
            }
            done => Ok(done?),
        }
    }

    fn apply(&mut self, operation: &Operation) -> Result<Answer, Error> {
        match operation {
            Operation::Open {
                slot,
                name,
                create,
                exclusive,
                truncate,
                append,
            } => {
                self.slots[*slot] = None;
                let mut flags = 0;
                for (set, flag) in [
                    (*create, libc::O_CREAT),
                    (*exclusive, libc::O_EXCL),
                    (*truncate, libc::O_TRUNC),
                    (*append, libc::O_APPEND),
                ] {
                    flags |= if set { flag } else { 0 };
                }
                let path = if *exclusive {
                    self.at(name)
                } else {
                    self.open(name)?
                };
                let file = File::options()
                    .read(true)
                    .write(true)
                    .custom_flags(flags)
                    .mode(0o644)
                    .open(path)?;
                self.slots[*slot] = Some((file, *append));
            }
            Operation::Close { slot } => self.slots[*slot] = None,
            Operation::ReadAt { slot, offset, len } => {
                let (file, _) = self.slot(*slot)?;
                let mut bytes = vec![0; *len];
                let mut filled = 0;
                while filled < bytes.len() {
                    match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                        0 => break,
                        read => filled += read,
                    }
                }
                bytes.truncate(filled);
                return Ok(Answer::Bytes(bytes));
            }
            Operation::WriteAt { slot, offset, data } => {
                let (file, append) = self.slot(*slot)?;
                if *append {
                    (&mut &*file).write_all(&data.bytes())?;
                } else {
                    file.write_all_at(&data.bytes(), *offset)?;
                }
            }
            Operation::SetLen { slot, len } => self.slot(*slot)?.0.set_len(*len)?,
            Operation::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                len,
            } => {
                let (source, target) = (&self.slot(*from)?.0, &self.slot(*to)?.0);
                // More calls see the file longer if it is copied into itself.
                let size = source.metadata()?.len();
                let len = (*len as u64).min(size.saturating_sub(*from_offset)) as usize;
                return copy(source, *from_offset, target, *to_offset, len).map(Answer::Size);
            }
            Operation::Copy { from, to } => {
                let source = File::open(self.open(from)?)?;
                if source.metadata()?.is_dir() {
                    return Err(Error::from_raw_os_error(libc::EISDIR));
                }
                let target = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o644)
                    .open(self.open(to)?)?;
                if source.metadata()?.ino() != target.metadata()?.ino() {
                    target.set_len(0)?;
                    copy(&source, 0, &target, 0, usize::MAX >> 1)?;
                }
                close(target)?;
            }
            Operation::Sync { slot } => self.slot(*slot)?.0.sync_all()?,
            Operation::StatSlot { slot } => {
                return stat(&self.slot(*slot)?.0.metadata()?).map(Answer::Stat);
            }
            Operation::ChmodSlot { slot, mode } => {
                let mode = fs::Permissions::from_mode(*mode);
                self.slot(*slot)?.0.set_permissions(mode)?;
            }
            Operation::SetTimeSlot { slot, at } => {
                let time = spec(*at);
                futimens(&self.slot(*slot)?.0, &time, &time)?;
            }
            Operation::Allocate {
                slot,
                range,
                offset,
                len,
            } => self.allocate(&self.slot(*slot)?.0, *range, *offset, *len as u64)?,
            Operation::Put { name, data } => {
                let mut file = File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o644)
                    .open(self.open(name)?)?;
                file.write_all(&data.bytes())?;
                close(file)?;
            }
            Operation::Append { name, data } => {
                let mut file = File::options().append(true).open(self.open(name)?)?;
                file.write_all(&data.bytes())?;
                close(file)?;
            }
            Operation::Truncate { name, len } => {
                nix::unistd::truncate(&self.at(name), *len as i64)?;
            }
            Operation::Read { name } => {
                let mut bytes = Vec::new();
                File::open(self.open(name)?)?.read_to_end(&mut bytes)?;
                return Ok(Answer::Bytes(bytes));
            }
            Operation::Rename {
                from,
                to,
                no_replace,
            } => {
                let flags = if *no_replace {
                    RenameFlags::RENAME_NOREPLACE
                } else {
                    RenameFlags::empty()
                };
                renameat2(AT_FDCWD, &self.at(from), AT_FDCWD, &self.at(to), flags)?;
            }
            Operation::Unlink { name } => nix::unistd::unlink(&self.at(name))?,
            Operation::Mkdir { name, mode } => {
                nix::unistd::mkdir(&self.at(name), Mode::from_bits_truncate(*mode))?;
            }
            Operation::Symlink { name, target } => symlink(target, self.at(name))?,
            Operation::Readlink { name } => {
                let target = fs::read_link(self.at(name))?;
                return Ok(Answer::Target(target.to_string_lossy().into_owned()));
            }
            Operation::Fifo { name, mode } => {
                nix::unistd::mkfifo(&self.at(name), Mode::from_bits_truncate(*mode))?;
            }
            Operation::Rmdir { name } => fs::remove_dir(self.at(name))?,
            Operation::List { name } => {
                let mut names = Vec::new();
                for entry in fs::read_dir(self.at(name))? {
                    names.push(entry?.file_name().to_string_lossy().into_owned());
                }
                names.sort();
                return Ok(Answer::Names(names));
            }
            Operation::Stat { name } => {
                return stat(&fs::symlink_metadata(self.at(name))?).map(Answer::Stat);
            }
            Operation::Chmod { name, mode } => {
                fs::set_permissions(self.at(name), fs::Permissions::from_mode(*mode))?;
            }
            Operation::SetTime { name, at } => {
                let time = spec(*at);
                let follow = UtimensatFlags::NoFollowSymlink;
                utimensat(AT_FDCWD, &self.at(name), &time, &time, follow)?;
            }
            Operation::Chown { name, uid, gid } => {
                lchown(self.at(name), Some(*uid), Some(*gid))?;
            }
            Operation::SetXattr {
                name,
                key,
                value,
                flags,
            } => {
                let flags = XattrFlags::from_bits_truncate(*flags as u32);
                setxattr(self.at(name), key, value, flags)?;
            }
            Operation::GetXattr { name, key } => {
                return xattr(&self.at(name), key).map(Answer::Bytes);
            }
            Operation::RemoveXattr { name, key } => removexattr(self.at(name), key)?,
            Operation::Xattrs { name } => {
                let mut keys = [0; 4096];
                let length = listxattr(self.at(name), &mut keys)?;
                let mut found = Xattrs::new();
                for key in keys[..length].split_inclusive(|byte| *byte == 0) {
                    let key = String::from_utf8_lossy(&key[..key.len() - 1]).into_owned();
                    if key.starts_with("user.") {
                        let value = xattr(&self.at(name), &key)?;
                        found.insert(key, value);
                    }
                }
                return Ok(Answer::Xattrs(found));
            }
            Operation::Compare => {}
            Operation::Remount => self.slots = Default::default(),
        }
        Ok(Answer::Done)
    }
}

fn xattr(path: &std::path::Path, key: &str) -> Result<Vec<u8>, Error> {
    let mut value = [0; 4096];
    let length = getxattr(path, key, &mut value)?;
    Ok(value[..length].to_vec())
}

fn spec(at: std::time::SystemTime) -> TimeSpec {
    let since = at
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    TimeSpec::from_duration(since)
}

fn stat(meta: &fs::Metadata) -> Result<Stat, Error> {
    let kind = meta.file_type();
    let (kind, size) = if kind.is_dir() {
        (Kind::Directory, 0)
    } else if kind.is_symlink() {
        (Kind::Symlink, meta.len())
    } else if kind.is_fifo() {
        (Kind::Fifo, meta.len())
    } else {
        (Kind::File, meta.len())
    };
    let directory = kind == Kind::Directory;
    Ok(Stat {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: if directory { 0 } else { meta.nlink() as u32 },
        size,
        mtime: Some(meta.modified()?),
    })
}

/// By copy_file_range(2), called again while it copies less than asked for; tells how many bytes.
fn copy(from: &File, at: u64, to: &File, to_at: u64, len: usize) -> Result<u64, Error> {
    let (mut at, mut to_at) = (at, to_at);
    let mut copied = 0;
    loop {
        let left = len - copied;
        match copy_file_range(from, Some(&mut at), to, Some(&mut to_at), left)? {
            0 => return Ok(copied as u64),
            more => copied += more,
        }
        if copied == len {
            return Ok(copied as u64);
        }
    }
}

/// With the error that close(2) may bring, which dropping hides.
fn close(file: File) -> Result<(), Error> {
    // (Flush is called at every close of a descriptor, so a duplicate's will do.)
    let twin = file.as_fd().try_clone_to_owned()?;
    nix::unistd::close(twin)?;
    drop(file);
    Ok(())
}

/// A plain directory, in memory where the machine has room for that.
pub(crate) struct Directory {
    calls: Calls,
    _temporary: TempDir,
}

impl Directory {
    pub(crate) fn new() -> Self {
        // Memory keeps extended attributes since Linux 6.6.
        let in_memory = tempfile::tempdir_in("/dev/shm").ok().filter(|temporary| {
            setxattr(temporary.path(), "user.test", b"x", XattrFlags::empty()).is_ok()
        });
        let temporary = in_memory
            .or_else(|| tempfile::tempdir().ok())
            .expect("a temporary directory");
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            calls: Calls {
                writes_zeros: true,
                ..Calls::new(temporary.path().to_owned())
            },
            _temporary: temporary,
        }
    }
}

impl Backend for Directory {
    fn apply(&mut self, operation: &Operation) -> Outcome {
        self.calls.apply(operation).map_err(|error| errno(&error))
    }
}

/// A bucket of its own, mounted.
pub(crate) struct Mounted {
    calls: Calls,
    mount: Mount,
    _emulator: Emulator,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        let emulator = Emulator::start();
        let mount = Mount::with(&emulator, "enable_hashfiles: false\n");
        Self {
            calls: Calls::new(mount.path().to_owned()),
            mount,
            _emulator: emulator,
        }
    }
}

impl Backend for Mounted {
    fn apply(&mut self, operation: &Operation) -> Outcome {
        let outcome = self.calls.apply(operation).map_err(|error| errno(&error));
        if matches!(operation, Operation::Remount) {
            self.mount.remount();
        }
        outcome
    }

    fn messages(&self) -> String {
        self.mount.messages()
    }
}
