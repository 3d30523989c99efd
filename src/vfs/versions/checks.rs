//! Deeds that have not been compared with what others have done yet: one chain a name, from the last one down to what
//! was verified.
//!
//! A deed does not believe in one that nobody has looked at: it inherits what that believed, takes over what that would
//! have seen to, and decides for both. Where nothing was believed under a name, the look has time (`Stage::New`).

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;

use log::warn;
use tokio::sync::Notify;

use super::supersede::{Act, Deed};
use crate::b2::FileId;

/// Deeds done to one name since it was last looked at.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Chain {
    /// The last one, which decides; it believes in what was verified, not in those before it.
    pub(in crate::vfs) top: Deed,
    /// What those before it have made, the newest first, and whether that holds bytes that a program was told are stored.
    pub(in crate::vfs) before: Vec<(FileId, bool)>,
    /// Versions that go once it is known that nobody came between.
    pub(in crate::vfs) twins: Vec<FileId>,
    /// Versions that go once it is seen that nothing but what this mount has made lies above them.
    pub(in crate::vfs) replaced: Vec<FileId>,
}

impl Chain {
    pub(in crate::vfs) fn new(deed: Deed) -> Self {
        Self {
            twins: deed.twin.iter().cloned().collect(),
            replaced: deed.replaced.clone(),
            before: Vec::new(),
            top: deed,
        }
    }

    /// One more deed on top.
    pub(in crate::vfs) fn and(mut self, mut deed: Deed) -> Self {
        let before = self.top;
        self.before
            .insert(0, (before.made, before.act == Act::Content));
        self.twins.extend(deed.twin.iter().cloned());
        self.replaced.extend(deed.replaced.iter().cloned());
        deed.believed
            .retain(|id| self.before.iter().all(|(made, _)| made != id));
        deed.believed.extend(before.believed);
        deed.lost.extend(before.lost);
        if before.act == deed.act {
            let mut delta = before.delta;
            delta.join(deed.delta);
            deed.delta = delta;
        }
        self.top = deed;
        self
    }

    /// Whether a version, or hide marker, was made by one of the deeds.
    pub(in crate::vfs) fn made(&self, id: &FileId) -> bool {
        self.top.made == *id || self.before.iter().any(|(made, _)| made == id)
    }
}

/// How far a chain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A look is under way.
    Looking,
    /// It has failed, and is tried again.
    Failed,
    /// Content under a name that was believed free: looked at with others, in a while.
    New,
    /// Content under a name that was believed free, where the look would have cost too much: whoever acts on the name next looks.
    Unseen,
}

/// Looks that follow deeds.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Checks {
    state: Mutex<Looking>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Looking {
    /// The last number given.
    last: u64,
    /// By full name.
    all: HashMap<String, Unchecked>,
    /// How many of those that failed were too many.
    given_up: u64,
    /// A task sees to the new ones.
    served: bool,
    /// What was verified, but is still being seen to: names by number.
    finishing: HashMap<u64, String>,
}

#[derive(Debug)]
struct Unchecked {
    number: u64,
    chain: Chain,
    stage: Stage,
}

impl Looking {
    fn count(&self, stage: Stage) -> usize {
        self.all.values().filter(|one| one.stage == stage).count()
    }
}

impl Checks {
    /// Most deeds that are kept to be looked at again, and most that wait for the next deed.
    const KEPT: usize = 10_000;

    fn lock(&self) -> MutexGuard<'_, Looking> {
        self.state.lock()
    }

    /// A deed was done, and is looked at while the guard lives.
    pub(in crate::vfs) fn begin(self: &Arc<Self>, deed: Deed) -> Checking {
        let full = deed.full.clone();
        let number = self.note(deed, Stage::Looking);
        Checking {
            checks: Arc::clone(self),
            full,
            number,
        }
    }

    /// What was to be looked at with others is looked at by itself; `None` where a later deed decides.
    pub(in crate::vfs) fn look_at(self: &Arc<Self>, full: &str, number: u64) -> Option<Checking> {
        let mut state = self.lock();
        let one = state.all.get_mut(full).filter(|one| one.number == number)?;
        one.stage = Stage::Looking;
        Some(Checking {
            checks: Arc::clone(self),
            full: full.to_owned(),
            number,
        })
    }

    /// Content was stored under a name that was believed free. Tells whether somebody has to begin with these.
    pub(in crate::vfs) fn note_new(&self, deed: Deed) -> bool {
        self.note(deed, Stage::New);
        !std::mem::replace(&mut self.lock().served, true)
    }

    fn note(&self, deed: Deed, stage: Stage) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let full = deed.full.clone();
        let chain = match state.all.remove(&full) {
            Some(before) => before.chain.and(deed),
            None => Chain::new(deed),
        };
        let one = Unchecked {
            number,
            chain,
            stage,
        };
        state.all.insert(full, one);
        number
    }

    /// What the last deed has made replaces these versions, too: told of a deed that was not looked at yet, or false.
    pub(in crate::vfs) fn also_replaces(
        &self,
        full: &str,
        made: &FileId,
        replaced: &[FileId],
    ) -> bool {
        let mut state = self.lock();
        let one = state.all.get_mut(full);
        let looks = |stage| matches!(stage, Stage::Looking | Stage::Failed);
        let one = one.filter(|one| looks(one.stage) && one.chain.top.made == *made);
        let Some(one) = one else { return false };
        one.chain.replaced.extend_from_slice(replaced);
        true
    }

    /// Whether something was done to a name, and not looked at yet.
    pub(in crate::vfs) fn pending(&self, full: &str) -> bool {
        self.lock().all.contains_key(full)
    }

    /// What was done to a name and not looked at yet; whoever asks looks now.
    pub(in crate::vfs) fn chain(&self, full: &str) -> Option<(u64, Chain)> {
        let state = self.lock();
        let one = state.all.get(full)?;
        Some((one.number, one.chain.clone()))
    }

    /// The chain, unless a later deed has taken it over or somebody has looked at it.
    pub(in crate::vfs) fn current(&self, full: &str, number: u64) -> Option<Chain> {
        let (now, chain) = self.chain(full)?;
        (now == number).then_some(chain)
    }

    /// All was seen to; false where a later deed decides.
    pub(in crate::vfs) fn verified(&self, full: &str, number: u64) -> bool {
        let mut state = self.lock();
        let current = state.all.get(full).is_some_and(|one| one.number == number);
        if current {
            state.all.remove(full);
        }
        drop(state);
        self.ended.notify_waiters();
        current
    }

    /// A content that was stored under a free name has gone again, and nothing else was there.
    pub(in crate::vfs) fn forget_new(&self, full: &str) {
        self.forget_new_if(full, |_| true);
    }

    /// The same, if this version is the last that was stored there.
    pub(in crate::vfs) fn forget_new_version(&self, full: &str, id: &FileId) {
        self.forget_new_if(full, |chain| chain.top.made == *id);
    }

    fn forget_new_if(&self, full: &str, which: impl Fn(&Chain) -> bool) {
        let mut state = self.lock();
        let new =
            |one: &Unchecked| matches!(one.stage, Stage::New | Stage::Unseen) && which(&one.chain);
        if state.all.get(full).is_some_and(new) {
            state.all.remove(full);
        }
    }

    /// Contents under names that were believed free, in the order of their names.
    pub(in crate::vfs) fn new_names(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        let new = state.all.iter().filter(|(_, one)| one.stage == Stage::New);
        let mut new: Vec<(String, u64)> =
            new.map(|(full, one)| (full.clone(), one.number)).collect();
        drop(state);
        new.sort_unstable();
        new
    }

    /// Whether there are more of these; if not, their task ends.
    pub(in crate::vfs) fn more_new(&self) -> bool {
        let mut state = self.lock();
        state.served = state.all.values().any(|one| one.stage == Stage::New);
        state.served
    }

    /// They are not looked at, until something else is done to their names.
    pub(in crate::vfs) fn unseen(&self, names: &[(String, u64)]) {
        let mut state = self.lock();
        let mut room = Self::KEPT.saturating_sub(state.count(Stage::Unseen));
        for (full, number) in names {
            let Some(one) = state.all.get_mut(full).filter(|one| one.number == *number) else {
                continue;
            };
            if room == 0 {
                state.all.remove(full);
                continue;
            }
            room -= 1;
            one.stage = Stage::Unseen;
        }
    }

    /// Takes up those again that have failed: the guards of these, or of one of them.
    pub(in crate::vfs) fn again(self: &Arc<Self>, only: Option<(&str, u64)>) -> Vec<Checking> {
        let mut state = self.lock();
        let mut again = Vec::new();
        for (full, one) in &mut state.all {
            let wanted = only.is_none_or(|(name, number)| full == name && one.number == number);
            if one.stage == Stage::Failed && wanted {
                one.stage = Stage::Looking;
                again.push(Checking {
                    checks: Arc::clone(self),
                    full: full.clone(),
                    number: one.number,
                });
            }
        }
        again
    }

    /// How many are not looked at any more, because there were too many.
    pub(in crate::vfs) fn given_up(&self) -> u64 {
        self.lock().given_up
    }

    /// Whether it could not be seen, for a name that fits, if a removal has met what was not seen here.
    pub(in crate::vfs) fn any_failed(&self, fits: impl Fn(&str) -> bool) -> bool {
        let state = self.lock();
        let failed = |one: &Unchecked| one.stage == Stage::Failed && one.chain.top.act == Act::Hide;
        let mut all = state.all.iter();
        all.any(|(full, one)| failed(one) && fits(full))
    }

    /// Waits until none is under way of a name that fits.
    pub(in crate::vfs) async fn ended(&self, fits: impl Fn(&str) -> bool) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let looking = {
                let state = self.lock();
                let mut all = state.all.iter();
                all.any(|(full, one)| one.stage == Stage::Looking && fits(full))
                    || state.finishing.values().any(|full| fits(full))
            };
            if !looking {
                return;
            }
            ended.await;
        }
    }
}

/// A look under way; what is not `verified` when it ends has failed.
pub(in crate::vfs) struct Checking {
    checks: Arc<Checks>,
    pub(in crate::vfs) full: String,
    pub(in crate::vfs) number: u64,
}

impl Checking {
    /// The look is over, and what follows from it is done while the guard lives: the chain as it is in the end; `None` where a
    /// later deed decides.
    pub(in crate::vfs) fn verified(&self) -> Option<Chain> {
        let mut state = self.checks.lock();
        let one = state.all.get(&self.full);
        if one.is_none_or(|one| one.number != self.number) {
            return None;
        }
        let one = state.all.remove(&self.full);
        state.finishing.insert(self.number, self.full.clone());
        one.map(|one| one.chain)
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        let mut state = self.checks.lock();
        state.finishing.remove(&self.number);
        let one = state.all.get_mut(&self.full);
        let one = one.filter(|one| one.number == self.number && one.stage == Stage::Looking);
        if let Some(one) = one {
            one.stage = Stage::Failed;
            if state.all.len() > Checks::KEPT && state.count(Stage::Failed) > Checks::KEPT {
                state.all.remove(&self.full);
                state.given_up += 1;
                warn!(
                    "{:?}: whether another client has changed it meanwhile is not looked at any more: too many wait",
                    self.full
                );
            }
        }
        drop(state);
        self.checks.ended.notify_waiters();
    }
}
