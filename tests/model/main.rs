//! Random sequences of filesystem operations, compared step by step with a reference in memory.
//!
//! The same sequences run on the core without a kernel (`core`), on a mounted path, and, to prove
//! the reference itself right, in a plain directory of this machine. Where two write, and calls end without an answer
//! (`contest`), no reference can say what comes of it, but what must be true all the same.
//!
//! A failure prints its seed and the shortest sequence that still fails. Environment:
//! `B2FUSE_MODEL_SEED` runs that one seed, `B2FUSE_MODEL_SEQUENCES` that many sequences per test.
#![allow(clippy::unwrap_used)] // a test may die where it stands

#[path = "../support/mod.rs"]
mod support;

mod backend;
mod contest;
mod core;
mod operation;
mod path;
mod reference;
mod run;
mod settings;
mod shorten;

use std::time::Duration;

use operation::Scale;

#[test]
fn the_reference_agrees_with_linux() {
    run::sequences(400, 1, |seed| {
        run::one(seed, 60, Scale::Small, &mut path::Directory::new);
    });
}

#[test]
fn the_core_agrees_with_the_reference() {
    run::pairs(2500, 2, || {
        let account = core::Account::new();
        move |seed| {
            run::one(seed, 50, Scale::Small, &mut || {
                core::Core::new(&account, "")
            });
        }
    });
}

#[test]
fn the_core_agrees_while_memory_is_short_and_files_are_large() {
    let account = core::Account::new();
    run::sequences(12, 3, |seed| {
        run::one(seed, 40, Scale::Large, &mut || {
            core::Core::new(&account, "")
        });
    });
}

#[test]
fn the_core_agrees_when_everything_is_asked_anew() {
    let account = core::Account::new();
    run::sequences(300, 4, |seed| {
        run::one(seed, 50, Scale::Small, &mut || {
            core::Core::new(&account, "").without_memory_of_names()
        });
    });
}

/// What is left at the end is compared by a second reader after the drain.
#[test]
fn the_core_agrees_when_it_stores_later() {
    run::pairs(1000, 7, || {
        let account = core::Account::new();
        move |seed| {
            run::one(seed, 50, Scale::Small, &mut || {
                core::Core::new(&account, "").storing_later(Duration::from_secs(3600))
            });
        }
    });
}

/// Whatever goes because it was replaced, nobody misses it.
#[test]
fn the_core_agrees_when_what_is_replaced_goes() {
    let account = core::Account::new();
    run::sequences(300, 10, |seed| {
        run::one(seed, 50, Scale::Small, &mut || {
            let core = core::Core::new(&account, "").replacing();
            match seed % 3 {
                0 => core.storing_later(Duration::from_millis(1 + seed % 7)),
                _ => core,
            }
        });
    });
}

/// Uploads are under way while everything else happens.
#[test]
fn the_core_agrees_while_it_stores_in_the_background() {
    let account = core::Account::slow(Duration::from_millis(2));
    run::sequences(150, 8, |seed| {
        run::one(seed, 50, Scale::Small, &mut || {
            core::Core::new(&account, "").storing_later(Duration::from_millis(1 + seed % 7))
        });
    });
}

#[test]
fn the_core_agrees_when_it_stores_large_files_later() {
    let account = core::Account::new();
    run::sequences(12, 9, |seed| {
        run::one(seed, 40, Scale::Large, &mut || {
            core::Core::new(&account, "").storing_later(Duration::from_millis(5))
        });
    });
}

#[test]
fn the_core_agrees_under_a_prefix() {
    let account = core::Account::new();
    run::sequences(200, 5, |seed| {
        run::one(seed, 50, Scale::Small, &mut || {
            core::Core::new(&account, "a/b c/")
        });
    });
}

#[test]
fn a_mount_agrees_with_the_reference() {
    run::sequences(40, 6, |seed| {
        run::one(seed, 80, Scale::Small, &mut path::Mounted::new);
    });
}

#[test]
fn two_writers_and_unknown_outcomes_lose_nothing() {
    contest::sequences(150);
}

#[test]
#[ignore = "takes a quarter of an hour; tests/run --all"]
fn two_writers_and_unknown_outcomes_lose_nothing_at_length() {
    contest::sequences(10_000);
}
