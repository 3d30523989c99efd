//! Options, environment and config.yaml become one validated [`Config`].
//!
//! Each source is a [`Layer`] of optional values; an option beats the environment, which beats the file,
//! which beats the defaults. Values check themselves (`values`), so here remain only the rules between
//! them. Nothing is mounted and no network is touched; `cli` turns an [`Error`] into exit code 2.

mod account;
mod borrowed;
mod file;
mod keys;
mod nearest;
mod options;
mod values;
mod which;

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use account::Known;
pub use borrowed::Borrowed;
pub(crate) use nearest::nearest;
pub use options::Layer;
pub use values::{
    Bandwidth, Count, DeleteHow, DrainLimit, Endpoint, Id, KeyCommand, KeyFile, KeySecret,
    LargeFile, LinkHow, LogFormat, Memory, OverwriteHow, PartSize, Period, Prefix, Quota,
    RequestRate, RescueDir, Rights, Size, StoreOpen, Switch, Umask, Word, WriteBack, Wrong, Youth,
};
pub use which::{Profile, Which};

use crate::b2::{self, Secret};
use crate::{emulator, io, mount, vfs};

/// The realm of every ordinary account.
const ENDPOINT: &str = "https://api.backblazeb2.com";
const MIB: u64 = 1 << 20;

/// What is wrong, where, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", harmless(.0))]
pub struct Error(String);

/// A text that steers no terminal: messages quote what stands in files, which may be anything.
fn harmless(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "?")
}

/// Variables that say who may do what with the account.
pub const ACCOUNT_VARIABLES: [&str; 4] = [
    "B2_APPLICATION_KEY_ID",
    "B2_APPLICATION_KEY",
    "B2FUSE_ACCOUNT_ID",
    "B2FUSE_APPLICATION_KEY",
];

/// Looks up an environment variable; a function, so that tests need not change their own.
pub type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

impl Layer {
    /// What it says of anything but an account and its bucket.
    fn without_account(self) -> Self {
        Self {
            account_id: None,
            key: None,
            key_file: None,
            key_command: None,
            bucket_id: None,
            bucket_name: None,
            prefix: None,
            endpoint: None,
            ..self
        }
    }
}

/// Where the account comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// B2, or another realm.
    Real {
        /// The realm.
        endpoint: String,
        /// The key's id, or the account's with the master key.
        key_id: String,
        /// The application key.
        key: Secret,
        /// The bucket, where the key does not say it.
        bucket_id: Option<String>,
        /// The bucket by its name, where the key does not say it.
        bucket_name: Option<String>,
    },
    /// The emulator names endpoint, key and bucket when it has started.
    Emulator,
}

/// Everything that is configured, checked.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "config.example.yaml documents each key")]
pub struct Config {
    pub account: Account,
    pub prefix: String,
    pub hash_files: vfs::HashFiles,
    pub metadata_ttl: Duration,
    /// Bytes.
    pub memory: u64,
    pub delete: vfs::Delete,
    pub overwrite: vfs::Overwrite,
    pub drop_versions_within: Duration,
    pub quota: Option<NonZeroU64>,
    pub read_only: bool,
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
    /// Whether files have permissions and owners of their own.
    pub permissions: vfs::Permissions,
    /// What link(2) does.
    pub hard_links: vfs::HardLinks,
    /// What becomes of names that B2 refuses.
    pub names: vfs::Names,
    pub kernel: mount::KernelOptions,
    pub uploads: usize,
    /// Parts of one file at once.
    pub parts: usize,
    pub downloads: usize,
    pub ca_file: Option<PathBuf>,
    pub limits: b2::Limits,
    /// Bytes.
    pub part_size: u64,
    /// Bytes.
    pub large_file: u64,
    pub verify_reads: bool,
    pub timeout: Duration,
    pub write_back: Option<Duration>,
    pub store_open: Option<Duration>,
    pub drain_timeout: mount::DrainTimeout,
    pub rescue: mount::RescueTo,
    pub metrics: Option<std::net::SocketAddr>,
    /// What the limits in `limits` are at other times.
    pub timetables: mount::Timetables,
    pub logging: Logging,
    /// The file that was read, without symlinks resolved, absolute.
    pub file: Option<PathBuf>,
    /// That file, for when it is read again.
    pub again: Which,
    /// What the user should know although it is no error.
    pub warnings: Vec<String>,
}

/// Where messages go, and in which form.
#[derive(Debug, Clone, Default)]
pub struct Logging {
    /// `None`: stderr; in the background without a file or a pipe there, the journal or syslog.
    pub file: Option<PathBuf>,
    /// The form of a line.
    pub format: mount::messages::Format,
}

/// Reads that somebody waits for and that no read-ahead has foreseen: as many at once as a busy
/// program may have threads.
const WAITING_READS: usize = 32;

/// Small files wait for answers: a thousand at 50 ms each take 6.3 s with 8 uploads at once, 2 s with 32.
const UPLOADS: usize = 32;
/// A log that stays open is seen after so long, and a crash costs no more of it.
const STORE_OPEN: Duration = Duration::from_secs(60);
/// The parts of one large file fill the line with fewer, and each takes its size of memory.
const PARTS: usize = 10;

impl Config {
    /// Joins options, environment and file. With `emulated`, account and bucket come from the emulator
    /// and a file is read only where `named` says so.
    pub fn load(
        options: Layer,
        named: Option<&Path>,
        environment: &Environment<'_>,
        emulated: bool,
    ) -> Result<Self, Error> {
        Self::load_from(options, &named.into(), environment, emulated)
    }

    /// The same where the file may also be a profile, or one that was found before.
    pub fn load_from(
        options: Layer,
        which: &Which,
        environment: &Environment<'_>,
        emulated: bool,
    ) -> Result<Self, Error> {
        let places = if emulated {
            Vec::new()
        } else {
            file::places(environment)
        };
        let mut warnings = Vec::new();
        let found = file::choose(which, &places, environment, &mut warnings)?;
        let place = found.as_ref().and_then(|found| found.place.clone());
        let path = found.as_ref().map(|found| found.path.clone());
        let in_file = found.map_or_else(Layer::default, |found| found.layer);
        let mut surroundings = Layer::from_environment(environment)?;
        if emulated {
            surroundings = surroundings.without_account();
        }
        options.has_one_key("the options")?;
        surroundings.has_one_key("the environment (B2FUSE_... or B2_...)")?;
        let given = options.over(surroundings);
        if let Some(path) = path.as_deref().filter(|_| !emulated) {
            in_file.has_one_key(&path.display().to_string())?;
            account::stays_at_home(&given, &in_file, path, environment)?;
        }
        let mut layer = given.over(in_file);
        let account = if emulated {
            Account::Emulator
        } else {
            account::take(
                &mut layer,
                path.as_deref(),
                &places,
                environment,
                &mut warnings,
            )?
        };
        let mut config = Self::with_defaults(account, layer)?;
        config.warnings.extend(warnings);
        config.file = path.and_then(|path| std::path::absolute(path).ok());
        config.again = match &config.file {
            Some(path) => Which::again(place.as_ref(), path.clone()),
            None => which.clone(),
        };
        Ok(config)
    }

    fn with_defaults(account: Account, layer: Layer) -> Result<Self, Error> {
        let memory = layer.memory.map_or(512 * MIB, |m| m.0);
        // A quarter of the budget must hold a part, or nothing could be sent while the next is filled.
        let quarter = memory / 4;
        let part_size = match layer.part_size {
            Some(PartSize(size)) if size > quarter => {
                return Err(Error(format!(
                    "part_size: {size} bytes are more than a quarter of memory ({memory} bytes): lower it, or raise memory"
                )));
            }
            Some(PartSize(size)) => size,
            None => (16 * MIB).min(quarter),
        };
        let large_file = match layer.large_file {
            Some(LargeFile(size)) if size > memory / 2 => {
                return Err(Error(format!(
                    "large_file: {size} bytes are more than half of memory ({memory} bytes): lower it, or raise memory"
                )));
            }
            Some(LargeFile(size)) => size,
            None => (32 * MIB).min(quarter),
        };
        let timeout = layer.timeout.map_or(Duration::from_secs(120), |t| t.0);
        if timeout < Duration::from_secs(1) {
            return Err(Error(
                "timeout: under one second no upload could end: write 120s say".into(),
            ));
        }
        let on = |switch: Option<Switch>, default| switch.map_or(default, |s| s.0);
        let kernel = mount::KernelOptions {
            allow_other: on(layer.allow_other, false),
            no_exec: on(layer.noexec, false),
            auto_unmount: on(layer.auto_unmount, false),
        };
        if kernel.auto_unmount && !kernel.allow_other && !nix::unistd::geteuid().is_root() {
            return Err(Error(
                "auto_unmount: needs root, or allow_other: add `allow_other: true`, or leave it out".into(),
            ));
        }
        let table = |rate: Option<values::Rate>| {
            rate.map_or_else(|| mount::Timetable::always(None), |rate| rate.0)
        };
        let timetables = mount::Timetables {
            up: table(layer.bandwidth_up),
            down: table(layer.bandwidth_down),
        };
        Ok(Self {
            account,
            prefix: layer.prefix.unwrap_or_default().0,
            hash_files: match (
                on(layer.enable_hashfiles, true),
                on(layer.list_hashfiles, false),
            ) {
                (false, _) => vfs::HashFiles::Off,
                (true, false) => vfs::HashFiles::Unlisted,
                (true, true) => vfs::HashFiles::Listed,
            },
            metadata_ttl: layer.metadata_ttl.map_or(Duration::from_secs(30), |t| t.0),
            memory,
            delete: layer.delete.map_or(vfs::Delete::Hide, |d| d.0),
            overwrite: layer.overwrite.map_or(vfs::Overwrite::Keep, |how| how.0),
            drop_versions_within: layer.drop_versions_within.map_or(Duration::ZERO, |w| w.0),
            quota: layer.quota.and_then(|quota| quota.0),
            read_only: on(layer.read_only, false),
            uid: layer
                .uid
                .map_or_else(|| nix::unistd::getuid().as_raw(), |id| id.0),
            gid: layer
                .gid
                .map_or_else(|| nix::unistd::getgid().as_raw(), |id| id.0),
            umask: layer.umask.map_or(0o022, |u| u.0),
            hard_links: layer.hard_links.map_or(vfs::HardLinks::Refuse, |how| how.0),
            names: layer.names.map_or(vfs::Names::Refuse, |how| how.0),
            permissions: layer
                .permissions
                .map_or(vfs::Permissions::Keep, |rights| rights.0),
            kernel,
            uploads: layer.uploads.map_or(UPLOADS, |c| c.0),
            parts: layer.uploads.map_or(PARTS, |c| c.0),
            downloads: layer.downloads.map_or(8, |c| c.0),
            ca_file: layer.ca_file.map(|file| file.0),
            limits: b2::Limits {
                requests_per_second: layer.requests_per_second.and_then(|rate| rate.0),
                bandwidth_up: timetables.now().0,
                bandwidth_down: timetables.now().1,
            },
            part_size,
            large_file,
            verify_reads: on(layer.verify_reads, true),
            timeout,
            write_back: layer.write_back.and_then(|w| w.0),
            store_open: layer.store_open.map_or(Some(STORE_OPEN), |open| open.0),
            drain_timeout: layer.drain_timeout.map_or_else(Default::default, |l| l.0),
            rescue: layer.rescue.map_or_else(Default::default, |r| r.0),
            timetables,
            metrics: layer.metrics.and_then(|address| address.0),
            logging: Logging {
                file: layer.log_file.map(|file| file.0),
                format: layer.log_format.map_or_else(Default::default, |f| f.0),
            },
            file: None,
            again: Which::Search,
            warnings: Vec::new(),
        })
    }

    /// Where the file of a profile is written, or without one the user's config.yaml.
    pub fn place_of(
        profile: Option<&Profile>,
        environment: &Environment<'_>,
    ) -> Result<PathBuf, Error> {
        file::of_user(profile, environment)
    }

    /// The bucket's name, where it is configured.
    pub fn bucket_name(&self) -> Option<&str> {
        match &self.account {
            Account::Real { bucket_name, .. } => bucket_name.as_deref(),
            Account::Emulator => None,
        }
    }

    /// What `mount` needs, in the words of the layers under it.
    pub fn into_mount(
        self,
        mountpoint: PathBuf,
        emulator: Option<emulator::Options>,
    ) -> mount::Options {
        let (endpoint, key_id, key, bucket_id, bucket_name) = match self.account {
            Account::Real {
                endpoint,
                key_id,
                key,
                bucket_id,
                bucket_name,
            } => (endpoint, key_id, key, bucket_id, bucket_name),
            Account::Emulator => (String::new(), String::new(), Secret::new(""), None, None),
        };
        mount::Options {
            mountpoint,
            emulator,
            kernel: self.kernel,
            source: None,
            reload: None,
            background: false,
            drain_timeout: self.drain_timeout,
            rescue: self.rescue,
            metrics: self.metrics,
            timetables: self.timetables,
            b2: b2::Options {
                endpoint,
                key_id,
                key,
                bucket_id,
                bucket_name,
                timeout: self.timeout,
                uploads: self.uploads,
                // Read-ahead keeps to `downloads`, but begins the next one while the last bytes of
                // another come; who waits for bytes must never queue behind it.
                downloads: 2 * io::ALL_DOWNLOADS * self.downloads + WAITING_READS,
                ca_file: self.ca_file,
                limits: self.limits,
            },
            io: io::Settings {
                memory: self.memory,
                large_file: self.large_file,
                part_size: self.part_size,
                uploads: self.parts,
                downloads: self.downloads,
                verify_reads: self.verify_reads,
                timeout: self.timeout,
            },
            vfs: vfs::Settings {
                prefix: self.prefix,
                metadata_ttl: self.metadata_ttl,
                delete: self.delete,
                overwrite: self.overwrite,
                drop_versions_within: self.drop_versions_within,
                quota: self.quota.map(NonZeroU64::get),
                read_only: self.read_only,
                uid: self.uid,
                gid: self.gid,
                umask: self.umask,
                permissions: self.permissions,
                hard_links: self.hard_links,
                names: self.names,
                hash_files: self.hash_files,
                // Server-side copies and removals wait for answers only; twice the uploads keep B2 busy,
                // as far as the client lets more calls through at once.
                parallel: (self.uploads * 2).min(self.uploads.max(UPLOADS)),
                write_back: self.write_back,
                store_open: self.store_open,
                timeout: self.timeout,
                // A name takes about 320 bytes: as many as fit into as much memory again.
                names_max: usize::try_from(self.memory / 320).unwrap_or(usize::MAX),
            },
        }
    }
}

#[cfg(test)]
mod tests;
