//! Files that are found, refused and explained.

use proptest::prelude::*;

use super::*;

fn fault(text: &str) -> String {
    parse(Path::new("c.yaml"), text)
        .expect_err("must be refused")
        .to_string()
}

/// Each broken file and the one line that the user sees.
#[test]
fn a_broken_file_is_answered_with_its_line_and_a_remedy() {
    for (text, message) in [
        (
            "accountId: a\nplugins: b\n",
            "c.yaml:2: unknown key `plugins`: write one of accountId, applicationKey, applicationKeyFile, applicationKeyCommand, bucketId, \
             bucketName, prefix, endpoint, enable_hashfiles, list_hashfiles, metadata_ttl, delete, \
             overwrite, drop_versions_within, quota, read_only, uid, gid, umask, permissions, hard_links, names, allow_other, noexec, auto_unmount, memory, uploads, downloads, large_file, \
             part_size, bandwidth_up, bandwidth_down, requests_per_second, verify_reads, ca_file, timeout, write_back, store_open, drain_timeout, rescue, log_file, log_format, metrics",
        ),
        (
            "bucket: b\n",
            "c.yaml:1: unknown key `bucket`: write `bucketName`",
        ),
        (
            "bukcetName: b\n",
            "c.yaml:1: unknown key `bukcetName`: write `bucketName`",
        ),
        (
            "memroy: 1GiB\n",
            "c.yaml:1: unknown key `memroy`: write `memory`",
        ),
        (
            "\naccount_id: b\n",
            "c.yaml:2: unknown key `account_id`: write `accountId`",
        ),
        (
            "enableHashfiles: true\n",
            "c.yaml:1: unknown key `enableHashfiles`: write `enable_hashfiles`",
        ),
        (
            "useDisk: true\n",
            "c.yaml:1: unknown key `useDisk`: nothing is kept on disk, remove the line (see `memory`)",
        ),
        (
            "# sizes\nmemory: lots\n",
            "c.yaml:2: memory: \"lots\" is not a size: write bytes or a unit, 512MiB say",
        ),
        (
            "memory: 1MiB\n",
            "c.yaml:1: memory: 1MiB is out of range: write at least 32MiB",
        ),
        (
            "memory: -5\n",
            "c.yaml:1: memory: \"-5\" is not a size: write bytes or a unit, 512MiB say",
        ),
        (
            "part_size: 1MB\n",
            "c.yaml:1: part_size: 1MB is out of range: write 5MB to 5GB, B2's bounds",
        ),
        (
            "uploads: 0\n",
            "c.yaml:1: uploads: \"0\" is out of range: write 1 to 256",
        ),
        (
            "uploads: [1]\n",
            "c.yaml:1: uploads: invalid type: sequence, expected one value on one line",
        ),
        (
            "metadata_ttl: soon\n",
            "c.yaml:1: metadata_ttl: \"soon\" is not a time: write seconds or a unit, 30s say",
        ),
        (
            "umask: 999\n",
            "c.yaml:1: umask: \"999\" is not a umask: write three octal digits, \"022\" say",
        ),
        (
            "enable_hashfiles: perhaps\n",
            "c.yaml:1: enable_hashfiles: \"perhaps\" is neither yes nor no: write true or false",
        ),
        (
            "permissions: none\n",
            "c.yaml:1: permissions: \"none\" is not known: write keep (each file has its own) or ignore (all show the defaults)",
        ),
        (
            "delete: trash\n",
            "c.yaml:1: delete: \"trash\" is not known: write hide (older versions stay) or purge (all versions go)",
        ),
        (
            "uid: root\n",
            "c.yaml:1: uid: \"root\" is not a number of a user or group: write one, 1000 say",
        ),
        (
            "write_back: soon\n",
            "c.yaml:1: write_back: \"soon\" is not a time: write off, or the time to wait after close, 5s say",
        ),
        (
            "endpoint: http://api.backblazeb2.com\n",
            "c.yaml:1: endpoint: http://api.backblazeb2.com would send the key unencrypted: write \
             https://api.backblazeb2.com (plain http is for this machine only)",
        ),
        (
            "bucketName: two words\n",
            "c.yaml:1: bucketName: must be one word without blanks and colons",
        ),
        (
            "accountId: a\naccountId: b\n",
            "c.yaml:2: duplicate field `accountId`: write it once",
        ),
        (
            "just text\n",
            "c.yaml: has no keys: write lines such as `bucketName: my-bucket`",
        ),
        (
            "- a\n- b\n",
            "c.yaml: has no keys: write lines such as `bucketName: my-bucket`",
        ),
    ] {
        assert_eq!(fault(text), message, "{text}");
    }
}

#[test]
fn no_message_steers_the_terminal() {
    for text in [
        "account\td: a\n",
        "\"a\\e[2J\": b\n",
        "memory: \"1\\e[2J\"\n",
    ] {
        let said = fault(text);
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
}

#[test]
fn no_message_quotes_the_application_key() {
    for text in [
        "K001verysecret\n",
        "applicationKey: [K001verysecret]\n",
        "applicationKey: {K001verysecret: 1}\n",
        "applicationKey: K001verysecret more\n",
        "applicationKey: \"K001verysecret\n",
        "applicationKey: K001verysecret\n  bucketId: x\n",
        "applicationKey: K001verysecret\nmemory: x\n",
        "applicationKey: K001verysecret: x\n",
        "applicationKey: !!int K001verysecret\n",
        "applicationKey: K001verysecret\napplicationKey: K001verysecret\n",
    ] {
        if let Err(e) = parse(Path::new("c.yaml"), text) {
            assert!(!e.to_string().contains("verysecret"), "{text} -> {e}");
        }
    }
}

#[test]
fn values_keep_their_digits() {
    let layer = parse(
        Path::new("c.yaml"),
        "accountId: 001234567890\numask: 022\nbucketId: 12e4567890\nmemory: 67108864\n",
    )
    .expect("valid");
    assert_eq!(layer.account_id.expect("given").0, "001234567890");
    assert_eq!(layer.bucket_id.expect("given").0, "12e4567890");
    assert_eq!(layer.umask.expect("given").0, 0o22);
    assert_eq!(layer.memory.expect("given").0, 64 << 20);
}

#[test]
fn an_empty_file_and_empty_values_say_nothing() {
    assert_eq!(
        parse(Path::new("c"), "# nothing\n").expect("valid"),
        Layer::default()
    );
    assert_eq!(
        parse(Path::new("c"), "memory:\nuid: ~\n").expect("valid"),
        Layer::default()
    );
    // A byte order mark is no document of its own.
    let marked = parse(Path::new("c"), "\u{feff}bucketName: b\n").expect("valid");
    assert_eq!(
        marked,
        parse(Path::new("c"), "bucketName: b\n").expect("valid")
    );
}

#[test]
fn the_users_directory_comes_before_the_working_directory() {
    let none = |_: &str| None;
    let here = Place::Here("config.yaml".into());
    assert_eq!(places(&none), std::slice::from_ref(&here));
    let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
    let user = Place::User("/home/u/.config/b2fuse/config.yaml".into());
    assert_eq!(places(&home), [user, here.clone()]);
    let xdg = |name: &str| match name {
        "HOME" => Some("/home/u".into()),
        "XDG_CONFIG_HOME" => Some("/cfg".into()),
        _ => None,
    };
    let user = Place::User("/cfg/b2fuse/config.yaml".into());
    assert_eq!(places(&xdg), [user, here]);
}

#[test]
fn brackets_without_end_are_refused_at_once() {
    for bracket in ["[", "{", "[{", "- ["] {
        let said = fault(&format!("accountId: {}", bracket.repeat(40_000)));
        assert_eq!(
            said,
            "c.yaml: has more than 64 brackets open: this is no configuration file"
        );
    }
}

/// A file in the working directory: its text, its mode, and whether it is used.
#[test]
fn a_file_in_the_working_directory_must_be_ours_and_nobody_elses_to_write() {
    for (text, mode, used, warned) in [
        ("bucketName: b\n", 0o600, true, false),
        ("bucketName: b\n", 0o644, true, false),
        ("bucketName: b\n", 0o646, false, true),
        ("plugins: [a]\nbucketNames: b\n", 0o666, false, false),
        ("- bucketName: b\n", 0o644, false, false),
        ("", 0o644, false, false),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, text).expect("written");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("mode set");
        let mut warnings = Vec::new();
        let found = find(None, &[Place::Here(path.clone())], &mut warnings).expect("no error");
        assert_eq!(found.is_some(), used, "{text} {mode:o}");
        assert_eq!(!warnings.is_empty(), warned, "{warnings:?}");
        // Elsewhere it is an error to be writable by others.
        let refused = find(Some(&path), &[], &mut Vec::new())
            .is_err_and(|e| e.0.contains("others may write it"));
        assert_eq!(refused, mode & 0o002 != 0, "{mode:o}");
    }
}

#[test]
fn a_group_may_write_that_is_the_owners_alone() {
    for (mode, group, others) in [
        (0o664, 1000, false),
        (0o664, 100, true),
        (0o644, 100, false),
        (0o666, 1000, true),
        (0o622, 0, true),
    ] {
        assert_eq!(
            others_may_write(mode, 1000, group),
            others,
            "{mode:o} {group}"
        );
    }
}

/// Pieces of configuration files, of which most do not fit together.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just(format!("applicationKey: {SECRET}")),
        1 => Just(format!("applicationKey:\n  - {SECRET}")),
        1 => Just(format!("applicationKey: \"{SECRET}")),
        1 => Just(format!("applicationKey {SECRET}")),
        1 => Just(format!("applicationKey{SECRET}")),
        2 => Just("\n".to_owned()),
        2 => Just("memory: ".to_owned()),
        1 => Just("accountId: ".to_owned()),
        1 => Just("applicationKeys: ".to_owned()),
        2 => "[-\\[\\]{}:,#&*!|>'\"%@`? \\t\\n]{1,4}",
        1 => "[a-z0-9]{1,6}",
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const SECRET: &str = "K001verysecretword";

#[test]
fn a_key_is_withheld_also_where_another_word_begins_alike() {
    let text =
        format!("applicationKey {SECRET}applicationKey {SECRET}applicationKey{SECRET}memory: ?{{");
    let fault = parse(Path::new("c.yaml"), &text).expect_err("no configuration");
    assert!(!fault.to_string().contains(SECRET), "{fault}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is in the file: it is read or refused, and no message holds the key.
    #[test]
    fn no_message_holds_the_key(text in any_text()) {
        if let Err(fault) = parse(Path::new("c.yaml"), &text) {
            let said = fault.to_string();
            let key = SECRET.to_lowercase();
            prop_assert!(!said.to_lowercase().contains(&key), "{said}\n{text}");
        }
    }
}
