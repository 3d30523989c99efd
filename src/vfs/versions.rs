//! What lies in B2 under a name: what is stored there, when, and what takes its place.

pub(in crate::vfs) mod commit;
pub(in crate::vfs) mod queue;
