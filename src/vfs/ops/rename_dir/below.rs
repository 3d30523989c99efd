//! Everything visible below a directory, page by page, what Linux cannot show included.

use crate::b2::{Action, FileVersion, ListNames};
use crate::vfs::{Error, Vfs};

/// Names in a page.
pub(super) const PAGE: u32 = 10_000;

/// A listing under way.
pub(super) struct Below<'a> {
    vfs: &'a Vfs,
    prefix: &'a str,
    max: u32,
    upto: Option<String>,
    next: Next,
}

/// Where the next page starts.
enum Next {
    First,
    At(String),
    /// There is none.
    End,
}

impl<'a> Below<'a> {
    /// All of a directory, whose full name ends with `/`.
    pub(super) fn all(vfs: &'a Vfs, prefix: &'a str) -> Self {
        Self {
            vfs,
            prefix,
            max: PAGE,
            upto: None,
            next: Next::First,
        }
    }

    /// No more than so many names in a page.
    pub(super) fn short(self, max: u32) -> Self {
        Self { max, ..self }
    }

    /// From one full name to another, both included.
    pub(super) fn between(self, first: String, last: String) -> Self {
        Self {
            upto: Some(last),
            next: Next::At(first),
            ..self
        }
    }

    /// The next page, which is not empty; `None` at the end.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<FileVersion>>, Error> {
        loop {
            let start = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::At(name) => Some(name),
                Next::End => return Ok(None),
            };
            let request = ListNames {
                prefix: self.prefix.to_owned(),
                start,
                delimiter: false,
                max: self.max,
            };
            let page = self.vfs.shared.client.list_file_names(&request).await?;
            let within = |name: &str| self.upto.as_deref().is_none_or(|last| name <= last);
            if let Some(next) = page.next.filter(|next| within(next)) {
                self.next = Next::At(next);
            }
            let mut rows = page.files;
            rows.retain(|row| row.action == Action::Upload && within(row.name.as_str()));
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
    }
}
