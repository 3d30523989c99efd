//! The operations of a filesystem, as the kernel asks for them.

pub(in crate::vfs) mod content_type;
pub(in crate::vfs) mod create;
pub(in crate::vfs) mod customer_key;
pub(in crate::vfs) mod data;
pub(in crate::vfs) mod directory;
pub(in crate::vfs) mod drain;
pub(in crate::vfs) mod file;
pub(in crate::vfs) mod halt;
pub(in crate::vfs) mod hashfile;
pub(in crate::vfs) mod leftover;
pub(in crate::vfs) mod link;
pub(in crate::vfs) mod outgoing;
pub(in crate::vfs) mod persist;
pub(in crate::vfs) mod remove;
pub(in crate::vfs) mod rename;
pub(in crate::vfs) mod rename_dir;
pub(in crate::vfs) mod setattr;
pub(in crate::vfs) mod subtree;
pub(in crate::vfs) mod warm;
pub(in crate::vfs) mod xattr;
