//! Memory: one ceiling over everything that holds bytes.

pub(in crate::io) mod budget;
