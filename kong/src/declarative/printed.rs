//! Complete entities out of the text that they were printed to.
//!
//! [`Declared::to_json`] prints entities that were judged and completed. Where that very text is
//! known to be untouched, they come back from it without being read, let alone judged again.

use std::borrow::Cow;

use super::{Declared, Entity};
use crate::schema;

impl Declared {
    /// The entities that were printed by [`Declared::to_json`]; none where the text is another's.
    ///
    /// Nothing is judged: the text must be known to be what was printed.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let mut declared = Self::default();
        let mut kinds = Members::of(text)?;
        while let Some((kind, all)) = kinds.next()? {
            let kind = schema::entity(&kind)?.name;
            let mut entities = Members::of(all)?;
            while let Some((id, entity)) = entities.next()? {
                declared.insert(kind, &id, Entity::new(entity));
            }
        }
        Some(declared)
    }
}

/// The members of an object that was printed without blanks, all of which are objects themselves.
struct Members<'a> {
    rest: &'a str,
}

impl<'a> Members<'a> {
    fn of(object: &'a str) -> Option<Self> {
        Some(Self { rest: object.strip_prefix('{')?.strip_suffix('}')? })
    }

    /// The next member; `None` inside where there are no more, outside where the text is no such
    /// object.
    #[expect(clippy::option_option, reason = "the end and a fault are two things")]
    fn next(&mut self) -> Option<Option<(Cow<'a, str>, &'a str)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let end = string(self.rest.as_bytes())?;
        let (name, rest) = self.rest.split_at_checked(end)?;
        let rest = rest.strip_prefix(':')?;
        let end = object(rest.as_bytes())?;
        let (value, rest) = rest.split_at_checked(end)?;
        self.rest = match rest.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            Some(_) => return None,
            None if rest.is_empty() => rest,
            None => return None,
        };
        let plain = name.get(1..name.len() - 1)?;
        let name = match plain.contains('\\') {
            false => Cow::Borrowed(plain),
            true => Cow::Owned(serde_json::from_str(name).ok()?),
        };
        Some(Some((name, value)))
    }
}

/// The length of the string that the text begins with.
fn string(text: &[u8]) -> Option<usize> {
    let (b'"', mut at) = (*text.first()?, 1) else { return None };
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The length of the object that the text begins with.
fn object(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'{' | b'}' | b'"'))?;
        match text[at] {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => at += string(&text[at..])? - 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        declarative::{Context, Lenient, decode},
        schema::Flavor,
    };

    fn context() -> Context<'static> {
        Context { now: 1.5, seed: 1, flavor: Flavor::TraditionalCompatible, judge: &Lenient }
    }

    #[test]
    fn entities_come_back_as_they_were_printed() {
        for text in [
            r#"{"_format_version":"3.0"}"#,
            r#"{"_format_version":"3.0","services":[{"name":"s","host":"a","tags":["}\"{","\\"],
                "routes":[{"name":"ré","paths":["/a","~/b{2}\\d\"$"],"headers":{"x":["{"]}}]}],
                "consumers":[{"username":"ann","keyauth_credentials":[{"key":"k\"}"}]}],
                "upstreams":[{"name":"u","targets":[{"target":"10.0.0.1:80"}]}],
                "plugins":[{"name":"key-auth"}]}"#,
        ] {
            let mut declared = decode(text.as_bytes(), &context()).unwrap();
            declared.hash = None;
            let printed = declared.to_json();
            assert_eq!(Declared::from_json(&printed), Some(declared), "{printed}");
        }
    }

    #[test]
    fn other_texts_are_no_entities() {
        for text in [
            "",
            "[]",
            "{",
            "{}}",
            r#"{"services":{}"#,
            r#"{"services":{"a":{}},}"#,
            r#"{"services":{"a":1}}"#,
            r#"{"services":{"a":{}"b":{}}}"#,
            r#"{"services":{"a:{}}}"#,
            r#"{"nobody":{"a":{}}}"#,
        ] {
            assert!(Declared::from_json(text).is_none(), "{text}");
        }
    }
}
