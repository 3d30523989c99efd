//! Extended attributes: `user.*` kept in file info, `user.b2.*` read from B2, and the mount's numbers.
//!
//! B2 lower-cases keys, allows few characters in at most 50 of them, and only UTF-8 in values (API §5.3). So
//! `user.Mime type` becomes the key `xattr-~4dime~20type`; a name too long for a key is put in front of the
//! value, and the key is its hash. Text stays readable for other tools; other bytes become base64 with `0s`
//! before it, which is how getfattr(1) shows them.
//!
//! What is only to be read is never listed, so that nothing copies it along. The content type can be set
//! (`content_type`).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha1::Digest as _;

use crate::b2::{ErrorKind, FileInfo, FileName, Sha1, encoded_len};
use crate::vfs::attr::{self, XATTR_LONG as LONG, XATTR_SHORT as SHORT};
use crate::vfs::names::name;
use crate::vfs::names::node::Node;
use crate::vfs::ops::content_type;
use crate::vfs::{Error, Ino, Vfs};

/// The namespace that any program may use, xattr(7); all others are refused.
const USER: &str = "user.";
/// What B2 says of a file; only to be read, but for the content type.
const B2: &str = "user.b2.";
/// What the mount says of itself; only to be read.
const OWN: &str = "user.b2fuse.";
/// The mount's numbers, an attribute of the root.
const STATS: &str = "user.b2fuse.stats";

/// What B2 has of a file.
const STATE: &str = "user.b2fuse.state";

/// Bytes in a key (API §5.3).
const KEY_MAX: usize = 50;
/// Before bytes that are written as base64.
const BINARY: &str = "0s";

/// One attribute: its name without `user.`, and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// Lower-case letters, digits, `.`, `_` and `-` stand for themselves, any other byte is `~` and its hex digits.
fn escape(name: &[u8]) -> String {
    let mut escaped = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "~{byte:02x}");
        }
    }
    escaped
}

/// The reverse; `None` for what [`escape`] does not make.
fn unescape(escaped: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'~' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            name.push(*byte);
        }
    }
    (escape(&name) == escaped).then_some(name)
}

/// A value as text, in the form that takes fewer bytes of a header.
fn to_text(value: &[u8]) -> String {
    let binary = || format!("{BINARY}{}", BASE64.encode(value));
    match std::str::from_utf8(value) {
        Ok(text)
            if !text.is_empty()
                && text.trim() == text
                && !text.contains(char::is_control)
                && !text.starts_with(BINARY) =>
        {
            let binary = binary();
            if encoded_len(text) > encoded_len(&binary) {
                binary
            } else {
                text.to_owned()
            }
        }
        // B2 is not known to keep empty values.
        _ => binary(),
    }
}

/// The reverse; text that other tools have written is taken as it is.
fn from_text(text: &str) -> Vec<u8> {
    let binary = text.strip_prefix(BINARY);
    let bytes = binary.and_then(|binary| BASE64.decode(binary).ok());
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// The info key and value that hold an attribute.
fn to_info((name, value): &Pair) -> (String, String) {
    let (escaped, text) = (escape(name), to_text(value));
    if SHORT.len() + escaped.len() <= KEY_MAX {
        (format!("{SHORT}{escaped}"), text)
    } else {
        let key = format!("{LONG}{}", Sha1(sha1::Sha1::digest(name).into()));
        (key, format!("{escaped}={text}"))
    }
}

/// The attribute that a pair of info holds; `None` if none.
fn from_info(key: &str, text: &str) -> Option<Pair> {
    if let Some(escaped) = key.strip_prefix(SHORT) {
        let name = unescape(escaped).filter(|name| !name.is_empty())?;
        return Some((name, from_text(text)));
    }
    key.strip_prefix(LONG)?;
    let (escaped, text) = text.split_once('=')?;
    let pair = (unescape(escaped)?, from_text(text));
    (to_info(&pair).0 == key).then_some(pair)
}

/// What an attribute's name asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// A program's own, by its name without `user.`.
    User(&'a [u8]),
    /// What B2 knows, by its name without `user.b2.`.
    B2(&'a str),
    /// Something of this mount's.
    Own,
}

impl<'a> Asked<'a> {
    fn of(name: &'a OsStr) -> Result<Self, Error> {
        let bytes = name.as_bytes();
        if let Some(rest) = bytes.strip_prefix(B2.as_bytes()) {
            return Ok(Self::B2(
                std::str::from_utf8(rest).map_err(|_| Error::NoData)?,
            ));
        }
        if bytes.starts_with(OWN.as_bytes()) {
            return Ok(Self::Own);
        }
        match bytes.strip_prefix(USER.as_bytes()) {
            Some([]) | None => Err(Error::NotSupported),
            Some(rest) => Ok(Self::User(rest)),
        }
    }

    /// What a change of this attribute changes: only those of programs can be.
    fn of_changed(name: &'a OsStr) -> Result<&'a [u8], Error> {
        match Self::of(name)? {
            Self::User(name) => Ok(name),
            Self::B2(_) | Self::Own => Err(Error::NotPermitted),
        }
    }
}

/// Who reads the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Whoever has mounted it, or root.
    Owner,
    /// Anybody else.
    Stranger,
}

fn find(node: &Node, name: &[u8]) -> Option<(String, Vec<u8>)> {
    let info = node.carried_info()?;
    info.iter().find_map(|(key, text)| {
        let (found, value) = from_info(key, text)?;
        (found == name).then(|| (key.clone(), value))
    })
}

impl Vfs {
    /// How many bytes longer the value of an attribute may be when it is read than when its length was
    /// asked for.
    pub fn xattr_slack(&self, name: &OsStr) -> usize {
        match name.to_str() {
            Some(STATS) => 256,
            Some(STATE) => 1024,
            _ => 0,
        }
    }

    /// The value of an extended attribute. Errors: `NoData` where there is none of that name,
    /// `NotSupported` outside of `user.`, getxattr(2).
    pub async fn getxattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>, Error> {
        self.getxattr_for(ino, name, Reader::Owner).await
    }

    /// The same for somebody who may not see everything.
    pub async fn getxattr_for(
        &self,
        ino: Ino,
        name: &OsStr,
        reader: Reader,
    ) -> Result<Vec<u8>, Error> {
        let asked = Asked::of(name)?;
        if ino == Ino::ROOT && name == STATS {
            let mut stats = self.stats();
            if reader == Reader::Stranger {
                // Paths of files that the reader might not be let see.
                stats.not_stored.first.clear();
            }
            return serde_json::to_vec(&stats).map_err(|error| {
                Error::Io(format!("the numbers cannot be written as JSON: {error}"))
            });
        }
        if ino.hashed().is_some() {
            return Err(Error::NoData);
        }
        self.refresh(ino).await?;
        match asked {
            Asked::User(name) => {
                let tree = self.tree();
                let (_, value) = find(tree.get(ino)?, name).ok_or(Error::NoData)?;
                Ok(value)
            }
            Asked::B2(what) => self.known_to_b2(ino, what).await,
            Asked::Own if name == STATE => Ok(self.storage_state(ino)?.to_string().into_bytes()),
            Asked::Own => Err(Error::NoData),
        }
    }

    /// The names of all extended attributes that programs have set, each with a zero byte behind it.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<u8>, Error> {
        if ino.hashed().is_some() {
            return Ok(Vec::new());
        }
        self.refresh(ino).await?;
        let tree = self.tree();
        let mut names = Vec::new();
        let node = tree.get(ino)?;
        if content_type::is_listed(node) {
            names.extend_from_slice(content_type::NAME.as_bytes());
            names.push(0);
        }
        for (key, text) in node.carried_info().into_iter().flatten() {
            if let Some((name, _)) = from_info(key, text) {
                names.extend_from_slice(USER.as_bytes());
                names.extend_from_slice(&name);
                names.push(0);
            }
        }
        Ok(names)
    }

    /// Sets an extended attribute; it is stored as a change of mode is. `flags` as of setxattr(2). `NoSpace`
    /// when B2 could not hold it beside the name and the other attributes (API §5.3), or has refused as many keys before.
    pub async fn setxattr(
        &self,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), Error> {
        self.writable()?;
        if name == content_type::NAME {
            return self.set_content_type(ino, value, flags).await;
        }
        let name = Asked::of_changed(name)?;
        let pair = (name.to_vec(), value.to_vec());
        self.change_xattr(ino, name, |info, before| {
            match (before, flags) {
                (Some(_), libc::XATTR_CREATE) => return Err(Error::Exists),
                (None, libc::XATTR_REPLACE) => return Err(Error::NoData),
                (before, _) => before.and_then(|key| info.remove(&key)),
            };
            let (key, text) = to_info(&pair);
            info.insert(key, text);
            Ok(())
        })
        .await
    }

    /// Removes an extended attribute; `NoData` when there is none of that name, removexattr(2).
    pub async fn removexattr(&self, ino: Ino, name: &OsStr) -> Result<(), Error> {
        self.writable()?;
        if name == content_type::NAME {
            return self.remove_content_type(ino).await;
        }
        let name = Asked::of_changed(name)?;
        self.change_xattr(ino, name, |info, before| {
            info.remove(&before.ok_or(Error::NoData)?);
            Ok(())
        })
        .await
    }

    /// `change` gets the info that the next version takes over, and the key that holds `name` in it.
    async fn change_xattr(
        &self,
        ino: Ino,
        name: &[u8],
        change: impl FnOnce(&mut FileInfo, Option<String>) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        if ino.hashed().is_some() {
            return Err(Error::NotPermitted);
        }
        self.refresh(ino).await?;
        self.check_key(ino)?;
        let mut tree = self.tree();
        let path = tree.path(ino);
        let node = tree.get_mut(ino)?;
        let before = node.carried().cloned().unwrap_or_default();
        let mut carried = before.clone();
        change(&mut carried.info, find(node, name).map(|(key, _)| key))?;
        if carried == before {
            return Ok(());
        }
        let more = carried.info.len() > before.info.len();
        if more && self.shared.info_keys.too_many(&carried.info) {
            return Err(Error::NoSpace(format!(
                "B2 takes no more keys of info for {:?}",
                path.unwrap_or_default()
            )));
        }
        if let Some(path) = path {
            let marker = if node.dir().is_some() {
                name::MARKER
            } else {
                ""
            };
            let full = format!("{}{marker}", self.full(&path));
            let excess = name::excess(&full, &carried.info);
            if excess > name::excess(&full, &before.info) {
                return Err(Error::NoSpace(format!(
                    "the extended attributes of {path:?} need {excess} bytes more than B2 has for them"
                )));
            }
        }
        let changed = |key: &&String| carried.info.get(*key) != before.info.get(*key);
        let keys: HashSet<&String> = carried
            .info
            .keys()
            .chain(before.info.keys())
            .filter(changed)
            .collect();
        for key in keys {
            if let Some(object) = node.object_mut() {
                object.state.set_info(key);
            } else if let Some(dir) = node.dir_mut() {
                dir.delta().note_key(key);
            }
        }
        *node.carried_mut() = Some(carried.shared());
        node.meta.ctime = attr::now();
        self.store_attributes_later(&mut tree, ino)
    }

    /// What B2 knows of the version that is stored; `NoData` for what is not, or not any more.
    async fn known_to_b2(&self, ino: Ino, what: &str) -> Result<Vec<u8>, Error> {
        let (stored, content_type) = {
            let tree = self.tree();
            let node = tree.get(ino)?;
            if what == "content_type"
                && let Some(chosen) = content_type::chosen(node)
            {
                return Ok(chosen.into_bytes());
            }
            let object = node.object().ok_or(Error::NoData)?;
            let stored = object
                .state
                .stored()
                .cloned()
                .filter(|_| !node.content_dirty());
            let content_type = node.carried().and_then(|all| all.content_type.clone());
            (stored.ok_or(Error::NoData)?, content_type)
        };
        let text = match what {
            "file_id" => Some(stored.id.to_string()),
            "sha1" => stored.sha1().map(|sha1| sha1.to_string()),
            "content_type" => content_type,
            "url" => self.public_url(ino).await?,
            _ => {
                let key = what.strip_prefix("info.");
                if key.is_none() && what != "upload_timestamp" {
                    return Err(Error::NoData);
                }
                let version = match self.shared.client.get_file_info(&stored.id).await {
                    Err(error) if error.kind == ErrorKind::NotFound => return Err(Error::NoData),
                    other => other?,
                };
                match key {
                    Some(key) => version.info.get(key).cloned(),
                    None => Some(version.uploaded_ms.to_string()),
                }
            }
        };
        text.map(String::into_bytes).ok_or(Error::NoData)
    }
}

impl Vfs {
    /// Where anybody can download a file, if its bucket is public and the key may ask for that.
    async fn public_url(&self, ino: Ino) -> Result<Option<String>, Error> {
        let path = self.tree().path(ino).ok_or(Error::NoData)?;
        let name = FileName::listed(&self.full(&path));
        match self.shared.client.public_url(&name).await {
            Err(error) if error.kind == ErrorKind::AccessDenied => Ok(None),
            url => Ok(url?),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(name: &str, value: &[u8]) -> Pair {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    fn info(name: &str, value: &[u8]) -> (String, String) {
        to_info(&pair(name, value))
    }

    fn told(key: &str, text: &str) -> (String, String) {
        (key.to_owned(), text.to_owned())
    }

    #[test]
    fn names_and_values_stay_readable_where_they_can() {
        assert_eq!(
            info("mime_type", b"text/plain"),
            told("xattr-mime_type", "text/plain")
        );
        assert_eq!(info("A b", b"v"), told("xattr-~41~20b", "v"));
        assert_eq!(info("n", b""), told("xattr-n", "0s"));
        assert_eq!(info("n", b"\0\xff"), told("xattr-n", "0sAP8"));
        assert_eq!(info("n", b"0sAP8"), told("xattr-n", "0sMHNBUDg"));
        assert_eq!(info("n", b" v"), told("xattr-n", "0sIHY"));
        let long = "l".repeat(45);
        let (key, text) = info(&long, b"v");
        assert_eq!(key.len(), LONG.len() + 40);
        assert_eq!(text, format!("{long}=v"));
    }

    #[test]
    fn text_takes_the_form_that_needs_fewer_bytes() {
        assert_eq!(info("n", "naïve".as_bytes()).1, "naïve");
        let json = br#"{"a":1,"b":[2,3],"c":"d"}"#;
        assert!(info("n", json).1.starts_with(BINARY));
        assert_eq!(from_text(&info("n", json).1), json);
    }

    #[test]
    fn what_other_tools_wrote_is_shown_as_far_as_it_is_an_attribute() {
        assert_eq!(from_info("xattr-color", "0s%"), Some(pair("color", b"0s%")));
        for (key, text) in [
            ("xattr-", "v"),
            ("xattr-~4", "v"),
            ("xattr-~61", "v"),
            ("xattr-~zz", "v"),
            ("xattr~00", "name=v"),
            ("mode", "100644"),
        ] {
            assert_eq!(from_info(key, text), None, "{key}");
        }
    }

    #[test]
    fn names_are_told_apart() {
        let asked = |name| Asked::of(OsStr::new(name)).ok();
        assert_eq!(asked("user.x"), Some(Asked::User(b"x")));
        assert_eq!(asked("user.b2"), Some(Asked::User(b"b2")));
        assert_eq!(asked("user.b2.sha1"), Some(Asked::B2("sha1")));
        assert_eq!(asked("user.b2fuse.stats"), Some(Asked::Own));
        for other in ["user.", "trusted.x", "security.capability", "userx"] {
            assert_eq!(asked(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn attributes_survive_storage(
            name in prop::collection::vec(1u8.., 1..250), value: Vec<u8>,
        ) {
            let (key, text) = to_info(&(name.clone(), value.clone()));
            prop_assert!(key.len() <= KEY_MAX && attr::is_xattr_key(&key));
            prop_assert!(
                key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"~._-".contains(&b))
            );
            prop_assert!(!text.is_empty() && !text.contains(char::is_control));
            prop_assert_eq!(from_info(&key, &text), Some((name, value)));
        }
    }
}
