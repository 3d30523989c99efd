//! Whether what one reader was given is what was stored: whole sequential reads against the version's SHA-1.
//!
//! A pass begins with a read at offset 0 and ends with the version's last byte. The kernel sends the requests of one
//! program side by side, so they come and are answered out of order; each is noted when it comes. What is given out in
//! order is hashed by a task of its own, and only the reply with the last byte waits for it. What is given out early is
//! remembered by a short hash, and read again (from the cache, as a rule) when its turn has come: nothing has to be kept
//! for it, and it counts only if it is the same. What the cache has lost of it is downloaded past the cache: this must not
//! wait for memory, which replies may hold that wait for it. If that fails, the reply with the last byte is its error.
//!
//! A read is *not* compared, whatever the load, when
//! - `verify_reads` is off, or the SHA-1 is not known (large files of tools that do not store it);
//! - it does not begin at offset 0, does not reach the end, or leaves out more than [`LAG`] on the way;
//! - unsent changes are part of what is read.
//!
//! Bytes of both kinds are counted (`reads.verified`, `reads.unverified`).

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tokio::sync::watch;

use crate::b2::{Hasher, Sha1};
use crate::io::Error;
use crate::io::engine::{Engine, STRIDE};
use crate::io::read::records::Record;

/// How far a request may lie before others that came earlier: more than the kernel keeps in flight.
const LAG: u64 = 16 << 20;
/// Requests that came before their turn, at most.
const MOST: usize = 512;
/// Bytes that are given out and not hashed yet; beyond it, replies wait.
const AHEAD: u64 = 4 << 20;

/// Short hashes of this process, which nobody outside can foresee.
static SHORT: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A short hash of bytes, in whatever pieces they come.
pub(in crate::io) fn short_hash<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = SHORT.build_hasher();
    for piece in pieces {
        hasher.write(piece);
    }
    hasher.finish()
}

/// The comparison of one reader.
#[derive(Default)]
pub(in crate::io) struct Check {
    inner: Mutex<Inner>,
    /// Changes whenever something was hashed, given out or given up.
    moved: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    pass: Option<Pass>,
    /// The version with this key was not what was stored, or what was given out of it, or nobody knows.
    bad: Option<(u64, Error)>,
    passes: u64,
}

/// One reading of a version from its first byte on.
struct Pass {
    number: u64,
    key: u64,
    size: u64,
    /// A read at offset 0 has come.
    begun: bool,
    /// Up to here everything is hashed or in `queue`.
    pos: u64,
    /// What came out of order: by offset, its length and, once it was given out, its short hash.
    early: BTreeMap<u64, (u64, Option<u64>)>,
    queue: VecDeque<Item>,
    queued: u64,
    hash: Progress,
    /// Where it is counted if it comes to nothing.
    reads: Arc<Compared>,
}

/// Bytes given out: compared as part of a whole version, and not.
#[derive(Debug, Default)]
pub(in crate::io) struct Compared {
    pub(in crate::io) verified: AtomicU64,
    pub(in crate::io) unverified: AtomicU64,
}

enum Progress {
    Idle(Box<Hashed>),
    /// A task has it.
    Running,
}

/// What the hashing has come to.
#[derive(Default)]
struct Hashed {
    hash: Hasher,
    len: u64,
    /// The state before the piece with the last byte.
    before: Option<(u64, Hasher)>,
    /// Something was not the same when it was read again.
    differs: bool,
}

enum Item {
    Bytes(u64, Vec<Bytes>),
    /// Given out early: where, and its short hash.
    Again(Range<u64>, u64),
}

/// A read that was noted when it came.
pub(in crate::io) struct Ticket<'a> {
    check: &'a Check,
    pass: u64,
    range: Range<u64>,
}

/// What is known when the last byte is about to be given out.
pub(in crate::io) enum Verdict {
    /// Compared and right, or not compared.
    Fine,
    /// What had been given out early could not be read again.
    Unknown(Error),
    /// Everything before the last piece: how many bytes, their hash, and whether some of them had changed already.
    Wrong {
        found: Sha1,
        before: (u64, Hasher),
        differs: bool,
    },
}

impl Check {
    /// A read has come: `None` when it belongs to no pass.
    pub(in crate::io) fn comes(
        &self,
        engine: &Engine,
        record: &Record,
        range: &Range<u64>,
    ) -> Result<Option<Ticket<'_>>, Error> {
        let mut inner = self.lock();
        if range.start == 0 {
            inner.bad = None;
        }
        if range.end == record.size
            && let Some(error) = inner.tell_bad(record.key)
        {
            return Err(error);
        }
        // The first request may come after others that were sent behind it.
        let goes_on = inner
            .pass
            .as_ref()
            .is_some_and(|pass| pass.key == record.key && !(range.start == 0 && pass.begun));
        if !goes_on {
            inner.passes += 1;
            inner.pass = Some(Pass::new(inner.passes, record, &engine.reads));
        }
        let Some(pass) = &mut inner.pass else {
            return Ok(None);
        };
        pass.begun |= range.start == 0;
        if range.start > pass.pos + LAG || pass.early.len() == MOST {
            inner.pass = None;
            drop(inner);
            self.moves();
            return Ok(None);
        }
        if range.start < pass.pos {
            return Ok(None);
        }
        pass.early
            .insert(range.start, (range.end - range.start, None));
        Ok(Some(Ticket {
            check: self,
            pass: pass.number,
            range: range.clone(),
        }))
    }

    /// What a ticket stands for is about to be given out. With the last byte it waits for the result.
    pub(in crate::io) async fn gives(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        record: &Arc<Record>,
        ticket: Option<Ticket<'_>>,
        data: &[Bytes],
    ) -> Verdict {
        let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
        let Some(ticket) = ticket else {
            engine.reads.unverified.fetch_add(len, Relaxed);
            return Verdict::Fine;
        };
        let (number, range) = (ticket.pass, ticket.range.clone());
        std::mem::forget(ticket);
        if range == (0..record.size) && len <= STRIDE && self.ends(number) {
            let mut hashed = Hashed::default();
            for piece in data {
                hashed.hash.update(piece);
            }
            return Self::compare(engine, record, hashed);
        }
        let mut moved = self.moved.subscribe();
        let work = self.take_in(number, &range, data);
        if work {
            let (this, engine, record) = (Arc::clone(self), Arc::clone(engine), Arc::clone(record));
            let rt = engine.rt.clone();
            rt.spawn(async move { this.hash(&engine, &record, number).await });
        }
        self.moves();
        loop {
            moved.mark_unchanged();
            match self.state(number, range.end == record.size) {
                Next::Over => {
                    let bad = self.lock().tell_bad(record.key);
                    if let Some(error) = bad.filter(|_| range.end == record.size) {
                        return Verdict::Unknown(error);
                    }
                    engine.reads.unverified.fetch_add(len, Relaxed);
                    return Verdict::Fine;
                }
                Next::GoOn => return Verdict::Fine,
                Next::Wait => {}
                Next::Done(hashed) => return Self::compare(engine, record, *hashed),
            }
            if moved.changed().await.is_err() {
                return Verdict::Fine;
            }
        }
    }

    /// A version was read again and is still not what was stored, or what was given out was not.
    pub(in crate::io) fn note_bad(&self, record: &Record, error: Error) {
        self.lock().bad = Some((record.key, error));
    }

    fn compare(engine: &Engine, record: &Record, hashed: Hashed) -> Verdict {
        let found = hashed.hash.finish();
        if record.sha1().is_none_or(|stored| stored == found) && !hashed.differs {
            engine.reads.verified.fetch_add(record.size, Relaxed);
            return Verdict::Fine;
        }
        Verdict::Wrong {
            found,
            before: hashed.before.unwrap_or_default(),
            differs: hashed.differs,
        }
    }

    /// A pass of one read: nobody else is needed for it.
    fn ends(&self, number: u64) -> bool {
        let mut inner = self.lock();
        let same = inner
            .pass
            .as_ref()
            .is_some_and(|pass| pass.number == number);
        if same {
            inner.pass = None;
        }
        same
    }

    /// Puts bytes into the queue if it is their turn; true when a task has to be begun.
    fn take_in(&self, number: u64, range: &Range<u64>, data: &[Bytes]) -> bool {
        let mut inner = self.lock();
        let Some(pass) = inner.pass.as_mut().filter(|pass| pass.number == number) else {
            return false;
        };
        if range.start == pass.pos {
            pass.early.remove(&range.start);
            pass.push(Item::Bytes(range.start, data.to_vec()), range.end);
        } else if let Some(early) = pass.early.get_mut(&range.start) {
            early.1 = Some(short_hash(data));
        }
        while let Some((&start, &(len, given))) = pass.early.first_key_value() {
            let Some(short) = given.filter(|_| start <= pass.pos) else {
                break;
            };
            pass.early.pop_first();
            if start == pass.pos {
                pass.push(Item::Again(start..start + len, short), start + len);
            }
        }
        pass.begins()
    }

    fn state(&self, number: u64, last: bool) -> Next {
        let mut inner = self.lock();
        let Some(pass) = inner.pass.as_mut().filter(|pass| pass.number == number) else {
            return Next::Over;
        };
        if !last {
            return if pass.queued > AHEAD {
                Next::Wait
            } else {
                Next::GoOn
            };
        }
        if pass.pos < pass.size {
            // Others that came before are still on their way, or nobody has asked for what lies between.
            let next = pass.early.first_key_value();
            let comes =
                next.is_some_and(|(start, (_, given))| *start <= pass.pos && given.is_none());
            return if comes { Next::Wait } else { Next::Over };
        }
        match &pass.hash {
            Progress::Idle(hashed) if hashed.len == pass.size => {}
            _ => return Next::Wait,
        }
        pass.pos = 0; // counted by its result
        match std::mem::replace(&mut pass.hash, Progress::Running) {
            Progress::Idle(hashed) => {
                inner.pass = None;
                Next::Done(hashed)
            }
            Progress::Running => Next::Over,
        }
    }

    /// Hashes what is in the queue.
    async fn hash(self: Arc<Self>, engine: &Arc<Engine>, record: &Arc<Record>, number: u64) {
        let mut mine: Option<Box<Hashed>> = None;
        loop {
            let item = {
                let mut inner = self.lock();
                let Some(pass) = inner.pass.as_mut().filter(|pass| pass.number == number) else {
                    return;
                };
                let hashed = match mine.take() {
                    Some(hashed) => hashed,
                    None => match std::mem::replace(&mut pass.hash, Progress::Running) {
                        Progress::Idle(hashed) => hashed,
                        Progress::Running => return,
                    },
                };
                pass.queued = pass.pos - hashed.len;
                let Some(item) = pass.queue.pop_front() else {
                    pass.hash = Progress::Idle(hashed);
                    drop(inner);
                    self.moves();
                    return;
                };
                mine = Some(hashed);
                item
            };
            self.moves();
            let Some(hashed) = &mut mine else { return };
            let (start, data) = match item {
                Item::Bytes(start, data) => (start, data),
                Item::Again(range, short) => {
                    let start = range.start;
                    match engine.read_plain(record, range).await {
                        Ok(data) => {
                            hashed.differs |= short_hash(&data) != short;
                            (start, data)
                        }
                        Err(error) => {
                            log::debug!("{}: not compared with its SHA-1: {error}", record.id);
                            let mut inner = self.lock();
                            if inner.pass.take_if(|pass| pass.number == number).is_some() {
                                inner.bad = Some((record.key, error));
                            }
                            drop(inner);
                            self.moves();
                            return;
                        }
                    }
                }
            };
            let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
            if start + len == record.size {
                hashed.before = Some((start, hashed.hash.clone()));
            }
            for slice in data.iter().flat_map(|piece| piece.chunks(STRIDE as usize)) {
                hashed.hash.update(slice);
                // Hashing a megabyte takes most of a millisecond: let others run.
                tokio::task::yield_now().await;
            }
            hashed.len += len;
        }
    }

    fn moves(&self) {
        self.moved.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// Why the last byte of this version may not be given out. Damage stays until it is read from its start again; another
    /// fault is told once.
    fn tell_bad(&mut self, key: u64) -> Option<Error> {
        let (_, error) = self.bad.as_ref().filter(|(bad, _)| *bad == key)?;
        let error = error.clone();
        if !matches!(error, Error::Corrupt(_) | Error::Stale) {
            self.bad = None;
        }
        Some(error)
    }
}

enum Next {
    /// Not a whole read any more.
    Over,
    GoOn,
    Wait,
    Done(Box<Hashed>),
}

impl Pass {
    fn new(number: u64, record: &Record, reads: &Arc<Compared>) -> Self {
        Self {
            number,
            key: record.key,
            size: record.size,
            begun: false,
            pos: 0,
            early: BTreeMap::new(),
            queue: VecDeque::new(),
            queued: 0,
            hash: Progress::Idle(Box::default()),
            reads: Arc::clone(reads),
        }
    }

    fn push(&mut self, item: Item, end: u64) {
        self.queued += end - self.pos;
        self.pos = end;
        self.queue.push_back(item);
    }

    fn begins(&self) -> bool {
        !self.queue.is_empty() && matches!(self.hash, Progress::Idle(_))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let early = self.early.values().filter(|(_, given)| given.is_some());
        let early: u64 = early.map(|(len, _)| len).sum();
        self.reads.unverified.fetch_add(self.pos + early, Relaxed);
    }
}

impl Drop for Ticket<'_> {
    /// The read has failed, or whoever asked has gone.
    fn drop(&mut self) {
        let mut inner = self.check.lock();
        if let Some(pass) = inner.pass.as_mut().filter(|pass| pass.number == self.pass)
            && pass
                .early
                .get(&self.range.start)
                .is_some_and(|early| early.1.is_none())
        {
            pass.early.remove(&self.range.start);
        }
        drop(inner);
        self.check.moves();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_hash_does_not_depend_on_the_pieces() {
        let bytes = Bytes::from((0..=255_u8).collect::<Vec<_>>().repeat(3));
        let whole = short_hash([&bytes]);
        for cut in [0, 1, 7, 8, 9, 255, 768] {
            assert_eq!(
                short_hash([&bytes.slice(..cut), &bytes.slice(cut..)]),
                whole,
                "{cut}"
            );
        }
        assert_ne!(short_hash([&bytes.slice(1..)]), whole);
    }
}
