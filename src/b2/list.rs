//! Listings (API §4): pages as B2 gives them, in its order, with its opaque next positions.

use serde::Serialize;
use serde_json::json;

use super::call::Call;
use super::calls::Tries;
use super::guard::{Place, Question};
use super::retry::FailedTry;
use super::wire::{Parts, Row, Rows};
use super::{
    Action, Client, Error, FileId, FileName, FileVersion, ListNames, ListVersions, NamesPage,
    VersionsPage,
};

/// What both listings ask.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    bucket_id: &'a str,
    prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delimiter: Option<&'a str>,
    max_file_count: u32,
}

/// `b2_list_unfinished_large_files`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unfinished<'a> {
    bucket_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_file_id: Option<String>,
    max_file_count: u32,
}

/// The most that B2 gives of them.
const UNFINISHED: u32 = 100;
/// The most parts that B2 lists in one answer (API §6).
const PARTS: usize = 1000;

/// More is refused or clamped by B2, and 0 would mean 100 (API §4.1).
fn page_size(max: u32) -> u32 {
    if max == 0 { 1000 } else { max.min(10_000) }
}

fn versions(rows: Vec<Row>) -> Vec<FileVersion> {
    rows.into_iter().map(Row::into_version).collect()
}

impl Client {
    /// One page of the names that have a newest version which is not hidden.
    pub async fn list_file_names(&self, request: &ListNames) -> Result<NamesPage, Error> {
        let session = self.session();
        let max = page_size(request.max);
        let rows = self
            .page(
                self.tries(Call::ListFileNames, &request.prefix),
                &Request {
                    bucket_id: &session.account.bucket_id,
                    prefix: &request.prefix,
                    start_file_name: request.start.as_deref(),
                    start_file_id: None,
                    delimiter: request.delimiter.then_some("/"),
                    max_file_count: max,
                },
                &Question {
                    call: Call::ListFileNames,
                    prefix: &request.prefix,
                    start: Place {
                        name: request.start.as_deref(),
                        id: None,
                    },
                    delimiter: request.delimiter,
                    max,
                },
            )
            .await?;
        Ok(NamesPage {
            files: versions(rows.files),
            next: rows.next_file_name,
        })
    }

    /// One page of all versions, hide markers and unfinished large files included.
    pub async fn list_file_versions(&self, request: &ListVersions) -> Result<VersionsPage, Error> {
        let tries = self.tries(Call::ListFileVersions, &request.prefix);
        self.versions_page(tries, request).await
    }

    async fn versions_page(
        &self,
        tries: Tries,
        request: &ListVersions,
    ) -> Result<VersionsPage, Error> {
        let session = self.session();
        let max = page_size(request.max);
        let name = request.start.as_ref().map(|(name, _)| name.as_str());
        let id = request.start.as_ref().and_then(|(_, id)| id.as_ref());
        let id = id.map(ToString::to_string);
        let rows = self
            .page(
                tries,
                &Request {
                    bucket_id: &session.account.bucket_id,
                    prefix: &request.prefix,
                    start_file_name: name,
                    start_file_id: id.clone(),
                    delimiter: request.delimiter.then_some("/"),
                    max_file_count: max,
                },
                &Question {
                    call: Call::ListFileVersions,
                    prefix: &request.prefix,
                    start: Place {
                        name,
                        id: id.as_deref(),
                    },
                    delimiter: request.delimiter,
                    max,
                },
            )
            .await?;
        let next_id = rows.next_file_id.as_deref().map(FileId::new);
        Ok(VersionsPage {
            files: versions(rows.files),
            next: rows.next_file_name.map(|name| (name, next_id)),
        })
    }

    /// All unfinished large files under a prefix.
    pub async fn list_unfinished_large_files(
        &self,
        prefix: &str,
    ) -> Result<Vec<FileVersion>, Error> {
        let mut all = Vec::new();
        let mut start: Option<String> = None;
        loop {
            let session = self.session();
            let rows = self
                .page(
                    self.tries(Call::ListUnfinishedLargeFiles, prefix),
                    &Unfinished {
                        bucket_id: &session.account.bucket_id,
                        name_prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
                        start_file_id: start.clone(),
                        max_file_count: UNFINISHED,
                    },
                    &Question {
                        call: Call::ListUnfinishedLargeFiles,
                        prefix,
                        start: Place {
                            name: None,
                            id: start.as_deref(),
                        },
                        delimiter: false,
                        max: UNFINISHED,
                    },
                )
                .await?;
            all.extend(versions(rows.files));
            match rows.next_file_id {
                Some(next) => start = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// When the newest part of an unfinished large file came, by B2's clock in milliseconds since 1970; `None` where it
    /// has no part.
    pub async fn newest_part_ms(&self, large: &FileId) -> Result<Option<u64>, Error> {
        let mut newest = None;
        let mut start = 1;
        loop {
            let tries = self.tries(Call::ListParts, &large.to_string());
            let judged = tries.within(Call::ListParts);
            let request = json!({
                "fileId": large.to_string(),
                "startPartNumber": start,
                "maxPartCount": PARTS,
            });
            let page: Parts = self.call_rows(tries, &request, PARTS).await?;
            let stamps = page.parts.iter().filter_map(|part| part.upload_timestamp);
            newest = newest.max(stamps.max());
            match page.next_part_number {
                None => return Ok(newest),
                Some(next) if next > start => start = next,
                Some(next) => {
                    let what = format!("a list of parts that goes on from {start} at {next}");
                    return Err(judged.error(&FailedTry::Nonsense(what)));
                }
            }
        }
    }

    /// What time it is by B2's clock, to a second, in milliseconds since 1970; `None` before its first answer.
    pub fn server_now_ms(&self) -> Option<u64> {
        self.shared.http.date()
    }

    /// A page that may be believed.
    async fn page(
        &self,
        tries: Tries,
        request: &impl Serialize,
        asked: &Question<'_>,
    ) -> Result<Rows, Error> {
        let judged = tries.within(asked.call);
        let rows: Rows = self.call_rows(tries, request, asked.max as usize).await?;
        // The name that goes with an id is no place of its own among unfinished files.
        let next = Place {
            name: rows
                .next_file_name
                .as_deref()
                .filter(|_| asked.call != Call::ListUnfinishedLargeFiles),
            id: rows.next_file_id.as_deref(),
        };
        let names: Vec<&str> = rows.files.iter().map(Row::name).collect();
        self.shared
            .guard
            .page(asked, names.into_iter(), next)
            .map_err(|what| judged.error(&FailedTry::Nonsense(what)))?;
        self.shared.counting.rows(rows.files.len());
        Ok(rows)
    }

    /// The newest finished version of exactly that name, for a call whose reply was lost; `None`
    /// also when it cannot be told.
    pub(super) async fn newest_version(
        &self,
        tries: &Tries,
        name: &FileName,
    ) -> Option<FileVersion> {
        let newest = self.newest_row(tries, name).await?;
        (newest.action == Action::Upload).then_some(newest)
    }

    /// The newest row of a name: a version, or a hide marker.
    pub(super) async fn newest_row(&self, tries: &Tries, name: &FileName) -> Option<FileVersion> {
        let request = ListVersions {
            prefix: name.as_str().to_owned(),
            start: Some((name.as_str().to_owned(), None)),
            delimiter: false,
            // Unfinished large files of the name may stand above.
            max: 100,
        };
        let page = self
            .versions_page(tries.within(Call::ListFileVersions), &request)
            .await
            .ok()?;
        page.files
            .into_iter()
            .take_while(|version| version.name == *name)
            .find(|version| version.action != Action::Start)
    }
}
