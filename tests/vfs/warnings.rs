//! What the program warns of, and servers, mounts and outages for tests of what it must not do.

use std::sync::Mutex;

use super::history::*;
use super::*;

/// What the program has logged as a warning, by all tests of this binary: names are unique to a test.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            SAID.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

pub(super) fn listen() {
    if log::set_boxed_logger(Box::new(Listener)).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Whether a warning names this file.
pub(super) fn said(name: &str) -> bool {
    let said = SAID.lock().unwrap();
    said.iter().any(|line| line.contains(name))
}

/// How many warnings say this.
pub(super) fn times_said(text: &str) -> usize {
    let said = SAID.lock().unwrap();
    said.iter().filter(|line| line.contains(text)).count()
}

/// A mount that has seen `name`, which B made, and B.
pub(super) async fn sharing(
    name: &str,
    content: &[u8],
    settings: Settings,
) -> (Server, Vfs, Client) {
    listen();
    let server = server();
    let b = client(&server).await;
    upload(&b, name, content).await;
    let vfs = mount(&server, settings).await;
    drop(names(&vfs, Ino::ROOT).await);
    (server, vfs, b)
}

/// A mount by a key that may not delete versions.
pub(super) async fn without_deletion(
    server: &Server,
    settings: Settings,
    timeout: Duration,
) -> Vfs {
    let (key_id, key) = server
        .create_key(
            &["listFiles", "readFiles", "writeFiles"],
            Some(&[server.bucket_name()]),
            None,
        )
        .unwrap();
    let client = Client::connect(b2::Options {
        endpoint: server.endpoint(),
        key_id,
        key: Secret::new(&key),
        bucket_id: None,
        bucket_name: None,
        timeout,
        uploads: 8,
        downloads: 8,
        ..b2::Options::default()
    })
    .await
    .unwrap();
    mount_by(client, settings, 64 << 20).await.0
}

/// `chmod`, and the copy that stores it, as `fsync` does.
pub(super) async fn chmod_now(vfs: &Vfs, file: Ino, mode: u32) {
    chmod(vfs, file, mode).await;
    let fh = vfs.open(file, RDONLY).await.unwrap().fh;
    vfs.fsync(fh, false).await.unwrap();
    vfs.release(fh);
}

/// The next call of this kind takes effect, and then nothing gets through any more (but the calls for upload addresses,
/// or the first would not come to its upload).
pub(super) fn outage_after(server: &Server, call: &str) {
    let first = format!("{call}:lost-reply:1");
    let faults = [
        &*first,
        "upload:reset",
        "copy_file:reset",
        "hide_file:reset",
        "delete_file_version:reset",
        "get_file_info:reset",
        "list:reset",
    ];
    server.set_faults(&faults).unwrap();
}

pub(super) fn over(server: &Server) {
    server.set_faults(&[]).unwrap();
}

/// Holds the looks at versions up, so that what follows a deed comes before the look at it.
pub(super) fn slow_looks(server: &Server) {
    server
        .set_faults(&["list_file_versions:stall=1:1"])
        .unwrap();
}
