//! From connections to requests and back: routing, latency, faults (API §1).

pub(super) mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::emulator::account::keys::Key;
use crate::emulator::account::version::Viewer;
use crate::emulator::control;
use crate::emulator::dispatch::{CALLS, Call, Role, serve};
use crate::emulator::error::{ApiError, Failure, Result};
use crate::emulator::exchange::reply::{Body, Reply};
use crate::emulator::http::wire::{Line, Wire};
use crate::emulator::rules;
use crate::emulator::shared::Shared;
use crate::emulator::shared::faults::{Fault, NameRules};

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
        if self.shared.faults.switches().names == NameRules::Former {
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

/// Accepts connections until the runtime ends.
pub(super) async fn listen(listener: TcpListener, role: Role, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait for connections to end.
            tokio::time::sleep(Duration::from_millis(20)).await;
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
        return Ok(control::answer(&shared, &head.method, path, body).await.0);
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
        Some(Fault::Stall(time)) => {
            let _held = shared.held.hold(request.call.name, "stall");
            tokio::time::sleep(*time).await;
        }
        Some(Fault::Hang) => {
            let _held = shared.held.hold(request.call.name, "hang");
            // Once the body is read, the end of the connection is noticed, and drops this.
            request.drain(u64::MAX).await;
            return std::future::pending().await;
        }
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
    if let Some(Fault::Late(pause)) = request.fault {
        let _held = shared.held.hold(request.call.name, "late");
        tokio::time::sleep(pause).await;
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
