//! Reading a range of one version, by id, so that it never mixes versions (API §7).
//!
//! A [`Download`] goes on at the byte it has reached when the connection breaks or stands still;
//! its bounds count anew with each byte. It hands out hyper's own chunks, or as much of them as our own limit allows at once,
//! exactly the bytes of the range, and holds its place among the downloads until it has ended or is dropped.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::call::Call;
use super::calls::Tries;
use super::http::{Pace, Rate, fast_enough, network, stalled, too_slow};
use super::name::encode;
use super::retry::FailedTry;
use super::{Client, Error, FileId};

/// A running download. Broken and stalled connections are resumed at the byte reached.
#[derive(Debug)]
pub struct Download {
    client: Client,
    id: FileId,
    /// What has not been handed out yet.
    rest: Range<u64>,
    running: Option<Response>,
    /// What has come and not been handed out yet, which our own limit holds up.
    came: Bytes,
    rate: Rate,
    /// What came, and the time that was waited for it, since there was progress last.
    moved: (u64, Duration),
    /// Since when B2 is not waited for: the time that our own limit and the caller take is not B2's.
    handed_out: Option<Instant>,
    tries: Tries,
    place: Option<OwnedSemaphorePermit>,
}

impl Client {
    /// Starts reading `range` (not empty, within the file) of a version.
    pub async fn download(&self, id: &FileId, range: Range<u64>) -> Result<Download, Error> {
        let tries = self.tries(Call::DownloadFileById, &id.to_string());
        let mut download = Download {
            client: self.clone(),
            id: id.clone(),
            rest: range,
            running: None,
            came: Bytes::new(),
            rate: Rate::new(self.shared.http.waits.stall),
            moved: (0, Duration::ZERO),
            handed_out: Some(Instant::now()),
            tries,
            place: None,
        };
        // B2 knows no empty ranges; asking for one would give the whole file (API §7).
        if !download.rest.is_empty() {
            let place = self.admit(&mut download.tries).await?;
            download.place = Some(place);
            download.running = Some(download.open().await?);
        }
        Ok(download)
    }
}

impl Download {
    /// The next piece, exactly in order; `None` after the last byte of the range. May be
    /// dropped while it waits and called again.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.rest.is_empty() {
            self.place = None;
            return Ok(None);
        }
        if !self.came.is_empty() {
            return Ok(Some(self.hand_out().await));
        }
        if let Some(at) = self.handed_out.take() {
            self.tries.queued(at.elapsed());
        }
        let limit = self.client.shared.http.waits.stall;
        loop {
            let Some(response) = &mut self.running else {
                self.running = Some(self.open().await?);
                continue;
            };
            let began = Instant::now();
            let came = timeout(limit, response.chunk()).await;
            let failure = match came {
                Ok(Ok(Some(mut chunk))) => {
                    self.moved.1 += began.elapsed();
                    let slow = self.rate.came(chunk.len() as u64, began.elapsed());
                    if !chunk.is_empty() {
                        // What has come is good, however slowly it came.
                        if slow == Pace::TooSlow && chunk.len() as u64 != self.left() {
                            self.running = None;
                            let failure = too_slow("the download", limit);
                            self.client.again(&mut self.tries, &failure).await?;
                            continue;
                        }
                        // Never more than was asked for, whatever is sent.
                        chunk.truncate(usize::try_from(self.left()).unwrap_or(usize::MAX));
                        self.came = chunk;
                        self.handed_out = Some(Instant::now());
                        return Ok(Some(self.hand_out().await));
                    }
                    continue;
                }
                Ok(Ok(None)) => FailedTry::Network {
                    sent: true,
                    detail: format!("the content ended {} bytes early", self.left()),
                },
                Ok(Err(error)) => network(&error),
                Err(_) => stalled("the download", limit),
            };
            self.running = None;
            self.client.again(&mut self.tries, &failure).await?;
        }
    }

    fn left(&self) -> u64 {
        self.rest.end - self.rest.start
    }

    /// As much of what has come as our own limit allows, once it does.
    async fn hand_out(&mut self) -> Bytes {
        let mut length = self.came.len();
        let down = &self.client.shared.down;
        if let Some(most) = down.piece() {
            length = length.min(most);
            down.take(length).await;
        }
        let chunk = self.came.split_to(length);
        self.rest.start += chunk.len() as u64;
        let shared = &self.client.shared;
        shared.counting.received(chunk.len() as u64);
        shared.pulse.beat();
        if let Some(at) = self.handed_out.replace(Instant::now()) {
            self.tries.queued(at.elapsed());
        }
        self.moved.0 += chunk.len() as u64;
        // What creeps is no progress, or a call would never end.
        if fast_enough(self.moved.0, self.moved.1) {
            self.moved = (0, Duration::ZERO);
            self.tries.progress_at(Instant::now());
        }
        if self.rest.is_empty() {
            self.running = None;
            self.place = None;
        }
        chunk
    }

    /// A response that gives the rest, from its first byte on.
    async fn open(&mut self) -> Result<Response, Error> {
        loop {
            let client = self.client.clone();
            // Given back with the head: who reads the body may be slow, or make other calls meanwhile.
            let turn = client.shared.limiter.turn(&mut self.tries).await?;
            let began = Instant::now();
            let outcome = self.open_once(&client).await;
            turn.end(&self.tries, &outcome);
            self.tries.log(began, &outcome);
            match outcome {
                Ok(response) => return Ok(response),
                Err(failure) => client.again(&mut self.tries, &failure).await?,
            }
        }
    }

    async fn open_once(&mut self, client: &Client) -> Result<Response, FailedTry> {
        let shared = &client.shared;
        let session = client.session();
        self.tries.generation = session.generation;
        self.tries.begin(&shared.counting);
        let request = shared
            .http
            .get(format!(
                "{}/b2api/v4/b2_download_file_by_id?fileId={}",
                session.download_url,
                encode(&self.id.to_string())
            ))?
            .header(AUTHORIZATION, session.token.clone())
            .header(
                RANGE,
                format!("bytes={}-{}", self.rest.start, self.rest.end - 1),
            );
        let limit = shared.http.waits.stall.min(self.tries.remaining());
        let response = shared.http.send_twice(request, limit).await?;
        check(&response, &self.rest).map_err(FailedTry::Nonsense)?;
        Ok(response)
    }
}

/// Whether an answer begins with the first byte asked for and holds all of them.
fn check(response: &Response, asked: &Range<u64>) -> Result<(), String> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    answers(
        response.status(),
        header(CONTENT_RANGE),
        header(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        asked,
    )
}

fn answers(
    status: StatusCode,
    content_range: Option<&str>,
    content_length: Option<u64>,
    asked: &Range<u64>,
) -> Result<(), String> {
    let given = match (status, content_range) {
        (StatusCode::PARTIAL_CONTENT, Some(text)) => {
            parse_content_range(text).ok_or_else(|| format!("content-range {text:?}"))?
        }
        // A range over the whole file may be answered without one (API §7).
        (StatusCode::OK, None) if asked.start == 0 => 0..content_length.unwrap_or(asked.end),
        _ => {
            return Err(format!(
                "asked for bytes {asked:?}, B2 answered {status} without range"
            ));
        }
    };
    let length = given.end - given.start;
    if given != *asked || content_length.is_some_and(|claimed| claimed != length) {
        return Err(format!(
            "asked for bytes {asked:?}, B2 sends {given:?} ({content_length:?} bytes)"
        ));
    }
    Ok(())
}

/// `bytes 5-8/10` as 5..9.
fn parse_content_range(text: &str) -> Option<Range<u64>> {
    let (range, _) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::StatusCode;

    use super::{answers, parse_content_range};

    #[test]
    fn only_the_bytes_asked_for_are_taken() {
        let (whole, part) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        for (status, range, length, asked) in [
            (part, Some("bytes 5-8/10"), Some(4), 5..9),
            (part, Some("bytes 5-8/*"), None, 5..9),
            (part, Some("bytes 0-9/10"), Some(10), 0..10),
            (whole, None, Some(10), 0..10),
            (whole, None, None, 0..10),
        ] {
            assert_eq!(answers(status, range, length, &asked), Ok(()), "{range:?}");
        }
        for (status, range, length, asked) in [
            (part, Some("bytes 5-8/10"), Some(5), 5..9),
            (part, Some("bytes 4-8/10"), Some(5), 5..9),
            (part, Some("bytes 5-7/8"), Some(3), 5..9),
            (part, Some("bytes 5-9/10"), Some(5), 5..9),
            (part, Some("bytes 8-5/10"), None, 5..9),
            (part, Some("nonsense"), Some(4), 5..9),
            (part, None, Some(4), 5..9),
            (whole, None, Some(10), 5..9),
            (whole, None, Some(9), 0..10),
            (whole, None, Some(11), 0..10),
        ] {
            assert!(answers(status, range, length, &asked).is_err(), "{range:?}");
        }
    }

    proptest! {
        #[test]
        fn any_content_range_is_the_one_that_was_asked_for_or_refused(
            first in prop_oneof![0..20_u64, any::<u64>()],
            last in prop_oneof![0..20_u64, any::<u64>()],
            around in ("(bytes )?", "[ -~]{0,2}", "(/[*0-9]{0,3})?"),
            claimed in proptest::option::of(0..20_u64),
        ) {
            let text = format!("{}{first}{}-{last}{}", around.0, around.1, around.2);
            let given = parse_content_range(&text);
            prop_assert!(given.as_ref().is_none_or(|range| range.start < range.end || range.end == u64::MAX));
            let asked = 5..9;
            if answers(StatusCode::PARTIAL_CONTENT, Some(&text), claimed, &asked).is_ok() {
                prop_assert_eq!(given, Some(asked));
                prop_assert!(claimed.is_none_or(|length| length == 4));
            }
        }
    }
}
