//! Where one reader stands: drives read-ahead, and reads again what was not as it was stored.
//!
//! Lock order: state, then cache.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::b2::{Hasher, Sha1};
use crate::io::Error;
use crate::io::engine::{Engine, STRIDE};
use crate::io::read::cache::{BLOCK, blocks_of};
use crate::io::read::check::{Check, Ticket, Verdict};
use crate::io::read::fetch::Fetch;
use crate::io::read::readahead::{Limits, ReadAhead};
use crate::io::read::records::Record;
use crate::io::read::surroundings::Stay;

/// Where one reader stands (one per open handle); drives read-ahead.
#[derive(Default)]
pub struct Cursor {
    state: Mutex<Option<Position>>,
    check: Arc<Check>,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor")
    }
}

struct Position {
    engine: Arc<Engine>,
    record: Arc<Record>,
    ahead: ReadAhead,
    fetches: Vec<Arc<Fetch>>,
    open: Option<OpenWindow>,
    /// While it reads here and there.
    stays: Option<Stay>,
    /// Blocks before this one were dropped behind the reader.
    dropped: u64,
}

/// Counts readers with an open window: all, and of this version.
struct OpenWindow(Arc<AtomicUsize>, Arc<Record>);

impl OpenWindow {
    fn new(engine: &Engine, record: &Arc<Record>) -> Self {
        engine.readers.fetch_add(1, Ordering::Relaxed);
        record.readers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&engine.readers), Arc::clone(record))
    }
}

impl Drop for OpenWindow {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Position {
    fn new(engine: &Arc<Engine>, record: &Arc<Record>) -> Self {
        Self {
            engine: Arc::clone(engine),
            record: Arc::clone(record),
            ahead: ReadAhead::default(),
            fetches: Vec::new(),
            open: None,
            stays: None,
            dropped: 0,
        }
    }

    /// Nobody reads these bytes, which were asked for ahead.
    fn give_up(&mut self, unread: &Range<u64>) {
        let blocks = blocks_of(unread);
        self.fetches.retain(|fetch| {
            let of_these = fetch.blocks();
            let meets = of_these.start < blocks.end && blocks.start < of_these.end;
            if meets {
                fetch.abandon();
            }
            !meets
        });
        self.engine.cache.demote(&self.record, blocks);
    }
}

impl Position {
    /// What one reader has read of a file that is larger than the memory is out of it before
    /// somebody reads the file again: dropped at once, it makes room without growing into all of it.
    fn drop_behind(&mut self) {
        const STEP: u64 = (1 << 20) / BLOCK;
        if self.record.size <= self.engine.budget.write_limit() {
            return;
        }
        let alone = self.record.readers.load(Ordering::Relaxed) == 1;
        let Some(behind) = self.ahead.behind().filter(|_| alone) else {
            return;
        };
        let behind = behind / BLOCK;
        if behind < self.dropped {
            self.dropped = behind; // it went back
        } else if behind >= self.dropped + STEP {
            let blocks = self.dropped..behind;
            self.engine.cache.drop_used(&self.record, blocks);
            self.dropped = behind;
        }
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        let unread: Vec<_> = self.ahead.unread().collect();
        for unread in &unread {
            self.give_up(unread);
        }
        for fetch in self.fetches.drain(..) {
            fetch.abandon();
        }
    }
}

impl Cursor {
    /// Tells of a read, before it is answered, and begins what it gives reason to. `waits`: not all of its bytes are
    /// there.
    ///
    /// What is fetched for the read itself is begun in between, so that nothing that may come later stands before it: by
    /// `fetch`, which is told whether the reader goes forward (else it reads here and there).
    pub(in crate::io) fn on_read<T>(
        &self,
        engine: &Arc<Engine>,
        record: &Arc<Record>,
        range: &Range<u64>,
        waits: bool,
        fetch: impl FnOnce(bool) -> T,
    ) -> T {
        let mut guard = self.lock();
        if guard.as_ref().is_some_and(|s| s.record.key != record.key) {
            *guard = None;
        }
        let state = guard.get_or_insert_with(|| Position::new(engine, record));
        let limits = Limits {
            window: engine.window(),
            streams: engine.streams(),
            block: BLOCK,
        };
        let len = range.end - range.start;
        let ahead = &mut state.ahead;
        let advice = ahead.on_read(range.start, len, record.size, limits, waits);
        let forward = ahead.is_open();
        if waits && !forward && state.stays.is_none() {
            state.stays = Some(record.surroundings.stay());
        }
        let began = fetch(forward);
        for unread in &advice.abandon {
            state.give_up(unread);
        }
        for chunk in advice.fetch {
            if let Some(fetches) = engine.read_ahead(record, chunk.clone()) {
                state.fetches.extend(fetches);
            } else {
                state.ahead.refused(chunk.start);
                break;
            }
        }
        state.fetches.retain(|fetch| !fetch.is_over());
        if forward != state.open.is_some() {
            state.open = forward.then(|| OpenWindow::new(engine, record));
        }
        state.drop_behind();
        began
    }

    /// A read has come that is to be compared with what is stored; before it is answered.
    pub(in crate::io) fn comes(
        &self,
        engine: &Engine,
        record: &Record,
        range: &Range<u64>,
    ) -> Result<Option<Ticket<'_>>, Error> {
        if record.sha1().is_none() {
            return Ok(None);
        }
        self.check.comes(engine, record, range)
    }

    /// What is about to be given out; what comes back may be given out.
    pub(in crate::io) async fn gives(
        &self,
        engine: &Arc<Engine>,
        record: &Arc<Record>,
        ticket: Option<Ticket<'_>>,
        offset: u64,
        data: Vec<Bytes>,
    ) -> Result<Vec<Bytes>, Error> {
        let verdict = self.check.gives(engine, record, ticket, &data).await;
        let (found, before, differs) = match verdict {
            Verdict::Fine => return Ok(data),
            Verdict::Unknown(error) => return Err(error),
            Verdict::Wrong {
                found,
                before,
                differs,
            } => (found, before, differs),
        };
        let Some(stored) = record.sha1() else {
            return Ok(data);
        };
        log::warn!(
            "{}: SHA-1 is {found}, stored is {stored}; reading it again",
            record.id
        );
        engine.cache.forget(record);
        let end = offset + data.iter().map(|piece| piece.len() as u64).sum::<u64>();
        drop(data); // its memory may be needed for reading it again
        let again = recheck(engine, record, stored, before, differs, &(offset..end)).await;
        if let Err(error @ Error::Corrupt(_)) = &again {
            self.check.note_bad(record, error.clone());
        }
        again
    }

    fn lock(&self) -> MutexGuard<'_, Option<Position>> {
        self.state.lock()
    }
}

fn update(hash: &mut Hasher, pos: &mut u64, pieces: &[Bytes]) {
    for piece in pieces {
        hash.update(piece);
        *pos += piece.len() as u64;
    }
}

/// Reads everything again. `Ok` when the version is right, and what had been handed out before
/// (`before`: how many bytes, and their hash; `differs`: some were not the same a second time) was right as well.
async fn recheck(
    engine: &Arc<Engine>,
    record: &Arc<Record>,
    stored: Sha1,
    before: (u64, Hasher),
    differs: bool,
    wanted: &Range<u64>,
) -> Result<Vec<Bytes>, Error> {
    let corrupt = |what: &str| {
        Err(Error::Corrupt(format!(
            "{}: {what}; its stored SHA-1 is {stored}",
            record.id
        )))
    };
    let mut handed_out = None;
    // Kept from this very pass: read once more, they might be damaged again.
    let mut kept = Vec::new();
    let (sum, prefix) = (before.0, before.1.finish());
    let found = hash_version(
        engine,
        record,
        |pos, hash| {
            if pos == sum {
                handed_out = Some(hash.clone().finish() == prefix);
            }
            sum
        },
        |pos, data| {
            let mut at = pos;
            for piece in data {
                let end = at + piece.len() as u64;
                let (from, to) = (wanted.start.max(at), wanted.end.min(end));
                if from < to {
                    kept.push(piece.slice((from - at) as usize..(to - at) as usize));
                }
                at = end;
            }
        },
    )
    .await?;
    if found != stored {
        // Perhaps only the way was bad twice: the next reader starts afresh.
        engine.cache.forget(record);
        return corrupt("the content is not what was stored, also after reading it again");
    }
    if differs || sum > 0 && handed_out != Some(true) {
        return corrupt("bytes already read were damaged on their way, read the file again");
    }
    Ok(kept)
}

/// Reads and hashes all of a version; `at` sees the hash at the position it names (and others), `take` the bytes.
pub(in crate::io) async fn hash_version(
    engine: &Arc<Engine>,
    record: &Arc<Record>,
    mut at: impl FnMut(u64, &Hasher) -> u64,
    mut take: impl FnMut(u64, &[Bytes]),
) -> Result<Sha1, Error> {
    let cursor = Cursor::default();
    let mut hash = Hasher::new();
    let mut pos = 0;
    while pos < record.size {
        let stop = at(pos, &hash);
        let mut end = (pos + STRIDE).min(record.size);
        if stop > pos && stop < end {
            end = stop;
        }
        cursor.on_read(engine, record, &(pos..end), true, |_| ());
        let data = engine.read(record, pos..end).await?;
        take(pos, &data);
        update(&mut hash, &mut pos, &data);
        // Hashing a megabyte takes most of a millisecond: let others run.
        tokio::task::yield_now().await;
    }
    Ok(hash.finish())
}
