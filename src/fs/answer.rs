//! Results of `vfs` into fuser's replies, one small function each, and fuser's numbers into ours.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bytes::Bytes;
use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request,
};

use super::slot::Slot;
use super::{attr, errno};
use crate::vfs::{self, Entry, Fh, Ino, NewNode, Opened, StatFs, Vfs};

/// Inode numbers are never used twice in one mount.
const GENERATION: Generation = Generation(0);

/// A reply that can carry an errno.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty)*) => {$(
        impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )*};
}

refuse!(ReplyAttr ReplyCreate ReplyData ReplyDirectory ReplyDirectoryPlus ReplyEmpty ReplyEntry ReplyOpen ReplyWrite ReplyXattr);

/// What an operation gives. When its caller was told that it is interrupted, nobody will forget or close that.
pub(super) trait Granted: Send + 'static {
    fn give_back(self, vfs: &Vfs);
}

macro_rules! nothing_to_give_back {
    ($($result:ty)*) => {$(
        impl Granted for $result {
            fn give_back(self, _: &Vfs) {}
        }
    )*};
}

nothing_to_give_back!(() u32 Bytes Vec<Bytes> Vec<u8> (vfs::Attr, Duration));

impl Granted for Entry {
    fn give_back(self, vfs: &Vfs) {
        vfs.forget(self.attr.ino, 1);
    }
}

impl Granted for Opened {
    fn give_back(self, vfs: &Vfs) {
        vfs.release(self.fh);
    }
}

impl Granted for (Entry, Opened) {
    fn give_back(self, vfs: &Vfs) {
        self.1.give_back(vfs);
        self.0.give_back(vfs);
    }
}

/// A directory that was opened.
impl Granted for Fh {
    fn give_back(self, vfs: &Vfs) {
        vfs.releasedir(self);
    }
}

pub(super) fn ino(ino: INodeNo) -> Ino {
    Ino(ino.0)
}

pub(super) fn fh(fh: FileHandle) -> Fh {
    Fh(fh.0)
}

/// Whether a change of content takes set-user-id bits away. The kernel says so of writes only, as far as
/// fuser 0.18 tells; root is whoever may keep them.
pub(super) fn keeps_no_privileges(by: &Request) -> bool {
    by.uid() != 0
}

pub(super) fn new_node(request: &Request, mode: u32, rdev: u32) -> NewNode {
    NewNode {
        kind: attr::kind_of_mode(mode),
        mode: mode & 0o7777,
        uid: request.uid(),
        gid: request.gid(),
        rdev,
    }
}

fn open_flags(opened: Opened) -> FopenFlags {
    if opened.keep_cache {
        FopenFlags::FOPEN_KEEP_CACHE
    } else {
        FopenFlags::empty()
    }
}

pub(super) fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the shape that `serve` wants"
)]
pub(super) fn entered(reply: ReplyEntry, entry: Entry) {
    reply.entry(&entry.ttl, &attr::to_fuse(&entry.attr), GENERATION);
}

pub(super) fn attributes(reply: ReplyAttr, (found, ttl): (vfs::Attr, Duration)) {
    reply.attr(&ttl, &attr::to_fuse(&found));
}

thread_local! {
    /// Where a reply is put together. A fresh buffer for each would cost more than the copy: the
    /// system clears its pages every time.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// fuser takes one slice: joins only when there is more than one piece.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the shape that `serve` wants"
)]
pub(super) fn content(reply: ReplyData, pieces: Vec<Bytes>) {
    match pieces.as_slice() {
        [] => reply.data(&[]),
        [piece] => reply.data(piece),
        pieces => JOINED.with_borrow_mut(|joined| {
            joined.clear();
            for piece in pieces {
                joined.extend_from_slice(piece);
            }
            reply.data(joined);
        }),
    }
}

pub(super) fn target(reply: ReplyData, target: Bytes) {
    content(reply, vec![target]);
}

pub(super) fn opened(reply: ReplyOpen, opened: Opened) {
    reply.opened(FileHandle(opened.fh.0), open_flags(opened));
}

pub(super) fn created(reply: ReplyCreate, (entry, opened): (Entry, Opened)) {
    let (handle, flags) = (FileHandle(opened.fh.0), open_flags(opened));
    let attr = attr::to_fuse(&entry.attr);
    reply.created(&entry.ttl, &attr, GENERATION, handle, flags);
}

/// Without CACHE_DIR: a listing goes stale, and the kernel could not tell.
pub(super) fn listed(reply: ReplyOpen, fh: Fh) {
    reply.opened(FileHandle(fh.0), FopenFlags::empty());
}

pub(super) fn space(reply: ReplyStatfs, s: StatFs) {
    let (free, size) = (s.free, s.block_size);
    reply.statfs(
        s.blocks,
        free,
        free,
        s.files,
        s.files_free,
        size,
        s.name_max,
        size,
    );
}

/// The value of an extended attribute, or the names of all; where the caller asks with `size` 0, getxattr(2),
/// how long that is, and `slack` more.
pub(super) fn attribute(
    size: u32,
    slack: usize,
) -> impl FnOnce(ReplyXattr, Vec<u8>) + Send + 'static {
    move |reply, value| {
        if size == 0 {
            reply.size((value.len() + slack) as u32);
        } else if value.len() <= size as usize {
            reply.data(&value);
        } else {
            reply.error(Errno::ERANGE);
        }
    }
}

/// readdir: as many names as fit.
pub(super) async fn names(vfs: Vfs, fh: Fh, offset: u64, slot: Slot<ReplyDirectory>) {
    fill(
        &vfs,
        "readdir",
        fh,
        offset,
        &slot,
        ReplyDirectory::ok,
        |reply, offset| {
            vfs.readdir_emit(fh, offset, false, &mut |entry, _| {
                let (node, kind) = (INodeNo(entry.ino.0), attr::kind(entry.kind));
                full(reply.add(node, entry.next, kind, OsStr::from_bytes(&entry.name)))
            })
        },
    )
    .await;
}

/// readdirplus: the same with what lookup would say of each.
pub(super) async fn names_with_attributes(
    vfs: Vfs,
    fh: Fh,
    offset: u64,
    slot: Slot<ReplyDirectoryPlus>,
) {
    let answer = ReplyDirectoryPlus::ok;
    fill(
        &vfs,
        "readdirplus",
        fh,
        offset,
        &slot,
        answer,
        |reply, offset| {
            vfs.readdir_emit(fh, offset, true, &mut |entry, known| {
                // Node 0 is a name without attributes: the kernel takes no reference.
                let (node, ttl, attr) = match &known {
                    Some(known) => (entry.ino.0, known.ttl, attr::to_fuse(&known.attr)),
                    None => (0, Duration::ZERO, attr::name_only(entry.ino, entry.kind)),
                };
                let (node, name) = (INodeNo(node), OsStr::from_bytes(&entry.name));
                full(reply.add(node, entry.next, name, &ttl, &attr, GENERATION))
            })
        },
    )
    .await;
}

/// Waits for names and emits them, until there are some or the end is reached. While it emits it holds the
/// reply: what was put into it is the kernel's.
async fn fill<R: Refuse>(
    vfs: &Vfs,
    op: &'static str,
    fh: Fh,
    mut offset: u64,
    slot: &Slot<R>,
    answer: impl FnOnce(R),
    emit: impl Fn(&mut R, u64) -> Result<Option<u64>, vfs::Error>,
) {
    loop {
        let filled = vfs.readdir_fill(fh, offset).await;
        let Some(mut reply) = slot.take() else { return };
        match filled.and_then(|()| emit(&mut reply, offset)) {
            Ok(None) => return answer(reply),
            Ok(Some(next)) => offset = next,
            Err(error) => return reply.refuse(errno::report(op, &error)),
        }
        slot.put(reply);
    }
}

/// fuser says true when an entry did not fit any more.
fn full(full: bool) -> ControlFlow<()> {
    if full {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}
