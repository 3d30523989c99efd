//! The lists of what is known to fail: a line `case: reason` each, a line `cases: number` for how many
//! there are in all, and comments after `#`.

use std::collections::BTreeMap;

use super::Outcomes;

struct Known<'a> {
    cases: usize,
    reasons: BTreeMap<&'a str, &'a str>,
}

fn known(list: &str) -> Known<'_> {
    let mut cases = None;
    let mut reasons = BTreeMap::new();
    let lines = list.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (case, reason) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line:?} has no reason"));
        if case == "cases" {
            cases = Some(reason.parse().expect("a number of cases"));
        } else {
            assert!(reasons.insert(case, reason).is_none(), "{case} twice");
        }
    }
    Known {
        cases: cases.expect("the number of cases"),
        reasons,
    }
}

/// Every way in which outcomes and list differ, a line each.
fn differences(outcomes: &Outcomes, list: &str) -> Vec<String> {
    let known = known(list);
    let mut all = Vec::new();
    for (case, outcome) in outcomes {
        match (outcome, known.reasons.get(case.as_str())) {
            (Err(message), None) => all.push(format!("{case} fails: {message}")),
            (Ok(()), Some(reason)) => all.push(format!(
                "{case} passes, and the list says that it cannot: {reason}"
            )),
            _ => {}
        }
    }
    for case in known.reasons.keys() {
        if !outcomes.contains_key(*case) {
            all.push(format!("{case} is in the list and was not run"));
        }
    }
    if outcomes.len() != known.cases {
        let (found, listed) = (outcomes.len(), known.cases);
        all.push(format!("{found} cases instead of {listed}"));
    }
    all
}

/// Fails unless exactly the cases of the list have failed.
#[track_caller]
pub(crate) fn compare(outcomes: &Outcomes, list: &str) {
    let passed = outcomes.values().filter(|outcome| outcome.is_ok()).count();
    println!("{passed} of {} cases pass", outcomes.len());
    let differences = differences(outcomes, list);
    assert!(
        differences.is_empty(),
        "{passed} of {} cases pass\n{}",
        outcomes.len(),
        differences.join("\n")
    );
}

#[test]
fn every_difference_is_told() {
    let outcomes: Outcomes = [
        ("a::fails".to_owned(), Err("why".to_owned())),
        ("a::known".to_owned(), Err("why".to_owned())),
        ("a::mended".to_owned(), Ok(())),
        ("a::passes".to_owned(), Ok(())),
    ]
    .into();
    let list = "# words\ncases: 5\na::known: b\na::mended: c\na::gone: d\n";
    let found = differences(&outcomes, list);
    let starts = [
        "a::fails fails",
        "a::mended passes",
        "a::gone is",
        "4 cases",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
    let right = "cases: 4\na::known: b\na::fails: c\n";
    assert_eq!(differences(&outcomes, right), Vec::<String>::new());
}
