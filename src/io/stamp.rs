//! What b2fuse says of a version in file info, beside what every B2 tool understands: one key, `b2fuse`.
//!
//! Its value is a list of short words with a dot between them, each a letter and a number in base 36, so that
//! no byte needs escaping and all of it stays below [`Stamp::MAX`]. Words that this version of the program
//! does not know are ignored. The two keys of earlier versions are still read.

use sha1::{Digest as _, Sha1};

use crate::b2::{FileId, FileInfo};

/// What is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `n`: drawn anew for each version that is made, so that one whose acknowledgement was lost can be
    /// recognised. Evidence only: copies on the server that other tools make carry it along.
    pub nonce: Option<u64>,
    /// `t`: nanoseconds of the modification time within its millisecond, below a million.
    pub mtime_ns: u32,
    /// `c`: the time of change in nanoseconds since 1970; not before it.
    pub ctime: Option<u64>,
    /// `s`: since when this content has been current under this name, where that is longer than this version
    /// exists; milliseconds since 1970, B2's clock.
    pub since: Option<u64>,
    /// `u`: when a large file was begun, milliseconds since 1970; by it a later mount finds what a crash has left.
    pub begun: Option<u64>,
    /// `i`: the inode number that the file has kept since it had another name.
    pub number: Option<u64>,
    /// `a`: when the name first got a content, by the clock of who made it; milliseconds since 1970.
    pub came: Option<u64>,
    /// `y`: that somebody has chosen the content type, or left it to B2 again: a hash of what was sent ([`Stamp::mark_of`]), which B2 may show
    /// otherwise.
    pub chosen_type: Option<u16>,
    /// `r` and `f`: the rename of a directory that has made this copy.
    pub moved: Option<Moved>,
    /// `b`, once for each: the versions that this one begins with, byte for byte, the latest first.
    pub ancestors: Ancestors,
}

/// Versions of a file of which a later one has all bytes, and appended ones perhaps: hashes of their ids, the latest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ancestors([u64; Self::MOST]);

impl Ancestors {
    /// So many are told; the listing of versions tells of the others, as long as they are there.
    pub const MOST: usize = 8;
    /// Bytes that each takes in file info.
    pub const BYTES: usize = 12;

    /// What stands for an id: not 0, and below 2^48.
    pub fn mark(id: &FileId) -> u64 {
        let digest = Sha1::digest(id.to_string());
        let bytes = digest.into_iter().take(6);
        bytes.fold(0, |all, byte| all << 8 | u64::from(byte)).max(1)
    }

    /// Those of a version that continues this one.
    #[must_use]
    pub fn and(self, id: &FileId) -> Self {
        let mut all = [0; Self::MOST];
        let marks = std::iter::once(Self::mark(id)).chain(self.iter());
        for (place, mark) in all.iter_mut().zip(marks) {
            *place = mark;
        }
        Self(all)
    }

    /// The latest ones, as many as fit into so many bytes of file info.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        let rest = self.0.iter_mut().skip(bytes / Self::BYTES);
        rest.for_each(|mark| *mark = 0);
        self
    }

    /// Their marks.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().take_while(|mark| *mark > 0)
    }

    /// Whether a version is among them.
    pub fn has(self, id: &FileId) -> bool {
        let mark = Self::mark(id);
        self.iter().any(|one| one == mark)
    }

    /// The version that is continued.
    pub fn last(self) -> Option<u64> {
        self.iter().next()
    }

    fn push(&mut self, mark: u64) {
        if let Some(place) = self.0.iter_mut().find(|place| **place == 0) {
            *place = mark;
        }
    }
}

/// By which rename, and of which version, a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// A number that all copies of one rename share.
    pub rename: u32,
    /// A hash of the source's file id.
    pub from: u32,
}

impl Stamp {
    /// The key in file info.
    pub const KEY: &'static str = "b2fuse";
    /// Most bytes of a value, which are the same when encoded for a header.
    pub const MAX: usize = 112 + Ancestors::MOST * Ancestors::BYTES;
    /// Keys of earlier versions: nanoseconds of the modification time, and the start of a large file.
    pub const OLD: [&'static str; 2] = ["b2fuse_mtime_ns", "b2fuse_upload"];

    /// Reads it; what makes no sense counts as absent.
    pub fn of(info: &FileInfo) -> Self {
        let old = |key: &str| info.get(key).and_then(|text| text.parse::<u64>().ok());
        let mut stamp = Self {
            mtime_ns: old(Self::OLD[0]).map_or(0, nanoseconds),
            begun: old(Self::OLD[1]),
            ..Self::default()
        };
        let (mut rename, mut from) = (None, None);
        for word in info.get(Self::KEY).map_or("", String::as_str).split('.') {
            let mut letters = word.chars();
            let Some(letter) = letters.next() else {
                continue;
            };
            let Ok(number) = u64::from_str_radix(letters.as_str(), 36) else {
                continue;
            };
            match letter {
                'n' => stamp.nonce = Some(number),
                't' => stamp.mtime_ns = nanoseconds(number),
                'c' => stamp.ctime = Some(number),
                's' => stamp.since = Some(number),
                'u' => stamp.begun = Some(number),
                'i' => stamp.number = Some(number),
                'a' => stamp.came = Some(number),
                'y' => stamp.chosen_type = u16::try_from(number).ok(),
                'r' => rename = u32::try_from(number).ok(),
                'b' => stamp.ancestors.push(number),
                'f' => from = u32::try_from(number).ok(),
                _ => {}
            }
        }
        stamp.moved = rename
            .zip(from)
            .map(|(rename, from)| Moved { rename, from });
        stamp
    }

    /// Writes it in the place of an earlier one.
    pub fn put(self, info: &mut FileInfo) {
        for key in Self::OLD {
            info.remove(key);
        }
        let mut words = Vec::new();
        let mut word = |letter: char, number: Option<u64>| {
            words.extend(number.map(|number| format!("{letter}{}", base36(number))));
        };
        word('n', self.nonce);
        word('t', Some(u64::from(self.mtime_ns)).filter(|ns| *ns > 0));
        word('c', self.ctime);
        word('s', self.since);
        word('u', self.begun);
        word('i', self.number);
        word('a', self.came);
        word('y', self.chosen_type.map(u64::from));
        word('r', self.moved.map(|moved| u64::from(moved.rename)));
        word('f', self.moved.map(|moved| u64::from(moved.from)));
        for mark in self.ancestors.iter() {
            word('b', Some(mark));
        }
        if words.is_empty() {
            info.remove(Self::KEY);
        } else {
            info.insert(Self::KEY.to_owned(), words.join("."));
        }
    }

    /// What `y` says of a content type: enough to tell whether a version was sent with it.
    pub fn mark_of(content_type: &str) -> u16 {
        let mut bytes = Sha1::digest(content_type).into_iter();
        u16::from_be_bytes([(); 2].map(|()| bytes.next().unwrap_or(0)))
    }

    /// Whether a key of file info is one of these.
    pub fn is_key(key: &str) -> bool {
        key == Self::KEY || Self::OLD.contains(&key)
    }

    /// Changes what an info says.
    pub fn change(info: &mut FileInfo, change: impl FnOnce(&mut Self)) {
        let mut stamp = Self::of(info);
        change(&mut stamp);
        stamp.put(info);
    }
}

fn nanoseconds(number: u64) -> u32 {
    u32::try_from(number)
        .ok()
        .filter(|ns| *ns < 1_000_000)
        .unwrap_or(0)
}

fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;
    use crate::b2::encoded_len;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_fits(
            nonce in of(any::<u64>()), mtime_ns in 0u32..1_000_000, ctime in of(0..=i64::MAX as u64),
            since in of(0..1u64 << 42), came in of(0..1u64 << 48), begun in of(0..1u64 << 42), number in of(0..1u64 << 53),
            moved in of(any::<(u32, u32)>()), chosen_type in of(any::<u16>()),
            before in proptest::collection::vec("[a-z0-9_]{1,20}", 0..12),
        ) {
            let moved = moved.map(|(rename, from)| Moved { rename, from });
            let ancestors = before
                .iter()
                .fold(Ancestors::default(), |all, id| all.and(&FileId::new(id)));
            let stamp = Stamp { nonce, mtime_ns, ctime, since, begun, number, came, chosen_type, moved, ancestors };
            let mut info = FileInfo::from([("b2fuse_upload".to_owned(), "5".to_owned())]);
            stamp.put(&mut info);
            prop_assert_eq!(Stamp::of(&info), stamp);
            let text = info.get(Stamp::KEY).map_or("", String::as_str);
            prop_assert!(encoded_len(text) <= Stamp::MAX && encoded_len(text) == text.len(), "{}", text);
        }

        #[test]
        fn nonsense_is_no_panic(text in "\\PC{0,120}") {
            Stamp::of(&FileInfo::from([(Stamp::KEY.to_owned(), text)]));
        }
    }

    #[test]
    fn the_latest_ancestors_are_kept() {
        let ids: Vec<FileId> = (0..12).map(|id| FileId::new(&format!("v{id}"))).collect();
        let all = ids.iter().fold(Ancestors::default(), Ancestors::and);
        let has: Vec<bool> = ids.iter().map(|id| all.has(id)).collect();
        assert_eq!(has, [vec![false; 4], vec![true; 8]].concat());
        assert_eq!(all.last(), Some(Ancestors::mark(&ids[11])));
        assert_eq!(all.within(40).iter().count(), 3);
        assert_eq!(all.within(40).last(), all.last());
        assert_eq!(Ancestors::default().last(), None);
    }

    #[test]
    fn keys_of_earlier_versions_are_read() {
        let info = [
            ("b2fuse_mtime_ns", "123"),
            ("b2fuse_upload", "77"),
            ("mode", "100644"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let stamp = Stamp::of(&info.into_iter().collect());
        assert_eq!(
            (stamp.mtime_ns, stamp.begun, stamp.nonce),
            (123, Some(77), None)
        );
    }
}
