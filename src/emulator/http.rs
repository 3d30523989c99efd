//! From connections to requests and back: routing, latency, faults, the form of answers (API §1).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::calls::{CALLS, Call, Role, serve};
use super::content::Reader;
use super::error::{ApiError, Failure, Result};
use super::faults::Fault;
use super::keys::Key;
use super::rules;
use super::shared::Shared;
use super::version::Viewer;
use super::wire::{Line, Wire};

/// A refused request's body is read up to here, so that a client which sends before it listens gets its answer.
const DRAINED: u64 = 64 << 20;
/// A JSON body longer than this is no call of B2's.
const JSON_LIMIT: usize = 8 << 20;

/// A request whose head has been read.
pub(super) struct Request {
    pub(super) shared: Arc<Shared>,
    pub(super) call: &'static Call,
    pub(super) version: u8,
    /// The path after the call, still encoded.
    pub(super) rest: String,
    pub(super) query: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Incoming>,
    pub(super) fault: Option<Fault>,
    pub(super) line: Arc<Line>,
    key: Option<Arc<Key>>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    pub(super) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Admits the account token of the header.
    pub(super) fn authorize(&mut self) -> Result<()> {
        let token = self.authorization().unwrap_or_default();
        self.key = Some(self.shared.tokens.account(token)?);
        Ok(())
    }

    pub(super) fn admit(&mut self, key: Arc<Key>) {
        self.key = Some(key);
    }

    pub(super) fn key(&self) -> Result<&Arc<Key>> {
        self.key.as_ref().ok_or_else(ApiError::unauthorized)
    }

    /// Whether the caller's key may do it, see [`Key::check`].
    pub(super) fn check(
        &self,
        capability: &str,
        bucket: Option<&str>,
        name: Option<&str>,
    ) -> Result<()> {
        self.key()?.check(capability, bucket, name)
    }

    pub(super) fn viewer(&self) -> Viewer {
        match &self.key {
            Some(key) => key.viewer(&self.shared.account_id, self.version),
            None => Viewer {
                account: self.shared.account_id.clone(),
                reads_retentions: false,
                reads_holds: false,
                v1: self.version == 1,
            },
        }
    }

    pub(super) fn check_name(&self, name: &str) -> Result<()> {
        if self.shared.faults.switches().old_names {
            rules::check_old_name(name)?;
        }
        rules::check_name(name)
    }

    /// A stamp of the client's choice, where the account has that feature (API §5.2).
    pub(super) fn custom_stamp(&self, given: Option<&str>) -> Result<Option<u64>> {
        let Some(given) = given else {
            return Ok(None);
        };
        if !self.shared.faults.switches().custom_timestamps {
            return Err(ApiError::new(
                400,
                "custom_timestamp_not_allowed",
                "Custom upload timestamps are not enabled for this account",
            ));
        }
        given
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request("The upload timestamp must be a number"))
    }

    pub(super) async fn read_json_body(&mut self) -> std::result::Result<Bytes, Failure> {
        let Some(mut body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Cut)?;
            if let Some(data) = frame.data_ref() {
                all.extend_from_slice(data);
            }
            if all.len() > JSON_LIMIT {
                return Err(ApiError::bad_json("The request body is too long").into());
            }
        }
        Ok(all.into())
    }

    async fn drain(&mut self, limit: u64) {
        let Some(body) = &mut self.body else {
            return;
        };
        let mut read = 0;
        while read < limit {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
                _ => return,
            }
        }
    }

    fn declared_length(&self) -> u64 {
        self.body
            .as_ref()
            .and_then(|body| body.size_hint().upper())
            .unwrap_or(0)
    }
}

/// An answer's body.
#[derive(Debug)]
pub(super) enum Body {
    Full(Bytes),
    Content(Box<Outgoing>),
}

/// Content on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) reader: Reader,
    pub(super) left: u64,
    /// Ends with an error when so many bytes are left, if set.
    pub(super) cut_at: Option<u64>,
    pub(super) corrupt: bool,
    pub(super) shared: Arc<Shared>,
}

impl Outgoing {
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
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Ok(None),
            Self::Full(bytes) => Ok(Some(std::mem::take(bytes))),
            // Reads of files block for as long as the page cache needs.
            Self::Content(outgoing) => outgoing.next(),
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

/// An answer.
pub(super) struct Reply(pub(super) Response<Body>);

impl Reply {
    pub(super) fn json(body: impl Into<Bytes>) -> Self {
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

    pub(super) fn error(error: &ApiError, authorize: bool, head: bool) -> Self {
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

    fn html(status: u16) -> Self {
        let body = format!("<html><body><h1>{status} Bad Gateway</h1></body></html>");
        Self::text(status, "text/html", body)
    }
}

/// Accepts connections until the runtime ends.
pub(super) async fn listen(listener: TcpListener, role: Role, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait for connections to end.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        shared.meter.connection();
        let _ = stream.set_nodelay(true); // without it answers are late, not wrong
        let line = Arc::new(Line::default());
        let wire = Wire::new(stream, line.clone(), shared.bandwidth);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| handle(shared.clone(), role, line.clone(), request));
            // How a connection ends is the client's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(wire), service)
                .await;
        });
    }
}

fn route(role: Role, method: &Method, path: &str) -> Result<(u8, &'static Call, String)> {
    let unknown = || ApiError::not_found(format!("Unknown path: {path}"));
    let (version, name, rest) = if let Some(rest) = path.strip_prefix("/file/") {
        (4, "b2_download_file_by_name", rest)
    } else {
        let rest = path.strip_prefix("/b2api/v").ok_or_else(unknown)?;
        let (version, rest) = rest.split_once('/').ok_or_else(unknown)?;
        let version = version.parse().map_err(|_| unknown())?;
        if !(1..=4).contains(&version) {
            return Err(unknown());
        }
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        (version, name, rest)
    };
    // The api host serves downloads too: the official SDK sends its HEAD there.
    let served = |call: Role| call == role || (call == Role::Download && role == Role::Api);
    let call = CALLS
        .iter()
        .find(|call| call.name == name && served(call.role))
        .ok_or_else(unknown)?;
    let fits = match call.role {
        Role::Pod => method == Method::POST,
        Role::Api => method == Method::POST || method == Method::GET,
        Role::Download => matches!(*method, Method::POST | Method::GET | Method::HEAD),
    };
    if !fits {
        let text = format!("{method} is not allowed");
        return Err(ApiError::new(405, "method_not_allowed", text));
    }
    Ok((version, call, rest.to_owned()))
}

async fn handle(
    shared: Arc<Shared>,
    role: Role,
    line: Arc<Line>,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if role == Role::Api && path.starts_with("/emulator/") {
        return Ok(super::control::answer(&shared, &head.method, path, body)
            .await
            .0);
    }
    let is_head = head.method == Method::HEAD;
    let routed = match route(role, &head.method, path) {
        Ok(routed) => routed,
        Err(error) => {
            shared.meter.answered(error.status);
            return Ok(Reply::error(&error, false, is_head).0);
        }
    };
    let (version, call, rest) = routed;
    let _running = shared.meter.begin(call.name, call.class);
    let mut request = Request {
        shared: shared.clone(),
        call,
        version,
        rest,
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        headers: head.headers,
        body: Some(body),
        fault: None,
        line: line.clone(),
        key: None,
    };
    let outcome = answer(&mut request).await;
    if matches!(outcome, Err(Failure::Api(_) | Failure::Html(_))) {
        request.drain(DRAINED).await;
    }
    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    let authorize = call.name == "b2_authorize_account";
    let reply = match outcome {
        Ok(reply) => reply,
        Err(Failure::Api(error)) => Reply::error(&error, authorize, is_head),
        Err(Failure::Html(status)) => Reply::html(status),
        Err(Failure::Cut) => {
            shared.meter.answered(0);
            line.reset();
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
    };
    shared.meter.answered(reply.0.status().as_u16());
    Ok(reply.0)
}

/// Serves the request, or has a fault strike it.
async fn answer(request: &mut Request) -> std::result::Result<Reply, Failure> {
    let shared = request.shared.clone();
    request.fault = test_mode(request).or_else(|| shared.faults.draw(request.call.name));
    if request.fault.is_some() {
        shared.meter.fault();
    }
    match &request.fault {
        Some(Fault::Reset) => return Err(Failure::Cut),
        Some(Fault::ResetMid) if request.call.role != Role::Download => {
            let half = request.declared_length() / 2;
            request.drain(half.max(1)).await;
            return Err(Failure::Cut);
        }
        Some(Fault::Html(status)) => return Err(Failure::Html(*status)),
        Some(Fault::Stall(time)) => tokio::time::sleep(*time).await,
        Some(fault) => {
            if let Some(error) = fault.error() {
                if *fault == Fault::ExpireToken {
                    shared
                        .tokens
                        .expire(request.authorization().unwrap_or_default());
                }
                return Err(error.into());
            }
        }
        None => {}
    }
    let reply = serve(request).await?;
    if request.fault == Some(Fault::LostReply) {
        return Err(Failure::Cut);
    }
    Ok(reply)
}

/// `X-Bz-Test-Mode` (API §5.2).
fn test_mode(request: &Request) -> Option<Fault> {
    let upload = request.call.role == Role::Pod;
    let authorize = request.call.name == "b2_authorize_account";
    match request.header("x-bz-test-mode")? {
        "fail_some_uploads" if upload && fastrand::u8(0..4) == 0 => {
            Some(Fault::Status(503, "service_unavailable", None))
        }
        "expire_some_account_authorization_tokens"
            if !upload && !authorize && fastrand::u8(0..8) == 0 =>
        {
            Some(Fault::ExpireToken)
        }
        "force_cap_exceeded" if !authorize => Some(Fault::Status(403, "cap_exceeded", None)),
        _ => None,
    }
}
