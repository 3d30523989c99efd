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
    let said = fault.to_string();
    for part in [
        "`b2fuse setup` asks for it",
        "write these lines into /nonexistent/.config/b2fuse/config.yaml (chmod 600):\naccountId: ",
        "\napplicationKey: ",
        "\nbucketName: ",
        "set B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY and B2FUSE_BUCKET",
        "b2fuse --emulator DIR",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (_dir, path) = file("accountId: a\n", 0o600);
    let fault =
        Config::load(Layer::default(), Some(&path), &environment, false).expect_err("no key given");
    assert_eq!(
        fault.to_string(),
        format!(
            "applicationKey is missing: write `applicationKey:` into {}, or set B2_APPLICATION_KEY \
             (or applicationKeyFile, or applicationKeyCommand)",
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

/// A file with such a mode in a directory; its path is for the configuration.
fn key_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let (dir, _) = file("", 0o600);
    let path = dir.path().join("key");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode set");
    (dir, path)
}

fn secret(config: &Config) -> &str {
    match &config.account {
        Account::Real { key, .. } => key.expose(),
        Account::Emulator => panic!("a real account"),
    }
}

#[test]
fn a_key_is_taken_from_where_it_is_named_first() {
    let (_keys, path) = key_file("K001file\n");
    let (_dir, with_file) = file(
        &format!("accountId: a\napplicationKeyFile: {}\n", path.display()),
        0o600,
    );
    let (_dir, with_command) = file(
        "accountId: a\napplicationKeyCommand: echo K001command\n",
        0o600,
    );
    let own = |name: &str| (name == "B2_APPLICATION_KEY").then(|| "K001environment".into());
    let option = Layer {
        key_command: Some("echo K001option".parse().expect("a command")),
        ..Layer::default()
    };
    for (options, file, environment, key) in [
        (
            Layer::default(),
            &with_file,
            &no_environment as &Environment<'_>,
            "K001file",
        ),
        (
            Layer::default(),
            &with_command,
            &no_environment,
            "K001command",
        ),
        (Layer::default(), &with_command, &own, "K001environment"),
        (option, &with_file, &own, "K001option"),
    ] {
        let config = Config::load(options, Some(file), environment, false).expect("valid");
        assert_eq!(secret(&config), key);
        assert!(!format!("{config:?}").contains(key));
    }
}

#[test]
fn two_keys_in_one_place_are_an_error_that_names_both() {
    let (_dir, path) = file(
        "accountId: a\napplicationKey: K001verysecret\napplicationKeyFile: /k\n",
        0o600,
    );
    let fault = Config::load(Layer::default(), Some(&path), &no_environment, false);
    let fault = fault.expect_err("ambiguous").to_string();
    assert!(
        fault.contains("applicationKey and applicationKeyFile both say"),
        "{fault}"
    );
    assert!(!fault.contains("verysecret"), "{fault}");
    let both = |name: &str| match name {
        "B2_APPLICATION_KEY" => Some("K001verysecret".into()),
        "B2FUSE_APPLICATION_KEY_FILE" => Some("/k".into()),
        _ => None,
    };
    let fault = Config::load(Layer::default(), None, &both, false);
    let fault = fault.expect_err("ambiguous").to_string();
    assert!(fault.starts_with("the environment"), "{fault}");
}

#[test]
fn a_relative_file_of_the_key_lies_beside_the_configuration() {
    let (dir, path) = file("accountId: a\napplicationKeyFile: key\n", 0o600);
    let key = dir.path().join("key");
    std::fs::write(&key, "K001beside").expect("written");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("mode set");
    let config = Config::load(Layer::default(), Some(&path), &no_environment, false);
    assert_eq!(secret(&config.expect("valid")), "K001beside");
}

#[test]
fn a_file_that_was_only_found_runs_nothing_and_sends_no_other_file() {
    let (dir, path) = file("", 0o600);
    let sign = dir.path().join("sign");
    for text in [
        format!("applicationKeyCommand: touch {}; echo K\n", sign.display()),
        "applicationKeyFile: /etc/hostname\n".to_owned(),
    ] {
        std::fs::write(&path, format!("accountId: a\n{text}")).expect("written");
        // Also when it is read again, where it is known by its path.
        let found = Which::Here(path.clone());
        let fault = Config::load_from(Layer::default(), &found, &no_environment, false);
        let fault = fault.expect_err("refused").to_string();
        assert!(
            fault.contains("does not count in a file that was only found"),
            "{fault}"
        );
    }
    assert!(!sign.exists(), "nothing was run");
}

#[test]
fn a_profile_is_a_file_of_the_users_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("b2fuse")).expect("made");
    let path = dir.path().join("b2fuse/photos.yaml");
    std::fs::write(&path, "accountId: of-profile\napplicationKey: k\n").expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode set");
    let user = dir.path().as_os_str().to_owned();
    let environment = move |name: &str| (name == "XDG_CONFIG_HOME").then(|| user.clone());
    let load = |name: &str| {
        let which = Which::Profile(name.parse().expect("a name"));
        Config::load_from(Layer::default(), &which, &environment, false)
    };
    let config = load("photos").expect("valid");
    assert_eq!(key_id(&config), "of-profile");
    assert_eq!(config.again, Which::Named(path));
    let fault = load("music").expect_err("missing").to_string();
    assert!(
        fault.contains("`b2fuse setup --profile music` writes it"),
        "{fault}"
    );
}

#[test]
fn the_account_of_another_program_is_refused_beside_options_of_one() {
    let options = Layer {
        account_id: Some(Word("a".into())),
        ..Layer::default()
    };
    let fault = Borrowed::Rclone("r".into()).under(options, &no_environment);
    assert_eq!(
        fault.expect_err("ambiguous").to_string(),
        "--from-rclone and --account-id both name the account: leave one of them out"
    );
}

#[test]
fn a_configuration_of_rclone_is_known_as_one() {
    let (_dir, path) = file(
        "[photos]\ntype = b2\naccount = 1\nkey = K001verysecret\n",
        0o600,
    );
    let fault = Config::load(Layer::default(), Some(&path), &no_environment, false);
    let fault = fault.expect_err("another program's").to_string();
    assert!(fault.contains("write --from-rclone photos"), "{fault}");
    assert!(!fault.contains("verysecret"), "{fault}");
}
