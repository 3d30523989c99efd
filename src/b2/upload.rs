//! Sending content: files and parts, each to an upload URL of its own (API §5).
//!
//! A URL that failed is dropped and the content is sent again to a fresh one, as long as the call
//! may last (API §12). Nothing limits the time of an upload as long as bytes move. A reply that was lost is
//! looked for in the bucket before the content is sent a second time.
//!
//! Lock order: an upload permit, then a permit for a JSON call, then a turn of the limiter; never the other way round.

use std::pin::pin;
use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::body::{Content, Sent};
use super::call::Call;
use super::calls::Tries;
use super::http::{no_answer, secret_header, stalled};
use super::name::encode;
use super::pool::{Target, UploadUrl};
use super::retry::FailedTry;
use super::wire::{self, Row};
use super::{
    Client, ContentSha1, Error, ErrorKind, FileId, FileVersion, Lost, NewFile, PartDone, Payload,
    Sha1,
};

const FILE_NAME: HeaderName = HeaderName::from_static("x-bz-file-name");
const PART_NUMBER: HeaderName = HeaderName::from_static("x-bz-part-number");
const CONTENT_SHA1: HeaderName = HeaderName::from_static("x-bz-content-sha1");

/// How long the next try only listens, after its head, where the last one broke while it was sent: an early
/// refusal is then heard before the connection breaks.
const LISTEN: Duration = Duration::from_secs(1);

/// How an upload ended well.
enum Done {
    /// B2 answered.
    Answered(Row, Sha1),
    /// The answer was lost, the version was found.
    Found(FileVersion),
}

impl Client {
    /// Content of at most 5 GB in one call. A lost reply is resolved, not blindly resent.
    pub async fn upload_file(&self, file: &NewFile, body: Payload) -> Result<FileVersion, Error> {
        let headers = file_headers(file)?;
        let mut tries = self.tries(Call::UploadFile, file.name.as_str());
        let mut content = Content::new(body);
        let result = self
            .upload(
                &mut tries,
                &Target::Bucket,
                &headers,
                &mut content,
                Some(file),
            )
            .await;
        let lost = || Lost {
            id: None,
            size: Some(content.len()),
            sha1: content.sha1(),
            info: file.info.clone(),
        };
        match tries.with_lost(result, lost)? {
            Done::Answered(row, _) => Ok(tries.made(row.into_version())),
            Done::Found(version) => Ok(tries.made(version)),
        }
    }

    /// One part of a large file; sending a number again replaces that part (API §6).
    pub async fn upload_part(
        &self,
        large: &FileId,
        number: u32,
        body: Payload,
    ) -> Result<PartDone, Error> {
        let headers = HeaderMap::from_iter([(PART_NUMBER, HeaderValue::from(number))]);
        let mut tries = self.tries(Call::UploadPart, &self.shared.started.subject(large));
        let size = body.len();
        let target = Target::Large(large.clone());
        let mut content = Content::new(body);
        match self
            .upload(&mut tries, &target, &headers, &mut content, None)
            .await?
        {
            Done::Answered(_, sha1) => Ok(PartDone { number, size, sha1 }),
            Done::Found(_) => unreachable!("lost replies are looked for with files only"),
        }
    }

    async fn upload(
        &self,
        tries: &mut Tries,
        target: &Target,
        headers: &HeaderMap,
        content: &mut Content,
        file: Option<&NewFile>,
    ) -> Result<Done, Error> {
        let shared = &self.shared;
        let mut fresh = false;
        let mut pause = Duration::ZERO;
        loop {
            let permit = self.admit(tries).await?;
            let idle = (!fresh)
                .then(|| shared.urls.take(target, Instant::now()))
                .flatten();
            let url = match idle {
                Some(url) => url,
                None => self.upload_url(target, tries).await?,
            };
            let turn = match shared.limiter.turn(tries).await {
                Ok(turn) => turn,
                Err(error) => {
                    shared.urls.put(target, url);
                    return Err(error);
                }
            };
            let began = Instant::now();
            let outcome = self
                .upload_once(tries, &url, headers, content, file, pause)
                .await;
            turn.end(tries, &outcome);
            tries.log(began, &outcome);
            let failure = match outcome {
                Ok((row, sha1)) => {
                    shared.urls.put(target, url);
                    return Ok(Done::Answered(row, sha1));
                }
                Err(failure) => failure,
            };
            drop(permit);
            // B2 may have answered early and closed, and the answer was lost with the connection.
            pause = match failure {
                FailedTry::Network { sent: false, .. } => LISTEN.min(shared.http.waits.call / 20),
                _ => Duration::ZERO,
            };
            fresh = !failure.keeps_upload_url();
            if !fresh {
                shared.urls.put(target, url);
            }
            if let (Some(file), Some(sha1), true) = (file, content.sha1(), failure.ambiguous())
                && let Some(version) = self.find_upload(tries, file, sha1, content.len()).await
            {
                return Ok(Done::Found(version));
            }
            self.again(tries, &failure).await?;
        }
    }

    async fn upload_url(&self, target: &Target, tries: &Tries) -> Result<UploadUrl, Error> {
        let (call, request) = match target {
            Target::Bucket => (
                Call::GetUploadUrl,
                json!({"bucketId": self.session().account.bucket_id}),
            ),
            Target::Large(id) => (Call::GetUploadPartUrl, json!({"fileId": id.to_string()})),
        };
        let born = Instant::now();
        let answer: wire::UploadUrl = self.call(tries.within(call), &request).await?;
        let parsed = self
            .shared
            .http
            .url(&answer.upload_url)
            .and_then(|url| Ok((url, secret_header(&answer.authorization_token)?)));
        match parsed {
            Ok((url, token)) => Ok(UploadUrl { url, token, born }),
            Err(failure) => Err(tries.within(call).error(&failure)),
        }
    }

    async fn upload_once(
        &self,
        tries: &mut Tries,
        url: &UploadUrl,
        headers: &HeaderMap,
        content: &mut Content,
        file: Option<&NewFile>,
        pause: Duration,
    ) -> Result<(Row, Sha1), FailedTry> {
        let shared = &self.shared;
        tries.begin(&shared.counting);
        let (body, sent, sha1) = content.body(&shared.up, pause);
        let length = http_body::Body::size_hint(&body).lower();
        let sha1 = HeaderValue::from_str(&sha1).expect("hex digits and words fit a header");
        let request = shared
            .http
            .post(url.url.clone())?
            .headers(headers.clone())
            .header(AUTHORIZATION, url.token.clone())
            .header(CONTENT_SHA1, sha1)
            // hyper would leave it out for an empty body.
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap(body));
        let began = Instant::now();
        let outcome = self
            .watch(request.send(), &sent, began, tries.remaining())
            .await;
        if sent.proves_progress() {
            tries.sent_for(Duration::from_millis(sent.last_millis()));
        } else {
            tries.queued(Duration::from_millis(sent.throttled_millis()));
        }
        content.learn(&sent);
        let row: Row = shared.http.json(outcome?, 1).await?;
        if let Some(file) = file
            && !row.name().is_empty()
            && row.name() != file.name.as_str()
        {
            return Err(FailedTry::Mismatch(format!(
                "B2 stored it under another name, {:?}",
                row.name()
            )));
        }
        let ours = content
            .sha1()
            .ok_or_else(|| FailedTry::Nonsense("B2 accepted content before its end".to_owned()))?;
        let theirs = match row.sha1() {
            ContentSha1::Verified(sha1) | ContentSha1::Unverified(sha1) => sha1,
            ContentSha1::None => ours,
        };
        if theirs != ours || row.size() != content.len() {
            return Err(FailedTry::Mismatch(format!(
                "sent {} bytes with SHA-1 {ours}, B2 stored {} bytes with {theirs}",
                content.len(),
                row.size()
            )));
        }
        Ok((row, ours))
    }

    /// Waits for an upload's answer: as long as bytes are accepted, or held up by our own limit, then a while for the answer;
    /// not longer than `remaining` where nothing shows that somebody is reading.
    async fn watch(
        &self,
        send: impl Future<Output = reqwest::Result<reqwest::Response>>,
        sent: &Sent,
        began: Instant,
        remaining: Duration,
    ) -> Result<reqwest::Response, FailedTry> {
        let http = &self.shared.http;
        let mut send = pin!(send);
        let mut seen = began;
        loop {
            let whole = sent.whole();
            let mut limit = if whole {
                http.waits.long_answer
            } else {
                http.waits.stall
            };
            if !sent.proves_progress() {
                limit = limit.min(remaining);
            }
            if let Ok(answer) = timeout_at(seen + limit, &mut send).await {
                return http.head(answer).await.map_err(|failure| {
                    // What did not leave whole cannot have been stored.
                    if sent.whole() {
                        failure
                    } else {
                        failure.unsent()
                    }
                });
            }
            let last = began + Duration::from_millis(sent.last_millis());
            if sent.throttled() {
                seen = Instant::now();
            } else if last > seen {
                seen = last;
            } else if whole {
                return Err(no_answer(limit));
            } else if !sent.whole() {
                return Err(stalled("the upload", limit).unsent());
            }
        }
    }

    /// The version that an upload with a lost reply has made, if it has. The newest version of
    /// the name having our bytes and info is what was wanted, whoever made it. Failing to look
    /// is no error: the content is then sent again.
    async fn find_upload(
        &self,
        tries: &Tries,
        file: &NewFile,
        sha1: Sha1,
        size: u64,
    ) -> Option<FileVersion> {
        let newest = self.newest_version(tries, &file.name).await?;
        let same_type = file.content_type == "b2/x-auto"
            || newest.content_type.as_deref() == Some(&file.content_type);
        let found = newest.size == size
            && same_type
            && newest.sha1.known() == Some(sha1)
            && newest.has_info(&file.info);
        found.then(|| {
            log::info!(
                "b2_upload_file of {:?}: the reply was lost, the file is there",
                file.name
            );
            newest
        })
    }
}

/// The headers that do not change from try to try.
fn file_headers(file: &NewFile) -> Result<HeaderMap, Error> {
    let refuse = |what: String| {
        Error::refused_here(
            ErrorKind::InvalidArgument,
            Call::UploadFile,
            file.name.as_str(),
            what,
        )
    };
    let ascii = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| refuse(format!("no header can carry the content type {text:?}")))
    };
    let mut headers = HeaderMap::with_capacity(file.info.len() + 2);
    headers.insert(FILE_NAME, ascii(&encode(file.name.as_str()))?);
    headers.insert(CONTENT_TYPE, ascii(&file.content_type)?);
    for (key, value) in &file.info {
        let name = HeaderName::from_bytes(format!("x-bz-info-{key}").as_bytes())
            .map_err(|_| refuse(format!("B2 takes no file info key {key:?}")))?;
        headers.insert(name, ascii(&encode(value))?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::file_headers;
    use crate::b2::{ErrorKind, FileInfo, FileName, NewFile};

    fn file(key: &str, value: &str, content_type: &str) -> NewFile {
        NewFile {
            name: FileName::new("a b+ü").expect("a name"),
            content_type: content_type.to_owned(),
            info: FileInfo::from([(key.to_owned(), value.to_owned())]),
        }
    }

    #[test]
    fn names_and_info_go_encoded_into_headers() {
        let headers = file_headers(&file("src_last_modified_millis", "1 +é", "b2/x-auto"));
        let headers = headers.expect("headers");
        assert_eq!(headers["x-bz-file-name"], "a%20b%2B%C3%BC");
        assert_eq!(
            headers["x-bz-info-src_last_modified_millis"],
            "1%20%2B%C3%A9"
        );
        assert_eq!(headers["content-type"], "b2/x-auto");
    }

    #[test]
    fn what_no_header_carries_is_refused_here() {
        for (key, content_type) in [("a b", "text/plain"), ("ü", "text/plain"), ("k", "a\nb")] {
            let error = file_headers(&file(key, "v", content_type)).expect_err("refused");
            assert_eq!(
                (error.kind, error.attempts),
                (ErrorKind::InvalidArgument, 0)
            );
        }
    }
}
