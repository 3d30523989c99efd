//! The calls, a file for each family.
//!
//! A handler reads its arguments, asks whether the caller may, does one thing to the account under its lock, and answers
//! in the shape of the service. It is called by `dispatch`, after the token was admitted; uploads and downloads admit
//! their own. Faults that strike one kind of call only are played here.

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
