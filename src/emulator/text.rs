//! Small codecs: hexadecimal, percent-encoding as B2 speaks it, calendar dates.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What B2 leaves as it is: letters, digits and `. _ - / ~ ! $ ' ( ) * ; = : @` (API §10).
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

/// Percent-encoded as a client must send it.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Percent-encoded as the service answers: a space is `+` (API §10), which finds clients that do not decode it.
pub(super) fn encode_reply(text: &str) -> String {
    encode(text).replace("%20", "+")
}

/// Decodes `%XX`, and `+` as a space. `None`: a broken escape or not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Lower-case digits only, exactly `N` bytes of them.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Bytes of the system's random source, which nobody can foresee.
fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Linux always has random bytes");
    bytes
}

/// Random letters and digits, for tokens and keys.
pub(super) fn random_text(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let fair = random_bytes::<64>()
            .into_iter()
            // The last four values would make some letters more likely than others.
            .filter(|byte| usize::from(*byte) < LETTERS.len() * 4)
            .map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        text.extend(fair.take(length - text.len()));
    }
    text
}

/// Random hexadecimal digits, for ids.
pub(super) fn random_hex(digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    while text.len() < digits {
        let more = hex(&random_bytes::<16>());
        text.push_str(&more[..more.len().min(digits - text.len())]);
    }
    text
}

/// `YYYYMMDD` and `HHMMSS` of a time in milliseconds, in UTC.
pub(super) fn date_and_time(millis: u64) -> (String, String) {
    let seconds = millis / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    (
        format!("{year:04}{month:02}{day:02}"),
        format!("{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60),
    )
}

/// The proleptic Gregorian date of a day since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_is_a_space_and_broken_escapes_are_refused() {
        assert_eq!(decode("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode("%C3%A4").as_deref(), Some("ä"));
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn replies_write_a_space_as_plus() {
        assert_eq!(encode_reply("a b+c/ä"), "a+b%2Bc/%C3%A4");
    }

    #[test]
    fn hex_reads_back_and_wants_lower_case() {
        assert_eq!(unhex::<3>(&hex(&[0, 171, 255])), Some([0, 171, 255]));
        assert_eq!(unhex::<1>("AB"), None);
        assert_eq!(unhex::<1>("abc"), None);
    }

    #[test]
    fn random_texts_have_their_length_and_differ() {
        for length in [0, 1, 31, 200] {
            assert_eq!(random_text(length).len(), length);
            assert_eq!(random_hex(length).len(), length);
        }
        let text = random_text(40);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(text, random_text(40));
        assert_ne!(random_hex(24), random_hex(24));
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(
            date_and_time(1_709_210_096_789),
            ("20240229".to_owned(), "123456".to_owned())
        );
        assert_eq!(
            date_and_time(0),
            ("19700101".to_owned(), "000000".to_owned())
        );
    }
}
