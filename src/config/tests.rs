//! What `Config::load` makes of its three sources.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A configuration file in a directory of its own.
fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.yaml");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode set");
    (dir, path)
}

fn no_environment(_: &str) -> Option<OsString> {
    None
}

fn bucket(config: &Config) -> (Option<&str>, Option<&str>) {
    match &config.account {
        Account::Real {
            bucket_id,
            bucket_name,
            ..
        } => (bucket_id.as_deref(), bucket_name.as_deref()),
        Account::Emulator => (None, None),
    }
}

fn key_id(config: &Config) -> &str {
    match &config.account {
        Account::Real { key_id, .. } => key_id,
        Account::Emulator => "",
    }
}

#[test]
fn an_option_beats_the_environment_which_beats_the_file() {
    let (_dir, path) = file(
        "accountId: from-file\napplicationKey: k\nbucketId: id-in-file\nuploads: 3\ndownloads: 4\n",
        0o600,
    );
    let environment = |name: &str| match name {
        "B2_APPLICATION_KEY_ID" => Some("from-environment".into()),
        "B2FUSE_BUCKET" => Some("name-in-environment".into()),
        _ => None,
    };
    let load = |options, environment: &Environment<'_>| {
        Config::load(options, Some(&path), environment, false).expect("valid")
    };

    let config = load(Layer::default(), &no_environment);
    assert_eq!(key_id(&config), "from-file");
    assert_eq!(bucket(&config), (Some("id-in-file"), None));

    let config = load(Layer::default(), &environment);
    assert_eq!(key_id(&config), "from-environment");
    assert_eq!(bucket(&config), (None, Some("name-in-environment")));

    let options = Layer {
        account_id: Some(Word("from-option".into())),
        bucket_id: Some(Word("id-in-option".into())),
        uploads: Some(Count(5)),
        ..Layer::default()
    };
    let config = load(options, &environment);
    assert_eq!(key_id(&config), "from-option");
    assert_eq!(bucket(&config), (Some("id-in-option"), None));
    assert_eq!((config.uploads, config.downloads), (5, 4));
}

#[test]
fn no_file_is_needed_when_the_environment_says_all() {
    let environment = |name: &str| match name {
        "B2_APPLICATION_KEY_ID" => Some("id".into()),
        "B2_APPLICATION_KEY" => Some("secret".into()),
        "B2_ENDPOINT" => Some("http://127.0.0.1:7".into()),
        _ => None,
    };
    let config = Config::load(Layer::default(), None, &environment, false).expect("valid");
    assert_eq!(bucket(&config), (None, None));
    let Account::Real { endpoint, .. } = &config.account else {
        panic!("a real account");
    };
    assert_eq!(endpoint, "http://127.0.0.1:7");
}

#[test]
fn missing_credentials_are_named_with_every_place_for_them() {
    let environment = |name: &str| (name == "HOME").then(|| "/nonexistent".into());
    let fault =
        Config::load(Layer::default(), None, &environment, false).expect_err("nothing given");
    assert_eq!(
        fault.to_string(),
        "accountId is missing: write `accountId:` into \
         /nonexistent/.config/b2fuse/config.yaml or config.yaml, or set B2_APPLICATION_KEY_ID"
    );
    let (_dir, path) = file("accountId: a\n", 0o600);
    let fault =
        Config::load(Layer::default(), Some(&path), &environment, false).expect_err("no key given");
    assert_eq!(
        fault.to_string(),
        format!(
            "applicationKey is missing: write `applicationKey:` into {}, or set B2_APPLICATION_KEY",
            path.display()
        )
    );
}

#[test]
fn a_named_file_that_does_not_exist_is_an_error() {
    let fault = Config::load(
        Layer::default(),
        Some(Path::new("/nonexistent/c.yaml")),
        &no_environment,
        false,
    )
    .expect_err("no such file");
    assert_eq!(
        fault.to_string(),
        "/nonexistent/c.yaml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_wrong_variable_is_named_and_its_secret_is_not() {
    let environment = |name: &str| (name == "B2_APPLICATION_KEY").then(|| "very secret".into());
    let fault =
        Config::load(Layer::default(), None, &environment, false).expect_err("blank in key");
    assert_eq!(
        fault.to_string(),
        "B2_APPLICATION_KEY: must be one word without blanks and colons"
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let (_dir, path) = file("accountId: a\napplicationKey: K001verysecret\n", 0o600);
    let config =
        Config::load(Layer::default(), Some(&path), &no_environment, false).expect("valid");
    assert!(!format!("{config:?}").contains("verysecret"));
    let options = config.into_mount("/m".into(), None);
    assert!(!format!("{options:?}").contains("verysecret"));
    assert_eq!(options.b2.key.expose(), "K001verysecret");
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    for (mode, warned) in [(0o600, 0), (0o640, 1), (0o644, 1)] {
        let (_dir, path) = file("accountId: a\napplicationKey: k\n", mode);
        let config =
            Config::load(Layer::default(), Some(&path), &no_environment, false).expect("valid");
        assert_eq!(config.warnings.len(), warned, "{mode:o}");
    }
    let (_dir, path) = file("accountId: a\n", 0o644);
    let options = Layer {
        key: Some("k".parse().expect("a key")),
        ..Layer::default()
    };
    let config = Config::load(options, Some(&path), &no_environment, false).expect("valid");
    assert!(config.warnings.is_empty());
}

#[test]
fn parts_fit_into_the_memory() {
    let load = |text: &str| {
        let (_dir, path) = file(text, 0o600);
        Config::load(Layer::default(), Some(&path), &no_environment, true)
    };
    let small = load("memory: 32MiB\n").expect("valid");
    assert_eq!((small.part_size, small.large_file), (8 << 20, 8 << 20));
    let plain = load("").expect("valid");
    assert_eq!((plain.part_size, plain.large_file), (16 << 20, 32 << 20));
    assert!(load("memory: 64MiB\npart_size: 17MiB\n").is_err());
    assert!(load("memory: 64MiB\nlarge_file: 33MiB\n").is_err());
    assert!(load("timeout: 10ms\n").is_err());
}

#[test]
fn the_emulator_needs_no_account_and_looks_at_none() {
    let environment = |name: &str| (name == "B2_APPLICATION_KEY_ID").then(|| "real".into());
    let config = Config::load(Layer::default(), None, &environment, true).expect("valid");
    assert_eq!(config.account, Account::Emulator);
}

#[test]
fn the_example_is_valid_and_names_every_key() {
    let text = include_str!("../../config.example.yaml");
    file::parse(Path::new("config.example.yaml"), text).expect("valid as it stands");
    // With every key switched on, too.
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    file::parse(Path::new("config.example.yaml"), &all).expect("valid with every key");
    for key in Layer::ENTRIES.iter().map(|entry| entry.key) {
        assert!(
            all.lines().any(|line| line.starts_with(&format!("{key}:"))),
            "{key} is not in the example"
        );
    }
}

#[test]
fn a_key_of_the_environment_goes_to_no_endpoint_that_only_a_file_names() {
    let (_dir, path) = file("accountId: a\nendpoint: https://b2.example.com\n", 0o600);
    let (_dir, whole) = file(
        "accountId: a\napplicationKey: k\nendpoint: https://b2.example.com\n",
        0o600,
    );
    let (_dir, usual) = file(
        "accountId: a\nendpoint: https://api.backblazeb2.com\n",
        0o600,
    );
    let key = |name: &str| (name == "B2_APPLICATION_KEY").then(|| "secret".into());
    let both = |name: &str| match name {
        "B2_APPLICATION_KEY" => Some("secret".into()),
        "B2_ENDPOINT" => Some("https://b2.example.com".into()),
        _ => None,
    };
    let load = |path: &Path, environment: &Environment<'_>| {
        Config::load(Layer::default(), Some(path), environment, false)
    };
    for path in [&path, &whole] {
        let fault = load(path, &key).expect_err("refused").to_string();
        assert!(fault.contains("set B2_ENDPOINT to the same"), "{fault}");
        assert!(!fault.contains("secret"), "{fault}");
        load(path, &both).expect("the environment says the same");
    }
    load(&whole, &no_environment).expect("all of it in one file");
    load(&usual, &key).expect("where keys belong");
}
