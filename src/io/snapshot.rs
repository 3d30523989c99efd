//! A content at one moment: what a commit stores while the program goes on writing.
//!
//! Holds reference counts, no copies. Base bytes that a payload needs are downloaded when the
//! payload is made, and only they.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::engine::Engine;
use super::plan::{Run, Source};
use super::records::Record;
use crate::b2::Payload;

/// Zeros to send, shared by everybody.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Base ranges nearer to each other than this are downloaded in one go: a round trip costs more.
const NEAR: u64 = 256 << 10;

/// A stretch of one kind.
#[derive(Debug, Clone)]
pub(super) enum Span {
    Bytes(Bytes),
    Base(Range<u64>),
    Zero(u64),
}

impl Span {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Base(range) => range.end - range.start,
            Self::Zero(len) => *len,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Where the spans start; what is before has left already.
    pub(super) start: u64,
    pub(super) size: u64,
    /// The last change that is in it.
    pub(super) seq: u64,
    pub(super) base: Option<Arc<Record>>,
    pub(super) spans: Vec<Span>,
}

/// Pieces of zeros.
pub(super) fn zeros(mut len: u64) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let take = len.min(ZEROS.len() as u64);
        len -= take;
        (take > 0).then(|| Bytes::from_static(&ZEROS[..take as usize]))
    })
}

impl Snapshot {
    pub(super) fn runs(&self) -> Vec<Run> {
        self.spans
            .iter()
            .map(|span| Run {
                source: match span {
                    Span::Bytes(_) => Source::Data,
                    Span::Base(_) => Source::Base,
                    Span::Zero(_) => Source::Zero,
                },
                len: span.len(),
            })
            .collect()
    }

    /// True when it is the base and nothing else.
    pub(super) fn is_base(&self) -> bool {
        let base = self.base.as_ref().map(|record| record.size);
        self.start == 0
            && base == Some(self.size)
            && self.spans.iter().all(|span| matches!(span, Span::Base(_)))
    }

    /// All bytes, if none of them is in the base.
    pub(super) fn in_memory(&self) -> Option<Vec<Bytes>> {
        let mut pieces = Vec::new();
        for span in &self.spans {
            match span {
                Span::Bytes(bytes) => pieces.push(bytes.clone()),
                Span::Zero(len) => pieces.extend(zeros(*len)),
                Span::Base(_) => return None,
            }
        }
        Some(pieces)
    }

    /// The bytes of a range as they are sent.
    pub(super) async fn payload(
        &self,
        engine: &Engine,
        range: Range<u64>,
    ) -> Result<Payload, Error> {
        let spans = self.cut(&range);
        let wanted: Vec<Range<u64>> = spans
            .iter()
            .filter_map(|span| match span {
                Span::Base(range) => Some(range.clone()),
                _ => None,
            })
            .collect();
        let groups = join_near(&wanted);
        let fetched = match &self.base {
            Some(base) if !groups.is_empty() => engine.read_for_commit(base, &groups).await?,
            _ => Vec::new(),
        };
        let mut payload = Payload::default();
        for span in spans {
            match span {
                Span::Bytes(bytes) => payload.push(bytes),
                Span::Zero(len) => zeros(len).for_each(|piece| payload.push(piece)),
                Span::Base(range) => {
                    let group = groups.partition_point(|group| group.end <= range.start);
                    let from = (range.start - groups[group].start) as usize;
                    let to = (range.end - groups[group].start) as usize;
                    payload.push(fetched[group].slice(from..to));
                }
            }
        }
        Ok(payload)
    }

    fn cut(&self, range: &Range<u64>) -> Vec<Span> {
        let mut cut = Vec::new();
        let mut at = self.start;
        for span in &self.spans {
            let end = at + span.len();
            let from = range.start.max(at);
            let to = range.end.min(end);
            if from < to {
                cut.push(match span {
                    Span::Bytes(bytes) => {
                        Span::Bytes(bytes.slice((from - at) as usize..(to - at) as usize))
                    }
                    Span::Base(_) => Span::Base(from..to),
                    Span::Zero(_) => Span::Zero(to - from),
                });
            }
            at = end;
        }
        cut
    }
}

/// Ranges in ascending order, with those that lie near each other made one.
fn join_near(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut groups: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match groups.last_mut() {
            Some(last) if range.start <= last.end + NEAR => last.end = range.end,
            _ => groups.push(range.clone()),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_one_download() {
        assert_eq!(join_near(&[0..10, 20..30]).first(), Some(&(0..30)));
        assert_eq!(join_near(&[0..10, 10 << 20..11 << 20]).len(), 2);
    }

    #[test]
    fn zeros_share_one_block() {
        let pieces: Vec<Bytes> = zeros(200_000).collect();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 200_000);
        assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr());
    }
}
