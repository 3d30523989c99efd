//! `b2fuse setup`: asks for the account, tries it, and writes the configuration.
//!
//! Nothing is written before all is known, and then at once: whoever breaks it off has what was there before.

mod hidden;
mod terminal;
mod written;

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Parser;

use self::terminal::{Interrupted, Terminal};
use super::{AccountOptions, FAILURE, begun, log, misconfigured};
use crate::b2::{Account, Client, ErrorKind, Options as Connection, Reached, Secret};
use crate::config::{Config, Endpoint, KeyCommand, KeyFile, KeySecret, Known, Layer, Which, Word};
use crate::mount::{self, check::rights};

/// Exit code of a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Asks for a key, tries it, lets you choose a bucket, and writes the configuration.
///
/// The file is ~/.config/b2fuse/config.yaml, or what --profile or --config names; it is for its owner only, and never
/// overwritten without a question. What options, --from-rclone, --from-b2-cli or the environment say is not asked for.
#[derive(Debug, Parser)]
#[command(
    name = "b2fuse setup",
    version,
    max_term_width = 100,
    after_help = "Exit code: 0 it is written, 1 it is not, 2 wrong options"
)]
pub(super) struct Options {
    #[command(flatten)]
    account: AccountOptions,
    /// Id of the application key
    #[arg(long, alias = "account_id", value_name = "ID")]
    account_id: Option<Word>,
    /// Have the key read from this file, at each mount
    #[arg(long, alias = "application_key_file", value_name = "FILE", value_parser = KeyFile::here)]
    application_key_file: Option<KeyFile>,
    /// Have this command (sh -c) say the key, at each mount
    #[arg(long, alias = "application_key_command", value_name = "COMMAND")]
    application_key_command: Option<KeyCommand>,
    /// Name of the bucket
    #[arg(long, aliases = ["bucket_name", "bucket"], value_name = "NAME")]
    bucket_name: Option<Word>,
    /// Another realm
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    #[command(flatten)]
    log: log::MessageOptions,
}

/// Runs it with the arguments behind its word.
pub(super) fn run(arguments: &[OsString]) -> u8 {
    let parts = |options: &Options| (options.account.fault(), options.log.clone());
    let options = match begun("b2fuse setup", arguments, parts) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let environment = |name: &str| std::env::var_os(name);
    let mut warnings = Vec::new();
    let layer = Layer {
        account_id: options.account_id,
        key_file: options.application_key_file,
        key_command: options.application_key_command,
        bucket_name: options.bucket_name,
        endpoint: options.endpoint,
        ..Layer::default()
    };
    let which = options.account.which();
    let place = match &which {
        Which::Named(path) | Which::Here(path) => Ok(path.clone()),
        Which::Profile(profile) => Config::place_of(Some(profile), &environment),
        Which::Search => Config::place_of(None, &environment),
    };
    let borrowed = options.account.borrowed();
    let gathered = place.and_then(|place| {
        let known = Known::gather(layer, borrowed.as_ref(), &environment, &mut warnings)?;
        Ok((place, known))
    });
    let (place, known) = match gathered {
        Ok(gathered) => gathered,
        Err(fault) => return misconfigured(&fault),
    };
    for warning in &warnings {
        mount::say(&format!("warning: {warning}"));
    }
    match set_up(&place, known, Terminal::open()) {
        Ok(()) => {
            mount::tell(&next(&which, &place));
            0
        }
        Err(fault) if fault.is::<Interrupted>() => {
            mount::say("nothing was written");
            INTERRUPTED
        }
        Err(fault) => {
            mount::say(&format!("{fault:#}"));
            FAILURE
        }
    }
}

/// How to go on.
fn next(which: &Which, place: &Path) -> String {
    let option = match which {
        Which::Search => String::new(),
        Which::Profile(profile) => format!(" --profile {}", profile.name()),
        Which::Named(path) | Which::Here(path) => format!(" --config {}", path.display()),
    };
    format!(
        "{} is written\nto mount it: mkdir -p ~/b2 && b2fuse{option} ~/b2\nto check it: b2fuse check{option} ~/b2",
        place.display()
    )
}

fn set_up(place: &Path, mut known: Known, mut terminal: Option<Terminal>) -> anyhow::Result<()> {
    let written_to = written::followed(place)?;
    if place.exists() {
        may_be_overwritten(place, terminal.as_mut())?;
    }
    let asked = known.key_id.is_none() || known.key.is_none();
    if asked && terminal.is_none() {
        bail!(
            "setup asks on a terminal, and there is none: name the account with --from-rclone or --from-b2-cli, \
             with --account-id and --application-key-file, or in B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY"
        );
    }
    if let Some(terminal) = terminal.as_ref().filter(|_| asked) {
        terminal.say(
            "A key is made on the web site of Backblaze (Application Keys), or by: b2 key create",
        );
    }
    let (account, reached) = loop {
        let (id, key) = credentials(&known, terminal.as_mut())?;
        match tried(&known.endpoint, &id, &key) {
            Ok(found) => {
                (known.key_id, known.key) = (Some(id), Some(key));
                break found;
            }
            Err(fault) => match terminal.as_ref().filter(|_| asked) {
                Some(terminal) if fault.is::<Unfit>() => {
                    terminal.say(&format!("{fault:#}: once more"));
                }
                _ => return Err(fault),
            },
        }
    };
    mount::tell(&format!("The key {}.", rights(&account)));
    let bucket = chosen(known.bucket_name.as_deref(), &reached, terminal.as_mut())?;
    written::write(&written_to, &written::text(&known, &bucket))
        .with_context(|| format!("{} cannot be written", place.display()))
}

fn may_be_overwritten(place: &Path, terminal: Option<&mut Terminal>) -> anyhow::Result<()> {
    let shown = place.display();
    let Some(terminal) = terminal else {
        bail!("{shown} exists, and stays as it is: move it away, or choose another --profile NAME");
    };
    let answer = terminal.ask(&format!("{shown} exists. Overwrite it? [y/N] "))?;
    if matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    bail!("{shown} stays as it is: --profile NAME writes another file");
}

/// Id and key: what is known, else what the user says.
fn credentials(
    known: &Known,
    mut terminal: Option<&mut Terminal>,
) -> anyhow::Result<(String, Secret)> {
    let id = match (&known.key_id, terminal.as_deref_mut()) {
        (Some(id), _) => id.clone(),
        (None, Some(terminal)) => loop {
            match terminal.ask("Key id: ")?.parse::<Word>() {
                Ok(Word(id)) => break id,
                Err(wrong) => terminal.say(&format!("The id {wrong}.")),
            }
        },
        (None, None) => bail!("accountId is missing: name it with --account-id"),
    };
    let key = match (&known.key, terminal) {
        (Some(key), _) => key.clone(),
        (None, Some(terminal)) => loop {
            match terminal
                .ask_hidden("Application key (it is not shown): ")?
                .parse::<KeySecret>()
            {
                Ok(KeySecret(key)) => break key,
                Err(wrong) => terminal.say(&format!("The key {wrong}.")),
            }
        },
        (None, None) => bail!("applicationKey is missing: name it with --application-key-file"),
    };
    Ok((id, key))
}

/// A key that does not do; another one may.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unfit(String);

/// Asks B2 what the key may do, and where.
fn tried(endpoint: &str, id: &str, key: &Secret) -> anyhow::Result<(Account, Vec<Reached>)> {
    let connection = Connection {
        endpoint: endpoint.to_owned(),
        key_id: id.to_owned(),
        key: key.clone(),
        ..Connection::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let found = runtime.block_on(Client::look(connection));
    runtime.shutdown_background();
    let (account, reached) = found.map_err(|error| match error.kind {
        ErrorKind::BadCredentials => anyhow::Error::from(Unfit(format!(
            "B2 does not accept the key {id} ({})",
            error.detail
        ))),
        ErrorKind::AccessDenied => Unfit(format!(
            "the key {id} may not list buckets: make one for a single bucket, or with listBuckets ({})",
            error.detail
        ))
        .into(),
        ErrorKind::Unavailable => {
            anyhow::anyhow!("cannot reach {endpoint}: check network and endpoint ({error})")
        }
        _ => anyhow::anyhow!("the key {id} cannot be tried: {error}"),
    })?;
    for needed in ["listFiles", "readFiles"] {
        if !account.may(needed) {
            return Err(Unfit(format!(
                "the key {id} lacks {needed}: make one with listFiles and readFiles, and writeFiles and deleteFiles to write"
            ))
            .into());
        }
    }
    Ok((account, reached))
}

/// The name of the bucket that is named, the only one, or the one that the user chooses.
fn chosen(
    wanted: Option<&str>,
    reached: &[Reached],
    terminal: Option<&mut Terminal>,
) -> anyhow::Result<String> {
    let names: Vec<&str> = reached
        .iter()
        .filter_map(|bucket| bucket.name.as_deref())
        .collect();
    let all = names.join(", ");
    if let Some(wanted) = wanted {
        if names.contains(&wanted) {
            return Ok(wanted.to_owned());
        }
        bail!("the key does not reach a bucket {wanted}; it reaches: {all}");
    }
    match (&names[..], terminal) {
        ([], _) => bail!(
            "the key reaches no bucket: make one on the web site, or by: b2 bucket create NAME allPrivate"
        ),
        ([only], _) => {
            mount::tell(&format!("Its bucket is {only}."));
            Ok((*only).to_owned())
        }
        (_, None) => bail!("the key reaches several buckets, name one with --bucket-name: {all}"),
        (names, Some(terminal)) => {
            for (index, name) in names.iter().enumerate() {
                terminal.say(&format!("{:3} {name}", index + 1));
            }
            loop {
                let answer = terminal.ask("Which bucket (number or name)? ")?;
                if let Some(name) = picked(names, &answer) {
                    return Ok(name.to_owned());
                }
                terminal.say(&format!("There is no {answer}."));
            }
        }
    }
}

/// A name, or a number from 1 on; a bucket's name that is a number is a name.
fn picked<'a>(names: &[&'a str], answer: &str) -> Option<&'a str> {
    let by_name = names.iter().find(|name| **name == answer);
    let by_number = || names.get(answer.parse::<usize>().ok()?.checked_sub(1)?);
    by_name.or_else(by_number).copied()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }

    #[test]
    fn a_bucket_is_picked_by_name_or_number() {
        let names = ["photos", "music", "1"];
        for (answer, name) in [
            ("photos", Some("photos")),
            ("2", Some("music")),
            ("1", Some("1")),
            ("4", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(picked(&names, answer), name, "{answer}");
        }
    }

    #[test]
    fn the_only_bucket_and_the_named_one_need_no_question() {
        let reached = |names: &[&str]| -> Vec<Reached> {
            let one = |name: &&str| Reached {
                id: "i".into(),
                name: Some((*name).to_owned()),
            };
            names.iter().map(one).collect()
        };
        assert_eq!(
            chosen(None, &reached(&["a"]), None).expect("the only one"),
            "a"
        );
        assert_eq!(
            chosen(Some("b"), &reached(&["a", "b"]), None).expect("named"),
            "b"
        );
        for (wanted, names, said) in [
            (None, &["a", "b"][..], "name one with --bucket-name: a, b"),
            (None, &[], "reaches no bucket"),
            (
                Some("c"),
                &["a"],
                "does not reach a bucket c; it reaches: a",
            ),
        ] {
            let fault = chosen(wanted, &reached(names), None).expect_err(said);
            assert!(fault.to_string().contains(said), "{fault}");
        }
    }

    #[test]
    fn the_next_command_names_what_was_written() {
        let place = PathBuf::from("/c/photos.yaml");
        let profile = Which::Profile("photos".parse().expect("a name"));
        assert!(next(&profile, &place).contains("b2fuse --profile photos ~/b2"));
        assert!(next(&Which::Search, &place).contains("b2fuse ~/b2"));
    }
}
