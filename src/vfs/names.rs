//! What is known of names, and since when: the inode table, and what listings may change in it.
//!
//! Memory work only: nothing here waits, and nothing asks B2.

pub(in crate::vfs) mod atime;
pub(in crate::vfs) mod deep;
pub(in crate::vfs) mod dir;
pub(in crate::vfs) mod displaced;
pub(in crate::vfs) mod flight;
pub(in crate::vfs) mod gone;
pub(in crate::vfs) mod known;
pub(in crate::vfs) mod lagging;
pub(in crate::vfs) mod lately;
pub(in crate::vfs) mod leaving;
pub(in crate::vfs) mod lineage;
pub(in crate::vfs) mod merge;
pub(in crate::vfs) mod moment;
pub(in crate::vfs) mod name;
pub(in crate::vfs) mod node;
pub(in crate::vfs) mod number;
pub(in crate::vfs) mod pages;
pub(in crate::vfs) mod rows;
pub(in crate::vfs) mod table;
pub(in crate::vfs) mod tree;
pub(in crate::vfs) mod trim;
pub(in crate::vfs) mod warned;
