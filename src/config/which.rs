//! Which configuration file is read.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Wrong;
use super::file::Place;

/// The file that is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Which {
    /// The first that is found in the usual places.
    #[default]
    Search,
    /// This one, which the user has named.
    Named(PathBuf),
    /// The user's file of this name, beside config.yaml.
    Profile(Profile),
    /// This one, which was found in the working directory at the start: it is trusted no more when it is read again.
    Here(PathBuf),
}

impl From<Option<&Path>> for Which {
    fn from(named: Option<&Path>) -> Self {
        named.map_or(Self::Search, |path| Self::Named(path.to_owned()))
    }
}

impl Which {
    /// The same for a file that was found at such a place.
    pub(super) fn again(place: Option<&Place>, path: PathBuf) -> Self {
        match place {
            Some(Place::Here(_)) => Self::Here(path),
            _ => Self::Named(path),
        }
    }
}

/// A name that a user has for an account: no path, and nothing hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile(pub(super) String);

impl FromStr for Profile {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let name = text.strip_suffix(".yaml").unwrap_or(text);
        let unfit = |c: char| c == '/' || c.is_control() || c.is_whitespace();
        if name.is_empty() || name.starts_with('.') || name.contains(unfit) {
            return Err(Wrong(format!(
                "{text:?} is no name of a profile: write one word without slashes, or name the file with --config"
            )));
        }
        Ok(Self(name.to_owned()))
    }
}

impl Profile {
    /// The name itself.
    pub fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_name_and_no_path() {
        for (given, name) in [
            ("photos", "photos"),
            ("photos.yaml", "photos"),
            ("a-b_c.2", "a-b_c.2"),
        ] {
            assert_eq!(given.parse::<Profile>().expect(given).name(), name);
        }
        for unfit in [
            "", ".", "..", "../x", "a/b", "/etc/x", ".x", "a b", "a\n", ".yaml",
        ] {
            unfit.parse::<Profile>().expect_err(unfit);
        }
    }
}
