//! How numbers and names of a running mount are told to people.

use crate::mount::control::{Bandwidth, ToStore};
use crate::mount::{human, span};

/// `1234567` is `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Text from outside on one line, without what would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// `, 1.0 MiB/s, 20 s left`, as far as it is known.
pub(super) fn speed(rate: u64, seconds_left: Option<u64>) -> String {
    match (rate, seconds_left) {
        (0, _) => String::new(),
        (rate, None) => format!(", {}/s", human(rate)),
        (rate, Some(seconds)) => format!(", {}/s, {} left", human(rate), span(seconds)),
    }
}

/// What is not in B2 yet, and how long it will take; `nothing` where there is nothing.
pub(super) fn to_store(all: &ToStore) -> String {
    let speed = match (all.files, all.removals) {
        (0, 0) => String::new(),
        _ => speed(all.rate, all.seconds_left),
    };
    format!("{}{speed}", amount(all))
}

/// What is not in B2 yet; `nothing` where there is nothing.
pub(super) fn amount(all: &ToStore) -> String {
    if all.files == 0 && all.removals == 0 {
        return "nothing".to_owned();
    }
    let mut text = format!(
        "{}, {}",
        counted(all.files as u64, "file"),
        human(all.bytes)
    );
    if all.removals > 0 {
        text.push_str(", ");
        text.push_str(&counted(all.removals as u64, "removal"));
    }
    text
}

/// `2.0 MiB/s`, or `off`.
pub(super) fn limit(limit: Bandwidth) -> String {
    limit.bytes().map_or_else(
        || "off".to_owned(),
        |bytes| format!("{}/s", human(bytes.get())),
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123_456), "123,456");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}c"), "a?[2Jb?c");
        assert_eq!(limit(None.into()), "off");
        assert_eq!(limit(NonZeroU64::new(2 << 20).into()), "2.0 MiB/s");
    }

    #[test]
    fn what_is_to_be_stored_is_told_in_one_line() {
        let mut all = ToStore::default();
        assert_eq!(to_store(&all), "nothing");
        all.removals = 1;
        assert_eq!(to_store(&all), "0 files, 0 bytes, 1 removal");
        all.files = 2;
        all.bytes = 3 << 20;
        all.rate = 1 << 20;
        all.seconds_left = Some(3);
        assert_eq!(
            to_store(&all),
            "2 files, 3.0 MiB, 1 removal, 1.0 MiB/s, 3 s left"
        );
    }
}
