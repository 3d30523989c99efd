//! The way to the bucket, and what the key may do there, before anything is mounted.

use anyhow::{anyhow, bail};

use super::Options;
use crate::b2::{self, Account, Client, ErrorKind};
use crate::vfs;

/// Authorizes, finds the bucket, and fits the settings to the rights of the key.
pub(super) async fn connect(options: &mut Options) -> anyhow::Result<Client> {
    let client = Client::connect(options.b2.clone())
        .await
        .map_err(|e| unreachable(&e, &options.b2))?;
    let account = client.account();
    let mut notices = fit(&account, &mut options.vfs)?;
    notices.extend(fit_retention(&client, &mut options.vfs).await);
    for notice in notices {
        log::warn!("{notice}");
    }
    Ok(client)
}

/// Turns off what a bucket that protects every new version would refuse for each of them.
async fn fit_retention(client: &Client, settings: &mut vfs::Settings) -> Option<String> {
    if settings.read_only || !deletes_replaced(settings) {
        return None;
    }
    match client.retains_by_default().await {
        Ok(Some(true)) => {
            keep_replaced(settings);
            Some(
                "the bucket has a default retention: overwrite: replace and drop_versions_within change nothing, all versions stay"
                    .to_owned(),
            )
        }
        // B2 says so when the first one is to go.
        Ok(_) => None,
        Err(error) => {
            log::debug!("whether the bucket has a default retention is not known: {error}");
            None
        }
    }
}

/// Whether versions are to go that were replaced.
fn deletes_replaced(settings: &vfs::Settings) -> bool {
    settings.overwrite == vfs::Overwrite::Replace || !settings.drop_versions_within.is_zero()
}

fn keep_replaced(settings: &mut vfs::Settings) {
    settings.overwrite = vfs::Overwrite::Keep;
    settings.drop_versions_within = std::time::Duration::ZERO;
}

/// Words for what went wrong, with what to do about it.
pub(super) fn unreachable(error: &b2::Error, options: &b2::Options) -> anyhow::Error {
    let key_id = &options.key_id;
    let bucket = match (&options.bucket_name, &options.bucket_id) {
        (Some(name), _) => format!("bucket {name}"),
        (None, Some(id)) => format!("bucket with the id {id}"),
        (None, None) => "bucket".to_owned(),
    };
    match error.kind {
        ErrorKind::BadCredentials => anyhow!(
            "B2 does not accept the key {key_id}: check accountId and applicationKey ({})",
            error.detail
        ),
        ErrorKind::NoSuchBucket if options.bucket_name.is_none() && options.bucket_id.is_none() => {
            anyhow!("no bucket is chosen: write bucketName: {}", error.detail)
        }
        ErrorKind::NoSuchBucket | ErrorKind::NotFound => anyhow!(
            "the key {key_id} knows no {bucket}: check its name and the key's restriction ({})",
            error.detail
        ),
        ErrorKind::AccessDenied => anyhow!(
            "the key {key_id} may not use the {bucket}: make a key for it with listFiles and readFiles ({})",
            error.detail
        ),
        ErrorKind::Unavailable => anyhow!(
            "cannot reach {}: check network and endpoint ({error})",
            options.endpoint
        ),
        _ => anyhow!("cannot open the {bucket}: {error}"),
    }
}

/// Turns the rights of the key into settings; what the user should know comes back.
pub(super) fn fit(account: &Account, settings: &mut vfs::Settings) -> anyhow::Result<Vec<String>> {
    let mut notices = Vec::new();
    for needed in ["listFiles", "readFiles"] {
        if !account.may(needed) {
            bail!(
                "the key may not {needed} in the bucket {}: make a key with listFiles and readFiles",
                account.bucket_name
            );
        }
    }
    if !settings.read_only && !account.may("writeFiles") {
        settings.read_only = true;
        notices.push("the key may only read (it lacks writeFiles): mounted read-only".to_owned());
    }
    if !settings.read_only && !account.may("deleteFiles") {
        if settings.delete == vfs::Delete::Purge {
            bail!("delete: purge needs a key with deleteFiles: make one, or write delete: hide");
        }
        notices.push(
            "the key lacks deleteFiles: versions that the mount itself replaces stay in the bucket"
                .to_owned(),
        );
        // Each time, a version would stay.
        settings.store_open = None;
        if deletes_replaced(settings) {
            keep_replaced(settings);
            notices.push(
                "overwrite: replace and drop_versions_within need a key with deleteFiles: all versions stay"
                    .to_owned(),
            );
        }
    }
    let bound = &account.name_prefix;
    if !bound.is_empty() {
        let root = if bound.ends_with('/') {
            bound.clone()
        } else {
            format!("{bound}/")
        };
        if settings.prefix.is_empty() {
            notices.push(format!(
                "the key is restricted to names that start with {bound:?}: {root} is mounted"
            ));
            settings.prefix = root;
        } else if !settings.prefix.starts_with(bound.as_str()) {
            bail!(
                "prefix {:?} is outside of what the key may see: write {root} or a directory in it",
                settings.prefix
            );
        }
    }
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn account(capabilities: &[&str], prefix: &str) -> Account {
        Account {
            account_id: "a".into(),
            bucket_id: "i".into(),
            bucket_name: "photos".into(),
            capabilities: capabilities.iter().map(|&c| c.to_owned()).collect(),
            name_prefix: prefix.into(),
            minimum_part_size: 5_000_000,
            recommended_part_size: 100_000_000,
        }
    }

    fn settings(prefix: &str) -> vfs::Settings {
        vfs::Settings {
            prefix: prefix.into(),
            metadata_ttl: Duration::ZERO,
            delete: vfs::Delete::Hide,
            overwrite: vfs::Overwrite::Keep,
            drop_versions_within: Duration::ZERO,
            quota: None,
            read_only: false,
            uid: 0,
            gid: 0,
            umask: 0,
            permissions: vfs::Permissions::Keep,
            hard_links: vfs::HardLinks::Refuse,
            names: vfs::Names::Refuse,
            hash_files: vfs::HashFiles::Listed,
            parallel: 1,
            names_max: 1000,
            write_back: None,
            store_open: None,
            timeout: Duration::from_secs(1),
        }
    }

    const ALL: &[&str] = &["listFiles", "readFiles", "writeFiles", "deleteFiles"];

    #[test]
    fn a_key_that_may_only_read_mounts_read_only_and_says_so() {
        let mut wanted = settings("");
        let notices = fit(&account(&ALL[..2], ""), &mut wanted).expect("mounts");
        assert!(wanted.read_only);
        assert_eq!(
            notices,
            ["the key may only read (it lacks writeFiles): mounted read-only"]
        );
        let mut wanted = settings("");
        assert!(
            fit(&account(ALL, ""), &mut wanted)
                .expect("mounts")
                .is_empty()
        );
        assert!(!wanted.read_only);
    }

    #[test]
    fn a_key_without_a_needed_right_is_refused() {
        for lacking in ["listFiles", "readFiles"] {
            let rights: Vec<_> = ALL
                .iter()
                .copied()
                .filter(|&right| right != lacking)
                .collect();
            let fault = fit(&account(&rights, ""), &mut settings("")).expect_err("refused");
            assert!(fault.to_string().contains(lacking), "{fault}");
        }
        let mut purge = settings("");
        purge.delete = vfs::Delete::Purge;
        assert!(fit(&account(&ALL[..3], ""), &mut purge).is_err());
        assert_eq!(
            fit(&account(&ALL[..3], ""), &mut settings(""))
                .expect("mounts")
                .len(),
            1
        );
    }

    #[test]
    fn without_deletefiles_replaced_versions_stay_which_is_said_once() {
        let asked = |settings: &mut vfs::Settings| {
            settings.overwrite = vfs::Overwrite::Replace;
            settings.drop_versions_within = Duration::from_secs(300);
        };
        let mut wanted = settings("");
        asked(&mut wanted);
        let notices = fit(&account(&ALL[..3], ""), &mut wanted).expect("mounts");
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[1].starts_with("overwrite: replace"), "{notices:?}");
        assert!(!deletes_replaced(&wanted));
        let mut wanted = settings("");
        asked(&mut wanted);
        let notices = fit(&account(ALL, ""), &mut wanted).expect("mounts");
        assert!(notices.is_empty() && deletes_replaced(&wanted));
    }

    #[test]
    fn the_prefix_of_a_restricted_key_is_the_root() {
        for (bound, wanted, root) in [
            ("a/b/", "", Some("a/b/")),
            ("a", "", Some("a/")),
            ("a/", "a/c/", Some("a/c/")),
            ("a/", "b/", None),
            ("", "b/", Some("b/")),
        ] {
            let mut settings = settings(wanted);
            let done = fit(&account(ALL, bound), &mut settings);
            assert_eq!(
                done.ok().map(|_| settings.prefix.as_str()),
                root,
                "{bound} {wanted}"
            );
        }
    }

    #[test]
    fn a_failed_connection_is_told_in_words() {
        let options = b2::Options {
            endpoint: "https://b2.example".into(),
            key_id: "001".into(),
            key: b2::Secret::new("verysecret"),
            bucket_id: None,
            bucket_name: Some("photos".into()),
            timeout: Duration::from_secs(1),
            uploads: 1,
            downloads: 1,
            ..b2::Options::default()
        };
        for (kind, said) in [
            (
                ErrorKind::BadCredentials,
                "B2 does not accept the key 001: check accountId",
            ),
            (
                ErrorKind::NoSuchBucket,
                "the key 001 knows no bucket photos: check",
            ),
            (
                ErrorKind::AccessDenied,
                "the key 001 may not use the bucket photos: make a key",
            ),
            (
                ErrorKind::Unavailable,
                "cannot reach https://b2.example: check network",
            ),
            (ErrorKind::Protocol, "cannot open the bucket photos: "),
        ] {
            let error = b2::Error {
                kind,
                call: "b2_authorize_account",
                subject: String::new(),
                status: 401,
                code: "x".into(),
                detail: "no".into(),
                attempts: 1,
                elapsed: Duration::ZERO,
                lost: None,
            };
            let text = unreachable(&error, &options).to_string();
            assert!(text.starts_with(said), "{text}");
            assert!(!text.contains("verysecret"));
        }
    }
}
