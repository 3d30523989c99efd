//! Whether a page of a listing can be believed: the one check for all list calls.
//!
//! A listing that does not advance, goes in circles, leaves its prefix or never brings anything would
//! keep its reader for ever. [`Guard::page`] refuses such a page. It remembers the last
//! [`CHAINS`] places at which listings go on, with those that came before them, so that no reader
//! has to keep a record of its own. Its lock is held for map work only.
//!
//! Callers: `list`.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use super::call::Call;

/// Short and empty pages are legal (API §4.1); so many empty ones in a row are not a listing any more.
const EMPTY: u32 = 100;
/// Listings under way that are remembered.
const CHAINS: usize = 256;
/// Places that are remembered of one listing, where order alone does not tell (ids).
const PLACES: usize = 4096;

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) call: Call,
    pub(super) prefix: &'a str,
    /// Name and id; unfinished large files know only ids, and have no names here.
    pub(super) start: Place<'a>,
    pub(super) delimiter: bool,
    pub(super) max: u32,
}

/// Where a listing begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(super) struct Place<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) id: Option<&'a str>,
}

impl Place<'_> {
    fn is_none(self) -> bool {
        self.name.is_none() && self.id.is_none()
    }
}

/// A listing that goes on at a place.
#[derive(Debug, Clone)]
struct Chain {
    /// Call, prefix and place.
    at: u64,
    /// Places before, where names stand still.
    before: Vec<u64>,
    empty: u32,
}

/// The listings under way.
#[derive(Debug, Default)]
pub(super) struct Guard {
    hashes: RandomState,
    chains: Mutex<VecDeque<Chain>>,
}

impl Guard {
    /// Judges a page of `rows` names that says it goes on at `next`; the error tells what is wrong.
    pub(super) fn page<'a>(
        &self,
        asked: &Question<'_>,
        rows: impl ExactSizeIterator<Item = &'a str>,
        next: Place<'_>,
    ) -> Result<(), String> {
        let prefix = asked.prefix;
        let count = rows.len();
        if count > asked.max as usize {
            return Err(format!("asked for {} rows, B2 sent {count}", asked.max));
        }
        for name in rows {
            if !name.starts_with(prefix) {
                return Err(format!(
                    "asked for names that begin with {prefix:?}, B2 listed {name:?}"
                ));
            }
        }
        if next.is_none() {
            return Ok(());
        }
        if let Some(name) = next.name {
            if !name.starts_with(prefix) {
                return Err(format!(
                    "the listing of {prefix:?} leaves it: it goes on at {name:?}"
                ));
            }
            let start = asked.start.name.unwrap_or_default();
            // An empty page may tell the same place again; how often is counted below.
            if goes_back(start, name) || (name == start && next.id.is_none() && count > 0) {
                return Err(circles(prefix, name));
            }
        }
        self.follow(asked, count, next)
    }

    fn follow(&self, asked: &Question<'_>, count: usize, next: Place<'_>) -> Result<(), String> {
        let key = |place: Place<'_>| {
            self.hashes
                .hash_one((asked.call as usize, asked.prefix, asked.delimiter, place))
        };
        let (here, there) = (key(asked.start), key(next));
        let name = next.name.or(next.id).unwrap_or_default();
        let mut chains = self.chains.lock();
        let chain = chains.iter().rev().find(|chain| chain.at == here);
        let start = asked.start.name.unwrap_or_default();
        let moved = next.name.is_some_and(|name| advances(start, name));
        let (mut before, mut empty) = match chain {
            Some(chain) if moved => (Vec::new(), chain.empty),
            Some(chain) => (chain.before.clone(), chain.empty),
            None => (Vec::new(), 0),
        };
        before.push(here);
        if before.contains(&there) && !(there == here && count == 0) {
            return Err(circles(asked.prefix, name));
        }
        if before.len() > PLACES {
            before.remove(0);
        }
        empty = if count == 0 { empty + 1 } else { 0 };
        if empty >= EMPTY {
            return Err(format!(
                "B2 sent {empty} empty pages of {:?} in a row, the last of which goes on at {name:?}",
                asked.prefix
            ));
        }
        chains.retain(|chain| chain.at != there);
        if chains.len() >= CHAINS {
            chains.pop_front();
        }
        chains.push_back(Chain {
            at: there,
            before,
            empty,
        });
        Ok(())
    }
}

/// Whether one name is before another in the order of UTF-8 and in that of UTF-16: which of them B2 has beyond the basic
/// plane is not known (API §4.2).
fn advances(from: &str, to: &str) -> bool {
    from < to && from.encode_utf16().lt(to.encode_utf16())
}

fn goes_back(from: &str, to: &str) -> bool {
    advances(to, from)
}

fn circles(prefix: &str, at: &str) -> String {
    format!("B2 lists {prefix:?} in circles: it goes on at {at:?} again")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CHAINS, EMPTY, Guard, PLACES, Place, Question};
    use crate::b2::call::Call;

    fn names<'a>(prefix: &'a str, start: Option<&'a str>) -> Question<'a> {
        Question {
            call: Call::ListFileNames,
            prefix,
            start: at(start),
            delimiter: true,
            max: 1000,
        }
    }

    fn at(name: Option<&str>) -> Place<'_> {
        Place { name, id: None }
    }

    #[test]
    fn what_b2_does_is_believed() {
        let guard = Guard::default();
        let none: [&str; 0] = [];
        // Folder rows come twice; next names need not exist; pages may be empty.
        let asked = names("d/", None);
        assert_eq!(
            guard.page(&asked, ["d/a/"].into_iter(), at(Some("d/a/x "))),
            Ok(())
        );
        let asked = names("d/", Some("d/a/x "));
        assert_eq!(
            guard.page(&asked, ["d/a/"].into_iter(), at(Some("d/a/y"))),
            Ok(())
        );
        let asked = names("d/", Some("d/a/y"));
        assert_eq!(
            guard.page(&asked, none.into_iter(), at(Some("d/b"))),
            Ok(())
        );
        assert_eq!(guard.page(&asked, none.into_iter(), at(None)), Ok(()));
    }

    #[test]
    fn what_does_not_advance_leaves_or_exceeds_is_refused() {
        let guard = Guard::default();
        let rows = ["d/a"];
        let asked = names("d/", Some("d/b"));
        let none: [&str; 0] = [];
        let mut again = (0..EMPTY).map(|_| guard.page(&asked, none.into_iter(), at(Some("d/b"))));
        assert!(again.next().is_some_and(|said| said.is_ok()));
        assert!(again.any(|said| said.is_err()));
        for next in ["d/b", "d/a", "e", ""] {
            let asked = names("d/", Some("d/b"));
            let said = guard.page(&asked, rows.into_iter(), at(Some(next)));
            assert!(said.is_err(), "{next:?}");
        }
        let few = Question {
            max: 1,
            ..names("", None)
        };
        assert!(guard.page(&few, ["a", "b"].into_iter(), at(None)).is_err());
        assert!(
            guard
                .page(&names("d/", None), ["e"].into_iter(), at(None))
                .is_err()
        );
    }

    #[test]
    fn either_order_of_names_beyond_the_basic_plane_is_believed() {
        let rows = ["x"];
        for (start, next) in [("\u{ff01}", "\u{1f600}"), ("\u{1f600}", "\u{ff01}")] {
            let guard = Guard::default();
            let asked = names("", Some(start));
            let said = guard.page(&asked, rows.into_iter(), at(Some(next)));
            assert_eq!(said, Ok(()));
            // There and back is a circle in both.
            let asked = names("", Some(next));
            let said = guard.page(&asked, rows.into_iter(), at(Some(start)));
            assert!(said.is_err());
        }
    }

    #[test]
    fn ids_in_circles_are_seen() {
        let guard = Guard::default();
        let ids = ["1", "2", "3", "2"];
        let mut start = None;
        let mut outcome = Ok(());
        for id in ids {
            let asked = Question {
                call: Call::ListUnfinishedLargeFiles,
                start: Place {
                    name: None,
                    id: start,
                },
                ..names("", None)
            };
            let next = Place {
                name: None,
                id: Some(id),
            };
            outcome = guard.page(&asked, ["x"].into_iter(), next);
            start = Some(id);
        }
        assert!(outcome.expect_err("a circle").contains("circles"));
    }

    #[test]
    fn one_full_page_is_a_listing() {
        let guard = Guard::default();
        let asked = Question {
            max: 2,
            ..names("d/", None)
        };
        for _ in 0..2 {
            let said = guard.page(&asked, ["d/a", "d/b"].into_iter(), at(None));
            assert_eq!(said, Ok(()));
        }
    }

    #[test]
    fn a_circle_is_seen_beside_other_listings_of_which_there_may_be_many() {
        let guard = Guard::default();
        let page = |prefix: &str, start, next| {
            let asked = Question {
                call: Call::ListUnfinishedLargeFiles,
                start: Place {
                    name: None,
                    id: start,
                },
                ..names(prefix, None)
            };
            let next = Place {
                name: None,
                id: Some(next),
            };
            guard.page(&asked, [prefix].into_iter(), next)
        };
        assert_eq!(page("", None, "1"), Ok(()));
        assert_eq!(page("other", None, "1"), Ok(()));
        assert_eq!(page("", Some("1"), "2"), Ok(()));
        assert!(page("", Some("2"), "1").is_err());
        for listing in 0..2 * CHAINS {
            assert_eq!(page(&listing.to_string(), None, "1"), Ok(()));
        }
        assert_eq!(guard.chains.lock().len(), CHAINS);
    }

    #[test]
    fn no_more_is_remembered_of_a_listing_than_tells_circles() {
        let guard = Guard::default();
        let remembered = |start: Place<'_>, next: Place<'_>| {
            let asked = Question {
                call: Call::ListFileVersions,
                start,
                ..names("", None)
            };
            assert_eq!(guard.page(&asked, ["x"].into_iter(), next), Ok(()));
            let chains = guard.chains.lock();
            chains.back().expect("a listing").before.len()
        };
        let ids: Vec<String> = (0..PLACES + 20).map(|id| id.to_string()).collect();
        // Versions of one name, and then the next one.
        let mut start = at(None);
        for id in &ids {
            let next = Place {
                name: Some("a"),
                id: Some(id),
            };
            assert!(remembered(start, next) <= PLACES);
            start = next;
        }
        assert_eq!(remembered(start, at(Some("b"))), 1);
        assert_eq!(remembered(at(Some("b")), at(Some("c"))), 1);
    }

    #[test]
    fn empty_pages_come_to_an_end_and_others_reset_the_count() {
        let guard = Guard::default();
        let none: [&str; 0] = [];
        let place = |n: u32| format!("{n:09}");
        let mut start = None::<String>;
        for n in 0..3 * EMPTY {
            let next = place(n);
            let asked = names("", start.as_deref());
            let said = if n % 50 == 0 {
                guard.page(&asked, ["000000000"].into_iter(), at(Some(&next)))
            } else {
                guard.page(&asked, none.into_iter(), at(Some(&next)))
            };
            assert_eq!(said, Ok(()), "{n}");
            start = Some(next);
        }
        let mut said = Ok(());
        for n in 3 * EMPTY..5 * EMPTY {
            let next = place(n);
            said = guard.page(
                &names("", start.as_deref()),
                none.into_iter(),
                at(Some(&next)),
            );
            if said.is_err() {
                break;
            }
            start = Some(next);
        }
        assert!(said.expect_err("no end").contains("empty pages"));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_a_listing_ends(
            places in proptest::collection::vec(("[ab]{0,2}", proptest::option::of("[12]")), 1..5),
            empty in any::<bool>(),
        ) {
            let guard = Guard::default();
            let mut start: (Option<&str>, Option<&str>) = (None, None);
            let mut pages = 0;
            loop {
                let (name, id) = &places[pages % places.len()];
                let next = Place { name: Some(name), id: id.as_deref() };
                let asked = Question {
                    call: Call::ListFileVersions,
                    start: Place { name: start.0, id: start.1 },
                    ..names("", None)
                };
                let rows: &[&str] = if empty { &[] } else { &["a"] };
                if guard.page(&asked, rows.iter().copied(), next).is_err() {
                    break;
                }
                start = (Some(name), id.as_deref());
                pages += 1;
                prop_assert!(pages < 1000);
            }
        }
    }
}
