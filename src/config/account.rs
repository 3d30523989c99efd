//! The account of the joined layers, and what is said where there is none.

use std::path::Path;

use super::{
    Account, Borrowed, ENDPOINT, Environment, Error, KeyCommand, KeyFile, Layer, Word, file, keys,
};
use crate::b2::Secret;

/// An account as far as somebody has named it: by options, by another program's configuration, by the environment.
#[derive(Debug, Clone)]
pub struct Known {
    /// The realm.
    pub endpoint: String,
    /// The key's id.
    pub key_id: Option<String>,
    /// The key itself.
    pub key: Option<Secret>,
    /// Where the key was read from, if from a file.
    pub key_file: Option<KeyFile>,
    /// What has said the key, if a command.
    pub key_command: Option<KeyCommand>,
    /// The bucket's name.
    pub bucket_name: Option<String>,
}

impl Known {
    /// Puts together what is named, a key that is named otherwise included. What the user should know is added to
    /// `warnings`.
    pub fn gather(
        options: Layer,
        borrowed: Option<&Borrowed>,
        environment: &Environment<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        options.has_one_key("the options")?;
        let options = match borrowed {
            Some(borrowed) => borrowed.under(options, environment)?,
            None => options,
        };
        let surroundings = Layer::from_environment(environment)?;
        surroundings.has_one_key("the environment (B2FUSE_... or B2_...)")?;
        let mut layer = options.over(surroundings);
        let (key_file, key_command) = (layer.key_file.clone(), layer.key_command.clone());
        let key = if layer.names_a_key() {
            layer.take_key(environment, warnings)?
        } else {
            None
        };
        Ok(Self {
            endpoint: layer.endpoint.map_or_else(|| ENDPOINT.to_owned(), |e| e.0),
            key_id: layer.account_id.map(|id| id.0),
            key,
            key_file,
            key_command,
            bucket_name: layer.bucket_name.map(|name| name.0),
        })
    }

    /// Whether the endpoint is that of ordinary accounts.
    pub fn is_at_home(&self) -> bool {
        self.endpoint == ENDPOINT
    }
}

/// Refuses a file that would have a key sent to an endpoint that whoever gave the key did not name: the file may be
/// somebody else's, or part of what somebody else wrote. systemd's credential counts as one of the environment.
pub(super) fn stays_at_home(
    given: &Layer,
    in_file: &Layer,
    path: &Path,
    environment: &Environment<'_>,
) -> Result<(), Error> {
    let Some(endpoint) = in_file.endpoint.as_ref().filter(|e| e.0 != ENDPOINT) else {
        return Ok(());
    };
    let credential = !in_file.names_a_key() && keys::credential(environment).is_some();
    if !(given.names_a_key() || credential) || given.endpoint.is_some() {
        return Ok(());
    }
    Err(Error(format!(
        "{}: endpoint {} would get the key from the environment: set B2_ENDPOINT to the same, or write applicationKey into the file",
        path.display(),
        endpoint.0
    )))
}

/// Takes the account out of the joined layers, or says what is missing and where it can be written.
pub(super) fn take(
    layer: &mut Layer,
    file: Option<&Path>,
    places: &[file::Place],
    environment: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<Account, Error> {
    let has_a_key = layer.names_a_key() || keys::credential(environment).is_some();
    let place = match (file, places.first()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(place)) => place.path().display().to_string(),
        (None, None) => "a file that --config names".to_owned(),
    };
    let missing = |key: &str, ways: &str| {
        Error(format!(
            "{key} is missing: write `{key}:` into {place}, or set {ways}"
        ))
    };
    let key_id = match (layer.account_id.take(), has_a_key) {
        (Some(Word(key_id)), true) => key_id,
        (Some(_), false) => {
            return Err(missing(
                "applicationKey",
                "B2_APPLICATION_KEY (or applicationKeyFile, or applicationKeyCommand)",
            ));
        }
        (None, true) => return Err(missing("accountId", "B2_APPLICATION_KEY_ID")),
        (None, false) => return Err(nothing(&place)),
    };
    let key = layer
        .take_key(environment, warnings)?
        .ok_or_else(|| missing("applicationKey", "B2_APPLICATION_KEY"))?;
    Ok(Account::Real {
        endpoint: layer
            .endpoint
            .take()
            .map_or_else(|| ENDPOINT.to_owned(), |e| e.0),
        key_id,
        key,
        bucket_id: layer.bucket_id.take().map(|w| w.0),
        bucket_name: layer.bucket_name.take().map(|w| w.0),
    })
}

/// All that a user needs who has just installed it.
fn nothing(place: &str) -> Error {
    Error(format!(
        "no account is configured. `b2fuse setup` asks for it and writes it down; or write these lines into {place} (chmod 600):\n\
         accountId: 0012a3b4c5d6e7f0000000001        # the id of an application key\n\
         applicationKey: K001aVeryLongSecretThatB2ShowsOnlyOnce\n\
         bucketName: my-bucket                       # not needed with a key for one bucket\n\
         or set B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY and B2FUSE_BUCKET. Without an account: b2fuse --emulator DIR"
    ))
}
