//! HTTP/1 on the wire: heads, bodies and their framing, for both sides of the gateway.
//!
//! What a client may send is refused or accepted as nginx does, byte for byte: a gateway that reads a message otherwise
//! than the servers around it is how requests are smuggled. Everything here that decides is without IO; [`io`] reads
//! and writes.

pub mod body;
pub mod io;
pub mod request;
pub mod response;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection ends.
    UntilClose,
}

/// Trims what nginx takes for blank round a header value: spaces, and nothing else.
#[must_use]
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// Splits off one line that ends in LF, or CR LF; a CR anywhere else is an error.
pub(crate) fn line(bytes: &[u8]) -> Option<(Result<&[u8], ()>, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let broken = memchr::memchr(b'\r', line).is_some();
    Some((if broken { Err(()) } else { Ok(line) }, rest))
}

/// Parses a decimal length; anything but digits is an error.
#[must_use]
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
