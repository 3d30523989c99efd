//! The key from where people have it: a file, a command, systemd, rclone, the b2 command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::WRITER;
use crate::harness::*;

/// A program of other people's, as the tests' runner has installed it.
fn tool(name: &str) -> Command {
    let dir = std::env::var_os("B2FUSE_TEST_BIN").expect("B2FUSE_TEST_BIN names a directory");
    let path = Path::new(&dir).join(name);
    assert!(path.is_file(), "{} is installed", path.display());
    let mut command = Command::new(path);
    for variable in [
        "B2_APPLICATION_KEY_ID",
        "B2_APPLICATION_KEY",
        "B2_ACCOUNT_INFO",
        "RCLONE_CONFIG",
    ] {
        command.env_remove(variable);
    }
    command
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("mode set");
}

/// An account in the environment, but for the key.
fn without_key(account: &Account) -> Command {
    let mut command = b2fuse_with(account);
    command.env_remove("B2_APPLICATION_KEY");
    command
}

/// Mounts, and ends again; what was said holds no key.
fn mounts(command: &mut Command, account: &Account) -> String {
    let place = Place::new();
    let mut running = Running::mount(command.arg("-v"), &place.mnt());
    fs::write(place.mnt().join("f"), "x").expect("stored");
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(&account.key), "{said}");
    assert!(!said.contains("FileId("), "{said}");
    said
}

#[test]
fn a_key_is_read_from_a_file_from_a_command_and_from_systemd() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let file = place.path().join("b2fuse.key");
    private(&file, &format!("{}\n", account.key));
    let said = mounts(
        without_key(&account)
            .arg("--application-key-file")
            .arg(&file),
        &account,
    );
    assert!(!said.contains("can be read by others"), "{said}");
    let command = format!("cat {}; echo more", file.display());
    mounts(
        without_key(&account)
            .arg("--application-key-command")
            .arg(&command),
        &account,
    );
    mounts(
        without_key(&account).env("CREDENTIALS_DIRECTORY", place.path()),
        &account,
    );
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("mode set");
    let said = mounts(
        without_key(&account).env("B2FUSE_APPLICATION_KEY_FILE", &file),
        &account,
    );
    assert!(
        said.contains("is the application key and can be read by others (mode 644)"),
        "{said}"
    );
}

#[test]
fn a_key_that_cannot_be_had_ends_with_2_and_says_why() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let open = place.path().join("open");
    private(&open, &account.key);
    fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).expect("mode set");
    let open = open.display().to_string();
    for (options, said) in [
        (
            &["--application-key-file", &open][..],
            "others may write the application key (mode 666)",
        ),
        (
            &["--application-key-file", "/nonexistent"],
            "/nonexistent: cannot be read",
        ),
        (
            &[
                "--application-key-command",
                "echo the store is locked >&2; exit 4",
            ],
            "applicationKeyCommand failed (exit status: 4): the store is locked",
        ),
        (
            &[
                "--application-key-command",
                "true",
                "--application-key-file",
                "/k",
            ],
            "applicationKeyFile and applicationKeyCommand both say what the key is",
        ),
        (
            &["--from-rclone", "x", "--account-id", "y"],
            "--from-rclone and --account-id both name the account",
        ),
        (
            &["--from-rclone", "x", "--from-b2-cli"],
            "cannot be used with",
        ),
        (&["--profile", "../x"], "is no name of a profile"),
        (&["--read-only", "true"], "write --read-only=true"),
    ] {
        let (code, text) = outcome(without_key(&account).args(options).arg(place.mnt()));
        assert_eq!(code, Some(2), "{options:?}: {text}");
        assert!(text.contains(said), "{options:?}: {text}");
        assert!(!text.contains(&account.key), "{text}");
    }
    assert!(mounted_on(&place.mnt()).is_empty());
}

#[test]
fn a_command_in_a_file_that_was_only_found_is_not_run() {
    let place = Place::new();
    let sign = place.path().join("sign");
    private(
        &place.path().join("config.yaml"),
        &format!(
            "accountId: a\napplicationKeyCommand: touch {}\n",
            sign.display()
        ),
    );
    let (code, text) = outcome(b2fuse().current_dir(place.path()).arg(place.mnt()));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("name it with --config config.yaml if it is meant"),
        "{text}"
    );
    assert!(!sign.exists());
}

#[test]
fn a_file_and_a_command_are_asked_again_at_sighup() {
    let server = emulator();
    let master = Account::of(&server);
    for option in ["--application-key-file", "--application-key-command"] {
        let (first, second) = (
            master.restricted(WRITER, None),
            master.restricted(WRITER, None),
        );
        let place = Place::new();
        let (file, config) = (place.path().join("key"), place.path().join("c.yaml"));
        let written = |account: &Account| {
            private(&file, &account.key);
            private(&config, &format!("accountId: {}\n", account.key_id));
        };
        written(&first);
        let value = match option {
            "--application-key-file" => file.display().to_string(),
            _ => format!("cat {}", file.display()),
        };
        let mut command = b2fuse_with(&first);
        command
            .env_remove("B2_APPLICATION_KEY_ID")
            .env_remove("B2_APPLICATION_KEY");
        command.args([option, &value]).arg("--config").arg(&config);
        let mut running = Running::mount(&mut command, &place.mnt());
        written(&second);
        running.signal(Signal::SIGHUP);
        running.hear(&format!("the key {} is used from now on", second.key_id));
        master.call(
            "b2_delete_key",
            |_, _| json!({"applicationKeyId": first.key_id}),
        );
        fs::write(place.mnt().join("f"), "x").expect("stored with the second key");
        running.signal(Signal::SIGTERM);
        assert_eq!(running.end().0, Some(0));
    }
}

/// A configuration that rclone itself has written.
fn rclone_config(account: &Account, at: &Path) {
    let made = tool("rclone")
        .args(["config", "create", "mine", "b2", "--non-interactive"])
        .args([
            "account",
            &account.key_id,
            "key",
            &account.key,
            "endpoint",
            &account.endpoint,
        ])
        .env("RCLONE_CONFIG", at)
        .output()
        .expect("rclone runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn the_account_of_a_remote_of_rclone_mounts() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let config = place.path().join("rclone.conf");
    rclone_config(&account, &config);
    let before = fs::read(&config).expect("read");
    let with = || {
        let mut command = b2fuse();
        command
            .env("RCLONE_CONFIG", &config)
            .env("B2FUSE_BUCKET", &account.bucket);
        command
    };
    mounts(with().args(["--from-rclone", "mine"]), &account);
    mounts(with().args(["-o", "from_rclone=mine"]), &account);
    for (options, said) in [
        (
            &["--from-rclone", "other"][..],
            "has no remote other; of type b2 are: mine",
        ),
        (
            &["--config", &config.display().to_string()],
            "write --from-rclone mine",
        ),
    ] {
        let (code, text) = outcome(with().args(options).arg(place.mnt()));
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains(said) && !text.contains(&account.key),
            "{text}"
        );
    }
    assert_eq!(fs::read(&config).expect("read"), before, "only read");
    let encrypted = tool("rclone")
        .args([
            "config",
            "encryption",
            "set",
            "--password-command",
            "echo secret",
        ])
        .env("RCLONE_CONFIG", &config)
        .output()
        .expect("rclone runs");
    assert!(
        encrypted.status.success(),
        "{}",
        String::from_utf8_lossy(&encrypted.stderr)
    );
    let (code, text) = outcome(with().args(["--from-rclone", "mine"]).arg(place.mnt()));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("is encrypted, and only rclone can read it"),
        "{text}"
    );
}

#[test]
fn the_account_of_the_b2_command_line_mounts() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let config = place.path().join("config");
    fs::create_dir_all(&config).expect("made");
    for profile in [None, Some("work")] {
        let mut b2 = tool("b2");
        b2.env("HOME", place.path()).env("XDG_CONFIG_HOME", &config);
        b2.env("B2_ENVIRONMENT", &account.endpoint);
        b2.args(["account", "authorize"]);
        b2.args(profile.iter().flat_map(|name| ["--profile", name]));
        let made = b2
            .args([&account.key_id, &account.key])
            .output()
            .expect("b2 runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let option = match profile {
            None => "--from-b2-cli".to_owned(),
            Some(name) => format!("--from-b2-cli={name}"),
        };
        let mut command = b2fuse();
        command
            .env("HOME", place.path())
            .env("XDG_CONFIG_HOME", &config);
        mounts(
            command.env("B2FUSE_BUCKET", &account.bucket).arg(option),
            &account,
        );
    }
    let names = fs::read_dir(config.join("b2")).expect("listed").count();
    assert_eq!(names, 2, "nothing was added");
    let (code, text) = outcome(
        b2fuse()
            .env("B2_ACCOUNT_INFO", "/nonexistent")
            .arg("--from-b2-cli")
            .arg(place.mnt()),
    );
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`b2 account authorize` makes it"), "{text}");
}

#[test]
fn a_profile_is_a_file_of_the_users() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    fs::create_dir(place.path().join("b2fuse")).expect("made");
    private(
        &place.path().join("b2fuse/photos.yaml"),
        &format!(
            "accountId: {}\napplicationKey: {}\nbucketName: {}\nendpoint: {}\n",
            account.key_id, account.key, account.bucket, account.endpoint
        ),
    );
    mounts(
        b2fuse()
            .env("XDG_CONFIG_HOME", place.path())
            .args(["--profile", "photos"]),
        &account,
    );
}

#[test]
fn a_prefix_that_holds_nothing_is_told_at_the_start() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    let mut command = b2fuse_with(&account);
    let running = Running::mount(command.args(["--prefix", "bakcup"]), &place.mnt());
    running.hear("there is nothing below the prefix \"bakcup/\" yet");
}

/// Rows that fill several levels of pages, values that go on in other pages, and a column that was added later.
#[test]
fn an_account_of_the_b2_command_line_is_found_however_its_file_is_laid_out() {
    const MAKE: &str = "import sqlite3, sys\n\
        path, page, rows, long, key_id, key, realm = sys.argv[1:]\n\
        db = sqlite3.connect(path); db.execute(f'pragma page_size={page}')\n\
        db.execute('create table other (x text)'); db.execute('create index i on other (x)')\n\
        db.execute('create table account (account_id TEXT NOT NULL, application_key TEXT NOT NULL, '\n\
        \x20          'account_auth_token TEXT NOT NULL, part INT DEFAULT (max(1, 5)), realm TEXT NOT NULL)')\n\
        for row in range(int(rows)):\n\
        \x20   last = row + 1 == int(rows)\n\
        \x20   db.execute('insert into account values (?,?,?,?,?)', ('account', key if last else 'K',\n\
        \x20              't' * int(long), 1000000 * row, realm if last else 'production'))\n\
        db.execute('alter table account add column account_id_or_app_key_id TEXT')\n\
        db.execute('update account set account_id_or_app_key_id=?', (key_id,)); db.commit()\n";
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    for (page, rows, long) in [
        ("512", "1", "5000"),
        ("512", "100", "3000"),
        ("4096", "8", "90000"),
        ("65536", "3", "10"),
    ] {
        let file = place.path().join(page.to_owned() + rows);
        private(&file, "");
        let made = tool("python3")
            .args(["-c", MAKE])
            .arg(&file)
            .args([
                page,
                rows,
                long,
                &account.key_id,
                &account.key,
                &account.endpoint,
            ])
            .output()
            .expect("python3 runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut command = b2fuse();
        command
            .env("B2_ACCOUNT_INFO", &file)
            .env("B2FUSE_BUCKET", &account.bucket);
        let (code, text) = outcome(command.args(["check", "--from-b2-cli"]));
        assert_eq!(code, Some(0), "{page} {rows} {long}: {text}");
        assert!(
            text.contains(&format!("✓ key {}: may list", account.key_id)),
            "{text}"
        );
    }
}
