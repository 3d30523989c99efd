//! One HTTP exchange: who may be spoken to, how long for, and what went wrong with it.
//!
//! Nothing is tried twice here, but what may be asked twice goes on another connection when one is
//! silent (`connections`). One reqwest client serves all requests, without timeouts of its own: its `read_timeout` counts from the start of a request and would kill any long upload, so
//! each wait is bounded where it happens. Redirects are refused, as B2 never sends any (API §1),
//! and bodies are not decompressed: stored bytes are wanted as they are (API §7).
//!
//! Callers: `calls` (JSON), `upload`, `download`, `auth`.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, Url};
use tokio::time::{Instant, timeout};

use super::connections::{Connections, Making};
use super::date::ServerDate;
use super::redact::clean;
use super::retry::{FailedTry, Refusal};
use super::wire::ErrorBody;

/// How long a single wait of a try may be; all shrink with a short time limit of the call, so
/// that a second try fits in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// The whole of a call, since its last progress.
    pub(super) call: Duration,
    connect: Duration,
    /// For the head of an ordinary answer.
    pub(super) answer: Duration,
    /// For an answer that takes B2 long: copying, finishing, storing what was sent.
    pub(super) long_answer: Duration,
    /// Without a byte accepted or received.
    pub(super) stall: Duration,
    /// For the first byte of an answer, before another connection is tried.
    first_byte: Duration,
}

impl Waits {
    pub(super) fn new(call: Duration) -> Self {
        Self {
            call,
            connect: Duration::from_secs(10).min(call / 2),
            answer: Duration::from_secs(60).min(call / 2),
            // Leaves a quarter to find out what became of a call whose answer did not come.
            long_answer: call.mul_f64(0.75),
            stall: Duration::from_secs(30).min(call / 2),
            first_byte: Duration::from_secs(5).min(call / 4),
        }
    }
}

/// Error bodies are a line; more is not worth reading.
const MAX_ERROR_BODY: usize = 64 << 10;
/// An answer without rows; that of `b2_authorize_account` or `b2_list_buckets` may name many buckets.
const MAX_JSON: usize = 4 << 20;
/// A row with the longest name and info, in the longest way to write them.
const MAX_ROW: usize = 16 << 10;
/// Bytes that a body has to bring in a second, as a whole over a stall limit.
const LEAST_RATE: u64 = 1 << 10;

/// The connections.
#[derive(Debug)]
pub(super) struct Http {
    connections: Connections,
    realm: Realm,
    pub(super) waits: Waits,
    date: ServerDate,
}

impl Http {
    /// `transfers`: how many connections to one host are worth keeping. `ca_file`: whom to trust, instead of whom the
    /// system trusts.
    pub(super) fn new(
        realm: Realm,
        waits: Waits,
        transfers: usize,
        ca_file: Option<&Path>,
    ) -> Result<Self, FailedTry> {
        let making = Making {
            loopback: realm.loopback,
            connect: waits.connect,
            stall: waits.stall,
            kept: transfers + 4,
            ca_file: ca_file.map(Path::to_owned),
        };
        let connections = Connections::new(making, &realm.endpoint).map_err(FailedTry::Nonsense)?;
        Ok(Self {
            connections,
            realm,
            waits,
            date: ServerDate::default(),
        })
    }

    /// Where the account is authorized.
    pub(super) fn authorize_url(&self) -> String {
        self.realm.authorize_url()
    }

    /// Begins a request that asks for something.
    pub(super) fn get(&self, url: impl AsRef<str>) -> Result<RequestBuilder, FailedTry> {
        let client = self.connections.client(url.as_ref());
        Ok(client.map_err(FailedTry::Nonsense)?.get(url.as_ref()))
    }

    /// Begins a request that brings something.
    pub(super) fn post(&self, url: impl AsRef<str>) -> Result<RequestBuilder, FailedTry> {
        let client = self.connections.client(url.as_ref());
        Ok(client.map_err(FailedTry::Nonsense)?.post(url.as_ref()))
    }

    /// The machine has slept, or something else has made all connections doubtful.
    pub(super) fn give_up_connections(&self) {
        self.connections.give_up();
    }

    /// A URL that B2 has handed out, if it may be used.
    pub(super) fn url(&self, url: &str) -> Result<Url, FailedTry> {
        self.realm.check(url).map_err(FailedTry::Nonsense)
    }

    /// Sends and waits for the head of the answer; anything but success is a failure.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Response, FailedTry> {
        match timeout(limit, request.send()).await {
            Ok(sent) => self.head(sent).await,
            Err(_) => Err(no_answer(limit)),
        }
    }

    /// The same for a request that may be made twice: it is, where nothing comes for a while.
    pub(super) async fn send_twice(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Response, FailedTry> {
        let patience = self.waits.first_byte;
        let sent = Box::pin(self.connections.send_twice(request, patience));
        match timeout(limit, sent).await {
            Ok(sent) => self.head(sent).await,
            Err(_) => Err(no_answer(limit)),
        }
    }

    /// B2's clock, as the last answer told it.
    pub(super) fn date(&self) -> Option<u64> {
        self.date.now_ms()
    }

    /// Judges what `send` of a request has given.
    pub(super) async fn head(
        &self,
        sent: reqwest::Result<Response>,
    ) -> Result<Response, FailedTry> {
        let response = sent.map_err(|error| network(&error))?;
        self.connections.heard();
        self.date.note(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        let mut refusal = Refusal {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
            ..Refusal::default()
        };
        let body = match self.body(response, MAX_ERROR_BODY).await {
            Ok(body) => body,
            // Which of B2's refusals it is stands in the text.
            Err(FailedTry::Network { .. }) if refusal.status / 100 == 4 => {
                return Err(FailedTry::Network {
                    sent: true,
                    detail: format!("B2 answered {}, the rest was lost", refusal.status),
                });
            }
            // Without a readable body the status has to do.
            Err(_) => Bytes::new(),
        };
        if let Ok(body) = serde_json::from_slice::<ErrorBody>(&body) {
            refusal.code = clean(&body.code.unwrap_or_default());
            refusal.message = clean(&body.message.unwrap_or_default());
        }
        Err(FailedTry::Refused(refusal))
    }

    /// The JSON of a successful answer, of so many rows at most.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        response: Response,
        rows: usize,
    ) -> Result<T, FailedTry> {
        let body = self.body(response, MAX_JSON + rows * MAX_ROW).await?;
        serde_json::from_slice(&body).map_err(|error| {
            // The text may quote the answer.
            let error = clean(&error.to_string());
            FailedTry::Garbled(format!("the answer is not as documented: {error}"))
        })
    }

    async fn body(&self, mut response: Response, most: usize) -> Result<Bytes, FailedTry> {
        let mut whole = BytesMut::new();
        let mut first = Bytes::new();
        let mut rate = Rate::new(self.waits.stall);
        loop {
            let began = Instant::now();
            let chunk = match timeout(self.waits.stall, response.chunk()).await {
                Ok(chunk) => chunk.map_err(|error| network(&error))?,
                Err(_) => return Err(stalled("the answer", self.waits.stall)),
            };
            let bytes = chunk.as_ref().map_or(0, Bytes::len);
            if chunk.is_some() && rate.came(bytes as u64, began.elapsed()) == Pace::TooSlow {
                return Err(too_slow("the answer", self.waits.stall));
            }
            match chunk {
                // Nearly every answer comes as one chunk, which needs no joining.
                Some(chunk) if first.is_empty() && whole.is_empty() => first = chunk,
                Some(chunk) => {
                    if whole.is_empty() {
                        whole.extend_from_slice(&first);
                    }
                    if whole.len() + chunk.len() > most {
                        return Err(FailedTry::Garbled(format!("an answer beyond {most} bytes")));
                    }
                    whole.extend_from_slice(&chunk);
                }
                None if whole.is_empty() => return Ok(first),
                None => return Ok(whole.freeze()),
            }
        }
    }
}

/// Whether a body comes fast enough to go on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    TooSlow,
}

/// How fast a body comes, while somebody waits for it.
#[derive(Debug)]
pub(super) struct Rate {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Rate {
    /// Looks at windows of this length; shorter ones than a second say nothing.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// So many bytes came after a wait.
    pub(super) fn came(&mut self, bytes: u64, waited: Duration) -> Pace {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return Pace::Fine;
        }
        let pace = if fast_enough(self.bytes, self.waited) {
            Pace::Fine
        } else {
            Pace::TooSlow
        };
        *self = Self::new(self.window);
        pace
    }
}

/// Whether so much in that time is the least that a body has to bring.
pub(super) fn fast_enough(bytes: u64, time: Duration) -> bool {
    bytes >= time.mul_f64(LEAST_RATE as f64).as_secs()
}

/// A transfer crept.
pub(super) fn too_slow(what: &str, window: Duration) -> FailedTry {
    FailedTry::Network {
        sent: true,
        detail: format!("{what} brought less than {LEAST_RATE} bytes a second for {window:.0?}"),
    }
}

/// Whom the endpoint lets us speak to: HTTPS with anyone, plain HTTP with this machine only,
/// and that only where the endpoint itself is plain.
#[derive(Debug, Clone)]
pub(super) struct Realm {
    endpoint: String,
    plain: bool,
    loopback: bool,
}

impl Realm {
    /// Takes the `endpoint` option; the error says what is wrong with it.
    pub(super) fn new(endpoint: &str) -> Result<Self, String> {
        let url = Url::parse(endpoint).map_err(|error| format!("not a URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user or password is refused".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a URL with a query is refused".to_owned());
        }
        let realm = Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            plain: url.scheme() == "http",
            loopback: is_loopback(&url),
        };
        realm.check(endpoint)?;
        Ok(realm)
    }

    pub(super) fn authorize_url(&self) -> String {
        format!("{}/b2api/v4/b2_authorize_account", self.endpoint)
    }

    /// The error names the host at most: the rest of an upload URL is a capability.
    fn check(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.plain && is_loopback(&url) => Ok(url),
            "http" => Err(format!(
                "plain http to {host:?} is refused: it would show the key to the network"
            )),
            other => Err(format!("the scheme {other:?} is not https")),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    // `url::Host` is not exported by reqwest; its text is normalised.
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `Retry-After` in seconds; its date form is not used by B2 (API §12).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// A header that never shows in debug output.
pub(super) fn secret_header(text: &str) -> Result<HeaderValue, FailedTry> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| FailedTry::Nonsense("a token that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What reqwest reports, without the URL, whose query may be secret.
pub(super) fn network(error: &reqwest::Error) -> FailedTry {
    FailedTry::Network {
        sent: !error.is_connect() && !error.is_builder(),
        detail: chain(error),
    }
}

/// The answer did not come in time.
pub(super) fn no_answer(limit: Duration) -> FailedTry {
    FailedTry::Network {
        sent: true,
        detail: format!("no answer within {limit:.0?}"),
    }
}

/// A transfer stood still.
pub(super) fn stalled(what: &str, limit: Duration) -> FailedTry {
    FailedTry::Network {
        sent: true,
        detail: format!("{what} stood still for {limit:.0?}"),
    }
}

/// An error and its causes in one line; reqwest shows the URL only in its own, outermost line.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "cannot connect".to_owned()
    } else if error.is_body() || error.is_decode() {
        "the connection broke".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::{Pace, Rate, Realm, Waits, retry_after};

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "https://api.backblazeb2.com",
            "https://10.0.0.1:8443/",
            "http://127.0.0.1:1",
            "http://127.9.9.9:80/x",
            "http://[::1]:9000",
            "http://localhost:9000/",
        ] {
            assert!(Realm::new(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.backblazeb2.com",
            "http://10.0.0.1",
            "http://localhost.example.org",
            "http://[::2]",
            "ftp://localhost",
            "https://user:pw@localhost",
            "https://localhost/?Authorization=x",
            "localhost",
            "",
        ] {
            assert!(Realm::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_encrypted_realm_cannot_send_us_to_a_plain_url() {
        let realm = Realm::new("https://api.backblazeb2.com").expect("a realm");
        assert!(realm.check("https://pod-000.backblaze.com/b2api").is_ok());
        assert!(realm.check("http://127.0.0.1:9/b2api").is_err());
        let error = realm
            .check("http://pod/b2api/secret?x=secret")
            .expect_err("plain");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn the_realm_takes_a_closing_slash() {
        let realm = Realm::new("http://127.0.0.1:5/").expect("a realm");
        assert_eq!(
            realm.authorize_url(),
            "http://127.0.0.1:5/b2api/v4/b2_authorize_account"
        );
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015"));
        assert_eq!(retry_after(&headers), None);
    }

    #[test]
    fn a_byte_now_and_then_is_no_answer() {
        let second = Duration::from_secs(1);
        let slowest = |bytes: u64| {
            let mut rate = Rate::new(30 * second);
            (0..1000).find(|_| rate.came(bytes, second / 2) == Pace::TooSlow)
        };
        assert_eq!(slowest(1), Some(59));
        assert_eq!(slowest(400), Some(59));
        assert_eq!(slowest(600), None);
        // Who reads slowly himself does not wait.
        let mut rate = Rate::new(30 * second);
        assert!((0..1000).all(|_| rate.came(1, Duration::ZERO) == Pace::Fine));
    }

    #[test]
    fn every_wait_leaves_room_for_another_try() {
        for seconds in [1, 30, 120, 1000] {
            let call = Duration::from_secs(seconds);
            let waits = Waits::new(call);
            for wait in [waits.connect, waits.answer, waits.stall, waits.long_answer] {
                assert!(wait < call);
            }
        }
    }
}
