//! What comments and documents refer to is there: sections, tests, files.
//!
//! - `API §5.2` and `DESIGN §6`, in code and in documents, are headings of docs/b2-api.md and docs/architecture.md.
//! - A test that a document names exists. It is named as `SUITE: module::name`, `SUITE: name` or `src/FILE.rs: name`;
//!   those that follow in the same paragraph, list item or row of a table may leave the suite out. A module, or a file
//!   under `src`, may stand for all its tests.
//! - Links within the repository lead to files, and to headings, that exist; the index of documents has all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that are cited by section, as comments call them.
const CITED: &[(&str, &str)] = &[
    ("API", "docs/b2-api.md"),
    ("DESIGN", "docs/architecture.md"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files with one of these extensions below a folder of the repository.
fn files(below: &str, extensions: &[&str]) -> Vec<PathBuf> {
    fn gather(dir: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder can be listed") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    gather(&path, extensions, found);
                }
            } else if extensions.contains(&&*extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    gather(&root().join(below), extensions, &mut found);
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    let within = path.strip_prefix(root()).unwrap_or(path);
    within.display().to_string()
}

/// A document without what stands between fences.
fn without_fences(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    kept
}

// --- sections ------------------------------------------------------------------------------------

/// The words of headings, without their marks.
fn headings(text: &str) -> Vec<String> {
    let text = without_fences(text);
    let marked = text.lines().filter(|line| line.starts_with('#'));
    marked
        .map(|line| line.trim_start_matches('#').trim().to_owned())
        .collect()
}

/// The numbers that headings begin with.
fn sections(text: &str) -> BTreeSet<String> {
    let headings = headings(text);
    let numbers = headings.iter().filter_map(|heading| {
        let first = heading.split(' ').next()?.trim_end_matches('.');
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        first.split('.').all(digits).then(|| first.to_owned())
    });
    numbers.collect()
}

/// Everything that is cited by section, by the document's word; `None` for a section sign without one.
fn citations(text: &str) -> Vec<(Option<&'static str>, String)> {
    // A citation may go on in the next line of a comment.
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches(['/', '!']).trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    let mut document = None;
    let mut before = 0;
    for (at, sign) in text.match_indices('§') {
        let between = &text[before..at];
        let named = CITED
            .iter()
            .find(|(word, _)| between.ends_with(&format!("{word} ")));
        match named {
            Some((word, _)) => document = Some(*word),
            // One more section of the same document.
            None if [", ", " and "].contains(&between) => {}
            None => document = None,
        }
        let rest = &text[at + sign.len()..];
        let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next();
        let number = number.unwrap_or_default().trim_end_matches('.').to_owned();
        before = at + sign.len() + number.len();
        // `API §n` speaks of citations.
        if !(number.is_empty() && rest.starts_with('n')) {
            found.push((document, number));
        }
    }
    found
}

#[test]
fn every_section_that_is_cited_is_a_heading() {
    let known: BTreeMap<&str, BTreeSet<String>> = CITED
        .iter()
        .map(|(word, path)| (*word, sections(&read(&root().join(path)))))
        .collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    let code = ["src", "tests", "benches"].map(|below| files(below, &["rs", "py"]));
    let own = root().join("tests/docs/main.rs");
    for path in code.iter().flatten().filter(|path| **path != own) {
        for (document, number) in citations(&read(path)) {
            count += 1;
            if document.is_none_or(|document| !known[document].contains(&number)) {
                let document = document.unwrap_or("of nothing:");
                wrong.push(format!("{}: {document} §{number}", shown(path)));
            }
        }
    }
    for path in files("", &["md"]) {
        // A section sign alone means the document that it stands in.
        let itself = CITED
            .iter()
            .find(|(_, cited)| root().join(cited) == path)
            .map(|(word, _)| *word);
        for (document, number) in citations(&without_fences(&read(&path))) {
            let document = document.or(itself);
            if document.is_none_or(|document| !known[document].contains(&number)) {
                let document = document.unwrap_or("of nothing:");
                wrong.push(format!("{}: {document} §{number}", shown(&path)));
            }
        }
    }
    assert!(count > 100, "the citations were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn citations_are_seen_in_every_form() {
    let found = citations(
        "//! as (API §5.2, §10). Then (API\n//! §12), `DESIGN §2.5:` and API §7 and §8; also API §n.\n/// a bare §3",
    );
    let found: Vec<(Option<&str>, &str)> = found
        .iter()
        .map(|(document, number)| (*document, number.as_str()))
        .collect();
    let api = Some("API");
    assert_eq!(
        found,
        [
            (api, "5.2"),
            (api, "10"),
            (api, "12"),
            (Some("DESIGN"), "2.5"),
            (api, "7"),
            (api, "8"),
            (None, "3"),
        ]
    );
    let numbers = sections("# Title\n## 0. One\n### 17.3 Two\n```\n# 9. code\n```\n#### plain\n");
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), ["0", "17.3"]);
}

// --- tests that documents name -------------------------------------------------------------------

/// A file of tests: the module that it is within its suite, and the functions in it.
struct Tests {
    module: Vec<String>,
    functions: BTreeSet<String>,
}

fn functions(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| is_word(*c)).collect() };
    let after = code.match_indices("fn ");
    after
        .filter(|(at, _)| !code[..*at].ends_with(is_word))
        .map(|(at, found)| word(&code[at + found.len()..]))
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What a file that is taken in by its path is called: `#[path = "names.rs"]` and `mod named;` in the next line.
fn renamed(code: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let path = pair[0].strip_prefix("#[path = \"")?.strip_suffix("\"]")?;
        let name = pair[1].trim_start_matches("pub ").strip_prefix("mod ")?;
        Some((path.to_owned(), name.trim_end_matches(';').to_owned()))
    });
    pairs.collect()
}

/// The suites by name: `tests/NAME/main.rs` and what lies beside it.
fn suites() -> BTreeMap<String, Vec<Tests>> {
    let tests = root().join("tests");
    let mut all: BTreeMap<String, Vec<Tests>> = BTreeMap::new();
    for path in files("tests", &["rs"]) {
        let within = path.strip_prefix(&tests).expect("below tests");
        let within = within.with_extension("");
        let mut module: Vec<String> = within
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let suite = module.remove(0);
        if module == ["main"] {
            module.clear();
        }
        let head = tests.join(&suite).join("main.rs");
        if head.is_file() && !module.is_empty() {
            let path = format!("{}.rs", module.join("/"));
            if let Some(name) = renamed(&read(&head)).remove(&path) {
                module.pop();
                module.push(name);
            }
        }
        let functions = functions(&read(&path));
        let one = Tests { module, functions };
        all.entry(suite).or_default().push(one);
    }
    all
}

/// Paragraphs, items of lists, rows of tables and headings, each with the number of its first line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let begins = |line: &str| {
        let line = line.trim_start();
        let item = line.split(' ').next().unwrap_or_default();
        let number = item.strip_suffix('.').unwrap_or("x");
        matches!(item, "*" | "-")
            || line.starts_with(['|', '#'])
            || number.bytes().all(|b| b.is_ascii_digit())
    };
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        match all.last_mut() {
            Some((_, block)) if open && !begins(line) => {
                block.push('\n');
                block.push_str(line);
            }
            _ => all.push((number, line.to_owned())),
        }
        open = true;
    }
    all
}

/// What a block names: the suite, or file, in force, and the test.
fn named(block: &str, suites: &BTreeMap<String, Vec<Tests>>) -> Vec<(Option<String>, String)> {
    let is_path = |text: &str| {
        let mut parts = text.split("::");
        // Types and constants have capitals.
        let small = |c: char| is_word(c) && !c.is_ascii_uppercase();
        parts.all(|part| !part.is_empty() && part.chars().all(small))
    };
    let is_source = |text: &str| {
        let file = Path::new(text);
        text.starts_with("src/") && file.extension().is_some_and(|end| end == "rs")
    };
    let mut force = None;
    let mut found = Vec::new();
    for code in block.split('`').skip(1).step_by(2) {
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        match code.split_once(": ") {
            Some((suite, test))
                if is_path(test) && (suites.contains_key(suite) || is_source(suite)) =>
            {
                force = Some(suite.to_owned());
                found.push((force.clone(), test.to_owned()));
            }
            None if is_path(&code) && code.contains("::") => found.push((force.clone(), code)),
            // Long enough to be no option and no field.
            None if force.is_some()
                && is_path(&code)
                && code.matches('_').count() >= 3
                && !code.starts_with("b2_") =>
            {
                found.push((force.clone(), code));
            }
            None if is_source(&code) => found.push((Some(code), String::new())),
            _ => {}
        }
    }
    found
}

fn exists(suite: &str, test: &str, suites: &BTreeMap<String, Vec<Tests>>) -> bool {
    if suite.starts_with("src/") {
        let path = root().join(suite);
        return path.is_file() && (test.is_empty() || functions(&read(&path)).contains(test));
    }
    let parts: Vec<&str> = test.split("::").collect();
    let Some((name, module)) = parts.split_last() else {
        return false;
    };
    suites[suite].iter().any(|file| {
        let here = file.module.iter().map(String::as_str).collect::<Vec<_>>();
        let in_module = here.ends_with(module) && file.functions.contains(*name);
        in_module || (!here.is_empty() && here.ends_with(&parts))
    })
}

#[test]
fn every_test_that_a_document_names_exists() {
    let suites = suites();
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in files("", &["md"]) {
        for (line, block) in blocks(&without_fences(&read(&path))) {
            let place = format!("{}:{line}", shown(&path));
            if block.matches('`').count() % 2 == 1 {
                wrong.push(format!("{place}: a backtick without its other"));
                continue;
            }
            for (suite, test) in named(&block, &suites) {
                count += 1;
                match suite {
                    None => wrong.push(format!("{place}: {test} of which suite?")),
                    Some(suite) if !exists(&suite, &test, &suites) => {
                        wrong.push(format!("{place}: {suite}: {test}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(count > 200, "the names were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_of_tests_are_seen_in_every_form() {
    let suites = suites();
    let text = "1. One. `vfs:\n   removing::it_goes`, `and_what_is_next_to_it_goes_as_well`, `metadata_ttl: 0`, `Vfs::new`\n\
                   * `src/a.rs: here`, `src/b.rs`\n| `x::y` |\n\n`a_word_of_b2_without_suite`";
    let found: Vec<(Option<String>, String)> = blocks(text)
        .iter()
        .flat_map(|(_, block)| named(block, &suites))
        .collect();
    let pair = |suite: &str, test: &str| (Some(suite.to_owned()), test.to_owned());
    assert_eq!(
        found,
        [
            pair("vfs", "removing::it_goes"),
            pair("vfs", "and_what_is_next_to_it_goes_as_well"),
            pair("src/a.rs", "here"),
            pair("src/b.rs", ""),
            (None, "x::y".to_owned()),
        ]
    );
    assert!(exists(
        "docs",
        "names_of_tests_are_seen_in_every_form",
        &suites
    ));
    assert!(!exists("docs", "there_is_no_such_test", &suites));
    assert!(exists("vfs", "named", &suites), "a module by its new name");
    assert!(!exists("src/lib.rs", "there_is_no_such_test", &suites));
}

// --- links ---------------------------------------------------------------------------------------

/// What a heading is called in a link: small letters, hyphens for blanks, nothing else but these and underscores.
fn anchor(heading: &str) -> String {
    let small = heading.to_lowercase();
    let kept = small
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of links, those of other sites left out.
fn links(text: &str) -> Vec<String> {
    let text = without_fences(text);
    let targets = text.match_indices("](").filter_map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        rest.split([')', '\n']).next().map(str::to_owned)
    });
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in files("", &["md"]) {
        for link in links(&read(&path)) {
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let found = target.exists()
                && (heading.is_empty()
                    || headings(&read(&target))
                        .iter()
                        .any(|known| anchor(known) == heading));
            if !found {
                wrong.push(format!("{}: {link}", shown(&path)));
            }
        }
    }
    assert!(count > 30, "the links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_is_in_the_index() {
    let index = root().join("docs/README.md");
    let listed = links(&read(&index));
    for path in files("docs", &["md"]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(
            path == index || listed.iter().any(|link| *link == name),
            "{name} is not in docs/README.md"
        );
    }
}

#[test]
fn links_and_anchors_are_seen() {
    let found = links("[a](b.md#c-d), [e](https://x.example/f) [g](#h)\n```\n[code](no.md)\n```\n");
    assert_eq!(found, ["b.md#c-d", "#h"]);
    assert_eq!(
        anchor("Rights & what's refused: `x_y`"),
        "rights--whats-refused-x_y"
    );
}
