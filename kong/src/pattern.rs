//! Lua patterns, as Kong's schemas write them (`^[a-z][a-z%d-]-[a-z%d]+$`).
//!
//! Matching works on bytes, as Lua's does. Captures are recognised but not kept, and neither `%b`
//! nor `%f` nor back references are known: no schema uses them.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

thread_local! {
    /// The patterns of the schemas by their address: each is compiled once a thread.
    static COMPILED: RefCell<HashMap<(usize, usize), Rc<Pattern>>> = RefCell::default();
}

/// Whether `pattern` matches anywhere in `text` (at its start when it begins with `^`).
#[must_use]
pub fn is_match(pattern: &'static str, text: &str) -> bool {
    let place = (pattern.as_ptr() as usize, pattern.len());
    let compiled = COMPILED.with_borrow_mut(|all| {
        Rc::clone(all.entry(place).or_insert_with(|| Rc::new(Pattern::new(pattern))))
    });
    compiled.is_match(text)
}

/// A compiled pattern.
struct Pattern {
    anchored: bool,
    /// The whole of it, where it is a text and no more.
    text: Option<&'static str>,
    steps: Vec<Step>,
    /// Whether the text must end with it.
    ends: bool,
}

/// Bytes of a class, and how many of them are taken.
struct Step {
    class: [u64; 4],
    repeat: Repeat,
}

#[derive(Clone, Copy)]
enum Repeat {
    Once,
    /// As many as there are, but so many.
    Most(usize),
    /// As few as will do.
    Fewest,
    /// One or none.
    Maybe,
}

impl Pattern {
    fn new(pattern: &'static str) -> Self {
        let (anchored, rest) = match pattern.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let plain = !rest.bytes().any(|byte| b"^$()%.[]*+-?".contains(&byte));
        let text = plain.then_some(rest);
        let plain: Vec<u8> = rest.bytes().filter(|b| !matches!(b, b'(' | b')')).collect();
        let (mut left, mut steps, mut ends) = (plain.as_slice(), Vec::new(), false);
        while let Some(first) = left.first() {
            if *first == b'$' && left.len() == 1 {
                ends = true;
                break;
            }
            let (class, after) = left.split_at(class_len(left));
            let (repeat, after) = match after.split_first() {
                Some((b'*', after)) => (Repeat::Most(0), after),
                Some((b'+', after)) => (Repeat::Most(1), after),
                Some((b'-', after)) => (Repeat::Fewest, after),
                Some((b'?', after)) => (Repeat::Maybe, after),
                _ => (Repeat::Once, after),
            };
            let mut bits = [0; 4];
            for byte in (0..=u8::MAX).filter(|byte| in_class(class, *byte)) {
                bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
            }
            steps.push(Step { class: bits, repeat });
            left = after;
        }
        Self { anchored, text, steps, ends }
    }

    fn is_match(&self, text: &str) -> bool {
        match self.text {
            Some(wanted) if self.anchored => return text.starts_with(wanted),
            Some(wanted) => return text.contains(wanted),
            None => {}
        }
        let text = text.as_bytes();
        match self.anchored {
            true => self.from(&self.steps, text),
            false => (0..=text.len()).any(|start| self.from(&self.steps, &text[start..])),
        }
    }

    fn from(&self, steps: &[Step], text: &[u8]) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            return !self.ends || text.is_empty();
        };
        let run = || text.iter().take_while(|byte| step.takes(**byte)).count();
        let first = text.first().is_some_and(|byte| step.takes(*byte));
        match step.repeat {
            Repeat::Once => first && self.from(rest, &text[1..]),
            Repeat::Most(least) => {
                (least..=run()).rev().any(|taken| self.from(rest, &text[taken..]))
            }
            Repeat::Fewest => (0..=run()).any(|taken| self.from(rest, &text[taken..])),
            Repeat::Maybe => (first && self.from(rest, &text[1..])) || self.from(rest, text),
        }
    }
}

impl Step {
    fn takes(&self, byte: u8) -> bool {
        self.class[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
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
