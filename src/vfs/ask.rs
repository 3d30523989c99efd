//! What B2 is asked about names, and when: single names, pages, whole directories, walks.

pub(in crate::vfs) mod fresh;
pub(in crate::vfs) mod listing;
pub(in crate::vfs) mod look;
pub(in crate::vfs) mod lookup;
pub(in crate::vfs) mod pages;
pub(in crate::vfs) mod refresh;
pub(in crate::vfs) mod settle;
pub(in crate::vfs) mod succession;
pub(in crate::vfs) mod walk;
