//! The connections to B2, and whose certificates they trust.
//!
//! Connections may go silent: after a suspend, or when a router has forgotten them, what is sent on them gets neither an
//! answer nor an error. So a request that may be made twice is made again, on another connection, when nothing has come
//! for a while; and when nothing at all has come meanwhile, all connections are given up for new ones. Requests under way
//! on the old ones end there.
//!
//! Callers: `http`.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect, retry};
use tokio::time::{Instant, sleep};

use super::http::chain;

/// An idle connection is closed before servers and home routers forget it.
const IDLE: Duration = Duration::from_secs(50);
/// 7,000 bytes of file info (API §5.3) make 466 headers at most; hyper stops at 100 by itself.
const MAX_HEADERS: usize = 512;

/// How connections are made.
#[derive(Debug)]
pub(super) struct Making {
    /// To this machine only: no proxy.
    pub(super) loopback: bool,
    /// How long it may take.
    pub(super) connect: Duration,
    /// Bytes that nobody acknowledges for so long break a connection.
    pub(super) stall: Duration,
    /// So many to one host are worth keeping.
    pub(super) kept: usize,
    /// Who is trusted; `None`: see [`roots`].
    pub(super) ca_file: Option<PathBuf>,
}

/// What a client can speak: who is trusted is read only where it matters, since that takes milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Plain,
    Tls,
}

impl Speech {
    fn of(url: &str) -> Self {
        if url.starts_with("http:") {
            Self::Plain
        } else {
            Self::Tls
        }
    }
}

impl Making {
    fn client(&self, speech: Speech) -> Result<Client, String> {
        let made = match speech {
            Speech::Plain => self.trusting(Some(Vec::new())),
            Speech::Tls => match roots(self.ca_file.as_deref())? {
                Some(roots) => self.trusting(Some(roots)),
                None => self.trusting(None).or_else(|error| {
                    // A bare container has no certificates; Mozilla's, compiled in, serve as well.
                    log::debug!("no TLS roots of the system: {}", chain(&error));
                    self.trusting(Some(bundled_roots()?))
                }),
            },
        };
        made.map_err(|error| chain(&error))
    }

    /// `roots`: `None` for those of the system.
    fn trusting(&self, roots: Option<Vec<Certificate>>) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("b2fuse/", env!("CARGO_PKG_VERSION")))
            // Backblaze offers no HTTP/2.
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .tcp_nodelay(true)
            .tcp_user_timeout(self.stall)
            .connect_timeout(self.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(self.kept);
        if self.loopback {
            builder = builder.no_proxy();
        }
        if let Some(roots) = roots {
            builder = builder.tls_certs_only(roots);
        }
        builder.build()
    }
}

/// Whom to trust: those in a file of PEM certificates, if one is named by an option or by `SSL_CERT_FILE`; else whom the
/// system trusts.
///
/// # Errors
///
/// The file cannot be read, or holds none: trusting others instead would be wider than was asked for.
fn roots(ca_file: Option<&Path>) -> Result<Option<Vec<Certificate>>, String> {
    let (named, path) = match (ca_file, std::env::var_os("SSL_CERT_FILE")) {
        (Some(path), _) => ("ca_file", path.to_owned()),
        (None, Some(path)) if !path.is_empty() => ("SSL_CERT_FILE", path.into()),
        _ => return Ok(None),
    };
    let fault = |what: String| format!("{named} {}: {what}", path.display());
    let pem = std::fs::read(&path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(chain(&error)))?;
    if certificates.is_empty() {
        return Err(fault("holds no certificate in PEM form".to_owned()));
    }
    Ok(Some(certificates))
}

fn bundled_roots() -> reqwest::Result<Vec<Certificate>> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect()
}

/// The connections of a client.
#[derive(Debug)]
pub(super) struct Connections {
    making: Making,
    current: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    /// Each as soon as it was needed.
    clients: Vec<(Speech, Client)>,
    made: Instant,
    /// When an answer has begun to come last.
    heard: Instant,
}

impl Pool {
    fn client(&self, wanted: Speech) -> Option<Client> {
        let mut clients = self.clients.iter();
        let found = clients.find(|(speech, _)| *speech == wanted);
        found.map(|(_, client)| client.clone())
    }
}

impl Connections {
    /// `endpoint`: where the first request goes.
    pub(super) fn new(making: Making, endpoint: &str) -> Result<Self, String> {
        let speech = Speech::of(endpoint);
        let client = making.client(speech)?;
        if speech == Speech::Plain && making.ca_file.is_some() {
            // What is wrong with it is said at once, although it may never be needed.
            roots(making.ca_file.as_deref())?;
        }
        let now = Instant::now();
        Ok(Self {
            making,
            current: Mutex::new(Pool {
                clients: vec![(speech, client)],
                made: now,
                heard: now,
            }),
        })
    }

    /// To begin a request to `url` with.
    pub(super) fn client(&self, url: &str) -> Result<Client, String> {
        let wanted = Speech::of(url);
        if let Some(client) = self.current.lock().client(wanted) {
            return Ok(client);
        }
        // Not under the lock, as in `give_up`: certificates may be read for it.
        let made = self.making.client(wanted)?;
        let mut current = self.current.lock();
        if let Some(client) = current.client(wanted) {
            return Ok(client);
        }
        current.clients.push((wanted, made.clone()));
        Ok(made)
    }

    /// An answer has begun to come.
    pub(super) fn heard(&self) {
        self.current.lock().heard = Instant::now();
    }

    /// All connections may be dead: later requests make new ones.
    pub(super) fn give_up(&self) {
        let spoken: Vec<Speech> = {
            let current = self.current.lock();
            current.clients.iter().map(|(speech, _)| *speech).collect()
        };
        let anew = spoken
            .into_iter()
            .map(|speech| Ok((speech, self.making.client(speech)?)));
        match anew.collect::<Result<_, String>>() {
            Ok(clients) => {
                let mut current = self.current.lock();
                current.clients = clients;
                current.made = Instant::now();
            }
            Err(error) => log::debug!("no new connections: {error}"),
        }
    }

    /// Sends a request that may be made twice: again when nothing has come for `patience`; the first answer counts.
    pub(super) async fn send_twice(
        &self,
        request: RequestBuilder,
        patience: Duration,
    ) -> reqwest::Result<Response> {
        let began = Instant::now();
        let Some(again) = request.try_clone() else {
            return request.send().await;
        };
        let mut first = pin!(request.send());
        tokio::select! {
            sent = &mut first => return sent,
            () = sleep(patience) => {}
        }
        let dead = {
            let current = self.current.lock();
            current.heard <= began && current.made <= began
        };
        if dead {
            log::debug!("nothing has come for {patience:.0?}: new connections");
            self.give_up();
        }
        let again = again.build_split().1?;
        let Ok(client) = self.client(again.url().as_str()) else {
            return first.await;
        };
        let second = client.execute(again);
        let mut second = pin!(second);
        tokio::select! {
            sent = &mut first => match sent {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    log::debug!("the first try has ended: {}", chain(&error));
                    second.await
                }
            },
            sent = &mut second => match sent {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_is_no_such_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("missing");
        let said = roots(Some(&missing)).expect_err("refused");
        assert!(said.starts_with("ca_file "), "{said}");
        assert!(said.contains("cannot be read: No such file"), "{said}");
        let other = dir.path().join("other");
        std::fs::write(&other, "nothing").expect("written");
        let said = roots(Some(&other)).expect_err("refused");
        assert!(said.contains("holds no certificate"), "{said}");
    }

    #[test]
    fn the_bundled_roots_make_a_client() {
        let roots = bundled_roots().expect("certificates");
        assert!(roots.len() > 50);
        let client = reqwest::Client::builder().tls_certs_only(roots).build();
        assert!(client.is_ok());
    }
}
