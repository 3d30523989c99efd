//! A core over the emulator, with small sizes, so that short sequences meet every plan.

use std::time::Duration;

use b2fuse::b2::{self, Client, Secret};
use b2fuse::io::{self, Io};
use b2fuse::vfs::{self, Delete, Overwrite, Vfs};

use crate::support::emulator::Emulator;

/// In what the cores of the tests differ.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    pub(crate) prefix: String,
    pub(crate) ttl: Duration,
    pub(crate) delete: Delete,
    pub(crate) overwrite: Overwrite,
    pub(crate) write_back: Option<Duration>,
    pub(crate) store_open: Option<Duration>,
    /// Bytes.
    pub(crate) memory: u64,
    /// How long a call, or a wait for a name, may take.
    pub(crate) patience: Duration,
    /// Calls of one kind at once.
    pub(crate) at_once: usize,
}

/// Connects and lists the root.
pub(crate) async fn new_core(emulator: &Emulator, making: Making) -> Vfs {
    let client = Client::connect(b2::Options {
        endpoint: emulator.endpoint(),
        key_id: emulator.key_id().to_owned(),
        key: Secret::new(emulator.key()),
        bucket_id: None,
        bucket_name: Some(emulator.bucket_name().to_owned()),
        timeout: making.patience,
        uploads: making.at_once,
        downloads: making.at_once,
        ..b2::Options::default()
    })
    .await
    .expect("the emulator lets us in");
    let sizes = io::Settings {
        memory: making.memory,
        large_file: 6_000_000,
        part_size: 5_000_000,
        uploads: 4,
        downloads: 4,
        verify_reads: true,
        timeout: making.patience,
    };
    let settings = vfs::Settings {
        prefix: making.prefix,
        metadata_ttl: making.ttl,
        delete: making.delete,
        overwrite: making.overwrite,
        drop_versions_within: Duration::ZERO,
        quota: None,
        read_only: false,
        uid: 0,
        gid: 0,
        umask: 0o022,
        permissions: vfs::Permissions::Keep,
        hard_links: vfs::HardLinks::Refuse,
        names: vfs::Names::Refuse,
        hash_files: vfs::HashFiles::Off,
        parallel: making.at_once,
        names_max: 1_000_000,
        write_back: making.write_back,
        store_open: making.store_open,
        timeout: making.patience,
    };
    let io = Io::new(client.clone(), sizes);
    let vfs = Vfs::new(client, io, settings).await;
    vfs.expect("the bucket can be listed")
}
