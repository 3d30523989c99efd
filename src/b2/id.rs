//! File ids, kept small: a mount remembers one for every file that it knows.
//!
//! An id is opaque (API §1), yet all ids of a bucket look alike: the same words and underscores around
//! runs of hexadecimal digits. What they have in common is kept once, and each id holds only its digits,
//! four bits each. An id that looks different is kept as it is.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The opaque id of one immutable version of a file (at most 200 characters, API §1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileId(Form);

/// An id has one form for as long as the process runs, so that equal ids are equal here.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    Packed { shape: u16, digits: [u8; DIGITS] },
    Plain(Arc<str>),
}

/// Bytes for digits: what fits beside the other form's pointer without making the whole larger than 40.
const DIGITS: usize = 36;
/// What ids of one bucket have in common ends with the part before this mark.
const MARK: char = '_';

/// What alike ids have in common: literal text, and runs of hexadecimal digits by their lengths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shape(Box<[IdPiece]>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum IdPiece {
    Text(Box<str>),
    Digits(u8),
}

/// Every shape seen, in the order of being seen.
#[derive(Default)]
struct Shapes {
    all: Vec<Shape>,
    numbers: HashMap<Shape, u16>,
}

impl Shapes {
    /// Most shapes kept; ids of later ones stay plain. One bucket has a handful.
    const MAX: usize = 1024;

    fn known() -> &'static RwLock<Self> {
        static KNOWN: OnceLock<RwLock<Shapes>> = OnceLock::new();
        KNOWN.get_or_init(RwLock::default)
    }

    fn number(shape: Shape) -> Option<u16> {
        let known = Self::known().read().numbers.get(&shape).copied();
        if known.is_some() {
            return known;
        }
        let mut shapes = Self::known().write();
        if let Some(number) = shapes.numbers.get(&shape) {
            return Some(*number);
        }
        if shapes.all.len() >= Self::MAX {
            return None;
        }
        let number = shapes.all.len() as u16;
        shapes.all.push(shape.clone());
        shapes.numbers.insert(shape, number);
        Some(number)
    }
}

fn digit(c: char) -> Option<u8> {
    match c {
        '0'..='9' | 'a'..='f' => c.to_digit(16).map(|value| value as u8),
        _ => None,
    }
}

impl FileId {
    /// Takes an id as B2 gave it.
    pub fn new(id: &str) -> Self {
        Self(Self::pack(id).unwrap_or_else(|| Form::Plain(Arc::from(id))))
    }

    fn pack(id: &str) -> Option<Form> {
        let mut marks = id.match_indices(MARK).map(|(at, _)| at);
        let (_, second) = (marks.next()?, marks.next()?);
        let (common, own) = id.split_at(second);
        let mut pieces = vec![IdPiece::Text(common.into())];
        let mut digits = [0; DIGITS];
        let mut count = 0;
        let mut rest = own;
        while !rest.is_empty() {
            let run = rest.find(|c| digit(c).is_none()).unwrap_or(rest.len());
            if run > 0 {
                for value in rest[..run].chars().filter_map(digit) {
                    let byte = digits.get_mut(count / 2)?;
                    *byte |= value << (4 * (count % 2));
                    count += 1;
                }
                pieces.push(IdPiece::Digits(u8::try_from(run).ok()?));
                rest = &rest[run..];
            }
            let text = rest.find(|c| digit(c).is_some()).unwrap_or(rest.len());
            if text > 0 {
                pieces.push(IdPiece::Text(rest[..text].into()));
                rest = &rest[text..];
            }
        }
        let shape = Shapes::number(Shape(pieces.into()))?;
        Some(Form::Packed { shape, digits })
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, digits) = match &self.0 {
            Form::Plain(id) => return f.write_str(id),
            Form::Packed { shape, digits } => (*shape, digits),
        };
        let shapes = Shapes::known().read();
        let mut nibbles = digits.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        let pieces = shapes.all.get(usize::from(shape));
        for piece in pieces.into_iter().flat_map(|shape| &*shape.0) {
            match piece {
                IdPiece::Text(text) => f.write_str(text)?,
                IdPiece::Digits(count) => {
                    for nibble in nibbles.by_ref().take(usize::from(*count)) {
                        write!(f, "{nibble:x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = "4_z27c88f1d182b150646ff0b16_f1004ba650fe24e6b_d20150809_m012853_c100_v0009990_t0000_u01439083733000";

    #[test]
    fn a_real_id_takes_no_memory_of_its_own() {
        let id = FileId::new(REAL);
        assert!(matches!(id.0, Form::Packed { .. }));
        assert_eq!(id.to_string(), REAL);
        assert_eq!(size_of::<FileId>(), 40);
    }

    #[test]
    fn ids_of_one_bucket_share_a_shape() {
        let other = REAL.replace("f1004ba650fe24e6b", "f2ffffffffffffff0");
        let shape = |id: &str| match FileId::new(id).0 {
            Form::Packed { shape, .. } => Some(shape),
            Form::Plain(_) => None,
        };
        assert_eq!(shape(REAL), shape(&other));
        assert_ne!(FileId::new(REAL), FileId::new(&other));
    }

    proptest! {
        #[test]
        fn any_id_comes_back_as_it_was(id in "[0-9a-fz_uA-Gä]{0,200}") {
            prop_assert_eq!(FileId::new(&id).to_string(), &*id);
            prop_assert_eq!(FileId::new(&id), FileId::new(&id));
        }

        #[test]
        fn different_ids_differ(a in "4_z[0-9]_f[0-9a-f]{1,3}_[a-f0-9]{0,3}", b in "4_z[0-9]_f[0-9a-f]{1,3}_[a-f0-9]{0,3}") {
            prop_assert_eq!(a == b, FileId::new(&a) == FileId::new(&b));
        }
    }
}
