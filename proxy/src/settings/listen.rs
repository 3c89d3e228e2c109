//! Kong's syntax of listeners: `address:port` and flags, several by comma, or `off`.

use std::net::{IpAddr, SocketAddr};

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether a PROXY protocol header comes first.
    pub proxy_protocol: bool,
    /// Whether other processes may listen beside this one.
    pub reuseport: bool,
    /// Whether it is for datagrams.
    pub udp: bool,
    /// How many connections may wait.
    pub backlog: u32,
}

/// A listener that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// No address with a port.
    #[error("'{0}' is no address with a port")]
    Address(String),
    /// An unknown flag.
    #[error("'{0}' is no flag of a listener")]
    Flag(String),
}

/// Parses a list of listeners.
pub fn parse(text: &str) -> Result<Vec<Listen>, ListenError> {
    if text.trim() == "off" {
        return Ok(Vec::new());
    }
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Listen, ListenError> {
    let mut words = text.split_whitespace();
    let address = words.next().unwrap_or_default();
    let mut listen = Listen {
        address: parse_address(address).ok_or_else(|| ListenError::Address(address.to_owned()))?,
        tls: false,
        http2: false,
        proxy_protocol: false,
        reuseport: false,
        udp: false,
        backlog: 1024,
    };
    for flag in words {
        match flag {
            "ssl" => listen.tls = true,
            "http2" => listen.http2 = true,
            "proxy_protocol" => listen.proxy_protocol = true,
            "reuseport" => listen.reuseport = true,
            "udp" => listen.udp = true,
            "default_server" | "bind" | "deferred" => {}
            _ => match flag.split_once('=') {
                Some(("backlog", size)) => {
                    listen.backlog =
                        size.parse().map_err(|_| ListenError::Flag(flag.to_owned()))?;
                }
                Some(("ipv6only" | "so_keepalive", _)) => {}
                _ => return Err(ListenError::Flag(flag.to_owned())),
            },
        }
    }
    Ok(listen)
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let ip = match host {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kongs_syntax_is_understood() {
        let all = parse("0.0.0.0:8000 reuseport backlog=16384, [::]:8443 http2 ssl proxy_protocol")
            .unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].reuseport && !all[0].tls && all[0].backlog == 16384);
        assert!(all[1].tls && all[1].http2 && all[1].proxy_protocol && all[1].address.is_ipv6());
        assert_eq!(parse("off"), Ok(Vec::new()));
        assert_eq!(parse("8000"), Err(ListenError::Address("8000".to_owned())));
        assert_eq!(parse("0.0.0.0:1 spdy"), Err(ListenError::Flag("spdy".to_owned())));
    }
}
