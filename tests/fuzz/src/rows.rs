//! A bucket as one text: what a hostile server, or another tool, may say of versions.
//!
//! A line is a row, and its words have a tab between them: the name, and then `key=value` of file info. Keys that begin with
//! `@` are the row's own: `@size`, `@time`, `@action`, `@id`, `@sha1`, `@type`. Listings are consistent, so that what is read
//! gets as far as it can.

use serde_json::{Value, json};

/// Most rows that are looked at.
const MOST: usize = 64;
/// Bytes of a content that are sent at once.
const CONTENT: u64 = 64 << 10;

/// Rows in the order of their names.
#[derive(Clone)]
pub struct Rows(Vec<Value>);

impl Rows {
    /// Those that a text describes.
    pub fn of(text: &str) -> Self {
        let mut rows: Vec<Value> = text.lines().take(MOST).enumerate().map(row).collect();
        rows.sort_by(|one, other| name(one).cmp(name(other)));
        Self(rows)
    }

    /// The answer to a request: its head in lower case, and its body.
    pub(super) fn answer(&self, head: &str, body: &[u8]) -> Vec<u8> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let path = head.lines().next().unwrap_or_default();
        if path.contains("b2_list_file_") {
            return whole(
                200,
                &json!({"files": self.list(&asked), "nextFileName": null}),
            );
        }
        if path.contains("b2_list_") {
            return whole(200, &json!({"files": [], "parts": []}));
        }
        if path.contains("b2_download_file_by_id") {
            return content(head);
        }
        let found = self.0.iter().find(|row| row["fileId"] == asked["fileId"]);
        match found.filter(|_| path.contains("b2_get_file_info")) {
            Some(row) => whole(200, row),
            None => whole(
                400,
                &json!({"code": "bad_request", "message": "no", "status": 400}),
            ),
        }
    }

    fn list(&self, asked: &Value) -> Vec<Value> {
        let text = |key: &str| asked[key].as_str().unwrap_or_default();
        let (prefix, start) = (text("prefix"), text("startFileName"));
        let most = asked["maxFileCount"].as_u64().unwrap_or(100) as usize;
        let mut listed: Vec<Value> = Vec::new();
        for row in &self.0 {
            let Some(rest) = name(row)
                .strip_prefix(prefix)
                .filter(|_| name(row) >= start)
            else {
                continue;
            };
            let folder = rest.find('/').filter(|_| text("delimiter") == "/");
            let row = match folder {
                None => row.clone(),
                Some(end) => json!({
                    "action": "folder", "fileId": null, "fileName": format!("{prefix}{}", &rest[..=end]),
                }),
            };
            if folder.is_none() || listed.last() != Some(&row) {
                listed.push(row);
            }
        }
        listed.truncate(most);
        listed
    }
}

fn row((number, line): (usize, &str)) -> Value {
    let mut words = line.split('\t');
    let mut row = json!({
        "action": "upload", "contentLength": 9, "contentSha1": null, "contentType": "text/plain",
        "fileId": format!("4_z{number}"), "fileInfo": {}, "fileName": words.next(),
        "uploadTimestamp": 1_700_000_000_000_u64,
    });
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let own = match key {
            "@size" => "contentLength",
            "@time" => "uploadTimestamp",
            "@action" => "action",
            "@id" => "fileId",
            "@sha1" => "contentSha1",
            "@type" => "contentType",
            _ => {
                row["fileInfo"][key] = value.into();
                continue;
            }
        };
        row[own] = match value.parse::<i64>() {
            Ok(number) if own == "contentLength" || own == "uploadTimestamp" => number.into(),
            _ if own == "contentLength" || own == "uploadTimestamp" => Value::Null,
            _ => value.into(),
        };
    }
    row
}

fn name(row: &Value) -> &str {
    row["fileName"].as_str().unwrap_or_default()
}

fn whole(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The bytes that are asked for.
fn content(head: &str) -> Vec<u8> {
    let range = head.lines().find_map(|line| {
        let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?))
    });
    let Some((first, last)) = range.filter(|(first, last)| last - first < CONTENT) else {
        return whole(416, &json!({"code": "range_not_satisfiable"}));
    };
    let length = last - first + 1;
    let mut answer = format!(
        "HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{last}/*\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + length as usize, b'x');
    answer
}
