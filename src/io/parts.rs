//! A content that leaves in parts: the plan for them, and how far they are.
//!
//! What is here knows neither contents nor the engine. A content holds a [`Streaming`] and a
//! [`Sending`]; `commit` moves them on.

pub(in crate::io) mod large;
pub(in crate::io) mod plan;
pub(in crate::io) mod sum;

use std::sync::Arc;
use std::time::Instant;

use crate::b2::FileName;
use crate::io::parts::large::Large;
use crate::io::parts::sum::Sum;

/// Whether parts of a content leave while it is still being written.
#[derive(Default)]
pub(in crate::io) enum Streaming {
    #[default]
    Off,
    /// None could be started; not tried again before this moment.
    Resting(Instant),
    /// `start_large_file` is under way; the number tells this start from a later one.
    Starting(u64),
    Running(Box<Stream>),
}

/// A large file that has begun.
pub(in crate::io) struct Stream {
    pub(in crate::io) large: Large,
    /// The name that it was started under.
    pub(in crate::io) name: FileName,
    /// Parts that copy what lies before the written run.
    pub(in crate::io) head: usize,
    /// The hash of everything, when nothing of it comes from a base.
    pub(in crate::io) sum: Option<Arc<Sum>>,
    /// Its hash was told at its start, so that nothing of it may change: a commit that fails begins another.
    pub(in crate::io) fixed: bool,
}

/// What may be sent of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Sending {
    On,
    /// What the commit under way sends is out of date: it breaks that off and begins anew.
    Anew,
    /// Nothing more, but parts under way arrive.
    Ebbing,
    /// Nothing: parts under way are broken off.
    Stopped,
}
