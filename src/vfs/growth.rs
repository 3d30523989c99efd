//! Files that stay open: when what was appended to one is stored although nobody has closed it.
//!
//! A content appears whole, at a close or fsync. Stored before that is only what grows slowly, as a log does: what was only
//! appended to, by less than `MOST`, for at least an interval since the first unsent byte. Decided by what was done to the
//! file, without clock or socket: time is passed in.

use std::time::{Duration, Instant};

/// Bytes: whoever appends as many within an interval is copying something.
const MOST: u64 = 1 << 20;

/// The interval doubles with each store up to this: each may cost a copy of all that is there.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What was done to the content of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Change {
    /// So many bytes were written at its end.
    Appended(u64),
    /// Something was cut off, all of it perhaps.
    Cut,
    /// Any other: written elsewhere, extended by a hole, copied to.
    Elsewhere,
}

/// What is to be done when an interval is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Verdict {
    /// It is stored now.
    Store,
    /// Asked for again after this time.
    After(Duration),
    /// Its close or fsync stores it.
    Leave,
}

/// What was done to a file since the first of those who have it open for writing has changed it.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Growth {
    interval: Duration,
    manner: Manner,
    unsent: Option<Unsent>,
}

#[derive(Debug, Clone, Copy)]
enum Manner {
    OnlyAppended,
    /// It was cut at that time, and has only been appended to since: a new content that begins, or a log that begins anew.
    CutAt(Instant),
    /// A database, an image: never.
    Elsewhere,
}

#[derive(Debug, Clone, Copy)]
struct Unsent {
    since: Instant,
    bytes: u64,
}

impl Growth {
    pub(in crate::vfs) fn new(interval: Duration) -> Self {
        Self {
            interval,
            manner: Manner::OnlyAppended,
            unsent: None,
        }
    }

    /// Takes a change in; tells after what time to ask for the verdict, where nobody is going to.
    pub(in crate::vfs) fn changed(&mut self, change: Change, now: Instant) -> Option<Duration> {
        match (change, self.manner) {
            (_, Manner::Elsewhere) => None,
            (Change::Elsewhere, _) => {
                self.manner = Manner::Elsewhere;
                None
            }
            (Change::Cut, _) => {
                self.manner = Manner::CutAt(now);
                self.unsent = None;
                None
            }
            (Change::Appended(bytes), _) => {
                if let Some(unsent) = &mut self.unsent {
                    unsent.bytes = unsent.bytes.saturating_add(bytes);
                    return None;
                }
                self.unsent = Some(Unsent { since: now, bytes });
                Some(self.interval)
            }
        }
    }

    /// Something of it was stored, by whomever; `dirty`: more was written meanwhile.
    pub(in crate::vfs) fn stored(&mut self, dirty: bool, now: Instant) -> Option<Duration> {
        self.unsent = dirty.then_some(Unsent {
            since: now,
            bytes: 0,
        });
        dirty.then_some(self.interval)
    }

    /// It was stored because of a verdict: the next one comes later.
    pub(in crate::vfs) fn stored_open(&mut self) {
        self.interval = (self.interval * 2).min(LONGEST.max(self.interval));
    }

    /// How long it waits for the next store now.
    pub(in crate::vfs) fn interval(&self) -> Duration {
        self.interval
    }

    pub(in crate::vfs) fn verdict(&self, now: Instant) -> Verdict {
        let begun = match self.manner {
            Manner::Elsewhere => return Verdict::Leave,
            Manner::CutAt(at) => Some(at),
            Manner::OnlyAppended => None,
        };
        let Some(unsent) = self.unsent.filter(|unsent| unsent.bytes < MOST) else {
            return Verdict::Leave;
        };
        let since = begun.map_or(unsent.since, |begun| begun.max(unsent.since));
        let age = now.saturating_duration_since(since);
        match self.interval.checked_sub(age) {
            Some(rest) if !rest.is_zero() => Verdict::After(rest),
            _ => Verdict::Store,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn growth() -> (Growth, Instant) {
        (Growth::new(MINUTE), Instant::now())
    }

    #[test]
    fn what_grows_slowly_is_stored_an_interval_after_its_first_unsent_byte() {
        let (mut log, start) = growth();
        assert_eq!(log.verdict(start), Verdict::Leave, "nothing was written");
        assert_eq!(log.changed(Change::Appended(10), start), Some(MINUTE));
        assert_eq!(log.changed(Change::Appended(10), start + MINUTE / 2), None);
        let almost = log.verdict(start + MINUTE * 3 / 4);
        assert_eq!(almost, Verdict::After(MINUTE / 4));
        assert_eq!(log.verdict(start + MINUTE), Verdict::Store);
    }

    #[test]
    fn each_store_makes_the_next_one_later_up_to_a_quarter_of_an_hour() {
        let (mut log, start) = growth();
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.extend(log.changed(Change::Appended(1), start));
            assert_eq!(log.stored(false, start), None);
            log.stored_open();
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15].map(|times| MINUTE * times));
        let mut long = Growth::new(MINUTE * 60);
        long.stored_open();
        assert_eq!(long.changed(Change::Appended(1), start), Some(MINUTE * 60));
    }

    #[test]
    fn what_is_copied_is_left_until_it_has_been_stored_otherwise() {
        let (mut copy, start) = growth();
        copy.changed(Change::Appended(MOST - 1), start);
        assert_eq!(copy.verdict(start + MINUTE), Verdict::Store);
        copy.changed(Change::Appended(1), start);
        assert_eq!(
            copy.verdict(start + MINUTE * 600),
            Verdict::Leave,
            "also when it stalls"
        );
        assert_eq!(copy.stored(true, start), Some(MINUTE), "by fsync, say");
        assert_eq!(copy.verdict(start + MINUTE), Verdict::Store);
    }

    #[test]
    fn what_was_changed_elsewhere_is_left_for_ever() {
        let (mut database, start) = growth();
        database.changed(Change::Appended(4096), start);
        database.changed(Change::Elsewhere, start);
        assert_eq!(database.changed(Change::Appended(10), start), None);
        database.changed(Change::Cut, start);
        database.stored(true, start);
        assert_eq!(database.verdict(start + MINUTE * 600), Verdict::Leave);
    }

    #[test]
    fn what_was_cut_has_to_be_appended_to_for_an_interval() {
        let (mut log, start) = growth();
        log.changed(Change::Appended(5 * MOST), start);
        log.changed(Change::Cut, start + MINUTE);
        assert_eq!(
            log.verdict(start + MINUTE * 9),
            Verdict::Leave,
            "others see no empty file"
        );
        assert_eq!(
            log.changed(Change::Appended(1), start + MINUTE),
            Some(MINUTE)
        );
        assert_eq!(log.verdict(start + MINUTE), Verdict::After(MINUTE));
        assert_eq!(log.verdict(start + MINUTE * 2), Verdict::Store);
    }
}
