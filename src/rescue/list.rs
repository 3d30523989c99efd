//! The list of a rescue directory. It describes itself: whoever has lost b2fuse can read it, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Error;

/// Everything in a rescue directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Always [`List::FORMAT`].
    pub format: String,
    /// [`List::VERSION`]; a later one is refused, for it may mean something else.
    pub version: u32,
    /// The bucket that the entries belong to.
    pub bucket: String,
    /// Milliseconds since 1970.
    pub made_ms: u64,
    /// What is to be sent.
    pub entries: Vec<Entry>,
}

/// One object that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The object's full name in B2.
    pub name: String,
    /// Its content type.
    pub content_type: String,
    /// All of its file info: times, mode, owner, extended attributes.
    pub info: BTreeMap<String, String>,
    /// Bytes of the whole content.
    pub size: u64,
    /// When it was changed: milliseconds since 1970.
    pub mtime_ms: i64,
    /// The version that its name showed when it was changed; none for a new file.
    pub base: Option<String>,
    /// Where B2 has it, when it was renamed since: its new attributes are those of that version, and its old name goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<Renamed>,
    /// Why it could not be stored.
    pub reason: String,
    /// What there is of it.
    pub kept: Kept,
}

/// Where a renamed file is in B2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    /// The old full name.
    pub from: String,
    /// The id of the version under it.
    pub id: String,
}

/// What there is of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kept {
    /// A content, whole or with references to what B2 has.
    Content {
        /// The file with the bytes, each at its own offset, relative to the directory; none where no bytes are needed.
        file: Option<String>,
        /// SHA-1 of the bytes in the file that pieces speak of, in their order.
        sha1: String,
        /// What the content is made of, in order and without gaps.
        pieces: Vec<Piece>,
        /// The large file that has what was sent.
        unfinished: Option<Unfinished>,
    },
    /// New attributes of the base.
    Attributes,
    /// Nothing: its bytes are lost, for this reason.
    Nothing(String),
}

/// A stretch of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Piece {
    /// So many bytes of the file.
    Data(u64),
    /// So many zeros.
    Zero(u64),
    /// Bytes of a version in B2.
    Stored(Source),
    /// So many bytes that are parts of the unfinished large file.
    Sent(u64),
}

/// A range of a version in B2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The version's id.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-1 of its whole content, where it is known.
    pub sha1: Option<String>,
    /// Where the range begins.
    pub from: u64,
    /// Bytes of the range.
    pub len: u64,
}

/// A large file that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfinished {
    /// Its id.
    pub id: String,
    /// Parts from number 1 on, without gaps.
    pub parts: Vec<UnfinishedPart>,
    /// B2 may know parts of numbers up to this one.
    pub used: usize,
}

/// A part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfinishedPart {
    /// Bytes.
    pub size: u64,
    /// SHA-1 of the part, if B2 has it.
    pub sha1: Option<String>,
}

impl Piece {
    /// Bytes of the content that it stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(len) | Self::Zero(len) | Self::Sent(len) => *len,
            Self::Stored(source) => source.len,
        }
    }

    /// Whether it stands for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl List {
    /// What `format` says.
    pub const FORMAT: &'static str = "b2fuse-rescue";
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// An empty one.
    pub fn new(bucket: &str, made_ms: u64) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            bucket: bucket.to_owned(),
            made_ms,
            entries: Vec::new(),
        }
    }

    /// As it stands in the file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a list has nothing that JSON cannot express");
        text.push('\n');
        text
    }

    /// Reads one, of this version only.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head =
            serde_json::from_str(text).map_err(|fault| Error::List(fault.to_string()))?;
        if head.format != Self::FORMAT {
            return Err(Error::List(format!("its format is {:?}", head.format)));
        }
        if head.version != Self::VERSION {
            return Err(Error::List(format!(
                "it is of version {}, this b2fuse reads version {}: use the one that wrote it, or a newer one",
                head.version,
                Self::VERSION
            )));
        }
        let list: Self =
            serde_json::from_str(text).map_err(|fault| Error::List(fault.to_string()))?;
        for entry in &list.entries {
            entry.check()?;
        }
        Ok(list)
    }
}

impl Entry {
    /// The pieces make up the content.
    fn check(&self) -> Result<(), Error> {
        let Kept::Content { pieces, .. } = &self.kept else {
            return Ok(());
        };
        let sum = pieces
            .iter()
            .try_fold(0u64, |sum, piece| sum.checked_add(piece.len()));
        if sum == Some(self.size) {
            return Ok(());
        }
        Err(Error::List(format!(
            "the pieces of {:?} do not make up its {} bytes",
            self.name, self.size
        )))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Piece> {
        let len = 0..1u64 << 40;
        prop_oneof![
            len.clone().prop_map(Piece::Data),
            len.clone().prop_map(Piece::Zero),
            len.clone().prop_map(Piece::Sent),
            (".{1,9}", len.clone(), proptest::option::of(".{1,9}"), len).prop_map(
                |(id, from, sha1, len)| Piece::Stored(Source {
                    id,
                    size: from + len,
                    sha1,
                    from,
                    len,
                })
            ),
        ]
    }

    fn unfinished() -> impl Strategy<Value = Unfinished> {
        let part = (any::<u64>(), proptest::option::of(".{0,9}"))
            .prop_map(|(size, sha1)| UnfinishedPart { size, sha1 });
        (".{0,9}", proptest::collection::vec(part, 0..4), 0..9usize)
            .prop_map(|(id, parts, used)| Unfinished { id, parts, used })
    }

    fn kept() -> impl Strategy<Value = Kept> {
        let content = (
            proptest::option::of(".{0,20}"),
            ".{0,9}",
            proptest::collection::vec(piece(), 0..5),
            proptest::option::of(unfinished()),
        );
        prop_oneof![
            content.prop_map(|(file, sha1, pieces, unfinished)| Kept::Content {
                file,
                sha1,
                pieces,
                unfinished
            }),
            Just(Kept::Attributes),
            ".{0,9}".prop_map(Kept::Nothing),
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (
            (".{0,30}", ".{0,9}", ".{0,9}"),
            proptest::collection::btree_map(".{1,9}", ".{0,20}", 0..4),
            any::<u64>(),
            any::<i64>(),
            proptest::option::of(".{0,9}"),
            proptest::option::of((".{1,9}", ".{1,9}")),
            kept(),
        )
            .prop_map(
                |((name, content_type, reason), info, size, mtime_ms, base, renamed, kept)| {
                    let size = match &kept {
                        Kept::Content { pieces, .. } => pieces.iter().map(Piece::len).sum(),
                        _ => size,
                    };
                    Entry {
                        name,
                        content_type,
                        info,
                        size,
                        mtime_ms,
                        base,
                        renamed: renamed.map(|(from, id)| Renamed { from, id }),
                        reason,
                        kept,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(entry(), 0..4)) {
            let mut list = List::new("photos", 7);
            list.entries = entries;
            prop_assert_eq!(List::from_json(&list.to_json()).expect("read"), list);
        }

        #[test]
        fn nonsense_is_refused(text in ".{0,200}") {
            prop_assert!(List::from_json(&text).is_err());
        }
    }

    #[test]
    fn lists_of_others_are_refused() {
        let list = List::new("photos", 7);
        let refused = |list: &List| {
            List::from_json(&list.to_json())
                .expect_err("refused")
                .to_string()
        };
        let mut later = list.clone();
        later.version = 2;
        assert!(refused(&later).contains("version 2"));
        let mut other = list.clone();
        other.format = "tar".to_owned();
        assert!(refused(&other).contains("\"tar\""));
        let mut short = list;
        short.entries.push(Entry {
            name: "a".to_owned(),
            content_type: String::new(),
            info: BTreeMap::new(),
            size: 7,
            mtime_ms: 0,
            base: None,
            renamed: None,
            reason: String::new(),
            kept: Kept::Content {
                file: None,
                sha1: String::new(),
                pieces: vec![Piece::Zero(6)],
                unfinished: None,
            },
        });
        assert!(refused(&short).contains("do not make up"));
    }
}
