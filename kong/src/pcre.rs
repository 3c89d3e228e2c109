//! Regular expressions that users write, in PCRE's language as far as they use it.
//!
//! What the linear engine takes, it runs; look-around, back-references and atomic groups go to a backtracking engine
//! with a bound on its steps, which then counts as no match.

use fancy_regex::{Regex as Backtracking, RegexBuilder as BacktrackingBuilder};
use regex::Regex;

/// How many steps back are taken for one text: clients choose it, and may choose the worst.
const STEPS: usize = 100_000;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Engine);

#[derive(Debug, Clone)]
enum Engine {
    Linear(Regex),
    Backtracking(Box<Backtracking>),
}

/// Why a pattern cannot be run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PatternError(#[from] Box<fancy_regex::Error>);

/// The text that matched, and the groups by number and name.
pub type Found = (String, Vec<(String, String)>);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// No engine can run it.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let pattern = translate(pattern);
        if let Ok(regex) = Regex::new(&pattern) {
            return Ok(Self(Engine::Linear(regex)));
        }
        let regex = BacktrackingBuilder::new(&pattern).backtrack_limit(STEPS).build();
        Ok(Self(Engine::Backtracking(Box::new(regex.map_err(Box::new)?))))
    }

    /// Whether it matches anywhere.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.0 {
            Engine::Linear(regex) => regex.is_match(text),
            Engine::Backtracking(regex) => regex.is_match(text).unwrap_or(false),
        }
    }

    /// What it matches first.
    #[must_use]
    pub fn captures(&self, text: &str) -> Option<Found> {
        let collect = |whole: &str, groups: Vec<(usize, Option<&str>, &str)>| {
            let mut captures = Vec::new();
            for (place, name, value) in groups {
                captures.push((place.to_string(), value.to_owned()));
                captures.extend(name.map(|name| (name.to_owned(), value.to_owned())));
            }
            (whole.to_owned(), captures)
        };
        match &self.0 {
            Engine::Linear(regex) => {
                let found = regex.captures(text)?;
                let groups = found.iter().zip(regex.capture_names()).enumerate();
                let groups =
                    groups.filter_map(|(at, (group, name))| Some((at, name, group?.as_str())));
                Some(collect(found.get(0)?.as_str(), groups.collect()))
            }
            Engine::Backtracking(regex) => {
                let found = regex.captures(text).ok()??;
                let groups = found.iter().zip(regex.capture_names()).enumerate();
                let groups =
                    groups.filter_map(|(at, (group, name))| Some((at, name, group?.as_str())));
                Some(collect(found.get(0)?.as_str(), groups.collect()))
            }
        }
    }
}

/// PCRE's words for what the engines call otherwise; its classes are ASCII's.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(class) = after.chars().next() else {
            out.push('\\');
            rest = "";
            break;
        };
        rest = &after[class.len_utf8()..];
        match class {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[0-9A-Za-z_]"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            'h' => out.push_str("[ \\t]"),
            'Z' => out.push_str("(?=\\n?\\z)"),
            'Q' => {
                let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
                out.push_str(&regex::escape(quoted));
                rest = after;
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out.push_str(rest);
    without_comments(&out)
}

fn without_comments(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find("(?#") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once(')').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcres_own_words_are_understood() {
        for (pattern, text) in [
            (r"^/(?=a)a", "/a"),
            (r"^/(?<!b)a", "/a"),
            (r"^/(a)\1", "/aa"),
            (r"^/(?>a+)b", "/aab"),
            (r"^/\Qa.b\E$", "/a.b"),
            (r"^/a\Z", "/a"),
            (r"^/a\hb", "/a b"),
            (r"^/a(?#comment)b", "/ab"),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            assert!(compiled.is_match(text), "{pattern}");
        }
        assert!(!Pattern::new(r"^\w$").unwrap().is_match("é"));
    }

    #[test]
    fn a_text_that_takes_too_many_steps_does_not_match() {
        let pattern = Pattern::new(r"^(?=(a|aa)+$)\1*b").unwrap();
        assert!(!pattern.is_match(&format!("{}c", "a".repeat(64))));
        assert!(Pattern::new("(?<=a").is_err());
    }
}
