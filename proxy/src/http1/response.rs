//! The head of an upstream's answer.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::{Framing, length, line, trim};

/// The largest head that is read.
pub const LIMIT: usize = 4096;

/// An answer's head.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase as it was sent.
    pub reason: Bytes,
    /// The headers.
    pub headers: HeaderMap,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection can be used again once the body was read.
    pub keep_alive: bool,
}

/// An answer that is not HTTP, or not safe to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upstream sent an invalid response head")]
pub struct BadHead;

/// Cuts a head from the front of the buffer once it is complete. Interim answers are skipped.
pub fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, BadHead> {
    loop {
        let Some((head, size)) = scan(buffer, method)? else {
            return if buffer.len() >= LIMIT { Err(BadHead) } else { Ok(None) };
        };
        if size > LIMIT {
            return Err(BadHead);
        }
        buffer.advance(size);
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
}

fn scan(bytes: &[u8], method: &Method) -> Result<Option<(Head, usize)>, BadHead> {
    let Some((first, mut rest)) = line(bytes) else {
        let known = b"HTTP/1.".iter().zip(bytes).all(|(a, b)| a == b);
        return if known { Ok(None) } else { Err(BadHead) };
    };
    let (minor, status, reason) = status_line(first.map_err(|()| BadHead)?).ok_or(BadHead)?;
    let mut headers = HeaderMap::with_capacity(16);
    loop {
        let Some((next, after)) = line(rest) else { return Ok(None) };
        rest = after;
        match next.map_err(|()| BadHead)? {
            [] => break,
            next => add(&mut headers, next)?,
        }
    }
    let head = finish(minor, (status, reason), headers, method)?;
    Ok(Some((head, bytes.len() - rest.len())))
}

fn status_line(line: &[u8]) -> Option<(u8, StatusCode, Bytes)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    if !minor.is_ascii_digit() {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let rest = trim(rest);
    let (code, reason) = rest.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) {
        return None;
    }
    let status = StatusCode::from_bytes(code).ok()?;
    Some((minor - b'0', status, Bytes::copy_from_slice(trim(reason))))
}

fn add(headers: &mut HeaderMap, line: &[u8]) -> Result<(), BadHead> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(BadHead)?;
    let name = &line[..colon];
    if name.is_empty() || name.iter().any(|byte| *byte <= 0x20 || *byte == 0x7f) {
        return Err(BadHead);
    }
    let Ok(name) = HeaderName::from_bytes(name) else { return Ok(()) };
    let value = HeaderValue::from_bytes(trim(&line[colon + 1..])).map_err(|_| BadHead)?;
    headers.append(name, value);
    Ok(())
}

fn finish(
    minor: u8,
    (status, reason): (StatusCode, Bytes),
    headers: HeaderMap,
    method: &Method,
) -> Result<Head, BadHead> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let announced = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(only), None) => Some(length(only.as_bytes()).ok_or(BadHead)?),
        (Some(_), Some(_)) => return Err(BadHead),
    };
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
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
    let connection =
        headers.get(header::CONNECTION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let says =
        |word: &str| connection.split(',').any(|token| token.trim().eq_ignore_ascii_case(word));
    let keep_alive = framing != Framing::UntilClose
        && if minor == 0 { says("keep-alive") } else { !says("close") };
    Ok(Head { status, reason, headers, framing, keep_alive })
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
