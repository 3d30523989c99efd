//! `b2fuse check`: what a mount would meet, without mounting, and without writing anything to the bucket.
//!
//! What belongs to this machine is in `system`. Each finding is told at once: a call to B2 may take its time.

mod system;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Options, connect};
use crate::b2::{Account, BucketSettings, Client, LifecycleRule};

pub use system::system;

/// What one thing is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It mounts, but the user should know.
    Warning,
    /// It does not mount, or what was written would be in danger.
    Bad,
}

/// One line of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is like.
    pub verdict: Verdict,
    /// What was looked at, what it is, and where it is not as it should be, what to do.
    pub text: String,
}

impl Finding {
    /// As it should be.
    pub fn good(text: impl Into<String>) -> Self {
        Self::new(Verdict::Good, text)
    }

    /// Worth to know.
    pub fn warning(text: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, text)
    }

    /// In the way.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(Verdict::Bad, text)
    }

    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { verdict, text }
    }
}

/// Seconds by which the clock may differ from B2's; files show their times by it.
const CLOCK_MAX: u64 = 60;
/// Milliseconds before the end of a key from which on it is warned of.
const ENDS_SOON: u64 = 7 * 24 * 3600 * 1000;

/// Looks at the key and the bucket, and tells what it finds.
pub fn account(mut options: Options, tell: &mut dyn FnMut(Finding)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = match Client::connect(options.b2.clone()).await {
            Ok(client) => client,
            Err(error) => {
                let text = connect::unreachable(&error, &options.b2).to_string();
                tell(Finding::bad(format!("account: {text}")));
                return;
            }
        };
        let now = now_ms();
        let clock = client.clock_ms();
        let account = client.account();
        tell(key(
            &options.b2.key_id,
            &account,
            client.key_ends_ms(),
            clock.unwrap_or(now),
        ));
        match connect::fit(&account, &mut options.vfs) {
            Ok(notices) => notices
                .into_iter()
                .for_each(|notice| tell(Finding::warning(notice))),
            Err(fault) => tell(Finding::bad(fault.to_string())),
        }
        let name = &account.bucket_name;
        match client.bucket_settings().await {
            Ok(Some(settings)) => bucket(name, &settings, &options.vfs.prefix)
                .into_iter()
                .for_each(&mut *tell),
            Ok(None) => tell(Finding::good(format!(
                "bucket {name}: its settings are not known to a key without listBuckets"
            ))),
            Err(error) => tell(Finding::warning(format!(
                "bucket {name}: its settings cannot be read: {error}"
            ))),
        }
        tell(clocks(now, clock));
    });
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What a key may do, in one line.
pub fn rights(account: &Account) -> String {
    let rights = [
        ("listFiles", "list"),
        ("readFiles", "read"),
        ("writeFiles", "write"),
        ("deleteFiles", "delete"),
    ];
    let (may, lacks): (Vec<_>, Vec<_>) = rights
        .into_iter()
        .partition(|(right, _)| account.may(right));
    let words = |rights: Vec<(&str, &'static str)>| -> Vec<&str> {
        rights.into_iter().map(|(_, word)| word).collect()
    };
    let may = match words(may)[..] {
        [] => "may do nothing with files".to_owned(),
        ref words => format!("may {}", words.join(", ")),
    };
    match words(lacks)[..] {
        [] => may,
        ref words => format!("{may}, not {}", words.join(", ")),
    }
}

fn key(id: &str, account: &Account, ends_ms: Option<u64>, now: u64) -> Finding {
    let bound = match account.name_prefix.as_str() {
        "" => String::new(),
        prefix => format!(", names that start with {prefix:?}"),
    };
    let text = format!(
        "key {id}: {} in the bucket {}{bound}",
        rights(account),
        account.bucket_name
    );
    match ends_ms {
        None => Finding::good(format!("{text}; it has no end")),
        Some(ends) => {
            let day = i64::try_from(ends)
                .ok()
                .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            let day = day.map_or_else(
                || "soon".to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            );
            if ends.saturating_sub(now) <= ENDS_SOON {
                Finding::warning(format!(
                    "{text}; it ends {day}: make another one in time, and send SIGHUP to the mount"
                ))
            } else {
                Finding::good(format!("{text}; it ends {day}"))
            }
        }
    }
}

fn bucket(name: &str, settings: &BucketSettings, prefix: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    found.push(match settings.kind.as_str() {
        "allPublic" => Finding::warning(format!(
            "bucket {name}: is public, anybody can download its files: make it allPrivate unless that is meant"
        )),
        kind => Finding::good(format!("bucket {name}: {kind}")),
    });
    let rules: Vec<&LifecycleRule> = settings
        .lifecycle
        .iter()
        .filter(|rule| {
            rule.file_name_prefix.starts_with(prefix) || prefix.starts_with(&rule.file_name_prefix)
        })
        .collect();
    if rules.is_empty() {
        found.push(Finding::good(
            "lifecycle: no rule deletes anything; removed and replaced versions stay, and are billed",
        ));
    }
    found.extend(rules.into_iter().map(lifecycle));
    found.push(match settings.retention.as_deref() {
        Some("") => Finding::good("default retention: none"),
        Some(how) => Finding::warning(format!(
            "default retention: {how}: what is removed or replaced stays, and is billed, until then"
        )),
        None => Finding::good("default retention: not known to a key without readBucketRetentions"),
    });
    found.push(Finding::good(match settings.encryption.as_deref() {
        Some("") => "default encryption: none".to_owned(),
        Some(mode) => format!("default encryption: {mode}"),
        None => "default encryption: not known to a key without readBucketEncryption".to_owned(),
    }));
    found
}

fn lifecycle(rule: &LifecycleRule) -> Finding {
    let names = match rule.file_name_prefix.as_str() {
        "" => "all files".to_owned(),
        prefix => format!("names that start with {prefix:?}"),
    };
    match (
        rule.days_from_uploading_to_hiding,
        rule.days_from_hiding_to_deleting,
    ) {
        (Some(hides), deletes) => {
            let then = deletes.map_or_else(String::new, |days| {
                format!(", and deletes them {days} days later")
            });
            Finding::warning(format!(
                "lifecycle: B2 hides {names} {hides} days after they were stored{then}, also those in use: take daysFromUploadingToHiding out of the rule unless that is meant"
            ))
        }
        (None, Some(days)) => Finding::good(format!(
            "lifecycle: B2 deletes versions of {names} {days} days after they were removed or replaced"
        )),
        (None, None) => Finding::good(format!("lifecycle: a rule for {names} deletes no version")),
    }
}

fn clocks(now: u64, b2: Option<u64>) -> Finding {
    let Some(b2) = b2 else {
        return Finding::warning("clock: B2's answers do not tell the time");
    };
    let (difference, which) = if now >= b2 {
        ((now - b2) / 1000, "ahead of")
    } else {
        ((b2 - now) / 1000, "behind")
    };
    if difference > CLOCK_MAX {
        Finding::warning(format!(
            "clock: {difference} seconds {which} B2's, files will show wrong times: timedatectl set-ntp true"
        ))
    } else {
        Finding::good("clock: agrees with B2's")
    }
}

/// Where the rescue directory would be, for `system`.
fn rescue_root(options: &super::RescueTo) -> Option<PathBuf> {
    let environment = |name: &str| std::env::var_os(name);
    super::rescuer::root(options, &environment, nix::unistd::geteuid().is_root())
}

/// Where a path's first part is that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|above| above.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(capabilities: &[&str]) -> Account {
        Account {
            account_id: "a".into(),
            bucket_id: "i".into(),
            bucket_name: "photos".into(),
            capabilities: capabilities.iter().map(|&c| c.to_owned()).collect(),
            name_prefix: "team/".into(),
            minimum_part_size: 5_000_000,
            recommended_part_size: 100_000_000,
        }
    }

    #[test]
    fn a_key_is_told_with_its_rights_its_bounds_and_its_end() {
        let reader = account(&["listFiles", "readFiles"]);
        assert_eq!(
            key("001", &reader, None, 0),
            Finding::good(
                "key 001: may list, read, not write, delete in the bucket photos, names that start with \"team/\"; it has no end"
            )
        );
        assert_eq!(
            rights(&account(&[])),
            "may do nothing with files, not list, read, write, delete"
        );
        let ends = |now| key("001", &reader, Some(ENDS_SOON + 1000), now);
        assert_eq!(ends(0).verdict, Verdict::Good);
        assert_eq!(ends(2000).verdict, Verdict::Warning);
        assert!(
            ends(2000).text.contains("it ends 1970-01-08 00:00 UTC"),
            "{ends:?}",
            ends = ends(2000)
        );
    }

    #[test]
    fn rules_that_take_files_away_are_warned_of_where_the_mount_is() {
        let rule = |prefix: &str, hides, deletes| LifecycleRule {
            file_name_prefix: prefix.into(),
            days_from_uploading_to_hiding: hides,
            days_from_hiding_to_deleting: deletes,
        };
        let settings = BucketSettings {
            kind: "allPrivate".into(),
            lifecycle: vec![
                rule("", None, Some(30)),
                rule("tmp/", Some(1), Some(2)),
                rule("x/", Some(1), None),
            ],
            retention: Some("governance for 7 days".into()),
            encryption: None,
        };
        let found = bucket("photos", &settings, "tmp/");
        let texts: Vec<_> = found
            .iter()
            .map(|one| (one.verdict, one.text.as_str()))
            .collect();
        assert_eq!(texts[0], (Verdict::Good, "bucket photos: allPrivate"));
        assert_eq!(
            texts[1],
            (
                Verdict::Good,
                "lifecycle: B2 deletes versions of all files 30 days after they were removed or replaced"
            )
        );
        assert_eq!(texts[2].0, Verdict::Warning);
        assert!(texts[2].1.contains("hides names that start with \"tmp/\" 1 days after they were stored, and deletes them 2 days later"), "{texts:?}");
        assert_eq!(texts[3].0, Verdict::Warning, "{texts:?}");
        assert!(texts[4].1.contains("readBucketEncryption"), "{texts:?}");
        assert_eq!(texts.len(), 5);
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_told() {
        assert_eq!(clocks(100_000, Some(130_000)).verdict, Verdict::Good);
        for (now, b2, said) in [
            (300_000, 100_000, "200 seconds ahead of"),
            (0, 100_000, "100 seconds behind"),
        ] {
            let found = clocks(now, Some(b2));
            assert_eq!(found.verdict, Verdict::Warning);
            assert!(found.text.contains(said), "{found:?}");
        }
        assert_eq!(clocks(0, None).verdict, Verdict::Warning);
    }
}
