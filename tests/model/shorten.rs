//! What is told of a sequence that fails: the shortest one found that still does.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Leaves out what is not needed to fail: halves first, then single steps, no more often than `most`. `fails` tells why.
pub(crate) fn shorten<T: Clone>(
    mut steps: Vec<T>,
    mut failure: String,
    most: usize,
    fails: &mut dyn FnMut(&[T]) -> Option<String>,
) -> (Vec<T>, String) {
    let mut tries = 0;
    let mut size = steps.len() / 2;
    while size > 0 && tries < most {
        let mut from = 0;
        let mut shortened = false;
        while from < steps.len() && tries < most {
            let to = steps.len().min(from + size);
            let mut fewer = steps.clone();
            fewer.drain(from..to);
            tries += 1;
            match fails(&fewer) {
                Some(still) => {
                    steps = fewer;
                    failure = still;
                    shortened = true;
                }
                None => from = to,
            }
        }
        // Single steps once more, as long as that leaves one out.
        if !shortened || size > 1 {
            size /= 2;
        }
    }
    (steps, failure)
}

/// Runs a sequence; a panic is a failure, too.
pub(crate) fn caught(run: impl FnOnce() -> Option<String>) -> Option<String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        Some(format!("panic: {text}"))
    })
}

/// The failure in words: how to see it again, and by which steps.
pub(crate) fn told<T: Debug>(seed: u64, failure: &str, steps: &[T]) -> String {
    let listed: Vec<String> = (0..)
        .zip(steps)
        .map(|(index, step): (usize, _)| format!("{index:3}: {step:?}"))
        .collect();
    format!(
        "seed {seed} (B2FUSE_MODEL_SEED={seed}) fails: {failure}\nshortest sequence:\n{}",
        listed.join("\n")
    )
}

#[test]
fn what_is_not_needed_to_fail_is_left_out() {
    let mut fails = |steps: &[u32]| {
        (steps.contains(&3) && steps.contains(&17)).then(|| "three meets seventeen".to_owned())
    };
    let all: Vec<u32> = (0..30).collect();
    let (steps, failure) = shorten(all.clone(), "at first".to_owned(), 400, &mut fails);
    assert_eq!((steps, &*failure), (vec![3, 17], "three meets seventeen"));
    let (steps, _) = shorten(all, "at first".to_owned(), 1, &mut fails);
    assert_eq!(steps.len(), 30, "one try is not enough");
}
