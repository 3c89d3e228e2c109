//! Router expressions: a small tree of matchers and how it is written.

use std::fmt::Write as _;

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Matcher {
    /// One comparison, written out.
    Predicate(String),
    /// All of them.
    And(Vec<Self>),
    /// Any of them.
    Or(Vec<Self>),
}

impl Matcher {
    /// A comparison of `field` with a string.
    pub(crate) fn text(field: &str, operator: &str, value: &str) -> Self {
        Self::Predicate(format!("{field} {operator} {}", quoted(value)))
    }

    /// A comparison of `field` with a number.
    pub(crate) fn number(field: &str, operator: &str, value: i64) -> Self {
        Self::Predicate(format!("{field} {operator} {value}"))
    }

    /// All of `matchers`; nothing if there are none, the one itself if there is one.
    pub(crate) fn all(matchers: impl IntoIterator<Item = Self>) -> Option<Self> {
        Self::join(matchers, Self::And)
    }

    /// Any of `matchers`; nothing if there are none, the one itself if there is one.
    pub(crate) fn any(matchers: impl IntoIterator<Item = Self>) -> Option<Self> {
        Self::join(matchers, Self::Or)
    }

    fn join(
        matchers: impl IntoIterator<Item = Self>,
        many: impl Fn(Vec<Self>) -> Self,
    ) -> Option<Self> {
        let mut matchers: Vec<Self> = matchers.into_iter().collect();
        match matchers.len() {
            0 | 1 => matchers.pop(),
            _ => Some(many(matchers)),
        }
    }

    /// Whether the host is this; a leading wildcard matches by suffix.
    pub(crate) fn host(host: &str) -> Self {
        match host.strip_prefix('*') {
            Some(suffix) => Self::text("http.host", "=^", suffix),
            None => Self::text("http.host", "==", host),
        }
    }

    /// Whether the TLS server name is this; a leading wildcard matches by suffix.
    pub(crate) fn sni(name: &str) -> Self {
        match name.strip_prefix('*') {
            Some(suffix) => Self::text("tls.sni", "=^", suffix),
            None => Self::text("tls.sni", "==", name),
        }
    }

    /// Whether a header has this value; `~*` before it makes it a regular expression.
    pub(crate) fn header(name: &str, value: &str) -> Self {
        let field = format!("http.headers.{}", name.to_lowercase().replace('-', "_"));
        match value.strip_prefix("~*") {
            Some(pattern) => Self::text(&field, "~", pattern),
            None => Self::text(&field, "==", value),
        }
    }

    /// The expression as Kong reads it.
    pub(crate) fn expression(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let (children, glue) = match self {
            Self::Predicate(text) => return out.push_str(text),
            Self::And(children) => (children, " && "),
            Self::Or(children) => (children, " || "),
        };
        for (at, child) in children.iter().enumerate() {
            if at > 0 {
                out.push_str(glue);
            }
            out.push('(');
            child.write(out);
            out.push(')');
        }
    }
}

/// Writes a string literal.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => {
                let _ = out.write_char(letter);
            }
        }
    }
    out.push('"');
    out
}

/// What the priority of an Ingress route is made of: the more precise, the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// How many kinds of conditions there are: paths, hosts, headers, methods, SNIs.
    pub(crate) fields: u64,
    /// How many headers are compared.
    pub(crate) headers: usize,
    /// Whether no host is a wildcard.
    pub(crate) plain_host: bool,
    /// Whether a path is more than a prefix.
    pub(crate) regex: bool,
    /// The length of the longest path.
    pub(crate) path_length: usize,
}

impl Traits {
    /// The priority, above that of any Gateway API route.
    pub(crate) fn priority(self) -> u64 {
        let Self { fields, headers, plain_host, regex, path_length } = self;
        (3 << 44)
            | (fields << 41)
            | ((headers.min(255) as u64) << 33)
            | (u64::from(plain_host) << 32)
            | (u64::from(regex) << 16)
            | (path_length.min(65535) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_conditions_are_parenthesized() {
        let paths = Matcher::any([
            Matcher::text("http.path", "==", "/a"),
            Matcher::text("http.path", "^=", "/a/"),
        ]);
        let all = Matcher::all([Matcher::host("*.x.org")].into_iter().chain(paths)).expect("some");
        assert_eq!(
            all.expression(),
            r#"(http.host =^ ".x.org") && ((http.path == "/a") || (http.path ^= "/a/"))"#
        );
        assert_eq!(Matcher::all([]), None);
        assert_eq!(Matcher::text("a", "~", "\\d\"").expression(), r#"a ~ "\\d\"""#);
    }

    #[test]
    fn priority_is_that_of_kong_ingress_controller() {
        let exact = Traits { fields: 2, headers: 0, plain_host: true, regex: true, path_length: 9 };
        assert_eq!(exact.priority(), 57_178_899_677_193);
    }
}
