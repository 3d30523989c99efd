//! The content type of a file as an extended attribute, `user.b2.content_type`: read for every file, set by whoever wants
//! another one than B2's guess from the name.
//!
//! One that was set is stored by a copy, or with the next content or rename, as a change of mode is, and then stays
//! through all of these; the stamp says that it was chosen. Whether it is stored is decided by what was sent, never by
//! what B2 shows: it may write a type otherwise. Removing the attribute leaves the choice to B2 again.

use crate::vfs::delta::Changed;
use crate::vfs::names::node::{AUTO_TYPE, Node};
use crate::vfs::{Error, FileKind, Ino, Vfs, attr};

/// The attribute's whole name.
pub(in crate::vfs::ops) const NAME: &str = "user.b2.content_type";
/// Bytes in a type. RFC 6838 allows 127 on each side of the slash.
const MAX: usize = 255;

/// A type that can be sent: `type/subtype`, parameters after a semicolon, printable ASCII.
fn checked(value: &[u8]) -> Result<&str, Error> {
    // RFC 9110: tchar.
    let token = |word: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        !word.is_empty() && word.bytes().all(plain)
    };
    let text = std::str::from_utf8(value).map_err(|_| Error::Invalid)?;
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let essence = text.split(';').next().unwrap_or_default();
    let (kind, subtype) = essence.trim_end().split_once('/').unwrap_or_default();
    // What begins with `b2/` is an instruction to B2, of which one is documented.
    let fits = token(kind) && token(subtype) && (kind != "b2" || text == AUTO_TYPE);
    if text.len() > MAX || !printable || text.ends_with(' ') || !fits {
        return Err(Error::Invalid);
    }
    Ok(text)
}

/// Whether listings of attributes show it: where it was chosen, so that copies have it, too.
pub(in crate::vfs::ops) fn is_listed(node: &Node) -> bool {
    node.object().is_some() && node.carried().is_some_and(|carried| carried.chosen)
}

/// What is to be stored, where somebody has chosen, whether it is stored already or not.
pub(in crate::vfs::ops) fn chosen(node: &Node) -> Option<String> {
    let pending = node.object()?.state.delta().has(Changed::TYPE);
    let carried = node.carried().filter(|all| all.chosen || pending)?;
    carried.content_type.clone()
}

impl Vfs {
    /// Sets the type; `flags` as of setxattr(2).
    pub(in crate::vfs::ops) async fn set_content_type(
        &self,
        ino: Ino,
        value: &[u8],
        flags: i32,
    ) -> Result<(), Error> {
        let wanted = checked(value)?.to_owned();
        self.choose_type(ino, |before| match (before, flags) {
            (Some(_), libc::XATTR_CREATE) => Err(Error::Exists),
            (None, libc::XATTR_REPLACE) => Err(Error::NoData),
            _ => Ok(wanted),
        })
        .await
    }

    /// Lets B2 choose by the name's extension.
    pub(in crate::vfs::ops) async fn remove_content_type(&self, ino: Ino) -> Result<(), Error> {
        self.choose_type(ino, |before| match before {
            Some(_) => Ok(AUTO_TYPE.to_owned()),
            None => Err(Error::NoData),
        })
        .await
    }

    /// `choose` gets the type that there is.
    async fn choose_type(
        &self,
        ino: Ino,
        choose: impl FnOnce(Option<&str>) -> Result<String, Error> + Send,
    ) -> Result<(), Error> {
        if ino.hashed().is_some() {
            return Err(Error::NotPermitted);
        }
        self.refresh(ino).await?;
        self.check_key(ino)?;
        let mut tree = self.tree();
        let node = tree.get_mut(ino)?;
        if node.meta.kind != FileKind::File {
            return Err(Error::NotPermitted);
        }
        let mut carried = node.carried().cloned().unwrap_or_default();
        let wanted = choose(carried.content_type.as_deref())?;
        let chosen = wanted != AUTO_TYPE;
        if carried.content_type.as_ref() == Some(&wanted) && carried.chosen == chosen {
            return Ok(());
        }
        (carried.content_type, carried.chosen) = (Some(wanted), chosen);
        if let Some(object) = node.object_mut() {
            object.state.set(Changed::TYPE);
        }
        *node.carried_mut() = Some(carried.shared());
        node.meta.ctime = attr::now();
        self.store_attributes_later(&mut tree, ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_b2_could_not_take_are_refused() {
        for good in [
            "text/html",
            "text/html; charset=utf-8",
            "text/html ;charset=\"utf-8\"",
            "application/vnd.oasis.opendocument.text",
            "image/svg+xml",
            "b2/x-auto",
        ] {
            assert_eq!(checked(good.as_bytes()).ok(), Some(good));
        }
        let long = format!("text/{}", "x".repeat(251));
        for bad in [
            "",
            "text",
            "text/",
            "/html",
            "te xt/html",
            "text/ht ml",
            "text/html\n",
            "text/html; a=\u{7f}",
            "text/hötml",
            "text/html ",
            " text/html",
            "b2/x-other",
            "b2/x-auto; a=b",
            &long,
        ] {
            assert!(checked(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(checked(b"text/\xff").is_err());
    }
}
