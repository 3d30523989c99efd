//! Text of others on its way into messages: without tokens, without control characters, not endless.
//!
//! What B2 says may hold an upload token ("more than one upload using auth token 4_..."), and what
//! something else says in its place may hold anything.
//!
//! Callers: whoever makes a message of what an answer held.

/// B2's texts are a line.
const LONGEST: usize = 500;
/// Tokens are longer than any word.
const TOKEN: usize = 20;

/// The text as it may be shown.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    let mut of_token = false;
    for word in text.split_inclusive(char::is_whitespace) {
        if out.len() >= LONGEST {
            out.push_str("...");
            break;
        }
        let bare = word.trim_end();
        if secret(bare, of_token) {
            out.push_str("(not shown)");
            push(&mut out, &word[bare.len()..]);
        } else {
            let shown = without_query(bare);
            push(&mut out, cut(shown));
            push(&mut out, &word[bare.len()..]);
        }
        let lower = bare.to_ascii_lowercase();
        of_token = lower.contains("token") || lower.contains("authorization");
    }
    out
}

/// Whether a word is a token, or holds one: B2's begin with `4_` and the key's id, ids of files with `4_z`.
fn secret(word: &str, of_token: bool) -> bool {
    let token = word
        .match_indices("4_")
        .any(|(at, _)| !word[at..].starts_with("4_z") && word.len() - at >= 2 * TOKEN);
    token || (of_token && word.len() >= TOKEN)
}

/// A URL's query is a capability at times.
fn without_query(word: &str) -> &str {
    match word
        .find("://")
        .and_then(|at| Some(at + word[at..].find('?')?))
    {
        Some(query) => &word[..query],
        None => word,
    }
}

fn cut(word: &str) -> &str {
    let mut end = word.len().min(LONGEST);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    &word[..end]
}

fn push(out: &mut String, text: &str) {
    for c in text.chars() {
        if c == ' ' || !steers(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
}

/// Steers a terminal, or the order in which text is shown.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LONGEST, clean, steers};

    #[test]
    fn an_upload_token_is_not_shown() {
        let token =
            "4_0022623512fc8f80000000001_0186e431_d18d02_acct_tH7VW03boebOXayIc43-sysptpfA=";
        for text in [
            format!("more than one upload using auth token {token}"),
            format!("bad \"{token}\""),
            "auth token: AAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            format!("see https://pod/x?Authorization={token}"),
        ] {
            let shown = clean(&text);
            assert!(
                !shown.contains("acct_") && !shown.contains("AAAA"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_b2_says_stays_readable() {
        for text in [
            "Sha1 did not match data received",
            "file_state_none: 4_z27c88f1d182b150646ff0b16_f1004ba650fe24e6b_d20150809_m012853_c100_v0009990_t0000",
            "File name segment must be no more than 250 bytes",
            "ü is no name",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\\nc");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_and_steers_nothing(text in "(.|\\PC|[\\x00-\\x1f]){0,700}") {
            let shown = clean(&text);
            prop_assert!(!shown.chars().any(steers));
            prop_assert!(shown.chars().count() <= 12 * (2 * LONGEST));
        }
    }
}
