//! What the tests through a real mount share: an emulated bucket, a mount of it by the built
//! binary, other people's B2 clients, trees of files and their comparison.
//!
//! Nothing here skips: a bucket that cannot be mounted or a program that is missing is a failure
//! that says why. Whatever is started here is stopped, and unmounted, when its value is dropped.
//! (A `mod.rs`, because `tests/support.rs` would be taken for a test of its own.)
#![allow(dead_code)] // each test crate uses its own part

pub(crate) mod bucket;
pub(crate) mod emulator;
pub(crate) mod forks;
pub(crate) mod mount;
pub(crate) mod pages;
pub(crate) mod place;
pub(crate) mod python;
pub(crate) mod stacked;
pub(crate) mod tools;
pub(crate) mod tree;
