//! What the b2 command line keeps of its account: one row of a table in a file of SQLite's.

use std::path::{Path, PathBuf};

use super::{directory, layer, sqlite, written_by_its_owner_only};
use crate::config::file::Source;
use crate::config::{ENDPOINT, Environment, Error, Layer};

/// The realm of ordinary accounts, in its words.
const PRODUCTION: &str = "production";

/// The account of its usual profile, or of that one.
pub(super) fn read(profile: Option<&str>, environment: &Environment<'_>) -> Result<Layer, Error> {
    let path = place(profile, environment, &|path| path.exists())?;
    let (source, bytes) = Source::open_bytes(&path).map_err(|Error(fault)| {
        Error(format!(
            "--from-b2-cli: {fault} (`b2 account authorize` makes it, B2_ACCOUNT_INFO names another)"
        ))
    })?;
    written_by_its_owner_only(&source)?;
    for beside in ["-journal", "-wal"] {
        let mut name = path.clone().into_os_string();
        name.push(beside);
        if Path::new(&name).metadata().is_ok_and(|file| file.len() > 0) {
            return Err(Error(format!(
                "{}: is being written by b2: try again when that has ended",
                path.display()
            )));
        }
    }
    account(&path, &bytes)
}

/// Where it is, by the rules of b2sdk.
fn place(
    profile: Option<&str>,
    environment: &Environment<'_>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, Error> {
    let named = environment("B2_ACCOUNT_INFO").filter(|path| !path.is_empty());
    let home = directory(environment, "HOME", "");
    let of_home = |path: &Path| match (path.strip_prefix("~"), &home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    };
    let old = |name: String| home.as_ref().map(|home| home.join(name));
    let new = |name: String| {
        let dir = directory(environment, "XDG_CONFIG_HOME", ".config")?;
        Some(dir.join("b2").join(name))
    };
    let (old, new) = match (profile, named) {
        (Some(profile), Some(_)) => {
            return Err(Error(format!(
                "--from-b2-cli={profile} and B2_ACCOUNT_INFO both name a file of b2: leave one of them out"
            )));
        }
        (None, Some(path)) => return Ok(of_home(Path::new(&path))),
        (Some(profile), None) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if profile.is_empty() || profile.len() > 64 || !profile.chars().all(fits) {
                return Err(Error(format!(
                    "--from-b2-cli={profile}: is no name of a profile of b2"
                )));
            }
            (
                old(format!(".b2db-{profile}.sqlite")),
                new(format!("db-{profile}.sqlite")),
            )
        }
        (None, None) => (old(".b2_account_info".into()), new("account_info".into())),
    };
    old.filter(|path| exists(path)).or(new).ok_or_else(|| {
        Error("--from-b2-cli: HOME is not set: set B2_ACCOUNT_INFO to b2's file".into())
    })
}

fn account(path: &Path, bytes: &[u8]) -> Result<Layer, Error> {
    let shown = path.display();
    let rows = sqlite::table(bytes, "account")
        .map_err(|why| Error(format!("{shown}: is no file of the b2 command line: {why}")))?;
    let Some(row) = rows.last() else {
        return Err(Error(format!(
            "{shown}: b2 has no account in it: b2 account authorize"
        )));
    };
    let value = |column: &str| {
        let found = row.iter().find(|(name, _)| name == column);
        found
            .and_then(|(_, value)| value.as_deref())
            .filter(|value| !value.is_empty())
    };
    let id = value("account_id_or_app_key_id").or_else(|| value("account_id"));
    let (Some(id), Some(key)) = (id, value("application_key")) else {
        return Err(Error(format!(
            "{shown}: lacks the key: b2 account authorize"
        )));
    };
    let endpoint = match value("realm") {
        None | Some(PRODUCTION) => ENDPOINT,
        Some(url) if url.contains("://") => url,
        Some(other) => {
            let other = realm_shown(other, key);
            return Err(Error(format!(
                "{shown}: is for the realm {other}: name its address with --endpoint in a configuration of your own"
            )));
        }
    };
    layer(&shown.to_string(), id, key, endpoint)
}

/// A realm is a word; what else stands in its place in a damaged file is not quoted.
fn realm_shown<'a>(realm: &'a str, key: &str) -> &'a str {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if realm.len() <= 40 && realm.chars().all(fits) && !realm.contains(key) {
        realm
    } else {
        "(withheld)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_shown_where_it_is_one() {
        for (realm, shown) in [
            ("staging", "staging"),
            ("K001secret", "(withheld)"),
            ("my-K001secret", "(withheld)"),
            ("a b", "(withheld)"),
            (&"x".repeat(41), "(withheld)"),
        ] {
            assert_eq!(realm_shown(realm, "K001secret"), shown);
        }
    }

    #[test]
    fn its_file_is_where_b2_looks_for_it() {
        const HOME: (&str, &str) = ("HOME", "/h");
        const XDG: (&str, &str) = ("XDG_CONFIG_HOME", "/c");
        let with = |set: &'static [(&'static str, &'static str)], profile, there: &'static str| {
            let environment = move |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            };
            place(profile, &environment, &|path| path == Path::new(there))
        };
        for (set, profile, there, path) in [
            (
                &[HOME] as &'static [_],
                None,
                "",
                "/h/.config/b2/account_info",
            ),
            (&[HOME, XDG], None, "", "/c/b2/account_info"),
            (
                &[HOME, XDG],
                None,
                "/h/.b2_account_info",
                "/h/.b2_account_info",
            ),
            (&[HOME, XDG], Some("x"), "", "/c/b2/db-x.sqlite"),
            (&[HOME], Some("x"), "/h/.b2db-x.sqlite", "/h/.b2db-x.sqlite"),
            (&[HOME, ("B2_ACCOUNT_INFO", "/i")], None, "", "/i"),
            (&[HOME, ("B2_ACCOUNT_INFO", "~/i")], None, "", "/h/i"),
        ] {
            assert_eq!(with(set, profile, there).expect("a place"), Path::new(path));
        }
        with(&[HOME, ("B2_ACCOUNT_INFO", "/i")], Some("x"), "").expect_err("ambiguous");
        with(&[HOME], Some("../x"), "").expect_err("no name");
        with(&[], None, "").expect_err("nowhere");
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"accountId: a\n", &[0; 5000]] {
            let Error(fault) = account(Path::new("/i"), bytes).expect_err("no database");
            assert!(
                fault.starts_with("/i: is no file of the b2 command line"),
                "{fault}"
            );
        }
    }
}
