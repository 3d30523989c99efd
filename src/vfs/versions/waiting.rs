//! Purges that wait for the last reader of a version, found by that version, so that a close looks at no others.
//!
//! What could not be deleted for another reason is tried again with them, or at the end of the mount. Where too much
//! waits, the oldest gives way (as in `kept`).

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};

use super::purge::Purge;
use crate::b2::FileId;
use crate::vfs::kept::Kept;

/// Purges that wait.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Waiting {
    state: Mutex<WaitingPurges>,
}

#[derive(Debug, Default)]
struct WaitingPurges {
    /// The last number given.
    last: u64,
    all: BTreeMap<u64, Purge>,
    by_version: HashMap<FileId, Vec<u64>>,
    /// Versions whose last hold will wake their purges.
    watched: HashSet<FileId>,
    weight: usize,
    given_up: u64,
}

impl WaitingPurges {
    fn remove(&mut self, number: u64) -> Option<Purge> {
        let purge = self.all.remove(&number)?;
        self.weight = self.weight.saturating_sub(purge.weight());
        for id in purge.waits_for() {
            if let Some(numbers) = self.by_version.get_mut(id) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_version.remove(id);
                }
            }
        }
        Some(purge)
    }
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, WaitingPurges> {
        self.state.lock()
    }

    /// Adds one; tells those that give way to it.
    pub(super) fn add(&self, purge: Purge) -> Vec<Purge> {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.weight += purge.weight();
        for id in purge.waits_for() {
            state.by_version.entry(id.clone()).or_default().push(number);
        }
        state.all.insert(number, purge);
        let mut given_up = Vec::new();
        while state.weight > Kept::<Purge>::MOST && state.all.len() > 1 {
            let oldest = state.all.keys().next().copied();
            let Some(oldest) = oldest.and_then(|oldest| state.remove(oldest)) else {
                break;
            };
            state.given_up += 1;
            given_up.push(oldest);
        }
        given_up
    }

    /// Whether any waits for a version.
    pub(super) fn any_for(&self, id: &FileId) -> bool {
        self.state().by_version.contains_key(id)
    }

    /// Takes out those that wait for a version.
    pub(super) fn take(&self, id: &FileId) -> Vec<Purge> {
        let mut state = self.state();
        let numbers = state.by_version.get(id).cloned().unwrap_or_default();
        let taken = numbers
            .into_iter()
            .filter_map(|number| state.remove(number));
        taken.collect()
    }

    pub(super) fn take_all(&self) -> Vec<Purge> {
        let mut state = self.state();
        state.by_version.clear();
        state.weight = 0;
        std::mem::take(&mut state.all).into_values().collect()
    }

    /// Whether somebody has to see to it that the last hold of a version wakes its purges.
    pub(super) fn watch(&self, id: &FileId) -> bool {
        self.state().watched.insert(id.clone())
    }

    pub(super) fn unwatch(&self, id: &FileId) {
        self.state().watched.remove(id);
    }

    /// How many have given way so far.
    pub(in crate::vfs) fn given_up(&self) -> u64 {
        self.state().given_up
    }
}
