//! Lua expressions evaluated for a request.

use std::borrow::Cow;

use regex::Regex;

use super::Failure;
use super::parse::Expr;
use crate::exchange::{Exchange, text};
use crate::plugin::args::Args;

/// What a name stands for.
pub(super) struct Scope<'a>(pub(super) &'a Exchange);

/// A value of Lua.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Cow<'a, str>>),
    /// A table that is looked up and not held.
    Table(Table),
    Function(&'a Expr),
    Type,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Headers,
    Query,
    Captures,
    Shared,
}

impl Value<'_> {
    fn is_true(&self) -> bool {
        !matches!(self, Self::Nil | Self::Bool(false))
    }

    /// Appends the value as `tostring` writes it; nil is nothing, and a table has no text.
    pub(super) fn render(&self, into: &mut String) -> Result<(), Failure> {
        match self {
            Self::Nil => {}
            Self::Bool(value) => into.push_str(if *value { "true" } else { "false" }),
            Self::Number(value) => into.push_str(&format_number(*value)),
            Self::Text(value) => into.push_str(value),
            Self::List(_) | Self::Table(_) | Self::Function(_) | Self::Type => return Err(Failure),
        }
        Ok(())
    }

    fn to_text(&self) -> Result<String, Failure> {
        let mut text = String::new();
        if matches!(self, Self::Nil | Self::Bool(_)) {
            return Err(Failure);
        }
        self.render(&mut text).map(|()| text)
    }

    fn to_number(&self) -> Result<f64, Failure> {
        match self {
            Self::Number(value) => Ok(*value),
            Self::Text(value) => number(value).ok_or(Failure),
            _ => Err(Failure),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) | Self::Table(_) => "table",
            Self::Function(_) | Self::Type => "function",
        }
    }
}

impl<'a> Scope<'a> {
    /// Evaluates an expression.
    pub(super) fn eval(&self, expr: &'a Expr) -> Result<Value<'a>, Failure> {
        match expr {
            Expr::Nil => Ok(Value::Nil),
            Expr::Bool(value) => Ok(Value::Bool(*value)),
            Expr::Number(value) => Ok(Value::Number(*value)),
            Expr::Text(value) => Ok(Value::Text(Cow::Borrowed(value))),
            Expr::Name(name) => Ok(match name.as_str() {
                "headers" => Value::Table(Table::Headers),
                "query_params" => Value::Table(Table::Query),
                "uri_captures" => Value::Table(Table::Captures),
                "shared" => Value::Table(Table::Shared),
                "type" => Value::Type,
                _ => Value::Nil,
            }),
            Expr::Index(table, key) => self.index(&self.eval(table)?, &self.eval(key)?),
            Expr::Function(body) => Ok(Value::Function(body)),
            Expr::Call(callee, arguments) => match (self.eval(callee)?, arguments.as_slice()) {
                (Value::Function(body), []) => self.eval(body),
                (Value::Type, [value]) => Ok(Value::Text(self.eval(value)?.type_name().into())),
                _ => Err(Failure),
            },
            Expr::Method(subject, name, arguments) => {
                let subject = match self.eval(subject)? {
                    Value::Text(text) => text.into_owned(),
                    _ => return Err(Failure),
                };
                let arguments = arguments
                    .iter()
                    .map(|argument| self.eval(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                method(&subject, name, &arguments)
            }
            Expr::Unary(operator, operand) => unary(operator, &self.eval(operand)?),
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                match (*operator, left.is_true()) {
                    ("and", false) | ("or", true) => Ok(left),
                    ("and" | "or", _) => self.eval(right),
                    _ => binary(operator, &left, &self.eval(right)?),
                }
            }
        }
    }

    fn index(&self, table: &Value<'a>, key: &Value<'a>) -> Result<Value<'a>, Failure> {
        let position =
            |key: &Value<'_>| key.to_number().ok().filter(|at| *at >= 0.0).map(|at| at as usize);
        match table {
            Value::List(items) => {
                let item = position(key).and_then(|at| items.get(at.checked_sub(1)?)).cloned();
                Ok(item.map_or(Value::Nil, Value::Text))
            }
            Value::Table(Table::Headers) => Ok(self.header(&key.to_text()?)),
            Value::Table(Table::Query) => {
                let args = Args::parse(self.0.request.query.as_deref().unwrap_or_default());
                let name = key.to_text()?;
                let found: Vec<Option<String>> = args
                    .0
                    .into_iter()
                    .filter(|(known, _)| *known == name)
                    .map(|(_, value)| value)
                    .collect();
                Ok(match found.as_slice() {
                    [] => Value::Nil,
                    [None] => Value::Bool(true),
                    [Some(value)] => Value::Text(value.clone().into()),
                    many => Value::List(
                        many.iter().map(|value| value.clone().unwrap_or_default().into()).collect(),
                    ),
                })
            }
            Value::Table(Table::Captures) => {
                let captures = &self.0.matched.captures;
                let found = match key {
                    Value::Number(_) => position(key).and_then(|at| captures.unnamed.get(at)),
                    _ => {
                        let name = key.to_text()?;
                        captures
                            .named
                            .iter()
                            .find(|(known, _)| *known == name)
                            .map(|(_, value)| value)
                    }
                };
                Ok(found.map_or(Value::Nil, |value| Value::Text(Cow::Borrowed(value))))
            }
            Value::Table(Table::Shared) => {
                let kept = self.0.notes.get::<crate::plugin::lua::Kept>();
                let value = kept.and_then(|kept| kept.shared.get(&key.to_text().ok()?));
                Ok(match value {
                    Some(serde_json::Value::String(text)) => Value::Text(text.as_str().into()),
                    Some(serde_json::Value::Bool(value)) => Value::Bool(*value),
                    Some(serde_json::Value::Number(number)) => {
                        number.as_f64().map_or(Value::Nil, Value::Number)
                    }
                    Some(_) | None => Value::Nil,
                })
            }
            _ => Err(Failure),
        }
    }

    fn header(&self, name: &str) -> Value<'a> {
        let headers = &self.0.request.headers;
        let name = name.to_ascii_lowercase();
        let dashed = name.replace('_', "-");
        let name = if headers.contains_key(&name) { name } else { dashed };
        let values: Vec<Cow<'a, str>> =
            headers.get_all(&name).iter().filter_map(text).map(Cow::Borrowed).collect();
        match values.len() {
            0 => Value::Nil,
            1 => values.into_iter().next().map_or(Value::Nil, Value::Text),
            _ => Value::List(values),
        }
    }
}

fn unary<'a>(operator: &str, operand: &Value<'a>) -> Result<Value<'a>, Failure> {
    match (operator, operand) {
        ("not", operand) => Ok(Value::Bool(!operand.is_true())),
        ("-", operand) => operand.to_number().map(|number| Value::Number(-number)),
        ("#", Value::Text(text)) => Ok(Value::Number(text.len() as f64)),
        ("#", Value::List(items)) => Ok(Value::Number(items.len() as f64)),
        _ => Err(Failure),
    }
}

fn binary<'a>(operator: &str, left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>, Failure> {
    let equal = || match (left, right) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => left == right,
        _ => false,
    };
    let order = || match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.partial_cmp(right).ok_or(Failure),
        (Value::Text(left), Value::Text(right)) => Ok(left.cmp(right)),
        _ => Err(Failure),
    };
    let arithmetic = |apply: fn(f64, f64) -> f64| {
        Ok(Value::Number(apply(left.to_number()?, right.to_number()?)))
    };
    match operator {
        "==" => Ok(Value::Bool(equal())),
        "~=" => Ok(Value::Bool(!equal())),
        "<" => order().map(|order| Value::Bool(order.is_lt())),
        ">" => order().map(|order| Value::Bool(order.is_gt())),
        "<=" => order().map(|order| Value::Bool(order.is_le())),
        ">=" => order().map(|order| Value::Bool(order.is_ge())),
        ".." => Ok(Value::Text((left.to_text()? + &right.to_text()?).into())),
        "+" => arithmetic(|left, right| left + right),
        "-" => arithmetic(|left, right| left - right),
        "*" => arithmetic(|left, right| left * right),
        "/" => arithmetic(|left, right| left / right),
        "%" => arithmetic(|left, right| left - (left / right).floor() * right),
        "^" => arithmetic(f64::powf),
        _ => Err(Failure),
    }
}

/// The longest text that a method may make.
const MAX_TEXT: usize = 65_536;

fn method<'a>(subject: &str, name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, Failure> {
    let text = |at: usize| arguments.get(at).ok_or(Failure).and_then(Value::to_text);
    let made = |text: String| Ok(Value::Text(text.into()));
    match name {
        "upper" => made(subject.to_ascii_uppercase()),
        "lower" => made(subject.to_ascii_lowercase()),
        "reverse" => made(subject.chars().rev().collect()),
        "len" => Ok(Value::Number(subject.len() as f64)),
        "sub" => {
            let at = |index: usize, default: f64| {
                arguments.get(index).map_or(Ok(default), Value::to_number)
            };
            made(slice(subject, at(0, 1.0)?, at(1, -1.0)?))
        }
        "rep" => {
            let times = arguments.first().ok_or(Failure)?.to_number()?.max(0.0) as usize;
            if times.saturating_mul(subject.len()) > MAX_TEXT {
                Err(Failure)
            } else {
                made(subject.repeat(times))
            }
        }
        "gsub" => {
            let replacement = text(1)?.replace('$', "$$").replace('%', "$");
            made(pattern(&text(0)?)?.replace_all(subject, replacement.as_str()).into_owned())
        }
        "match" => {
            let found = pattern(&text(0)?)?.captures(subject).and_then(|found| {
                found.get(1).or_else(|| found.get(0)).map(|group| group.as_str().to_owned())
            });
            Ok(found.map_or(Value::Nil, |found| Value::Text(found.into())))
        }
        "find" => {
            let found = pattern(&text(0)?)?.find(subject).map(|found| found.start() + 1);
            Ok(found.map_or(Value::Nil, |at| Value::Number(at as f64)))
        }
        _ => Err(Failure),
    }
}

fn slice(text: &str, from: f64, to: f64) -> String {
    let length = text.len() as f64;
    let absolute = |at: f64| if at < 0.0 { (length + at + 1.0).max(0.0) } else { at };
    let (from, to) = (absolute(from).max(1.0), absolute(to).min(length));
    if from > to {
        return String::new();
    }
    String::from_utf8_lossy(&text.as_bytes()[from as usize - 1..to as usize]).into_owned()
}

/// A Lua pattern as a regular expression.
fn pattern(source: &str) -> Result<Regex, Failure> {
    let mut regex = String::new();
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next().ok_or(Failure)? {
                'a' => regex.push_str("[A-Za-z]"),
                'd' => regex.push_str("[0-9]"),
                'l' => regex.push_str("[a-z]"),
                'u' => regex.push_str("[A-Z]"),
                's' => regex.push_str(r"\s"),
                'w' => regex.push_str("[A-Za-z0-9]"),
                'x' => regex.push_str("[0-9A-Fa-f]"),
                'p' => regex.push_str("[[:punct:]]"),
                'c' => regex.push_str("[[:cntrl:]]"),
                other => regex.push_str(&regex::escape(&other.to_string())),
            },
            '-' if !regex.is_empty() && !regex.ends_with('[') => regex.push_str("*?"),
            '{' | '}' | '|' | '\\' => {
                regex.push('\\');
                regex.push(c);
            }
            other => regex.push(other),
        }
    }
    Regex::new(&regex).map_err(|_| Failure)
}

/// A number as Lua reads it: decimal, with an exponent, or hexadecimal.
pub(in crate::plugin) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok().map(|number| number as f64);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    plain.then(|| text.parse().ok())?
}

/// A number as Lua writes it: fourteen significant digits.
pub(in crate::plugin) fn format_number(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.13e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..14).contains(&exponent) {
        let decimals = usize::try_from(13 - exponent).unwrap_or(0);
        return trim(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_fourteen_digits() {
        for (number, text) in [
            (12_345_678_901_234_567_890.0, "1.2345678901235e+19"),
            (0.1, "0.1"),
            (1_000.0, "1000"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (1e-7, "1e-07"),
            (-0.0, "-0"),
            (7.0, "7"),
        ] {
            assert_eq!(format_number(number), text);
        }
    }
}
