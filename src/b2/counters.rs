//! What was asked of B2: every call by name and transaction class, bytes, retries.
//!
//! Counting is one relaxed addition; [`Counters`] is a snapshot of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// The calls that this client makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    AuthorizeAccount,
    ListBuckets,
    ListFileNames,
    ListFileVersions,
    ListUnfinishedLargeFiles,
    GetUploadUrl,
    UploadFile,
    StartLargeFile,
    GetUploadPartUrl,
    UploadPart,
    CopyPart,
    FinishLargeFile,
    CancelLargeFile,
    CopyFile,
    HideFile,
    DeleteFileVersion,
    GetFileInfo,
    DownloadFileById,
}

/// How B2 bills a call (API §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    A,
    B,
    C,
}

impl Call {
    const ALL: [Self; 18] = [
        Self::AuthorizeAccount,
        Self::ListBuckets,
        Self::ListFileNames,
        Self::ListFileVersions,
        Self::ListUnfinishedLargeFiles,
        Self::GetUploadUrl,
        Self::UploadFile,
        Self::StartLargeFile,
        Self::GetUploadPartUrl,
        Self::UploadPart,
        Self::CopyPart,
        Self::FinishLargeFile,
        Self::CancelLargeFile,
        Self::CopyFile,
        Self::HideFile,
        Self::DeleteFileVersion,
        Self::GetFileInfo,
        Self::DownloadFileById,
    ];

    /// Name, class and needed capabilities (API §11, §14).
    const fn facts(self) -> (&'static str, Class, &'static [&'static str]) {
        const LIST: &[&str] = &["listFiles"];
        const READ: &[&str] = &["readFiles"];
        const WRITE: &[&str] = &["writeFiles"];
        const COPY: &[&str] = &["writeFiles", "readFiles"];
        match self {
            Self::AuthorizeAccount => ("b2_authorize_account", Class::C, &[]),
            Self::ListBuckets => ("b2_list_buckets", Class::C, &["listBuckets"]),
            Self::ListFileNames => ("b2_list_file_names", Class::C, LIST),
            Self::ListFileVersions => ("b2_list_file_versions", Class::C, LIST),
            Self::ListUnfinishedLargeFiles => ("b2_list_unfinished_large_files", Class::C, LIST),
            Self::GetUploadUrl => ("b2_get_upload_url", Class::A, WRITE),
            Self::UploadFile => ("b2_upload_file", Class::A, WRITE),
            Self::StartLargeFile => ("b2_start_large_file", Class::A, WRITE),
            Self::GetUploadPartUrl => ("b2_get_upload_part_url", Class::A, WRITE),
            Self::UploadPart => ("b2_upload_part", Class::A, WRITE),
            Self::CopyPart => ("b2_copy_part", Class::C, COPY),
            Self::FinishLargeFile => ("b2_finish_large_file", Class::A, WRITE),
            Self::CancelLargeFile => ("b2_cancel_large_file", Class::A, WRITE),
            Self::CopyFile => ("b2_copy_file", Class::C, COPY),
            Self::HideFile => ("b2_hide_file", Class::A, WRITE),
            Self::DeleteFileVersion => ("b2_delete_file_version", Class::A, &["deleteFiles"]),
            Self::GetFileInfo => ("b2_get_file_info", Class::B, READ),
            Self::DownloadFileById => ("b2_download_file_by_id", Class::B, READ),
        }
    }

    /// The call's name in B2's documentation.
    pub(super) const fn name(self) -> &'static str {
        self.facts().0
    }

    /// What the key must be able to for this call.
    pub(super) const fn capabilities(self) -> &'static [&'static str] {
        self.facts().2
    }

    /// Sends content to an upload URL.
    pub(super) const fn is_upload(self) -> bool {
        matches!(self, Self::UploadFile | Self::UploadPart)
    }

    /// Carries a name or file info that B2 may refuse.
    pub(super) const fn makes_a_version(self) -> bool {
        matches!(
            self,
            Self::UploadFile
                | Self::StartLargeFile
                | Self::CopyFile
                | Self::CopyPart
                | Self::HideFile
        )
    }
}

/// The running counts.
#[derive(Debug, Default)]
pub(super) struct Counting {
    calls: [AtomicU64; Call::ALL.len()],
    /// Listings of more than 1,000 rows are billed per 1,000 (API §4.1): those beyond the first.
    more_pages: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    retries: AtomicU64,
    reauthorizations: AtomicU64,
}

impl Counting {
    pub(super) fn call(&self, call: Call) {
        self.calls[call as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn rows(&self, rows: usize) {
        if rows > 1000 {
            self.more_pages.fetch_add((rows as u64 - 1) / 1000, Relaxed);
        }
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn reauthorization(&self) {
        self.reauthorizations.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Counters {
        let mut out = Counters {
            class_c: self.more_pages.load(Relaxed),
            bytes_up: self.sent.load(Relaxed),
            bytes_down: self.received.load(Relaxed),
            retries: self.retries.load(Relaxed),
            reauthorizations: self.reauthorizations.load(Relaxed),
            ..Counters::default()
        };
        for call in Call::ALL {
            let count = self.calls[call as usize].load(Relaxed);
            let (name, class, _) = call.facts();
            match class {
                Class::A => out.class_a += count,
                Class::B => out.class_b += count,
                Class::C => out.class_c += count,
            }
            if count > 0 {
                out.calls.insert(name, count);
            }
        }
        out
    }
}

/// What has been asked of B2 so far, retries included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Calls by name; absent ones were not made.
    pub calls: BTreeMap<&'static str, u64>,
    /// Class A transactions (API §14).
    pub class_a: u64,
    /// Class B transactions.
    pub class_b: u64,
    /// Class C transactions; a listing of 10,000 rows counts as ten.
    pub class_c: u64,
    /// Bytes of file content sent, repeated tries included.
    pub bytes_up: u64,
    /// Bytes of file content received.
    pub bytes_down: u64,
    /// Tries beyond the first of their calls.
    pub retries: u64,
    /// Times that the account token was renewed.
    pub reauthorizations: u64,
}

impl Counters {
    /// How often a call was made, `b2_upload_file` say.
    pub fn calls(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Counting};

    #[test]
    fn every_call_has_its_own_place() {
        for (place, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, place);
        }
    }

    #[test]
    fn long_listings_count_per_thousand() {
        for (rows, class_c) in [(0, 1), (1000, 1), (1001, 2), (10_000, 10)] {
            let counting = Counting::default();
            counting.call(Call::ListFileNames);
            counting.rows(rows);
            assert_eq!(counting.snapshot().class_c, class_c, "{rows} rows");
        }
    }
}
