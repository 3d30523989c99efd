//! Trees of files: made from a seed, read back, compared with a clear first difference.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Names that have broken programs before; every one is allowed in B2 and in Linux.
pub(crate) const ODD_NAMES: &[&str] = &[
    "plain.txt",
    "with space",
    "  leading and trailing  ",
    "plus+plus",
    "100%",
    "%41 is not A",
    "%2F",
    "#hash",
    "what?",
    "this & that",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "*?[a-z]{x,y}",
    "$HOME `id` ;|<>!",
    "-rf",
    "~tilde",
    ".hidden",
    "..two dots",
    "...",
    "a=b,c:d@e",
    "grüße",
    "日本語.txt",
    "🦀🦀.rs",
    "caf\u{e9} composed",
    "cafe\u{301} decomposed",
    "ﬁ ligature",
    "\u{feff}bom",
    "עברית",
    "file.sha1.txt",
];

/// Sizes around the borders that matter: empty, block, page cache, request.
const SIZES: &[usize] = &[
    0, 1, 2, 100, 511, 4095, 4096, 4097, 20_000, 65_536, 131_073, 300_000,
];

/// Bytes that do not compress and differ everywhere.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Fills `root` with a tree that depends on the seed alone: odd names, nesting, empty files and
/// directories, times to the nanosecond, several modes, one file of some megabytes.
pub(crate) fn build(root: &Path, seed: u64) {
    build_of(root, seed, ODD_NAMES);
}

/// The same of these names.
pub(crate) fn build_of(root: &Path, seed: u64, odd_names: &[&str]) {
    let mut rng = fastrand::Rng::with_seed(seed);
    fs::create_dir_all(root).expect("the root of a tree");
    let mut directories = vec![root.to_owned()];
    for depth in 0..7 {
        let parent = rng.choice(&directories).expect("the root").clone();
        let name = rng.choice(odd_names).expect("a name");
        let path = parent.join(format!("{name} {depth}"));
        fs::create_dir(&path).expect("a directory of a tree");
        directories.push(path);
    }
    for (index, name) in odd_names.iter().enumerate() {
        let parent = rng.choice(&directories).expect("the root");
        let size = SIZES[rng.usize(..SIZES.len())];
        put(&parent.join(name), &noise(seed + index as u64, size));
    }
    let parent = rng.choice(&directories).expect("the root");
    put(&parent.join("large.bin"), &noise(seed + 99, 3_333_333));
    fs::create_dir(directories[0].join("empty directory")).expect("a directory of a tree");
    fs::create_dir_all(directories[0].join("nest/of/empty/ones")).expect("directories of a tree");

    // Times last, from the leaves up: making an entry changes its directory's time.
    let everything = walk(root).into_iter().rev().chain([root.to_owned()]);
    for path in everything {
        let kind = fs::symlink_metadata(&path).expect("just made");
        let modes: &[u32] = if kind.is_dir() {
            &[0o755, 0o755, 0o750]
        } else {
            &[0o644, 0o644, 0o600, 0o755]
        };
        let mode = fs::Permissions::from_mode(*rng.choice(modes).expect("a mode"));
        fs::set_permissions(&path, mode).expect("a mode is set");
        let at = SystemTime::UNIX_EPOCH
            + Duration::new(
                rng.u64(500_000_000..1_700_000_000),
                rng.u32(..1_000_000_000),
            );
        set_mtime(&path, at);
    }
}

/// Writes a whole file.
pub(crate) fn put(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
}

/// Waits until a name is there: an unlinked hash file comes back after a moment.
pub(crate) fn wait_for(path: &Path) {
    for _ in 0..100 {
        if path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{path:?} does not come back");
}

/// Reads a whole file.
pub(crate) fn get(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
}

/// The names in a directory, in order.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap_or_else(|error| panic!("cannot list {path:?}: {error}"))
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    names
}

pub(crate) fn set_mtime(path: &Path, at: SystemTime) {
    let spec = |time: SystemTime| {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("a time after 1970");
        nix::sys::time::TimeSpec::from_duration(since)
    };
    nix::sys::stat::utimensat(
        nix::fcntl::AT_FDCWD,
        path,
        &spec(at),
        &spec(at),
        nix::sys::stat::UtimensatFlags::NoFollowSymlink,
    )
    .unwrap_or_else(|error| panic!("cannot set the time of {path:?}: {error}"));
}

pub(crate) fn mtime(path: &Path) -> SystemTime {
    fs::symlink_metadata(path)
        .and_then(|meta| meta.modified())
        .unwrap_or_else(|error| panic!("cannot stat {path:?}: {error}"))
}

/// Everything under `root`, parents before children, without `root`.
pub(crate) fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(root) {
        let path = root.join(name);
        let is_dir = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("cannot stat {path:?}: {error}"))
            .is_dir();
        found.push(path.clone());
        if is_dir {
            found.extend(walk(&path));
        }
    }
    found
}

/// How exactly times must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    No,
    /// What archives of the old kinds keep.
    Seconds,
    /// What every B2 tool keeps.
    Milliseconds,
    /// What encfs passes on.
    Microseconds,
    Nanoseconds,
}

/// What a comparison looks at besides names, kinds, sizes and contents.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is looked at or not, whatever the others are"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compare {
    pub(crate) times: Times,
    pub(crate) directory_times: bool,
    /// Of symbolic links.
    pub(crate) link_times: bool,
    /// And owners.
    pub(crate) modes: bool,
    /// Whether empty directories must be there.
    pub(crate) empty_directories: bool,
}

/// Everything that `cp -a` by root carries.
pub(crate) const EVERYTHING: Compare = Compare {
    times: Times::Nanoseconds,
    directory_times: true,
    link_times: true,
    modes: true,
    empty_directories: true,
};

/// Names and contents alone.
pub(crate) const CONTENT: Compare = Compare {
    times: Times::No,
    directory_times: false,
    link_times: false,
    modes: false,
    empty_directories: true,
};

/// What a download by another B2 client can show: contents, times of files to the millisecond.
pub(crate) const STORED: Compare = Compare {
    times: Times::Milliseconds,
    directory_times: false,
    link_times: false,
    modes: false,
    empty_directories: false,
};

impl Compare {
    pub(crate) fn with_times(self, times: Times) -> Self {
        Self { times, ..self }
    }
}

/// Fails with the first difference between two trees.
#[track_caller]
pub(crate) fn same(expected: &Path, found: &Path, how: Compare) {
    if let Some(difference) = difference(expected, found, how) {
        panic!("{difference}\n  expected as in {expected:?}\n  found in {found:?}");
    }
}

/// The first difference in words.
pub(crate) fn difference(expected: &Path, found: &Path, how: Compare) -> Option<String> {
    let wanted = index(expected, how);
    let got = index(found, how);
    for name in wanted.keys() {
        if !got.contains_key(name) {
            return Some(format!("{name:?} is missing"));
        }
    }
    for name in got.keys() {
        if !wanted.contains_key(name) {
            return Some(format!("{name:?} should not be there"));
        }
    }
    for (name, wanted) in &wanted {
        let got = &got[name];
        let pair = |what: &str, a: String, b: String| {
            Some(format!("{name:?}: {what} should be {a}, is {b}"))
        };
        if wanted.file_type() != got.file_type() {
            return pair(
                "kind",
                format!("{:?}", wanted.file_type()),
                format!("{:?}", got.file_type()),
            );
        }
        if how.modes && wanted.mode() != got.mode() {
            return pair(
                "mode",
                format!("{:o}", wanted.mode()),
                format!("{:o}", got.mode()),
            );
        }
        let owners = [wanted, got].map(|meta| format!("{}:{}", meta.uid(), meta.gid()));
        if how.modes && owners[0] != owners[1] {
            let [wanted, got] = owners;
            return pair("owner", wanted, got);
        }
        let timed =
            (!wanted.is_dir() || how.directory_times) && (!wanted.is_symlink() || how.link_times);
        let (a, b) = (time(wanted, how.times), time(got, how.times));
        if timed && a != b {
            return pair("mtime", format!("{a:?}"), format!("{b:?}"));
        }
        if wanted.is_symlink() {
            let [a, b] = [expected, found].map(|root| fs::read_link(root.join(name)));
            let [a, b] = [a, b].map(|target| target.expect("the target of a link"));
            if a != b {
                return pair("target", format!("{a:?}"), format!("{b:?}"));
            }
        }
        if !wanted.is_file() {
            continue;
        }
        if wanted.len() != got.len() {
            return pair("size", wanted.len().to_string(), got.len().to_string());
        }
        let (a, b) = (get(&expected.join(name)), get(&found.join(name)));
        if let Some(difference) = first_difference(&a, &b) {
            return Some(format!("{name:?}: {difference}"));
        }
    }
    None
}

/// Where two contents part, in words.
pub(crate) fn first_difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    if expected.len() != found.len() {
        return Some(format!(
            "{} bytes read where {} were expected",
            found.len(),
            expected.len()
        ));
    }
    let at = expected.iter().zip(found).position(|(a, b)| a != b)?;
    let last = expected.iter().zip(found).rposition(|(a, b)| a != b)?;
    Some(format!(
        "bytes {at}..={last} of {} differ (at {at}: {:#04x} expected, {:#04x} found)",
        expected.len(),
        expected[at],
        found[at]
    ))
}

fn index(root: &Path, how: Compare) -> BTreeMap<PathBuf, fs::Metadata> {
    walk(root)
        .into_iter()
        .filter_map(|path| {
            let meta = fs::symlink_metadata(&path)
                .unwrap_or_else(|error| panic!("cannot stat {path:?}: {error}"));
            if meta.is_dir() && !how.empty_directories && !holds_a_file(&path) {
                return None;
            }
            let name = path.strip_prefix(root).expect("under the root").to_owned();
            Some((name, meta))
        })
        .collect()
}

fn holds_a_file(directory: &Path) -> bool {
    walk(directory).iter().any(|path| path.is_file())
}

fn time(meta: &fs::Metadata, times: Times) -> Option<(i64, i64)> {
    match times {
        Times::No => None,
        Times::Seconds => Some((meta.mtime(), 0)),
        Times::Milliseconds => Some((meta.mtime(), meta.mtime_nsec() / 1_000_000)),
        Times::Microseconds => Some((meta.mtime(), meta.mtime_nsec() / 1_000)),
        Times::Nanoseconds => Some((meta.mtime(), meta.mtime_nsec())),
    }
}

/// A path's bytes as a B2 name relative to the root.
pub(crate) fn b2_name(path: &Path) -> String {
    String::from_utf8(path.as_os_str().as_bytes().to_vec()).expect("a UTF-8 name")
}
