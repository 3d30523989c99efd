//! The client against the emulator over real HTTP: what callers rely on, with and without faults.
//!
//! Faults are the emulator's switches (`src/emulator.rs`). Nothing here asserts a time; short
//! limits only keep the waits of the retry rules short.

mod awkward;
mod content;
mod faults;
mod keys;
mod liars;
mod limits;
mod scripted;
mod silence;

use std::time::Duration;

use b2fuse::b2::{
    Client, CopyMetadata, FileId, FileInfo, FileName, FileVersion, ListVersions, NewFile, Options,
    Payload, Secret, Sha1,
};
use b2fuse::emulator::{self, Server};
use bytes::Bytes;

/// A server without faults.
fn server() -> Server {
    Server::start(emulator::Options::default()).expect("the emulator starts")
}

/// The master key on the bucket that is there, with waits a twentieth of the usual ones.
fn options(server: &Server) -> Options {
    Options {
        endpoint: server.endpoint(),
        key_id: server.key_id().to_owned(),
        key: Secret::new(server.key()),
        bucket_id: None,
        bucket_name: Some(server.bucket_name().to_owned()),
        timeout: Duration::from_secs(6),
        uploads: 4,
        downloads: 4,
        ..Options::default()
    }
}

async fn connect(server: &Server) -> Client {
    Client::connect(options(server)).await.expect("connects")
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name B2 takes")
}

fn file(text: &str) -> NewFile {
    NewFile {
        name: name(text),
        content_type: "b2/x-auto".to_owned(),
        info: FileInfo::from([(
            "src_last_modified_millis".to_owned(),
            "1700000000123".to_owned(),
        )]),
    }
}

/// Bytes that differ everywhere.
fn pattern(len: usize) -> Bytes {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn sha1(bytes: &[u8]) -> Sha1 {
    use sha1::Digest as _;
    Sha1(sha1::Sha1::digest(bytes).into())
}

async fn put(client: &Client, text: &str, bytes: &Bytes) -> FileVersion {
    client
        .upload_file(&file(text), Payload::from(bytes.clone()))
        .await
        .expect("uploads")
}

async fn copy(
    client: &Client,
    source: &FileVersion,
    to: &str,
    metadata: &CopyMetadata,
) -> FileVersion {
    client
        .copy_file(&id(source), source.size, &name(to), metadata)
        .await
        .expect("copies")
}

fn id(version: &FileVersion) -> FileId {
    version.id.clone().expect("an upload has an id")
}

async fn get(client: &Client, id: &FileId, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut download = client.download(id, range).await.expect("starts");
    let mut all = Vec::new();
    while let Some(chunk) = download.chunk().await.expect("goes on") {
        all.extend_from_slice(&chunk);
    }
    all
}

/// All versions of one name, newest first.
async fn versions(client: &Client, text: &str) -> Vec<FileVersion> {
    let request = ListVersions {
        prefix: text.to_owned(),
        max: 1000,
        ..ListVersions::default()
    };
    let page = client.list_file_versions(&request).await.expect("lists");
    let exact = page
        .files
        .into_iter()
        .filter(|row| row.name.as_str() == text);
    exact.collect()
}
