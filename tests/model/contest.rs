//! Random sequences of two writers and of calls with unknown outcomes.
//!
//! The core (A) and a raw client with a session of its own (B) change the same names, one after the other and side by
//! side, while replies are lost and calls outlast A's time limits. No exact reference can say what must come of it; what
//! must be true instead is in `truth`. A failing sequence is printed with its seed, shortened as far as it still fails,
//! which is not sure to succeed: what happens behind the callers' backs differs from run to run.

mod mount;
mod steps;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use steps::{Manner, Step, generate};

/// Sequences at once: most of the time is spent waiting for time limits.
const SIDE_BY_SIDE: usize = 8;
const STEPS: usize = 30;
/// How many shorter sequences are tried once one has failed.
const SHORTENING: usize = 60;

/// Runs `count` sequences (or as many as the environment says), each with a seed of its own; panics with the first that
/// fails.
pub(crate) fn sequences(count: u64) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect(name))
    };
    if let Some(seed) = number("B2FUSE_MODEL_SEED") {
        // One sequence alone can be followed: RUST_LOG=b2fuse=debug.
        env_logger::try_init().ok();
        if let Some(failure) = one(seed) {
            panic!("{failure}");
        }
        return;
    }
    let count = number("B2FUSE_MODEL_SEQUENCES").unwrap_or(count);
    let next = AtomicU64::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while failed.lock().expect("no panic inside").is_none() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    if let Some(failure) = one(10_000_000_000 + index) {
                        failed
                            .lock()
                            .expect("no panic inside")
                            .get_or_insert(failure);
                    }
                }
            });
        }
    });
    if let Some(failure) = failed.into_inner().expect("no panic inside") {
        panic!("{failure}");
    }
}

/// Runs one sequence; what fails comes back with the seed and the shortest sequence found that fails.
fn one(seed: u64) -> Option<String> {
    let (manner, steps) = generate(seed, STEPS);
    let first = fails(manner, &steps)?;
    let (steps, failure) = shorten(manner, steps, first);
    let listed: Vec<String> = (0..)
        .zip(&steps)
        .map(|(index, step): (usize, _)| format!("{index:3}: {step:?}"))
        .collect();
    Some(format!(
        "seed {seed} (B2FUSE_MODEL_SEED={seed}) fails: {failure}\n{manner:?}\nshortest sequence:\n{}",
        listed.join("\n")
    ))
}

fn fails(manner: Manner, steps: &[Step]) -> Option<String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| world::run(manner, steps)));
    match attempt {
        Ok(outcome) => outcome.err(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words");
            Some(format!("panic: {text}"))
        }
    }
}

/// Leaves out what is not needed to fail: halves first, then single steps.
fn shorten(manner: Manner, mut steps: Vec<Step>, mut failure: String) -> (Vec<Step>, String) {
    let mut tries = 0;
    let mut size = steps.len() / 2;
    while size > 0 && tries < SHORTENING {
        let mut from = 0;
        while from < steps.len() && tries < SHORTENING {
            let mut fewer = steps.clone();
            fewer.drain(from..steps.len().min(from + size));
            tries += 1;
            match fails(manner, &fewer) {
                Some(still) => {
                    steps = fewer;
                    failure = still;
                }
                None => from += size,
            }
        }
        size /= 2;
    }
    (steps, failure)
}
