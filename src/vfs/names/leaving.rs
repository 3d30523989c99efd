//! Names that have left the tree while B2 still has them, and removals that have failed.
//!
//! A removal goes on in the background, so a listing may still show the name: until B2 has
//! acknowledged, every row of it is ignored, and afterwards the rows of listings that began before.
//! A name that ends with `/` stands for all that is below it. [`Leaving`] lives in the tree, under
//! its lock; [`Failures`] has a lock of its own, taken last.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::vfs::Error;
use crate::vfs::kept::Kept;
use crate::vfs::names::tree::Tick;

/// Full names that leave or have left.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Leaving {
    names: BTreeMap<Box<str>, Stage>,
    under_way: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many removals are: who renames a file away, makes another one and renames that leaves two.
    UnderWay(u32),
    Acknowledged(Tick),
}

impl Stage {
    fn under_way(self) -> bool {
        matches!(self, Self::UnderWay(_))
    }
}

impl Leaving {
    /// B2 is asked to remove a name; `ended` or `failed` must follow.
    pub(in crate::vfs) fn begin(&mut self, full: &str) {
        self.under_way += 1;
        match self.names.get_mut(full) {
            Some(Stage::UnderWay(times)) => *times += 1,
            _ => drop(self.names.insert(full.into(), Stage::UnderWay(1))),
        }
    }

    /// B2 has removed it at `now`; `remember` as long as listings are under way.
    pub(in crate::vfs) fn ended(&mut self, full: &str, now: Tick, remember: bool) {
        self.failed(full);
        if remember && !self.names.contains_key(full) {
            self.names.insert(full.into(), Stage::Acknowledged(now));
        }
    }

    /// B2 still has it.
    pub(in crate::vfs) fn failed(&mut self, full: &str) {
        let Some(Stage::UnderWay(times)) = self.names.get_mut(full) else {
            return;
        };
        self.under_way -= 1;
        *times -= 1;
        if *times == 0 {
            self.names.remove(full);
        }
    }

    /// No listing is under way any more.
    pub(in crate::vfs) fn forget_acknowledged(&mut self) {
        if self.names.values().any(|stage| !stage.under_way()) {
            self.names.retain(|_, stage| stage.under_way());
        }
    }

    /// How many removals are under way.
    pub(in crate::vfs) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether any are, of names that begin so, or with `direct` stand right there.
    pub(in crate::vfs) fn any_in(&self, prefix: &str, direct: bool) -> bool {
        self.under_way > 0
            && beneath(&self.names, prefix, direct).any(|(_, stage)| stage.under_way())
    }

    /// Names of removals under way.
    pub(in crate::vfs) fn names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter(|(_, stage)| stage.under_way())
            .map(|(name, _)| &**name)
    }

    /// Whether there is nothing that a row could be ignored for.
    pub(in crate::vfs) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a row of this very name is to be ignored in a listing that began at `began`.
    pub(in crate::vfs) fn overrules(&self, full: &str, began: Tick) -> bool {
        match self.names.get(full) {
            Some(Stage::UnderWay(_)) => true,
            Some(Stage::Acknowledged(at)) => *at > began,
            None => false,
        }
    }

    /// Whether all rows below a directory are to be ignored, because it leaves or one above it does.
    pub(in crate::vfs) fn overrules_all(&self, dir: &str, began: Tick) -> bool {
        !self.names.is_empty()
            && dir
                .match_indices('/')
                .any(|(at, _)| self.overrules(&dir[..=at], began))
    }
}

/// Entries of a directory's full name (empty, or ending with `/`): all below it, or its own.
fn beneath<'a, T>(
    map: &'a BTreeMap<Box<str>, T>,
    prefix: &'a str,
    direct: bool,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .map(|(name, value)| (&**name, value))
        .take_while(move |(name, _)| name.starts_with(prefix))
        .filter(move |(name, _)| {
            !direct || !name[prefix.len()..].trim_end_matches('/').contains('/')
        })
}

/// Removals and renames that B2 refused when their callers had gone, until somebody can be told.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Failures(Mutex<FailedNames>);

#[derive(Debug, Default)]
struct FailedNames {
    untold: BTreeMap<Box<str>, Untold>,
    /// Others, for which there was no room.
    more: u64,
    careful: bool,
}

#[derive(Debug)]
struct Untold {
    error: Error,
    /// It was a rename from the first name to the second.
    rename: Option<Box<(String, String)>>,
}

/// A failure that nobody has been told of, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs) struct Failed {
    pub(in crate::vfs) full: String,
    /// It was to be renamed to this, not to be removed.
    pub(in crate::vfs) renamed_to: Option<String>,
    pub(in crate::vfs) error: String,
}

impl FailedNames {
    fn note(&mut self, full: &str, untold: Untold) {
        if self.untold.len() < Kept::<String>::MOST || self.untold.contains_key(full) {
            self.untold.insert(full.into(), untold);
        } else {
            self.more += 1;
        }
    }
}

impl Failures {
    /// Notes a failure; further removals are waited for.
    pub(in crate::vfs) fn add(&self, full: &str, error: Error) {
        let mut state = self.state();
        state.careful = true;
        let rename = None;
        state.note(full, Untold { error, rename });
    }

    /// Whether nobody has been told yet of the failure of this name.
    pub(in crate::vfs) fn is_untold(&self, full: &str) -> bool {
        self.state().untold.contains_key(full)
    }

    /// The failure of this name, for somebody who is told by that.
    pub(in crate::vfs) fn take(&self, full: &str) -> Option<Error> {
        let told = self.state().untold.remove(full)?;
        Some(told.error)
    }

    /// Whether there is one that nobody has been told of, of a name right in a directory.
    pub(in crate::vfs) fn any_untold_in(&self, dir: &str) -> bool {
        beneath(&self.state().untold, dir, true).next().is_some()
    }

    /// Notes for whoever asks a removal that went well but met something that was not seen here.
    pub(in crate::vfs) fn tell_of(&self, full: &str, error: Error) {
        let rename = None;
        self.state().note(full, Untold { error, rename });
    }

    /// Notes for whoever asks for a name, or a directory that it is in, that a rename has failed.
    pub(in crate::vfs) fn tell_of_rename(
        &self,
        full: &str,
        (from, to): (&str, &str),
        error: Error,
    ) {
        let rename = Some(Box::new((from.to_owned(), to.to_owned())));
        self.state().note(full, Untold { error, rename });
    }

    /// Somebody has been told.
    pub(in crate::vfs) fn told(&self, full: &str) {
        self.state().untold.remove(full);
    }

    /// Further removals are waited for; of the name that failed nobody needs to be told.
    pub(in crate::vfs) fn beware(&self) {
        self.state().careful = true;
    }

    /// Whether removals have to be waited for, because the last one failed.
    pub(in crate::vfs) fn careful(&self) -> bool {
        self.state().careful
    }

    /// A removal that was waited for has succeeded.
    pub(in crate::vfs) fn recovered(&self, full: &str) {
        let mut state = self.state();
        state.careful = false;
        state.untold.remove(full);
    }

    /// The first failure below a directory, or of a name in it; it tells for all of them.
    pub(in crate::vfs) fn tell(&self, prefix: &str, direct: bool) -> Option<Error> {
        let mut state = self.state();
        if state.untold.is_empty() {
            return None;
        }
        let names: Vec<Box<str>> = beneath(&state.untold, prefix, direct)
            .map(|(name, _)| name.into())
            .collect();
        let mut first = None;
        for name in names {
            let told = state.untold.remove(&name);
            first = first.or(told.map(|told| told.error));
        }
        first
    }

    /// What nobody has been told; a rename once, whichever directories may ask for it.
    pub(in crate::vfs) fn untold(&self) -> Vec<Failed> {
        let state = self.state();
        let mut all: Vec<Failed> = Vec::new();
        for (name, Untold { error, rename }) in &state.untold {
            // Another client's version that stays is no failure: nothing was to be stored, and the log has said it.
            if matches!(error, Error::Stale) {
                continue;
            }
            let (full, renamed_to) = match rename.as_deref() {
                Some((from, to)) => (from.clone(), Some(to.clone())),
                None => (String::from(&**name), None),
            };
            let error = error.to_string();
            let failed = Failed {
                full,
                renamed_to,
                error,
            };
            if failed.renamed_to.is_none() || !all.contains(&failed) {
                all.push(failed);
            }
        }
        if state.more > 0 {
            all.push(Failed {
                full: "...".to_owned(),
                renamed_to: None,
                error: format!("{} more names could not be removed", state.more),
            });
        }
        all
    }

    fn state(&self) -> MutexGuard<'_, FailedNames> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ignored_until_b2_has_acknowledged_and_then_in_older_listings() {
        let mut leaving = Leaving::default();
        leaving.begin("d/f");
        assert!(leaving.overrules("d/f", 0) && leaving.overrules("d/f", 99));
        assert!(!leaving.overrules("d/g", 0));
        leaving.ended("d/f", 10, true);
        assert!(leaving.overrules("d/f", 9) && !leaving.overrules("d/f", 10));
        assert_eq!(leaving.under_way(), 0);
        leaving.forget_acknowledged();
        assert!(leaving.is_empty());
        leaving.begin("d/f");
        leaving.failed("d/f");
        assert!(!leaving.overrules("d/f", 0) && leaving.under_way() == 0);
    }

    #[test]
    fn a_name_that_leaves_twice_is_ignored_until_both_have_ended() {
        let mut leaving = Leaving::default();
        leaving.begin("f");
        leaving.begin("f");
        assert_eq!(leaving.under_way(), 2);
        leaving.ended("f", 1, true);
        assert!(leaving.overrules("f", 5) && leaving.any_in("", true));
        leaving.ended("f", 6, true);
        assert!(leaving.overrules("f", 5) && !leaving.overrules("f", 6));
        assert_eq!(leaving.under_way(), 0);
    }

    #[test]
    fn a_directory_takes_all_that_is_below_it_along() {
        let mut leaving = Leaving::default();
        leaving.begin("a/b/");
        for dir in ["a/b/", "a/b/c/", "a/b/c/d/"] {
            assert!(leaving.overrules_all(dir, 5), "{dir}");
        }
        for dir in ["", "a/", "a/bc/", "b/"] {
            assert!(!leaving.overrules_all(dir, 5), "{dir}");
        }
        leaving.ended("a/b/", 7, true);
        assert!(leaving.overrules_all("a/b/c/", 6) && !leaving.overrules_all("a/b/c/", 7));
    }

    #[test]
    fn who_asks_for_a_directory_is_told_of_what_is_in_it() {
        let mut leaving = Leaving::default();
        leaving.begin("d/e/f");
        assert!(leaving.any_in("d/", false) && !leaving.any_in("d/", true));
        assert!(leaving.any_in("d/e/", true) && leaving.any_in("", false));
        assert!(!leaving.any_in("d/e/f/", false) && !leaving.any_in("c/", false));
        leaving.ended("d/e/f", 3, true);
        assert!(!leaving.any_in("", false));

        let failures = Failures::default();
        for name in ["d/e/f", "d/g", "x"] {
            failures.add(name, Error::Access);
        }
        assert!(failures.careful());
        assert!(failures.tell("d/", true).is_some() && failures.tell("d/", true).is_none());
        assert_eq!(failures.untold().len(), 2);
        assert!(failures.tell("d/", false).is_some());
        failures.recovered("x");
        assert!(failures.untold().is_empty() && !failures.careful());
    }

    #[test]
    fn a_rename_that_failed_is_told_in_both_directories_and_listed_once() {
        let failures = Failures::default();
        for name in ["d/f", "e/g"] {
            failures.tell_of_rename(name, ("d/f", "e/g"), Error::Access);
        }
        assert!(failures.any_untold_in("d/") && failures.any_untold_in("e/"));
        let untold = failures.untold();
        assert_eq!(untold.len(), 1, "{untold:?}");
        assert_eq!(untold[0].full, "d/f");
        assert_eq!(untold[0].renamed_to.as_deref(), Some("e/g"));
    }

    #[test]
    fn failures_that_nobody_asks_for_take_a_bounded_memory() {
        let failures = Failures::default();
        let most = Kept::<String>::MOST;
        for n in 0..most + 7 {
            failures.add(&format!("d/{n}"), Error::Access);
            failures.add("d/0", Error::Access);
        }
        let untold = failures.untold();
        assert_eq!(untold.len(), most + 1);
        assert_eq!(untold[most].error, "7 more names could not be removed");
    }
}
