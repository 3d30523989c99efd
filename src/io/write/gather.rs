//! Bytes on their way into one payload: small pieces are joined, near ranges are downloaded in one go.

use bytes::{Bytes, BytesMut};

use crate::io::read::records::StoredRange;

/// Zeros to send, shared by everybody.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Ranges nearer to each other than this are downloaded in one go: a round trip costs more.
const NEAR: u64 = 256 << 10;
/// What may be downloaded in vain for that beside what is changed in a part: the reserve that pays for
/// a part (below 10 MB) has room for it.
pub(in crate::io) const IN_VAIN: u64 = 2_000_000;

/// Pieces of zeros.
pub(in crate::io) fn zeros(mut len: u64) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let take = len.min(ZEROS.len() as u64);
        len -= take;
        (take > 0).then(|| Bytes::from_static(&ZEROS[..take as usize]))
    })
}

/// Pieces that are put into a list; the smallest of them are joined before, for their places there would take more
/// than their bytes.
pub(in crate::io) struct Gathered<F> {
    put: F,
    small: BytesMut,
}

impl<F: FnMut(Bytes)> Gathered<F> {
    /// Two places, in the payload and in the body that is sent.
    const SMALL: usize = 64;
    /// Joined at once.
    const ROOM: usize = 16 << 10;

    pub(in crate::io) fn new(put: F) -> Self {
        let small = BytesMut::new();
        Self { put, small }
    }

    pub(in crate::io) fn push(&mut self, piece: Bytes) {
        if piece.len() > Self::SMALL {
            self.flush();
            return (self.put)(piece);
        }
        if self.small.capacity() - self.small.len() < piece.len() {
            self.flush();
            self.small.reserve(Self::ROOM);
        }
        self.small.extend_from_slice(&piece);
    }

    pub(in crate::io) fn flush(&mut self) {
        if !self.small.is_empty() {
            (self.put)(self.small.split().freeze());
        }
    }
}

/// Ranges ordered by version and place; those that lie near each other are made one, as long as
/// that takes in no more than `in_vain` bytes from between them.
pub(in crate::io) fn join_near(
    ranges: impl Iterator<Item = StoredRange>,
    mut in_vain: u64,
) -> Vec<StoredRange> {
    let mut groups: Vec<StoredRange> = Vec::new();
    let mut put = |groups: &mut Vec<StoredRange>, next: StoredRange| match groups.last_mut() {
        Some(last)
            if last.record == next.record
                && next.range.start >= last.range.start
                && next.range.start <= last.range.end + NEAR.min(in_vain) =>
        {
            in_vain -= next.range.start.saturating_sub(last.range.end);
            last.range.end = last.range.end.max(next.range.end);
        }
        _ => groups.push(next),
    };
    // Most come in order: few are left to be sorted.
    ranges.for_each(|next| put(&mut groups, next));
    groups.sort_by_key(|stored| (stored.record.key, stored.range.start));
    let mut sorted = Vec::with_capacity(groups.len());
    for next in groups {
        put(&mut sorted, next);
    }
    sorted
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::{Arc, LazyLock};

    use super::*;
    use crate::b2::FileId;
    use crate::io::Version;
    use crate::io::read::records::{Record, Records};

    fn record(name: &str) -> Arc<Record> {
        static RECORDS: LazyLock<Records> = LazyLock::new(|| Records::new(1));
        RECORDS.intern(Version {
            id: FileId::new(name),
            size: 100 << 20,
            sha1: None,
        })
    }

    #[test]
    fn near_ranges_are_one_download() {
        let near = |ranges: &[(&str, Range<u64>)]| {
            let all = ranges
                .iter()
                .map(|(name, range)| StoredRange::new(&record(name), range.clone()));
            let groups = join_near(all, 1_000_000).into_iter();
            let show = |group: StoredRange| (group.record.id.to_string(), group.range);
            groups.map(show).collect::<Vec<_>>()
        };
        assert_eq!(
            near(&[("a", 0..10), ("a", 20..30)]),
            [("a".to_owned(), 0..30)]
        );
        assert_eq!(near(&[("a", 0..10), ("a", 10 << 20..11 << 20)]).len(), 2);
        let far: Vec<_> = (0..100)
            .map(|i| ("a", i * 200_000..i * 200_000 + 10))
            .collect();
        assert_eq!(near(&far).len(), 95, "not twenty megabytes for a kilobyte");
        // In any order, more than once, and never across two versions.
        assert_eq!(
            near(&[("a", 20..30), ("b", 10..20), ("a", 0..25), ("a", 0..5)]),
            [("a".to_owned(), 0..30), ("b".to_owned(), 10..20)]
        );
    }

    #[test]
    fn small_pieces_are_joined_and_nothing_else() {
        let sizes = [1, 1, 64, 65, 1, 10_000, 10_000, 2, 3, 4];
        let mut all = Vec::new();
        let mut pieces = Vec::new();
        let mut gathered = Gathered::new(|piece: Bytes| pieces.push(piece));
        for (n, size) in sizes.into_iter().enumerate() {
            let piece = vec![n as u8; size];
            all.extend_from_slice(&piece);
            gathered.push(Bytes::from(piece));
        }
        gathered.flush();
        let lens: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lens, [66, 65, 1, 10_000, 10_000, 9]);
        assert_eq!(pieces.concat(), all);
        // Also more of them than are joined at once.
        let mut count = 0;
        let mut gathered = Gathered::new(|_| count += 1);
        (0..100_000).for_each(|_| gathered.push(Bytes::from_static(b"x")));
        gathered.flush();
        assert_eq!(count, 100_000_usize.div_ceil(16 << 10));
    }

    #[test]
    fn zeros_share_one_block() {
        let pieces: Vec<Bytes> = zeros(200_000).collect();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 200_000);
        assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr());
    }
}
