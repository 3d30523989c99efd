//! Attributes and times between `vfs` and fuser.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

use crate::vfs::{Attr, FileKind, Ino};

/// `st_blksize`; the kernel derives the inode's block bits from it, so not more than a page.
const BLOCK_SIZE: u32 = 4096;

pub(super) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that `S_IFMT` names; a regular file where it names none.
pub(super) fn kind_of_mode(mode: u32) -> FileKind {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Symlink,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR => FileKind::CharDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

fn typed(mode: u32, kind: u32) -> u32 {
    (mode & 0o7777) | kind
}

/// mkdir(2) does not always say the type.
pub(super) fn as_directory(mode: u32) -> u32 {
    typed(mode, libc::S_IFDIR)
}

pub(super) fn as_symlink(mode: u32) -> u32 {
    typed(mode, libc::S_IFLNK)
}

pub(super) fn as_file(mode: u32) -> u32 {
    typed(mode, libc::S_IFREG)
}

pub(super) fn to_fuse(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: attr.mtime,
        kind: kind(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// What a directory entry without attributes shows: number and kind.
pub(super) fn name_only(ino: Ino, of: FileKind) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino.0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(of),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// A time that setattr sets; `None` is now.
pub(super) fn time(time: TimeOrNow) -> Option<SystemTime> {
    match time {
        TimeOrNow::Now => None,
        TimeOrNow::SpecificTime(time) => Some(mended(time)),
    }
}

/// Undoes a fault of fuser 0.18: before 1970 it takes the fraction away from the second instead of
/// adding it, so that -1.5 s (second -2, fraction 0.5) arrives as -2.5 s.
fn mended(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(_) => time,
        Err(before) => {
            let fraction = Duration::from_nanos(u64::from(before.duration().subsec_nanos()));
            time + 2 * fraction
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_fraction() {
        // As fuser's `system_time_from_time` computes it.
        let as_fuser = |secs: i64, nanos: u32| {
            if secs >= 0 {
                UNIX_EPOCH + Duration::new(secs as u64, nanos)
            } else {
                UNIX_EPOCH - Duration::new(secs.unsigned_abs(), nanos)
            }
        };
        for (secs, nanos) in [
            (-2, 500_000_000),
            (-1, 1),
            (-1, 999_999_999),
            (-1, 0),
            (-2_208_988_800, 123_456_789),
            (0, 0),
            (0, 5),
            (1_700_000_000, 999_999_999),
        ] {
            let wanted = if secs < 0 {
                UNIX_EPOCH - Duration::from_secs(i64::unsigned_abs(secs))
            } else {
                UNIX_EPOCH + Duration::from_secs(secs as u64)
            } + Duration::from_nanos(u64::from(nanos));
            let got = time(TimeOrNow::SpecificTime(as_fuser(secs, nanos)));
            assert_eq!(got, Some(wanted), "{secs} {nanos}");
        }
        assert_eq!(time(TimeOrNow::Now), None);
    }

    #[test]
    fn every_kind_survives_the_way_through_a_mode() {
        for (of, mode) in [
            (FileKind::File, libc::S_IFREG),
            (FileKind::Directory, libc::S_IFDIR),
            (FileKind::Symlink, libc::S_IFLNK),
            (FileKind::Fifo, libc::S_IFIFO),
            (FileKind::Socket, libc::S_IFSOCK),
            (FileKind::CharDevice, libc::S_IFCHR),
            (FileKind::BlockDevice, libc::S_IFBLK),
        ] {
            assert_eq!(kind_of_mode(mode | 0o644), of);
        }
        assert_eq!(kind_of_mode(0o644), FileKind::File);
    }
}
