//! The arguments of a call, from a JSON body or from a query (API §1), with the service's errors for wrong ones.

use serde_json::{Map, Value};

use crate::emulator::error::{ApiError, Result};
use crate::emulator::text::decode;

#[derive(Debug, Default)]
pub(super) struct Params {
    map: Map<String, Value>,
    from_query: bool,
}

impl Params {
    pub(super) fn from_json(body: &[u8]) -> Result<Self> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self {
                map,
                from_query: false,
            }),
            Ok(_) => Err(ApiError::bad_json("The request body must be a JSON object")),
            Err(error) => Err(ApiError::bad_json(error.to_string())),
        }
    }

    pub(super) fn from_query(query: &str) -> Result<Self> {
        let mut map = Map::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(key), decode(value)) {
                (Some(key), Some(value)) => map.insert(key, Value::String(value)),
                _ => return Err(ApiError::bad_request("Bad percent-encoding in the query")),
            };
        }
        Ok(Self {
            map,
            from_query: true,
        })
    }

    /// Refuses fields that the call does not have.
    pub(super) fn only(&self, fields: &[&str]) -> Result<()> {
        match self.map.keys().find(|key| !fields.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_json(format!("unknown field: {key}"))),
            None => Ok(()),
        }
    }

    /// `None` when absent or null.
    pub(super) fn raw(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.raw(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "a string")),
        }
    }

    pub(super) fn need(&self, key: &str) -> Result<&str> {
        self.text(key)?
            .ok_or_else(|| ApiError::bad_request(format!("required field {key} is missing")))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>> {
        match self.raw(key) {
            None => Ok(None),
            Some(Value::String(text)) if self.from_query => {
                text.parse().map(Some).map_err(|_| wrong(key, "a number"))
            }
            Some(value) => match (value.as_u64(), value.as_i64()) {
                (Some(number), _) => Ok(Some(number)),
                (None, Some(_)) => Err(ApiError::out_of_range(format!("{key} is negative"))),
                (None, None) => Err(wrong(key, "a number")),
            },
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        match self.raw(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if self.from_query && text == "true" => Ok(true),
            Some(Value::String(text)) if self.from_query && text == "false" => Ok(false),
            Some(_) => Err(wrong(key, "true or false")),
        }
    }

    /// A list of strings; in a query with commas.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        match self.raw(key) {
            None => Ok(None),
            Some(Value::String(text)) if self.from_query => {
                Ok(Some(text.split(',').map(str::to_owned).collect()))
            }
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Some)
                .ok_or_else(|| wrong(key, "a list of strings")),
            Some(_) => Err(wrong(key, "a list of strings")),
        }
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<&Map<String, Value>>> {
        match self.raw(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(wrong(key, "an object")),
        }
    }
}

fn wrong(key: &str, wanted: &str) -> ApiError {
    ApiError::bad_json(format!("field {key} must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_means_the_same_as_a_body() {
        let query = Params::from_query("bucketId=b&maxFileCount=7&prefix=a%2Fb+c").expect("parses");
        let body = Params::from_json(br#"{"bucketId":"b","maxFileCount":7,"prefix":"a/b c"}"#)
            .expect("parses");
        for params in [query, body] {
            assert_eq!(params.need("bucketId").ok(), Some("b"));
            assert_eq!(params.number("maxFileCount").ok(), Some(Some(7)));
            assert_eq!(params.text("prefix").ok(), Some(Some("a/b c")));
            assert_eq!(params.text("delimiter").ok(), Some(None));
        }
    }

    #[test]
    fn wrong_types_and_unknown_fields_are_bad_json() {
        let params = Params::from_json(br#"{"bucketId":7,"maxFileCount":"7"}"#).expect("parses");
        for error in [
            params.text("bucketId").expect_err("a number"),
            params.number("maxFileCount").expect_err("a string"),
            params.only(&["bucketId"]).expect_err("unknown"),
            Params::from_json(b"{").expect_err("broken"),
        ] {
            assert_eq!((error.status, &*error.code), (400, "bad_json"));
        }
    }
}
