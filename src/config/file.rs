//! config.yaml: where it is looked for, and how it becomes a [`Layer`].
//!
//! A fault becomes one line with file, line and what to write. Source lines are never quoted, because
//! the line could hold the application key.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Environment, Error, Layer};

/// The file's name in the working directory and in the user's configuration directory.
const NAME: &str = "config.yaml";
/// A configuration is short; more is some other file.
const LENGTH_MAX: u64 = 1 << 20;

/// A file that was found and read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) layer: Layer,
    /// Set when others can read a key that stands in the file.
    pub(super) warning: Option<String>,
}

/// Where the file is looked for when no option names it, first match wins.
pub(super) fn places(environment: &Environment<'_>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(NAME)];
    let absolute = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    if let Some(dir) =
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))
    {
        places.push(dir.join("b2fuse").join(NAME));
    }
    places
}

/// Reads the named file, or the first of `places` that exists.
pub(super) fn find(named: Option<&Path>, places: &[PathBuf]) -> Result<Option<Found>, Error> {
    match named {
        Some(path) => read(path).map(Some),
        None => match places.iter().find(|path| path.exists()) {
            Some(path) => read(path).map(Some),
            None => Ok(None),
        },
    }
}

fn read(path: &Path) -> Result<Found, Error> {
    let fault = |what: String| Error(format!("{}: {what}", path.display()));
    let unreadable = |e: std::io::Error| fault(format!("cannot be read: {e}"));
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(fault(
            "is not a file: name the configuration file itself".into(),
        ));
    }
    if metadata.len() > LENGTH_MAX {
        return Err(fault(
            "is larger than 1 MiB: this is no configuration file".into(),
        ));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?)
        .map_err(|_| fault("is not UTF-8 text: this is no configuration file".into()))?;
    let layer = parse(path, &text)?;
    let mode = metadata.permissions().mode() & 0o777;
    let warning = (layer.key.is_some() && mode & 0o044 != 0).then(|| {
        format!(
            "{0} holds the application key and can be read by others (mode {mode:o}): chmod 600 {0}",
            path.display()
        )
    });
    Ok(Found {
        path: path.to_owned(),
        layer,
        warning,
    })
}

/// Reads the text of `path`; the path is for messages only.
pub(super) fn parse(path: &Path, text: &str) -> Result<Layer, Error> {
    let name = path.display();
    let located = |e: &serde_yaml::Error| {
        let said = e.to_string();
        // The parser ends its text with the place, which stands in front here.
        let said = said.split(" at line ").next().unwrap_or_default();
        let line = second_line(said, text).or_else(|| e.location().map(|at| at.line()));
        match line {
            Some(line) => Error(format!("{name}:{line}: {}", explain(said))),
            None => Error(format!("{name}: {}", explain(said))),
        }
    };
    // A document that is not a mapping would be quoted in the parser's message.
    match serde_yaml::from_str(text) {
        Ok(Shape::Nothing) => return Ok(Layer::default()),
        Ok(Shape::Mapping) => {}
        Ok(Shape::Other) => {
            return Err(Error(format!(
                "{name}: has no keys: write lines such as `bucketName: my-bucket`"
            )));
        }
        Err(e) => return Err(located(&e)),
    }
    serde_yaml::from_str(text).map_err(|e| located(&e))
}

/// Where a key stands again; the parser only knows where the document starts.
fn second_line(said: &str, text: &str) -> Option<usize> {
    let key = said.strip_prefix("duplicate field `")?.split('`').next()?;
    let is_key = |line: &str| {
        line.strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let mut lines = text.lines().enumerate().filter(|(_, line)| is_key(line));
    lines.nth(1).map(|(index, _)| index + 1)
}

/// What a document is, its content ignored.
enum Shape {
    Nothing,
    Mapping,
    Other,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Shape::Mapping)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Shape::Other)
            }
            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::Nothing)
            }
            fn visit_none<E>(self) -> Result<Shape, E> {
                Ok(Shape::Nothing)
            }
            fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
                Ok(Shape::Other)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape::Other)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

fn keys() -> impl Iterator<Item = &'static str> {
    Layer::ENTRIES.iter().map(|entry| entry.key)
}

/// The parser's words, with a hint where a key of another tool or spelling was meant.
fn explain(said: &str) -> String {
    if said.starts_with("applicationKey: invalid") {
        // The parser would quote the value.
        return "applicationKey: write the key itself, one word".to_owned();
    }
    if said.starts_with("duplicate field") {
        return format!("{said}: write it once");
    }
    let Some(rest) = said.strip_prefix("unknown field `") else {
        return said.to_owned();
    };
    let key = rest.split('`').next().unwrap_or_default();
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    let meant = match plain.as_str() {
        "applicationkeyid" | "keyid" | "account" => Some("accountId"),
        "key" | "secretkey" | "secret" => Some("applicationKey"),
        "bucket" => Some("bucketName"),
        _ => keys().find(|known| known.replace('_', "").to_ascii_lowercase() == plain),
    };
    match (meant, plain.as_str()) {
        (Some(meant), _) => format!("unknown key `{key}`: write `{meant}`"),
        (None, "usedisk" | "tempfolder") => {
            format!("unknown key `{key}`: nothing is kept on disk, remove the line (see `memory`)")
        }
        (None, _) => format!(
            "unknown key `{key}`: write one of {}",
            keys().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(Path::new("c.yaml"), text)
            .expect_err("must be refused")
            .to_string()
    }

    /// Each broken file and the one line that the user sees.
    #[test]
    fn a_broken_file_is_answered_with_its_line_and_a_remedy() {
        for (text, message) in [
            (
                "accountId: a\nbukcet: b\n",
                "c.yaml:2: unknown key `bukcet`: write one of accountId, applicationKey, bucketId, \
                 bucketName, prefix, endpoint, enable_hashfiles, list_hashfiles, metadata_ttl, delete, \
                 read_only, uid, gid, umask, permissions, allow_other, memory, uploads, downloads, large_file, \
                 part_size, verify_reads, timeout, write_back, drain_timeout, rescue",
            ),
            (
                "bucket: b\n",
                "c.yaml:1: unknown key `bucket`: write `bucketName`",
            ),
            (
                "\naccount_id: b\n",
                "c.yaml:2: unknown key `account_id`: write `accountId`",
            ),
            (
                "enableHashfiles: true\n",
                "c.yaml:1: unknown key `enableHashfiles`: write `enable_hashfiles`",
            ),
            (
                "useDisk: true\n",
                "c.yaml:1: unknown key `useDisk`: nothing is kept on disk, remove the line (see `memory`)",
            ),
            (
                "# sizes\nmemory: lots\n",
                "c.yaml:2: memory: \"lots\" is not a size: write bytes or a unit, 512MiB say",
            ),
            (
                "memory: 1MiB\n",
                "c.yaml:1: memory: 1MiB is out of range: write at least 32MiB",
            ),
            (
                "memory: -5\n",
                "c.yaml:1: memory: \"-5\" is not a size: write bytes or a unit, 512MiB say",
            ),
            (
                "part_size: 1MB\n",
                "c.yaml:1: part_size: 1MB is out of range: write 5MB to 5GB, B2's bounds",
            ),
            (
                "uploads: 0\n",
                "c.yaml:1: uploads: \"0\" is out of range: write 1 to 256",
            ),
            (
                "uploads: [1]\n",
                "c.yaml:1: uploads: invalid type: sequence, expected one value on one line",
            ),
            (
                "metadata_ttl: soon\n",
                "c.yaml:1: metadata_ttl: \"soon\" is not a time: write seconds or a unit, 30s say",
            ),
            (
                "umask: 999\n",
                "c.yaml:1: umask: \"999\" is not a umask: write three octal digits, \"022\" say",
            ),
            (
                "enable_hashfiles: perhaps\n",
                "c.yaml:1: enable_hashfiles: \"perhaps\" is neither yes nor no: write true or false",
            ),
            (
                "permissions: none\n",
                "c.yaml:1: permissions: \"none\" is not known: write keep (each file has its own) or ignore (all show the defaults)",
            ),
            (
                "delete: trash\n",
                "c.yaml:1: delete: \"trash\" is not known: write hide (older versions stay) or purge (all versions go)",
            ),
            (
                "uid: root\n",
                "c.yaml:1: uid: \"root\" is not a number of a user or group: write one, 1000 say",
            ),
            (
                "write_back: soon\n",
                "c.yaml:1: write_back: \"soon\" is not a time: write off, or the time to wait after close, 5s say",
            ),
            (
                "endpoint: http://api.backblazeb2.com\n",
                "c.yaml:1: endpoint: http://api.backblazeb2.com would send the key unencrypted: write \
                 https://api.backblazeb2.com (plain http is for this machine only)",
            ),
            (
                "bucketName: two words\n",
                "c.yaml:1: bucketName: must be one word without blanks and colons",
            ),
            (
                "accountId: a\naccountId: b\n",
                "c.yaml:2: duplicate field `accountId`: write it once",
            ),
            (
                "just text\n",
                "c.yaml: has no keys: write lines such as `bucketName: my-bucket`",
            ),
            (
                "- a\n- b\n",
                "c.yaml: has no keys: write lines such as `bucketName: my-bucket`",
            ),
        ] {
            assert_eq!(fault(text), message, "{text}");
        }
    }

    #[test]
    fn no_message_quotes_the_application_key() {
        for text in [
            "K001verysecret\n",
            "applicationKey: [K001verysecret]\n",
            "applicationKey: {K001verysecret: 1}\n",
            "applicationKey: K001verysecret more\n",
            "applicationKey: \"K001verysecret\n",
            "applicationKey: K001verysecret\n  bucketId: x\n",
            "applicationKey: K001verysecret\nmemory: x\n",
            "applicationKey: K001verysecret: x\n",
            "applicationKey: !!int K001verysecret\n",
            "applicationKey: K001verysecret\napplicationKey: K001verysecret\n",
        ] {
            if let Err(e) = parse(Path::new("c.yaml"), text) {
                assert!(!e.to_string().contains("verysecret"), "{text} -> {e}");
            }
        }
    }

    #[test]
    fn values_keep_their_digits() {
        let layer = parse(
            Path::new("c.yaml"),
            "accountId: 001234567890\numask: 022\nbucketId: 12e4567890\nmemory: 67108864\n",
        )
        .expect("valid");
        assert_eq!(layer.account_id.expect("given").0, "001234567890");
        assert_eq!(layer.bucket_id.expect("given").0, "12e4567890");
        assert_eq!(layer.umask.expect("given").0, 0o22);
        assert_eq!(layer.memory.expect("given").0, 64 << 20);
    }

    #[test]
    fn an_empty_file_and_empty_values_say_nothing() {
        assert_eq!(
            parse(Path::new("c"), "# nothing\n").expect("valid"),
            Layer::default()
        );
        assert_eq!(
            parse(Path::new("c"), "memory:\nuid: ~\n").expect("valid"),
            Layer::default()
        );
    }

    #[test]
    fn the_users_directory_comes_after_the_working_directory() {
        let none = |_: &str| None;
        assert_eq!(places(&none), [PathBuf::from("config.yaml")]);
        let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        assert_eq!(
            places(&home)[1],
            Path::new("/home/u/.config/b2fuse/config.yaml")
        );
        let xdg = |name: &str| match name {
            "HOME" => Some("/home/u".into()),
            "XDG_CONFIG_HOME" => Some("/cfg".into()),
            _ => None,
        };
        assert_eq!(places(&xdg)[1], Path::new("/cfg/b2fuse/config.yaml"));
    }
}
