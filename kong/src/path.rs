//! Paths of routes: their normal form, and what a regular expression may be.

/// Checks a path of a route: a plain path must be normal, a `~` path must compile.
///
/// # Errors
/// Kong's message.
pub fn check(path: &str) -> Result<(), String> {
    if is_plain(path) {
        return Ok(());
    }
    if let Some(regex) = path.strip_prefix('~') {
        return check_regex(regex).map_err(|reason| {
            format!("invalid regex: '{regex}' (PCRE returned: pcre2_compile() failed: {reason})")
        });
    }
    if let Some(bad) = crate::host::bad_encoding(path) {
        return Err(format!("invalid url-encoded value: '{bad}'"));
    }
    let normal = normalize(path);
    if normal == path {
        Ok(())
    } else {
        Err(format!("non-normalized path, consider use '{normal}' instead"))
    }
}

/// Whether a path is seen to be normal at one look: only letters, digits and the like between single slashes, and no
/// segment that begins with a dot.
fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    let rest = path.as_bytes().split_first().filter(|(first, _)| **first == b'/');
    rest.is_some_and(|(_, rest)| {
        rest.iter().all(|byte| {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
            let first = before == b'/';
            before = *byte;
            plain || (!first && matches!(byte, b'/' | b'.'))
        })
    })
}

/// The path without dot segments and doubled slashes, unreserved characters decoded, the rest of
/// the percent-encodings in capitals.
#[must_use]
pub fn normalize(path: &str) -> String {
    let decoded = decode_unreserved(path.as_bytes());
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    let mut out: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in decoded.split('/').skip(1) {
        open = false;
        match segment {
            "." => open = true,
            ".." => {
                out.pop();
                open = true;
            }
            "" => open = true,
            other => out.push(other),
        }
    }
    let mut text = format!("/{}", out.join("/"));
    if open && !out.is_empty() {
        text.push('/');
    }
    text
}

/// Decodes what need not be encoded.
fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let hex = |at: usize| path.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (path[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                let byte = (high * 16 + low) as u8;
                if byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'-' | b'.'
                            | b'_'
                            | b'~'
                            | b' '
                            | b'"'
                            | b'<'
                            | b'>'
                            | b'\\'
                            | b'^'
                            | b'`'
                            | b'{'
                            | b'|'
                            | b'}'
                    )
                    || byte >= 0x80
                {
                    out.push(byte);
                } else {
                    out.extend(format!("%{byte:02X}").bytes());
                }
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Whether a path of an old configuration looks like a regular expression.
#[must_use]
pub fn looks_like_regex(path: &str) -> bool {
    !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte))
}

/// Finds the faults of a regular expression that PCRE would find, in its words.
///
/// # Errors
/// PCRE's message with the place where it stopped.
pub fn check_regex(regex: &str) -> Result<(), String> {
    let bytes = regex.as_bytes();
    let (mut at, mut open, mut names) = (0, 0_usize, Vec::new());
    let place = |message: &str, at: usize| match regex.get(at..) {
        None | Some("") => format!("{message} in \"{regex}\""),
        Some(rest) => format!("{message} in \"{regex}\" at \"{rest}\""),
    };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if at + 1 == bytes.len() => {
                return Err(place("\\ at end of pattern", bytes.len()));
            }
            b'\\' => at += 1,
            b'[' => at = check_class(regex, at).map_err(|(message, at)| place(message, at))?,
            b'(' => {
                open += 1;
                if let Some((name, end)) = group_name(regex, at) {
                    if names.contains(&name) {
                        let message =
                            "two named subpatterns have the same name (PCRE2_DUPNAMES not set)";
                        return Err(place(message, end + 1));
                    }
                    names.push(name);
                    at = end;
                }
            }
            b')' if open == 0 => return Err(place("unmatched closing parenthesis", at)),
            b')' => open -= 1,
            b'{' => {
                if let Some((low, high, end)) = counts(regex, at)
                    && high.is_some_and(|high| high < low)
                {
                    return Err(place("numbers out of order in {} quantifier", end));
                }
            }
            b'*' | b'+' | b'?' if at == 0 => {
                return Err(place("quantifier does not follow a repeatable item", at));
            }
            _ => {}
        }
        at += 1;
    }
    if open > 0 { Err(place("missing closing parenthesis", bytes.len())) } else { Ok(()) }
}

/// The name of the group that opens at `at`, and where its `>` stands.
fn group_name(regex: &str, at: usize) -> Option<(&str, usize)> {
    let rest = regex.get(at..)?;
    let inside = rest.strip_prefix("(?<").or_else(|| rest.strip_prefix("(?P<"))?;
    if inside.starts_with(['=', '!']) {
        return None;
    }
    let end = inside.find('>')?;
    Some((&inside[..end], at + (rest.len() - inside.len()) + end))
}

/// `{low,high}` at this place, and where its `}` stands.
fn counts(regex: &str, at: usize) -> Option<(u32, Option<u32>, usize)> {
    let inside = regex.get(at + 1..)?;
    let end = inside.find('}')?;
    let (low, high) = inside[..end].split_once(',')?;
    Some((low.parse().ok()?, high.parse().ok(), at + 1 + end))
}

/// Walks over a character class; gives the place of its `]`.
fn check_class(regex: &str, start: usize) -> Result<usize, (&'static str, usize)> {
    let bytes = regex.as_bytes();
    let mut at = start + 1;
    if bytes.get(at) == Some(&b'^') {
        at += 1;
    }
    let first = at;
    while at < bytes.len() {
        match bytes[at] {
            b']' if at > first => return Ok(at),
            b'\\' => at += 1,
            b'[' if bytes.get(at + 1) == Some(&b':') => {
                if let Some(end) = regex.get(at..).and_then(|rest| rest.find(":]")) {
                    at += end + 1;
                }
            }
            low if bytes.get(at + 1) == Some(&b'-')
                && bytes.get(at + 2).is_some_and(|&high| high != b']' && high != b'\\') =>
            {
                if bytes[at + 2] < low {
                    return Err(("range out of order in character class", at + 2));
                }
                at += 2;
            }
            _ => {}
        }
        at += 1;
    }
    Err(("missing terminating ] for character class", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_must_be_normal() {
        let table = [
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/%41", "/A"),
            ("/a%2fb", "/a%2Fb"),
        ];
        for (path, normal) in table {
            let message = format!("non-normalized path, consider use '{normal}' instead");
            assert_eq!(check(path), Err(message));
        }
        for path in ["/", "/a", "/a/", "/a b", "/a(b|c)", "~/a++", "~/*", "~/(?=a)a"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn regular_expressions_are_refused_in_the_words_of_pcre() {
        let table = [
            ("/(", "missing closing parenthesis in \"/(\""),
            ("/[a", "missing terminating ] for character class in \"/[a\""),
            ("/a{2,1}", "numbers out of order in {} quantifier in \"/a{2,1}\" at \"}\""),
            ("/[z-a]", "range out of order in character class in \"/[z-a]\" at \"a]\""),
            ("/\\", "\\ at end of pattern in \"/\\\""),
            (
                "/(?<n>a)(?<n>b)",
                "two named subpatterns have the same name (PCRE2_DUPNAMES not set) in \"/(?<n>a)(?<n>b)\" at \"b)\"",
            ),
        ];
        for (regex, message) in table {
            assert_eq!(check_regex(regex), Err(message.to_owned()));
        }
    }
}
