//! `b2fuse check`: a line for each thing, and nothing written.

use std::fs;

use crate::WRITER;
use crate::harness::*;

/// The line about something.
fn line<'a>(text: &'a str, about: &str) -> &'a str {
    let mut lines = text.lines();
    let found = lines.find(|line| line.get(..).is_some_and(|line| line.contains(about)));
    found.unwrap_or_else(|| panic!("no {about} in: {text}"))
}

#[test]
fn what_is_as_it_should_be_has_a_tick_each_and_ends_with_0() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut command = b2fuse_with(&account);
    command.arg("check").arg(place.mnt());
    let rescue = place.path().join("rescue");
    let (code, text) = outcome(command.env("B2FUSE_RESCUE", &rescue));
    assert_eq!(code, Some(0), "{text}");
    for about in [
        "configuration: options and environment",
        "may list, read, write, delete in the bucket",
        "lifecycle: ",
        "default retention: none",
        "default encryption: ",
        "clock: agrees",
        "/dev/fuse: can be used",
        "is empty and free",
        "can be written",
    ] {
        assert!(line(&text, about).starts_with("✓ "), "{text}");
    }
    assert!(!text.contains(&account.key), "{text}");
    assert!(!rescue.exists(), "nothing is made");
    let calls = server.counters().calls;
    let asked: Vec<&str> = calls.keys().map(|call| &**call).collect();
    assert_eq!(
        asked,
        ["b2_authorize_account", "b2_list_buckets"],
        "nothing is written"
    );
}

#[test]
fn what_is_in_the_way_has_a_cross_and_a_remedy_and_ends_with_1() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let wrong = Account {
        key: "K001verysecret".into(),
        ..account.clone()
    };
    let missing = place.path().join("missing");
    let (code, text) = outcome(b2fuse_with(&wrong).arg("check").arg(&missing));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        line(&text, "B2 does not accept the key").starts_with("✗ "),
        "{text}"
    );
    assert!(
        line(&text, "make it with: mkdir").starts_with("✗ "),
        "{text}"
    );
    assert!(!text.contains("verysecret"), "{text}");
    let (code, text) = outcome(b2fuse().arg("check"));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        line(&text, "no account is configured").starts_with("✗ "),
        "{text}"
    );
    assert!(
        text.contains("/dev/fuse"),
        "the machine is looked at all the same: {text}"
    );
}

#[test]
fn what_one_should_know_has_a_mark_and_is_in_nobodys_way() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    account.call("b2_update_bucket", |id, bucket| {
        serde_json::json!({
            "accountId": id,
            "bucketId": bucket,
            "bucketType": "allPublic",
            "lifecycleRules": [{"fileNamePrefix": "", "daysFromUploadingToHiding": 3, "daysFromHidingToDeleting": 1}],
        })
    });
    let mut rights = WRITER[..2].to_vec();
    rights.push("listBuckets");
    let reader = account.restricted(&rights, Some("team/"));
    let config = place.path().join("c.yaml");
    fs::write(
        &config,
        format!(
            "accountId: {}\napplicationKey: {}\nendpoint: {}\n",
            reader.key_id, reader.key, reader.endpoint
        ),
    )
    .expect("written");
    let (code, text) = outcome(b2fuse().arg("check").arg("--config").arg(&config));
    assert_eq!(code, Some(0), "{text}");
    for about in [
        "can be read by others",
        "the key may only read",
        "is public",
        "B2 hides all files 3 days after they were stored, and deletes them 1 days later",
        "rescue: off",
    ] {
        assert!(line(&text, about).starts_with("! "), "{about}: {text}");
    }
    assert!(text.contains("names that start with \"team/\""), "{text}");
}
