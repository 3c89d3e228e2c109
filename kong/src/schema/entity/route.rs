//! Routes, whose fields depend on their protocols and on the router's flavor.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{EntitySchema, Flavor, header, not_empty, null, protocol};
use crate::schema::{
    Check, Condition, EntityCheck, Fault, Field, Kind, Record, entity_check::get, typedef,
};

const STREAM: &str = "'tcp', 'tls', 'tls_passthrough' or 'udp'";
const MATCHERS: [&str; 7] =
    ["snis", "sources", "destinations", "methods", "hosts", "paths", "headers"];

/// The records by family of protocols, without and with the fields of expressions.
#[derive(Debug)]
pub(super) struct Variants {
    classic: [Record; 4],
    expressions: [Record; 4],
    printed: [Record; 2],
}

/// A family of protocols.
#[derive(Clone, Copy)]
enum Family {
    Http,
    Grpc,
    Stream,
    Passthrough,
}

const FAMILIES: [Family; 4] = [Family::Http, Family::Grpc, Family::Stream, Family::Passthrough];

impl Variants {
    pub(super) fn record_for(
        &self,
        route: &Map<String, Value>,
        flavor: Flavor,
    ) -> Result<&Record, BTreeMap<String, Fault>> {
        let refuse =
            |text: String| Err(BTreeMap::from([("protocols".to_owned(), Fault::Message(text))]));
        let first = match route.get("protocols") {
            None => "http",
            Some(Value::Null) => return refuse("required field missing".into()),
            Some(Value::Array(all)) => match all.first() {
                Some(Value::String(first)) => first,
                Some(other) if !other.is_null() => {
                    return refuse(format!("unknown type: {other}"));
                }
                _ => return refuse("unknown type: nil".into()),
            },
            Some(Value::Object(map)) if map.is_empty() => {
                return refuse("unknown type: nil".into());
            }
            Some(_) => return refuse("expected a set".into()),
        };
        let family = match first {
            "http" | "https" => Family::Http,
            "grpc" | "grpcs" => Family::Grpc,
            "tcp" | "tls" | "udp" => Family::Stream,
            "tls_passthrough" => Family::Passthrough,
            other => return refuse(format!("unknown type: {other}")),
        };
        let records = match flavor {
            Flavor::Traditional | Flavor::TraditionalCompatible => &self.classic,
            Flavor::Expressions => &self.expressions,
        };
        Ok(&records[family as usize])
    }

    pub(super) fn print(&self, flavor: Flavor) -> Value {
        self.printed[usize::from(flavor == Flavor::Expressions)].to_json()
    }
}

pub(super) fn schema() -> EntitySchema {
    let classic = base(false);
    let expressions = base(true);
    let variants = Variants {
        classic: FAMILIES.map(|family| variant(&classic, family, false)),
        expressions: FAMILIES.map(|family| variant(&expressions, family, true)),
        printed: [classic.clone(), unused(expressions.clone())],
    };
    EntitySchema {
        variants: super::Variants::Route(Box::new(variants)),
        ..EntitySchema::new("routes", expressions).named_by("name")
    }
}

/// The record as Kong shows it before its first use: without the properties that use adds.
fn unused(mut record: Record) -> Record {
    let no_length = |field: &mut Field| {
        field.checks.retain(|check| !matches!(check, Check::LenMin(_)));
    };
    for (name, field) in &mut record.fields {
        match (*name, &mut field.kind) {
            ("protocols" | "paths", Kind::Set(elements) | Kind::Array(elements)) => {
                no_length(elements);
                elements.required = None;
            }
            ("id" | "path_handling", _) => no_length(field),
            _ => {}
        }
    }
    record
}

fn endpoint() -> Field {
    let record = Record::new([("ip", typedef::ip_or_cidr()), ("port", typedef::port())])
        .check(EntityCheck::AtLeastOneOf(vec!["ip", "port"]));
    Field::of(record)
}

fn base(expressions: bool) -> Record {
    let mut fields = header();
    fields.push(("name", not_empty(typedef::utf8_name())));
    fields.extend(behaviour_fields());
    fields.extend(matcher_fields());
    fields.extend([
        ("regex_priority", Field::integer().default(0).describe("A number used to choose which route resolves a given request when several routes match it using regexes simultaneously.")),
        (
            "path_handling",
            not_empty(Field::string()).default("v0").one_of(&["v0", "v1"]).describe("Controls how the Service path, Route path and requested path are combined when sending a request to the upstream."),
        ),
    ]);
    if expressions {
        fields.extend([
            ("expression", Field::string().describe("The route expression.")),
            ("priority", Field::integer().between(0, (1 << 46) - 1).required().default(0).describe("A number used to specify the matching order for expression routes. The higher the `priority`, the sooner an route will be evaluated. This field is ignored unless `expression` field is set.")),
        ]);
    }
    // Kong shows what it has used already with more properties.
    let text = Field::string();
    let text = if expressions { text } else { not_empty(text).required() };
    let not_tls = text.not_one_of(&["grpcs", "https", "tls", "tls_passthrough"]);
    Record::new(fields)
        .check(EntityCheck::Conditional {
            if_field: "protocols",
            if_match: Condition::elements(not_tls),
            then_field: "snis",
            then_match: Condition::of(Check::LenEq(0)),
            then_err: Some("'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"),
        })
        .check(EntityCheck::Custom {
            field_sources: vec!["path_handling"],
            run_with_missing_fields: false,
            check: None,
        })
        .check(EntityCheck::Custom {
            field_sources: vec![
                "id", "protocols", "snis", "sources", "destinations", "methods", "hosts", "paths",
                "headers", "expression", "regex_priority", "priority",
            ],
            run_with_missing_fields: true,
            check: expressions.then_some(one_language as fn(&_) -> _),
        })
}

fn behaviour_fields() -> Vec<(&'static str, Field)> {
    let flag = |default: bool, text| Field::boolean().required().default(default).describe(text);
    vec![
        (
            "protocols",
            Field::set(protocol().required())
                .len_min(1)
                .required()
                .mutually_exclusive_subsets(&[
                    &["http", "https"],
                    &["tcp", "tls", "udp"],
                    &["tls_passthrough"],
                    &["grpc", "grpcs"],
                ])
                .default(json!(["http", "https"]))
                .describe("An array of the protocols this Route should allow."),
        ),
        (
            "https_redirect_status_code",
            Field::integer().required().default(426).one_of(&[426, 301, 302, 307, 308]).describe("The status code Kong responds with when all properties of a Route match except the protocol"),
        ),
        ("strip_path", flag(true, "When matching a Route via one of the paths, strip the matching prefix from the upstream request URL.")),
        ("preserve_host", flag(false, "When matching a Route via one of the hosts domain names, use the request Host header in the upstream request headers.")),
        ("request_buffering", flag(true, "Whether to enable request body buffering or not. With HTTP 1.1.")),
        ("response_buffering", flag(true, "Whether to enable response body buffering or not.")),
        ("tags", typedef::tags()),
        ("service", Field::foreign("services").describe("The Service this Route is associated to. This is where the Route proxies traffic to.")),
    ]
}

fn matcher_fields() -> Vec<(&'static str, Field)> {
    let endpoints = |text| Field::set(endpoint()).describe(text);
    vec![
        ("snis", Field::set(typedef::wildcard_host()).describe("A list of SNIs that match this Route.")),
        ("sources", endpoints("A set of sources, each of which is a record with at least one of 'ip' or 'port'.")),
        ("destinations", endpoints("A set of destinations, each of which is a record with at least one of 'ip' or 'port'.")),
        ("methods", Field::set(typedef::http_method()).describe("A set of strings representing HTTP methods. Each method must be a valid HTTP method.")),
        ("hosts", Field::array(host()).describe("An array of strings representing hosts. A valid host is a string containing one or more labels separated by periods, with at most one wildcard label ('*')")),
        ("paths", Field::array(path()).describe("An array of strings representing router paths.")),
        (
            "headers",
            Field::map(
                typedef::header_name().match_none(&[(
                    "^[Hh][Oo][Ss][Tt]$",
                    "cannot contain 'host' header, which must be specified in the 'hosts' attribute",
                )]),
                Field::array(Field::string()),
            )
            .describe("A map of header names to arrays of header values."),
        ),
    ]
}

fn host() -> Field {
    Field::string()
        .match_all(&[("^[^*]*%*?[^*]*$", "invalid wildcard: must have at most one wildcard")])
        .match_any(
            &["^%*%.", "%.%*$", "^[^*]*$"],
            Some("invalid wildcard: must be placed at leftmost or rightmost label"),
        )
        .custom(|value| {
            let text = value.as_str().unwrap_or_default();
            if !text.contains('*') {
                return crate::host::check_optional_port(text);
            }
            crate::host::check_optional_port(&text.replace('*', "wildcard"))
                .map_err(|message| message.replace(&text.replace('*', "wildcard"), text))
        })
}

fn path() -> Field {
    not_empty(Field::string())
        .required()
        .match_any(&["^/", "^~/"], Some("should start with: / (fixed path) or ~/ (regex path)"))
        .match_none(&[("//", "must not have empty segments")])
        .describe("A string representing a router path. It must start with a forward slash ('/') for a fixed path, or the sequence '~/' for a regex path. It must not have empty segments.")
        .custom(|value| crate::path::check(value.as_str().unwrap_or_default()))
}

/// A route speaks either in expressions or in the classic fields.
fn one_language(route: &Map<String, Value>) -> Result<(), Fault> {
    let given = |name: &str| !matches!(route.get(name), None | Some(Value::Null));
    let filled = |name: &str| match route.get(name) {
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        _ => false,
    };
    let classic = MATCHERS.iter().any(|name| filled(name));
    let number = |name: &str| route.get(name).and_then(Value::as_i64).unwrap_or(0);
    if given("expression") && classic {
        return Err("Router Expression failed validation: cannot set 'expression' with 'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously".into());
    }
    if given("expression") && number("regex_priority") != 0 {
        return Err("Router Expression failed validation: cannot set 'regex_priority' with 'expression' simultaneously".into());
    }
    if classic && number("priority") != 0 {
        return Err("Router Expression failed validation: cannot set 'priority' with 'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously".into());
    }
    Ok(())
}

fn variant(base: &Record, family: Family, expressions: bool) -> Record {
    let mut record = base.clone();
    let mut forbid = |names: &[&'static str], protocols: &str| {
        for (name, field) in &mut record.fields {
            if names.contains(name) {
                let text = format!("cannot set '{name}' when 'protocols' is {protocols}");
                *field = field.clone().check(Check::Eq(null(), Some(String::leak(text))));
            }
        }
    };
    let addresses: &[&'static str] = &["sources", "destinations"];
    match family {
        Family::Http if expressions => {}
        Family::Http => forbid(addresses, "'http' or 'https'"),
        Family::Grpc => {
            forbid(&["methods"], "'grpc' or 'grpcs'");
            if !expressions {
                forbid(addresses, "'grpc' or 'grpcs'");
            }
            for (name, field) in &mut record.fields {
                if *name == "strip_path" {
                    *field = field.clone().default(false).eq_or(
                        false,
                        "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
                    );
                }
            }
        }
        Family::Stream | Family::Passthrough => {
            forbid(&["methods", "hosts", "paths", "headers"], STREAM);
        }
    }
    record.checks.push(EntityCheck::Custom {
        field_sources: vec![],
        run_with_missing_fields: true,
        check: Some(match (family, expressions) {
            (Family::Http, false) => |route| needs_matcher(route, HTTP, false),
            (Family::Http, true) => |route| needs_matcher(route, HTTP, true),
            (Family::Grpc, false) => |route| needs_matcher(route, GRPC, false),
            (Family::Grpc, true) => |route| needs_matcher(route, GRPC, true),
            (Family::Stream, false) => |route| needs_matcher(route, TCP, false),
            (Family::Stream, true) => |route| needs_matcher(route, TCP, true),
            (Family::Passthrough, false) => needs_snis,
            (Family::Passthrough, true) => |route| match route.get("expression") {
                Some(Value::String(text)) if !text.is_empty() => Ok(()),
                _ => needs_snis(route),
            },
        }),
    });
    record
}

/// What a family needs at least, and in whose name it is asked for.
struct Needs {
    fields: &'static [&'static str],
    plain: &'static str,
    secure: &'static str,
    secure_protocols: &'static [&'static str],
}

const HTTP: &Needs = &Needs {
    fields: &["methods", "hosts", "headers", "paths"],
    plain: "'http'",
    secure: "'https'",
    secure_protocols: &["https"],
};
const GRPC: &Needs = &Needs {
    fields: &["hosts", "headers", "paths"],
    plain: "'grpc'",
    secure: "'grpcs'",
    secure_protocols: &["grpcs"],
};
const TCP: &Needs = &Needs {
    fields: &["sources", "destinations"],
    plain: "'tcp', 'tls' or 'udp'",
    secure: "'tcp', 'tls' or 'udp'",
    secure_protocols: &["tcp", "tls", "udp"],
};

fn needs_matcher(
    route: &Map<String, Value>,
    needs: &Needs,
    expressions: bool,
) -> Result<(), Fault> {
    // A route that names no protocols takes both of HTTP's.
    let secure = match route.get("protocols").and_then(Value::as_array) {
        Some(all) => {
            all.iter().any(|one| one.as_str().is_some_and(|p| needs.secure_protocols.contains(&p)))
        }
        None => needs.secure_protocols.contains(&"https"),
    };
    let more = [("snis", secure), ("expression", expressions)];
    let more = more.iter().filter(|(_, asked)| *asked).map(|(name, _)| name);
    let fields = needs.fields.iter().chain(more);
    let set = |name: &&str| match get(route, name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => true,
    };
    if fields.clone().any(set) {
        return Ok(());
    }
    let names: Vec<String> = fields.map(|name| format!("'{name}'")).collect();
    let protocol = if secure { needs.secure } else { needs.plain };
    let names = names.join(", ");
    Err(format!("must set one of {names} when 'protocols' is {protocol}").into())
}

fn needs_snis(route: &Map<String, Value>) -> Result<(), Fault> {
    match route.get("snis") {
        Some(Value::Array(all)) if !all.is_empty() => Ok(()),
        _ => Err("must set snis when 'protocols' is 'tls_passthrough'".into()),
    }
}
