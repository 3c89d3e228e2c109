//! The paths of an Ingress in Kong's words.

use k8s_openapi::api::networking::v1::HTTPIngressPath;

use crate::translate::expression::Matcher;

/// How the paths of one Ingress are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect<'a> {
    /// What marks a path as a regular expression.
    pub(super) regex_prefix: &'a str,
    /// Whether unusual characters make a path a regular expression.
    pub(super) legacy_detection: bool,
}

/// How a path is meant.
enum Kind {
    Prefix,
    Exact,
    Other,
}

fn parts(path: &HTTPIngressPath) -> (Kind, String) {
    let text = flattened(path.path.as_deref().unwrap_or_default());
    match path.path_type.as_str() {
        "Exact" => (Kind::Exact, text),
        "Prefix" => (Kind::Prefix, text),
        _ => (Kind::Other, text),
    }
}

/// Writes runs of slashes as one.
fn flattened(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !out.ends_with('/') {
            out.push(letter);
        }
    }
    out
}

/// The `paths` of a route for one path of an Ingress.
pub(super) fn traditional(path: &HTTPIngressPath, dialect: &Dialect<'_>) -> Vec<String> {
    let (kind, text) = parts(path);
    let paths = match kind {
        Kind::Prefix => match text.trim_matches('/') {
            "" => vec!["/".to_owned()],
            base => vec![format!("/{base}/"), format!("~/{}$", literal(base, dialect))],
        },
        Kind::Exact => vec![format!("~/{}$", literal(text.trim_start_matches('/'), dialect))],
        Kind::Other if text.is_empty() => vec!["/".to_owned()],
        Kind::Other => vec![text],
    };
    paths.into_iter().map(|path| marked(path, dialect)).collect()
}

/// Text that must match as it is, inside a regular expression: a dot is a dot.
///
/// Where a mark or unusual characters make a path a regular expression, they are meant as such.
fn literal(text: &str, dialect: &Dialect<'_>) -> String {
    let mark = dialect.regex_prefix.trim_start_matches('/');
    let meant = dialect.legacy_detection || (!mark.is_empty() && text.starts_with(mark));
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if !meant && r"\.+*?()[]{}|^$".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Puts Kong's mark before what is a regular expression by prefix or by looks. Kong takes only those that begin with a
/// slash, and anchors them itself.
fn marked(path: String, dialect: &Dialect<'_>) -> String {
    let path = match path.strip_prefix(dialect.regex_prefix) {
        Some(rest) if dialect.regex_prefix.starts_with('/') => {
            let bare = rest.strip_prefix('^').unwrap_or(rest);
            format!("~/{}", bare.trim_start_matches('/'))
        }
        Some(rest) => format!("~{rest}"),
        None => path,
    };
    let unusual = |letter: char| !(letter.is_ascii_alphanumeric() || ".-_~/%".contains(letter));
    if dialect.legacy_detection && !path.starts_with('~') && path.contains(unusual) {
        return format!("~{path}");
    }
    path
}

/// A path as a condition, and what it adds to the priority.
pub(super) struct Matched {
    pub(super) matcher: Matcher,
    pub(super) regex: bool,
    pub(super) length: usize,
}

/// The condition for one path of an Ingress.
pub(super) fn expression(path: &HTTPIngressPath, dialect: &Dialect<'_>) -> Matched {
    const FIELD: &str = "http.path";
    let (kind, text) = parts(path);
    match kind {
        Kind::Prefix => {
            let base = text.trim_matches('/');
            if base.is_empty() {
                let matcher = Matcher::text(FIELD, "^=", "/");
                return Matched { matcher, regex: true, length: 1 };
            }
            let exact = Matcher::text(FIELD, "==", &format!("/{base}"));
            let below = Matcher::text(FIELD, "^=", &format!("/{base}/"));
            let matcher = Matcher::Or(vec![exact, below]);
            Matched { matcher, regex: true, length: 2 + base.len() }
        }
        Kind::Exact => {
            let base = text.trim_start_matches('/');
            let matcher = Matcher::text(FIELD, "==", &format!("/{base}"));
            Matched { matcher, regex: true, length: 1 + base.len() }
        }
        Kind::Other => other(&text, dialect),
    }
}

fn other(text: &str, dialect: &Dialect<'_>) -> Matched {
    const FIELD: &str = "http.path";
    let text = if text.is_empty() { "/" } else { text };
    let mark = Some(dialect.regex_prefix).filter(|mark| !mark.is_empty());
    match mark.and_then(|mark| text.strip_prefix(mark)) {
        Some(pattern) => {
            let anchored = match pattern {
                "" => "^/".to_owned(),
                _ if pattern.starts_with('^') => pattern.to_owned(),
                _ => format!("^{pattern}"),
            };
            let matcher = Matcher::text(FIELD, "~", &anchored);
            Matched { matcher, regex: true, length: pattern.len() }
        }
        None => {
            Matched { matcher: Matcher::text(FIELD, "^=", text), regex: false, length: text.len() }
        }
    }
}
