//! The changes of an account, as they are told to whoever keeps them.

use std::fmt;

use super::bucket::Settings;
use super::keys::Key;
use super::version::Version;
use crate::emulator::account::Part;
use crate::emulator::error::Result;

/// One change of an account.
#[derive(Debug)]
pub(in crate::emulator) enum Change<'a> {
    /// A new bucket, or new settings of one.
    Bucket(&'a Settings),
    NoBucket(&'a str),
    Key(&'a Key),
    NoKey(&'a str),
    /// A new version, or a new state of the one that has its number.
    Version(&'a Version),
    NoVersion(u64),
    /// A part of the unfinished large file with the number `file`.
    Part {
        file: u64,
        number: u64,
        part: &'a Part,
    },
}

/// Keeps an account across runs. It is told of each change before it is made; what it refuses is not made.
pub(in crate::emulator) trait Keeper: fmt::Debug + Send {
    /// Returns when the change would survive a kill.
    fn keep(&mut self, change: &Change<'_>) -> Result<()>;
}
