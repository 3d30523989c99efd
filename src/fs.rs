//! The fuser adapter: a request in, a reply out; no call to B2, no policy.
//!
//! Every operation becomes one future that owns its reply and goes through [`Dispatch`], which answers
//! on the session's thread what memory can answer, and moves the rest into the runtime: no session thread
//! ever waits. A reply that is dropped unanswered becomes `EIO`, so nothing can leave a caller hanging.
//!
//! Operations that are refused are refused on purpose here, because fuser's own answer, `ENOSYS`, would
//! reach users as "Function not implemented".

mod adapter;
mod answer;
mod attr;
mod dispatch;
mod errno;
mod exclusive;
mod init;
mod interrupt;
mod repeats;
mod slot;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

pub use adapter::Adapter;
pub use dispatch::{Dispatch, Gate};

use self::answer::{
    attributes, content, created, done, entered, fh, ino, keeps_no_privileges, listed, new_node,
    opened, target,
};
use self::slot::Slot;
use crate::vfs::{Error, Reader, SetAttr};

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::ask(config, self.vfs.memory_limit());
        Ok(())
    }

    fn lookup(&self, by: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (vfs, name, caller) = (self.vfs.clone(), name.to_owned(), by.pid());
        self.serve(caller, "lookup", reply, entered, async move {
            let entry = vfs.lookup(ino(parent), &name).await?;
            if entry.attr.ino.is_virtual() && exclusive::creates(caller) {
                return Err(Error::NotFound);
            }
            Ok(entry)
        });
    }

    fn forget(&self, _: &Request, node: INodeNo, nlookup: u64) {
        self.dispatch
            .now("forget", || self.vfs.forget(ino(node), nlookup));
    }

    fn getattr(&self, by: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "getattr", reply, attributes, async move {
            vfs.getattr(ino(node)).await
        });
    }

    fn setattr(
        &self,
        by: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let vfs = self.vfs.clone();
        let drop = size.is_some() && keeps_no_privileges(by);
        let set = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(attr::time),
            mtime: mtime.map(attr::time),
        };
        self.serve(by.pid(), "setattr", reply, attributes, async move {
            if drop {
                vfs.drop_privileges(ino(node));
            }
            vfs.setattr(ino(node), set).await
        });
    }

    fn readlink(&self, by: &Request, node: INodeNo, reply: ReplyData) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "readlink", reply, target, async move {
            vfs.readlink(ino(node)).await
        });
    }

    fn mknod(
        &self,
        by: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        let new = new_node(by, mode, rdev);
        self.serve(by.pid(), "mknod", reply, entered, async move {
            vfs.mknod(ino(parent), &name, new).await
        });
    }

    fn mkdir(
        &self,
        by: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        let new = new_node(by, attr::as_directory(mode), 0);
        self.serve(by.pid(), "mkdir", reply, entered, async move {
            vfs.mkdir(ino(parent), &name, new).await
        });
    }

    fn unlink(&self, by: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        self.serve(by.pid(), "unlink", reply, done, async move {
            vfs.unlink(ino(parent), &name).await
        });
    }

    fn rmdir(&self, by: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        self.serve(by.pid(), "rmdir", reply, done, async move {
            vfs.rmdir(ino(parent), &name).await
        });
    }

    fn symlink(
        &self,
        by: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (vfs, name, target) = (self.vfs.clone(), name.to_owned(), target.to_owned());
        let new = new_node(by, attr::as_symlink(0o777), 0);
        self.serve(by.pid(), "symlink", reply, entered, async move {
            let target = target.as_os_str().as_bytes();
            vfs.symlink(ino(parent), &name, target, new).await
        });
    }

    fn rename(
        &self,
        by: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (vfs, name, new_name) = (self.vfs.clone(), name.to_owned(), new_name.to_owned());
        self.serve(by.pid(), "rename", reply, done, async move {
            let (from, to) = (ino(parent), ino(new_parent));
            vfs.rename(from, &name, to, &new_name, flags.bits()).await
        });
    }

    /// One object is one file: at most a copy.
    fn link(&self, by: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        self.serve(by.pid(), "link", reply, entered, async move {
            vfs.link(ino(node), ino(parent), &name).await
        });
    }

    fn open(&self, by: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let vfs = self.vfs.clone();
        let drop = flags.0 & libc::O_TRUNC != 0 && keeps_no_privileges(by);
        self.serve(by.pid(), "open", reply, opened, async move {
            let opened = vfs.open(ino(node), flags.0).await?;
            if drop {
                vfs.drop_privileges(ino(node));
            }
            Ok(opened)
        });
    }

    fn create(
        &self,
        by: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        let new = new_node(by, attr::as_file(mode), 0);
        self.serve(by.pid(), "create", reply, created, async move {
            vfs.create(ino(parent), &name, new, flags).await
        });
    }

    fn read(
        &self,
        by: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let vfs = self.vfs.clone();
        self.serve_reader(by.pid(), reply, content, async move {
            vfs.read(fh(handle), offset, size).await
        });
    }

    fn write(
        &self,
        by: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        open: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // The one copy of a write: the session's buffer is reused for the next request.
        let (vfs, data) = (self.vfs.clone(), Bytes::copy_from_slice(data));
        let drop = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        // The kernel writes its pages for itself: nobody would write them again.
        let cached = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let caller = if cached { 0 } else { by.pid() };
        // Of the request, not of the handle: fcntl(2) changes it, and pages that were written to in memory
        // come by any handle of the file.
        let append = open.0 & libc::O_APPEND != 0 && !cached;
        self.serve(caller, "write", reply, ReplyWrite::written, async move {
            if drop {
                vfs.drop_privileges(ino(node));
            }
            if append {
                vfs.append(fh(handle), data).await
            } else {
                vfs.write(fh(handle), offset, data).await
            }
        });
    }

    fn flush(&self, by: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "flush", reply, done, async move {
            vfs.flush(fh(handle)).await
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.dispatch
            .now("release", || self.vfs.release(fh(handle)));
        reply.ok();
    }

    fn fsync(&self, by: &Request, _: INodeNo, handle: FileHandle, data: bool, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "fsync", reply, done, async move {
            vfs.fsync(fh(handle), data).await
        });
    }

    fn opendir(&self, by: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "opendir", reply, listed, async move {
            vfs.opendir(ino(node)).await
        });
    }

    fn readdir(
        &self,
        by: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let (vfs, reply) = (self.vfs.clone(), Slot::new(reply));
        let caller = reply.caller(by.pid());
        let names = answer::names(vfs, fh(handle), offset, reply);
        self.dispatch.run("readdir", caller, names);
    }

    fn readdirplus(
        &self,
        by: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let (vfs, reply) = (self.vfs.clone(), Slot::new(reply));
        let caller = reply.caller(by.pid());
        let names = answer::names_with_attributes(vfs, fh(handle), offset, reply);
        self.dispatch.run("readdirplus", caller, names);
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.dispatch
            .now("releasedir", || self.vfs.releasedir(fh(handle)));
        reply.ok();
    }

    fn fsyncdir(&self, by: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.serve(by.pid(), "fsyncdir", reply, done, async move {
            vfs.fsyncdir(fh(handle)).await
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.dispatch.now("statfs", || self.vfs.statfs()) {
            Some(space) => answer::space(reply, space),
            None => reply.error(Errno::EIO),
        }
    }

    /// Were mode 0 refused, libc's `posix_fallocate` would write a byte into every block. The kernel has sent
    /// what is dirty in its pages of the range, and forgets those that became zeros afterwards.
    fn fallocate(
        &self,
        by: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        let drop = keeps_no_privileges(by);
        self.serve(by.pid(), "fallocate", reply, done, async move {
            if drop {
                vfs.drop_privileges(ino(node));
            }
            vfs.fallocate(fh(handle), offset, length, mode).await
        });
    }

    /// The kernel has sent what is dirty in its pages of both ranges, and forgets those of the target
    /// afterwards. `EXDEV` makes it read and write instead. Reflinks (FICLONE) never come here: programs
    /// that try one first go on with this.
    fn copy_file_range(
        &self,
        by: &Request,
        _: INodeNo,
        from: FileHandle,
        from_offset: u64,
        target: INodeNo,
        to: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (vfs, from, to) = (self.vfs.clone(), fh(from), fh(to));
        let drop = keeps_no_privileges(by);
        self.serve(
            by.pid(),
            "copy_file_range",
            reply,
            ReplyWrite::written,
            async move {
                if drop {
                    vfs.drop_privileges(ino(target));
                }
                vfs.copy_file_range(from, from_offset, to, to_offset, len)
                    .await
            },
        );
    }

    /// The kernel asks for `security.capability` of what is written, too: once a file, where it has left the
    /// clearing of set-user-id bits to b2fuse (`init`), else before each write.
    fn getxattr(&self, by: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        let answer = answer::attribute(size, vfs.xattr_slack(&name));
        let owner = by.uid() == 0 || by.uid() == nix::unistd::geteuid().as_raw();
        let reader = if owner {
            Reader::Owner
        } else {
            Reader::Stranger
        };
        self.serve(by.pid(), "getxattr", reply, answer, async move {
            vfs.getxattr_for(ino(node), &name, reader).await
        });
    }

    fn listxattr(&self, by: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let vfs = self.vfs.clone();
        let answer = answer::attribute(size, 0);
        self.serve(by.pid(), "listxattr", reply, answer, async move {
            vfs.listxattr(ino(node)).await
        });
    }

    fn setxattr(
        &self,
        by: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (vfs, name, value) = (self.vfs.clone(), name.to_owned(), value.to_owned());
        self.serve(by.pid(), "setxattr", reply, done, async move {
            vfs.setxattr(ino(node), &name, &value, flags).await
        });
    }

    fn removexattr(&self, by: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name.to_owned());
        self.serve(by.pid(), "removexattr", reply, done, async move {
            vfs.removexattr(ino(node), &name).await
        });
    }

    // `ENOSYS` to the following is no refusal that a program would see: the kernel remembers it, does
    // without, and does not ask again. For lseek it answers from the size, data everywhere and the hole at the
    // end: holes in memory are no longer known once they are stored, and of what is written to a mapping b2fuse
    // may not know yet. A poll finds files always ready.

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}
