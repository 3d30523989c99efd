//! Pages over a bucket's names (API §4): order, folding into folders, where the next page starts.
//!
//! Pure functions over the ordered map. A folder costs one seek however many names are under it, as long as the first
//! of them is visible; hidden ones before it are walked over.

use std::ops::Bound;
use std::sync::Arc;

use super::bucket::Names;
use super::version::{Action, Order, Version};
use crate::emulator::account::newest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Kind {
    /// One row a name: the newest version, when it is an upload.
    Names,
    /// Every version, hide marker and unfinished large file.
    Versions,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::emulator) struct Query<'a> {
    pub(in crate::emulator) kind: Kind,
    pub(in crate::emulator) prefix: &'a str,
    pub(in crate::emulator) delimiter: Option<char>,
    /// The first name wanted, which need not exist.
    pub(in crate::emulator) start: &'a str,
    /// Where among the versions of `start` to begin.
    pub(in crate::emulator) start_version: Option<Order>,
    pub(in crate::emulator) max: usize,
    /// After how many names of a folder a page stops inside it.
    pub(in crate::emulator) split: Option<usize>,
}

#[derive(Debug)]
pub(in crate::emulator) enum Row {
    File(Arc<Version>),
    Folder(String),
}

#[derive(Debug, Default)]
pub(in crate::emulator) struct Page {
    pub(in crate::emulator) rows: Vec<Row>,
    /// The name, and for a file row the version, of the next row.
    pub(in crate::emulator) next: Option<(String, Option<Arc<Version>>)>,
    /// How many names were looked at: what the page cost.
    pub(super) looked_at: usize,
}

fn visible(kind: Kind, versions: &[Arc<Version>]) -> &[Arc<Version>] {
    match kind {
        Kind::Versions => versions,
        Kind::Names => match newest(versions) {
            Some(version) if version.action == Action::Upload => std::slice::from_ref(version),
            _ => &[],
        },
    }
}

/// The folder that a name folds into.
fn stem<'a>(name: &'a str, query: &Query<'_>) -> Option<&'a str> {
    let delimiter = query.delimiter?;
    let rest = &name[query.prefix.len()..];
    let at = rest.find(delimiter)?;
    Some(&name[..query.prefix.len() + at + delimiter.len_utf8()])
}

/// The least name after all names that start with `stem`; `None` when there can be none.
pub(in crate::emulator) fn after(stem: &str) -> Option<String> {
    let mut name = stem.to_owned();
    while let Some(last) = name.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'), // there are no characters between them
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            name.push(next);
            return Some(name);
        }
    }
    None
}

pub(in crate::emulator) fn page(names: &Names, query: &Query<'_>) -> Page {
    let mut page = Page::default();
    let mut from = query.start.max(query.prefix).to_owned();
    'seek: loop {
        let range = (Bound::Included(from.as_str()), Bound::Unbounded);
        for (name, versions) in names.range::<str, _>(range) {
            page.looked_at += 1;
            if !name.starts_with(query.prefix) {
                return page;
            }
            let shown = visible(query.kind, versions);
            let Some(stem) = stem(name, query) else {
                let skipped = match query.start_version {
                    Some(start) if **name == *query.start => {
                        shown.partition_point(|version| version.order() < start)
                    }
                    _ => 0,
                };
                for version in &shown[skipped..] {
                    if page.rows.len() == query.max {
                        page.next = Some((name.as_ref().to_owned(), Some(version.clone())));
                        return page;
                    }
                    page.rows.push(Row::File(version.clone()));
                }
                continue;
            };
            if shown.is_empty() {
                continue;
            }
            if page.rows.len() == query.max {
                page.next = Some((name.as_ref().to_owned(), None));
                return page;
            }
            page.rows.push(Row::Folder(stem.to_owned()));
            if let Some(split) = query.split {
                let rest = (Bound::Excluded(name.as_ref()), Bound::Unbounded);
                let mut inside = names
                    .range::<str, _>(rest)
                    .take_while(|(name, _)| name.starts_with(stem))
                    .filter(|(_, versions)| !visible(query.kind, versions).is_empty())
                    .map(|(name, _)| name.as_ref());
                let last = match split {
                    1 => Some(name.as_ref()),
                    _ => inside.by_ref().nth(split - 2),
                };
                if let (Some(last), Some(_)) = (last, inside.next()) {
                    page.next = Some((format!("{last} "), None));
                    return page;
                }
            }
            let Some(next) = after(stem) else {
                return page;
            };
            from = next;
            continue 'seek;
        }
        return page;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::emulator::account::version::Sha1;
    use crate::emulator::content::Content;
    use crate::emulator::encryption::Encryption;

    fn version(number: u64, name: &str, action: Action) -> Arc<Version> {
        Arc::new(Version {
            number,
            bucket: "b".into(),
            name: name.into(),
            action,
            stamp: number,
            content_type: "".into(),
            info: None,
            sha1: Sha1::None,
            md5: None,
            encryption: Encryption::None,
            lock: None,
            content: Content::empty(),
        })
    }

    fn build(made: &[(String, Action)]) -> Names {
        let mut names = Names::new();
        for (number, (name, action)) in (1..).zip(made) {
            let versions = names.entry(name.as_str().into()).or_default();
            versions.insert(0, version(number, name, *action));
        }
        names
    }

    /// All rows by walking over every name, without seeking: folder, or name and number.
    fn by_hand(names: &Names, query: &Query<'_>) -> Vec<(String, u64)> {
        let mut rows: Vec<(String, u64)> = Vec::new();
        for (name, versions) in names {
            if !name.starts_with(query.prefix) || **name < *query.start {
                continue;
            }
            for version in visible(query.kind, versions) {
                let row = match stem(name, query) {
                    Some(stem) => (stem.to_owned(), 0),
                    None => (name.as_ref().to_owned(), version.number),
                };
                if row.1 != 0 || rows.last() != Some(&row) {
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            3 => Just(Action::Upload),
            1 => Just(Action::Hide),
            1 => Just(Action::Start),
        ]
    }

    proptest! {
        #[test]
        fn pages_of_any_size_give_what_a_plain_walk_gives(
            made in prop::collection::vec(("[ab/ä\u{10ffff}]{1,5}", action()), 0..40),
            prefix in "[ab/]{0,2}",
            start in "[ab/]{0,3}",
            delimiter in prop::option::of(prop::sample::select(vec!['/', 'a', 'ä', '\u{10ffff}'])),
            versions in any::<bool>(),
            max in 1usize..6,
        ) {
            let names = build(&made);
            let kind = if versions { Kind::Versions } else { Kind::Names };
            let mut next = (start.clone(), None);
            let mut rows = Vec::new();
            let whole = Query { kind, prefix: &prefix, delimiter, start: &start, start_version: None, max: 0, split: None };
            let wanted = by_hand(&names, &whole);
            loop {
                let query = Query { start: &next.0, start_version: next.1, max, ..whole };
                let page = page(&names, &query);
                prop_assert!(page.rows.len() == max || page.next.is_none());
                rows.extend(page.rows.iter().map(|row| match row {
                    Row::File(version) => (version.name.as_ref().to_owned(), version.number),
                    Row::Folder(name) => (name.clone(), 0),
                }));
                match page.next {
                    None => break,
                    Some((name, version)) => next = (name, version.map(|version| version.order())),
                }
            }
            prop_assert_eq!(rows, wanted);
        }
    }

    #[test]
    fn a_folder_costs_the_same_whatever_is_in_it() {
        let made: Vec<(String, Action)> = (0..50)
            .flat_map(|folder| (0..200).map(move |file| format!("d/{folder:02}/{file:03}")))
            .map(|name| (name, Action::Upload))
            .collect();
        let names = build(&made);
        let query = |start, max| Query {
            kind: Kind::Names,
            prefix: "d/",
            delimiter: Some('/'),
            start,
            start_version: None,
            max,
            split: None,
        };
        for (start, max, rows) in [("", 1000, 50), ("d/10/", 20, 20), ("d/49/150", 1000, 1)] {
            let page = page(&names, &query(start, max));
            assert_eq!(page.rows.len(), rows);
            // One name a folder, and the one that comes next.
            assert!(page.looked_at <= rows + 1, "{}", page.looked_at);
        }
    }

    #[test]
    fn what_comes_after_a_stem_is_the_next_character() {
        assert_eq!(after("a/").as_deref(), Some("a0"));
        assert_eq!(after("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after("\u{10ffff}"), None);
    }
}
