//! Conditions of Kong's expressions language, built as a tree and printed as Kong Ingress Controller prints them.
//!
//! Only the shape of the text is decided here: which conditions there are is the business of the callers. A group of
//! one prints as its member, an empty group prints as nothing, and each member of a larger group stands in brackets.

/// A condition on a request or connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Matcher {
    /// All members hold; true when empty.
    All(Vec<Self>),
    /// At least one member holds; nothing when empty.
    Any(Vec<Self>),
    /// The member does not hold; it says something.
    Not(Box<Self>),
    /// One comparison, printed.
    Is(String),
}

impl Matcher {
    /// A comparison with a string.
    pub(crate) fn text(field: &str, operator: &str, value: &str) -> Self {
        Self::Is(format!("{field} {operator} {}", quote(value)))
    }

    /// A comparison with a number.
    pub(crate) fn number(field: &str, operator: &str, value: i64) -> Self {
        Self::Is(format!("{field} {operator} {value}"))
    }

    /// The condition as text; empty when it says nothing.
    pub(crate) fn print(&self) -> String {
        let (members, word) = match self {
            Self::Is(text) => return text.clone(),
            Self::Not(member) => return format!("!({})", member.print()),
            Self::All(members) => (members, " && "),
            Self::Any(members) => (members, " || "),
        };
        let mut printed: Vec<String> =
            members.iter().map(Self::print).filter(|text| !text.is_empty()).collect();
        if printed.len() == 1 {
            return printed.remove(0);
        }
        for text in &mut printed {
            *text = format!("({text})");
        }
        printed.join(word)
    }
}

/// The hosts of a route: exact ones by equality, wildcards by suffix.
pub(crate) fn hosts<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Matcher {
    names("http.host", hosts)
}

/// The server names of a route.
pub(crate) fn snis<'a>(names: impl IntoIterator<Item = &'a str>) -> Matcher {
    self::names("tls.sni", names)
}

/// Names in a field: exact ones by equality, wildcards by suffix.
pub(crate) fn names<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> Matcher {
    let condition = |name: &str| match name.strip_prefix('*') {
        Some(suffix) => Matcher::text(field, "=^", suffix),
        None => Matcher::text(field, "==", name),
    };
    Matcher::Any(names.into_iter().filter(|name| !name.is_empty()).map(condition).collect())
}

/// A value of one header; the language wants names in lower case with underscores.
pub(crate) fn header(name: &str, regex: bool, value: &str) -> Matcher {
    let field = format!("http.headers.{}", name.to_lowercase().replace('-', "_"));
    Matcher::text(&field, if regex { "~" } else { "==" }, value)
}

/// A value of one query parameter.
pub(crate) fn query(name: &str, regex: bool, value: &str) -> Matcher {
    Matcher::text(&format!("http.queries.{name}"), if regex { "~" } else { "==" }, value)
}

/// A string literal of the language.
fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_of_one_prints_as_its_member() {
        let host = hosts(["shop.example.com"]);
        assert_eq!(Matcher::All(vec![host]).print(), r#"http.host == "shop.example.com""#);
    }

    #[test]
    fn empty_groups_vanish() {
        let matcher = Matcher::All(vec![hosts([""]), Matcher::Any(vec![])]);
        assert_eq!(matcher.print(), "");
    }

    #[test]
    fn members_of_a_larger_group_stand_in_brackets() {
        let paths = Matcher::Any(vec![
            Matcher::text("http.path", "==", "/a"),
            Matcher::text("http.path", "^=", "/a/"),
        ]);
        let matcher = Matcher::All(vec![hosts(["*.example.com"]), paths]);
        assert_eq!(
            matcher.print(),
            r#"(http.host =^ ".example.com") && ((http.path == "/a") || (http.path ^= "/a/"))"#
        );
    }

    #[test]
    fn backslash_and_quote_are_escaped() {
        assert_eq!(header("X-A", true, r#"\d""#).print(), r#"http.headers.x_a ~ "\\d\"""#);
    }
}
