//! What every bench shares: an emulator in a process of its own, mounts of it by b2fuse and by its
//! peers, the sampling of rounds, and the table.
//!
//! A bench is a list of rows; a row measures several contenders on one server. Contenders take turns
//! round by round, so that a noisy minute strikes all of them, and the table shows medians.
//! (A `mod.rs`, because each bench takes this folder in by its path.)

pub(crate) mod bare;
pub(crate) mod curl;
pub(crate) mod mount;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod rclone;
pub(crate) mod sample;
pub(crate) mod server;
pub(crate) mod table;

/// Bytes in a MiB.
pub(crate) const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub(crate) const GIB: u64 = 1 << 30;
