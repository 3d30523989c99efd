//! Two mounts of one bucket, several workers on each, all changing and walking at once.
//!
//! Each worker has an area of its own, where everything it was told must be true at once and at the end, and all of
//! them compete in a common one, where a call may be refused but nothing that was acknowledged may be lost: every
//! content must be some version in the bucket, and what is read must be whole. When all have come to rest and the ttl
//! has passed, both mounts show what the bucket holds.

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::bucket::{Bucket, sha1_hex};
use crate::support::emulator::Emulator;
use crate::support::mount::Mount;
use crate::support::tree::noise;
use worker::Worker;

const CONFIG: &str = "list_hashfiles: false\nmetadata_ttl: 1s\n";
const TTL: Duration = Duration::from_secs(1);
/// How long the workers work.
const WORK: Duration = Duration::from_secs(20);
const WORKERS: u64 = 3;
const COMMON: &str = "common";
const MARKER: &str = ".bzEmpty";

/// A content that tells whose it is, so that a torn or mixed one is found: `worker number length\n`, then noise.
fn content(worker: u64, number: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("{worker} {number} {len}\n").into_bytes();
    bytes.extend(noise(worker << 32 | number, len));
    bytes
}

fn is_whole(found: &[u8]) -> bool {
    let Some(end) = found.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let head = String::from_utf8_lossy(&found[..end]);
    let mut words = head.split(' ').map(str::parse::<u64>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(worker)), Some(Ok(number)), Some(Ok(len))) => {
            found == content(worker, number, len as usize)
        }
        _ => false,
    }
}

/// Writes, and sees to it that an error of the close is known.
fn store(path: &Path, content: &[u8], new: bool) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .create_new(new)
        .open(path)?;
    file.write_all(content)?;
    Ok(nix::unistd::close(file)?)
}

/// What may befall a call that competes with others; anything else is a fault.
fn may_be_refused(error: &io::Error) -> bool {
    const REFUSALS: &[i32] = &[
        libc::ENOENT,
        libc::EEXIST,
        libc::ENOTEMPTY,
        libc::ESTALE,
        // The same, where the kernel would repeat the call for it.
        libc::EBUSY,
        libc::ENOTDIR,
        libc::EISDIR,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| REFUSALS.contains(&code))
}

/// The head of a content, for messages.
fn content_name(content: &[u8]) -> String {
    let head = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(&head[..head.len().min(40)]).into_owned()
}

/// What a bucket or a mount shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    directories: BTreeSet<String>,
    /// Names and SHA-1s of contents.
    files: BTreeMap<String, String>,
}

impl Shown {
    fn add_parents(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            self.directories.insert(name[..at].to_owned());
        }
    }

    /// What the current rows of a bucket stand for.
    fn in_bucket(rows: &[Value]) -> Self {
        let mut shown = Self::default();
        for row in rows {
            let name = row["fileName"].as_str().expect("a name");
            shown.add_parents(name);
            if name.rsplit('/').next() != Some(MARKER) {
                let sha1 = row["contentSha1"].as_str().expect("a SHA-1");
                shown.files.insert(name.to_owned(), sha1.to_owned());
            }
        }
        shown
    }

    fn in_mount(root: &Path) -> Self {
        let mut shown = Self::default();
        for path in crate::support::tree::walk(root) {
            let name = path.strip_prefix(root).expect("under the root");
            let name = name.to_str().expect("a UTF-8 name").to_owned();
            if path.is_dir() {
                shown.directories.insert(name);
            } else {
                let content = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                shown.files.insert(name, sha1_hex(&content));
            }
        }
        shown
    }

    /// Fails with what one has and the other has not.
    #[track_caller]
    fn is(&self, wanted: &Self, whose: &str) {
        let lines = |one: &Self, other: &Self| -> Vec<String> {
            let directories = one.directories.difference(&other.directories).cloned();
            let files = one
                .files
                .iter()
                .filter(|(name, sha1)| other.files.get(*name) != Some(sha1))
                .map(|(name, sha1)| format!("{name} ({sha1})"));
            directories.chain(files).collect()
        };
        assert!(
            self == wanted,
            "{whose} lacks {:?}, and has besides {:?}",
            lines(wanted, self),
            lines(self, wanted)
        );
    }
}

/// All rows of a list call.
fn rows(bucket: &Bucket, call: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut request = json!({"bucketId": bucket.id, "maxFileCount": 10_000});
    loop {
        let page = bucket.call(call, &request);
        found.extend(page["files"].as_array().expect("rows").iter().cloned());
        if page["nextFileName"].is_null() {
            return found;
        }
        request["startFileName"] = page["nextFileName"].clone();
        if !page["nextFileId"].is_null() {
            request["startFileId"] = page["nextFileId"].clone();
        }
    }
}

/// Waits until nobody has changed the bucket for a while: directories get and lose their markers a little later.
fn come_to_rest(bucket: &Bucket) {
    let patience = Instant::now() + Duration::from_secs(60);
    let mut before = Vec::new();
    let mut since = Instant::now();
    while since.elapsed() < 2 * TTL {
        assert!(
            Instant::now() < patience,
            "the bucket does not come to rest"
        );
        std::thread::sleep(TTL / 5);
        let now = rows(bucket, "b2_list_file_versions");
        if now != before {
            before = now;
            since = Instant::now();
        }
    }
}

#[test]
fn two_mounts_that_change_everything_at_once_lose_nothing_and_agree_at_the_end() {
    let given = std::env::var("B2FUSE_TEST_SEED");
    let seed = given.map_or(20_260_301, |seed| seed.parse().expect("a number"));
    eprintln!("seed {seed} (another one: B2FUSE_TEST_SEED)");
    let emulator = Emulator::start();
    let bucket = Bucket::open(&emulator);
    let mut mounts = [
        Mount::with(&emulator, CONFIG),
        Mount::with(&emulator, CONFIG),
    ];
    fs::create_dir(mounts[0].path().join(COMMON)).expect("a common directory");
    // There for both from the start.
    store(
        &mounts[0].path().join("common/s0"),
        &content(99, 1, 5),
        true,
    )
    .expect("a file");
    let faults = Mutex::new(Vec::new());
    std::thread::sleep(2 * TTL);

    let stop = AtomicBool::new(false);
    let done: Vec<Worker<'_>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2 * WORKERS)
            .map(|number| {
                let root = mounts[(number / WORKERS) as usize].path();
                let (faults, stop) = (&faults, &stop);
                scope.spawn(move || {
                    let mut worker = Worker::new(number, root, seed, faults);
                    while !stop.load(Ordering::Relaxed) {
                        worker.step();
                    }
                    worker
                })
            })
            .collect();
        std::thread::sleep(WORK);
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker"))
            .collect()
    });

    let faults = faults.lock().expect("the list of faults").clone();
    for mount in &mounts {
        let messages = mount.messages();
        assert!(!messages.contains("panicked"), "{messages}");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let made: u64 = done.iter().map(|worker| worker.made).sum();
    assert!(made > 50, "only {made} contents were written");

    come_to_rest(&bucket);
    let truth = Shown::in_bucket(&rows(&bucket, "b2_list_file_names"));
    for (mount, whose) in mounts.iter().zip(["the first mount", "the second mount"]) {
        Shown::in_mount(mount.path()).is(&truth, whose);
    }
    let mut own = Shown::default();
    for worker in &done {
        let name = |path: &PathBuf| path.to_str().expect("a UTF-8 path").to_owned();
        own.directories.extend(worker.directories.iter().map(name));
        let files = worker.files.iter();
        own.files
            .extend(files.map(|(path, content)| (name(path), sha1_hex(content))));
    }
    let common = |name: &str| name.starts_with(COMMON);
    let mut of_workers = truth;
    of_workers.directories.retain(|name| !common(name));
    of_workers.files.retain(|name, _| !common(name));
    of_workers.is(&own, "the bucket");

    let versions = rows(&bucket, "b2_list_file_versions");
    let kept: BTreeSet<&str> = versions
        .iter()
        .filter_map(|row| row["contentSha1"].as_str())
        .collect();
    let lost: Vec<&String> = done
        .iter()
        .flat_map(|worker| &worker.acknowledged)
        .filter(|(sha1, _)| !kept.contains(sha1.as_str()))
        .map(|(_, what)| what)
        .collect();
    assert!(
        lost.is_empty(),
        "of {made} contents these are lost: {lost:?}"
    );
    for mount in &mut mounts {
        mount.unmount();
    }
}
