//! What B2 does not take at the end is kept on the machine, and sent later by `b2fuse rescue`.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use b2fuse::emulator::Server;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;

struct Scene {
    server: Server,
    account: Account,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let server = emulator();
        Self {
            account: Account::of(&server),
            place: Place::new(),
            server,
        }
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("kept")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.mnt().join(name)
    }

    fn mount(&self, more: &[&str]) -> Running {
        let mut command = b2fuse_with(&self.account);
        command.args(["--timeout", "2s", "--drain-timeout", "off", "--rescue"]);
        command.arg(self.root()).args(more);
        Running::mount(&mut command, &self.place.mnt())
    }

    /// The one directory below the root.
    fn kept(&self) -> PathBuf {
        let bucket = self.root().join(&self.account.bucket);
        let mut all = fs::read_dir(bucket).expect("something was kept");
        let kept = all.next().expect("a directory").expect("listed").path();
        assert!(all.next().is_none(), "one directory an end");
        kept
    }

    fn list(&self) -> Value {
        let text = fs::read_to_string(self.kept().join("list.json")).expect("a list");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Everything is in B2.
    fn settle(&self) {
        fs::File::open(self.place.mnt())
            .expect("open")
            .sync_all()
            .expect("stored");
    }

    /// Two signals: nothing is tried any more.
    fn give_up(running: &mut Running) -> String {
        running.signal(Signal::SIGINT);
        running.hear("last error: ");
        running.signal(Signal::SIGINT);
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("to send it once B2 takes it: b2fuse rescue "),
            "{said}"
        );
        said
    }

    fn send(&self) -> (Option<i32>, String) {
        outcome(b2fuse_with(&self.account).arg("rescue").arg(self.kept()))
    }

    fn sends_all(&self) -> String {
        let kept = self.kept();
        let (code, said) = self.send();
        assert_eq!(code, Some(0), "{said}");
        assert!(!kept.exists(), "{said}");
        said
    }
}

fn modes_are_private(dir: &Path) {
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let mode = fs::symlink_metadata(&path).expect("known").mode() & 0o7777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            modes_are_private(&path);
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn files_links_and_directories_come_back_whole() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1h"]);
    fs::create_dir(scene.path("d")).expect("made");
    fs::write(scene.path("d/file"), "content").expect("written");
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(scene.path("d/file"), mode).expect("changed");
    fs::write(scene.path("empty"), "").expect("written");
    fs::write(scene.path("large"), vec![7; 3 << 20]).expect("written");
    symlink("d/file", scene.path("link")).expect("linked");
    scene.server.set_faults(&["*:503"]).expect("faults");
    fs::create_dir(scene.path("bare")).expect("made");
    let said = Scene::give_up(&mut running);
    assert!(!said.contains("not rescued"), "{said}");
    let kept = scene.kept();
    modes_are_private(&scene.root());
    let content = fs::read_to_string(kept.join("files/d/file")).expect("under its path");
    assert_eq!(content, "content");
    assert_eq!(scene.list()["format"], "b2fuse-rescue");

    // Not yet.
    let (code, said) = outcome(
        b2fuse_with(&scene.account)
            .args(["rescue", "--timeout", "1s"])
            .arg(&kept),
    );
    assert_eq!(code, Some(1), "{said}");
    scene.server.set_faults(&[]).expect("no faults");
    scene.sends_all();
    let _again = scene.mount(&[]);
    let file = scene.path("d/file");
    assert_eq!(fs::read_to_string(&file).expect("read"), "content");
    assert_eq!(file.metadata().expect("known").mode() & 0o777, 0o640);
    assert_eq!(fs::read(scene.path("empty")).expect("read"), b"");
    assert_eq!(
        fs::read(scene.path("large")).expect("read"),
        vec![7; 3 << 20]
    );
    assert_eq!(
        fs::read_link(scene.path("link")).expect("read"),
        Path::new("d/file")
    );
    assert!(scene.path("bare").is_dir());
}

#[test]
fn a_changed_file_is_completed_from_the_version_that_it_changes() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1s"]);
    let old: Vec<u8> = (0..12u32 << 20).map(|i| (i % 251) as u8).collect();
    fs::write(scene.path("a"), &old).expect("written");
    fs::File::open(scene.path("a"))
        .expect("open")
        .sync_all()
        .expect("stored");
    scene
        .server
        .set_faults(&["upload:503", "get_upload_url:503", "start_large_file:503"])
        .expect("faults");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(scene.path("a"))
        .expect("open");
    file.seek(SeekFrom::Start(5 << 20)).expect("there");
    file.write_all(b"patched").expect("written");
    drop(file);
    Scene::give_up(&mut running);
    let entry = &scene.list()["entries"][0];
    assert_eq!(entry["name"], "a");
    assert!(entry["base"].is_string(), "{entry}");
    scene.server.set_faults(&[]).expect("no faults");
    scene.sends_all();
    let _again = scene.mount(&[]);
    let mut new = old;
    new[5 << 20..(5 << 20) + 7].copy_from_slice(b"patched");
    assert!(fs::read(scene.path("a")).expect("read") == new);
}

/// Somebody has deleted the version that it changes: no try can ever store it, and nobody waits for one.
#[test]
fn what_can_never_be_stored_is_kept_and_holds_no_end_up() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1s"]);
    fs::write(scene.path("a"), vec![7; 12 << 20]).expect("written");
    fs::write(scene.path("b"), "stored").expect("written");
    scene.settle();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(scene.path("a"))
        .expect("open");
    file.seek(SeekFrom::Start(5 << 20)).expect("there");
    file.write_all(b"patched").expect("written");
    let versions = scene.account.call(
        "b2_list_file_versions",
        |_, bucket| serde_json::json!({"bucketId": bucket, "prefix": "a"}),
    );
    let id = versions["files"][0]["fileId"].clone();
    scene.account.call(
        "b2_delete_file_version",
        |_, _| serde_json::json!({"fileName": "a", "fileId": id}),
    );
    drop(file);
    running.signal(Signal::SIGTERM);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "what the rest was made from is gone from the bucket",
        "not stored: a (12.0 MiB): ",
        "1 of these is kept in ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let entry = &scene.list()["entries"][0];
    assert_eq!(entry["name"], "a");
}

#[test]
fn a_large_file_that_was_begun_is_gone_on_with() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--large-file", "10MB", "--part-size", "5MB"]);
    let content: Vec<u8> = (0..33u32 << 20).map(|i| (i % 241) as u8).collect();
    let mut file = fs::File::create(scene.path("big")).expect("created");
    file.write_all(&content[..20 << 20]).expect("written");
    let sent = || {
        let counters = scene.server.counters();
        counters
            .calls
            .get("b2_upload_part")
            .is_some_and(|calls| *calls >= 2)
    };
    while !sent() {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
    scene
        .server
        .set_faults(&[
            "upload:503",
            "get_upload_part_url:503",
            "finish_large_file:503",
        ])
        .expect("faults");
    file.write_all(&content[20 << 20..]).expect("written");
    running.signal(Signal::SIGINT);
    running.hear("last error: ");
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    drop(file);
    assert_eq!(code, Some(1), "{said}");
    let entry = &scene.list()["entries"][0];
    assert!(
        entry["kept"]["content"]["unfinished"]["id"].is_string(),
        "{entry}"
    );
    scene.server.set_faults(&[]).expect("no faults");
    scene.sends_all();
    let _again = scene.mount(&[]);
    assert!(fs::read(scene.path("big")).expect("read") == content);
}

/// Whoever kills the process after half a minute loses nothing; what is stored after all is taken out again.
#[test]
fn it_is_written_while_trying_goes_on_and_taken_out_again() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1h"]);
    fs::write(scene.path("f"), "content").expect("written");
    scene.server.set_faults(&["*:503"]).expect("faults");
    running.signal(Signal::SIGTERM);
    running.hear("last error: ");
    let list =
        || fs::read_dir(scene.root().join(&scene.account.bucket)).is_ok_and(|all| all.count() > 0);
    for _ in 0..450 {
        if list() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_secs(1));
    let content = fs::read_to_string(scene.kept().join("files/f")).expect("kept");
    assert_eq!(content, "content");
    scene.server.set_faults(&[]).expect("no faults");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!list(), "{said}");
}

#[test]
fn what_others_have_stored_meanwhile_stays_below() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1h"]);
    fs::write(scene.path("f"), "ours").expect("written");
    scene.server.set_faults(&["*:503"]).expect("faults");
    Scene::give_up(&mut running);
    scene.server.set_faults(&[]).expect("no faults");
    let mut other = scene.mount(&[]);
    fs::write(scene.path("f"), "theirs").expect("written");
    other.signal(Signal::SIGTERM);
    assert_eq!(other.end().0, Some(0));
    let said = scene.sends_all();
    assert!(
        said.contains("was stored meanwhile; both are kept"),
        "{said}"
    );
    let _again = scene.mount(&[]);
    assert_eq!(fs::read_to_string(scene.path("f")).expect("read"), "ours");
}

/// The caller of rename(2) was told that it is done.
#[test]
fn a_rename_that_b2_did_not_take_is_done_later() {
    let scene = Scene::new();
    let mut running = scene.mount(&[]);
    for name in ["plain", "changed", "replaced", "over"] {
        fs::write(scene.path(name), name).expect("written");
    }
    scene.settle();
    scene.server.set_faults(&["*:503"]).expect("faults");
    for (from, to) in [
        ("plain", "plain2"),
        ("changed", "changed2"),
        ("replaced", "over"),
    ] {
        fs::rename(scene.path(from), scene.path(to)).expect("renamed");
    }
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(scene.path("changed2"), mode).expect("changed");
    let said = Scene::give_up(&mut running);
    assert!(said.contains("not renamed: plain to plain2: "), "{said}");
    assert!(!said.contains("not removed"), "{said}");
    let list = scene.list();
    let entries = list["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 3, "{list}");
    for entry in entries {
        assert!(entry["renamed"]["from"].is_string(), "{entry}");
    }
    scene.server.set_faults(&[]).expect("no faults");
    let said = scene.sends_all();
    assert!(!said.contains("meanwhile"), "{said}");
    let _again = scene.mount(&[]);
    let mut names: Vec<_> = fs::read_dir(scene.place.mnt())
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["changed2", "over", "plain2"]);
    let changed = scene.path("changed2");
    assert_eq!(changed.metadata().expect("known").mode() & 0o777, 0o640);
    for (name, content) in [
        ("changed2", "changed"),
        ("over", "replaced"),
        ("plain2", "plain"),
    ] {
        let read = fs::read_to_string(scene.path(name)).expect("read");
        assert_eq!(read, content);
    }
}

/// What others have stored under the old name meanwhile is not what was renamed.
#[test]
fn a_rename_that_is_done_later_leaves_what_others_have_put_there() {
    let scene = Scene::new();
    let mut running = scene.mount(&[]);
    fs::write(scene.path("f"), "ours").expect("written");
    scene.settle();
    scene.server.set_faults(&["copy_file:503"]).expect("faults");
    fs::rename(scene.path("f"), scene.path("g")).expect("renamed");
    Scene::give_up(&mut running);
    scene.server.set_faults(&[]).expect("no faults");
    let mut other = scene.mount(&[]);
    fs::write(scene.path("f"), "theirs").expect("written");
    fs::write(scene.path("g"), "theirs, too").expect("written");
    other.signal(Signal::SIGTERM);
    assert_eq!(other.end().0, Some(0));
    let said = scene.sends_all();
    assert!(said.contains("was stored meanwhile"), "{said}");
    let _again = scene.mount(&[]);
    let read = |name| fs::read_to_string(scene.path(name)).expect("read");
    assert_eq!((read("f"), read("g")), ("theirs".into(), "ours".into()));
}

#[test]
fn a_list_that_leads_elsewhere_sends_nothing() {
    let scene = Scene::new();
    let mut running = scene.mount(&["--write-back", "1h"]);
    fs::write(scene.path("f"), "content").expect("written");
    scene.server.set_faults(&["*:503"]).expect("faults");
    Scene::give_up(&mut running);
    scene.server.set_faults(&[]).expect("no faults");
    let path = scene.kept().join("list.json");
    let right = fs::read_to_string(&path).expect("a list");
    for elsewhere in [
        "/etc/hostname",
        "files/../../../../etc/hostname",
        "list.json",
    ] {
        let wrong = right.replace("\"files/f\"", &format!("{elsewhere:?}"));
        assert_ne!(wrong, right);
        fs::write(&path, wrong).expect("written");
        let (code, said) = scene.send();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("outside of its directory"), "{said}");
    }
    fs::write(&path, &right).expect("written");
    fs::write(scene.kept().join("files/f"), "changed").expect("written");
    let (code, said) = scene.send();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not have the SHA-1"), "{said}");
}

#[test]
fn a_directory_below_the_mountpoint_is_refused_before_anything_is_mounted() {
    let scene = Scene::new();
    let mut command = b2fuse_with(&scene.account);
    command
        .arg("--rescue")
        .arg(scene.path("r"))
        .arg(scene.place.mnt());
    let (code, said) = outcome(&mut command);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is below the mountpoint"), "{said}");
    assert!(mounted_on(&scene.place.mnt()).is_empty());
}

/// A disk that is full keeps what fits, and the rest is named.
#[test]
fn what_a_full_disk_has_no_room_for_is_named() {
    let scene = Scene::new();
    let disk = scene.place.path().join("kept");
    fs::create_dir(&disk).expect("made");
    nix::mount::mount(
        Some("none"),
        &disk,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=256k"),
    )
    .expect("tmpfs is mounted");
    let mut running = scene.mount(&["--write-back", "1h"]);
    fs::write(scene.path("small"), "content").expect("written");
    fs::write(scene.path("large"), vec![7; 1 << 20]).expect("written");
    scene.server.set_faults(&["*:503"]).expect("faults");
    let said = Scene::give_up(&mut running);
    assert!(said.contains("not rescued, lost: large: "), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    let content = fs::read_to_string(scene.kept().join("files/small")).expect("kept");
    assert_eq!(content, "content");
}
