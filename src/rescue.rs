//! What could not be stored, kept in a directory of this machine until it can be: the format, and its place on disk.
//!
//! Plain data: this layer knows neither names of the mount nor B2, so that whoever has unsent bytes can use it. A
//! directory holds one list (`list.json`), which says everything of each entry, and the bytes of the entries below
//! `files/`. The list never refers to bytes that are not on the disk yet, and bytes are removed only after the list no
//! longer does, so that a kill at any moment leaves a directory that can be read.

mod list;
mod place;

pub use list::{Entry, Kept, List, Piece, Renamed, Source, Unfinished, UnfinishedPart};
pub use place::{Error, Place, Stopped};
