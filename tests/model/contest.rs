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

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use steps::{Step, generate};

use crate::shorten::{caught, shorten, told};

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
    let mut fails = |steps: &[Step]| caught(|| world::run(manner, steps).err());
    let first = fails(&steps)?;
    let (steps, failure) = shorten(steps, first, SHORTENING, &mut fails);
    Some(told(seed, &format!("{failure}\n{manner:?}"), &steps))
}
