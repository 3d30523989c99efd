//! Runs sequences on a backend and on the reference.

use crate::backend::Backend;
use crate::operation::{Operation, Scale, generate};
use crate::reference::{Answer, Kind, Outcome, Reference};
use crate::shorten::{caught, shorten, told};
use crate::support::tree::first_difference;

/// What is written to a removed file stays in memory, and may be too much for it.
const OUTGROWN: &str = "ENOSPC: No space left on device found";

/// How many shorter sequences are tried once one has failed.
const SHORTENING: usize = 400;

/// Runs `count` sequences (or as many as the environment says), each with a seed of its own.
pub(crate) fn sequences(count: u64, test: u64, run: impl FnMut(u64)) {
    every(1, 0, count, test, run);
}

/// Two sequences at a time: no other test is left to run beside a long one. `runner` is made for each of both.
pub(crate) fn pairs<R: FnMut(u64)>(count: u64, test: u64, runner: impl Fn() -> R + Sync) {
    let runner = &runner;
    std::thread::scope(|scope| {
        for first in 0..2 {
            scope.spawn(move || every(2, first, count, test, runner()));
        }
    });
}

fn every(step: usize, first: u64, count: u64, test: u64, mut run: impl FnMut(u64)) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect(name))
    };
    if let Some(seed) = number("B2FUSE_MODEL_SEED") {
        if first == 0 {
            run(seed);
        }
        return;
    }
    let count = number("B2FUSE_MODEL_SEQUENCES").unwrap_or(count);
    for index in (first..count).step_by(step) {
        run(test * 1_000_000_000 + index);
    }
}

/// Runs one sequence; panics with the seed and the shortest sequence that fails.
pub(crate) fn one<B: Backend>(seed: u64, len: usize, scale: Scale, new: &mut dyn FnMut() -> B) {
    let operations = generate(seed, len, scale);
    let Some(first) = fails(&operations, new) else {
        return;
    };
    eprintln!("seed {seed} fails, shortening: {first}");
    let mut again = |operations: &[Operation]| fails(operations, new);
    let (operations, failure) = shorten(operations, first, SHORTENING, &mut again);
    panic!("{}", told(seed, &failure, &operations));
}

/// The first disagreement, in words.
fn fails<B: Backend>(operations: &[Operation], new: &mut dyn FnMut() -> B) -> Option<String> {
    caught(|| {
        let mut backend = new();
        let mut reference = Reference::new();
        for (index, operation) in operations.iter().enumerate() {
            if let Err(difference) = step(&mut backend, &mut reference, operation) {
                if difference.ends_with(OUTGROWN) && operation.writes_by_descriptor() {
                    return None;
                }
                let messages = backend.messages();
                return Some(format!(
                    "at {index}, {operation:?}: {difference}\n{messages}"
                ));
            }
        }
        for last in [Operation::Compare, Operation::Remount] {
            if let Err(difference) = step(&mut backend, &mut reference, &last) {
                let messages = backend.messages();
                return Some(format!("at the end, {last:?}: {difference}\n{messages}"));
            }
        }
        None
    })
}

fn step(
    backend: &mut dyn Backend,
    reference: &mut Reference,
    operation: &Operation,
) -> Result<(), String> {
    if !matches!(operation, Operation::Compare) {
        let (expected, found) = (reference.apply(operation), backend.apply(operation));
        agree(&expected, &found)?;
    }
    if matches!(operation, Operation::Compare | Operation::Remount) {
        return everything(backend, reference, "");
    }
    Ok(())
}

/// Lists, stats and reads the whole tree on both sides.
fn everything(
    backend: &mut dyn Backend,
    reference: &mut Reference,
    path: &str,
) -> Result<(), String> {
    let mut ask = |operation: Operation| {
        let expected = reference.apply(&operation);
        let found = backend.apply(&operation);
        agree(&expected, &found).map_err(|difference| format!("{operation:?}: {difference}"))?;
        Ok::<_, String>(expected)
    };
    let name = path.to_owned();
    let stat = ask(Operation::Stat { name: name.clone() })?;
    let Ok(Answer::Stat(stat)) = stat else {
        return Ok(());
    };
    if !name.is_empty() && matches!(stat.kind, Kind::File | Kind::Directory) {
        let _agreed = ask(Operation::Xattrs { name: name.clone() })?;
    }
    match stat.kind {
        Kind::File => return ask(Operation::Read { name }).map(|_| ()),
        Kind::Symlink => return ask(Operation::Readlink { name }).map(|_| ()),
        Kind::Fifo => return Ok(()),
        Kind::Directory => {}
    }
    if let Ok(Answer::Names(names)) = ask(Operation::List { name })? {
        for child in names {
            let child = if path.is_empty() {
                child
            } else {
                format!("{path}/{child}")
            };
            everything(backend, reference, &child)?;
        }
    }
    Ok(())
}

/// `expected` with an unknown time agrees with every time.
fn agree(expected: &Outcome, found: &Outcome) -> Result<(), String> {
    match (expected, found) {
        (Ok(Answer::Bytes(a)), Ok(Answer::Bytes(b))) => first_difference(a, b).map_or(Ok(()), Err),
        (Ok(Answer::Stat(a)), Ok(Answer::Stat(b))) => {
            let mut b = b.clone();
            if a.mtime.is_none() {
                b.mtime = None;
            }
            if *a == b {
                Ok(())
            } else {
                Err(format!("{a:?} expected, {b:?} found"))
            }
        }
        (Err(a), Err(b)) if a != b => Err(format!(
            "{} expected, {} found",
            nix::errno::Errno::from_raw(*a),
            nix::errno::Errno::from_raw(*b)
        )),
        (a, b) if a == b => Ok(()),
        (a, b) => Err(format!("{} expected, {} found", brief(a), brief(b))),
    }
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Ok(Answer::Bytes(bytes)) => format!("{} bytes", bytes.len()),
        Ok(answer) => format!("{answer:?}"),
        Err(errno) => nix::errno::Errno::from_raw(*errno).to_string(),
    }
}
