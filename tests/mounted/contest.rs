//! Two mounts of one bucket, several workers on each, all changing and walking at once.
//!
//! Each worker has an area of its own, where everything it was told must be true at once and at the end, and all of
//! them compete in a common one, where a call may be refused but nothing that was acknowledged may be lost: every
//! content must be some version in the bucket, and what is read must be whole. When all have come to rest and the ttl
//! has passed, both mounts show what the bucket holds.

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
        libc::ENOTDIR,
        libc::EISDIR,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| REFUSALS.contains(&code))
}

struct Worker<'a> {
    number: u64,
    root: &'a Path,
    rng: fastrand::Rng,
    /// How many contents it has made.
    made: u64,
    /// Directories and files of its own area, by paths relative to the root.
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// SHA-1 of each content that it was told is stored.
    acknowledged: BTreeMap<String, String>,
    faults: &'a Mutex<Vec<String>>,
}

impl<'a> Worker<'a> {
    fn new(number: u64, root: &'a Path, seed: u64, faults: &'a Mutex<Vec<String>>) -> Self {
        let own = PathBuf::from(format!("own{number}"));
        fs::create_dir(root.join(&own)).expect("an area of its own");
        Self {
            number,
            root,
            rng: fastrand::Rng::with_seed(seed + number),
            made: 0,
            directories: BTreeSet::from([own]),
            files: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            faults,
        }
    }

    fn fault(&self, what: impl std::fmt::Display) {
        let mut faults = self.faults.lock().expect("the list of faults");
        if faults.len() < 20 {
            faults.push(format!("worker {}: {what}", self.number));
        }
    }

    fn content(&mut self) -> Vec<u8> {
        self.made += 1;
        let len = *self
            .rng
            .choice(&[0, 10, 4000, 4096, 50_000])
            .expect("a size");
        content(self.number, self.made, len)
    }

    fn acknowledge(&mut self, path: &Path, content: &[u8]) {
        let what = format!("{} at {}", content_name(content), path.display());
        self.acknowledged.insert(sha1_hex(content), what);
    }

    /// A result that must be good.
    fn must<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fault(format!("{what} of {}: {error}", path.display())))
            .ok()
    }

    /// A result that may be a refusal.
    fn may<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if may_be_refused(&error) => None,
            Err(error) => {
                self.fault(format!("{what} of {}: {error}", path.display()));
                None
            }
        }
    }

    fn a_directory(&mut self) -> PathBuf {
        let at = self.rng.usize(..self.directories.len());
        self.directories
            .iter()
            .nth(at)
            .expect("its own area")
            .clone()
    }

    fn a_file(&mut self) -> Option<PathBuf> {
        let at = self.rng.usize(..self.files.len().max(1));
        self.files.keys().nth(at).cloned()
    }

    fn a_name(&mut self) -> PathBuf {
        let name = format!("n{}", self.rng.u32(..12));
        self.a_directory().join(name)
    }

    fn is_free(&self, path: &Path) -> bool {
        !self.files.contains_key(path) && !self.directories.contains(path)
    }

    fn step(&mut self) {
        match self.rng.u32(..100) {
            0..25 => self.write_own(),
            25..35 => self.rename_own(),
            35..43 => self.remove_own(),
            43..51 => self.make_directory(),
            51..55 => self.remove_directory(),
            55..58 => self.rename_directory(),
            58..66 => self.read_own(),
            66..78 => self.write_common(),
            78..84 => self.change_common(),
            84..94 => self.read_common(),
            _ => self.walk(),
        }
    }

    fn write_own(&mut self) {
        let path = self.a_name();
        if self.directories.contains(&path) {
            return;
        }
        let content = self.content();
        let stored = store(&self.root.join(&path), &content, false);
        if self.must("write", &path, stored).is_some() {
            self.acknowledge(&path, &content);
            self.files.insert(path, content);
        }
    }

    fn rename_own(&mut self) {
        let (Some(from), to) = (self.a_file(), self.a_name()) else {
            return;
        };
        if self.directories.contains(&to) || from == to {
            return;
        }
        let renamed = fs::rename(self.root.join(&from), self.root.join(&to));
        if self.must("rename", &from, renamed).is_some()
            && let Some(content) = self.files.remove(&from)
        {
            self.files.insert(to, content);
        }
    }

    fn remove_own(&mut self) {
        let Some(path) = self.a_file() else { return };
        let removed = fs::remove_file(self.root.join(&path));
        if self.must("unlink", &path, removed).is_some() {
            self.files.remove(&path);
        }
    }

    fn make_directory(&mut self) {
        let path = self.a_name();
        if !self.is_free(&path) || path.components().count() > 4 {
            return;
        }
        let made = fs::create_dir(self.root.join(&path));
        if self.must("mkdir", &path, made).is_some() {
            self.directories.insert(path);
        }
    }

    fn remove_directory(&mut self) {
        let path = self.a_directory();
        if path.components().count() < 2 {
            return;
        }
        let empty = !self
            .files
            .keys()
            .chain(&self.directories)
            .any(|other| other != &path && other.starts_with(&path));
        let removed = fs::remove_dir(self.root.join(&path));
        match (empty, removed) {
            (true, removed) => {
                if self.must("rmdir", &path, removed).is_some() {
                    self.directories.remove(&path);
                }
            }
            (false, Ok(())) => self.fault(format!("rmdir of {}, which has files", path.display())),
            (false, Err(_)) => {}
        }
    }

    fn rename_directory(&mut self) {
        let (from, to) = (self.a_directory(), self.a_name());
        if from.components().count() < 2 || to.starts_with(&from) || !self.is_free(&to) {
            return;
        }
        let renamed = fs::rename(self.root.join(&from), self.root.join(&to));
        if self.must("rename", &from, renamed).is_none() {
            return;
        }
        let moved = |path: &PathBuf| match path.strip_prefix(&from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.clone(),
            Ok(rest) => to.join(rest),
            Err(_) => path.clone(),
        };
        self.directories = self.directories.iter().map(moved).collect();
        let files = std::mem::take(&mut self.files);
        self.files = files
            .into_iter()
            .map(|(path, content)| (moved(&path), content))
            .collect();
    }

    fn read_own(&mut self) {
        let Some(path) = self.a_file() else { return };
        let read = fs::read(self.root.join(&path));
        if let Some(found) = self.must("read", &path, read)
            && found != self.files[&path]
        {
            self.fault(format!(
                "{} is {} where {} was written",
                path.display(),
                content_name(&found),
                content_name(&self.files[&path])
            ));
        }
    }

    fn a_common_name(&mut self) -> PathBuf {
        match self.rng.u32(..10) {
            number @ 0..8 => PathBuf::from(format!("{COMMON}/s{number}")),
            number => PathBuf::from(format!("{COMMON}/d{number}/x")),
        }
    }

    /// As careful programs write: under a name of its own, and then onto the name that all want.
    fn write_common(&mut self) {
        let content = self.content();
        let name = format!("{COMMON}/t{}-{}", self.number, self.made);
        let (temporary, to) = (PathBuf::from(name), self.a_common_name());
        let stored = store(&self.root.join(&temporary), &content, true);
        if self.must("write", &temporary, stored).is_none() {
            return;
        }
        self.acknowledge(&to, &content);
        let renamed = fs::rename(self.root.join(&temporary), self.root.join(&to));
        if self.may("rename", &to, renamed).is_none() {
            // No such directory just now.
            let _ = fs::create_dir(self.root.join(&to).parent().expect("a directory"));
            let removed = fs::remove_file(self.root.join(&temporary));
            self.must("unlink", &temporary, removed);
        }
    }

    fn change_common(&mut self) {
        let (path, other) = (self.a_common_name(), self.a_common_name());
        let (here, there) = (self.root.join(&path), self.root.join(&other));
        match self.rng.u32(..3) {
            0 => drop(self.may("unlink", &path, fs::remove_file(here))),
            1 if path != other => drop(self.may("rename", &path, fs::rename(here, there))),
            _ => {
                let directory = there.parent().unwrap_or(&there);
                if directory != self.root.join(COMMON) {
                    self.may("rmdir", &other, fs::remove_dir(directory));
                }
            }
        }
    }

    fn read_common(&mut self) {
        let path = self.a_common_name();
        let read = fs::read(self.root.join(&path));
        if let Some(found) = self.may("read", &path, read)
            && !is_whole(&found)
        {
            self.fault(format!(
                "{} is torn: {} bytes, {}",
                path.display(),
                found.len(),
                content_name(&found)
            ));
        }
    }

    /// Over everything, whoever changes it.
    fn walk(&mut self) {
        let mut open = vec![self.root.to_owned()];
        while let Some(directory) = open.pop() {
            let Some(entries) = self.may("readdir", &directory, fs::read_dir(&directory)) else {
                continue;
            };
            for entry in entries {
                let Some(entry) = self.may("readdir", &directory, entry) else {
                    break;
                };
                let path = entry.path();
                if let Some(about) = self.may("stat", &path, fs::symlink_metadata(&path))
                    && about.is_dir()
                {
                    open.push(path);
                }
            }
        }
    }
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
