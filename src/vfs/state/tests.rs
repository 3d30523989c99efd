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
        came: Came::at(u64::from(number)),
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

fn rules() -> impl Strategy<Value = Replacing> {
    (any::<bool>(), 0u64..30).prop_map(|(all, within_ms)| Replacing {
        all,
        within_ms,
        now_ms: 40,
    })
}

fn handle(number: u8) -> Fh {
    Fh(u64::from(number) + 7)
}

proptest! {
    /// Only versions that this mount has made, and that nobody closed or that have a twin, ever go; and what
    /// may exist is looked for until a success has told of it.
    #[test]
    fn nothing_of_others_goes_and_nothing_that_may_exist_is_forgotten(
        foreign: bool, all in prop::collection::vec(events(), 0..40), rule in rules(),
    ) {
        let mut state = if foreign {
            FileState::listed(stored(0, Maker::Other))
        } else {
            FileState::made(0)
        };
        // Kept beside it: who has made what, and what may exist.
        let mut ours = std::collections::HashSet::new();
        let mut lost = 0;
        // What this mount has shown under the name.
        let mut shown = std::collections::HashSet::new();
        for (number, event) in (1u32..).zip(all) {
            let before = state.stored().map(|stored| stored.id.clone());
            shown.extend(before.clone());
            let mut check = |superseded: Superseded, copied: bool, was: Option<Stored>| {
                if let Some(old) = &superseded.old {
                    let was = was.expect("something was there");
                    prop_assert_eq!(old, &was.id);
                    prop_assert!(ours.contains(old), "{:?} is not ours", old);
                    prop_assert!(copied || was.intermediate());
                }
                for replaced in &superseded.replaced {
                    prop_assert!(shown.contains(replaced), "{:?} was never shown", replaced);
                    prop_assert!(rule.all || (rule.any() && ours.contains(replaced)));
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
                    let superseded = state.committed(stored(number, Maker::Other), why, writing, rule);
                    let standing = state.stored().map(|stored| stored.maker);
                    let replaces = !superseded.replaced.is_empty();
                    prop_assert!(!replaces || standing == Some(Maker::Us(Standing::Closed)));
                    check(superseded, false, was)?;
                    prop_assert!(writing || !state.stored().expect("there").intermediate());
                }
                Event::Copied if before.is_some() => {
                    let superseded = state.copied(stored(number, Maker::Other), rule);
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
                    let superseded = state.moved(Leaves::Nothing, Vec::new(), 0);
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
    let mut state = FileState::made(0);
    state.written(Some(handle(1)), true);
    state.committed(
        stored(1, Maker::Other),
        Why::Flushed(handle(1)),
        true,
        Replacing::default(),
    );
    // The same handle writes on: nobody closed the file in that state.
    state.written(Some(handle(1)), true);
    let superseded = state.committed(
        stored(2, Maker::Other),
        Why::Flushed(handle(1)),
        true,
        Replacing::default(),
    );
    assert_eq!(superseded.old, Some(stored(1, Maker::Other).id));
    // Another one does: somebody did.
    state.written(Some(handle(2)), true);
    let superseded = state.committed(
        stored(3, Maker::Other),
        Why::Closed,
        false,
        Replacing::default(),
    );
    assert_eq!(superseded.old, None);
}

#[test]
fn what_may_lie_under_the_old_name_is_forgotten_with_the_rename() {
    let mut state = FileState::made(0);
    state.outcome_unknown(Lost::default());
    assert_eq!(state.lost().len(), 1);
    // The removal of the old name looks for it.
    state.renamed_to(stored(2, Maker::Other));
    assert!(state.lost().is_empty());
    assert!(state.stored().is_some_and(Stored::ours));
}

const ALL: Replacing = Replacing {
    all: true,
    within_ms: 0,
    now_ms: 0,
};

#[test]
fn what_is_replaced_goes_once_somebody_has_closed_what_replaces_it() {
    let id = |number| stored(number, Maker::Other).id;
    let mut state = FileState::listed(stored(1, Maker::Other));
    state.written(Some(handle(1)), true);
    // In the middle of writing, the old content is all that a crash would leave.
    let superseded = state.committed(stored(2, Maker::Other), Why::Provisional, true, ALL);
    assert!(superseded.replaced.is_empty());
    state.written(Some(handle(1)), true);
    let superseded = state.committed(stored(3, Maker::Other), Why::Flushed(handle(1)), true, ALL);
    assert_eq!(superseded.old, Some(id(2)));
    assert!(superseded.replaced.is_empty() && state.take_replaced().is_empty());
    state.released(handle(1), false);
    assert_eq!(state.take_replaced(), [id(1)]);
    assert!(state.take_replaced().is_empty(), "each is told once");
    let superseded = state.committed(stored(4, Maker::Other), Why::Closed, false, ALL);
    assert_eq!(superseded.replaced, [id(3)]);
}

#[test]
fn what_was_to_be_replaced_stays_when_the_file_leaves_the_name() {
    let mut state = FileState::listed(stored(1, Maker::Other));
    state.committed(stored(2, Maker::Other), Why::Provisional, true, ALL);
    state.renamed_to(stored(3, Maker::Other));
    assert!(state.take_replaced().is_empty());
    let mut state = FileState::made(0);
    state.moved(Leaves::Name(None), vec![stored(1, Maker::Other).id], 0);
    let superseded = state.committed(stored(2, Maker::Other), Why::Closed, false, ALL);
    assert_eq!(superseded.replaced, [stored(1, Maker::Other).id]);
}

#[test]
fn young_is_what_this_mount_has_made_lately_whatever_name_it_had_then() {
    let rule = Replacing {
        all: false,
        within_ms: 5_000,
        now_ms: 20_000,
    };
    let made = |ms, maker| Stored {
        uploaded_ms: ms,
        ..stored(1, maker)
    };
    let ours = Maker::Us(Standing::Closed);
    assert!(made(15_001, ours).goes_when_replaced(rule));
    assert!(!made(15_000, ours).goes_when_replaced(rule));
    assert!(!made(19_999, Maker::Other).goes_when_replaced(rule));
    assert!(!made(19_999, ours).goes_when_replaced(Replacing::default()));
    // Copies of older contents, and of others', are no younger than these.
    for (source, young) in [
        (made(18_000, ours), true),
        (made(1_000, ours), false),
        (made(18_000, Maker::Other), false),
    ] {
        let mut copy = made(19_000, ours);
        copy.as_old_as(&source, rule);
        assert_eq!(copy.goes_when_replaced(rule), young);
        assert!(
            copy.goes_when_renamed(20_000, true),
            "no more is noted than needed"
        );
    }
}
