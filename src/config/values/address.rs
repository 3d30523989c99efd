//! Where something is listened to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::{Wrong, wrong};

/// An address of this machine and a port; a port alone is that of loopback. `off`: nothing listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub Option<SocketAddr>);

impl FromStr for Address {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let port = text.strip_prefix(':').unwrap_or(text).parse();
        let address = match port {
            Ok(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            Err(_) => match text.strip_prefix("localhost:") {
                Some(port) => format!("127.0.0.1:{port}").parse(),
                None => text.parse(),
            },
        };
        match address {
            Ok(address) => Ok(Self(Some(address))),
            Err(_) => wrong(format!(
                "{text:?} is no address: write 127.0.0.1:9568, [::1]:9568, a port of this machine, or off"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine_only() {
        for (text, address) in [
            ("9568", "127.0.0.1:9568"),
            (":9568", "127.0.0.1:9568"),
            ("localhost:9568", "127.0.0.1:9568"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let read = text.parse::<Address>().expect(text).0;
            assert_eq!(read.map(|read| read.to_string()).as_deref(), Some(address));
        }
        assert_eq!("OFF".parse::<Address>().expect("off").0, None);
        for text in [
            "",
            "host",
            "1.2.3.4",
            "70000",
            "127.0.0.1:",
            "::1:80x",
            "-1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
