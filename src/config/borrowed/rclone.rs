//! rclone's configuration: sections of `key = value`. Of a remote of type b2 count `account`, `key` and `endpoint`.

use std::path::{Path, PathBuf};

use super::{directory, layer, written_by_its_owner_only};
use crate::config::file::Source;
use crate::config::{ENDPOINT, Environment, Error, Layer};

/// The account of one remote.
pub(super) fn read(remote: &str, environment: &Environment<'_>) -> Result<Layer, Error> {
    let path = place(environment)?;
    let source = Source::open(&path).map_err(|Error(fault)| {
        Error(format!(
            "--from-rclone: {fault} (RCLONE_CONFIG names another file)"
        ))
    })?;
    written_by_its_owner_only(&source)?;
    account(&path, &source.text, remote)
}

fn place(environment: &Environment<'_>) -> Result<PathBuf, Error> {
    if let Some(path) = environment("RCLONE_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    directory(environment, "XDG_CONFIG_HOME", ".config")
        .map(|dir| dir.join("rclone/rclone.conf"))
        .ok_or_else(|| {
            Error("--from-rclone: set RCLONE_CONFIG to rclone's file: HOME is not set".into())
        })
}

/// A section, and what it says.
struct Remote<'a> {
    name: &'a str,
    said: Vec<(&'a str, &'a str)>,
}

impl Remote<'_> {
    /// What it says last under a key; an empty value says nothing.
    fn value(&self, key: &str) -> Option<&str> {
        let mut said = self.said.iter().rev();
        let found = said.find(|(known, _)| *known == key)?.1;
        Some(found).filter(|value| !value.is_empty())
    }

    fn is_b2(&self) -> bool {
        self.value("type") == Some("b2")
    }
}

fn remotes(text: &str) -> Vec<Remote<'_>> {
    let mut remotes: Vec<Remote<'_>> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            remotes.push(Remote {
                name: name.trim(),
                said: Vec::new(),
            });
        } else if let (Some((key, value)), Some(remote)) =
            (line.split_once('='), remotes.last_mut())
        {
            remote.said.push((key.trim(), value.trim()));
        }
    }
    remotes
}

fn account(path: &Path, text: &str, wanted: &str) -> Result<Layer, Error> {
    let shown = path.display();
    let fault = |what: String| Err(Error(format!("{shown}: {what}")));
    if is_encrypted(text) {
        return fault(
            "is encrypted, and only rclone can read it: run `rclone config show` and write accountId and applicationKey into config.yaml (`b2fuse setup` asks for them)".into(),
        );
    }
    let wanted = wanted.strip_suffix(':').unwrap_or(wanted);
    let remotes = remotes(text);
    let of_b2: Vec<&str> = remotes
        .iter()
        .filter(|r| r.is_b2())
        .map(|r| r.name)
        .collect();
    let of_b2 = match of_b2[..] {
        [] => "it has none of type b2".to_owned(),
        _ => format!("of type b2 are: {}", of_b2.join(", ")),
    };
    let Some(remote) = remotes.iter().rev().find(|remote| remote.name == wanted) else {
        return fault(format!("has no remote {wanted}; {of_b2}"));
    };
    if !remote.is_b2() {
        // Its type is not quoted: in a file that is not as it should be, that may be anything, a key included.
        return fault(format!("the remote {wanted} is not of type b2; {of_b2}"));
    }
    let (Some(id), Some(key)) = (remote.value("account"), remote.value("key")) else {
        return fault(format!(
            "the remote {wanted} lacks account or key: rclone config update {wanted}"
        ));
    };
    let endpoint = remote.value("endpoint").unwrap_or(ENDPOINT);
    layer(&format!("{shown}: the remote {wanted}"), id, key, endpoint)
}

/// The remote to name, where a text is such a configuration: its only one of type b2, else a word for it.
pub(in crate::config) fn looks_like(text: &str) -> Option<&str> {
    const SOME: &str = "REMOTE";
    if is_encrypted(text) {
        return Some(SOME);
    }
    let remotes = remotes(text);
    remotes
        .iter()
        .find(|remote| remote.value("type").is_some())?;
    let mut of_b2 = remotes.iter().filter(|remote| remote.is_b2());
    match (of_b2.next(), of_b2.next()) {
        (Some(only), None) => Some(only.name),
        _ => Some(SOME),
    }
}

fn is_encrypted(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("RCLONE_ENCRYPT_"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# mine\n[photos]\ntype = b2\naccount = 001a\nkey = K001verysecret\n\n\
        [here]\ntype=b2\naccount=2\nkey=K2\nendpoint = http://127.0.0.1:7\n\n\
        [secret]\ntype = crypt\nremote = photos:x\n[bare]\ntype = b2\naccount = 1\nkey =\n";

    fn of(text: &str, remote: &str) -> Result<Layer, String> {
        account(Path::new("rclone.conf"), text, remote).map_err(|Error(fault)| fault)
    }

    #[test]
    fn a_remote_of_b2_is_an_account() {
        for remote in ["photos", "photos:"] {
            let layer = of(TEXT, remote).expect("there");
            assert_eq!(layer.account_id.expect("an id").0, "001a");
            assert_eq!(layer.key.expect("a key").0.expose(), "K001verysecret");
            assert_eq!(layer.endpoint.expect("rclone's own").0, ENDPOINT);
        }
        // As rclone reads it.
        let other = TEXT.replace("# mine\n[photos]", "\u{feff}[ photos ]");
        assert_eq!(
            of(&other, "photos")
                .expect("there")
                .account_id
                .expect("an id")
                .0,
            "001a"
        );
        let layer = of(TEXT, "here").expect("there");
        assert_eq!(layer.endpoint.expect("named").0, "http://127.0.0.1:7");
    }

    #[test]
    fn what_is_no_account_is_told() {
        let encrypted = "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA\n";
        for (text, remote, said) in [
            (
                TEXT,
                "photo",
                "has no remote photo; of type b2 are: photos, here, bare",
            ),
            (TEXT, "secret", "the remote secret is not of type b2"),
            (TEXT, "bare", "the remote bare lacks account or key"),
            ("", "photos", "has no remote photos; it has none of type b2"),
            (encrypted, "photos", "is encrypted"),
            (
                "[a]\ntype = b2\naccount = 1\nkey = K1 verysecret\n",
                "a",
                "the key must be one word",
            ),
            (
                "[a]\ntype = b2\naccount = 1\nkey = K1\nendpoint = http://b2.example\n",
                "a",
                "unencrypted",
            ),
        ] {
            let fault = of(text, remote).expect_err(said);
            assert!(
                fault.starts_with("rclone.conf: ") && fault.contains(said),
                "{fault}"
            );
            assert!(!fault.contains("verysecret"), "{fault}");
        }
    }

    #[test]
    fn its_file_is_where_rclone_has_it() {
        const HOME: (&str, &str) = ("HOME", "/h");
        let with = |set: &'static [(&'static str, &'static str)]| {
            place(&move |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        for (set, path) in [
            (&[HOME] as &'static [_], "/h/.config/rclone/rclone.conf"),
            (&[HOME, ("XDG_CONFIG_HOME", "/c")], "/c/rclone/rclone.conf"),
            (&[HOME, ("RCLONE_CONFIG", "/r")], "/r"),
        ] {
            assert_eq!(with(set).expect("a place"), Path::new(path));
        }
        with(&[]).expect_err("nowhere");
    }

    #[test]
    fn it_is_known_by_its_looks() {
        assert_eq!(looks_like(TEXT), Some("REMOTE"));
        assert_eq!(looks_like("[a]\ntype = b2\n[b]\ntype = s3\n"), Some("a"));
        assert_eq!(looks_like("accountId: a\n[x]\n"), None);
        assert_eq!(looks_like("memory: [1]\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_an_account_or_an_error_without_the_key(
            lines in proptest::collection::vec(
                "\\[ ?[ab] ?\\]?|type ?= ?(b2|s3)|account=[a1 ]{0,3}|key = verysecret[ \\x00é]?x?|endpoint=[a-z:/.@]{0,12}|[#;= \\x00-\\x7fé]{0,5}",
                0..12,
            ),
        ) {
            let text = lines.join("\n");
            let _ = looks_like(&text);
            match of(&text, "a") {
                Ok(layer) => prop_assert!(layer.account_id.is_some() && layer.key.is_some() && layer.endpoint.is_some()),
                Err(fault) => prop_assert!(!fault.contains("verysecret") && !fault.contains('\n'), "{}", fault),
            }
        }
    }
}
