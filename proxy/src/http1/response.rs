//! The head of an upstream's answer.
//!
//! Its headers stay lines of bytes until somebody wants them as a map: most answers are passed on as they came.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::{Framing, length, line};

/// The largest head that is read.
pub const LIMIT: usize = 4096;

/// An answer's head.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub lines: Lines,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection can be used again once the body was read.
    pub keep_alive: bool,
}

/// The bytes of a head, and where in them is what.
#[derive(Debug)]
pub struct Lines {
    bytes: Bytes,
    reason: Range<usize>,
    fields: Vec<Field>,
}

/// A header's place, and what it is to this gateway.
#[derive(Debug)]
struct Field {
    kind: Kind,
    name: Range<usize>,
    value: Range<usize>,
}

/// What a header is to this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but a line to pass on.
    Plain,
    /// `Content-Type`, which may lack its charset.
    ContentType,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Date`.
    Date,
    /// `Server`.
    Server,
    /// Another header that ends at this hop.
    Hop,
    /// One that the gateway writes too, or that speaks to a web server.
    Odd,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let begins =
            |known: &[u8]| name.get(..7).is_some_and(|some| some.eq_ignore_ascii_case(known));
        match name.len() {
            3 if is(b"via") => Self::Odd,
            4 if is(b"date") => Self::Date,
            6 if is(b"server") => Self::Server,
            7 if is(b"upgrade") || is(b"trailer") => Self::Hop,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::Hop,
            12 if is(b"content-type") => Self::ContentType,
            14 if is(b"content-length") => Self::ContentLength,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            8.. if begins(b"x-accel") || begins(b"x-kong-") => Self::Odd,
            _ => Self::Plain,
        }
    }
}

impl Lines {
    /// The reason phrase as it was sent.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        &self.bytes[self.reason.clone()]
    }

    /// All headers: what they are, their names as they were written, and their values.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &[u8], &[u8])> {
        let part = |range: &Range<usize>| &self.bytes[range.clone()];
        self.fields.iter().map(move |field| (field.kind, part(&field.name), part(&field.value)))
    }

    /// The headers as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields.len() + 8);
        for field in &self.fields {
            let name = HeaderName::from_bytes(&self.bytes[field.name.clone()]);
            let value = HeaderValue::from_maybe_shared(self.bytes.slice(field.value.clone()));
            // Both were looked at when the head was read.
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }

    /// The values of all headers of a kind.
    fn of(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(own, _, _)| *own == kind).map(|(_, _, value)| value)
    }
}

/// An answer that is not HTTP, or not safe to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upstream sent an invalid response head")]
pub struct BadHead;

/// Cuts a head from the front of the buffer once it is complete. Interim answers are skipped.
pub fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, BadHead> {
    loop {
        let Some(scanned) = scan(buffer)? else {
            return if buffer.len() >= LIMIT { Err(BadHead) } else { Ok(None) };
        };
        let Scanned { minor, status, reason, fields, size } = scanned;
        if size > LIMIT {
            return Err(BadHead);
        }
        let interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        let lines = Lines { bytes: buffer.split_to(size).freeze(), reason, fields };
        let head = finish(minor, status, lines, method)?;
        if !interim {
            return Ok(Some(head));
        }
    }
}

/// A whole head, its parts found.
struct Scanned {
    minor: u8,
    status: StatusCode,
    reason: Range<usize>,
    fields: Vec<Field>,
    size: usize,
}

fn scan(bytes: &[u8]) -> Result<Option<Scanned>, BadHead> {
    let Some((first, mut rest)) = line(bytes) else {
        let known = b"HTTP/1.".iter().zip(bytes).all(|(a, b)| a == b);
        return if known { Ok(None) } else { Err(BadHead) };
    };
    let (minor, status, reason) = status_line(first.map_err(|()| BadHead)?).ok_or(BadHead)?;
    let mut fields = Vec::with_capacity(12);
    loop {
        let at = bytes.len() - rest.len();
        let Some((next, after)) = line(rest) else { return Ok(None) };
        rest = after;
        match next.map_err(|()| BadHead)? {
            [] => break,
            next => fields.extend(field(next, at)?),
        }
    }
    Ok(Some(Scanned { minor, status, reason, fields, size: bytes.len() - rest.len() }))
}

fn status_line(line: &[u8]) -> Option<(u8, StatusCode, Range<usize>)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    if !minor.is_ascii_digit() {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let (begin, end) = blanks(line, line.len() - rest.len()..line.len());
    let (code, reason) = line[begin..end].split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) {
        return None;
    }
    let status = StatusCode::from_bytes(code).ok()?;
    let (begin, end) = blanks(line, begin + 3..end);
    Some((minor - b'0', status, begin..end))
}

/// A part of a line without the spaces around it.
fn blanks(line: &[u8], Range { mut start, mut end }: Range<usize>) -> (usize, usize) {
    while start < end && line[start] == b' ' {
        start += 1;
    }
    while start < end && line[end - 1] == b' ' {
        end -= 1;
    }
    (start, end)
}

/// The header of a line that stands at some place; none where its name is no name.
fn field(line: &[u8], at: usize) -> Result<Option<Field>, BadHead> {
    let colon = memchr::memchr(b':', line).ok_or(BadHead)?;
    let name = &line[..colon];
    if name.is_empty() || name.iter().any(|byte| *byte <= 0x20 || *byte == 0x7f) {
        return Err(BadHead);
    }
    if !name.iter().all(|byte| is_letter(*byte)) {
        return Ok(None);
    }
    let (begin, end) = blanks(line, colon + 1..line.len());
    let fits = |byte: &u8| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t';
    if !line[begin..end].iter().all(fits) {
        return Err(BadHead);
    }
    Ok(Some(Field { kind: Kind::of(name), name: at..at + colon, value: at + begin..at + end }))
}

/// Whether a byte may stand in a header's name.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

fn finish(minor: u8, status: StatusCode, lines: Lines, method: &Method) -> Result<Head, BadHead> {
    let mut lengths = lines.of(Kind::ContentLength);
    let announced = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(only), None) => Some(length(only).ok_or(BadHead)?),
        (Some(_), Some(_)) => return Err(BadHead),
    };
    let mut codings = lines.of(Kind::TransferEncoding);
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => true,
        (Some(_), _) => return Err(BadHead),
    };
    if chunked && announced.is_some() {
        return Err(BadHead);
    }
    let bodiless = *method == Method::HEAD
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    let framing = match announced {
        _ if bodiless => Framing::None,
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    };
    let connection = lines.of(Kind::Connection).next().unwrap_or_default();
    let says = |word: &[u8]| {
        let mut tokens = connection.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        connection.is_ascii() && tokens.any(|token| token.eq_ignore_ascii_case(word))
    };
    let keep_alive = framing != Framing::UntilClose
        && if minor == 0 { says(b"keep-alive") } else { !says(b"close") };
    drop((lengths, codings));
    Ok(Head { status, lines, framing, keep_alive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<u16> {
        parse(&mut BytesMut::from(text), &Method::GET)
            .ok()
            .flatten()
            .map(|head| head.status.as_u16())
    }

    #[test]
    fn headers_are_the_same_as_lines_and_as_a_map() {
        let text =
            "HTTP/1.1 200  Fine day \r\nA:1\r\nb: 2  \r\nX(y: no\r\nA:\t3\r\nVia: x\r\n\r\nrest";
        let mut buffer = BytesMut::from(text);
        let head = parse(&mut buffer, &Method::GET).unwrap().unwrap();
        assert_eq!((head.lines.reason(), &buffer[..]), (&b"Fine day"[..], &b"rest"[..]));
        let map = head.lines.to_map();
        assert_eq!(map.len(), head.lines.iter().count());
        for (_, name, value) in head.lines.iter() {
            let name = HeaderName::from_bytes(name).unwrap();
            assert!(map.get_all(name).iter().any(|one| one.as_bytes() == value));
        }
        let kinds = head.lines.iter().map(|(kind, ..)| kind).collect::<Vec<_>>();
        assert_eq!(kinds, [Kind::Plain, Kind::Plain, Kind::Plain, Kind::Odd]);
    }

    #[test]
    fn doubtful_heads_are_refused() {
        assert_eq!(check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"), Some(200));
        assert_eq!(check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 Odd day\r\n\r\n"), Some(299));
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Sp : 1\r\n\r\n",
            "garbage\r\n\r\n",
        ] {
            assert_eq!(check(text), None, "{text:?}");
        }
    }
}
