//! Kong's own expression engine (`atc-router`) behind the index.
//!
//! A request's fields become the engine's values only where some expression reads them.

use atc_router::ast::{Expression, LogicalExpression, Type, Value};
use atc_router::context::{Context, Match as Found};
use atc_router::interpreter::Execute;
use atc_router::schema::Schema;
use atc_router::semantics::Validate;
use percent_encoding::percent_decode_str;

use super::compat::{self, Matcher};
use super::index::Index;
use super::literal;
use super::{Flavor, Lookup, Match, Rule, RuleError};

/// How many headers and query arguments the engine sees.
const VISIBLE: usize = 100;

/// A compiled set of expressions.
pub struct Engine {
    schema: Schema,
    matchers: Vec<Matcher>,
    index: Index,
    fields: Vec<Field>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("matchers", &self.matchers.len()).finish_non_exhaustive()
    }
}

/// A field that some expression reads.
#[derive(Debug)]
enum Field {
    Protocol,
    Sni,
    Method,
    Host,
    Path,
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
    /// The Host header's port, else the listener's.
    HostPort,
    SegmentCount,
    /// The field's name, its first segment and its last.
    Segments(String, usize, usize),
    /// The field's name, and the header's with underscores.
    Header(String, String),
    /// The field's name, and the argument's.
    Query(String, String),
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "net.protocol" => Self::Protocol,
            "tls.sni" => Self::Sni,
            "http.method" => Self::Method,
            "http.host" => Self::Host,
            "http.path" => Self::Path,
            "net.src.ip" => Self::SourceIp,
            "net.src.port" => Self::SourcePort,
            "net.dst.ip" => Self::DestinationIp,
            "net.dst.port" => Self::DestinationPort,
            "net.port" => Self::HostPort,
            "http.path.segments.len" => Self::SegmentCount,
            _ => {
                if let Some(header) = name.strip_prefix("http.headers.") {
                    Self::Header(name.to_owned(), header.to_ascii_lowercase())
                } else if let Some(query) = name.strip_prefix("http.queries.") {
                    Self::Query(name.to_owned(), query.to_owned())
                } else {
                    let range = name.strip_prefix("http.path.segments.")?;
                    let (first, last) = range.split_once('_').unwrap_or((range, range));
                    Self::Segments(name.to_owned(), first.parse().ok()?, last.parse().ok()?)
                }
            }
        })
    }
}

/// The fields that expressions may read.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = Schema::default();
    let strings = [
        "net.protocol",
        "tls.sni",
        "http.method",
        "http.host",
        "http.path",
        "http.path.segments.*",
        "http.headers.*",
        "http.queries.*",
    ];
    for field in strings {
        schema.add_field(field, Type::String);
    }
    for field in ["net.src.port", "net.dst.port", "net.port", "http.path.segments.len"] {
        schema.add_field(field, Type::Int);
    }
    for field in ["net.src.ip", "net.dst.ip"] {
        schema.add_field(field, Type::IpAddr);
    }
    schema
}

impl Engine {
    /// Compiles rules of a flavour.
    pub fn new(rules: &[Rule], flavor: Flavor) -> Result<Self, RuleError> {
        let schema = schema();
        let matchers = compat::matchers(rules, flavor)?;
        let mut names = Vec::new();
        for matcher in &matchers {
            // What was made of a route's fields reads the fields of the schema and is right by itself.
            if rules[matcher.route].expression.is_some() {
                matcher
                    .expression
                    .validate(&schema)
                    .map_err(|reason| RuleError::Expression { id: matcher.id, reason })?;
            }
            note_fields(&matcher.expression, &mut names);
        }
        let fields = names.into_iter().filter_map(Field::parse).collect();
        let index = Index::new(matchers.iter().map(|matcher| &matcher.expression));
        Ok(Self { schema, matchers, index, fields })
    }

    /// The first matcher, in their order, that takes the request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Match> {
        if !self.is_readable(lookup) {
            return None;
        }
        let mut context = None;
        self.index.candidates(lookup.host, lookup.path).find_map(|place| {
            let matcher = &self.matchers[place];
            match literal::judge(&matcher.expression, lookup) {
                Some((false, _)) => None,
                Some((true, path)) => Some(Match {
                    route: matcher.route,
                    path: path.map(str::to_owned),
                    captures: Vec::new(),
                }),
                None => self.try_one(matcher, context.get_or_insert_with(|| self.context(lookup))),
            }
        })
    }

    /// The answer of the engine alone, every matcher tried: what the index must never change.
    #[must_use]
    pub fn find_without_index(&self, lookup: &Lookup<'_>) -> Option<Match> {
        if !self.is_readable(lookup) {
            return None;
        }
        let mut context = self.context(lookup);
        self.matchers.iter().find_map(|matcher| self.try_one(matcher, &mut context))
    }

    fn try_one(&self, matcher: &Matcher, context: &mut Context<'_>) -> Option<Match> {
        let mut found = Found::new();
        let expression: &Expression = &matcher.expression;
        if !expression.execute(context, &mut found) {
            return None;
        }
        let path = match found.matches.remove("http.path") {
            Some(Value::String(path)) => Some(path),
            Some(Value::IpCidr(_) | Value::IpAddr(_) | Value::Int(_) | Value::Regex(_)) | None => {
                None
            }
        };
        Some(Match { route: matcher.route, path, captures: found.captures.into_iter().collect() })
    }

    /// Whether the headers that expressions read are texts; where one is not, nothing matches.
    fn is_readable(&self, lookup: &Lookup<'_>) -> bool {
        let is_text = |value: &http::HeaderValue| std::str::from_utf8(value.as_bytes()).is_ok();
        let wanted = self.fields.iter().filter_map(|field| match field {
            Field::Header(_, wanted) => Some(wanted.as_str()),
            _ => None,
        });
        wanted.into_iter().all(|wanted| {
            let seen = lookup.headers.iter().take(VISIBLE);
            seen.filter(|(name, _)| is_header(name.as_str(), wanted))
                .all(|(_, value)| is_text(value))
        })
    }

    /// The request's fields.
    fn context<'a>(&'a self, lookup: &Lookup<'_>) -> Context<'a> {
        let mut context = Context::new(&self.schema);
        for field in &self.fields {
            match field {
                Field::Protocol => {
                    context.add_value("net.protocol", string(lookup.protocol.name()));
                }
                Field::Sni => {
                    if let Some(sni) = lookup.sni {
                        context.add_value("tls.sni", string(sni));
                    }
                }
                Field::Method => context.add_value("http.method", string(lookup.method)),
                Field::Host => context.add_value("http.host", string(lookup.host)),
                Field::Path => context.add_value("http.path", string(lookup.path)),
                Field::SourceIp => context.add_value("net.src.ip", Value::IpAddr(lookup.source.0)),
                Field::SourcePort => context.add_value("net.src.port", int(lookup.source.1)),
                Field::DestinationIp => {
                    context.add_value("net.dst.ip", Value::IpAddr(lookup.destination.0));
                }
                Field::DestinationPort => {
                    context.add_value("net.dst.port", int(lookup.destination.1));
                }
                Field::HostPort => {
                    let port = int(lookup.host_port.unwrap_or(lookup.destination.1));
                    context.add_value("net.port", port);
                }
                Field::SegmentCount => {
                    let count = i64::try_from(segments(lookup.path).count()).unwrap_or(i64::MAX);
                    context.add_value("http.path.segments.len", Value::Int(count));
                }
                Field::Segments(name, first, last) => {
                    if let Some(text) = segment_range(lookup.path, *first, *last) {
                        context.add_value(name, Value::String(text));
                    }
                }
                Field::Header(field, wanted) => {
                    for (name, value) in lookup.headers.iter().take(VISIBLE) {
                        if is_header(name.as_str(), wanted) {
                            let text = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
                            context.add_value(field, string(text));
                        }
                    }
                }
                Field::Query(field, wanted) => {
                    for value in arguments(lookup.query, wanted) {
                        context.add_value(field, Value::String(value));
                    }
                }
            }
        }
        context
    }
}

/// Notes the fields that an expression reads, each once: there are few of them.
fn note_fields<'a>(expression: &'a Expression, names: &mut Vec<&'a str>) {
    match expression {
        Expression::Predicate(predicate) => {
            let name = predicate.lhs.var_name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(left, right) | LogicalExpression::Or(left, right) => {
                note_fields(left, names);
                note_fields(right, names);
            }
            LogicalExpression::Not(inner) => note_fields(inner, names),
        },
    }
}

fn string(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn int(port: u16) -> Value {
    Value::Int(i64::from(port))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn segment_range(path: &str, first: usize, last: usize) -> Option<String> {
    let count = (last + 1).checked_sub(first)?;
    let found = segments(path).skip(first).take(count).collect::<Vec<_>>();
    (found.len() == count).then(|| found.join("/"))
}

/// Header names match with hyphens for underscores.
fn is_header(name: &str, wanted: &str) -> bool {
    name.len() == wanted.len()
        && name.bytes().zip(wanted.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
}

/// The values of a query argument, decoded, in their order.
fn arguments<'a>(query: &'a str, wanted: &'a str) -> impl Iterator<Item = String> + 'a {
    query.split('&').filter(|pair| !pair.is_empty()).take(VISIBLE).filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name) == wanted).then(|| decode(value))
    })
}

/// A part of a query as text: escapes and `+` decoded.
#[must_use]
pub fn decode(part: &str) -> String {
    percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned()
}
