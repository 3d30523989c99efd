//! INTERFACE STUB.
#![allow(missing_docs, unused_variables, clippy::unused_async, clippy::todo)]

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::{Error, FileId, FileInfo, FileName, FileVersion, NewFile, Payload, Secret, Sha1};

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://api.backblazeb2.com`, or another realm; plain http for loopback only.
    pub endpoint: String,
    pub key_id: String,
    pub key: Secret,
    /// Bucket by id or by name; neither is needed with a key bound to one bucket.
    pub bucket_id: Option<String>,
    pub bucket_name: Option<String>,
    /// A call ends at most this long after its last progress (default 120 s).
    pub timeout: Duration,
    /// Concurrent uploads (files and parts), and concurrent downloads.
    pub uploads: usize,
    pub downloads: usize,
}

/// What authorize told about the key, and the bucket that was chosen.
#[derive(Debug, Clone)]
pub struct Account {
    pub account_id: String,
    pub bucket_id: String,
    pub bucket_name: String,
    pub capabilities: Vec<String>,
    /// The key's `namePrefix`; empty when unrestricted.
    pub name_prefix: String,
    pub minimum_part_size: u64,
    pub recommended_part_size: u64,
}

impl Account {
    /// Whether the key has a capability (`writeFiles`, ...).
    pub fn may(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

/// `b2_list_file_names` (API §4.1).
#[derive(Debug, Clone, Default)]
pub struct ListNames {
    pub prefix: String,
    /// Inclusive; `None` starts at the prefix.
    pub start: Option<String>,
    /// Fold at `/`.
    pub delimiter: bool,
    /// 1..=10,000; 1,000 cost as much as one.
    pub max: u32,
}

#[derive(Debug, Clone)]
pub struct NamesPage {
    pub files: Vec<FileVersion>,
    /// Opaque; the listing ends only where this is `None` (API §4.1).
    pub next: Option<String>,
}

/// `b2_list_file_versions` (API §4.2): names ascending, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListVersions {
    pub prefix: String,
    pub start: Option<(String, Option<FileId>)>,
    pub delimiter: bool,
    pub max: u32,
}

#[derive(Debug, Clone)]
pub struct VersionsPage {
    pub files: Vec<FileVersion>,
    pub next: Option<(String, Option<FileId>)>,
}

/// What a copy's file info is (`metadataDirective`, API §6.1).
#[derive(Debug, Clone)]
pub enum CopyMetadata {
    /// The source's content type and info.
    Copy,
    /// These instead; what is not named is lost.
    Replace {
        content_type: String,
        info: FileInfo,
    },
}

/// A stored part of an unfinished large file.
#[derive(Debug, Clone)]
pub struct PartDone {
    pub number: u32,
    pub size: u64,
    pub sha1: Sha1,
}

/// The client; clones share everything.
#[derive(Debug, Clone)]
pub struct Client;

impl Client {
    /// Authorizes and finds the bucket: one call with a bucket-bound key, else two.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        todo!()
    }
    pub fn account(&self) -> Account {
        todo!()
    }
    /// Counters as one line of JSON: calls by name and class, retries, bytes up and down.
    pub fn counters_json(&self) -> String {
        todo!()
    }
    pub async fn list_file_names(&self, request: &ListNames) -> Result<NamesPage, Error> {
        todo!()
    }
    pub async fn list_file_versions(&self, request: &ListVersions) -> Result<VersionsPage, Error> {
        todo!()
    }
    /// Content of at most 5 GB in one call. A lost reply is resolved, not blindly resent.
    pub async fn upload_file(&self, file: &NewFile, body: Payload) -> Result<FileVersion, Error> {
        todo!()
    }
    pub async fn start_large_file(&self, file: &NewFile) -> Result<FileVersion, Error> {
        todo!()
    }
    pub async fn upload_part(
        &self,
        large: &FileId,
        number: u32,
        body: Payload,
    ) -> Result<PartDone, Error> {
        todo!()
    }
    pub async fn copy_part(
        &self,
        large: &FileId,
        number: u32,
        source: &FileId,
        range: Range<u64>,
    ) -> Result<PartDone, Error> {
        todo!()
    }
    /// `parts` by number from 1 without gaps, at least two.
    pub async fn finish_large_file(
        &self,
        large: &FileId,
        parts: &[Sha1],
    ) -> Result<FileVersion, Error> {
        todo!()
    }
    pub async fn cancel_large_file(&self, large: &FileId) -> Result<(), Error> {
        todo!()
    }
    /// All unfinished large files under a prefix.
    pub async fn list_unfinished_large_files(
        &self,
        prefix: &str,
    ) -> Result<Vec<FileVersion>, Error> {
        todo!()
    }
    /// At most 5 GB; larger sources go by `copy_part`.
    pub async fn copy_file(
        &self,
        source: &FileId,
        name: &FileName,
        metadata: &CopyMetadata,
    ) -> Result<FileVersion, Error> {
        todo!()
    }
    /// `Ok` also when it is hidden already; `NotFound` when there is no version at all.
    pub async fn hide_file(&self, name: &FileName) -> Result<(), Error> {
        todo!()
    }
    /// `Ok` also when it is gone already.
    pub async fn delete_file_version(&self, name: &FileName, id: &FileId) -> Result<(), Error> {
        todo!()
    }
    pub async fn get_file_info(&self, id: &FileId) -> Result<FileVersion, Error> {
        todo!()
    }
    /// Starts reading `range` (not empty, within the file) of a version.
    pub async fn download(&self, id: &FileId, range: Range<u64>) -> Result<Download, Error> {
        todo!()
    }
}

/// A running download. Broken and stalled connections are resumed at the byte reached.
#[derive(Debug)]
pub struct Download;

impl Download {
    /// The next piece, exactly in order; `None` after the last byte of the range.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        todo!()
    }
}
