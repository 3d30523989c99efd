//! Which names exist: the one place that decides about markers, hash files and what Linux cannot show.
//!
//! A component is a name between slashes; a row is a name as B2 lists it. Names of new files are refused here, at
//! `create`, and not by B2 at `close`. All of the tree has names as B2 has them; where Linux has other ones
//! (`Names::Encode`), they are translated as they come from the kernel ([`looked_up`], [`new_component`]) and as they go
//! to it ([`encoding::for_kernel`]).

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::b2::{FileInfo, FileName, InvalidName, encoded_len};
use crate::vfs::{Error, Names, encoding};

/// The marker of an empty directory, as the B2 web page makes it (API §9). Never shown.
pub(in crate::vfs) const MARKER: &str = ".bzEmpty";
/// The suffix of virtual hash files.
pub(in crate::vfs) const HASH_SUFFIX: &str = ".sha1";
/// Linux' NAME_MAX in bytes: what is longer is not shown.
pub(in crate::vfs) const NAME_MAX: usize = 255;
/// The longest component that is made: B2's documents allow no longer ones, and whether B2 still refuses them is not
/// confirmed (API §10). A program must hear of it when it makes the name, not when it closes the file.
pub(in crate::vfs) const NEW_MAX: usize = 250;
/// Encoded bytes that a name, extended attributes and other tools' info may take together: of 2,048 for
/// name and info as header lines (API §5.3), the info that b2fuse itself may add (times, mode, owner,
/// hash, its own key) and the name's header take less than 384.
const ENCODED_MAX: usize = HEADERS_MAX - 384;
/// Bytes of name and info as header lines (API §5.3).
const HEADERS_MAX: usize = 2048;
/// Of these, what is added when a content is sent: the name's header, the SHA-1 and the start of a large file.
const ADDED: usize = 128;

/// A row of a listing, seen from the directory that was listed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) enum Row<'a> {
    /// The directory's own marker: `.bzEmpty`, or an object that ends with `/`.
    Marker,
    /// An object in the directory.
    File(&'a str),
    /// A directory in the directory.
    Dir(&'a str),
    /// Nothing Linux can show.
    Unshowable,
}

/// Reads a row; `name` is the full name, `dir` the listed prefix (empty or ending with `/`).
pub(in crate::vfs) fn row<'a>(name: &'a str, dir: &str, names: Names) -> Row<'a> {
    let Some(rest) = name.strip_prefix(dir) else {
        return Row::Unshowable;
    };
    if rest.is_empty() || rest == MARKER {
        return Row::Marker;
    }
    match rest.strip_suffix('/') {
        Some(component) if showable(component, names) => Row::Dir(component),
        None if showable(rest, names) => Row::File(rest),
        _ => Row::Unshowable,
    }
}

/// Whether a component as B2 has it stands for a name here.
pub(in crate::vfs) fn showable(component: &str, names: Names) -> bool {
    !component.is_empty()
        && component != "."
        && component != ".."
        && component.len() <= NAME_MAX
        && !component.contains(['/', '\0'])
        && (names == Names::Refuse || encoding::shown(component).is_some())
}

/// A component as B2 has it; `None` where it cannot have it.
fn in_b2(name: &OsStr, names: Names) -> Option<Cow<'_, str>> {
    match names {
        Names::Refuse => name.to_str().map(Cow::Borrowed),
        Names::Encode => Some(encoding::encode(name.as_bytes())),
    }
}

/// The component a lookup asks for, as B2 has it; `NotFound` when no such name can exist here. A file called like the marker
/// never does; a directory may, made by others.
pub(in crate::vfs) fn looked_up(name: &OsStr, names: Names) -> Result<Cow<'_, str>, Error> {
    let in_b2 = in_b2(name, names);
    // As Linux has it, too: it is never longer than as B2 has it.
    if in_b2.as_ref().map_or(name.len(), |name| name.len()) > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    in_b2
        .filter(|name| showable(name, names))
        .ok_or(Error::NotFound)
}

/// The component of a new file as B2 will have it, checked; `parent` is the full name of its directory (empty or ending
/// with `/`).
pub(in crate::vfs) fn new_component<'a>(
    name: &'a OsStr,
    parent: &str,
    directory: bool,
    names: Names,
) -> Result<Cow<'a, str>, Error> {
    let name = in_b2(name, names).ok_or(Error::IllegalName)?;
    check_component(&name, parent, directory, names)?;
    Ok(name)
}

/// Checks the component of a new file as B2 will have it.
pub(in crate::vfs) fn check_component(
    name: &str,
    parent: &str,
    directory: bool,
    names: Names,
) -> Result<(), Error> {
    if name.len() > NEW_MAX {
        return Err(Error::NameTooLong);
    }
    if !showable(name, names) {
        return Err(Error::Invalid);
    }
    if name == MARKER {
        return Err(Error::NotPermitted);
    }
    let full = if directory {
        format!("{parent}{name}/{MARKER}")
    } else {
        format!("{parent}{name}")
    };
    check_full(&full).map(drop)
}

/// Checks a full name that is about to be made.
pub(in crate::vfs) fn check_full(full: &str) -> Result<FileName, Error> {
    let name = FileName::new(full).map_err(|why| match why {
        InvalidName::TooLong(_) => Error::NameTooLong,
        InvalidName::Empty | InvalidName::Control => Error::Invalid,
    })?;
    if encoded_len(full) > ENCODED_MAX {
        return Err(Error::NameTooLong);
    }
    Ok(name)
}

/// Encoded bytes that an object's name and what it carries along take of `ENCODED_MAX`.
fn encoded_size(full: &str, carried: &FileInfo) -> usize {
    let line = |(key, value): (&String, &String)| {
        "X-Bz-Info-: \r\n".len() + key.len() + encoded_len(value)
    };
    encoded_len(full) + carried.iter().map(line).sum::<usize>()
}

/// How many bytes too much an object of that name with that info would need.
pub(in crate::vfs) fn excess(full: &str, carried: &FileInfo) -> usize {
    encoded_size(full, carried).saturating_sub(ENCODED_MAX)
}

/// Bytes that all info of an object leaves for what need not be there.
pub(in crate::vfs) fn spare(full: &str, info: &FileInfo) -> usize {
    (HEADERS_MAX - ADDED).saturating_sub(encoded_size(full, info))
}

/// Checks that an object may be renamed: a longer name leaves less room for what it carries along.
pub(in crate::vfs) fn check_renamed(from: &str, to: &str, carried: &FileInfo) -> Result<(), Error> {
    check_full(to)?;
    // What was there with more, B2 may take again.
    if excess(to, carried) > excess(from, carried) {
        return Err(Error::NameTooLong);
    }
    Ok(())
}

/// The file a hash file's name points to: `x` for `x.sha1`; none for `x.sha1.sha1`.
pub(in crate::vfs) fn hashed_name(name: &str) -> Option<&str> {
    name.strip_suffix(HASH_SUFFIX)
        .filter(|base| !base.is_empty() && !base.ends_with(HASH_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_directory_are_told_apart() {
        assert_eq!(row("d/a", "d/", Names::Refuse), Row::File("a"));
        assert_eq!(row("d/a/", "d/", Names::Refuse), Row::Dir("a"));
        assert_eq!(row("d/", "d/", Names::Refuse), Row::Marker);
        assert_eq!(row("d/.bzEmpty", "d/", Names::Refuse), Row::Marker);
        for odd in ["d//", "d/./", "d/..", "d/../", "e/a", "d/."] {
            assert_eq!(row(odd, "d/", Names::Refuse), Row::Unshowable, "{odd}");
        }
        let long = format!("d/{}", "x".repeat(256));
        assert_eq!(row(&long, "d/", Names::Refuse), Row::Unshowable);
        assert_eq!(row("//", "", Names::Refuse), Row::Unshowable);
        assert_eq!(row(" ", "", Names::Refuse), Row::File(" "));
    }

    #[test]
    fn new_names_are_refused_where_b2_would_refuse_them() {
        let check = |name: &[u8], parent: &str| {
            new_component(OsStr::from_bytes(name), parent, false, Names::Refuse)
                .map(Cow::into_owned)
        };
        assert!(matches!(check(b"\xff", ""), Err(Error::IllegalName)));
        assert!(matches!(check(b"a\nb", ""), Err(Error::Invalid)));
        assert!(matches!(check(b"a\x7f", ""), Err(Error::Invalid)));
        assert!(matches!(check(b".bzEmpty", ""), Err(Error::NotPermitted)));
        assert!(matches!(check(&[b'x'; 256], ""), Err(Error::NameTooLong)));
        let parent = format!("{}/", "p".repeat(1023 - 5));
        assert!(check(b"12345", &parent).is_ok());
        assert!(matches!(check(b"123456", &parent), Err(Error::NameTooLong)));
        assert!(matches!(
            new_component(OsStr::new("12345"), &parent, true, Names::Refuse),
            Err(Error::NameTooLong)
        ));
        let wide = format!("{}/", "é".repeat(290));
        assert!(matches!(check(b"x", &wide), Err(Error::NameTooLong)));
        assert!(check("naïve +%#?&'\"\\".as_bytes(), "").is_ok());
    }

    #[test]
    fn encoded_names_are_checked_as_b2_will_have_them() {
        let check = |name: &[u8]| {
            new_component(OsStr::from_bytes(name), "", false, Names::Encode).map(Cow::into_owned)
        };
        assert_eq!(check(b"Icon\r").ok().as_deref(), Some("Icon\u{240d}"));
        assert_eq!(check(b"\xff").ok().as_deref(), Some("\u{201b}FF"));
        assert!(matches!(check(b".bzEmpty"), Err(Error::NotPermitted)));
        // Five bytes each.
        assert!(check(&[0xff; 50]).is_ok());
        assert!(matches!(check(&[0xff; 51]), Err(Error::NameTooLong)));
        assert!(check(&[b'x'; 250]).is_ok());
    }

    #[test]
    fn what_encoding_does_not_give_is_not_shown() {
        let rows = |name| (row(name, "", Names::Refuse), row(name, "", Names::Encode));
        assert_eq!(
            rows("a\u{240d}"),
            (Row::File("a\u{240d}"), Row::File("a\u{240d}"))
        );
        assert_eq!(rows("a\\b"), (Row::File("a\\b"), Row::Unshowable));
        assert_eq!(rows("a\\b/"), (Row::Dir("a\\b"), Row::Unshowable));
    }

    #[test]
    fn a_longer_name_must_leave_room_for_attributes() {
        let info = FileInfo::from([("xattr-a".to_owned(), "v".repeat(1450))]);
        let (short, long) = ("n".repeat(150), "n".repeat(300));
        assert_eq!(excess(&short, &info), 0);
        assert!(check_renamed(&short, "m", &info).is_ok());
        assert!(matches!(
            check_renamed(&short, &long, &info),
            Err(Error::NameTooLong)
        ));
        assert!(check_renamed(&long, &short, &info).is_ok());
        assert!(check_renamed(&long, &long.replace('n', "m"), &info).is_ok());
    }

    #[test]
    fn hash_files_have_no_hash_files() {
        assert_eq!(hashed_name("x.sha1"), Some("x"));
        assert_eq!(hashed_name("x.sha1.sha1"), None);
        assert_eq!(hashed_name(".sha1"), None);
        assert_eq!(hashed_name("x"), None);
    }
}
