//! Host names, addresses, paths and URLs, judged as Kong judges them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What kind of host it is.
    pub kind: HostKind,
    /// The host in its normal form (IPv6 in brackets, names as written).
    pub host: String,
    /// The port, when given.
    pub port: Option<u16>,
}

/// Name or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A name.
    Name,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

/// Takes apart `host[:port]`; `None` when it is none.
#[must_use]
pub fn normalize(text: &str) -> Option<Host> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let address: Ipv6Addr = inside.parse().ok()?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some(Host { kind: HostKind::Ipv6, host: bracketed(address), port });
    }
    if text.matches(':').count() > 1 {
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(Host { kind: HostKind::Ipv6, host: bracketed(address), port: None });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (text, None),
    };
    if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !name.is_empty() {
        let address: Ipv4Addr = name.parse().ok()?;
        return Some(Host { kind: HostKind::Ipv4, host: address.to_string(), port });
    }
    is_name(name).then(|| Host { kind: HostKind::Name, host: name.to_owned(), port })
}

fn parse_port(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn bracketed(address: Ipv6Addr) -> String {
    let groups: Vec<String> =
        address.segments().iter().map(|group| format!("{group:04x}")).collect();
    format!("[{}]", groups.join(":"))
}

/// Whether the text is a host name: labels of letters, digits, `-` and `_`.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let edge = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.len() <= 63
                && bytes.iter().all(|&byte| edge(byte) || byte == b'-')
        })
}

/// A host with an optional port.
///
/// # Errors
/// Kong's message.
pub fn check_optional_port(text: &str) -> Result<(), String> {
    if normalize(text).is_some() {
        return Ok(());
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    match text.rsplit_once(':') {
        Some((host, port)) if normalize(host).is_some() && digits(port) => {
            Err("invalid port number".into())
        }
        _ if !name.is_empty() && name.split('.').all(digits) => {
            Err(format!("invalid ipv4 address: {text}"))
        }
        _ => Err(format!("invalid hostname: {text}")),
    }
}

/// A host name that may have `*` as its first or last label.
///
/// # Errors
/// Kong's message.
pub fn check_wildcard(text: &str) -> Result<(), String> {
    let stars = text.matches('*').count();
    if stars > 1 {
        return Err("only one wildcard must be specified".into());
    }
    if stars == 1 && !text.starts_with('*') && !text.ends_with('*') {
        return Err("wildcard must be leftmost or rightmost character".into());
    }
    match normalize(&text.replace('*', "wildcard")) {
        Some(host) if host.kind != HostKind::Name => Err("must not be an IP".into()),
        Some(host) if host.port.is_some() => Err("must not have a port".into()),
        Some(_) => Ok(()),
        None => Err(format!("invalid value: {text}")),
    }
}

/// The rest of what a path must be: only characters that a path may have.
///
/// # Errors
/// Kong's message.
pub fn check_path(text: &str) -> Result<(), String> {
    if let Some(bad) = bad_encoding(text) {
        return Err(format!("invalid url-encoded value: '{bad}'"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/.%-_~:@!$&'()*+,;=".contains(&byte);
    if text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(format!(
            "invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"
        ))
    }
}

/// The first percent sign that two hexadecimal digits do not follow, with what follows it.
#[must_use]
pub fn bad_encoding(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let at = (0..bytes.len()).find(|&at| bytes[at] == b'%' && !(hex(at + 1) && hex(at + 2)))?;
    Some(String::from_utf8_lossy(&bytes[at..(at + 3).min(bytes.len())]).into_owned())
}

/// A URL with scheme and host.
///
/// # Errors
/// Kong's message.
pub fn check_url(text: &str) -> Result<(), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("missing host in url".into());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.is_empty() || authority.is_empty() {
        return Err("missing host in url".into());
    }
    Ok(())
}

/// Whether the text is an address or a range of addresses.
#[must_use]
pub fn is_ip_or_cidr(text: &str) -> bool {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, bits)) => {
            let most = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }
    }
}
