//! Reads one table of a database file of SQLite, whole and without its indices.
//!
//! SQLite itself would be a megabyte of C in the program and most of a minute of its build, for one row of one table whose
//! format has been fixed since 2004 (<https://www.sqlite.org/fileformat2.html>). A file that is being written, or does not
//! make sense, is an error; nothing of it is believed, and every step ends within the file.

/// Pages and rows that are looked at: an account's file has less than a dozen of each.
const STEPS_MAX: usize = 10_000;
/// Bytes of all rows, each with the names of its columns. Those of a sound file are less than it has; but cells may overlap,
/// and a file of a mebibyte that somebody has made could fill the memory.
const BYTES_MAX: usize = 4 << 20;
/// Page 1 begins with the header of the file.
const HEADER: usize = 100;
/// What the first page lists tables in, as its first columns.
const SCHEMA: [&str; 5] = ["type", "name", "tbl_name", "rootpage", "sql"];

/// Columns by name; numbers as text, and nothing for NULL.
pub(super) type Row = Vec<(String, Option<String>)>;

/// All rows of a table in the order of their numbers, or what is wrong with the file.
pub(super) fn table(bytes: &[u8], name: &str) -> Result<Vec<Row>, &'static str> {
    let file = Database::new(bytes)?;
    let columns = SCHEMA.map(str::to_owned);
    let value = |row: &Row, column: &str| -> Option<String> {
        row.iter().find(|(known, _)| known == column)?.1.clone()
    };
    for row in file.rows(1, &columns)? {
        if value(&row, "type").as_deref() == Some("table")
            && value(&row, "name").as_deref() == Some(name)
        {
            let root = value(&row, "rootpage").and_then(|root| root.parse().ok());
            let sql = value(&row, "sql").unwrap_or_default();
            return file.rows(root.ok_or(DAMAGED)?, &columns_of(&sql));
        }
    }
    Err("it has no such table")
}

const DAMAGED: &str = "it is damaged";
const TOO_LARGE: &str = "it is too large for an account";

/// Rows, no more than an account's file can have.
#[derive(Default)]
struct Rows {
    all: Vec<Row>,
    bytes: usize,
}

impl Rows {
    fn add(&mut self, row: Row, payload: usize) {
        let names = row.iter().map(|(name, _)| name.len());
        self.bytes += payload + names.sum::<usize>();
        self.all.push(row);
    }

    fn too_many(&self) -> bool {
        self.all.len() > STEPS_MAX || self.bytes > BYTES_MAX
    }
}

struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// Bytes of a page that hold something.
    usable: usize,
}

impl<'a> Database<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(b"SQLite format 3\0") || bytes.len() < HEADER {
            return Err("it is no database of SQLite");
        }
        let page_size = match number(bytes, 16, 2).ok_or(DAMAGED)? {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => size as usize,
            _ => return Err(DAMAGED),
        };
        let usable = page_size
            .checked_sub(usize::from(bytes[20]))
            .filter(|usable| *usable >= 480)
            .ok_or(DAMAGED)?;
        if number(bytes, 56, 4) != Some(1) {
            return Err("its texts are not UTF-8");
        }
        Ok(Self {
            bytes,
            page_size,
            usable,
        })
    }

    fn page(&self, number: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(number)
            .ok()?
            .checked_sub(1)?
            .checked_mul(self.page_size)?;
        self.bytes.get(start..start.checked_add(self.page_size)?)
    }

    /// The rows below a root page.
    fn rows(&self, root: u64, columns: &[String]) -> Result<Vec<Row>, &'static str> {
        let mut rows = Rows::default();
        // The next is the last: children are put in backwards.
        let mut pages = vec![root];
        let mut steps = 0;
        while let Some(at) = pages.pop() {
            steps += 1;
            if steps + pages.len() + rows.all.len() > STEPS_MAX {
                return Err(TOO_LARGE);
            }
            let mut below = Vec::new();
            self.look(at, columns, &mut rows, &mut below)
                .ok_or(DAMAGED)?;
            if rows.too_many() {
                return Err(TOO_LARGE);
            }
            pages.extend(below.into_iter().rev());
        }
        Ok(rows.all)
    }

    /// One page of a table's tree: its rows, or the pages below it.
    fn look(
        &self,
        at: u64,
        columns: &[String],
        rows: &mut Rows,
        below: &mut Vec<u64>,
    ) -> Option<()> {
        const INTERIOR: u8 = 0x05;
        const LEAF: u8 = 0x0d;
        let page = self.page(at)?;
        let start = if at == 1 { HEADER } else { 0 };
        let kind = *page.get(start)?;
        let cells = number(page, start + 3, 2)? as usize;
        let pointers = start + if kind == INTERIOR { 12 } else { 8 };
        for cell in 0..cells {
            let cell = number(page, pointers + 2 * cell, 2)? as usize;
            match kind {
                INTERIOR => below.push(number(page, cell, 4)?),
                LEAF => {
                    let (length, next) = varint(page, cell)?;
                    let (_row_number, next) = varint(page, next)?;
                    let payload = self.payload(page, next, usize::try_from(length).ok()?)?;
                    rows.add(record(&payload, columns)?, payload.len());
                    if rows.too_many() {
                        return Some(());
                    }
                }
                _ => return None,
            }
        }
        match kind {
            INTERIOR => below.push(number(page, start + 8, 4)?),
            LEAF => {}
            _ => return None,
        }
        Some(())
    }

    /// A row's bytes: as many as the page keeps, and then a chain of pages.
    fn payload(&self, page: &[u8], start: usize, length: usize) -> Option<Vec<u8>> {
        if length > self.bytes.len() {
            return None;
        }
        let most = self.usable - 35;
        let here = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let kept = least + (length - least) % (self.usable - 4);
            if kept <= most { kept } else { least }
        };
        let mut payload = page.get(start..start.checked_add(here)?)?.to_vec();
        let mut next = match length - here {
            0 => 0,
            _ => number(page, start + here, 4)?,
        };
        while payload.len() < length {
            let page = self.page(next)?;
            let some = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(page.get(4..4 + some)?);
            next = number(page, 0, 4)?;
        }
        Some(payload)
    }
}

/// A number of so many bytes, the highest first.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, &byte| (sum << 8) | u64::from(byte)),
    )
}

/// Seven bits a byte, the ninth byte whole; and where the next thing begins.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        if index == 8 {
            return Some(((value << 8) | u64::from(byte), at + 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

/// Types and then values. Columns that were added to the table later may be missing at the end.
fn record(payload: &[u8], columns: &[String]) -> Option<Row> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header)
        .ok()
        .filter(|&end| end <= payload.len())?;
    let mut value_at = header;
    let mut row = Vec::new();
    let mut names = columns.iter();
    while at < header {
        let (kind, next) = varint(payload, at)?;
        at = next;
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = payload.get(value_at..value_at.checked_add(len)?)?;
        value_at += len;
        let value = match kind {
            0 | 7 => None,
            8 => Some("0".to_owned()),
            9 => Some("1".to_owned()),
            1..=6 => number(bytes, 0, len).map(|number| number.to_string()),
            _ => Some(String::from_utf8_lossy(bytes).into_owned()),
        };
        if let Some(name) = names.next() {
            row.push((name.clone(), value));
        }
    }
    row.extend(names.map(|name| (name.clone(), None)));
    Some(row)
}

/// The columns' names in a `CREATE TABLE`: what stands first between the commas of the outermost brackets.
fn columns_of(sql: &str) -> Vec<String> {
    let inner = sql.split_once('(').map_or("", |(_, inner)| inner);
    let mut columns = vec![String::new()];
    let mut depth = 0;
    for c in inner.chars() {
        match c {
            ')' if depth == 0 => break,
            ',' if depth == 0 => columns.push(String::new()),
            _ => {
                depth += i32::from(c == '(') - i32::from(c == ')');
                if let Some(last) = columns.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    let name = |column: String| {
        let first = column.split_whitespace().next().unwrap_or_default();
        first.trim_matches(['"', '`', '[', ']', '\'']).to_owned()
    };
    columns.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_stand_between_the_outermost_commas() {
        let sql = "CREATE TABLE \"account\" (\n id TEXT NOT NULL,\n part INT DEFAULT (max(1, 2)),\"key\" TEXT, allowed TEXT)";
        assert_eq!(columns_of(sql), ["id", "part", "key", "allowed"]);
        assert_eq!(columns_of("nonsense"), [""]);
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        for (bytes, value, next) in [
            (&[0x7f][..], 127, 1),
            (&[0x81, 0x00], 128, 2),
            (&[0xff; 9], u64::MAX, 9),
        ] {
            assert_eq!(varint(bytes, 0), Some((value, next)));
        }
        assert_eq!(varint(&[0x80], 0), None);
    }

    #[test]
    fn a_row_may_lack_what_was_added_to_its_table_later() {
        let columns = ["a", "b", "c"].map(str::to_owned);
        // Two types (text of two bytes, a number of one), then their values.
        let row = record(&[3, 17, 1, b'h', b'i', 7], &columns).expect("a row");
        let values: Vec<_> = row.iter().map(|(_, value)| value.as_deref()).collect();
        assert_eq!(values, [Some("hi"), Some("7"), None]);
    }

    /// The header of a file with one page that may hold anything.
    fn file(page: &[u8]) -> Vec<u8> {
        let mut bytes = b"SQLite format 3\0".to_vec();
        bytes.extend_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
        bytes.resize(56, 0);
        bytes.extend_from_slice(&[0, 0, 0, 1]);
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(page);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[test]
    fn a_chain_of_pages_that_leads_back_ends() {
        // An interior page whose only child is itself.
        let page = [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(table(&file(&page), "account").is_err());
    }

    #[test]
    fn cells_that_share_their_bytes_do_not_fill_the_memory() {
        // A leaf whose 160 cells are one: a text of 992 pages, which follow.
        const LENGTH: u64 = 39 + 508 * 992;
        let text = varint_of(13 + 2 * (LENGTH - 4));
        let cell = [&varint_of(LENGTH)[..], &[1, 4], &text].concat();
        let mut page = vec![13, 0, 0, 0, 160, 0, 0, 0];
        page.extend([440_u16.to_be_bytes(); 160].concat());
        page.resize(440 - HEADER, 0);
        page.extend(&cell);
        page.resize(440 - HEADER + 4 + 39, 0);
        page.extend(2_u32.to_be_bytes());
        let mut bytes = file(&page);
        for next in 3_u32..995 {
            bytes.extend(next.to_be_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), b'x');
        }
        assert_eq!(table(&bytes, "account"), Err(TOO_LARGE));
        // One of them is as good as any.
        bytes[HEADER + 4] = 1;
        assert_eq!(table(&bytes, "account"), Err("it has no such table"));
    }

    /// The shortest form of a number below 2^21.
    fn varint_of(number: u64) -> Vec<u8> {
        let septets = [number >> 14, number >> 7, number].map(|rest| (rest & 0x7f) as u8);
        vec![septets[0] | 0x80, septets[1] | 0x80, septets[2]]
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_rows_or_an_error(page in proptest::collection::vec(any::<u8>(), 0..2000), kind in prop_oneof![Just(5_u8), Just(13), any::<u8>()]) {
            let _ = table(&page, "account");
            let mut page = page;
            if let Some(first) = page.first_mut() { *first = kind; }
            let _ = table(&file(&page), "account");
        }
    }
}
