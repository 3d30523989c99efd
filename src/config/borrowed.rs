//! An account that another program has: rclone's configuration, or what the b2 command line keeps. Both are only read.

mod b2_cli;
mod rclone;
mod sqlite;

use std::path::PathBuf;

pub(super) use self::rclone::looks_like as looks_like_rclone;
use super::file::Source;
use super::{Endpoint, Environment, Error, KeySecret, Layer, Word};

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Borrowed {
    /// A remote of rclone, by its name.
    Rclone(String),
    /// The b2 command line's, of its usual profile or of another.
    B2Cli(Option<String>),
}

impl Borrowed {
    /// The option that says so.
    fn option(&self) -> &'static str {
        match self {
            Self::Rclone(_) => "--from-rclone",
            Self::B2Cli(_) => "--from-b2-cli",
        }
    }

    /// Key id, key and endpoint under what the options say. Options that name an id or a key themselves are an error that
    /// names both; an endpoint of theirs counts.
    pub fn under(&self, options: Layer, environment: &Environment<'_>) -> Result<Layer, Error> {
        let twice = [
            (options.account_id.is_some(), "--account-id"),
            (options.key_file.is_some(), "--application-key-file"),
            (options.key_command.is_some(), "--application-key-command"),
        ];
        if let Some((_, other)) = twice.into_iter().find(|(named, _)| *named) {
            return Err(Error(format!(
                "{} and {other} both name the account: leave one of them out",
                self.option()
            )));
        }
        let layer = match self {
            Self::Rclone(remote) => rclone::read(remote, environment),
            Self::B2Cli(profile) => b2_cli::read(profile.as_deref(), environment),
        };
        // What stands there may have lines, too.
        let layer = layer.map_err(|Error(text)| Error(text.replace('\n', "?")))?;
        Ok(options.over(layer))
    }
}

/// A layer of an account, each value by the rules for all; `place` is for messages.
fn layer(place: &str, id: &str, key: &str, endpoint: &str) -> Result<Layer, Error> {
    /// What is shorter stands in other words, too.
    const KEY: usize = 8;
    let wrong = |what: &str, why: &dyn std::fmt::Display| {
        let text = format!("{place}: {what} {why}");
        // Where it stands in another value's place, that one is quoted.
        Error(if key.len() < KEY {
            text
        } else {
            text.replace(key, "(withheld)")
        })
    };
    Ok(Layer {
        account_id: Some(id.parse::<Word>().map_err(|e| wrong("the key's id", &e))?),
        key: Some(key.parse::<KeySecret>().map_err(|e| wrong("the key", &e))?),
        endpoint: Some(
            endpoint
                .parse::<Endpoint>()
                .map_err(|e| wrong("the endpoint", &e))?,
        ),
        ..Layer::default()
    })
}

/// A directory that a variable names, absolute; or one below the user's home.
fn directory(environment: &Environment<'_>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(environment(name)?);
        path.is_absolute().then_some(path)
    };
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// Whoever may write it could have the key sent elsewhere.
fn written_by_its_owner_only(source: &Source) -> Result<(), Error> {
    if source.others_may_write() {
        let path = source.path.display();
        return Err(Error(format!(
            "{path}: others may write it (mode {:o}), and could have the key sent elsewhere: chmod go-w {path}",
            source.mode()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_place_of_another_value_is_not_quoted() {
        let fault = layer("f", "1", "K001verysecret", "K001verysecret");
        let fault = fault.expect_err("no address").to_string();
        assert!(fault.starts_with("f: the endpoint"), "{fault}");
        assert!(!fault.contains("verysecret"), "{fault}");
    }

    #[test]
    fn what_others_have_written_steers_no_terminal() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rclone.conf");
        std::fs::write(&path, "[\x1b]0;s3\x07]\ntype = b2\n").expect("written");
        let environment =
            |name: &str| (name == "RCLONE_CONFIG").then(|| path.clone().into_os_string());
        let borrowed = Borrowed::Rclone("a".to_owned());
        let fault = borrowed
            .under(Layer::default(), &environment)
            .expect_err("no such remote");
        let fault = fault.to_string();
        assert!(fault.contains("of type b2 are: ?]0;s3?"), "{fault:?}");
    }
}
