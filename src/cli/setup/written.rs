//! The configuration that setup writes: whole or not at all, for its owner only.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::bail;
use nix::sys::signal::{SigSet, Signal};

use crate::config::Known;

/// What stands in it.
pub(super) fn text(known: &Known, bucket: &str) -> String {
    let mut text = String::from("# Written by `b2fuse setup`. All keys: man b2fuse.yaml\n");
    let mut add = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}: {}", quoted(value));
    };
    add("accountId", known.key_id.as_deref().unwrap_or_default());
    match (&known.key_file, &known.key_command, &known.key) {
        (Some(file), _, _) => add("applicationKeyFile", &file.0.to_string_lossy()),
        (None, Some(command), _) => add("applicationKeyCommand", &command.0),
        (None, None, Some(key)) => add("applicationKey", key.expose()),
        (None, None, None) => {}
    }
    add("bucketName", bucket);
    if !known.is_at_home() {
        add("endpoint", &known.endpoint);
    }
    text
}

/// As YAML reads it again: plain where nothing in it means anything there.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=_.-".contains(c);
    let begins = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    // `true`, `null` and numbers are words like others here: values are read from their text.
    if begins && value.chars().all(plain) {
        return value.to_owned();
    }
    serde_json::to_string(value).unwrap_or_default()
}

/// Where it is written: what a link leads to is what the user keeps, also where it is still to be made.
///
/// Fails where a link leads into a directory that is missing: it may be one that is not mounted yet.
pub(super) fn followed(place: &Path) -> anyhow::Result<PathBuf> {
    /// As many as the kernel follows.
    const LINKS: usize = 40;
    if let Ok(there) = fs::canonicalize(place) {
        return Ok(there);
    }
    let mut end = place.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&end) else {
            break;
        };
        let dir = end.parent().unwrap_or(Path::new("/"));
        end = dir.join(target);
    }
    let (shown, target) = (place.display(), end.display());
    if end.is_symlink() {
        bail!("{shown} is a link that leads to no file: remove it");
    }
    if end == place {
        return Ok(end);
    }
    match (end.parent().map(fs::canonicalize), end.file_name()) {
        (Some(Ok(dir)), Some(name)) if dir.is_dir() => Ok(dir.join(name)),
        _ => bail!(
            "{shown} is a link to {target}, whose directory is not there: make or mount that, or remove the link"
        ),
    }
}

/// Puts it in its place in one step. Signals wait so long.
pub(super) fn write(place: &Path, text: &str) -> io::Result<()> {
    let dir = match place.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let begun = dir.join(format!(".b2fuse-setup.{}", std::process::id()));
    let done = written(&begun, text).and_then(|()| fs::rename(&begun, place));
    if done.is_err() {
        let _ = fs::remove_file(&begun);
    }
    signals.thread_unblock()?;
    done
}

fn written(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{Account, Config, Layer};

    fn known() -> Known {
        let environment = |name: &str| match name {
            "B2_APPLICATION_KEY_ID" => Some("0012".into()),
            "B2_APPLICATION_KEY" => Some("K001/+very=secret#1".into()),
            "B2_ENDPOINT" => Some("http://127.0.0.1:7".into()),
            _ => None,
        };
        Known::gather(Layer::default(), None, &environment, &mut Vec::new()).expect("valid")
    }

    #[test]
    fn what_was_written_is_read_as_it_was_meant() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("made/config.yaml");
        write(&place, &text(&known(), "photos")).expect("written");
        assert_eq!(
            place.metadata().expect("there").permissions().mode() & 0o777,
            0o600
        );
        let config = Config::load(Layer::default(), Some(&place), &|_| None, false).expect("valid");
        assert_eq!(
            config.account,
            Account::Real {
                endpoint: "http://127.0.0.1:7".into(),
                key_id: "0012".into(),
                key: crate::b2::Secret::new("K001/+very=secret#1"),
                bucket_id: None,
                bucket_name: Some("photos".into()),
            }
        );
        let names: Vec<_> = fs::read_dir(dir.path().join("made"))
            .expect("listed")
            .collect();
        assert_eq!(names.len(), 1, "nothing else is left");
    }

    #[test]
    fn a_key_from_a_file_or_a_command_is_not_copied() {
        let mut known = known();
        known.key_command = Some("pass show \"b2 key\": x".parse().expect("a command"));
        let said = text(&known, "photos");
        assert!(
            said.contains("applicationKeyCommand: \"pass show \\\"b2 key\\\": x\"\n"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn a_link_stays_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::os::unix::fs::symlink("real", &link).expect("linked");
        // The first time, there is nothing at its end.
        for text in ["old", "new"] {
            let place = followed(&link).expect("a place");
            write(&place, text).expect("written");
            assert_eq!(fs::read_to_string(&real).expect("read"), text);
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, at(name)).expect("linked");
        };
        link("missing/real", "lost");
        link("lost", "link");
        link("circle", "circle");
        fs::write(at("file"), "").expect("written");
        link("file/real", "through");
        for (name, said) in [
            ("link", "/missing/real, whose directory is not there"),
            ("through", "/file/real, whose directory is not there"),
            ("circle", "leads to no file"),
        ] {
            let fault = followed(&at(name)).expect_err(name);
            assert!(fault.to_string().contains(said), "{fault}");
        }
        assert_eq!(followed(&at("none/f")).expect("no link"), at("none/f"));
    }
}
