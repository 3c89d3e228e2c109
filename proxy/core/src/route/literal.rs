//! Expressions that compare fields with fixed texts and numbers, judged on the request as it is.
//!
//! The engine wants its values gathered in maps of its own before it looks at any. Most routes ask for a host, a path,
//! a method and a protocol: those are judged here in the engine's order and with its results, and whatever asks for
//! more is left to it.

use atc_router::ast::{BinaryOperator, Expression, LogicalExpression, Predicate, Value};

use super::Lookup;

/// Whether an expression takes a request, and the last text of it that a path met; `None` where only the engine knows.
#[must_use]
pub(super) fn judge<'a>(
    expression: &'a Expression,
    lookup: &Lookup<'_>,
) -> Option<(bool, Option<&'a str>)> {
    let mut path = None;
    let taken = execute(expression, lookup, &mut path)?;
    Some((taken, path))
}

fn execute<'a>(
    expression: &'a Expression,
    lookup: &Lookup<'_>,
    path: &mut Option<&'a str>,
) -> Option<bool> {
    match expression {
        Expression::Predicate(predicate) => compare(predicate, lookup, path),
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(left, right) => match execute(left, lookup, path)? {
                true => execute(right, lookup, path),
                false => Some(false),
            },
            LogicalExpression::Or(left, right) => match execute(left, lookup, path)? {
                true => Some(true),
                false => execute(right, lookup, path),
            },
            LogicalExpression::Not(inner) => execute(inner, lookup, path).map(|taken| !taken),
        },
    }
}

fn compare<'a>(
    predicate: &'a Predicate,
    lookup: &Lookup<'_>,
    path: &mut Option<&'a str>,
) -> Option<bool> {
    if !predicate.lhs.transformations.is_empty() {
        return None;
    }
    let name = predicate.lhs.var_name.as_str();
    match &predicate.rhs {
        Value::String(wanted) => {
            let given = match name {
                "net.protocol" => lookup.protocol.name(),
                "http.method" => lookup.method,
                "http.host" => lookup.host,
                "http.path" => lookup.path,
                _ => return None,
            };
            let met = match predicate.op {
                BinaryOperator::Equals => given == wanted,
                BinaryOperator::Prefix => given.starts_with(wanted.as_str()),
                BinaryOperator::Postfix => given.ends_with(wanted.as_str()),
                BinaryOperator::NotEquals => return Some(given != wanted),
                _ => return None,
            };
            if met && name == "http.path" {
                *path = Some(wanted);
            }
            Some(met)
        }
        Value::Int(wanted) => {
            let given = match name {
                "net.port" => lookup.host_port.unwrap_or(lookup.destination.1),
                "net.dst.port" => lookup.destination.1,
                "net.src.port" => lookup.source.1,
                _ => return None,
            };
            match predicate.op {
                BinaryOperator::Equals => Some(i64::from(given) == *wanted),
                BinaryOperator::NotEquals => Some(i64::from(given) != *wanted),
                _ => None,
            }
        }
        Value::IpCidr(_) | Value::IpAddr(_) | Value::Regex(_) => None,
    }
}
