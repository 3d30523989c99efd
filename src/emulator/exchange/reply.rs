//! Answers: JSON, errors in the service's form, and content that is streamed (API §1).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::time::Sleep;

use crate::emulator::content::Reader;
use crate::emulator::error::{ApiError, Result};
use crate::emulator::shared::Shared;

/// An answer's body.
#[derive(Debug)]
pub(in crate::emulator) enum Body {
    Full(Bytes),
    Content(Box<Outgoing>),
}

/// Content on its way out.
#[derive(Debug)]
pub(in crate::emulator) struct Outgoing {
    pub(in crate::emulator) reader: Reader,
    pub(in crate::emulator) left: u64,
    /// Ends with an error when so many bytes are left, if set.
    pub(in crate::emulator) cut_at: Option<u64>,
    pub(in crate::emulator) corrupt: bool,
    pub(in crate::emulator) pause: Option<Pause>,
    pub(in crate::emulator) shared: Arc<Shared>,
}

/// Nothing is sent for a while once so many bytes are left.
#[derive(Debug)]
pub(in crate::emulator) struct Pause {
    pub(in crate::emulator) at: u64,
    pub(in crate::emulator) time: Duration,
    pub(in crate::emulator) sleep: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause
            && self.left <= pause.at
        {
            let sleep = pause
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause.time)));
            ready!(sleep.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(mut bytes) = self.reader.next()? else {
            return Ok(None);
        };
        if let Some(cut_at) = self.cut_at {
            let most = self.left.saturating_sub(cut_at);
            if most == 0 {
                return Err(io::Error::other("cut on purpose"));
            }
            bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        if self.corrupt && !bytes.is_empty() {
            self.corrupt = false;
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            bytes = wrong.into();
        }
        self.left -= bytes.len() as u64;
        self.shared.meter.sent(bytes.len() as u64);
        Ok(Some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Ok(None),
            Self::Full(bytes) => Ok(Some(std::mem::take(bytes))),
            // Reads of files block for as long as the page cache needs.
            Self::Content(outgoing) => {
                ready!(outgoing.poll_pause(cx));
                outgoing.next()
            }
        };
        Poll::Ready(next.transpose().map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Content(outgoing) => outgoing.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.len() as u64,
            Self::Content(outgoing) => outgoing.left,
        })
    }
}

/// A reply in JSON, keys in the order of the struct, which is alphabetical.
pub(in crate::emulator) fn json(reply: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(reply)
        .map(Bytes::from)
        .map_err(|error| ApiError::internal(&std::io::Error::other(error)))
}

/// An answer.
pub(in crate::emulator) struct Reply(pub(in crate::emulator) Response<Body>);

impl Reply {
    pub(in crate::emulator) fn json(body: impl Into<Bytes>) -> Self {
        Self::text(200, "application/json;charset=UTF-8", body)
    }

    fn text(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Body::Full(body.into()));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("max-age=0, no-cache, no-store"),
        );
        Self(response)
    }

    pub(in crate::emulator) fn error(error: &ApiError, authorize: bool, head: bool) -> Self {
        let body = if head { String::new() } else { error.json() };
        let mut reply = Self::text(error.status, "application/json;charset=utf-8", body);
        let headers = reply.0.headers_mut();
        if error.status == 400 {
            headers.insert(CONNECTION, HeaderValue::from_static("close")); // API §1
        }
        if let Some(seconds) = error.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if authorize && error.status == 401 {
            headers.insert(
                "www-authenticate",
                HeaderValue::from_static("BASIC realm=\"authorize_account\""),
            );
        }
        reply
    }

    pub(in crate::emulator) fn html(status: u16) -> Self {
        let body = format!("<html><body><h1>{status} Bad Gateway</h1></body></html>");
        Self::text(status, "text/html", body)
    }
}
