//! The state of a file under random transitions: what may be deleted, and what is never forgotten.

use proptest::prelude::*;

use super::*;
use crate::b2::FileInfo;

fn stored(number: u32, maker: Maker) -> Stored {
    Stored {
        id: FileId::new(&format!("4_z1_f{number}")),
        size: u64::from(number),
        hash: Hash::Unknown,
        maker,
        uploaded_ms: u64::from(number),
        older_s: 0,
        customer_key: false,
    }
}

/// What can happen to a file.
#[derive(Debug, Clone, Copy)]
enum Event {
    Written(Option<u8>),
    Emptied,
    Committed(u8, bool),
    Copied,
    Unknown,
    Flushed(u8, bool),
    Released(u8, bool),
    Moved,
    RenamedTo,
    Taken,
}

fn events() -> impl Strategy<Value = Event> {
    let handle = || 0u8..3;
    prop_oneof![
        prop::option::of(handle()).prop_map(Event::Written),
        Just(Event::Emptied),
        (handle(), any::<bool>()).prop_map(|(by, writing)| Event::Committed(by, writing)),
        Just(Event::Copied),
        Just(Event::Unknown),
        (handle(), any::<bool>()).prop_map(|(by, on)| Event::Flushed(by, on)),
        (handle(), any::<bool>()).prop_map(|(by, dirty)| Event::Released(by, dirty)),
        Just(Event::Moved),
        Just(Event::RenamedTo),
        Just(Event::Taken),
    ]
}

fn handle(number: u8) -> Fh {
    Fh(u64::from(number) + 7)
}

proptest! {
    /// Only versions that this mount has made, and that nobody closed or that have a twin, ever go; and what
    /// may exist is looked for until a success has told of it.
    #[test]
    fn nothing_of_others_goes_and_nothing_that_may_exist_is_forgotten(
        foreign: bool, all in prop::collection::vec(events(), 0..40),
    ) {
        let mut state = if foreign {
            FileState::listed(stored(0, Maker::Other))
        } else {
            FileState::made()
        };
        // Kept beside it: who has made what, and what may exist.
        let mut ours = std::collections::HashSet::new();
        let mut lost = 0;
        for (number, event) in (1u32..).zip(all) {
            let before = state.stored().map(|stored| stored.id.clone());
            let mut check = |superseded: Superseded, copied: bool, was: Option<Stored>| {
                if let Some(old) = &superseded.old {
                    let was = was.expect("something was there");
                    prop_assert_eq!(old, &was.id);
                    prop_assert!(ours.contains(old), "{:?} is not ours", old);
                    prop_assert!(copied || was.intermediate());
                }
                prop_assert_eq!(superseded.lost.len(), lost);
                lost = 0;
                ours.insert(stored(number, Maker::Other).id);
                Ok(())
            };
            let was = state.stored().cloned();
            match event {
                Event::Written(by) => state.written(by.map(handle), true),
                Event::Emptied => state.emptied(false),
                Event::Committed(by, writing) => {
                    let why = if by == 0 { Why::Provisional } else { Why::Flushed(handle(by)) };
                    let superseded = state.committed(stored(number, Maker::Other), why, writing);
                    check(superseded, false, was)?;
                    prop_assert!(writing || !state.stored().expect("there").intermediate());
                }
                Event::Copied if before.is_some() => {
                    let superseded = state.copied(stored(number, Maker::Other));
                    check(superseded, true, was)?;
                }
                Event::Copied => {}
                Event::Unknown => {
                    let info = FileInfo::from([("n".to_owned(), number.to_string())]);
                    state.outcome_unknown(Lost { info, ..Lost::default() });
                    lost = (lost + 1).min(16);
                }
                Event::Flushed(by, on) => state.flushed(handle(by), on),
                Event::Released(by, dirty) => drop(state.released(handle(by), dirty)),
                Event::Moved => {
                    let superseded = state.moved(Leaves::Nothing);
                    prop_assert_eq!(superseded.lost.len(), lost);
                    lost = 0;
                }
                Event::RenamedTo => {
                    state.renamed_to(stored(number, Maker::Other));
                    ours.insert(stored(number, Maker::Other).id);
                    lost = 0;
                }
                Event::Taken => {
                    state.taken(stored(number, Maker::Other));
                    lost = 0;
                }
            }
            prop_assert_eq!(state.lost().len(), lost);
            let asks = state.leaves() != Leaves::Nothing;
            prop_assert!(asks || (state.stored().is_none() && lost == 0));
            if let Some(stored) = state.stored().filter(|stored| stored.ours()) {
                prop_assert!(ours.contains(&stored.id));
            }
        }
    }
}

#[test]
fn a_temporary_file_leaves_nothing_under_its_old_name_and_an_older_one_its_version() {
    let ours = stored(1000, Maker::Us(Standing::Closed));
    let day = 24 * 60 * 60 * 1000;
    assert!(ours.goes_when_renamed(2000, true));
    assert!(!ours.goes_when_renamed(1000 + day, true));
    // Its content is nowhere else.
    assert!(!ours.goes_when_renamed(2000, false));
    assert!(!stored(1000, Maker::Other).goes_when_renamed(2000, true));
    assert!(stored(1000, Maker::Us(Standing::Open)).goes_when_renamed(1000 + day, false));
}

#[test]
fn closes_in_the_middle_of_writing_are_told_from_the_last_one() {
    let mut state = FileState::made();
    state.written(Some(handle(1)), true);
    state.committed(stored(1, Maker::Other), Why::Flushed(handle(1)), true);
    // The same handle writes on: nobody closed the file in that state.
    state.written(Some(handle(1)), true);
    let superseded = state.committed(stored(2, Maker::Other), Why::Flushed(handle(1)), true);
    assert_eq!(superseded.old, Some(stored(1, Maker::Other).id));
    // Another one does: somebody did.
    state.written(Some(handle(2)), true);
    let superseded = state.committed(stored(3, Maker::Other), Why::Closed, false);
    assert_eq!(superseded.old, None);
}

#[test]
fn what_may_lie_under_the_old_name_is_forgotten_with_the_rename() {
    let mut state = FileState::made();
    state.outcome_unknown(Lost::default());
    assert_eq!(state.lost().len(), 1);
    // The removal of the old name looks for it.
    state.renamed_to(stored(2, Maker::Other));
    assert!(state.lost().is_empty());
    assert!(state.stored().is_some_and(Stored::ours));
}
