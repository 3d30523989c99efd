//! The filesystem as users meet it: real programs on a real mount of an emulated bucket over real
//! HTTP. One module a subject; one crate, because linking is what takes the time.
//!
//! Most tests are scenarios that also run in a plain directory: what fails there is a fault of the
//! test. `tests/run` installs the programs.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod bad_lines;
mod calls;
mod contest;
mod copying;
mod counting;
mod crowd;
mod durability;
mod encfs;
mod encoded_names;
mod errors;
mod fio;
mod foreign_bucket;
mod handles;
mod hashfiles;
mod holes;
mod inodes;
mod interrupts;
mod kills;
mod large;
mod later;
mod mmap;
mod names;
mod numbers;
mod open_files;
mod random_access;
mod random_attributes;
mod reading_directories;
mod renaming;
mod replaced;
mod rsync;
mod running;
mod special;
mod tail;
mod together;
mod tools;
mod two_mounts;
mod unison;
mod virtual_views;
mod xattrs;
