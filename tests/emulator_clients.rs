//! The `b2` command line and `rclone`, unmodified, against the emulator: clients that this project did not write.
//!
//! Both are wheels of the Python package index. They are looked for in the directory that `B2FUSE_TEST_BIN` names, else
//! in `PATH`; a test whose program is missing fails.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use b2fuse::emulator::{Options, Server};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

/// A server, and a home for the programs' own files.
struct World {
    server: Server,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::start(Options::default()).unwrap(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    fn b2_command(&self, key_id: &str, key: &str) -> Command {
        let mut command = self.command("b2");
        command
            .env("B2_ENVIRONMENT", self.server.endpoint())
            .env("B2_ACCOUNT_INFO", self.path(&format!("b2-{key_id}")))
            .env("B2_APPLICATION_KEY_ID", key_id)
            .env("B2_APPLICATION_KEY", key);
        command
    }

    fn b2<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let mut command = self.b2_command(self.server.key_id(), self.server.key());
        succeed(command.args(args))
    }

    fn rclone<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        succeed(self.rclone_command().args(args))
    }

    /// A remote `emu:` described by the environment.
    fn rclone_command(&self) -> Command {
        let mut command = self.command("rclone");
        command
            .env("RCLONE_CONFIG", self.path("rclone.conf"))
            .env("RCLONE_CONFIG_EMU_TYPE", "b2")
            .env("RCLONE_CONFIG_EMU_ACCOUNT", self.server.key_id())
            .env("RCLONE_CONFIG_EMU_KEY", self.server.key())
            .env("RCLONE_CONFIG_EMU_ENDPOINT", self.server.endpoint())
            .env("RCLONE_RETRIES", "1");
        command
    }

    fn bucket_url(&self, name: &str) -> String {
        format!("b2://{}/{name}", self.server.bucket_name())
    }

    fn remote(&self, name: &str) -> String {
        format!("emu:{}/{name}", self.server.bucket_name())
    }
}

fn find(program: &str) -> PathBuf {
    let given = std::env::var_os("B2FUSE_TEST_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = given.into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is needed: set B2FUSE_TEST_BIN to its directory"))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

fn bytes(len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut all);
    all
}

fn sha1(bytes: &[u8]) -> String {
    let digest = Sha1::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A little tree with awkward names.
fn plant(w: &World, top: &str) -> PathBuf {
    for name in ["a.txt", "d/b c+d%.txt", "d/e/ü", "d/e/empty"] {
        let content = if name.ends_with("empty") { "" } else { name };
        w.write(&format!("{top}/{name}"), content.as_bytes());
    }
    w.path(top)
}

fn same_trees(one: &Path, other: &Path) {
    succeed(Command::new("diff").arg("-r").arg(one).arg(other));
}

#[test]
fn b2_uploads_lists_downloads_hides_and_deletes() {
    let w = World::new();
    let file = w.write("in", b"first");
    let bucket = w.server.bucket_name();
    let upload = |name: &str| w.b2(&["file", "upload", "--no-progress", bucket, file.to_str().unwrap(), name]);
    upload("d/name with + and ü");
    std::fs::write(&file, b"second").unwrap();
    upload("d/name with + and ü");
    upload("top");
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/", "top"]);
    assert_eq!(
        lines(&w.b2(&["ls", "--recursive", &w.bucket_url("")])),
        ["d/name with + and ü", "top"]
    );
    assert_eq!(w.b2(&["ls", "--recursive", "--versions", &w.bucket_url("")]).lines().count(), 3);
    let out = w.path("out");
    w.b2(&[
        "file",
        "download",
        "--no-progress",
        &w.bucket_url("d/name with + and ü"),
        out.to_str().unwrap(),
    ]);
    assert_eq!(w.read("out"), b"second");
    w.b2(&["file", "hide", &w.bucket_url("top")]);
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/"]);
    w.b2(&["file", "unhide", &w.bucket_url("top")]);
    assert_eq!(lines(&w.b2(&["ls", &w.bucket_url("")])), ["d/", "top"]);
    let info = w.b2(&["file", "info", &w.bucket_url("top")]);
    assert!(info.contains(&sha1(b"second")), "{info}");
    w.b2(&["rm", "--versions", "--recursive", "--no-progress", &w.bucket_url("")]);
    assert_eq!(w.b2(&["ls", "--recursive", "--versions", &w.bucket_url("")]), "");
}

#[test]
fn b2_uploads_large_files_in_parts_and_copies_them() {
    let w = World::new();
    w.server.set_faults(&["recommended-part=5000000"]).unwrap();
    let content = bytes(17_000_000);
    let file = w.write("in", &content);
    w.b2(&[
        "file",
        "upload",
        "--no-progress",
        w.server.bucket_name(),
        file.to_str().unwrap(),
        "large",
    ]);
    let counters = w.server.counters();
    assert!(counters.calls["b2_upload_part"] >= 2, "{counters:?}");
    w.b2(&["file", "server-side-copy", &w.bucket_url("large"), &w.bucket_url("copy")]);
    let out = w.path("out");
    w.b2(&["file", "download", "--no-progress", &w.bucket_url("copy"), out.to_str().unwrap()]);
    assert!(w.read("out") == content);
    let info = w.b2(&["file", "info", &w.bucket_url("copy")]);
    assert!(info.contains(&sha1(&content)), "{info}");
}

#[test]
fn b2_syncs_both_ways() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let url = w.bucket_url("backup");
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    let uploads = w.server.counters().calls["b2_upload_file"];
    assert_eq!(uploads, 4);
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    assert_eq!(w.server.counters().calls["b2_upload_file"], uploads);
    let back = w.path("back");
    std::fs::create_dir(&back).unwrap();
    w.b2(&["sync", "--no-progress", &url, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    std::fs::remove_file(tree.join("a.txt")).unwrap();
    w.b2(&["sync", "--no-progress", "--delete", tree.to_str().unwrap(), &url]);
    assert_eq!(w.b2(&["ls", "--recursive", &url]).lines().count(), 3);
}

#[test]
fn b2_manages_buckets_and_keys() {
    let w = World::new();
    w.b2(&["bucket", "create", "b2fuse-other", "allPrivate"]);
    let buckets = w.b2(&["bucket", "list"]);
    assert!(buckets.contains("b2fuse-other") && buckets.contains("b2fuse-demo"), "{buckets}");
    w.b2(&["bucket", "update", "b2fuse-other", "allPublic", "--bucket-info", r#"{"k":"v"}"#]);
    let bucket = w.b2(&["bucket", "get", "b2fuse-other"]);
    assert!(bucket.contains("allPublic") && bucket.contains("\"k\": \"v\""), "{bucket}");
    let file = w.write("in", b"content");
    let upload = ["file", "upload", "--no-progress", "b2fuse-other", file.to_str().unwrap(), "a"];
    w.b2(&upload);
    let created = w.b2(&["key", "create", "--bucket", "b2fuse-other", "reader", "listBuckets,listFiles,readFiles"]);
    let (id, secret) = created.trim().split_once(' ').unwrap();
    assert!(w.b2(&["key", "list"]).contains(id));
    let reader = |args: &[&str]| w.b2_command(id, secret).args(args).output().unwrap();
    let out = w.path("out");
    let download = ["file", "download", "--no-progress", "b2://b2fuse-other/a", out.to_str().unwrap()];
    let output = reader(&download);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(w.read("out"), b"content");
    assert!(!reader(&upload).status.success());
    assert!(!reader(&["ls", &w.bucket_url("")]).status.success());
    w.b2(&["key", "delete", id]);
    w.b2(&["rm", "--versions", "--recursive", "--no-progress", "b2://b2fuse-other/"]);
    w.b2(&["bucket", "delete", "b2fuse-other"]);
}

#[test]
fn rclone_copies_there_and_back_and_finds_no_difference() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let (tree_name, remote) = (tree.to_str().unwrap(), w.remote("tree"));
    w.rclone(&["copy", tree_name, &remote]);
    w.rclone(&["check", tree_name, &remote]);
    w.rclone(&["check", "--download", tree_name, &remote]);
    let back = w.path("back");
    w.rclone(&["copy", &remote, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    let mut names: Vec<_> = w.rclone(&["lsf", "-R", "--files-only", &remote]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["a.txt", "d/b c+d%.txt", "d/e/empty", "d/e/ü"]);
    let sums = w.rclone(&["sha1sum", &remote]);
    assert!(sums.contains(&sha1(b"a.txt")), "{sums}");
    let cat = w.rclone(&["cat", "--offset", "2", "--count", "3", &w.remote("tree/a.txt")]);
    assert_eq!(cat, "txt");
}

#[test]
fn rclone_takes_the_endpoint_as_a_flag() {
    let w = World::new();
    let file = w.write("in", b"content");
    let account = format!("--b2-account={}", w.server.key_id());
    let key = format!("--b2-key={}", w.server.key());
    let endpoint = format!("--b2-endpoint={}", w.server.endpoint());
    let target = format!(":b2:{}/a", w.server.bucket_name());
    w.rclone(&["copyto", &account, &key, &endpoint, file.to_str().unwrap(), &target]);
    assert_eq!(w.rclone(&["cat", &account, &key, &endpoint, &target]), "content");
}

#[test]
fn rclone_syncs_and_keeps_versions() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let (tree_name, remote) = (tree.to_str().unwrap(), w.remote("tree"));
    w.rclone(&["sync", tree_name, &remote]);
    w.write("tree/a.txt", b"changed, and longer");
    std::fs::remove_file(tree.join("d/e/empty")).unwrap();
    w.rclone(&["sync", tree_name, &remote]);
    w.rclone(&["check", tree_name, &remote]);
    assert_eq!(w.rclone(&["lsf", "-R", "--files-only", &remote]).lines().count(), 3);
    assert_eq!(w.rclone(&["lsf", "-R", "--files-only", "--b2-versions", &remote]).lines().count(), 5);
    w.rclone(&["cleanup", &w.remote("")]);
    assert_eq!(w.rclone(&["lsf", "-R", "--files-only", "--b2-versions", &remote]).lines().count(), 3);
    let back = w.path("back");
    w.rclone(&["sync", &remote, back.to_str().unwrap()]);
    same_trees(&tree, &back);
    w.rclone(&["deletefile", "--b2-hard-delete", &w.remote("tree/a.txt")]);
    w.rclone(&["purge", &remote]);
    assert_eq!(w.rclone(&["lsf", "-R", &w.remote("")]), "");
}

#[test]
fn rclone_sends_large_files_in_parts_and_copies_on_the_server() {
    let w = World::new();
    let content = bytes(16_000_000);
    let file = w.write("in", &content);
    let parts = ["--b2-upload-cutoff=6Mi", "--b2-chunk-size=5Mi", "--b2-copy-cutoff=6Mi"];
    let rclone = |args: &[&str]| w.rclone(&[args, &parts].concat());
    rclone(&["copyto", file.to_str().unwrap(), &w.remote("large")]);
    assert!(w.server.counters().calls["b2_upload_part"] >= 3);
    let sent = w.server.counters().bytes_in;
    rclone(&["copyto", &w.remote("large"), &w.remote("copy")]);
    rclone(&["moveto", &w.remote("copy"), &w.remote("moved")]);
    assert_eq!(w.server.counters().bytes_in, sent);
    assert!(w.server.counters().calls["b2_copy_part"] >= 3);
    let out = w.path("out");
    rclone(&["copyto", &w.remote("moved"), out.to_str().unwrap()]);
    assert!(w.read("out") == content);
    let sums = w.rclone(&["sha1sum", &w.remote("")]);
    assert_eq!(sums.matches(&sha1(&content)).count(), 2, "{sums}");
}

#[test]
fn rclone_streams_touches_and_links() {
    let w = World::new();
    let mut rcat = w.rclone_command();
    let input = std::fs::File::open(w.write("in", b"streamed")).unwrap();
    succeed(rcat.args(["rcat", &w.remote("s")]).stdin(input));
    assert_eq!(w.rclone(&["cat", &w.remote("s")]), "streamed");
    w.rclone(&["touch", "-t", "2020-02-02T02:02:02", &w.remote("s")]);
    let listed = w.rclone(&["lsl", &w.remote("s")]);
    assert!(listed.contains("2020-02-02 02:02:02"), "{listed}");
    let link = w.rclone(&["link", &w.remote("s")]);
    assert!(link.contains("Authorization="), "{link}");
}

#[test]
fn both_get_through_failing_uploads_and_expiring_tokens() {
    let w = World::new();
    let tree = plant(&w, "tree");
    let remote = w.remote("tree");
    w.server
        .set_faults(&["upload_file:503:2", "upload_file:lost-reply:1", "list:401:1"])
        .unwrap();
    w.rclone(&["copy", "--low-level-retries=10", tree.to_str().unwrap(), &remote]);
    w.rclone(&["check", tree.to_str().unwrap(), &remote]);
    w.rclone(&[
        "copy",
        "--b2-test-mode=fail_some_uploads",
        "--retries=5",
        tree.to_str().unwrap(),
        &w.remote("again"),
    ]);
    w.server
        .set_faults(&["upload_file:503:2", "list:401:1", "download:truncate:1"])
        .unwrap();
    let url = w.bucket_url("b2");
    w.b2(&["sync", "--no-progress", tree.to_str().unwrap(), &url]);
    let back = w.path("back");
    std::fs::create_dir(&back).unwrap();
    w.b2(&["sync", "--no-progress", &url, back.to_str().unwrap()]);
    same_trees(&tree, &back);
}
