//! The application key, or where it can be had.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Word, Wrong, from_text, wrong};
use crate::b2::Secret;

read_from_text!(KeySecret KeyFile KeyCommand);

/// The application key; no message and no `Debug` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySecret(pub Secret);

impl FromStr for KeySecret {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let Word(word) = text.parse()?;
        Ok(Self(Secret::new(&word)))
    }
}

/// A file with the key, as it was written: where a relative path begins depends on where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile(pub PathBuf);

impl KeyFile {
    /// One of the command line: it begins in the working directory.
    pub fn here(text: &str) -> Result<Self, Wrong> {
        text.parse::<Self>().map(|file| file.below(Path::new("")))
    }

    /// Its whole path, where a relative one begins at that directory.
    pub(in crate::config) fn below(self, dir: &Path) -> Self {
        let path = dir.join(self.0);
        Self(std::path::absolute(&path).unwrap_or(path))
    }
}

impl FromStr for KeyFile {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "" => wrong("empty: write the file's path or leave it out"),
            home if home.starts_with('~') => {
                wrong("~ means nothing here: write the whole path, /home/me/b2.key say")
            }
            path => Ok(Self(path.into())),
        }
    }
}

/// A command of the shell that prints the key. `Debug` does not show it: a key may stand in it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCommand(pub String);

impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCommand(..)")
    }
}

impl FromStr for KeyCommand {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() || text.contains('\0') {
            return wrong("empty: write the command or leave it out");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_where_it_is_written() {
        let file: KeyFile = "key".parse().expect("a path");
        assert_eq!(
            file.below(Path::new("/etc/b2fuse")).0,
            Path::new("/etc/b2fuse/key")
        );
        let whole: KeyFile = "/k".parse().expect("a path");
        assert_eq!(whole.below(Path::new("/etc")).0, Path::new("/k"));
        assert!(KeyFile::here("key").expect("a path").0.is_absolute());
        for unfit in ["", "~/key"] {
            unfit.parse::<KeyFile>().expect_err(unfit);
        }
    }

    #[test]
    fn a_command_is_not_shown() {
        let command: KeyCommand = "echo K001verysecret".parse().expect("a command");
        assert!(!format!("{command:?}").contains("verysecret"));
        " ".parse::<KeyCommand>().expect_err("empty");
    }
}
