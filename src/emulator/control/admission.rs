//! Who may use the server's own switches: whoever has the account's key, and speaks to this machine by a name of its own.
//!
//! Any page that a browser shows can send requests to loopback. So the key is wanted, and beside it neither another page's
//! `Origin` nor a name that merely leads here is taken.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};

use crate::emulator::error::{ApiError, Result};
use crate::emulator::handlers::auth;
use crate::emulator::shared::Shared;

/// Refuses with 403 what comes from elsewhere, and with 401 whoever has not the master key or a token of it.
pub(super) fn check(shared: &Shared, headers: &HeaderMap) -> Result<()> {
    let port = shared.addresses.api.rsplit(':').next();
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
    let own = |authority: &[u8]| {
        std::str::from_utf8(authority).is_ok_and(|authority| is_own(authority, port))
    };
    if !headers.get(HOST).is_some_and(|host| own(host.as_bytes())) {
        return Err(elsewhere("the Host is no name of this machine"));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let authority = origin.as_bytes().strip_prefix(b"http://");
        if !authority.is_some_and(own) {
            return Err(elsewhere("the Origin is another"));
        }
    }
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|header| header.to_str().ok());
    let key = match auth::key_of(shared, header) {
        Some(key) => key,
        None => shared.tokens.account(header.unwrap_or_default())?,
    };
    // What they do is bound to no bucket and no right.
    if key.id == shared.account_id {
        Ok(())
    } else {
        Err(ApiError::unauthorized())
    }
}

fn elsewhere(why: &str) -> ApiError {
    ApiError::new(403, "access_denied", why)
}

/// Whether that is `localhost` or an address of loopback, with this port; a client leaves port 80 out.
fn is_own(authority: &str, port: u16) -> bool {
    let (host, given) = match authority.rsplit_once(':') {
        Some((host, given)) if !given.ends_with(']') => (host, given.parse().ok()),
        _ => (authority, Some(80)),
    };
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let loopback = host.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    loopback && given == Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_with_its_port_is_own() {
        for own in [
            "127.0.0.1:8080",
            "127.1.2.3:8080",
            "localhost:8080",
            "LocalHost:8080",
            "[::1]:8080",
        ] {
            assert!(is_own(own, 8080), "{own}");
        }
        for other in [
            "",
            ":8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:8080x",
            "localhost.example.com:8080",
            "127.0.0.1.example.com:8080",
            "user@127.0.0.1:8080",
            "192.0.2.1:8080",
            "[::1]",
            "[::2]:8080",
        ] {
            assert!(!is_own(other, 8080), "{other}");
        }
        assert!(is_own("127.0.0.1", 80) && is_own("[::1]", 80) && is_own("localhost:80", 80));
    }
}
