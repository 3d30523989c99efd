//! Pages over a bucket's names (API §4): order, folding into folders, where the next page starts.
//!
//! Pure functions over the ordered map. A folder costs one seek however many names are under it, as long as the first
//! of them is visible; hidden ones before it are walked over.

use std::ops::Bound;
use std::sync::Arc;

use super::account::{Names, newest};
use super::version::{Action, Order, Version};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One row a name: the newest version, when it is an upload.
    Names,
    /// Every version, hide marker and unfinished large file.
    Versions,
}

#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) kind: Kind,
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<char>,
    /// The first name wanted, which need not exist.
    pub(super) start: &'a str,
    /// Where among the versions of `start` to begin.
    pub(super) start_version: Option<Order>,
    pub(super) max: usize,
}

#[derive(Debug)]
pub(super) enum Row {
    File(Arc<Version>),
    Folder(String),
}

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// The name, and for a file row the version, of the next row.
    pub(super) next: Option<(String, Option<Arc<Version>>)>,
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

/// The least name after all names that start with `stem`, a text that ends with its delimiter.
pub(super) fn after(stem: &str) -> Option<String> {
    let last = stem.chars().next_back()?;
    let next = if last == '\u{d7ff}' {
        '\u{e000}' // there are no characters between them
    } else {
        char::from_u32(u32::from(last) + 1)?
    };
    let mut name = stem[..stem.len() - last.len_utf8()].to_owned();
    name.push(next);
    Some(name)
}

pub(super) fn page(names: &Names, query: &Query<'_>) -> Page {
    let mut page = Page::default();
    let mut from = query.start.max(query.prefix).to_owned();
    'seek: loop {
        let range = (Bound::Included(from.as_str()), Bound::Unbounded);
        for (name, versions) in names.range::<str, _>(range) {
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
            let Some(next) = after(stem) else {
                return page;
            };
            from = next;
            continue 'seek;
        }
        return page;
    }
}
