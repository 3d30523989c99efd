//! A content at one moment: what a commit stores while the program goes on writing.
//!
//! Holds reference counts, no copies. Stored bytes that a payload needs are downloaded when the
//! payload is made, and only they.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::b2::Payload;
use crate::io::Error;
use crate::io::engine::Engine;
use crate::io::parts::plan::{Run, Source};
use crate::io::read::records::{Record, StoredRange};
use crate::io::stamp::Ancestors;
use crate::io::write::gather::{Gathered, IN_VAIN, join_near, zeros};
use crate::io::write::inherit::NewProof;

/// A stretch of one kind.
#[derive(Debug, Clone)]
pub(in crate::io) enum Span {
    Bytes(Bytes),
    /// Of the base, or of what was copied from.
    Stored(StoredRange),
    Zero(u64),
}

impl Span {
    pub(in crate::io) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }

    pub(in crate::io) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(stored) => stored.len(),
            Self::Zero(len) => *len,
        }
    }
}

/// The versions that spans refer to, in order, by their keys.
pub(in crate::io) fn versions(spans: &[Span]) -> Vec<u64> {
    spans
        .iter()
        .filter_map(|span| match span {
            Span::Stored(stored) => Some(stored.record.key),
            _ => None,
        })
        .collect()
}

/// The spans as one range of one version, if that is what they are.
fn one_range(spans: impl IntoIterator<Item = Span>) -> Option<StoredRange> {
    let mut whole: Option<StoredRange> = None;
    for span in spans {
        let Span::Stored(stored) = span else {
            return None;
        };
        match &mut whole {
            None => whole = Some(stored),
            Some(whole) => {
                if !whole.join(&stored) {
                    return None;
                }
            }
        }
    }
    whole
}

#[derive(Debug, Clone)]
pub(in crate::io) struct Snapshot {
    /// Where the spans start; what is before has left already.
    pub(in crate::io) start: u64,
    pub(in crate::io) size: u64,
    /// The last change that is in it.
    pub(in crate::io) seq: u64,
    /// Nothing was behind its end.
    pub(in crate::io) complete: bool,
    /// What is learned of it while it is sent.
    pub(in crate::io) proof: Option<Arc<NewProof>>,
    pub(in crate::io) base: Option<Arc<Record>>,
    pub(in crate::io) spans: Vec<Span>,
    /// Where each span ends, once somebody asks for a part.
    ends: OnceLock<Vec<u64>>,
}

impl Snapshot {
    pub(in crate::io) fn new(
        range: Range<u64>,
        seq: u64,
        base: Option<Arc<Record>>,
        spans: Vec<Span>,
    ) -> Self {
        Self {
            start: range.start,
            size: range.end,
            seq,
            complete: true,
            proof: None,
            base,
            spans,
            ends: OnceLock::new(),
        }
    }

    fn ends(&self) -> &[u64] {
        self.ends.get_or_init(|| {
            let mut at = self.start;
            let end = |span: &Span| {
                at += span.len();
                at
            };
            self.spans.iter().map(end).collect()
        })
    }

    pub(in crate::io) fn runs(&self) -> impl Iterator<Item = Run> + Clone {
        self.spans.iter().map(|span| Run {
            source: match span {
                Span::Bytes(_) => Source::Data,
                Span::Stored(stored) => Source::Stored {
                    version: stored.record.key,
                    at: stored.range.start,
                },
                Span::Zero(_) => Source::Zero,
            },
            len: span.len(),
        })
    }

    /// Whether it is all of this version, and what was appended to it.
    pub(in crate::io) fn continues(&self, mark: u64) -> bool {
        let base = self.base.as_ref();
        base.is_some_and(|base| {
            Ancestors::mark(&base.id) == mark
                && self.start == 0
                && base.size <= self.size
                && self.holds(base, &(0..base.size))
        })
    }

    /// The stored version that it is, from the first byte to the last.
    pub(in crate::io) fn whole(&self) -> Option<StoredRange> {
        one_range(self.spans.iter().cloned())
            .filter(|stored| self.start == 0 && stored.range == (0..stored.record.size))
    }

    /// Where a range lies in a stored version, if it does so in one piece.
    pub(in crate::io) fn source(&self, range: &Range<u64>) -> Option<StoredRange> {
        one_range(self.cut(range))
    }

    /// Whether a range has the bytes that a version has there.
    pub(in crate::io) fn holds(&self, record: &Arc<Record>, range: &Range<u64>) -> bool {
        let mut at = range.start;
        let same = self.cut(range).all(|span| {
            let from = at;
            at += span.len();
            matches!(span, Span::Stored(stored) if stored.record == *record && stored.range == (from..at))
        });
        // Of what has left before, and of what is behind, it knows nothing.
        same && at == range.end
    }

    /// All bytes, if none of them is in a stored version.
    pub(in crate::io) fn in_memory(&self) -> Option<Vec<Bytes>> {
        if self
            .spans
            .iter()
            .any(|span| matches!(span, Span::Stored(_)))
        {
            return None;
        }
        let mut pieces = Vec::with_capacity(self.spans.len());
        let mut gathered = Gathered::new(|piece| pieces.push(piece));
        for span in &self.spans {
            match span {
                Span::Bytes(bytes) => gathered.push(bytes.clone()),
                Span::Zero(len) => zeros(*len).for_each(|piece| gathered.push(piece)),
                Span::Stored(_) => return None,
            }
        }
        gathered.flush();
        Some(pieces)
    }

    /// The bytes of a range as they are sent.
    pub(in crate::io) async fn payload(
        &self,
        engine: &Arc<Engine>,
        range: Range<u64>,
    ) -> Result<Payload, Error> {
        let stored = |span| match span {
            Span::Stored(stored) => Some(stored),
            _ => None,
        };
        let useful: u64 = self.cut(&range).filter_map(stored).map(|s| s.len()).sum();
        let in_vain = range.end - range.start - useful + IN_VAIN;
        let groups = join_near(self.cut(&range).filter_map(stored), in_vain);
        let fetched = if groups.is_empty() {
            Vec::new()
        } else {
            engine.read_for_commit(&groups).await?
        };
        let mut payload = Payload::default();
        let mut gathered = Gathered::new(|piece| payload.push(piece));
        for span in self.cut(&range) {
            match span {
                Span::Bytes(bytes) => gathered.push(bytes),
                Span::Zero(len) => zeros(len).for_each(|piece| gathered.push(piece)),
                Span::Stored(StoredRange { record, range, .. }) => {
                    let end = (record.key, range.end);
                    let group = groups.partition_point(|g| (g.record.key, g.range.end) < end);
                    let start = groups[group].range.start;
                    let bytes = (range.start - start) as usize..(range.end - start) as usize;
                    gathered.push(fetched[group].slice(bytes));
                }
            }
        }
        gathered.flush();
        Ok(payload)
    }

    /// Whether what is stored of a range is all of one version.
    pub(in crate::io) fn only_of(&self, record: &Arc<Record>, range: &Range<u64>) -> bool {
        self.cut(range)
            .all(|span| !matches!(span, Span::Stored(stored) if stored.record != *record))
    }

    /// A copy of the bytes of a short range, checked as those of a payload are, without memory of the budget.
    pub(in crate::io) async fn read_little(
        &self,
        engine: &Arc<Engine>,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for span in self.cut(range) {
            match span {
                Span::Bytes(piece) => bytes.extend_from_slice(&piece),
                Span::Zero(len) => bytes.resize(bytes.len() + len as usize, 0),
                Span::Stored(StoredRange { record, range, .. }) => {
                    let parts = engine.read_checked(&record, &[range]).await?;
                    for part in &parts {
                        bytes.extend_from_slice(part);
                    }
                }
            }
        }
        Ok(bytes)
    }

    /// A copy of the bytes of a range, if they are all in memory.
    pub(in crate::io) fn bytes(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        if range.start < self.start {
            return None;
        }
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for span in self.cut(range) {
            match span {
                Span::Bytes(piece) => bytes.extend_from_slice(&piece),
                Span::Zero(len) => bytes.resize(bytes.len() + len as usize, 0),
                Span::Stored(_) => return None,
            }
        }
        Some(bytes)
    }

    /// The spans of a range; there may be hundreds of thousands.
    pub(in crate::io) fn cut(&self, range: &Range<u64>) -> impl Iterator<Item = Span> {
        let range = range.clone();
        let ends = self.ends();
        let first = ends.partition_point(|end| *end <= range.start);
        let mut at = first
            .checked_sub(1)
            .map_or(self.start, |before| ends[before]);
        self.spans[first..].iter().map_while(move |span| {
            if at >= range.end {
                return None;
            }
            let start = at;
            at += span.len();
            let (from, to) = (range.start.max(start), range.end.min(at));
            Some(match span {
                Span::Bytes(bytes) => {
                    Span::Bytes(bytes.slice((from - start) as usize..(to - start) as usize))
                }
                Span::Stored(stored) => Span::Stored(stored.slice(from - start, to - start)),
                Span::Zero(_) => Span::Zero(to - from),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::b2::FileId;
    use crate::io::Version;
    use crate::io::read::records::Records;

    fn record(name: &str) -> Arc<Record> {
        static RECORDS: LazyLock<Records> = LazyLock::new(|| Records::new(1));
        RECORDS.intern(Version {
            id: FileId::new(name),
            size: 100 << 20,
            sha1: None,
        })
    }

    #[test]
    fn a_range_is_copied_where_it_lies_in_one_piece() {
        let (a, b) = (record("a"), record("b"));
        let snapshot = Snapshot {
            start: 10,
            size: 80,
            seq: 1,
            complete: true,
            proof: None,
            base: None,
            ends: OnceLock::new(),
            spans: vec![
                Span::Stored(StoredRange::new(&a, 0..20)),
                Span::Stored(StoredRange::new(&a, 20..30)),
                Span::Stored(StoredRange::new(&b, 30..60)),
                Span::Zero(10),
            ],
        };
        let source = |range: Range<u64>| {
            let stored = snapshot.source(&range)?;
            Some((stored.record.id.to_string(), stored.range))
        };
        assert_eq!(source(15..40), Some(("a".to_owned(), 5..30)));
        assert_eq!(source(41..60), Some(("b".to_owned(), 31..50)));
        assert_eq!(source(39..41), None, "of two versions");
        assert_eq!(source(60..75), None, "zeros");
        assert_eq!(snapshot.whole(), None);
    }

    #[test]
    fn a_snapshot_is_a_version_only_as_a_whole() {
        let a = record("a");
        let of = |start, ranges: Vec<(u64, u64)>| Snapshot {
            start,
            size: a.size,
            seq: 1,
            complete: true,
            proof: None,
            base: None,
            ends: OnceLock::new(),
            spans: ranges
                .into_iter()
                .map(|(from, to)| Span::Stored(StoredRange::new(&a, from..to)))
                .collect(),
        };
        let half = a.size / 2;
        assert!(of(0, vec![(0, half), (half, a.size)]).whole().is_some());
        assert!(of(0, vec![(0, half)]).whole().is_none());
        assert!(of(0, vec![(half, a.size), (0, half)]).whole().is_none());
        assert!(of(1, vec![(0, a.size)]).whole().is_none());
    }

    #[test]
    fn a_snapshot_holds_nothing_of_what_is_not_in_it() {
        let (a, b) = (record("a"), record("b"));
        let spans = vec![Span::Stored(StoredRange::new(&a, 10..30)), Span::Zero(5)];
        let snapshot = Snapshot::new(10..35, 1, None, spans);
        for (range, held) in [(10..30, true), (12..20, true), (10..31, false)] {
            assert_eq!(snapshot.holds(&a, &range), held, "{range:?}");
            assert!(!snapshot.holds(&b, &range), "{range:?}");
        }
        for range in [0..5, 5..10, 5..15, 20..40, 35..40, 40..50] {
            assert!(!snapshot.holds(&a, &range), "{range:?}");
        }
    }
}
