//! SIGHUP: the configuration is read again, and the mount goes on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::WRITER;
use crate::harness::{Account, Place, Running, b2fuse, emulator, eventually, mounted_on};

/// A configuration file in a directory of its own.
struct Written {
    dir: tempfile::TempDir,
}

impl Written {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn write(&self, account: &Account) {
        let Account {
            endpoint,
            key_id,
            key,
            bucket,
        } = account;
        let text = format!(
            "endpoint: {endpoint}\naccountId: {key_id}\napplicationKey: {key}\nbucketName: {bucket}\n\
             list_hashfiles: false\n"
        );
        self.write_text(&text);
    }

    fn write_text(&self, text: &str) {
        fs::write(self.path(), text).expect("written");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.path(), mode).expect("mode set");
    }

    fn mount(&self, on: &Path) -> Running {
        let mut command = b2fuse();
        Running::mount(command.arg("-v").arg("--config").arg(self.path()), on)
    }
}

fn names(account: &Account) -> Vec<String> {
    let found = account.call(
        "b2_list_file_names",
        |_, bucket| json!({"bucketId": bucket}),
    );
    let rows = found["files"].as_array().expect("rows");
    let name = |row: &serde_json::Value| row["fileName"].as_str().expect("a name").to_owned();
    rows.iter().map(name).collect()
}

#[test]
fn another_key_is_taken_and_what_the_old_one_could_not_store_is_stored() {
    let server = emulator();
    let master = Account::of(&server);
    let (first, second) = (
        master.restricted(WRITER, None),
        master.restricted(WRITER, None),
    );
    let (place, config) = (Place::new(), Written::new());
    config.write(&first);
    let mut running = config.mount(&place.mnt());
    fs::write(place.mnt().join("before"), "1").expect("stored");
    master.call(
        "b2_delete_key",
        |_, _| json!({"applicationKeyId": first.key_id}),
    );
    // The upload URL that is there would still serve.
    server.set_faults(&["upload:503:1"]).expect("a fault");
    let mut between = fs::File::create(place.mnt().join("between")).expect("made");
    between.write_all(b"2").expect("taken");
    between.sync_all().expect_err("the key is dead");
    drop(between);
    running.hear("write a valid key into the configuration file and send SIGHUP");
    assert_eq!(names(&master), ["before"]);
    config.write(&second);
    running.signal(Signal::SIGHUP);
    running.hear(&format!("the key {} is used from now on", second.key_id));
    eventually("it is stored", || names(&master) == ["before", "between"]);
    fs::write(place.mnt().join("after"), "3").expect("stored");
    assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse"]);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
    let said = running.said();
    for key in [&first.key, &second.key] {
        assert!(!said.contains(key.as_str()), "{said}");
    }
}

#[test]
fn a_key_that_does_not_do_is_not_taken() {
    let server = emulator();
    let master = Account::of(&server);
    let first = master.restricted(WRITER, None);
    let (place, config) = (Place::new(), Written::new());
    config.write(&first);
    let mut running = config.mount(&place.mnt());
    for (text, said) in [
        (None, "the key stays what it was: it lacks writeFiles"),
        (Some("nonsense: 1\n"), "the key stays what it was: "),
    ] {
        match text {
            None => config.write(&master.restricted(&WRITER[..2], None)),
            Some(text) => config.write_text(text),
        }
        running.signal(Signal::SIGHUP);
        running.hear(said);
        fs::write(place.mnt().join("f"), said).expect("stored with the first key");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}
