//! Lua patterns, as Kong's schemas write them (`^[a-z][a-z%d-]-[a-z%d]+$`).
//!
//! Matching works on bytes, as Lua's does. Captures are recognised but not kept, and neither `%b`
//! nor `%f` nor back references are known: no schema uses them.

/// Whether `pattern` matches anywhere in `text` (at its start when it begins with `^`).
#[must_use]
pub fn is_match(pattern: &str, text: &str) -> bool {
    let (anchored, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    if !rest.bytes().any(|byte| b"^$()%.[]*+-?".contains(&byte)) {
        return if anchored { text.starts_with(rest) } else { text.contains(rest) };
    }
    let text = text.as_bytes();
    let matches = |pattern: &[u8]| match anchored {
        true => matches_here(pattern, text),
        false => (0..=text.len()).any(|start| matches_here(pattern, &text[start..])),
    };
    if rest.contains(['(', ')']) {
        let plain: Vec<u8> = rest.bytes().filter(|b| !matches!(b, b'(' | b')')).collect();
        return matches(&plain);
    }
    matches(rest.as_bytes())
}

/// Length of the single-character class that `pattern` begins with.
fn class_len(pattern: &[u8]) -> usize {
    match pattern[0] {
        b'%' => 2.min(pattern.len()),
        b'[' => {
            let mut at = 1;
            if pattern.get(at) == Some(&b'^') {
                at += 1;
            }
            let first = at;
            while at < pattern.len() && (pattern[at] != b']' || at == first) {
                at += if pattern[at] == b'%' { 2 } else { 1 };
            }
            (at + 1).min(pattern.len())
        }
        _ => 1,
    }
}

fn matches_here(pattern: &[u8], text: &[u8]) -> bool {
    let Some(&first) = pattern.first() else { return true };
    if first == b'$' && pattern.len() == 1 {
        return text.is_empty();
    }
    let len = class_len(pattern);
    let (class, rest) = pattern.split_at(len);
    match rest.first() {
        Some(b'*') => greedy(class, &rest[1..], text, 0),
        Some(b'+') => greedy(class, &rest[1..], text, 1),
        Some(b'-') => lazy(class, &rest[1..], text),
        Some(b'?') => {
            (!text.is_empty() && in_class(class, text[0]) && matches_here(&rest[1..], &text[1..]))
                || matches_here(&rest[1..], text)
        }
        _ => !text.is_empty() && in_class(class, text[0]) && matches_here(rest, &text[1..]),
    }
}

fn greedy(class: &[u8], rest: &[u8], text: &[u8], least: usize) -> bool {
    let most = text.iter().take_while(|&&b| in_class(class, b)).count();
    (least..=most).rev().any(|n| matches_here(rest, &text[n..]))
}

fn lazy(class: &[u8], rest: &[u8], text: &[u8]) -> bool {
    let most = text.iter().take_while(|&&b| in_class(class, b)).count();
    (0..=most).any(|n| matches_here(rest, &text[n..]))
}

fn in_class(class: &[u8], byte: u8) -> bool {
    match class {
        [b'.'] => true,
        [b'%', letter] => in_escape(*letter, byte),
        [b'[', b'^', set @ .., b']'] => !in_set(set, byte),
        [b'[', set @ .., b']'] => in_set(set, byte),
        [literal, ..] => *literal == byte,
        [] => false,
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == b'%' && at + 1 < set.len() {
            if in_escape(set[at + 1], byte) {
                return true;
            }
            at += 2;
        } else if at + 2 < set.len() && set[at + 1] == b'-' {
            if (set[at]..=set[at + 2]).contains(&byte) {
                return true;
            }
            at += 3;
        } else {
            if set[at] == byte {
                return true;
            }
            at += 1;
        }
    }
    false
}

fn in_escape(letter: u8, byte: u8) -> bool {
    let within = match letter.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'p' => byte.is_ascii_punctuation(),
        b'c' => byte.is_ascii_control(),
        _ => return letter == byte,
    };
    within != letter.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn patterns_match_as_lua_matches_them() {
        let table = [
            ("^%u+$", "GET", true),
            ("^%u+$", "Get", false),
            ("^[a-z][a-z%d-]-[a-z%d]+$", "my-env", true),
            ("^[a-z][a-z%d-]-[a-z%d]+$", "my-", false),
            ("^[a-z][a-z%d-]-[a-z%d]+$", "a", false),
            ("^[^*]*%*?[^*]*$", "a.*.b", true),
            ("^[^*]*%*?[^*]*$", "*.b.*", false),
            ("//", "/a//b", true),
            ("%.%*$", "a.*", true),
            ("^[^:]+:.*$", "a:b", true),
            ("^[^:]+:.*$", ":b", false),
            ("^[%a_-][%a%d_-]*$", "_x1-", true),
            ("^(https?)$", "http", true),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(is_match(pattern, text), matches, "{pattern} on {text}");
        }
    }
}
