//! From connections to requests and back (API §1).

mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::wire::Wire;
use crate::emulator::control;
use crate::emulator::dispatch::{self, route};
use crate::emulator::error::Failure;
use crate::emulator::exchange::reply::{Body, Reply};
use crate::emulator::exchange::request::{Line, Request};
use crate::emulator::shared::Shared;
use crate::emulator::shared::call::{Call, Role};

/// A refused request's body is read up to here, so that a client which sends before it listens gets its answer.
const DRAINED: u64 = 64 << 20;

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

async fn handle(
    shared: Arc<Shared>,
    role: Role,
    line: Arc<Line>,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if role == Role::Api && path.starts_with("/emulator/") {
        return Ok(control::answer(&shared, &head, body).await.0);
    }
    let is_head = head.method == Method::HEAD;
    let route = match route::find(role, &head.method, path) {
        Ok(route) => route,
        Err(error) => {
            shared.meter.answered(error.status);
            return Ok(Reply::error(&error, false, is_head).0);
        }
    };
    let call = route.call;
    let _running = shared.meter.begin(call);
    let mut request = Request::new(shared.clone(), route, head, body, line.clone());
    let switches = shared.faults.switches();
    let taken = shared.load.begin(&switches, Instant::now());
    let outcome = match &taken {
        Ok(_) => dispatch::answer(&mut request).await,
        Err(refused) => Err(Failure::Api(refused.clone())),
    };
    let early = switches.early_refusals && call.role() == Role::Pod;
    // Reading the body would ask for it with a `100 Continue`.
    let asks_first = request.header("expect").is_some();
    if !early && !asks_first && matches!(outcome, Err(Failure::Api(_) | Failure::Html(_))) {
        request.drain(DRAINED).await;
    }
    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    let authorize = call == Call::AuthorizeAccount;
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
