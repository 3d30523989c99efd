//! The last messages, for whoever looks at a running mount.

use std::collections::VecDeque;

/// Messages that are kept.
const MOST: usize = 50;
/// Bytes of each.
const LONGEST: usize = 400;

/// The last messages, the oldest first; bounded whatever is said.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<String>);

impl Kept {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn keep(&mut self, line: &str) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        let line = line.trim_end();
        let mut end = line.len().min(LONGEST);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_back(line[..end].to_owned());
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_long_ones_are_cut() {
        let mut kept = Kept::default();
        for number in 0..MOST + 3 {
            kept.keep(&format!("{number}\n"));
        }
        kept.keep(&"ü".repeat(LONGEST));
        let all = kept.all();
        assert_eq!(all.len(), MOST);
        assert_eq!(all.first().map(String::as_str), Some("4"));
        assert_eq!(all.last().map(String::len), Some(LONGEST));
    }
}
