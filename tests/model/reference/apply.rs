//! What each operation does.

use super::*;

impl Reference {
    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
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
                let id = self.open(name, *create, *exclusive, *truncate)?;
                self.slots[*slot] = Some((id, *append));
                Ok(Answer::Done)
            }
            Operation::Close { slot } => {
                self.slots[*slot] = None;
                Ok(Answer::Done)
            }
            Operation::ReadAt { slot, offset, len } => {
                let content = self.content(self.slot(*slot)?.0)?;
                let from = content.len().min(*offset as usize);
                let to = content.len().min(from + len);
                Ok(Answer::Bytes(content[from..to].to_vec()))
            }
            Operation::WriteAt { slot, offset, data } => {
                let (id, append) = self.slot(*slot)?;
                let content = self.content_mut(id)?;
                let at = if append {
                    content.len()
                } else {
                    *offset as usize
                };
                write(content, at, &data.bytes());
                Ok(Answer::Done)
            }
            Operation::SetLen { slot, len } => {
                let (id, _) = self.slot(*slot)?;
                self.content_mut(id)?.resize(*len as usize, 0);
                Ok(Answer::Done)
            }
            Operation::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                len,
            } => {
                let (source, _) = self.slot(*from)?;
                let (target, append) = self.slot(*to)?;
                if append {
                    return Err(libc::EBADF);
                }
                let content = self.content(source)?;
                let (start, len) = (*from_offset as usize, *len);
                // The kernel shortens the range first, and then looks whether the ends overlap.
                let bytes =
                    content[content.len().min(start)..content.len().min(start + len)].to_vec();
                let apart = from_offset.abs_diff(*to_offset) as usize >= bytes.len();
                if source == target && !apart {
                    return Err(libc::EINVAL);
                }
                if !bytes.is_empty() {
                    write(self.content_mut(target)?, *to_offset as usize, &bytes);
                }
                Ok(Answer::Size(bytes.len() as u64))
            }
            Operation::Copy { from, to } => {
                let source = self.open(from, false, false, false)?;
                let bytes = self.content(source)?.clone();
                let target = self.open(to, true, false, false)?;
                if source != target {
                    *self.content_mut(target)? = bytes;
                }
                Ok(Answer::Done)
            }
            Operation::Sync { slot } => self.slot(*slot).map(|_| Answer::Done),
            Operation::StatSlot { slot } => {
                let (id, _) = self.slot(*slot)?;
                Ok(Answer::Stat(self.stat(id)))
            }
            Operation::ChmodSlot { slot, mode } => {
                let (id, _) = self.slot(*slot)?;
                self.nodes[id].mode = *mode;
                Ok(Answer::Done)
            }
            Operation::SetTimeSlot { slot, at } => {
                let (id, _) = self.slot(*slot)?;
                self.nodes[id].mtime = Some(*at);
                Ok(Answer::Done)
            }
            Operation::Allocate {
                slot,
                range,
                offset,
                len,
            } => {
                let (id, _) = self.slot(*slot)?;
                let content = self.content_mut(id)?;
                let (from, to) = (*offset as usize, *offset as usize + len);
                if matches!(range, Range::Extend | Range::Zero) && content.len() < to {
                    content.resize(to, 0);
                }
                if !matches!(range, Range::Extend | Range::Keep) {
                    let end = content.len();
                    content[from.min(end)..to.min(end)].fill(0);
                }
                Ok(Answer::Done)
            }
            Operation::Put { name, data } => {
                let id = self.open(name, true, false, true)?;
                *self.content_mut(id)? = data.bytes();
                Ok(Answer::Done)
            }
            Operation::Append { name, data } => {
                let id = self.open(name, false, false, false)?;
                self.content_mut(id)?.extend_from_slice(&data.bytes());
                Ok(Answer::Done)
            }
            Operation::Truncate { name, len } => {
                let id = self.follow(name)?;
                if self.kind(id) == Kind::Fifo {
                    return Err(libc::EINVAL);
                }
                self.content_mut(id)?.resize(*len as usize, 0);
                Ok(Answer::Done)
            }
            Operation::Read { name } => {
                let id = self.find(name)?;
                Ok(Answer::Bytes(self.content(id)?.clone()))
            }
            Operation::Rename {
                from,
                to,
                no_replace,
            } => self.rename(from, to, *no_replace),
            Operation::Unlink { name } => {
                let (parent, last) = self.parent(name)?;
                let id = *self.children(parent)?.get(last).ok_or(libc::ENOENT)?;
                if self.kind(id) == Kind::Directory {
                    return Err(libc::EISDIR);
                }
                self.remove(parent, last);
                Ok(Answer::Done)
            }
            Operation::Mkdir { name, mode } => self.make(name, Node::directory(*mode)),
            Operation::Symlink { name, target } => {
                self.make(name, Node::new(0o777, Body::Symlink(target.clone())))
            }
            Operation::Fifo { name, mode } => self.make(name, Node::new(*mode, Body::Fifo)),
            Operation::Readlink { name } => match &self.nodes[self.find(name)?].body {
                Body::Symlink(target) => Ok(Answer::Target(target.clone())),
                _ => Err(libc::EINVAL),
            },
            Operation::Rmdir { name } => {
                let (parent, last) = self.parent(name)?;
                let id = *self.children(parent)?.get(last).ok_or(libc::ENOENT)?;
                if self.kind(id) != Kind::Directory {
                    return Err(libc::ENOTDIR);
                }
                if !self.children(id)?.is_empty() {
                    return Err(libc::ENOTEMPTY);
                }
                self.remove(parent, last);
                Ok(Answer::Done)
            }
            Operation::List { name } => {
                let id = self.find(name)?;
                Ok(Answer::Names(self.children(id)?.keys().cloned().collect()))
            }
            Operation::Stat { name } => {
                let id = self.find(name)?;
                Ok(Answer::Stat(self.stat(id)))
            }
            Operation::Chmod { name, mode } => {
                let id = self.follow(name)?;
                self.nodes[id].mode = *mode;
                Ok(Answer::Done)
            }
            Operation::SetTime { name, at } => {
                let id = self.find(name)?;
                self.nodes[id].mtime = Some(*at);
                Ok(Answer::Done)
            }
            Operation::Chown { name, uid, gid } => {
                let id = self.find(name)?;
                let node = &mut self.nodes[id];
                node.uid = *uid;
                node.gid = *gid;
                if node.kind() != Kind::Directory {
                    node.mode &= !libc::S_ISUID;
                    if node.mode & libc::S_IXGRP != 0 {
                        node.mode &= !libc::S_ISGID;
                    }
                }
                Ok(Answer::Done)
            }
            Operation::SetXattr {
                name,
                key,
                value,
                flags,
            } => {
                let xattrs = self.xattrs(name, libc::EPERM)?;
                match (xattrs.contains_key(key), *flags) {
                    (true, libc::XATTR_CREATE) => return Err(libc::EEXIST),
                    (false, libc::XATTR_REPLACE) => return Err(libc::ENODATA),
                    _ => xattrs.insert(key.clone(), value.clone()),
                };
                Ok(Answer::Done)
            }
            Operation::RemoveXattr { name, key } => {
                let xattrs = self.xattrs(name, libc::EPERM)?;
                xattrs.remove(key).ok_or(libc::ENODATA)?;
                Ok(Answer::Done)
            }
            Operation::GetXattr { name, key } => {
                let xattrs = self.xattrs(name, libc::ENODATA)?;
                let value = xattrs.get(key).ok_or(libc::ENODATA)?;
                Ok(Answer::Bytes(value.clone()))
            }
            Operation::Xattrs { name } => {
                let id = self.follow(name)?;
                Ok(Answer::Xattrs(self.nodes[id].xattrs.clone()))
            }
            Operation::Compare => Ok(Answer::Done),
            Operation::Remount => {
                self.slots = [None; SLOTS];
                Ok(Answer::Done)
            }
        }
    }
}
