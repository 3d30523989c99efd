//! Lists of answers that grow no further than B2's limits, however many tiny members a body holds: a
//! row takes a hundred times the memory of the two bytes that it can be sent in.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most rows that any call asks for (API §4.1); whether they are more than were asked for is for
/// `guard` to say.
const ROWS: usize = 10_000;
/// 7,000 bytes of file info hold no more keys (API §5.3).
const KEYS: usize = 1000;

type Info = Option<BTreeMap<String, Option<String>>>;

pub(super) fn rows<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    input: D,
) -> Result<Vec<T>, D::Error> {
    struct Rows<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("rows")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Vec<T>, A::Error> {
            let mut rows = Vec::new();
            while let Some(row) = input.next_element()? {
                if rows.len() == ROWS {
                    return Err(A::Error::custom(format!("more than {ROWS} rows")));
                }
                rows.push(row);
            }
            Ok(rows)
        }
    }
    input.deserialize_seq(Rows(PhantomData))
}

pub(super) fn info<'de, D: Deserializer<'de>>(input: D) -> Result<Info, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Info;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("file info")
        }

        fn visit_unit<E: Error>(self) -> Result<Info, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Info, A::Error> {
            let mut info = BTreeMap::new();
            while let Some((key, value)) = input.next_entry()? {
                if info.len() == KEYS {
                    return Err(A::Error::custom(format!(
                        "more than {KEYS} keys of file info"
                    )));
                }
                info.insert(key, value);
            }
            Ok(Some(info))
        }
    }
    input.deserialize_any(Pairs)
}
