//! b2fuse: a Backblaze B2 bucket as a Linux filesystem.
//!
//! Modules are listed from the top down; each knows only what stands under it
//! (`tests/layers/main.rs` fails on an import that points up):
//!
//! - [`cli`], [`config`]: options, config.yaml and environment become one [`config::Config`]
//! - [`mount`]: the session from mount to drained unmount
//! - [`fs`]: the fuser adapter, request in, reply out
//! - [`vfs`]: names, attributes, handles; free of fuser
//! - [`io`]: bytes: memory budget, cached blocks, unsent writes, commits; knows versions, not names
//! - [`rescue`]: a directory of this machine with what could not be stored
//! - [`b2`]: the thin asynchronous client of the B2 Native API
//! - [`emulator`]: a B2 Native API server in this process; shares no type with the client
//!
//! `API §n` in comments cites the project's fact sheet of the B2 Native API, `DESIGN §n` its design.

// The futures of a mount are nested deeper than the 128 levels that the compiler looks into by itself.
#![recursion_limit = "256"]

pub mod b2;
pub mod cli;
pub mod config;
pub mod emulator;
pub mod fs;
#[allow(
    clippy::struct_excessive_bools,
    reason = "`io::content::State`: each of its marks goes by itself"
)]
pub mod io;
pub mod mount;
pub mod rescue;
pub mod vfs;
