//! The original of pjdfstest: shell scripts that say `ok` or `not ok` of each of thousands of assertions.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Outcomes, expected, mount};
use crate::support::emulator::Emulator;
use crate::support::tools::{both, finish, program};

/// They mostly sleep.
const AT_ONCE: usize = 8;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|extension| extension == "t") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Reads what a script says. An assertion that it announced and does not tell of has failed; one marked
/// `TODO` is of something that Linux is known to do otherwise.
fn assertions(name: &str, said: &str) -> Outcomes {
    let mut told = BTreeMap::new();
    let mut announced = 0;
    for line in said.lines() {
        if let Some(count) = line.strip_prefix("1..") {
            announced = count.split(' ').next().unwrap_or("").parse().unwrap_or(0);
        }
        let (ok, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => match line.strip_prefix("ok ") {
                Some(rest) => (true, rest),
                None => continue,
            },
        };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number: u32 = number.parse().unwrap_or_else(|_| panic!("{name}: {line}"));
        let outcome = if ok || rest.contains("# TODO") {
            Ok(())
        } else {
            Err(rest.to_owned())
        };
        told.insert(number, outcome);
    }
    (1..=announced)
        .map(|number| {
            let silent = || Err("it said nothing of it".to_owned());
            let outcome = told.remove(&number).unwrap_or_else(silent);
            (format!("{name} {number}"), outcome)
        })
        .collect()
}

/// A list that names several assertions of a script in a line, `link/00.t 3,5-7: reason`, with a line for
/// each.
fn spread(list: &str) -> String {
    let mut all = String::new();
    for line in list.lines() {
        let Some((case, reason)) = line.split_once(": ") else {
            continue;
        };
        let Some((script, numbers)) = case.split_once(".t ") else {
            all = all + line + "\n";
            continue;
        };
        for range in numbers.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bound = |text: &str| text.parse::<u32>().expect("a number of an assertion");
            for number in bound(first)..=bound(last) {
                writeln!(all, "{script}.t {number}: {reason}").expect("a string grows");
            }
        }
    }
    all
}

#[test]
#[ignore = "needs a built checkout, named by PJDFSTEST_C"]
fn the_original_pjdfstest_fails_where_it_is_known_to_and_nowhere_else() {
    let checkout = std::env::var_os("PJDFSTEST_C").expect("PJDFSTEST_C names a built checkout");
    let tests = Path::new(&checkout).join("tests");
    let emulator = Emulator::on_disk();
    let mount = mount(&emulator, &std::env::temp_dir());
    let left = Mutex::new(VecDeque::from(scripts(&tests)));
    let next = || {
        left.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let outcomes = Mutex::new(Outcomes::new());
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let place = mount.path().join(worker.to_string());
            let (outcomes, next, tests) = (&outcomes, &next, &tests);
            scope.spawn(move || {
                fs::create_dir(&place).unwrap();
                while let Some(script) = next() {
                    let output = finish(program("sh").arg(&script).current_dir(&place));
                    let name = script.strip_prefix(tests).unwrap().to_string_lossy();
                    let found = assertions(&name, &String::from_utf8_lossy(&output.stdout));
                    assert!(!found.is_empty(), "{name}: {}", both(&output));
                    let mut all = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    all.extend(found);
                }
            });
        }
    });
    let list = spread(include_str!("expected-failures-of-the-original.txt"));
    expected::compare(&outcomes.into_inner().unwrap(), &list);
}

#[test]
fn assertions_are_read_as_the_original_writes_them() {
    let said =
        "1..5\nok 1\nnot ok 2 - tried 'x', expected 0\nnot ok 3 # TODO Linux\nok 4 # TODO x\n";
    let found = assertions("link/00.t", said);
    let failed: Vec<&String> = found
        .iter()
        .filter(|(_, outcome)| outcome.is_err())
        .map(|(case, _)| case)
        .collect();
    assert_eq!(failed, ["link/00.t 2", "link/00.t 5"]);
    assert_eq!(found.len(), 5);
}

#[test]
fn a_line_of_the_list_can_name_several_assertions() {
    assert_eq!(
        spread("# of all\ncases: 9\na/1.t 2,4-5: why\n"),
        "cases: 9\na/1.t 2: why\na/1.t 4: why\na/1.t 5: why\n"
    );
}
