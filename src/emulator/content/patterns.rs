//! Contents that are computed when they are read, for objects that are seeded in great number.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use crate::emulator::content::{Blob, BlobRange, Content, Hashes, Source};
use crate::emulator::error::{ApiError, Result};
use crate::emulator::rules::RECOMMENDED_PART;

/// The content of seeded objects: byte `i` is byte `i % 8`, little-endian, of `(i / 8 + 1 + variant * 2^40) * 0x9E3779B97F4A7C15`.
pub(in crate::emulator) fn pattern(variant: u64, offset: u64, buffer: &mut [u8]) {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut word = (offset / 8 + 1)
        .wrapping_add(variant << 40)
        .wrapping_mul(STEP);
    let head = (offset % 8) as usize;
    let (first, rest) = buffer.split_at_mut(((8 - head) % 8).min(buffer.len()));
    if !first.is_empty() {
        first.copy_from_slice(&word.to_le_bytes()[head..head + first.len()]);
        word = word.wrapping_add(STEP);
    }
    // By arrays and sums: gigabytes of this are made in tests, whose code is not optimised.
    let (whole, last) = rest.as_chunks_mut();
    for chunk in whole {
        *chunk = word.to_le_bytes();
        word = word.wrapping_add(STEP);
    }
    last.copy_from_slice(&word.to_le_bytes()[..last.len()]);
}

/// A range of a pattern by its variant and bounds, and whether its MD5 is known, too.
type Place = (u64, u64, u64, bool);

/// Most ranges whose hashes are remembered.
const REMEMBERED: usize = 8192;

/// The hashes of a range of a pattern. They are computed once in a process: tests that seed objects of gigabytes would
/// spend most of their time on it.
pub(super) fn hashes(
    variant: u64,
    range: Range<u64>,
    with_md5: bool,
    compute: impl FnOnce() -> io::Result<Hashes>,
) -> io::Result<Hashes> {
    static KNOWN: LazyLock<Mutex<HashMap<Place, Hashes>>> = LazyLock::new(Mutex::default);
    let place = (variant, range.start, range.end, with_md5);
    let known = KNOWN.lock().get(&place).copied();
    if let Some(known) = known {
        return Ok(known);
    }
    let computed = compute()?;
    let mut known = KNOWN.lock();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(place, computed);
    Ok(computed)
}

/// The variant of a seeded object, from its name: few, so that their hashes are computed once per size.
pub(in crate::emulator) fn variant_of(name: &str) -> u64 {
    name.bytes().fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    }) % 61
}

/// A content, and its hashes unless it is that of a large file.
type Made = (Content, Option<Hashes>);

/// Contents of patterns and their hashes by variant and size: made once, and shared by all objects that have them.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Patterns {
    known: Mutex<HashMap<(u64, u64), Made>>,
    blobs: Mutex<HashMap<u64, Arc<Blob>>>,
}

impl Patterns {
    fn blob(&self, variant: u64) -> Arc<Blob> {
        let mut blobs = self.blobs.lock();
        let blob = blobs.entry(variant).or_insert_with(|| {
            Arc::new(Blob {
                number: variant,
                source: Source::Pattern(variant),
                len: u64::MAX,
                hashes: None,
            })
        });
        blob.clone()
    }

    fn content(&self, variant: u64, size: u64) -> Content {
        if size == 0 {
            return Content::empty();
        }
        Content::of(vec![BlobRange {
            blob: self.blob(variant),
            start: 0,
            len: size,
        }])
    }

    pub(in crate::emulator) fn take(&self, variant: u64, size: u64) -> Result<Made> {
        let known = || self.known.lock();
        if let Some(found) = known().get(&(variant, size)) {
            return Ok(found.clone());
        }
        let content = self.content(variant, size);
        let hashes = if is_large(size) {
            None
        } else {
            let hashes = content.hash(true);
            Some(hashes.map_err(|error| ApiError::internal(&error))?)
        };
        let made = (content, hashes);
        known().insert((variant, size), made.clone());
        Ok(made)
    }
}

/// Whether an object of this size is made as a large file, whose hash B2 does not know.
pub(in crate::emulator) fn is_large(size: u64) -> bool {
    size > RECOMMENDED_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_from_every_offset() {
        let mut whole = vec![0; 100];
        pattern(3, 0, &mut whole);
        let fourth = (4u64 + (3 << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert_eq!(whole[24..32], fourth.to_le_bytes());
        for from in 0..40 {
            for len in 0..30 {
                let mut part = vec![0; len];
                pattern(3, from as u64, &mut part);
                assert_eq!(part, whole[from..from + len]);
            }
        }
    }
}
