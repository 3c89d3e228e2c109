//! The head of a request, read as nginx reads it.

use bytes::{Buf, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::{Framing, length, line, trim};

/// The longest line, its line end included.
const LINE: usize = 8192;
/// How many buffers of that size a head may fill.
const BUFFERS: usize = 4;
/// The first, small buffer.
const FIRST: usize = 1024;

/// The version of a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A request line without a version; the answer has no head.
    Http09,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and what calls itself a later minor version.
    Http11,
}

/// A request's head.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Path and query as they were written, in origin form.
    pub target: Vec<u8>,
    /// The host of an absolute target.
    pub authority: Option<String>,
    /// The version.
    pub version: Version,
    /// The headers, without those that nginx ignores.
    pub headers: HeaderMap,
    /// Where the body ends.
    pub framing: Framing,
    /// Bytes of the head on the wire.
    pub size: usize,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
}

/// A head that is refused; the connection closes after the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The text, where it is not the status's own.
    pub message: Option<&'static str>,
    /// The `Accept` header, if it stood before the fault.
    pub accept: Option<HeaderValue>,
    /// Whether the answer has a head at all.
    pub bare: bool,
    /// The method, when it was read; HEAD gets no body.
    pub method: Option<Method>,
    /// The target, when it was read.
    pub target: Vec<u8>,
}

impl Refusal {
    fn new(status: StatusCode) -> Self {
        Self { status, message: None, accept: None, bare: false, method: None, target: Vec::new() }
    }

    fn bad() -> Self {
        Self::new(StatusCode::BAD_REQUEST)
    }

    fn too_large() -> Self {
        Self { message: Some("Request header or cookie too large"), ..Self::bad() }
    }
}

/// What the bytes so far are.
#[derive(Debug)]
pub enum Parsed {
    /// More is needed.
    Partial,
    /// A whole head, cut from the buffer.
    Head(Box<Head>),
    /// Not a head that is served.
    Refused(Box<Refusal>),
}

/// Cuts a head from the front of the buffer once it is complete.
pub fn parse(buffer: &mut BytesMut) -> Parsed {
    while let Some(rest) = match buffer.first() {
        Some(b'\n') => Some(1),
        Some(b'\r') if buffer.get(1) == Some(&b'\n') => Some(2),
        _ => None,
    } {
        buffer.advance(rest);
    }
    match scan(buffer) {
        Ok(None) => Parsed::Partial,
        Ok(Some(head)) => {
            buffer.advance(head.size);
            Parsed::Head(Box::new(head))
        }
        Err(refusal) => Parsed::Refused(Box::new(refusal)),
    }
}

/// Counts the buffers that lines fill, as nginx lays them out.
struct Space {
    left: usize,
    used: usize,
}

impl Space {
    fn take(&mut self, line: usize) -> bool {
        if line > self.left {
            if line > LINE || self.used == BUFFERS {
                return false;
            }
            self.used += 1;
            self.left = LINE;
        }
        self.left -= line;
        true
    }
}

fn scan(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut space = Space { left: FIRST, used: 0 };
    let Some((first, mut rest)) = line(bytes) else {
        return match early_fault(bytes) {
            true => Err(Refusal::bad()),
            false if bytes.len() >= LINE => Err(Refusal::new(StatusCode::URI_TOO_LONG)),
            false => Ok(None),
        };
    };
    if !space.take(bytes.len() - rest.len()) {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG));
    }
    let request = request_line(first.map_err(|()| Refusal::bad())?)?;
    let mut fields = Fields::default();
    if request.version > Version::Http09 {
        loop {
            let Some((next, after)) = line(rest) else {
                if rest.len() >= LINE || rest.len() > space.left && space.used == BUFFERS {
                    return Err(fields.blame(Refusal::too_large(), &request));
                }
                return Ok(None);
            };
            if !space.take(rest.len() - after.len()) {
                return Err(fields.blame(Refusal::too_large(), &request));
            }
            rest = after;
            match next {
                Ok([]) => break,
                Ok(next) => {
                    if fields.add(next).is_err() {
                        return Err(fields.blame(Refusal::bad(), &request));
                    }
                }
                Err(()) => return Err(fields.blame(Refusal::bad(), &request)),
            }
        }
    }
    match fields.check(&request) {
        Ok(framing) => Ok(Some(fields.finish(request, framing, bytes.len() - rest.len()))),
        Err(refusal) => Err(fields.blame(refusal, &request)),
    }
}

/// A first byte that can start no request line.
fn early_fault(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|byte| !(byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-' | b'\r')))
}

struct RequestLine {
    method: Method,
    target: Vec<u8>,
    authority: Option<String>,
    version: Version,
}

fn request_line(line: &[u8]) -> Result<RequestLine, Refusal> {
    let end = line
        .iter()
        .position(|byte| !(byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-')))
        .ok_or_else(Refusal::bad)?;
    if end == 0 || line[end] != b' ' {
        return Err(Refusal::bad());
    }
    let method = Method::from_bytes(&line[..end]).map_err(|_| Refusal::bad())?;
    let rest = skip_spaces(&line[end..]);
    let stop = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let (target, rest) = rest.split_at(stop);
    if target.is_empty() || target.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return Err(Refusal::bad());
    }
    let (authority, target) = origin_form(target).ok_or_else(Refusal::bad)?;
    let version = match trim(rest) {
        [] => {
            let get = method == Method::GET;
            if !get {
                return Err(Refusal { bare: true, ..Refusal::bad() });
            }
            Version::Http09
        }
        version => parse_version(version)
            .map_err(|status| Refusal { method: Some(method.clone()), ..Refusal::new(status) })?,
    };
    Ok(RequestLine { method, target, authority, version })
}

fn skip_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// An absolute target's host, and the target in origin form.
fn origin_form(target: &[u8]) -> Option<(Option<String>, Vec<u8>)> {
    if target.first() == Some(&b'/') {
        return Some((None, target.to_vec()));
    }
    let colon = target.iter().position(|byte| *byte == b':')?;
    let scheme = &target[..colon];
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let rest = target[colon + 1..].strip_prefix(b"//").filter(|_| is_scheme)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = std::str::from_utf8(authority).ok()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'[' | b']' | b':')
    };
    if host.is_empty()
        || !host.bytes().all(plain)
        || !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
    Some((Some(host.to_ascii_lowercase()), path))
}

fn parse_version(version: &[u8]) -> Result<Version, StatusCode> {
    let bad = StatusCode::BAD_REQUEST;
    let digits = version.strip_prefix(b"HTTP/").ok_or(bad)?;
    match digits {
        [b'1', b'.', minor @ ..]
            if !minor.is_empty() && minor.len() <= 2 && minor.iter().all(u8::is_ascii_digit) =>
        {
            Ok(if matches!(minor, b"0" | b"00") { Version::Http10 } else { Version::Http11 })
        }
        [b'2'..=b'9', ..] => Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED),
        _ => Err(bad),
    }
}

/// The headers as they come in.
#[derive(Default)]
struct Fields {
    headers: HeaderMap,
}

/// Headers that may come once only.
const UNIQUE: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::CONTENT_RANGE,
    header::RANGE,
    header::IF_RANGE,
    header::EXPECT,
    header::AUTHORIZATION,
];

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), ()> {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = &line[..end];
        if name.is_empty() || name.iter().any(|byte| *byte <= 0x20 || *byte == 0x7f) {
            return Err(());
        }
        let value = trim(line.get(end + 1..).unwrap_or_default());
        if value.contains(&0) {
            return Err(());
        }
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !name.iter().all(known) {
            return Ok(());
        }
        let name = HeaderName::from_bytes(name).map_err(|_| ())?;
        let value = match HeaderValue::from_bytes(value) {
            Ok(value) => value,
            // No coding that anyone knows; what that means is decided with the other headers.
            Err(_) if name == header::TRANSFER_ENCODING => HeaderValue::from_static("?"),
            Err(_) => return Err(()),
        };
        if UNIQUE.contains(&name) && self.headers.contains_key(&name) {
            return Err(());
        }
        if name == header::HOST && !is_host(value.as_bytes()) {
            return Err(());
        }
        self.headers.append(name, value);
        Ok(())
    }

    fn check(&self, request: &RequestLine) -> Result<Framing, Refusal> {
        let host = self.headers.get(header::HOST);
        if request.version == Version::Http11 && host.is_none_or(|host| host.as_bytes().is_empty())
        {
            return Err(Refusal::bad());
        }
        let announced = match self.headers.get(header::CONTENT_LENGTH) {
            Some(value) => Some(length(value.as_bytes()).ok_or_else(Refusal::bad)?),
            None => None,
        };
        let framing = match self.headers.get(header::TRANSFER_ENCODING) {
            None => announced.map_or(Framing::None, Framing::Length),
            Some(_) if request.version < Version::Http11 => return Err(Refusal::bad()),
            Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                if announced.is_some() {
                    return Err(Refusal::bad());
                }
                Framing::Chunked
            }
            Some(_) => return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED)),
        };
        if matches!(request.method, Method::TRACE | Method::CONNECT) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED));
        }
        Ok(framing)
    }

    /// A refusal speaks the type that was asked for before the fault.
    fn blame(&self, mut refusal: Refusal, request: &RequestLine) -> Refusal {
        refusal.accept = self.headers.get(header::ACCEPT).cloned();
        refusal.method = Some(request.method.clone());
        refusal.target.clone_from(&request.target);
        refusal
    }

    fn finish(self, request: RequestLine, framing: Framing, size: usize) -> Head {
        let connection = self.headers.get(header::CONNECTION);
        let says = |word: &str| {
            connection.is_some_and(|value| {
                value.to_str().unwrap_or_default().to_ascii_lowercase().contains(word)
            })
        };
        let keep_alive = match request.version {
            Version::Http09 => false,
            Version::Http10 => says("keep-alive"),
            Version::Http11 => !says("close"),
        };
        let RequestLine { method, target, authority, version } = request;
        let headers = self.headers;
        Head { method, target, authority, version, headers, framing, size, keep_alive }
    }
}

/// Whether nginx takes the value of a Host header.
fn is_host(host: &[u8]) -> bool {
    let literal = host.first() == Some(&b'[');
    let end = if literal {
        host.iter().position(|byte| *byte == b']').map_or(host.len(), |at| at + 1)
    } else {
        host.iter().position(|byte| *byte == b':').unwrap_or(host.len())
    };
    let name = &host[..end];
    !name.is_empty()
        && !name.iter().any(|byte| *byte <= 0x20 || matches!(byte, 0x7f | b'/'))
        && !name.windows(2).any(|pair| pair == b"..")
        && !host.iter().any(|byte| *byte <= 0x20 || matches!(byte, 0x7f | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        match parse(&mut BytesMut::from(text)) {
            Parsed::Partial => 0,
            Parsed::Head(_) => 200,
            Parsed::Refused(refusal) => refusal.status.as_u16(),
        }
    }

    #[test]
    fn heads_are_taken_and_refused_as_nginx_does() {
        for (text, wanted) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.1\nHost: a\n\n", 200),
            ("\r\n\r\nGET  /  HTTP/1.1 \r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: a\r\n", 0),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 200),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ] {
            assert_eq!(status(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_request_line_of_8190_bytes_fits_and_one_more_does_not() {
        let line =
            |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 14));
        assert_eq!(status(&line(8190)), 200);
        assert_eq!(status(&line(8191)), 414);
    }
}
