//! Each operation as calls of the core.

use super::*;

impl Backend for Core<'_> {
    fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Open {
                slot,
                name,
                create,
                exclusive,
                truncate,
                append,
            } => {
                self.close(*slot)?;
                let mut flags = libc::O_RDWR;
                for (set, flag) in [
                    (*create, libc::O_CREAT),
                    (*exclusive, libc::O_EXCL),
                    (*truncate, libc::O_TRUNC),
                    (*append, libc::O_APPEND),
                ] {
                    flags |= if set { flag } else { 0 };
                }
                let (ino, fh) = self.open(name, flags)?;
                self.slots[*slot] = Some(Open {
                    fh,
                    ino,
                    append: *append,
                });
            }
            Operation::Close { slot } => self.close(*slot)?,
            Operation::ReadAt { slot, offset, len } => {
                let open = self.slot(*slot)?;
                return self
                    .read(open.ino, open.fh, *offset, *len)
                    .map(Answer::Bytes);
            }
            Operation::WriteAt { slot, offset, data } => {
                let open = self.slot(*slot)?;
                let at = (!open.append).then_some(*offset);
                self.write(open.fh, at, &data.bytes())?;
            }
            Operation::SetLen { slot, len } => {
                let size = Some(*len);
                self.set(
                    self.slot(*slot)?.ino,
                    SetAttr {
                        size,
                        ..SetAttr::default()
                    },
                )?;
            }
            Operation::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                len,
            } => {
                let (source, target) = (self.slot(*from)?, self.slot(*to)?);
                return self
                    .copy_range(source, *from_offset, target, *to_offset, *len as u64)
                    .map(Answer::Size);
            }
            Operation::Copy { from, to } => {
                let (source, reading) = self.open(from, libc::O_RDONLY)?;
                let copied =
                    self.open(to, libc::O_WRONLY | libc::O_CREAT)
                        .and_then(|(target, writing)| {
                            let copied = self.copy_all(source, reading, target, writing);
                            copied.and(self.shut(target, writing))
                        });
                copied.and(self.shut(source, reading))?;
            }
            Operation::Sync { slot } => {
                let fh = self.slot(*slot)?.fh;
                self.on(self.vfs().fsync(fh, false))?;
            }
            Operation::StatSlot { slot } => {
                return self.stat(self.slot(*slot)?.ino);
            }
            Operation::ChmodSlot { slot, mode } => {
                let mode = Some(*mode);
                let set = SetAttr {
                    mode,
                    ..SetAttr::default()
                };
                self.set(self.slot(*slot)?.ino, set)?;
            }
            Operation::SetTimeSlot { slot, at } => {
                let at = Some(Some(*at));
                let set = SetAttr {
                    atime: at,
                    mtime: at,
                    ..SetAttr::default()
                };
                self.set(self.slot(*slot)?.ino, set)?;
            }
            Operation::Allocate {
                slot,
                range,
                offset,
                len,
            } => {
                let fh = self.slot(*slot)?.fh;
                self.on(self.vfs().fallocate(fh, *offset, *len as u64, range.mode()))?;
            }
            Operation::Put { name, data } => {
                let (ino, fh) = self.open(name, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?;
                let written = self.write(fh, Some(0), &data.bytes());
                written.and(self.shut(ino, fh))?;
            }
            Operation::Append { name, data } => {
                let (ino, fh) = self.open(name, libc::O_WRONLY | libc::O_APPEND)?;
                let written = self.write(fh, None, &data.bytes());
                written.and(self.shut(ino, fh))?;
            }
            Operation::Truncate { name, len } => self.follow(name, |ino, kind| {
                match kind {
                    FileKind::Directory => return Err(libc::EISDIR),
                    FileKind::Fifo => return Err(libc::EINVAL),
                    _ => {}
                }
                self.set(
                    ino,
                    SetAttr {
                        size: Some(*len),
                        ..SetAttr::default()
                    },
                )
            })?,
            Operation::Read { name } => {
                let kind = self.follow(name, |_, kind| Ok(kind))?;
                if kind == FileKind::Directory {
                    return Err(libc::EISDIR);
                }
                let (ino, fh) = self.open(name, libc::O_RDONLY)?;
                let bytes = self.read(ino, fh, 0, usize::MAX >> 1);
                self.shut(ino, fh)?;
                return bytes.map(Answer::Bytes);
            }
            Operation::Rename {
                from,
                to,
                no_replace,
            } => self.rename(from, to, *no_replace)?,
            Operation::Unlink { name } => {
                self.beside(name, |parent, last| {
                    self.on(self.vfs().unlink(parent, last))
                })?;
            }
            Operation::Mkdir { name, mode } => {
                self.make(name, FileKind::Directory, *mode, "")?;
            }
            Operation::Symlink { name, target } => {
                self.make(name, FileKind::Symlink, 0o777, target)?;
            }
            Operation::Fifo { name, mode } => self.make(name, FileKind::Fifo, *mode, "")?,
            Operation::Readlink { name } => {
                let target = self.with(name, |ino, kind| {
                    if kind != FileKind::Symlink {
                        return Err(libc::EINVAL);
                    }
                    self.on(self.vfs().readlink(ino))
                })?;
                let target = String::from_utf8_lossy(&target).into_owned();
                return Ok(Answer::Target(target));
            }
            Operation::Rmdir { name } => {
                self.beside(name, |parent, last| self.on(self.vfs().rmdir(parent, last)))?;
            }
            Operation::List { name } => {
                let names = self.follow(name, |ino, kind| {
                    if kind == FileKind::Directory {
                        self.list(ino)
                    } else {
                        Err(libc::ENOTDIR)
                    }
                });
                return names.map(Answer::Names);
            }
            Operation::Stat { name } => {
                return self.with(name, |ino, _| self.stat(ino));
            }
            Operation::Chmod { name, mode } => self.follow(name, |ino, _| {
                self.set(
                    ino,
                    SetAttr {
                        mode: Some(*mode),
                        ..SetAttr::default()
                    },
                )
            })?,
            Operation::SetTime { name, at } => self.with(name, |ino, _| {
                let at = Some(Some(*at));
                self.set(
                    ino,
                    SetAttr {
                        atime: at,
                        mtime: at,
                        ..SetAttr::default()
                    },
                )
            })?,
            Operation::Chown { name, uid, gid } => self.with(name, |ino, _| {
                let set = SetAttr {
                    uid: Some(*uid),
                    gid: Some(*gid),
                    ..SetAttr::default()
                };
                self.set(ino, set)
            })?,
            Operation::SetXattr {
                name,
                key,
                value,
                flags,
            } => self.xattr(name, libc::EPERM, |ino| {
                self.on(self.vfs().setxattr(ino, OsStr::new(key), value, *flags))
            })?,
            Operation::GetXattr { name, key } => {
                let value = self.xattr(name, libc::ENODATA, |ino| {
                    self.on(self.vfs().getxattr(ino, OsStr::new(key)))
                });
                return value.map(Answer::Bytes);
            }
            Operation::RemoveXattr { name, key } => self.xattr(name, libc::EPERM, |ino| {
                self.on(self.vfs().removexattr(ino, OsStr::new(key)))
            })?,
            Operation::Xattrs { name } => {
                let found = self.follow(name, |ino, _| self.xattrs(ino));
                return found.map(Answer::Xattrs);
            }
            Operation::Compare => {}
            Operation::Remount => {
                self.unmount();
                self.mount();
            }
        }
        Ok(Answer::Done)
    }

    fn messages(&self) -> String {
        let bucket = Bucket::open(&self.account.emulator);
        let mut versions = bucket.versions();
        versions.retain(|version| version.name.starts_with(&self.prefix));
        let rows: Vec<String> = versions
            .iter()
            .map(|version| format!("{version:?}"))
            .collect();
        format!("the bucket holds:\n{}", rows.join("\n"))
    }
}
