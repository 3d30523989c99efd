//! One that works on one of the mounts, and knows what must be true of it.

use super::*;

pub(super) struct Worker<'a> {
    pub(super) number: u64,
    pub(super) root: &'a Path,
    pub(super) rng: fastrand::Rng,
    /// How many contents it has made.
    pub(super) made: u64,
    /// Directories and files of its own area, by paths relative to the root.
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    /// SHA-1 of each content that it was told is stored.
    pub(super) acknowledged: BTreeMap<String, String>,
    pub(super) faults: &'a Mutex<Vec<String>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        number: u64,
        root: &'a Path,
        seed: u64,
        faults: &'a Mutex<Vec<String>>,
    ) -> Self {
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

    pub(super) fn fault(&self, what: impl std::fmt::Display) {
        let mut faults = self.faults.lock().expect("the list of faults");
        if faults.len() < 20 {
            faults.push(format!("worker {}: {what}", self.number));
        }
    }

    pub(super) fn content(&mut self) -> Vec<u8> {
        self.made += 1;
        let len = *self
            .rng
            .choice(&[0, 10, 4000, 4096, 50_000])
            .expect("a size");
        content(self.number, self.made, len)
    }

    pub(super) fn acknowledge(&mut self, path: &Path, content: &[u8]) {
        let what = format!("{} at {}", content_name(content), path.display());
        self.acknowledged.insert(sha1_hex(content), what);
    }

    /// A result that must be good.
    pub(super) fn must<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fault(format!("{what} of {}: {error}", path.display())))
            .ok()
    }

    /// A result that may be a refusal.
    pub(super) fn may<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if may_be_refused(&error) => None,
            Err(error) => {
                self.fault(format!("{what} of {}: {error}", path.display()));
                None
            }
        }
    }

    pub(super) fn a_directory(&mut self) -> PathBuf {
        let at = self.rng.usize(..self.directories.len());
        self.directories
            .iter()
            .nth(at)
            .expect("its own area")
            .clone()
    }

    pub(super) fn a_file(&mut self) -> Option<PathBuf> {
        let at = self.rng.usize(..self.files.len().max(1));
        self.files.keys().nth(at).cloned()
    }

    pub(super) fn a_name(&mut self) -> PathBuf {
        let name = format!("n{}", self.rng.u32(..12));
        self.a_directory().join(name)
    }

    pub(super) fn is_free(&self, path: &Path) -> bool {
        !self.files.contains_key(path) && !self.directories.contains(path)
    }

    pub(super) fn step(&mut self) {
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

    pub(super) fn write_own(&mut self) {
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

    pub(super) fn rename_own(&mut self) {
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

    pub(super) fn remove_own(&mut self) {
        let Some(path) = self.a_file() else { return };
        let removed = fs::remove_file(self.root.join(&path));
        if self.must("unlink", &path, removed).is_some() {
            self.files.remove(&path);
        }
    }

    pub(super) fn make_directory(&mut self) {
        let path = self.a_name();
        if !self.is_free(&path) || path.components().count() > 4 {
            return;
        }
        let made = fs::create_dir(self.root.join(&path));
        if self.must("mkdir", &path, made).is_some() {
            self.directories.insert(path);
        }
    }

    pub(super) fn remove_directory(&mut self) {
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

    pub(super) fn rename_directory(&mut self) {
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

    pub(super) fn read_own(&mut self) {
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

    pub(super) fn a_common_name(&mut self) -> PathBuf {
        match self.rng.u32(..10) {
            number @ 0..8 => PathBuf::from(format!("{COMMON}/s{number}")),
            number => PathBuf::from(format!("{COMMON}/d{number}/x")),
        }
    }

    /// As careful programs write: under a name of its own, and then onto the name that all want.
    pub(super) fn write_common(&mut self) {
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

    pub(super) fn change_common(&mut self) {
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

    pub(super) fn read_common(&mut self) {
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
    pub(super) fn walk(&mut self) {
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
