//! Which known word was meant by one that is misspelt.

/// Letters that may be wrong.
const SLIPS: usize = 3;

/// The known word with the fewest letters to put in, take out or change; `None` where none is near.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (distance(word, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= SLIPS.min(known.len() / 2))
        .map(|(_, known)| known)
}

/// How many letters have to be put in, taken out or changed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let meant = |word| nearest(word, ["memory", "uid", "gid", "bucketname"].into_iter());
        for (word, known) in [
            ("memroy", "memory"),
            ("memry", "memory"),
            ("guid", "uid"),
            ("bukcetname", "bucketname"),
        ] {
            assert_eq!(meant(word), Some(known), "{word}");
        }
        for word in ["", "plugins", "x"] {
            assert_eq!(meant(word), None, "{word}");
        }
    }
}
