//! The page for people at `/`, and the numbers it shows.
//!
//! It shows names of files, so it is given only to whoever knows its token, which `b2fuse status` tells, and only under a
//! name that nobody else can make a browser use for this machine: a page of a stranger whose name is made to lead here
//! (DNS rebinding) is refused by its `Host`. It changes nothing.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::header::{self, HeaderMap, HeaderName};
use serde::Serialize;

use super::recent::Recent;
use crate::mount::control::Status;

/// The page, complete: styles and script are in it, nothing is fetched from elsewhere.
const PAGE: &str = include_str!("page.html");
/// Stands in it for what its script and style are allowed by.
const NONCE: &str = "{{nonce}}";
/// Files that are named.
pub(super) const FILES: usize = 50;

/// The token in the page's address.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    /// A new one, which nobody can guess. Fails where the system has no random bytes.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(random()?))
    }

    /// Where the page is, for a listener at this address.
    pub(super) fn address(&self, listener: SocketAddr) -> String {
        let ip = match listener.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip => ip,
        };
        let place = SocketAddr::new(ip, listener.port());
        format!("http://{place}/?token={}", self.0)
    }

    /// Whether the query of an address names it.
    fn is_in(&self, query: Option<&str>) -> bool {
        let given = query
            .unwrap_or_default()
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="));
        given.is_some_and(|given| {
            verify_slices_are_equal(given.as_bytes(), self.0.as_bytes()).is_ok()
        })
    }
}

/// What the page shows.
#[derive(Debug, Serialize)]
pub(super) struct State<'a> {
    pub(super) status: Status,
    pub(super) recent: &'a Recent,
    /// Why it is not healthy.
    pub(super) trouble: Option<String>,
    /// Bytes of memory that the process has.
    pub(super) resident: Option<u64>,
    /// The last messages, the oldest first.
    pub(super) log: Vec<String>,
}

/// Why the page is not given to somebody; `None` if it is.
pub(super) fn refusal(
    token: &Token,
    headers: &HeaderMap,
    query: Option<&str>,
    reached: IpAddr,
) -> Option<&'static str> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if !is_own(host, reached, machine().as_deref()) {
        Some(
            "this page answers under the address that b2fuse status prints, not under another name\n",
        )
    } else if !token.is_in(query) {
        Some("this page shows names of files: open it at the address that b2fuse status prints\n")
    } else {
        None
    }
}

/// Whether a `Host` means this machine whoever resolves it: the address that was reached, one of the loopback, or the name
/// of the machine.
fn is_own(host: &str, reached: IpAddr, machine: Option<&str>) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return ip.is_loopback() || ip.to_canonical() == reached.to_canonical();
    }
    name.eq_ignore_ascii_case("localhost")
        || machine.is_some_and(|machine| name.eq_ignore_ascii_case(machine))
}

/// What the machine calls itself (gethostname(2)).
fn machine() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}

/// The page, and what the browser must keep to. Fails where the system has no random bytes.
pub(super) fn page() -> anyhow::Result<(String, String)> {
    let nonce = random()?;
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok((PAGE.replace(NONCE, &nonce), policy))
}

/// Headers of everything that shows names: kept nowhere, and its address is told to nobody.
pub(super) const PRIVATE: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// 192 random bits in hexadecimal digits.
fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system has no random bytes: {error}"))?;
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mean_this_machine_are_own() {
        let reached = IpAddr::from([192, 168, 1, 5]);
        let own = |host: &str| is_own(host, reached, Some("nas"));
        for host in [
            "127.0.0.1:9568",
            "127.0.0.1",
            "localhost:9568",
            "LOCALHOST",
            "[::1]:9568",
            "192.168.1.5:9568",
            "[::ffff:192.168.1.5]:80",
            "nas:9568",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9568",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9568",
            "192.168.1.6:9568",
            "nas.evil.example",
            "[::1",
            ":9568",
        ] {
            assert!(!own(host), "{host}");
        }
        assert!(!is_own("nas", reached, None));
    }

    #[test]
    fn the_token_is_needed_whole() {
        let token = Token::new().expect("random bytes");
        let text = token.0.clone();
        assert_eq!(text.len(), 48);
        assert!(token.is_in(Some(&format!("token={text}"))));
        assert!(token.is_in(Some(&format!("a=b&token={text}"))));
        let most = text.get(..47).expect("digits");
        for query in [
            None,
            Some(String::new()),
            Some("token=".to_owned()),
            Some(format!("token={most}")),
            Some(format!("token={text}0")),
            Some(format!("token={}", Token::new().expect("random bytes").0)),
        ] {
            assert!(!token.is_in(query.as_deref()), "{query:?}");
        }
    }

    #[test]
    fn the_address_is_one_that_a_browser_can_open() {
        let token = Token("t".to_owned());
        let of = |listener: &str| token.address(listener.parse().expect("an address"));
        assert_eq!(of("0.0.0.0:9"), "http://127.0.0.1:9/?token=t");
        assert_eq!(of("[::]:9"), "http://[::1]:9/?token=t");
        assert_eq!(of("192.168.1.5:9"), "http://192.168.1.5:9/?token=t");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_its_script_is_allowed_by_number() {
        let (page, policy) = page().expect("random bytes");
        assert!(!page.contains(NONCE));
        for foreign in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        let nonce = policy
            .split("'nonce-")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .expect("a nonce");
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        // Names of files come from others: they are never taken as HTML.
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!page.contains(way), "{way}");
        }
    }
}
