//! The calls, a file for each family: what a request asks of the account, checked, done and answered.

pub(in crate::emulator) mod auth;
pub(in crate::emulator) mod buckets;
pub(in crate::emulator) mod copy;
pub(in crate::emulator) mod download;
mod entry;
mod fields;
pub(in crate::emulator) mod files;
pub(in crate::emulator) mod keys;
pub(in crate::emulator) mod large;
pub(in crate::emulator) mod lists;
pub(in crate::emulator) mod locks;
pub(in crate::emulator) mod upload;
