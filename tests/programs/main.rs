//! Programs that people trust with their work, on a real mount of an emulated bucket: what each of
//! them leaves there, after another mount and by its own means of checking, is what it would leave in
//! a plain directory. One module a subject; one crate, because linking is what takes the time.
//!
//! Most tests are scenarios that also run in a plain directory: what fails there is a fault of the
//! test. `tests/run` installs the programs.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

mod backups;
mod builds;
mod editors;
mod git;
mod gocryptfs;
mod held;
mod mail;
mod media;
mod samba;
mod sqlite;
mod trees;
mod unchanged;
