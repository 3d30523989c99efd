//! Runs the built `b2fuse` against an emulator in the test's process, and cleans up after it.
//!
//! A test that needs a mount fails when there is none: nothing here is skipped.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use b2fuse::emulator::{Options, Server};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Long enough for a loaded machine; a test that works never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An emulator in memory.
pub(crate) fn emulator() -> Server {
    emulator_with(None)
}

/// The same with so many bytes a second on each connection.
pub(crate) fn emulator_with(bandwidth: Option<u64>) -> Server {
    Server::start(Options {
        listen: ([127, 0, 0, 1], 0).into(),
        dir: None,
        latency: Duration::ZERO,
        bandwidth,
        faults: Vec::new(),
    })
    .expect("the emulator starts")
}

/// What a b2fuse needs to know of an account.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) endpoint: String,
    pub(crate) key_id: String,
    pub(crate) key: String,
    pub(crate) bucket: String,
}

impl Account {
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            endpoint: server.endpoint(),
            key_id: server.key_id().to_owned(),
            key: server.key().to_owned(),
            bucket: server.bucket_name().to_owned(),
        }
    }

    /// A call of B2's API, whose request the account's id and the bucket's complete.
    pub(crate) fn call(&self, name: &str, body: impl FnOnce(&Value, &Value) -> Value) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let http = reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client");
            let answer: Value = http
                .get(format!("{}/b2api/v4/b2_authorize_account", self.endpoint))
                .basic_auth(&self.key_id, Some(&self.key))
                .send()
                .await
                .expect("an answer")
                .json()
                .await
                .expect("JSON");
            let api = answer["apiInfo"]["storageApi"]["apiUrl"]
                .as_str()
                .expect("apiUrl");
            let call = |name: &str, body: Value| {
                let request = http
                    .post(format!("{api}/b2api/v4/{name}"))
                    .header(
                        "Authorization",
                        answer["authorizationToken"].as_str().expect("a token"),
                    )
                    .json(&body);
                let name = name.to_owned();
                async move {
                    let answer = request.send().await.expect("an answer");
                    let ok = answer.status().is_success();
                    let body: Value = answer.json().await.expect("JSON");
                    assert!(ok, "{name}: {body}");
                    body
                }
            };
            let account = &answer["accountId"];
            let named = json!({"accountId": account, "bucketName": self.bucket});
            let buckets = call("b2_list_buckets", named).await;
            call(name, body(account, &buckets["buckets"][0]["bucketId"])).await
        })
    }

    /// A new key of this account, restricted to its bucket.
    pub(crate) fn restricted(&self, capabilities: &[&str], prefix: Option<&str>) -> Self {
        let key = self.call("b2_create_key", |account, bucket| {
            let mut wanted = json!({
                "accountId": account,
                "keyName": "test",
                "capabilities": capabilities,
                "bucketIds": [bucket],
            });
            if let Some(prefix) = prefix {
                wanted["namePrefix"] = prefix.into();
            }
            wanted
        });
        Self {
            key_id: key["applicationKeyId"].as_str().expect("an id").to_owned(),
            key: key["applicationKey"].as_str().expect("a key").to_owned(),
            ..self.clone()
        }
    }
}

/// `b2fuse` with nothing of the tester's surroundings.
pub(crate) fn b2fuse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_b2fuse"));
    for variable in [
        "B2_APPLICATION_KEY_ID",
        "B2_APPLICATION_KEY",
        "B2_ENDPOINT",
        "B2FUSE_BUCKET",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command
        .env("HOME", "/nonexistent")
        // Nothing of a test stays on the machine, and no test waits for an hour.
        .env("B2FUSE_RESCUE", "off")
        .env("B2FUSE_DRAIN_TIMEOUT", "50s")
        .env_remove("XDG_CONFIG_HOME")
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

/// The same with an account in the environment.
pub(crate) fn b2fuse_with(account: &Account) -> Command {
    let mut command = b2fuse();
    command
        .env("B2_ENDPOINT", &account.endpoint)
        .env("B2_APPLICATION_KEY_ID", &account.key_id)
        .env("B2_APPLICATION_KEY", &account.key)
        .env("B2FUSE_BUCKET", &account.bucket);
    command
}

/// Runs to the end; stdout and stderr in one text.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it runs");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A directory for mountpoints, and what is mounted there when the test ends, even by a failure.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("mnt")).expect("made");
        Self { dir }
    }

    pub(crate) fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inside = self.dir.path().to_string_lossy().into_owned();
        for (point, _) in mounts()
            .iter()
            .rev()
            .filter(|(p, _)| p.starts_with(&inside))
        {
            let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        }
    }
}

/// Mountpoint and type of all mounts, the lowest first.
pub(crate) fn mounts() -> Vec<(String, String)> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?;
            Some((point.to_owned(), right.split(' ').next()?.to_owned()))
        })
        .collect()
}

/// The types mounted on one path, the lowest first.
pub(crate) fn mounted_on(path: &Path) -> Vec<String> {
    let path = path.to_string_lossy();
    mounts()
        .into_iter()
        .filter(|(point, _)| *point == path)
        .map(|(_, kind)| kind)
        .collect()
}

/// Polls until it holds; a guard against waiting for ever, no measure.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < patience, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Unmounts as umount(8) does. A program that another test starts at that moment has its copy of what is open here until
/// it runs: then it is busy.
pub(crate) fn unmount(point: &Path) {
    let patience = Instant::now() + PATIENCE;
    while let Err(error) = umount2(point, MntFlags::empty()) {
        assert_eq!(error, nix::errno::Errno::EBUSY);
        assert!(Instant::now() < patience, "it stays busy");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn mount_tmpfs(on: &Path) {
    nix::mount::mount(
        Some("none"),
        on,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )
    .expect("tmpfs is mounted");
}

/// A running b2fuse; killed if the test leaves it running.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Starts it and waits until it is mounted.
    pub(crate) fn mount(command: &mut Command, on: &Path) -> Self {
        let running = Self::start(command.arg(on));
        let first = running.line();
        assert!(first.contains(" is mounted on "), "{first}");
        assert_eq!(mounted_on(on), ["fuse.b2fuse"], "mounted");
        running
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, lines) = mpsc::channel();
        let said = Arc::new(Mutex::new(String::new()));
        let out = child.stdout.take().expect("piped");
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (mut err, shared) = (child.stderr.take().expect("piped"), Arc::clone(&said));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                shared.lock().expect("no panic").push_str(&text);
            }
        });
        Self { child, said, lines }
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("it said nothing; stderr: {}", self.said()))
    }

    /// stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// Waits until stderr has a text.
    pub(crate) fn hear(&self, text: &str) {
        let start = Instant::now();
        while !self.said().contains(text) {
            assert!(
                start.elapsed() < PATIENCE,
                "no {text:?} in: {}",
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Waits for the end: exit code and all of stderr.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let status = self.wait();
        // The reader sees the end of stderr a moment later.
        thread::sleep(Duration::from_millis(50));
        (status.code(), self.said())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end; stderr: {}",
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
