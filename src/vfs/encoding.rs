//! Names that B2 refuses, written as rclone writes them to B2: control characters as their pictures (U+2401 to U+241F),
//! DEL as U+2421, a backslash as U+FF3C, each byte that is no UTF-8 as U+201B and two hex digits. What looks like one of
//! these already has a U+201B before it.
//!
//! rclone writes `b2.Encode(local.Decode(name))`: a Linux name may itself stand for one that Linux cannot hold, with
//! U+FF0F for a slash, U+2400 for a zero byte, and U+FF0E for the names of one and two dots. These stay as they are in
//! both directions, and so does a U+201B before one of them. (rclone: lib/encoder/encoder.go, backend/b2/b2.go,
//! backend/local.) One thing is not rclone's: it cannot read a file whose name has a U+201B that quotes nothing
//! from a Linux disk, and brings it there with two; here it is one.
//!
//! Pure functions on one component of a name. [`encode`] gives every Linux name a B2 name of its own, from which
//! [`decode`] gives it back; there are B2 names that [`encode`] never gives, and those have no Linux name ([`shown`]).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::vfs::Names;

/// Says that what follows is not what it looks like, or is a byte in hex.
const QUOTE: char = '\u{201b}';
const QUOTE_TEXT: &str = "\u{201b}";
/// The picture of a control character is this plus the character.
const PICTURES: u32 = 0x2400;
const ZERO_PICTURE: char = '\u{2400}';
const DEL: char = '\u{7f}';
const DEL_PICTURE: char = '\u{2421}';
const WIDE_BACKSLASH: char = '\u{ff3c}';
const WIDE_SLASH: char = '\u{ff0f}';
/// Names that stand for one and two dots, quoted.
const QUOTED_DOTS: [&str; 2] = ["\u{201b}\u{ff0e}", "\u{201b}\u{ff0e}\u{201b}\u{ff0e}"];

/// What a character is written as.
fn substitute(plain: char) -> Option<char> {
    match plain {
        '\u{1}'..='\u{1f}' => char::from_u32(PICTURES + u32::from(plain)),
        DEL => Some(DEL_PICTURE),
        '\\' => Some(WIDE_BACKSLASH),
        _ => None,
    }
}

/// What a substitute stands for.
fn substituted(written: char) -> Option<char> {
    match written {
        '\u{2401}'..='\u{241f}' => char::from_u32(u32::from(written) - PICTURES),
        DEL_PICTURE => Some(DEL),
        WIDE_BACKSLASH => Some('\\'),
        _ => None,
    }
}

/// Stands, also in a Linux name, for what Linux cannot hold.
fn stays(character: char) -> bool {
    matches!(character, ZERO_PICTURE | WIDE_SLASH)
}

/// Whether both forms of a component are surely the same: it has none of the bytes with which something else begins.
fn is_plain(component: &[u8]) -> bool {
    let first = |byte: &u8| matches!(byte, 0x20..=0x5b | 0x5d..=0x7e | 0xc2..=0xe1 | 0xe3..=0xee | 0xf0..=0xf4);
    let later = |byte: &u8| (0x80..=0xbf).contains(byte);
    component.iter().all(|byte| first(byte) || later(byte))
}

/// The B2 name of a component as Linux has it. A zero byte or a slash, which none has, would stay.
pub(in crate::vfs) fn encode(linux: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(linux)
        && (is_plain(linux) || QUOTED_DOTS.contains(&text))
    {
        return Cow::Borrowed(text);
    }
    let mut b2 = String::with_capacity(linux.len() + 8);
    for chunk in linux.utf8_chunks() {
        let mut rest = chunk.valid().chars().peekable();
        while let Some(next) = rest.next() {
            match next {
                QUOTE => {
                    b2.push(QUOTE);
                    b2.push(rest.next_if(|after| stays(*after)).unwrap_or(QUOTE));
                }
                _ if substituted(next).is_some() => b2.extend([QUOTE, next]),
                _ => b2.push(substitute(next).unwrap_or(next)),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(b2, "{QUOTE}{byte:02X}");
        }
    }
    Cow::Owned(b2)
}

/// What a component of a B2 name stands for; not every one is written as [`encode`] would.
fn decode(b2: &str) -> Cow<'_, [u8]> {
    if is_plain(b2.as_bytes()) || QUOTED_DOTS.contains(&b2) {
        return Cow::Borrowed(b2.as_bytes());
    }
    let mut linux = Vec::with_capacity(b2.len());
    let mut rest = b2;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        let push = |linux: &mut Vec<u8>, character: char| {
            linux.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        };
        if next != QUOTE {
            push(&mut linux, substituted(next).unwrap_or(next));
            continue;
        }
        let byte = rest
            .get(..2)
            .filter(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
        if let Some(byte) = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            linux.push(byte);
            rest = &rest[2..];
            continue;
        }
        match rest.chars().next() {
            Some(after) if after == QUOTE || substituted(after).is_some() => {
                push(&mut linux, after);
                rest = &rest[after.len_utf8()..];
            }
            _ => linux.extend_from_slice(QUOTE_TEXT.as_bytes()),
        }
    }
    Cow::Owned(linux)
}

/// The Linux name of a component of a B2 name; `None` for one that [`encode`] would not have given, since what it stands
/// for is the name of another one.
pub(in crate::vfs) fn shown(b2: &str) -> Option<Cow<'_, [u8]>> {
    let linux = decode(b2);
    (*encode(&linux) == *b2).then_some(linux)
}

/// The name that the kernel is told for a component as the tree has it.
pub(in crate::vfs) fn for_kernel(component: &Arc<str>, names: Names) -> Arc<[u8]> {
    if names == Names::Encode
        && let Some(Cow::Owned(linux)) = shown(component)
    {
        return Arc::from(linux);
    }
    Arc::from(Arc::clone(component))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters that mean something here, in either form, and some that do not.
    const CHARACTERS: &[char] = &[
        '\u{1}',
        '\t',
        '\n',
        '\r',
        '\u{1f}',
        ' ',
        '\u{7f}',
        '\\',
        'a',
        'F',
        '8',
        '.',
        '\u{2400}',
        '\u{2401}',
        '\u{240d}',
        '\u{241f}',
        '\u{2420}',
        '\u{2421}',
        '\u{2422}',
        '\u{201a}',
        '\u{201b}',
        '\u{ff3c}',
        '\u{ff0f}',
        '\u{ff0e}',
        '\u{fffd}',
        '\u{85}',
        'é',
        '自',
        '\u{1f600}',
    ];

    fn strange_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(CHARACTERS), 0..8)
            .prop_map(|all| all.into_iter().collect())
    }

    /// Bytes between strange characters; what of them is UTF-8 and what not is left to chance.
    fn strange_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => strange_text().prop_map(String::into_bytes),
            1 => prop::collection::vec(1_u8..=255, 0..4),
        ];
        prop::collection::vec(piece, 0..5).prop_map(|pieces| {
            pieces
                .concat()
                .into_iter()
                .filter(|byte| *byte != b'/')
                .collect()
        })
    }

    /// Pairs of a Linux name and what rclone makes of it in B2; in the table of `tests/mounted/encoded_names.rs` rclone
    /// itself says so.
    const TABLE: &[(&[u8], &str)] = &[
        (b"plain name +%#?&'\"~", "plain name +%#?&'\"~"),
        (b"Icon\r", "Icon\u{240d}"),
        (b"a\x01b\x1f\n\t", "a\u{2401}b\u{241f}\u{240a}\u{2409}"),
        (b"del\x7f", "del\u{2421}"),
        (b"a\\b", "a\u{ff3c}b"),
        (b"latin \xe9t\xe9", "latin \u{201b}E9t\u{201b}E9"),
        (b"cut \xe2\x80", "cut \u{201b}E2\u{201b}80"),
        (
            b"surrogate \xed\xa0\x80",
            "surrogate \u{201b}ED\u{201b}A0\u{201b}80",
        ),
        ("Icon\u{240d}".as_bytes(), "Icon\u{201b}\u{240d}"),
        ("del\u{2421}".as_bytes(), "del\u{201b}\u{2421}"),
        ("wide\u{ff3c}".as_bytes(), "wide\u{201b}\u{ff3c}"),
        ("quote\u{201b}s".as_bytes(), "quote\u{201b}\u{201b}s"),
        ("quote\u{201b}FF".as_bytes(), "quote\u{201b}\u{201b}FF"),
        ("\u{201b}".as_bytes(), "\u{201b}\u{201b}"),
        ("1\u{ff0f}2".as_bytes(), "1\u{ff0f}2"),
        ("1\u{201b}\u{ff0f}2".as_bytes(), "1\u{201b}\u{ff0f}2"),
        (
            "zero\u{2400}\u{201b}\u{2400}".as_bytes(),
            "zero\u{2400}\u{201b}\u{2400}",
        ),
        ("\u{ff0e}".as_bytes(), "\u{ff0e}"),
        ("\u{ff0e}\u{ff0e}".as_bytes(), "\u{ff0e}\u{ff0e}"),
        ("\u{201b}\u{ff0e}".as_bytes(), "\u{201b}\u{ff0e}"),
        ("space\u{2420}\u{2422}".as_bytes(), "space\u{2420}\u{2422}"),
        ("\u{fffd}\u{85}".as_bytes(), "\u{fffd}\u{85}"),
        ("自由 naïve 😀".as_bytes(), "自由 naïve 😀"),
    ];

    #[test]
    fn names_are_written_as_rclone_writes_them() {
        for (linux, b2) in TABLE {
            assert_eq!(encode(linux), *b2, "{:?}", String::from_utf8_lossy(linux));
            assert_eq!(shown(b2).as_deref(), Some(*linux), "{b2:?}");
        }
    }

    #[test]
    fn the_kernel_is_told_what_the_option_says() {
        let component = Arc::from("a\u{240d}");
        assert_eq!(*for_kernel(&component, Names::Encode), *b"a\r");
        assert_eq!(
            *for_kernel(&component, Names::Refuse),
            *component.as_bytes()
        );
    }

    #[test]
    fn what_is_written_otherwise_has_no_name_here() {
        for b2 in [
            "a\\b",
            "a\u{1}b",
            "quote\u{201b}s",
            "\u{201b}41",
            "\u{201b}ff",
            "\u{201b}C3\u{201b}A9",
            "\u{201b}2F",
            "\u{201b}00",
            "\u{201b}2E",
            "\u{201b}\u{201b}\u{ff0f}",
            "end\u{201b}",
        ] {
            assert_eq!(shown(b2), None, "{b2:?}");
        }
    }

    #[test]
    fn a_hash_file_is_written_as_its_file_and_the_suffix() {
        for (linux, b2) in TABLE {
            if !QUOTED_DOTS.contains(b2) {
                assert_eq!(
                    encode(&[linux, &b".sha1"[..]].concat()),
                    format!("{b2}.sha1")
                );
            }
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(linux in strange_bytes()) {
            let b2 = encode(&linux);
            prop_assert!(!b2.contains(|c: char| c < ' ' || c == DEL || c == '\\'), "{:?}", b2);
            let back = shown(&b2);
            prop_assert_eq!(back.as_deref(), Some(&*linux), "{:?}", &b2);
        }

        #[test]
        fn no_two_names_of_b2_are_shown_as_one(one in strange_text(), other in strange_text()) {
            if let (Some(first), Some(second)) = (shown(&one), shown(&other)) {
                prop_assert_eq!(first == second, one == other, "{:?} {:?}", one, other);
            }
        }

        #[test]
        fn what_is_shown_is_no_longer_and_holds_what_linux_can(b2 in strange_text()) {
            if let Some(linux) = shown(&b2) {
                prop_assert!(linux.len() <= b2.len());
                prop_assert!(!linux.contains(&b'/') && !linux.contains(&0));
                prop_assert_eq!(*linux == *b".", b2 == ".");
                prop_assert_eq!(*linux == *b"..", b2 == "..");
            }
        }
    }
}
