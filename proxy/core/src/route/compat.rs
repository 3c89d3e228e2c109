//! Classic routes as expressions: what Kong's `traditional_compatible` flavour makes of fields.
//!
//! A route with several paths becomes several matchers, one for its regular expressions and one for each length
//! of prefix, so that priority can tell them apart. Priorities are the ones that a real Kong was seen to use:
//! its shifts fall back to 32 bits in places, and moving over from it must change no winner. From four kinds of
//! matchers on its arithmetic turns negative and its choice random; there the documented order holds.

use std::collections::BTreeMap;

use atc_router::ast::{
    BinaryOperator, Expression, Lhs, LhsTransformations, LogicalExpression, Predicate, Value,
};
use atc_router::parser;
use regex::Regex;
use uuid::{Uuid, uuid};

use super::{Endpoint, Flavor, Protocol, Protocols, Rule, RuleError};

/// The namespace of the ids of split routes.
const SPLIT: Uuid = uuid!("7f145bf9-0dce-4f91-98eb-debbce4b9f6b");

/// One expression with its place in the order.
#[derive(Debug)]
pub struct Matcher {
    /// Higher goes first.
    pub priority: u64,
    /// Among equals, higher goes first.
    pub id: Uuid,
    /// The place of the route among the rules.
    pub route: usize,
    /// What must hold.
    pub expression: Expression,
}

/// The matchers of all rules, first to last in the order of matching.
pub fn matchers(rules: &[Rule], flavor: Flavor) -> Result<Vec<Matcher>, RuleError> {
    let mut all = Vec::with_capacity(rules.len());
    for (route, rule) in rules.iter().enumerate() {
        match &rule.expression {
            Some(text) => {
                let expression = parse(text, rule.id)?;
                let priority = 0xFF << 56 | rule.priority;
                let expression = with_protocols(Some(expression), rule.protocols, flavor);
                all.extend(expression.map(|expression| Matcher {
                    priority,
                    id: rule.id,
                    route,
                    expression,
                }));
            }
            None => {
                for (id, paths) in split(rule) {
                    let priority = if rule.protocols.is_http() {
                        priority(rule, &paths)
                    } else {
                        stream_priority(rule)
                    };
                    let expression =
                        with_protocols(expression(rule, &paths)?, rule.protocols, flavor);
                    all.extend(expression.map(|expression| Matcher {
                        priority,
                        id,
                        route,
                        expression,
                    }));
                }
            }
        }
    }
    all.sort_by_cached_key(|matcher| std::cmp::Reverse((matcher.priority, matcher.id)));
    Ok(all)
}

fn parse(text: &str, id: Uuid) -> Result<Expression, RuleError> {
    parser::parse(text).map_err(|error| RuleError::Expression { id, reason: error.to_string() })
}

/// The expressions flavour adds what a route's protocols ask for. A route for https alone stays reachable over
/// plain HTTP, so that it can redirect; one for TLS streams alone likewise.
fn with_protocols(
    expression: Option<Expression>,
    protocols: Protocols,
    flavor: Flavor,
) -> Option<Expression> {
    if flavor != Flavor::Expressions {
        return expression;
    }
    let all = [
        (Protocol::Http, "http"),
        (Protocol::Https, "https"),
        (Protocol::Grpc, "http"),
        (Protocol::Grpcs, "https"),
        (Protocol::Tcp, "tcp"),
        (Protocol::Tls, "tls"),
        (Protocol::TlsPassthrough, "tcp"),
        (Protocol::Udp, "udp"),
        (Protocol::Ws, "http"),
        (Protocol::Wss, "https"),
    ];
    let alone = [Protocol::Https, Protocol::Tls, Protocol::TlsPassthrough];
    if alone.iter().any(|one| protocols == Protocols::from_iter([*one])) {
        return expression;
    }
    let wanted = all
        .iter()
        .filter(|(protocol, _)| protocols.has(*protocol))
        .map(|(_, name)| test("net.protocol", BinaryOperator::Equals, text(name)));
    and([expression, any_of(wanted)])
}

/// The paths of each matcher that a rule becomes, with the matcher's id.
fn split(rule: &Rule) -> Vec<(Uuid, Vec<&str>)> {
    if rule.paths.len() < 2 {
        return vec![(rule.id, rule.paths.iter().map(String::as_str).collect())];
    }
    let mut groups = BTreeMap::<usize, Vec<&str>>::new();
    for path in &rule.paths {
        groups.entry(if path.starts_with('~') { 0 } else { path.len() }).or_default().push(path);
    }
    groups
        .into_iter()
        .map(|(key, paths)| (Uuid::new_v5(&SPLIT, format!("{}#{key}", rule.id).as_bytes()), paths))
        .collect()
}

/// How many kinds of fields a rule looks at.
fn kinds(rule: &Rule) -> u32 {
    [
        rule.sources.is_empty(),
        rule.destinations.is_empty(),
        rule.methods.is_empty(),
        rule.hosts.is_empty(),
        rule.headers.is_empty(),
        rule.snis.is_empty(),
        rule.paths.is_empty(),
    ]
    .into_iter()
    .map(|empty| u32::from(!empty))
    .sum()
}

fn priority(rule: &Rule, paths: &[&str]) -> u64 {
    let weight = u64::from(kinds(rule));
    let plain_host =
        u64::from(!rule.hosts.is_empty() && !rule.hosts.iter().any(|host| host.contains('*')));
    let headers = rule.headers.len().min(255) as u64;
    let regex = paths.first().is_some_and(|path| path.starts_with('~'));
    let length =
        paths.iter().map(|path| path.len()).max().filter(|_| !regex).unwrap_or_default() as u64;
    let regex_priority = if regex { rule.regex_priority } else { 0 };
    if weight > 3 {
        let regex_priority = u64::from(u32::try_from(regex_priority.max(0)).unwrap_or(u32::MAX));
        return weight << 61
            | plain_host << 60
            | headers << 52
            | u64::from(regex) << 51
            | regex_priority << 19
            | length.min(0x7_FFFF);
    }
    plain_host << 60
        | u64::from(regex) << 51
        | shifted(weight as i64, 29)
        | headers << 20
        | shifted(regex_priority, 19)
        | length
}

/// A shift in 32 bits, its sign carried into 64.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "that is what it imitates"
)]
fn shifted(value: i64, by: u32) -> u64 {
    i64::from((value as i32).wrapping_shl(by)) as u64
}

fn stream_priority(rule: &Rule) -> u64 {
    let bits = |endpoints: &[Endpoint]| {
        endpoints
            .iter()
            .map(|endpoint| {
                let ip = match &endpoint.ip {
                    Some(ip) if ip.contains('/') => 1,
                    Some(_) => 8,
                    None => 0,
                };
                ip | if endpoint.port.is_some() { 4 } else { 0 }
            })
            .max()
            .unwrap_or(0_u64)
    };
    let both = !rule.sources.is_empty() && !rule.destinations.is_empty();
    let most = u64::from(!rule.snis.is_empty() || both);
    most << 61 | bits(&rule.sources) << 4 | bits(&rule.destinations)
}

fn expression(rule: &Rule, paths: &[&str]) -> Result<Option<Expression>, RuleError> {
    let methods =
        rule.methods.iter().map(|method| test("http.method", BinaryOperator::Equals, text(method)));
    let mut parts = vec![
        snis(rule),
        endpoints("src", &rule.sources, rule.id)?,
        endpoints("dst", &rule.destinations, rule.id)?,
        any_of(methods),
        any_of(rule.hosts.iter().map(|name| host(name))),
    ];
    let paths =
        paths.iter().map(|pattern| path(pattern, rule.id)).collect::<Result<Vec<_>, _>>()?;
    parts.push(any_of(paths));
    for (name, values) in &rule.headers {
        let tests = values
            .iter()
            .map(|value| header(name, value, rule.id))
            .collect::<Result<Vec<_>, _>>()?;
        parts.push(any_of(tests));
    }
    Ok(and(parts))
}

fn snis(rule: &Rule) -> Option<Expression> {
    let names = any_of(rule.snis.iter().map(|name| wildcard("tls.sni", trim_dot(name))))?;
    let secure = if rule.protocols.is_http() { "https" } else { "tls" };
    let elsewhere = test("net.protocol", BinaryOperator::NotEquals, text(secure));
    Some(or(elsewhere, names))
}

/// A trailing dot of a server name does not count.
fn trim_dot(name: &str) -> &str {
    match name.strip_suffix('.') {
        Some(rest) if !rest.is_empty() => rest,
        _ => name,
    }
}

fn wildcard(field: &str, name: &str) -> Expression {
    if let Some(rest) = name.strip_prefix('*') {
        test(field, BinaryOperator::Postfix, text(rest))
    } else if let Some(rest) = name.strip_suffix('*') {
        test(field, BinaryOperator::Prefix, text(rest))
    } else {
        test(field, BinaryOperator::Equals, text(name))
    }
}

fn host(name: &str) -> Expression {
    match split_port(name) {
        (host, Some(port)) => {
            let port = test("net.port", BinaryOperator::Equals, Value::Int(i64::from(port)));
            logical(LogicalExpression::And(wildcard("http.host", host), port))
        }
        (host, None) => wildcard("http.host", host),
    }
}

/// A host's name and port; the brackets of an IPv6 address stay.
#[must_use]
pub fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

fn path(pattern: &str, id: Uuid) -> Result<Expression, RuleError> {
    match pattern.strip_prefix('~') {
        Some(regex) => Ok(test(
            "http.path",
            BinaryOperator::Regex,
            Value::Regex(compile(&format!("^{regex}"), id)?),
        )),
        None => Ok(test("http.path", BinaryOperator::Prefix, text(pattern))),
    }
}

/// Compiles a regular expression of a route.
pub fn compile(pattern: &str, id: Uuid) -> Result<Regex, RuleError> {
    Regex::new(pattern).map_err(|error| RuleError::Regex { id, reason: error.to_string() })
}

fn header(name: &str, value: &str, id: Uuid) -> Result<Expression, RuleError> {
    let field = format!("http.headers.{}", name.to_ascii_lowercase().replace('-', "_"));
    let value = value.to_lowercase();
    let (op, rhs) = match value.strip_prefix("~*") {
        Some(regex) => (BinaryOperator::Regex, Value::Regex(compile(regex, id)?)),
        None => (BinaryOperator::Equals, Value::String(value)),
    };
    let transformations = vec![LhsTransformations::Any, LhsTransformations::Lower];
    Ok(Expression::Predicate(Predicate { lhs: Lhs { var_name: field, transformations }, rhs, op }))
}

fn endpoints(
    side: &str,
    endpoints: &[Endpoint],
    id: Uuid,
) -> Result<Option<Expression>, RuleError> {
    let mut tests = Vec::new();
    for endpoint in endpoints {
        let ip = match &endpoint.ip {
            Some(ip) if ip.contains('/') => Some(parse(&format!("net.{side}.ip in {ip}"), id)?),
            Some(ip) => Some(parse(&format!("net.{side}.ip == {ip}"), id)?),
            None => None,
        };
        let port = endpoint.port.map(|port| {
            test(&format!("net.{side}.port"), BinaryOperator::Equals, Value::Int(i64::from(port)))
        });
        tests.extend(and([ip, port]));
    }
    Ok(any_of(tests))
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn test(field: &str, op: BinaryOperator, rhs: Value) -> Expression {
    let lhs = Lhs { var_name: field.to_owned(), transformations: Vec::new() };
    Expression::Predicate(Predicate { lhs, rhs, op })
}

fn logical(expression: LogicalExpression) -> Expression {
    Expression::Logical(Box::new(expression))
}

fn or(left: Expression, right: Expression) -> Expression {
    logical(LogicalExpression::Or(left, right))
}

fn any_of(tests: impl IntoIterator<Item = Expression>) -> Option<Expression> {
    tests.into_iter().reduce(or)
}

fn and(parts: impl IntoIterator<Item = Option<Expression>>) -> Option<Expression> {
    parts.into_iter().flatten().reduce(|left, right| logical(LogicalExpression::And(left, right)))
}
