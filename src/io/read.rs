//! Reading: blocks of stored versions, how they come, and when they are asked for before anybody wants them.

pub(in crate::io) mod around;
pub(in crate::io) mod cache;
pub(in crate::io) mod check;
pub(in crate::io) mod cursor;
pub(in crate::io) mod fetch;
pub(in crate::io) mod line;
pub(in crate::io) mod proof;
pub(in crate::io) mod readahead;
pub(in crate::io) mod records;
pub(in crate::io) mod surroundings;
