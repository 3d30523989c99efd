//! What an object says of itself: POSIX attributes in file info, and back (DESIGN §3).
//!
//! Only what differs from the mount's defaults is written. Foreign keys are carried along
//! untouched, because a copy with REPLACE loses what it does not name (API §17.3).

use crate::b2::{FileInfo, FileVersion};
use crate::io::Stamp;
use crate::vfs::{FileKind, NewNode, Permissions, Settings};

mod foreign;
mod time;

pub(super) use time::{Nanos, now, to_nanos, to_time};

/// Modification time in milliseconds, every B2 tool's convention (API §5.2).
const MTIME_MS: &str = "src_last_modified_millis";
/// Octal st_mode, file type included.
const MODE: &str = "mode";
const UID: &str = "uid";
const GID: &str = "gid";
const RDEV: &str = "rdev";
/// In nanoseconds.
const MILLISECOND: Nanos = 1_000_000;
/// The key that belongs to one act of uploading and must not be carried to the next version.
const PER_VERSION: &str = "large_file_sha1";

/// Attributes of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kind: FileKind,
    /// Permission bits.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
    pub(super) mtime: Nanos,
    pub(super) ctime: Nanos,
}

impl Meta {
    /// What a thing without attributes of its own shows.
    pub(super) fn default_for(kind: FileKind, settings: &Settings, mtime: Nanos) -> Self {
        let full: u16 = if kind == FileKind::Directory {
            0o777
        } else {
            0o666
        };
        let mode = if kind == FileKind::Symlink {
            0o777
        } else {
            full & !permissions(settings.umask)
        };
        Self {
            kind,
            mode,
            uid: settings.uid,
            gid: settings.gid,
            rdev: 0,
            mtime,
            ctime: mtime,
        }
    }

    /// Reads the attributes of an object; what cannot be read counts as absent.
    pub(super) fn of_version(version: &FileVersion, settings: &Settings) -> Self {
        let info = &version.info;
        // No object is a directory, whatever its info says.
        let st_mode = foreign::mode(info, false);
        Self::of_mode(version, settings, st_mode)
    }

    fn of_mode(version: &FileVersion, settings: &Settings, st_mode: Option<u32>) -> Self {
        let info = &version.info;
        let number = |key: &str| info.get(key).and_then(|v| v.parse::<u32>().ok());
        let stamp = Stamp::of(info);
        let kind = st_mode.map_or(FileKind::File, kind_of_mode);
        let long = |key: &str| info.get(key).and_then(|v| v.parse::<i64>().ok());
        let uploaded = time::of_millis(i64::try_from(version.uploaded_ms).unwrap_or(0), 0);
        let mtime = match long(MTIME_MS) {
            Some(millis) => time::of_millis(millis, stamp.mtime_ns),
            None => foreign::mtime(info).unwrap_or(uploaded),
        };
        let mut meta = Self::default_for(kind, settings, mtime);
        meta.rdev = number(RDEV).unwrap_or(0);
        // Of what other tools store, the time of a change is that of the version that it makes, unless they tell.
        let ctime = stamp.ctime.and_then(|at| i64::try_from(at).ok());
        meta.ctime = ctime
            .or_else(|| foreign::ctime(info, uploaded))
            .unwrap_or(uploaded);
        if settings.permissions == Permissions::Keep {
            meta.mode = st_mode.map_or(meta.mode, permissions);
            let id = |key: &str| info.get(key).and_then(|text| foreign::id(text));
            meta.uid = id(UID).unwrap_or(meta.uid);
            meta.gid = id(GID).unwrap_or(meta.gid);
        }
        meta
    }

    /// Reads a directory's attributes from its marker: mode and owner where stored, time always.
    pub(super) fn of_marker(version: &FileVersion, settings: &Settings) -> Self {
        let mut meta = Self::of_mode(version, settings, foreign::mode(&version.info, true));
        if meta.kind != FileKind::Directory {
            let default = Self::default_for(FileKind::Directory, settings, meta.mtime);
            meta = Self {
                uid: meta.uid,
                gid: meta.gid,
                ctime: meta.ctime,
                ..default
            };
        }
        meta
    }

    /// What is made now shows.
    pub(super) fn of_new(new: NewNode, settings: &Settings) -> Self {
        let meta = Self {
            rdev: new.rdev,
            ..Self::default_for(new.kind, settings, now())
        };
        match settings.permissions {
            Permissions::Ignore => meta,
            Permissions::Keep => Self {
                mode: permissions(new.mode),
                uid: new.uid,
                gid: new.gid,
                ..meta
            },
        }
    }

    /// Something of it changes now: the time of that may already be the next millisecond, in which an entry came.
    pub(super) fn changed(&mut self, now: Nanos) {
        let ahead = self.ctime.saturating_sub(now);
        if !(0..=MILLISECOND).contains(&ahead) {
            self.ctime = now;
        }
    }

    /// An entry came at a time: a directory changes by that, unless it was changed later.
    pub(super) fn entry_came(&mut self, at: Nanos) {
        if at > self.ctime {
            self.mtime = at;
            self.ctime = at;
        }
    }

    /// When the content was changed: milliseconds since 1970.
    pub(super) fn mtime_ms(&self) -> i64 {
        time::millis(self.mtime).0
    }

    /// The file info to store: these attributes and what the version before is to hand on.
    pub(super) fn to_info(self, carried: Option<&FileInfo>, settings: &Settings) -> FileInfo {
        let mut info = carried.cloned().unwrap_or_default();
        foreign::bring_up(&mut info, self.mtime, self.ctime);
        let (millis, rest) = time::millis(self.mtime);
        info.insert(MTIME_MS.to_owned(), millis.to_string());
        let stamp = Stamp {
            mtime_ns: rest,
            ctime: u64::try_from(self.ctime).ok(),
            ..Stamp::default()
        };
        stamp.put(&mut info);
        let default = Self::default_for(self.kind, settings, 0);
        let implied = matches!(self.kind, FileKind::File | FileKind::Directory);
        if self.mode != default.mode || !implied {
            // There is one already where permissions are ignored: that one stays.
            info.entry(MODE.to_owned())
                .or_insert_with(|| format!("{:o}", type_bits(self.kind) | u32::from(self.mode)));
        }
        if self.uid != default.uid {
            info.insert(UID.to_owned(), self.uid.to_string());
        }
        if self.gid != default.gid {
            info.insert(GID.to_owned(), self.gid.to_string());
        }
        if self.rdev != 0 {
            info.insert(RDEV.to_owned(), self.rdev.to_string());
        }
        info
    }

    /// Whether two would be stored alike; the ctime alone is not worth a version.
    pub(super) fn stored_alike(&self, other: &Self) -> bool {
        Self { ctime: 0, ..*self } == Self { ctime: 0, ..*other }
    }
}

/// When something comes into a directory, in whole milliseconds, and after its last change: so it is told later.
pub(super) fn came_into(directory: &Meta, now: Nanos) -> Nanos {
    let now = of_ms(whole_ms(now));
    if now > directory.ctime {
        return now;
    }
    let after = of_ms(whole_ms(directory.ctime).saturating_add(1));
    // A directory that was changed in the future, by another clock, stays as it is.
    if after - now <= MILLISECOND {
        after
    } else {
        now
    }
}

/// A time in whole milliseconds since 1970, as it is kept of when a name came; not before that.
pub(super) fn whole_ms(time: Nanos) -> u64 {
    u64::try_from(time::millis(time).0).unwrap_or(0)
}

/// The reverse of [`whole_ms`].
pub(super) fn of_ms(ms: u64) -> Nanos {
    time::of_millis(i64::try_from(ms).unwrap_or(i64::MAX), 0)
}

/// The access time that another tool has told, in info that is carried along.
pub(super) fn told_atime(carried: &FileInfo) -> Option<Nanos> {
    foreign::atime(carried)
}

/// What is not in a `Meta`, to be carried along: extended attributes, keys that b2fuse does not
/// understand, and permissions where they are ignored.
pub(super) fn carried_info(info: &FileInfo, settings: &Settings) -> FileInfo {
    let own: &[&str] = match settings.permissions {
        Permissions::Keep => &[MTIME_MS, RDEV, MODE, UID, GID],
        Permissions::Ignore => &[MTIME_MS, RDEV],
    };
    info.iter()
        .filter(|(key, _)| {
            !own.contains(&key.as_str()) && *key != PER_VERSION && !Stamp::is_key(key)
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// How many keys of info an object may come to have that carries these: with all attributes of a file that has a mode and
/// an owner of its own. A device has a number, and no SHA-1.
pub(super) fn most_keys(carried: &FileInfo) -> usize {
    let own = [MTIME_MS, Stamp::KEY, MODE, UID, GID, PER_VERSION];
    let others = |key: &&String| !own.contains(&key.as_str());
    own.len() + carried.keys().filter(others).count()
}

/// Begins the key of an extended attribute whose escaped name fits into one.
pub(super) const XATTR_SHORT: &str = "xattr-";
/// Begins the key of any other; the SHA-1 of its name follows.
pub(super) const XATTR_LONG: &str = "xattr~";

/// Whether a key of file info holds an extended attribute.
pub(super) fn is_xattr_key(key: &str) -> bool {
    key.starts_with(XATTR_SHORT) || key.starts_with(XATTR_LONG)
}

/// The permission bits of a mode.
pub(super) fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn kind_of_mode(st_mode: u32) -> FileKind {
    match st_mode & libc::S_IFMT {
        libc::S_IFLNK => FileKind::Symlink,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR => FileKind::CharDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

fn type_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => libc::S_IFREG,
        FileKind::Directory => libc::S_IFDIR,
        FileKind::Symlink => libc::S_IFLNK,
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::BlockDevice => libc::S_IFBLK,
    }
}

const SET_GROUP: u16 = libc::S_ISGID as u16;

/// A set-group-id directory gives its group to what is made in it, and the bit as well to directories: the
/// kernel leaves this to b2fuse.
pub(super) fn made_in(new: NewNode, above: &Meta) -> NewNode {
    if above.mode & SET_GROUP == 0 {
        return new;
    }
    let bit = match new.kind {
        FileKind::Directory => u32::from(SET_GROUP),
        _ => 0,
    };
    NewNode {
        gid: above.gid,
        mode: new.mode | bit,
        ..new
    }
}

/// Permission bits without those that make a program run as somebody else. Set-group-id without the
/// group's right to execute means something else, and stays.
pub(super) fn unprivileged(mode: u16) -> u16 {
    const SET_USER: u16 = libc::S_ISUID as u16;
    const GROUP: u16 = SET_GROUP | libc::S_IXGRP as u16;
    let mode = mode & !SET_USER;
    if mode & GROUP == GROUP {
        mode & !SET_GROUP
    } else {
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b2::{Action, ContentSha1, FileName};
    use proptest::prelude::*;

    fn version(info: FileInfo) -> FileVersion {
        FileVersion {
            action: Action::Upload,
            id: None,
            name: FileName::listed("x"),
            size: 0,
            sha1: ContentSha1::None,
            content_type: None,
            info,
            uploaded_ms: 77,
            customer_key: false,
            twins: false,
        }
    }

    fn kinds() -> impl Strategy<Value = FileKind> {
        prop_oneof![
            Just(FileKind::File),
            Just(FileKind::Symlink),
            Just(FileKind::Fifo),
            Just(FileKind::Socket),
            Just(FileKind::CharDevice),
            Just(FileKind::BlockDevice),
        ]
    }

    proptest! {
        #[test]
        fn attributes_survive_storage(
            kind in kinds(), mode in 0u16..0o10000, uid: u32, gid: u32, rdev: u32, mtime: i64,
        ) {
            let settings = crate::vfs::tests::settings();
            let meta = Meta { kind, mode, uid, gid, rdev, mtime, ctime: mtime };
            let back = Meta::of_version(&version(meta.to_info(None, &settings)), &settings);
            prop_assert!(back.stored_alike(&meta), "{back:?} {meta:?}");
        }

        #[test]
        fn times_survive_conversion(nanos: i64) {
            prop_assert_eq!(to_nanos(to_time(nanos)), nanos);
        }
    }

    #[test]
    fn defaults_are_not_written() {
        let settings = crate::vfs::tests::settings();
        let meta = Meta::default_for(FileKind::File, &settings, 5_000_000);
        let info = meta.to_info(None, &settings);
        assert_eq!(
            info.into_iter().collect::<Vec<_>>(),
            [
                (Stamp::KEY.to_owned(), "c2z60w".to_owned()),
                (MTIME_MS.to_owned(), "5".to_owned())
            ]
        );
    }

    #[test]
    fn nonsense_in_info_counts_as_absent() {
        let settings = crate::vfs::tests::settings();
        let info = [
            (MTIME_MS, "x"),
            (MODE, "rwx"),
            (UID, "-1"),
            (Stamp::KEY, "t5.x.c-3"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let meta = Meta::of_version(&version(info.into_iter().collect()), &settings);
        assert_eq!(
            meta,
            Meta::default_for(FileKind::File, &settings, 77_000_000)
        );
    }

    #[test]
    fn foreign_keys_are_carried_and_per_version_keys_are_not() {
        let settings = crate::vfs::tests::settings();
        let info = [
            ("b2-cache-control", "no"),
            ("large_file_sha1", "x"),
            (UID, "3"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let carried = carried_info(&info.into_iter().collect(), &settings);
        assert_eq!(carried.keys().collect::<Vec<_>>(), ["b2-cache-control"]);
    }

    #[test]
    fn ignored_permissions_are_neither_shown_nor_lost() {
        let settings = Settings {
            permissions: Permissions::Ignore,
            ..crate::vfs::tests::settings()
        };
        for st_mode in ["100600", "120777", "10640"] {
            let info = [(MTIME_MS, "1"), (UID, "3"), (GID, "4"), (MODE, st_mode)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()));
            let info: FileInfo = info.into_iter().collect();
            let meta = Meta::of_version(&version(info.clone()), &settings);
            let default = Meta::default_for(meta.kind, &settings, 1_000_000);
            assert!(meta.stored_alike(&default), "{meta:?}");
            let carried = carried_info(&info, &settings);
            let mut stored = meta.to_info(Some(&carried), &settings);
            stored.remove(Stamp::KEY);
            assert_eq!(stored, info, "{st_mode}");
        }
    }
}
