//! What lies in B2 under a name: what is stored there, when, and what takes its place.
//!
//! `commit`, `attributes` and `markers` store, `removal` and `purge` remove; `supersede` compares with what others have done,
//! `checks` keeps what was not compared yet, `newly` looks at new names, `between` decides whose a version is,
//! `contested` keeps in mind what of others was covered, `created` gives way to it, `info_keys` how many keys B2 takes,
//! `waiting` keeps purges until a last close, `strays` looks for what
//! failed renames may have left.

pub(in crate::vfs) mod again;
pub(in crate::vfs) mod attributes;
pub(in crate::vfs) mod between;
pub(in crate::vfs) mod checks;
pub(in crate::vfs) mod commit;
pub(in crate::vfs) mod contested;
mod created;
pub(in crate::vfs) mod growing;
pub(in crate::vfs) mod info_keys;
pub(in crate::vfs) mod markers;
pub(in crate::vfs) mod newly;
pub(in crate::vfs) mod purge;
pub(in crate::vfs) mod removal;
pub(in crate::vfs) mod replaced;
pub(in crate::vfs) mod strays;
pub(in crate::vfs) mod supersede;
pub(in crate::vfs) mod waiting;
