//! Query strings and forms as Kong's plugins see them: a hundred arguments, in order, decoded; encoded anew by name.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode_str;

/// Arguments beyond this many are invisible.
const MAX_ARGS: usize = 100;

/// The decoded arguments of a query or form; a name without `=` has no value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Args(pub(crate) Vec<(String, Option<String>)>);

/// What one name holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// No such argument.
    Nothing,
    /// A name without value.
    Bare,
    /// One value.
    One(&'a str),
    /// Several.
    Many,
}

impl Args {
    /// Parses a query without its `?`.
    pub(crate) fn parse(query: &str) -> Self {
        Self::parse_up_to(query, MAX_ARGS)
    }

    pub(crate) fn parse_up_to(query: &str, limit: usize) -> Self {
        let pairs =
            query.split('&').filter(|pair| !pair.is_empty()).take(limit).filter_map(|pair| {
                let (name, value) = match pair.split_once('=') {
                    Some((name, value)) => (name, Some(decode(value))),
                    None => (pair, None),
                };
                let name = decode(name);
                (!name.is_empty()).then_some((name, value))
            });
        Self(pairs.collect())
    }

    /// What a name holds.
    pub(crate) fn find(&self, name: &str) -> Found<'_> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Found::Nothing,
            (Some(_), Some(_)) => Found::Many,
            (Some(None), None) => Found::Bare,
            (Some(Some(value)), None) => Found::One(value),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// The query again: sorted by name, values of one name in their order.
    pub(crate) fn encode(&self) -> String {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut query = String::new();
        for (name, value) in sorted {
            if !query.is_empty() {
                query.push('&');
            }
            escape(name, &mut query);
            if let Some(value) = value {
                query.push('=');
                escape(value, &mut query);
            }
        }
        query
    }
}

/// `%XX` and `+`; what is not UTF-8 afterwards is replaced.
pub(crate) fn decode(text: &str) -> String {
    let spaced: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Escapes what a URI component may not hold.
pub(crate) fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_knows_whether_it_is_bare_single_or_repeated() {
        let args = Args::parse("a=1&b&c=2&c=3&%64=x+y&=nameless");
        assert_eq!(args.find("a"), Found::One("1"));
        assert_eq!(args.find("b"), Found::Bare);
        assert_eq!(args.find("c"), Found::Many);
        assert_eq!(args.find("d"), Found::One("x y"));
        assert_eq!(args.find("e"), Found::Nothing);
    }

    #[test]
    fn arguments_are_encoded_by_name_and_escaped() {
        assert_eq!(Args::parse("z=1&a=%20%2F&a=ü").encode(), "a=%20%2F&a=%C3%BC&z=1");
    }
}
