//! Where a scenario takes place: on a mounted bucket, which is what is tested, or in a plain
//! directory, which proves that the scenario itself tells the truth about Linux.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::emulator::Emulator;
use super::mount::Mount;
use super::tools;

/// A filesystem to work in.
pub(crate) trait Place {
    /// Its root, empty at first.
    fn path(&self) -> &Path;
    /// Unmounts and mounts again.
    fn remount(&mut self);
    /// The tree as another B2 client downloads it. The mount ends for that and is started again:
    /// while it runs, times and modes may follow their files a moment later.
    fn stored(&mut self) -> PathBuf;
    /// The bucket beneath, if there is one.
    fn bucket(&self) -> Option<&Emulator>;
}

/// A bucket, mounted.
pub(crate) struct Bucket {
    pub(crate) mount: Mount,
    pub(crate) emulator: Emulator,
    downloads: Vec<TempDir>,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let emulator = Emulator::start();
        Self {
            mount: Mount::new(&emulator),
            emulator,
            downloads: Vec::new(),
        }
    }

    /// With these lines of config.yaml.
    pub(crate) fn with(config: &str) -> Self {
        let emulator = Emulator::start();
        Self {
            mount: Mount::with(&emulator, config),
            emulator,
            downloads: Vec::new(),
        }
    }
}

impl Place for Bucket {
    fn path(&self) -> &Path {
        self.mount.path()
    }

    fn remount(&mut self) {
        self.mount.remount();
    }

    fn stored(&mut self) -> PathBuf {
        let to = tempfile::tempdir().expect("a temporary directory");
        self.mount.unmount();
        tools::b2_download_tree(&self.emulator, to.path());
        self.mount.remount();
        let path = to.path().to_owned();
        self.downloads.push(to);
        path
    }

    fn bucket(&self) -> Option<&Emulator> {
        Some(&self.emulator)
    }
}

/// A directory of this machine.
pub(crate) struct Directory(TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
}

impl Place for Directory {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&mut self) {}

    fn stored(&mut self) -> PathBuf {
        self.path().to_owned()
    }

    fn bucket(&self) -> Option<&Emulator> {
        None
    }
}

/// Makes of each scenario (a function of a [`Place`]) a test on a mount, `with` these lines of
/// config.yaml, and one in a directory.
#[macro_export]
macro_rules! scenarios {
    (with $config:literal; $($name:ident),* $(,)?) => {
        mod on_a_mount {
            $(#[test] fn $name() {
                super::$name(&mut $crate::support::place::Bucket::with($config));
            })*
        }
        mod on_a_plain_directory {
            $(#[test] fn $name() {
                super::$name(&mut $crate::support::place::Directory::new());
            })*
        }
    };
    ($($name:ident),* $(,)?) => {
        $crate::scenarios! { with "list_hashfiles: false\n"; $($name),* }
    };
}
