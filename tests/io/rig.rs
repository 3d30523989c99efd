//! An emulator, a client, an engine, and an owner as `vfs` would be one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use b2fuse::b2::{self, Client, FileId, FileName, FileVersion, NewFile, Secret};
use b2fuse::emulator::{self, Seed, Server};
use b2fuse::io::{Committed, Content, CopyError, Cursor, Error, Io, Owner, Settings, Version};
use bytes::Bytes;

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) io: Io,
}

pub(crate) fn settings() -> Settings {
    Settings {
        memory: 64 * MIB,
        large_file: 20_000_000,
        part_size: 8_000_000,
        uploads: 4,
        downloads: 4,
        verify_reads: true,
        timeout: Duration::from_secs(20),
    }
}

impl Rig {
    pub(crate) async fn new(settings: Settings) -> Self {
        Self::with(
            settings,
            Duration::from_secs(20),
            emulator::Options::default(),
        )
        .await
    }

    pub(crate) async fn with(
        settings: Settings,
        timeout: Duration,
        options: emulator::Options,
    ) -> Self {
        let server = Server::start(options).expect("the emulator starts");
        let client = Client::connect(b2::Options {
            endpoint: server.endpoint(),
            key_id: server.key_id().to_owned(),
            key: Secret::new(server.key()),
            bucket_id: None,
            bucket_name: Some(server.bucket_name().to_owned()),
            timeout,
            uploads: 8,
            downloads: 8,
            ..b2::Options::default()
        })
        .await
        .expect("the client connects");
        let io = Io::new(client.clone(), settings);
        Self { server, client, io }
    }

    /// As after a new mount: nothing is in memory.
    pub(crate) fn again(self, settings: Settings) -> Self {
        let io = Io::new(self.client.clone(), settings);
        Self { io, ..self }
    }

    /// A version that was not uploaded, without a known SHA-1.
    pub(crate) async fn seed(&self, name: &str, size: u64) -> Version {
        let seed = Seed {
            name: name.to_owned(),
            size,
            ..Seed::default()
        };
        self.server
            .seed(self.server.bucket_name(), &[seed])
            .expect("seeded");
        let page = self
            .client
            .list_file_names(&b2::ListNames {
                prefix: name.to_owned(),
                start: None,
                delimiter: false,
                max: 1,
            })
            .await
            .expect("listed");
        Version {
            id: page.files[0].id.clone().expect("an id"),
            size,
            sha1: None,
        }
    }

    /// Names, ids and sizes of everything stored under a prefix, newest first.
    pub(crate) async fn versions(&self, prefix: &str) -> Vec<(String, FileId, u64)> {
        let page = self
            .client
            .list_file_versions(&b2::ListVersions {
                prefix: prefix.to_owned(),
                start: None,
                delimiter: false,
                max: 1000,
            })
            .await
            .expect("listed");
        page.files
            .into_iter()
            .map(|file| (file.name.to_string(), file.id.expect("an id"), file.size))
            .collect()
    }

    /// Waits until a part of some large file has come.
    pub(crate) async fn part_left(&self) {
        for _ in 0..10_000 {
            let calls = self.server.counters().calls;
            if calls.contains_key("b2_upload_part") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("no part ever leaves");
    }

    /// What is stored under an id, read past the io layer.
    pub(crate) async fn bytes_of(&self, id: &FileId, size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if size > 0 {
            let mut download = self.client.download(id, 0..size).await.expect("opened");
            while let Some(chunk) = download.chunk().await.expect("read") {
                bytes.extend_from_slice(&chunk);
            }
        }
        bytes
    }

    /// A clean content's version holds exactly these bytes.
    pub(crate) async fn stores(&self, file: &File, expected: &[u8]) {
        let stored = file.content.base().expect("stored");
        assert!(self.bytes_of(&stored.id, stored.size).await == expected);
    }

    /// A new file with an owner that commits when it is asked to.
    pub(crate) fn create(&self, name: &str) -> Arc<File> {
        File::new(self.io.empty(), name)
    }

    pub(crate) fn open(&self, name: &str, version: Version) -> Arc<File> {
        File::new(self.io.stored(version), name)
    }
}

pub(crate) fn target(name: &str) -> NewFile {
    NewFile {
        name: FileName::new(name).expect("a valid name"),
        content_type: "b2/x-auto".to_owned(),
        info: BTreeMap::new(),
    }
}

pub(crate) struct File {
    pub(crate) content: Arc<Content>,
    pub(crate) target: Mutex<NewFile>,
    pub(crate) asked: AtomicUsize,
    me: Weak<File>,
}

struct Asked(Weak<File>, tokio::runtime::Handle);

impl Owner for Asked {
    fn target(&self) -> Option<NewFile> {
        self.0.upgrade().map(|file| file.target())
    }

    fn please_commit(&self) {
        if let Some(file) = self.0.upgrade() {
            file.asked.fetch_add(1, Ordering::Relaxed);
            self.1.spawn(async move { file.commit().await });
        }
    }

    fn withdraw(&self, version: &FileVersion) {
        panic!("{} can be deleted here", version.name);
    }
}

impl File {
    pub(crate) fn new(content: Arc<Content>, name: &str) -> Arc<Self> {
        let file = Arc::new_cyclic(|me| Self {
            content,
            target: Mutex::new(target(name)),
            asked: AtomicUsize::new(0),
            me: Weak::clone(me),
        });
        let handle = tokio::runtime::Handle::current();
        file.content
            .set_owner(Arc::new(Asked(Weak::clone(&file.me), handle)));
        file
    }

    pub(crate) fn target(&self) -> NewFile {
        self.target.lock().expect("not poisoned").clone()
    }

    pub(crate) fn rename(&self, name: &str) {
        *self.target.lock().expect("not poisoned") = target(name);
    }

    pub(crate) async fn commit(&self) -> Result<Option<Committed>, Error> {
        self.record(self.content.commit(&self.target()).await)
    }

    /// Makes readable what has left memory.
    pub(crate) async fn commit_sent(&self) -> Result<Option<Committed>, Error> {
        self.record(self.content.commit_sent(&self.target()).await)
    }

    fn record(
        &self,
        committed: Result<Option<Committed>, Error>,
    ) -> Result<Option<Committed>, Error> {
        let committed = committed?;
        if let Some(id) = committed.as_ref().and_then(|done| done.version.id.as_ref()) {
            self.content.recorded(id);
        }
        Ok(committed)
    }

    /// Writes as `vfs` does: commits when told to.
    pub(crate) async fn write(&self, offset: u64, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        loop {
            match self.content.write(offset, data.clone()).await {
                Err(Error::NeedsCommit) => self.commit().await.map(drop)?,
                Err(Error::HasLeft) => self.commit_sent().await.map(drop)?,
                answer => return answer,
            }
        }
    }

    /// Copies as `vfs` does: commits the side that is told to.
    pub(crate) async fn copy_from(
        &self,
        source: &File,
        from: u64,
        offset: u64,
        len: u64,
    ) -> Result<u64, Error> {
        loop {
            let copy = self.content.copy_from(&source.content, from, offset, len);
            match copy.await {
                Err(CopyError::Source(Error::NeedsCommit)) => source.commit().await.map(drop)?,
                Err(CopyError::Target(Error::NeedsCommit)) => self.commit().await.map(drop)?,
                Err(CopyError::Source(Error::HasLeft)) => source.commit_sent().await.map(drop)?,
                Err(CopyError::Target(Error::HasLeft)) => self.commit_sent().await.map(drop)?,
                Err(CopyError::Source(error) | CopyError::Target(error)) => return Err(error),
                Ok(copied) => return Ok(copied),
            }
        }
    }

    /// As `vfs` does for fallocate.
    pub(crate) async fn zero(&self, range: Range<u64>, grow: bool) -> Result<bool, Error> {
        loop {
            match self.content.zero(range.clone(), grow).await {
                Err(Error::NeedsCommit) => self.commit().await.map(drop)?,
                Err(Error::HasLeft) => self.commit_sent().await.map(drop)?,
                answer => return answer,
            }
        }
    }

    pub(crate) async fn truncate(&self, size: u64) -> Result<(), Error> {
        loop {
            match self.content.truncate(size).await {
                Err(Error::NeedsCommit) => self.commit().await.map(drop)?,
                Err(Error::HasLeft) => self.commit_sent().await.map(drop)?,
                answer => return answer,
            }
        }
    }

    pub(crate) async fn read(
        &self,
        cursor: &Cursor,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, Error> {
        loop {
            match self.content.read(cursor, offset, len as u32).await {
                Err(Error::NeedsCommit) => self.commit().await.map(drop)?,
                Err(Error::HasLeft) => self.commit_sent().await.map(drop)?,
                answer => return answer.map(|pieces| pieces.concat()),
            }
        }
    }

    /// The whole content as the io layer shows it.
    pub(crate) async fn all(&self) -> Result<Vec<u8>, Error> {
        let cursor = Cursor::default();
        let mut bytes = Vec::new();
        loop {
            let piece = self.read(&cursor, bytes.len() as u64, MIB).await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&piece);
        }
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}
