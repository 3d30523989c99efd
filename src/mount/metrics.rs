//! What is read of a mount over HTTP: `/metrics` (Prometheus' text) and `/healthz` for monitoring, and `/`, a page for
//! people.
//!
//! To monitoring numbers only, no path but that of the mountpoint; the page shows names of files and needs a token. All is
//! served until the process ends, also while the end of the mount goes on. Nothing that comes over these connections can
//! hold anything up: each has a time, and few are served at once.
//!
//! Rooms: `text` (Prometheus' words), `page` (the page, and who gets it), `recent` (what has moved lately).

mod page;
mod recent;
mod text;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::page::{State, Token};
use self::recent::{Recent, Totals};
use self::text::{Moment, Subject};
use super::control::Control;
use super::messages;
use crate::b2::Client;
use crate::vfs::Vfs;

/// Connections served at once; others wait.
const AT_ONCE: usize = 8;
/// What a connection may take in all.
const LIMIT: Duration = Duration::from_secs(30);

/// An address that is listened to, before there is anything to tell.
pub(super) struct Metrics {
    listener: TcpListener,
    token: Token,
}

struct Source {
    subject: Subject,
    client: Client,
    vfs: Vfs,
    control: Control,
    token: Token,
    recent: Mutex<Recent>,
}

impl Metrics {
    /// Fails where somebody else listens there. The page gets an address that nobody can guess.
    pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("metrics: cannot listen at {address}"))?;
        if !address.ip().is_loopback() {
            log::warn!("metrics: whoever reaches {address} can read the numbers of this mount");
        }
        Ok(Self {
            listener,
            token: Token::new()?,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the page for people is, its token included: not for the log.
    pub(super) fn page(&self) -> Option<String> {
        Some(self.token.address(self.address().ok()?))
    }

    /// Answers from now on.
    pub(super) fn serve(
        self,
        control: Control,
        client: Client,
        vfs: Vfs,
        (bucket, mountpoint): (&str, &str),
    ) {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let source = Arc::new(Source {
            subject: Subject {
                bucket: bucket.to_owned(),
                mountpoint: mountpoint.to_owned(),
                started: started.unwrap_or_default().as_secs_f64(),
            },
            client,
            vfs,
            control,
            token: self.token,
            recent: Mutex::new(Recent::new()),
        });
        tokio::spawn(look(Arc::clone(&source)));
        tokio::spawn(listen(self.listener, source));
    }
}

/// Takes down what has moved, for as long as the mount lives.
async fn look(source: Arc<Source>) {
    let mut looks = tokio::time::interval(recent::EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let totals = Totals::of(&source.client.counters());
        source.recent.lock().note(totals);
    }
}

async fn listen(listener: TcpListener, source: Arc<Source>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait for connections to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let _place = place;
            let Ok(reached) = stream.local_addr() else {
                return;
            };
            let service = service_fn(|request| {
                let source = Arc::clone(&source);
                async move { Ok::<_, Infallible>(answer(&source, &request, reached.ip()).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LIMIT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the client's business.
            let _ = tokio::time::timeout(LIMIT, connection).await;
        });
    }
}

/// `reached`: the own address that the connection came to.
async fn answer(
    source: &Source,
    request: &Request<Incoming>,
    reached: IpAddr,
) -> Response<Full<Bytes>> {
    const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
    const PLAIN: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "GET only\n".to_owned(),
        );
    }
    match request.uri().path() {
        "/metrics" => {
            let (stats, times) = (source.vfs.stats(), source.client.call_times());
            let moment = Moment {
                stats: &stats,
                times: &times,
                trouble: source.client.trouble(),
                process: process(),
            };
            plain(
                StatusCode::OK,
                PROMETHEUS,
                text::text(&source.subject, &moment),
            )
        }
        "/healthz" => match text::health(&source.vfs.stats(), source.client.trouble()) {
            Ok(()) => plain(StatusCode::OK, PLAIN, "ok\n".to_owned()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
        path @ ("/" | "/state") => {
            let query = request.uri().query();
            if let Some(why) = page::refusal(&source.token, request.headers(), query, reached) {
                return plain(StatusCode::FORBIDDEN, PLAIN, why.to_owned());
            }
            let shown = match path {
                "/" => the_page(),
                _ => state(source).await,
            };
            shown.unwrap_or_else(|error| {
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    PLAIN,
                    format!("{error}\n"),
                )
            })
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            PLAIN,
            "there is /metrics and /healthz, and / for people\n".to_owned(),
        ),
    }
}

fn the_page() -> anyhow::Result<Response<Full<Bytes>>> {
    let (text, policy) = page::page()?;
    let mut response = private("text/html; charset=utf-8", text);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_str(&policy)?,
    );
    Ok(response)
}

/// What the page shows, as JSON.
async fn state(source: &Source) -> anyhow::Result<Response<Full<Bytes>>> {
    let status = source.control.status(page::FILES).await;
    let stats = source.vfs.stats();
    let text = serde_json::to_string(&State {
        status,
        recent: &source.recent.lock(),
        trouble: text::health(&stats, source.client.trouble()).err(),
        resident: process().map(|(resident, _)| resident),
        log: messages::last(),
    })?;
    Ok(private("application/json", text))
}

/// An answer that nobody but the one who asked should see.
fn private(kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, kind, text);
    for (name, value) in page::PRIVATE {
        let _: Option<HeaderValue> = response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn plain(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Resident memory in bytes, and seconds of processor time (proc(5)).
fn process() -> Option<(u64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    let taken = seconds(usage.user_time()) + seconds(usage.system_time());
    Some((kibibytes << 10, taken))
}
