//! The buffer that small writes fill, and what becomes of it.

use bytes::Bytes;

use super::EXTENT_COST;
use crate::io::memory::budget::Reservation;

/// So few bytes lie beside their reservation, without a buffer of their own.
const TINY: usize = 31;

/// A buffer that small writes fill; its capacity is reserved and never grows.
#[derive(Debug)]
pub(in crate::io) struct OpenBuffer {
    pub(super) data: Vec<u8>,
    room: Reservation,
}

/// Up to `TINY` bytes.
struct Tiny {
    bytes: [u8; TINY],
    len: u8,
}

impl AsRef<[u8]> for Tiny {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl OpenBuffer {
    /// An empty buffer of `capacity` bytes, paid by `room`.
    pub(in crate::io) fn new(capacity: usize, room: Reservation) -> Self {
        Self {
            data: Vec::with_capacity(capacity),
            room,
        }
    }

    pub(super) fn spare(&self) -> usize {
        self.data.capacity() - self.data.len()
    }

    pub(super) fn freeze(self) -> Bytes {
        let Self { data, mut room } = self;
        let len = data.len();
        if data.capacity() - len <= len {
            return room.hold(data);
        }
        let keep = len as u64 + EXTENT_COST;
        drop(room.split(room.bytes().saturating_sub(keep)));
        // Copied: what is cut off in place stays behind as a hole that the next buffer does not fit into.
        if len <= TINY {
            let mut bytes = [0; TINY];
            bytes[..len].copy_from_slice(&data);
            let len = len as u8;
            room.hold(Tiny { bytes, len })
        } else {
            room.hold(Box::<[u8]>::from(&data[..]))
        }
    }
}
