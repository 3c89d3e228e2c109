//! What one value must satisfy, and Kong's words when it does not.

use serde_json::{Value, json};

use super::Custom;
use crate::pattern;

/// A constraint on one value.
#[derive(Clone, Debug)]
pub enum Check {
    /// Equals, with an own message.
    Eq(Value, Option<&'static str>),
    /// Differs.
    Ne(Value),
    /// One of.
    OneOf(Vec<Value>),
    /// None of.
    NotOneOf(Vec<Value>),
    /// Greater than.
    Gt(f64),
    /// Both bounds allowed.
    Between(f64, f64),
    /// Exact length.
    LenEq(usize),
    /// Least length.
    LenMin(usize),
    /// Greatest length.
    LenMax(usize),
    /// Lua pattern.
    Match(&'static str),
    /// Not this Lua pattern.
    NotMatch(&'static str),
    /// None of these patterns, each with its message.
    MatchNone(Vec<(&'static str, &'static str)>),
    /// All of these patterns, each with its message.
    MatchAll(Vec<(&'static str, &'static str)>),
    /// At least one of these patterns.
    MatchAny(Vec<&'static str>, Option<&'static str>),
    /// Prefix.
    StartsWith(&'static str),
    /// The list contains the value.
    Contains(Value),
    /// A regular expression.
    IsRegex,
    /// A UUID.
    Uuid,
    /// Values of different subsets exclude each other.
    ExclusiveSubsets(Vec<Vec<&'static str>>),
    /// In code.
    Custom(Custom),
}

impl Check {
    /// The place of the check in Kong's order.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Eq(..) => 0,
            Self::Ne(_) => 1,
            Self::NotOneOf(_) => 2,
            Self::OneOf(_) => 3,
            Self::Gt(_) => 4,
            Self::Uuid => 5,
            Self::IsRegex => 6,
            Self::Between(..) => 7,
            Self::LenEq(_) => 8,
            Self::LenMin(_) => 9,
            Self::LenMax(_) => 10,
            Self::StartsWith(_) => 11,
            Self::NotMatch(_) => 12,
            Self::MatchNone(_) => 13,
            Self::Match(_) => 14,
            Self::MatchAll(_) => 15,
            Self::MatchAny(..) => 16,
            Self::Contains(_) => 17,
            Self::ExclusiveSubsets(_) => 18,
            Self::Custom(_) => 19,
        }
    }

    /// Checks one value of the right type.
    ///
    /// # Errors
    /// Kong's message when the value is refused.
    pub fn apply(&self, value: &Value) -> Result<(), String> {
        let holds = match self {
            Self::Eq(want, _) => same(value, want),
            Self::Ne(other) => !same(value, other),
            Self::OneOf(all) => contains(all, value),
            Self::NotOneOf(all) => !contains(all, value),
            Self::Gt(bound) => value.as_f64().is_some_and(|number| number > *bound),
            Self::Between(low, high) => {
                value.as_f64().is_some_and(|number| (*low..=*high).contains(&number))
            }
            Self::LenEq(n) => len(value) == *n,
            Self::LenMin(n) => len(value) >= *n,
            Self::LenMax(n) => len(value) <= *n,
            Self::Contains(item) => value.as_array().is_some_and(|all| contains(all, item)),
            Self::Uuid => is_uuid(text(value)),
            Self::IsRegex => crate::schema::is_regex(text(value)),
            Self::ExclusiveSubsets(sets) => return exclusive(sets, value),
            Self::Custom(check) => return check(value),
            Self::Match(_)
            | Self::NotMatch(_)
            | Self::MatchNone(_)
            | Self::MatchAll(_)
            | Self::MatchAny(..)
            | Self::StartsWith(_) => return self.apply_pattern(text(value)),
        };
        if holds { Ok(()) } else { Err(self.message(value)) }
    }

    /// What is said of a value for which a check without a pattern does not hold.
    fn message(&self, value: &Value) -> String {
        match self {
            Self::Eq(want, message) => message.map_or_else(|| eq_message(want), Into::into),
            Self::Ne(other) => format!("value must not be {}", bare(other)),
            Self::OneOf(all) => format!("expected one of: {}", join(all)),
            Self::NotOneOf(all) => format!("must not be one of: {}", join(all)),
            Self::Gt(bound) => format!("value must be greater than {}", number(*bound)),
            Self::Between(low, high) => {
                format!("value should be between {} and {}", number(*low), number(*high))
            }
            Self::LenEq(n) => format!("length must be {n}"),
            Self::LenMin(n) => format!("length must be at least {n}"),
            Self::LenMax(n) => format!("length must be at most {n}"),
            Self::Contains(item) => format!("expected to contain: {}", bare(item)),
            Self::Uuid => "expected a valid UUID".into(),
            Self::IsRegex => format!("not a valid regex: {}", text(value)),
            // Each of these says itself what is wrong.
            Self::ExclusiveSubsets(_)
            | Self::Custom(_)
            | Self::Match(_)
            | Self::NotMatch(_)
            | Self::MatchNone(_)
            | Self::MatchAll(_)
            | Self::MatchAny(..)
            | Self::StartsWith(_) => String::new(),
        }
    }

    fn apply_pattern(&self, text: &str) -> Result<(), String> {
        let refusal = match self {
            Self::StartsWith(prefix) => {
                (!text.starts_with(prefix)).then(|| format!("should start with: {prefix}"))
            }
            Self::NotMatch(pattern) => {
                pattern::is_match(pattern, text).then(|| format!("invalid value: {text}"))
            }
            Self::Match(pattern) => {
                (!pattern::is_match(pattern, text)).then(|| format!("invalid value: {text}"))
            }
            Self::MatchNone(rules) => rules
                .iter()
                .find(|(pattern, _)| pattern::is_match(pattern, text))
                .map(|(_, message)| (*message).to_owned()),
            Self::MatchAll(rules) => rules
                .iter()
                .find(|(pattern, _)| !pattern::is_match(pattern, text))
                .map(|(_, message)| (*message).to_owned()),
            Self::MatchAny(patterns, message) => {
                (!patterns.iter().any(|pattern| pattern::is_match(pattern, text)))
                    .then(|| message.map_or_else(|| format!("invalid value: {text}"), Into::into))
            }
            _ => None,
        };
        refusal.map_or(Ok(()), Err)
    }

    /// The name and value under which `/schemas` prints the check, if it does.
    pub(super) fn print(&self) -> Option<(&'static str, Value)> {
        let rules = |rules: &[(&str, &str)]| {
            Value::from_iter(rules.iter().map(|(p, e)| json!({ "pattern": p, "err": e })))
        };
        Some(match self {
            Self::Eq(value, _) => ("eq", value.clone()),
            Self::Ne(value) => ("ne", value.clone()),
            Self::OneOf(all) => ("one_of", json!(all)),
            Self::NotOneOf(all) => ("not_one_of", json!(all)),
            Self::Gt(bound) => ("gt", tidy(*bound)),
            Self::Between(low, high) => ("between", json!([tidy(*low), tidy(*high)])),
            Self::LenEq(n) => ("len_eq", json!(n)),
            Self::LenMin(n) => ("len_min", json!(n)),
            Self::LenMax(n) => ("len_max", json!(n)),
            Self::Match(pattern) => ("match", json!(pattern)),
            Self::NotMatch(pattern) => ("not_match", json!(pattern)),
            Self::MatchNone(all) => ("match_none", rules(all)),
            Self::MatchAll(all) => ("match_all", rules(all)),
            Self::MatchAny(patterns, None) => ("match_any", json!({ "patterns": patterns })),
            Self::MatchAny(patterns, Some(message)) => {
                ("match_any", json!({ "patterns": patterns, "err": message }))
            }
            Self::StartsWith(prefix) => ("starts_with", json!(prefix)),
            Self::Contains(value) => ("contains", value.clone()),
            Self::IsRegex => ("is_regex", json!(true)),
            Self::Uuid => ("uuid", json!(true)),
            Self::ExclusiveSubsets(sets) => ("mutually_exclusive_subsets", json!(sets)),
            Self::Custom(_) => return None,
        })
    }
}

fn eq_message(want: &Value) -> String {
    format!("value must be {}", bare(want))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn len(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Equality as Lua has it: 1 and 1.0 are the same number.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

pub(super) fn contains(all: &[Value], value: &Value) -> bool {
    all.iter().any(|one| same(one, value))
}

/// A value as Lua's `tostring` writes it.
pub(super) fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn join(all: &[Value]) -> String {
    all.iter().map(bare).collect::<Vec<_>>().join(", ")
}

/// A number as Lua writes it: whole numbers without a fraction.
pub(super) fn number(value: f64) -> String {
    format!("{value}")
}

fn tidy(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// Whether the text is a UUID in the usual form.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn exclusive(sets: &[Vec<&'static str>], value: &Value) -> Result<(), String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut touched: Vec<String> = Vec::new();
    for item in items {
        if let Some(set) = sets.iter().find(|set| set.contains(&text(item))) {
            let set = format!("('{}')", set.join("', '"));
            if !touched.contains(&set) {
                touched.push(set);
            }
        }
    }
    if touched.len() > 1 {
        return Err(format!("these sets are mutually exclusive: {}", touched.join(", ")));
    }
    Ok(())
}
