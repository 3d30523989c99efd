//! Percent-encoding of names and file info in URLs and headers (API §10).
//!
//! B2 decodes `+` as a space, so a plus is always sent as `%2B` and a space as `%20`. The
//! result holds ASCII only: it fits a header and a URL alike. In JSON names stay plain.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the bytes that B2's documentation lets stand.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'/')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A name, an id or a value of file info as URLs and headers carry it.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Bytes that a name or a value takes in a header: three for each byte that is encoded.
pub fn encoded_len(text: &str) -> usize {
    utf8_percent_encode(text, ENCODED).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::encode;

    #[test]
    fn the_documented_bytes_stand_and_all_others_are_encoded() {
        let plain = "abcXYZ019._-/~!$'()*;=:@";
        for byte in 0..=0x7f_u8 {
            let text = char::from(byte).to_string();
            let want = if plain.contains(&text) || byte.is_ascii_alphanumeric() {
                text.clone()
            } else {
                format!("%{byte:02X}")
            };
            assert_eq!(encode(&text), want, "byte {byte:#x}");
        }
    }

    #[test]
    fn a_plus_does_not_become_a_space() {
        assert_eq!(encode("a+b c"), "a%2Bb%20c");
    }

    #[test]
    fn other_scripts_go_byte_by_byte() {
        assert_eq!(encode("ü/自由"), "%C3%BC/%E8%87%AA%E7%94%B1");
        assert_eq!(encode("\u{1f600}"), "%F0%9F%98%80");
    }

    proptest! {
        #[test]
        fn decoding_as_b2_does_gives_the_name_back(name in "\\PC{0,40}") {
            let sent = encode(&name).replace('+', " ");
            let back = percent_encoding::percent_decode_str(&sent).decode_utf8();
            prop_assert_eq!(back.as_deref(), Ok(name.as_str()));
        }
    }
}
