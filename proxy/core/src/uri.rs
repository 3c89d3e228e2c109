//! Request paths: validity, normalisation, escaping, and the join with a service's path.
//!
//! Matching sees the normalised path (RFC 3986 §6.2.2 with slashes merged, reserved characters kept escaped);
//! the upstream sees it escaped again. Nothing here looks at the query.

use std::borrow::Cow;

/// Why a request target is refused before any route is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request path is malformed")]
pub struct BadPath;

/// How a matched path and a service's path are joined (`path_handling` of a route).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathHandling {
    /// Slashes between the two parts are made to fit.
    #[default]
    V0,
    /// The two parts are concatenated as they are.
    V1,
}

/// Refuses broken escapes, NUL, and paths that climb above the root.
pub fn validate(path: &[u8]) -> Result<(), BadPath> {
    if !path.contains(&b'%') && !path.windows(2).any(|w| w == b"/.") {
        return Ok(());
    }
    let mut depth = 0_i32;
    let mut segment: (usize, bool) = (0, true);
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let high = bytes.next().and_then(hex).ok_or(BadPath)?;
            let low = bytes.next().and_then(hex).ok_or(BadPath)?;
            high << 4 | low
        } else {
            byte
        };
        match byte {
            0 => return Err(BadPath),
            b'/' => {
                depth += step(segment);
                if depth < 0 {
                    return Err(BadPath);
                }
                segment = (0, true);
            }
            b'.' => segment.0 += 1,
            _ => segment = (segment.0 + 1, false),
        }
    }
    if depth + step(segment) < 0 { Err(BadPath) } else { Ok(()) }
}

/// What a segment of some length, made of dots only or not, does to the depth.
fn step((length, dots): (usize, bool)) -> i32 {
    match (length, dots) {
        (0 | 1, true) => 0,
        (2, true) => -1,
        _ => 1,
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Characters whose escaped form is another URI than their plain one.
fn is_reserved(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' | b'[' | b']')
}

/// The form that routes are matched against: unreserved characters decoded, the rest of the escapes in
/// upper case, dot segments removed, slashes merged.
#[must_use]
pub fn normalize(path: &[u8]) -> Vec<u8> {
    let plain = !path.contains(&b'%')
        && !path.windows(2).any(|w| w == b"//" || w == b"/.")
        && path.first() == Some(&b'/');
    if plain {
        return path.to_vec();
    }
    remove_dot_segments(&decode_unreserved(path))
}

fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match escape {
            Some(byte) if is_reserved(byte) => {
                out.push(b'%');
                out.extend(tail[..2].iter().map(u8::to_ascii_uppercase));
                rest = &tail[2..];
            }
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    if path.first() == Some(&b'/') {
        segments.next();
    }
    out.push(b'/');
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                out.pop();
                while out.last().is_some_and(|byte| *byte != b'/') {
                    out.pop();
                }
                if out.is_empty() {
                    out.push(b'/');
                }
            }
            _ => {
                out.extend_from_slice(segment);
                if !last {
                    out.push(b'/');
                }
            }
        }
    }
    out
}

/// Where bytes that are no text stand in the text of a path: the last private plane, which no URI uses.
const RAW: u32 = 0x0010_FF00;

/// A path as text, whatever its bytes are; [`escape`] gives the same bytes back.
#[must_use]
pub fn lossless(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(
            chunk.invalid().iter().filter_map(|byte| char::from_u32(RAW + u32::from(*byte))),
        );
    }
    out
}

/// The bytes that a [`lossless`] text stands for.
#[must_use]
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    // The first byte of that plane in UTF-8; URIs hardly ever have it.
    if !text.as_bytes().contains(&0xF4) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match u32::from(letter).checked_sub(RAW).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(out)
}

/// The escaped form that goes to the upstream.
#[must_use]
pub fn escape(path: &str) -> String {
    if path.bytes().all(passes) {
        return path.to_owned();
    }
    let mut out = String::with_capacity(path.len() + 8);
    for letter in path.chars() {
        match u32::from(letter).checked_sub(RAW).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => push_escaped(&mut out, byte),
            None => {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    if passes(byte) {
                        out.push(char::from(byte));
                    } else {
                        push_escaped(&mut out, byte);
                    }
                }
            }
        }
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

fn passes(byte: u8) -> bool {
    is_reserved(byte) || byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The parts that make an upstream path.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// The service's path, `/` when it has none.
    pub base: &'a str,
    /// The normalised request path.
    pub path: &'a str,
    /// How many bytes of the request path the match takes away, when the route strips.
    pub stripped: Option<usize>,
    /// Whether the route strips at all; a match without a path strips nothing but still joins by its rules.
    pub strips: bool,
    /// The route's `path_handling`.
    pub handling: PathHandling,
}

/// The upstream path, not yet escaped.
#[must_use]
pub fn join(parts: Join<'_>) -> String {
    let Join { base, path, stripped, strips, handling } = parts;
    let postfix = match stripped {
        Some(length) => sanitize(path.get(length..).unwrap_or_default()),
        None => sanitize(path.strip_prefix('/').unwrap_or(path)),
    };
    match handling {
        PathHandling::V0 => join_v0(base, path, postfix, strips),
        PathHandling::V1 => join_v1(base, postfix),
    }
}

/// A remainder may not climb out of the service's path.
fn sanitize(postfix: &str) -> &str {
    match postfix.as_bytes() {
        b"." | b".." => "",
        [b'.', b'/', ..] => &postfix[2..],
        [b'.', b'.', b'/', ..] => &postfix[3..],
        _ => postfix,
    }
}

fn join_v0(base: &str, path: &str, postfix: &str, strips: bool) -> String {
    match (base.strip_suffix('/'), strips) {
        (Some(_), true) if postfix.is_empty() && (base == "/" || path.ends_with('/')) => {
            base.to_owned()
        }
        (Some(trimmed), true) if postfix.is_empty() => trimmed.to_owned(),
        (Some(trimmed), true) if postfix.starts_with('/') => format!("{trimmed}{postfix}"),
        (Some(_), true) => format!("{base}{postfix}"),
        (Some(trimmed), false) => format!("{trimmed}{path}"),
        (None, true) if postfix.is_empty() && path.len() > 1 && path.ends_with('/') => {
            format!("{base}/")
        }
        (None, true) if postfix.is_empty() => base.to_owned(),
        (None, true) if postfix.starts_with('/') => format!("{base}{postfix}"),
        (None, true) => format!("{base}/{postfix}"),
        (None, false) if path == "/" => base.to_owned(),
        (None, false) => format!("{base}{path}"),
    }
}

fn join_v1(base: &str, postfix: &str) -> String {
    match (base.strip_suffix('/'), postfix.starts_with('/')) {
        (Some(trimmed), true) => format!("{trimmed}{postfix}"),
        _ => format!("{base}{postfix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_decodes_unreserved_and_keeps_reserved_in_upper_case() {
        for (path, wanted) in [
            ("/f%6Fo/bar", "/foo/bar"),
            ("/foo%2fbar", "/foo%2Fbar"),
            ("/x/../foo//bar/.", "/foo/bar/"),
            ("/a/b/..", "/a/"),
            ("//", "/"),
            ("/a%20b", "/a b"),
        ] {
            assert_eq!(normalize(path.as_bytes()), wanted.as_bytes(), "{path}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_come_back_escaped() {
        let path = b"/a\xff\xc3/\xc3\xa9";
        assert_eq!(escape(&lossless(path)), "/a%FF%C3/%C3%A9");
        assert_eq!(bytes(&lossless(path)).as_ref(), path);
    }

    #[test]
    fn a_path_above_the_root_or_with_a_broken_escape_is_refused() {
        for path in ["/../x", "/a/%2e%2e/%2e%2e/x", "/a%zz", "/a%4", "/a%00b", "/.."] {
            assert_eq!(validate(path.as_bytes()), Err(BadPath), "{path}");
        }
        for path in ["/a/../x", "/a/..", "/...", "/.x", "/%c3%a9"] {
            assert_eq!(validate(path.as_bytes()), Ok(()), "{path}");
        }
    }

    #[test]
    fn the_upstream_path_follows_kongs_table() {
        for (base, path, cut, wanted) in [
            ("/", "/route", Some(6), "/"),
            ("/", "/routereq", Some(6), "/req"),
            ("/srv/", "/rou", Some(4), "/srv"),
            ("/srv/", "/roureq", Some(4), "/srv/req"),
            ("/service", "/route/", Some(6), "/service/"),
            ("/service", "/route./req", Some(6), "/service/req"),
            ("/service/", "/route/", Some(7), "/service/"),
            ("/service", "/", None, "/service"),
        ] {
            let joined = join(Join {
                base,
                path,
                stripped: cut,
                strips: cut.is_some(),
                handling: PathHandling::V0,
            });
            assert_eq!(joined, wanted, "{base} {path}");
        }
    }
}
