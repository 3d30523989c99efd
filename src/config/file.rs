//! config.yaml: where it is looked for, and how it becomes a [`Layer`].
//!
//! A fault becomes one line with file, line and what to write. Source lines are never quoted, because
//! the line could hold the application key.

use std::cmp::Reverse;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::borrowed::looks_like_rclone;
use super::nearest::nearest;
use super::{Environment, Error, KeyFile, Layer, Profile, Which};

/// The file's name in the working directory and in the user's configuration directory.
const NAME: &str = "config.yaml";
/// A configuration is short; more is some other file.
const LENGTH_MAX: u64 = 1 << 20;

/// Flow brackets open at once: each value stands on one line, and the parser's time grows with the square of this.
const BRACKETS_MAX: usize = 64;

/// A file that was found and read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Where it was found, if nobody has named it.
    pub(super) place: Option<Place>,
    pub(super) layer: Layer,
}

/// Where a file may be that no option names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The user's own configuration directory.
    User(PathBuf),
    /// The working directory, which may be anybody's, or a copy of anybody's.
    Here(PathBuf),
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::User(path) | Self::Here(path) => path,
        }
    }
}

/// Where the file is looked for when no option names it, first match wins.
pub(super) fn places(environment: &Environment<'_>) -> Vec<Place> {
    let user = directory(environment).map(|dir| Place::User(dir.join(NAME)));
    let here = Place::Here(PathBuf::from(NAME));
    user.into_iter().chain([here]).collect()
}

/// The user's configuration directory.
fn directory(environment: &Environment<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let home = || absolute("HOME").map(|home| home.join(".config"));
    let user = absolute("XDG_CONFIG_HOME").or_else(home);
    user.map(|dir| dir.join("b2fuse"))
}

/// Where the file of a profile is, or without one the user's config.yaml.
pub(super) fn of_user(
    profile: Option<&Profile>,
    environment: &Environment<'_>,
) -> Result<PathBuf, Error> {
    let Some(directory) = directory(environment) else {
        return Err(Error(
            "neither XDG_CONFIG_HOME nor HOME is set: name the file with --config".into(),
        ));
    };
    Ok(match profile {
        Some(profile) => directory.join(format!("{}.yaml", profile.name())),
        None => directory.join(NAME),
    })
}

/// Reads the file that is meant. What the user should know is added to `warnings`.
pub(super) fn choose(
    which: &Which,
    places: &[Place],
    environment: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Found>, Error> {
    match which {
        Which::Search => find(None, places, warnings),
        Which::Named(path) => find(Some(path), places, warnings),
        Which::Here(path) => find(None, &[Place::Here(path.clone())], warnings),
        Which::Profile(profile) => {
            let path = of_user(Some(profile), environment)?;
            if !path.exists() {
                let (path, name) = (path.display(), profile.name());
                return Err(Error(format!(
                    "there is no profile {name}: {path} does not exist: `b2fuse setup --profile {name}` writes it"
                )));
            }
            find(Some(&path), places, warnings)
        }
    }
}

/// Reads the named file, or the first of `places` that exists and may be used. What the user should know is added
/// to `warnings`.
pub(super) fn find(
    named: Option<&Path>,
    places: &[Place],
    warnings: &mut Vec<String>,
) -> Result<Option<Found>, Error> {
    if let Some(path) = named {
        return Source::open(path)?.read(None, warnings).map(Some);
    }
    for place in places.iter().filter(|place| place.path().exists()) {
        let source = Source::open(place.path());
        match place {
            Place::User(_) => return source?.read(Some(place), warnings).map(Some),
            Place::Here(path) => {
                let stranger = |why: &str| {
                    let path = path.display();
                    format!(
                        "{path} in this directory is not used: {why}; name it with --config if it is meant"
                    )
                };
                let Ok(source) = source else {
                    continue;
                };
                if !source.speaks_of_b2fuse() {
                    continue;
                }
                if source.metadata.uid() != nix::unistd::geteuid().as_raw() {
                    warnings.push(stranger("it belongs to another user"));
                } else if source.others_may_write() {
                    warnings.push(stranger("others may write it"));
                } else {
                    return source.read(Some(place), warnings).map(Some);
                }
            }
        }
    }
    Ok(None)
}

/// A file that was opened once: what is checked is what is read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    metadata: Metadata,
    pub(super) text: String,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let (mut source, bytes) = Self::open_bytes(path)?;
        source.text = String::from_utf8(bytes).map_err(|_| {
            let path = path.display();
            Error(format!(
                "{path}: is not UTF-8 text: this is no configuration file"
            ))
        })?;
        Ok(source)
    }

    /// The same for a file that holds no text.
    pub(super) fn open_bytes(path: &Path) -> Result<(Self, Vec<u8>), Error> {
        let fault = |what: String| Error(format!("{}: {what}", path.display()));
        let unreadable = |e: std::io::Error| fault(format!("cannot be read: {e}"));
        // A fifo would wait for somebody who writes.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(fault(
                "is not a file: name the configuration file itself".into(),
            ));
        }
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > LENGTH_MAX {
            return Err(fault(
                "is larger than 1 MiB: this is no configuration file".into(),
            ));
        }
        let source = Self {
            path: path.to_owned(),
            metadata,
            text: String::new(),
        };
        Ok((source, bytes))
    }

    /// Many programs have a config.yaml: whether a line of this one begins with a key of ours.
    fn speaks_of_b2fuse(&self) -> bool {
        self.text.lines().any(|line| {
            line.split_once(':')
                .is_some_and(|(key, _)| keys().any(|known| known == key.trim_end()))
        })
    }

    pub(super) fn mode(&self) -> u32 {
        self.metadata.permissions().mode() & 0o777
    }

    pub(super) fn others_may_write(&self) -> bool {
        others_may_write(self.mode(), self.metadata.uid(), self.metadata.gid())
    }

    fn read(self, place: Option<&Place>, warnings: &mut Vec<String>) -> Result<Found, Error> {
        let (mode, path) = (self.mode(), self.path.display());
        if self.others_may_write() {
            return Err(Error(format!(
                "{path}: others may write it (mode {mode:o}), and could have the key sent elsewhere: chmod go-w {path}"
            )));
        }
        if let Some(remote) = looks_like_rclone(&self.text) {
            return Err(Error(format!(
                "{path}: is a configuration of rclone: leave --config out, and write --from-rclone {remote} (RCLONE_CONFIG={path} where rclone has it elsewhere)"
            )));
        }
        let mut layer = parse(&self.path, &self.text)?;
        if matches!(place, Some(Place::Here(_))) {
            stays_in_this_file(&layer, &self.path)?;
        }
        let whole = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let below = |file: KeyFile| file.below(whole.parent().unwrap_or(Path::new("/")));
        layer.key_file = layer.key_file.map(below);
        if layer.key.is_some() && mode & 0o044 != 0 {
            warnings.push(format!(
                "{path} holds the application key and can be read by others (mode {mode:o}): chmod 600 {path}"
            ));
        }
        Ok(Found {
            path: self.path,
            place: place.cloned(),
            layer,
        })
    }
}

/// A file that nobody has named may have come with what somebody else wrote: it runs no program, and no other file is sent
/// as a key to wherever it says.
fn stays_in_this_file(layer: &Layer, path: &Path) -> Result<(), Error> {
    let refused = match (&layer.key_file, &layer.key_command) {
        (_, Some(_)) => "applicationKeyCommand",
        (Some(_), _) => "applicationKeyFile",
        (None, None) => return Ok(()),
    };
    let path = path.display();
    Err(Error(format!(
        "{path}: {refused} does not count in a file that was only found in this directory: name it with --config {path} if it is meant"
    )))
}

/// Whether a file of this mode, owner and group can be changed by more than its owner. A group with the owner's number is
/// the owner's alone: systems that give each user one (and files mode 664) number it so.
fn others_may_write(mode: u32, owner: u32, group: u32) -> bool {
    mode & 0o002 != 0 || (mode & 0o020 != 0 && group != owner)
}

/// The most brackets of lists and mappings that are open at once, whether they mean that or stand in a text.
fn open_brackets(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Reads the text of `path`; the path is for messages only, which hold no key, wherever a slip has put it.
pub(super) fn parse(path: &Path, text: &str) -> Result<Layer, Error> {
    read(path, text).map_err(|fault| Error(withhold(fault.0, text)))
}

/// A message without whatever may be a key: long words behind `applicationKey`, in its line and in the next.
fn withhold(message: String, text: &str) -> String {
    const LEAST: usize = 8;
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let lines: Vec<&str> = text.lines().collect();
    let mut withheld = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let plain = line.to_ascii_lowercase().replace('_', "");
        if !plain.contains("applicationkey") {
            continue;
        }
        let words = [Some(line), lines.get(number + 1)];
        let words = words.into_iter().flatten();
        for word in words.flat_map(|line| line.split(|c| !of_a_word(c))) {
            // The blank may be missing.
            let word = word.strip_prefix("applicationKey").unwrap_or(word);
            if word.len() >= LEAST && !keys().any(|known| known == word) {
                withheld.push(word);
            }
        }
    }
    // The longest first: a word that begins another would leave the rest of that.
    withheld.sort_unstable_by_key(|word| Reverse(word.len()));
    withheld
        .into_iter()
        .fold(message, |message, word| message.replace(word, "(withheld)"))
}

fn read(path: &Path, text: &str) -> Result<Layer, Error> {
    let name = path.display();
    // What some editors put in front, and the parser takes for a document.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if open_brackets(text) > BRACKETS_MAX {
        return Err(Error(format!(
            "{name}: has more than {BRACKETS_MAX} brackets open: this is no configuration file"
        )));
    }
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
        "keyfile" => Some("applicationKeyFile"),
        "keycommand" => Some("applicationKeyCommand"),
        _ => {
            let squeezed = |known: &str| known.replace('_', "").to_ascii_lowercase();
            let known: Vec<String> = keys().map(squeezed).collect();
            nearest(&plain, known.iter().map(String::as_str))
                .and_then(|near| keys().find(|known| squeezed(known) == near))
        }
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
mod tests;
