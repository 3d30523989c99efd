//! What is known of each option beside its type, and how its variable of the environment is read.

use crate::config::values::Wrong;
use crate::config::{Environment, Error};

/// One option, as documents show it.
#[derive(Debug)]
pub(crate) struct OptionEntry {
    /// Its name in config.yaml; those of the original b2fuse where it had them.
    pub(crate) key: &'static str,
    /// Headline of the group that it stands under.
    pub(crate) group: &'static str,
    /// False: never an option of the command line.
    pub(crate) option: bool,
    /// Other names in the environment than that of [`variable`], which beats them.
    pub(crate) variables: &'static [&'static str],
    pub(crate) default: &'static str,
    /// What it means, for the table (Markdown).
    pub(crate) meaning: &'static str,
    /// Its lines in config.example.yaml.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes the document"))]
    pub(crate) example: &'static str,
}

impl OptionEntry {
    /// The variable of the environment.
    pub(crate) fn variable(&self) -> String {
        format!("B2FUSE_{}", snake(self.key).to_ascii_uppercase())
    }

    /// The option of the command line.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", snake(self.key).replace('_', "-"))
    }
}

/// `accountId` is `account_id`.
pub(super) fn snake(key: &str) -> String {
    let mut snake = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The value of the first of these variables that is set.
pub(super) fn read<T>(
    environment: &Environment<'_>,
    own: &str,
    others: &[&str],
) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err = Wrong>,
{
    for name in std::iter::once(own).chain(others.iter().copied()) {
        let Some(value) = environment(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let text = value
            .to_str()
            .ok_or_else(|| Error(format!("{name}: is not UTF-8")))?;
        let parsed = text.parse().map_err(|e| Error(format!("{name}: {e}")));
        return parsed.map(Some);
    }
    Ok(None)
}
